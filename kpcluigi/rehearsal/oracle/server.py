"""The listening server: a thread per session, and what the control port asks for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kpcluigi.rehearsal.oracle.catalog import Table
from kpcluigi.rehearsal.oracle.dictionary import Dictionary
from kpcluigi.rehearsal.oracle.engine import Database
from kpcluigi.rehearsal.oracle.faults import Faults
from kpcluigi.rehearsal.oracle.journal import Journal
from kpcluigi.rehearsal.oracle.packets import Wire
from kpcluigi.rehearsal.oracle.privileges import Grants
from kpcluigi.rehearsal.oracle.session import Session
from kpcluigi.rehearsal.oracle.work import Work


class Server:
    """Oracle as far as a client can tell. `port` is where it listens, on 127.0.0.1."""

    def __init__(
        self,
        database: Path,
        *,
        user: str,
        password: str,
        service: str,
        port: int,
        granted: Sequence[str] = (),
        revoked: Sequence[str] = (),
    ) -> None:
        self.user = user.upper()
        self.password = password
        self.service = service
        self.database = Database(database)
        self.grants = Grants(self.user, self.database.tables.values(), granted, revoked)
        self.faults = Faults()
        self.journal = Journal()
        self._dictionary = Dictionary(self.database, self.grants, service, self.sessions)
        self._socket = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}
        self._last_sid = 100
        self._serial = 0
        threading.Thread(target=self._accept, daemon=True, name="accept").start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed by `close`
            with self._lock:
                self._last_sid += 1
                session = Session(self, Wire(connection), self._last_sid)
            threading.Thread(target=session.run, daemon=True, name=f"sid-{session.sid}").start()

    def close(self) -> None:
        self._socket.close()

    # -- for sessions

    def dictionary(self, work: Work) -> Mapping[str, tuple[Table, Callable[[], str]]]:
        return self._dictionary.views(work)

    def entered(self, session: Session) -> int:
        """A session has logged in; its serial number."""
        with self._lock:
            self._sessions[session.sid] = session
            self._serial += 1
            serial = self._serial
        self.journal.opened()
        return serial

    def left(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.sid, None)
        self.journal.closed()

    def sessions(self) -> list[Session]:
        """Those that are logged in."""
        with self._lock:
            return list(self._sessions.values())

    # -- for the control port

    def stats(self) -> dict[str, Any]:
        return {**self.journal.stats(), "faults": self.faults.struck}

    def log_since(self, index: int) -> list[dict[str, Any]]:
        return self.journal.since(index)

    def arm(self, fault: dict[str, Any]) -> int:
        """Arm a fault, or follow an order, which is {"grant": …}, {"revoke": …} or
        {"forget_undo": SCN or null, "table": "OWNER.TABLE" or null}."""
        match fault:
            case {"grant": str(privilege), **rest} if not rest:
                self.grants.grant(privilege)
            case {"revoke": str(privilege), **rest} if not rest:
                self.grants.revoke(privilege)
            case {"forget_undo": int() | None as scn, "table": str() | None as table, **rest} if (
                not rest
            ):
                self.database.forget_undo(scn, table)
            case _:
                return self.faults.arm(fault)
        return self.faults.count()

    def disarm(self) -> None:
        self.faults.disarm()

    def reset(self) -> None:
        self.journal.reset()
        self.faults.reset()
        self.grants.reset()
        self.database.undo.reset()
