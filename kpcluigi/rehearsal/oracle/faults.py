"""Faults that a test arms through the control port.

A fault is a JSON object:

    on        "execute", "fetch" or "login"
    match     a regular expression that the SQL must contain; any SQL when left out. For a login it
              is matched against the user name
    nth       strike at the nth such event from now (1, the default: the next)
    times     strike that many events in a row (default 1); null or -1: for ever

and one of

    ora       the number of an error to answer, with "message" for its text
    drop      true: close the socket without an answer
    delay     seconds to wait before going on; the client's break ends the wait with ORA-01013
    garble    true: the first text of the rows that the event sends begins with the byte 0xFF, which
              is no UTF-8. "column" is a regular expression that the whole name of a column must
              match; any VARCHAR2, CHAR or CLOB when left out. Not for a login. Rows that an execute
              sends at once are its own; a later fetch's are the fetch's
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass
from typing import Any

from kpcluigi.rehearsal.oracle.errors import MESSAGES, OraError

_MESSAGES = {
    12514: "TNS:listener does not currently know of service requested in connect descriptor",
    18: "maximum number of sessions exceeded",
    20: "maximum number of processes (300) exceeded",
    28: "your session has been killed",
    54: "resource busy and acquire with NOWAIT specified or timeout expired",
    600: "internal error code, arguments: [armed], [], [], [], [], [], [], []",
    1033: "ORACLE initialization or shutdown in progress",
    1089: "immediate shutdown or close in progress - no operations are permitted",
    1555: 'snapshot too old: rollback segment number 9 with name "_SYSSMU9_1186132793$" too small',
    1652: "unable to extend temp segment by 128 in tablespace TEMP",
    3113: "end-of-file on communication channel",
    3114: "not connected to ORACLE",
    3135: "connection lost contact",
    4031: "unable to allocate 4096 bytes of shared memory",
    8103: "object no longer exists",
    12170: "TNS:Connect timeout occurred",
    12541: "TNS:no listener",
    12571: "TNS:packet writer failure",
    28000: "the account is locked",
    28001: "the password has expired",
}
_KEYS = {"on", "match", "nth", "times", "ora", "message", "drop", "delay", "garble", "column"}


class Dropped(Exception):
    """The server closes the socket now."""


@dataclass
class Fault:
    """One armed fault; `wait` is how many matching events it still lets pass."""

    on: str
    match: re.Pattern[str] | None
    wait: int
    times: float
    error: OraError | None
    drop: bool
    delay: float
    garble: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Strike:
    """What a fault does beside failing: seconds to wait, and which columns' text to spoil."""

    delay: float = 0
    garble: re.Pattern[str] | None = None


def parse_fault(given: dict[str, Any]) -> Fault:
    """The fault that a test describes.

    Raises:
        ValueError: it names an unknown key or event, or not exactly one effect.
    """
    unknown = set(given) - _KEYS
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; known are {sorted(_KEYS)}")
    if given["on"] not in ("execute", "fetch", "login"):
        raise ValueError(f"on: {given['on']!r} is none of execute, fetch, login")
    if sum(key in given for key in ("ora", "drop", "delay", "garble")) != 1:
        raise ValueError("exactly one of ora, drop, delay, garble is needed")
    if "column" in given and "garble" not in given:
        raise ValueError("column goes with garble only")
    if "garble" in given and (given["garble"] is not True or given["on"] == "login"):
        raise ValueError("garble is true, on execute or fetch")
    error = None
    if "ora" in given:
        number = int(given["ora"])
        known = _MESSAGES.get(number) or MESSAGES.get(number, "armed by a test")
        error = OraError(number, message=given.get("message") or known.replace("{}", "?"))
    pattern = given.get("match")
    return Fault(
        on=given["on"],
        match=None if pattern is None else re.compile(pattern, re.I | re.S),
        wait=int(given.get("nth", 1)) - 1,
        times=math.inf if given.get("times", 1) in (None, -1) else int(given.get("times", 1)),
        error=error,
        drop=bool(given.get("drop", False)),
        delay=float(given.get("delay", 0)),
        garble=re.compile(given.get("column", ".*"), re.I) if "garble" in given else None,
    )


class Faults:
    """The armed faults, shared by all sessions."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self.struck = 0
        self._lock = threading.Lock()

    def arm(self, given: dict[str, Any]) -> int:
        """Add a fault; how many are armed now."""
        fault = parse_fault(given)
        with self._lock:
            self._armed.append(fault)
            return len(self._armed)

    def reset(self) -> None:
        """Forget how often one has struck."""
        self.struck = 0

    def count(self) -> int:
        """How many faults are armed."""
        with self._lock:
            return len(self._armed)

    def disarm(self) -> None:
        with self._lock:
            self._armed.clear()

    def strike(self, event: str, text: str) -> Strike:
        """Let the event meet the faults.

        Raises:
            OraError: the client is to be told so.
            Dropped: the socket is to be closed.
        """
        struck: Fault | None = None
        with self._lock:
            for fault in self._armed:
                if fault.on != event or (fault.match and not fault.match.search(text)):
                    continue
                if fault.wait:
                    fault.wait -= 1
                elif struck is None:
                    struck = fault
                    fault.times -= 1
            self._armed = [f for f in self._armed if f.times > 0]
            self.struck += struck is not None
        if struck is None:
            return Strike()
        if struck.error is not None:
            raise struck.error
        if struck.drop:
            raise Dropped
        return Strike(struck.delay, struck.garble)
