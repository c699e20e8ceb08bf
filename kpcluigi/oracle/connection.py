"""Opening Oracle sessions, and telling passing errors from lasting ones."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import oracledb
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from kpcluigi.errors import OracleError
from kpcluigi.oracle.client import use_client

T = TypeVar("T")

PASSING = frozenset(
    {18, 20, 54, 60, 1033, 1034, 1089, 1652, 4031, 8103, 12170, 12514, 12516, 12519, 12520, 12537,
     12541, 12571}
)  # fmt: skip
"""ORA- numbers that a later try can get past: sessions or processes used up, a restart under way,
a lock, memory or sort space that others hold, a listener that is not ready, a lost link."""

PASSING_DRIVER = frozenset({"DPY-1001", "DPY-4005", "DPY-4011", "DPY-4024", "DPY-6005", "DPY-6000"})
"""The driver's own: connection gone, pool wait, broken pipe, call time-out, no route."""

SNAPSHOT_LOST = frozenset({1466, 1555, 8180, 8181})
"""Undo is gone, the table was altered, or the SCN is none of this database's."""

LASTING = frozenset({1017, 28000, 28001, 1005, 1045})
"""Logins that must not be tried again: each try brings the account nearer to its lock."""


@contextmanager
def connect(
    *,
    dsn: str,
    user: str,
    password: str,
    module: str,
    action: str = "",
    login_timeout: float = 60,
    call_timeout: float = 0,
    time_zone: str = "UTC",
    client_dir: str = "",
) -> Iterator[oracledb.Connection]:
    """A session of its own, closed at the end of the block.

    Args:
        dsn: host:port/service or a full descriptor (TCPS goes by the descriptor).
        module: shown with `action` in V$SESSION and AWR, so that the DBA finds us.
        login_timeout: seconds that logging in may take.
        call_timeout: seconds that one round trip may take; 0 for no limit.
        time_zone: in which naive values are compared with those that carry a zone.
        client_dir: folder of the Oracle client for thick mode; empty: thin. It must be the same
            for all sessions of a process.

    Raises:
        OracleError: the login failed; the text says what to check.
        ConfigurationError: the Oracle client cannot be loaded.
        oracledb.Error, TimeoutError: it failed in a way that a later try may get past.
    """
    use_client(client_dir)
    try:
        connection = _login(dsn, user, password, login_timeout)
    except oracledb.Error as error:
        if passing(error):
            raise
        raise OracleError(
            f"Oracle refused the login of {user} at {dsn}: {error}. Check user and password (it "
            f"was not tried again, lest the account be locked) and run the same command again"
        ) from error
    try:
        connection.module = module[:48]  # V$SESSION.MODULE holds 48 bytes, ACTION 32
        if action:
            connection.action = action[:32]
        connection.call_timeout = int(call_timeout * 1000)
        with connection.cursor() as cursor:
            # Ranges of a text key are cut and read in the same order only if that order is binary,
            # and a window means the same everywhere only if the client's own zone has no say
            cursor.execute(
                f"ALTER SESSION SET NLS_SORT = BINARY NLS_COMP = BINARY TIME_ZONE = '{time_zone}'"
            )
        yield connection
    finally:
        with suppress(oracledb.Error):  # where the server was gone first, nothing is left to close
            connection.close()


def _login(dsn: str, user: str, password: str, seconds: float) -> oracledb.Connection:
    """Log in or give up: the driver waits for ever for a server that accepts and says nothing."""
    outcome: queue.Queue[oracledb.Connection | BaseException] = queue.Queue()
    given_up = threading.Event()

    def attempt() -> None:
        try:
            connection = oracledb.connect(user=user, password=password, dsn=dsn, expire_time=2)
        except Exception as error:  # noqa: BLE001  # it is raised in the thread that waits
            outcome.put(error)
            return
        if given_up.is_set():
            connection.close()
        outcome.put(connection)

    threading.Thread(target=attempt, name=f"login {dsn}", daemon=True).start()
    try:
        result = outcome.get(timeout=seconds)
    except queue.Empty:
        given_up.set()
        raise TimeoutError(f"no answer to the login at {dsn} within {seconds:.0f} s") from None
    if isinstance(result, BaseException):
        raise result
    return result


def snapshot_lost(error: BaseException) -> bool:
    """Whether the SCN that was asked for can no longer be read."""
    return isinstance(error, oracledb.Error) and bool(_codes(error) & SNAPSHOT_LOST)


def passing(error: BaseException) -> bool:
    """Whether a later try with a new connection may succeed."""
    error = getattr(error, "orig", None) or error  # SQLAlchemy wraps the driver's errors
    if not isinstance(error, oracledb.Error) or not error.args:
        return isinstance(error, ConnectionError | TimeoutError)
    fault = error.args[0]
    codes = _codes(error)
    if codes & LASTING:
        return False
    return (
        bool(codes & PASSING)
        or getattr(fault, "full_code", "") in PASSING_DRIVER
        or bool(getattr(fault, "isrecoverable", 0))
    )


def _codes(error: oracledb.Error) -> set[int]:
    """All ORA- numbers: a parallel query server's own stands behind ORA-12801."""
    return {
        getattr(error.args[0], "code", 0) if error.args else 0,
        *map(int, re.findall(r"ORA-(\d{5})", str(error))),
    }


def retrying(
    work: Callable[[], T],
    *,
    retries: int,
    delay: float,
    tell: Callable[[str], None],
    passes: Callable[[BaseException], bool] = passing,
) -> T:
    """Do `work` again after passing errors, with a growing, jittered delay.

    Args:
        work: opens its own connection; it is begun anew each time.
        retries: further tries after the first.
        delay: seconds before the first of them; it doubles each time.
        tell: receives one line before each wait, for the status message.
        passes: whether a later try may get past an error.
    """

    def announce(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0
        tell(f"try {state.attempt_number} of {retries + 1} failed: {error}; again in {wait:.0f} s")

    return Retrying(
        retry=retry_if_exception(passes),
        stop=stop_after_attempt(retries + 1),
        wait=wait_exponential(multiplier=delay, max=delay * 16) + wait_random(0, delay / 4),
        before_sleep=announce,
        reraise=True,
    )(work)
