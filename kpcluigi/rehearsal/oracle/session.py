"""One client's session: logon, then a request at a time, with breaks noticed while work is done."""

from __future__ import annotations

import contextlib
import re
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa

from kpcluigi.rehearsal.oracle import packets, replies, requests
from kpcluigi.rehearsal.oracle.binds import Bound
from kpcluigi.rehearsal.oracle.encode import Cells, encode_rows, encoder
from kpcluigi.rehearsal.oracle.engine import Interrupted, Rows, as_oracle_error
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.faults import Dropped
from kpcluigi.rehearsal.oracle.garble import garbled
from kpcluigi.rehearsal.oracle.logon import Logon
from kpcluigi.rehearsal.oracle.packets import Closed, Reader, Short, Wire
from kpcluigi.rehearsal.oracle.queries import Block
from kpcluigi.rehearsal.oracle.work import Work

if TYPE_CHECKING:
    from kpcluigi.rehearsal.oracle.server import Server

T = TypeVar("T")

_CONNECT_DATA = re.compile(rb"\((?:SERVICE_NAME|SID)=([^)]*)\)", re.I)
_EXECUTE, _FETCH, _COMMIT, _ROLLBACK, _LOGOFF, _PING = 94, 5, 14, 15, 9, 147
_REEXECUTE, _REEXECUTE_AND_FETCH, _LOB = 4, 78, 96
_LOGON_ASK, _LOGON_ANSWER = 118, 115
_CLOSE_CURSORS, _END_TO_END, _SCHEMA = 105, 135, 152


@dataclass
class Cursor:
    """An open statement of the client's."""

    id: int
    sql: str
    binds: list[requests.BindInfo] = field(default_factory=list)
    block: Block | None = None
    rows: Rows | None = None
    inline_lobs: bool = False
    encoders: list[Callable[[Any], Cells]] = field(default_factory=list)
    entry: dict[str, Any] = field(default_factory=dict)
    lobs: list[int] = field(default_factory=list)
    garble: re.Pattern[str] | None = None


class Session:
    """A client from connect to its end. `run` returns when the client has gone."""

    def __init__(self, server: Server, wire: Wire, sid: int) -> None:
        self._server = server
        self._wire = wire
        self.sid = sid
        self.serial = 1
        self.user = ""
        self.attributes = {"module": "", "action": "", "client_identifier": ""}
        self.program = ""
        self.work = Work(
            server.database,
            server.user,
            self._context,
            server.dictionary,
            lambda: server.grants.now,
        )
        self._logged_in = False
        self._cursors: dict[int, Cursor] = {}
        self._last_cursor = 0
        self._lobs: dict[int, str | bytes] = {}
        self._last_lob = 0
        self._logon: Logon | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"work-{sid}")

    # -- from first to last

    def run(self) -> None:
        try:
            if self._connect():
                while self._one_request():
                    continue
        except Closed:
            self._server.journal.count("disconnects", 1 if self._logged_in else 0)
        except Dropped:
            with contextlib.suppress(OSError):
                self._wire.shut()
        finally:
            self._end()

    def _end(self) -> None:
        for cursor in self._cursors.values():
            self._close_rows(cursor)
        self._worker.shutdown()
        self.work.rollback()
        if self._logged_in:
            self._server.left(self)
        self._wire.close()

    def _context(self) -> dict[str, str | None]:
        """What SYS_CONTEXT('USERENV', …) tells of this session."""
        return {
            "SID": str(self.sid),
            "SESSIONID": str(self.sid),
            "SESSION_USER": self._server.user,
            "CURRENT_USER": self._server.user,
            "CURRENT_SCHEMA": self.work.schema,
            "DB_NAME": self._server.service,
            "DB_UNIQUE_NAME": self._server.service,
            "SERVICE_NAME": self._server.service,
            "INSTANCE_NAME": self._server.service.lower(),
            "CON_NAME": self._server.service,
            "MODULE": self.attributes["module"] or None,
            "ACTION": self.attributes["action"] or None,
            "CLIENT_IDENTIFIER": self.attributes["client_identifier"] or None,
            "CLIENT_PROGRAM_NAME": self.program or None,
            "LANGUAGE": "AMERICAN_AMERICA.AL32UTF8",
            "NLS_DATE_FORMAT": self.work.nls.date_format,
            "SERVER_HOST": "rehearsal",
        }

    def _connect(self) -> bool:
        kind, body = self._wire.read()
        if kind != packets.CONNECT or len(body) < 20:
            return False
        length, offset = struct.unpack(">HH", body[16:20])
        data = body[offset - 8 : offset - 8 + length]
        if len(data) < length:
            data = self._wire.read()[1][2:]
        found = _CONNECT_DATA.search(data)
        if found is None or found[1].decode().upper() != self._server.service.upper():
            self._wire.send(packets.REFUSE, replies.refusal(12514))
            return False
        sdu = replies.negotiated_sdu(body)
        self._wire.send(packets.ACCEPT, replies.acceptance(sdu))
        self._wire.large = True
        self._wire.sdu = sdu
        return True

    def _one_request(self) -> bool:
        kind, body = self._wire.read()
        if kind == packets.MARKER:
            self._answer_break(body)
            return True
        if kind != packets.DATA or struct.unpack(">H", body[:2])[0] & packets.END_OF_FILE:
            return False
        data = body[2:]
        while True:
            try:
                return self._answer(Reader(data))
            except Short:
                kind, body = self._wire.read()
                if kind != packets.DATA:
                    raise Closed from None
                data += body[2:]

    # -- breaks

    def _answer_break(self, body: bytes) -> None:
        """Reset the line as the client expects it, and say that the call was cancelled."""
        if body[2] == packets.RESET:
            return
        self._server.journal.count("breaks")
        self._wire.send(packets.MARKER, bytes([1, 0, packets.BREAK]))
        while True:
            kind, marker = self._wire.read()
            if kind == packets.MARKER and marker[2] == packets.RESET:
                break
        self._wire.send(packets.MARKER, bytes([1, 0, packets.RESET]))
        self._send_error(OraError(1013))

    def _busy(self, task: Callable[[], T]) -> T:
        """Run `task` in this session's worker while watching for the client's break.

        Raises:
            Interrupted: the client broke off, and has been answered.
            Closed: the client went away.
        """
        self.work.cancelled.clear()
        future: Future[T] = self._worker.submit(task)
        future.add_done_callback(lambda _: self._wire.wake())
        marker: bytes | None = None
        gone = False
        while True:
            broken = marker is not None or gone
            heard = self._wire.wait_woken(0.02) if broken else self._wire.wait(None)
            if heard == "woken":
                break
            if heard == "client":
                try:
                    kind, marker = self._wire.read()
                    gone = kind != packets.MARKER
                except Closed:
                    gone = True
            # A statement may not have started when it is first interrupted, hence again and again.
            self.work.interrupt()
        if gone:
            future.exception()
            raise Closed
        if marker is not None:
            future.exception()
            self._answer_break(marker)
            raise Interrupted
        return future.result()

    def _pause(self, seconds: float) -> None:
        """An armed delay, which a break ends."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._wire.wait(left) == "client":
                kind, body = self._wire.read()
                if kind != packets.MARKER:
                    raise Closed
                self._answer_break(body)
                raise Interrupted

    # -- requests

    def _answer(self, reader: Reader) -> bool:
        """Answer one request; whether the session goes on."""
        message = reader.byte()
        if message == 1:
            self._wire.send_data(replies.protocol())
            return True
        if message == 2:
            if not reader.data.endswith(b"\0\0"):
                raise Short
            self._wire.send_data(replies.data_types())
            return True
        try:
            while message == 17:
                self._piggyback(reader)
                message = reader.byte()
            if message not in (3, 26):
                raise Closed
            function = reader.byte()
            reader.byte()
            return self._call(function, reader)
        except Interrupted:
            return True
        except OraError as error:
            self._send_error(error)
            return True

    def _call(self, function: int, reader: Reader) -> bool:
        if function == _LOGON_ASK:
            self._logon_asked(reader)
            return True
        if function == _LOGON_ANSWER:
            return self._logon_answered(reader)
        if not self._logged_in:
            raise Closed
        if function == _EXECUTE:
            self._execute(reader)
        elif function in (_REEXECUTE, _REEXECUTE_AND_FETCH):
            self._execute_again(reader, function == _REEXECUTE_AND_FETCH)
        elif function == _FETCH:
            cursor, rows = self._cursor(reader.number()), reader.number()
            cursor.garble = self._meet_faults("fetch", cursor.sql) or cursor.garble
            self._server.journal.count("fetches")
            self._send_rows(cursor, rows, b"")
        elif function == _LOB:
            self._lob(requests.read_lob(reader))
        elif function in (_COMMIT, _ROLLBACK):
            self._end_transaction(commit=function == _COMMIT)
            self._wire.send_data(replies.status(self.work.in_transaction))
        elif function in (_LOGOFF, _PING):
            self._wire.send_data(replies.status(self.work.in_transaction))
        else:
            raise unimplemented(f"TTC function {function}")
        return True

    def _end_transaction(self, commit: bool) -> None:
        self._server.journal.count("commits" if commit else "rollbacks")
        self._busy(self.work.commit if commit else self.work.rollback)

    def _piggyback(self, reader: Reader) -> None:
        function = reader.byte()
        reader.byte()
        if function == _CLOSE_CURSORS:
            for number in requests.read_closed_cursors(reader):
                closed = self._cursors.pop(number, None)
                if closed is not None:
                    self._close_rows(closed)
        elif function == _END_TO_END:
            self.attributes.update(requests.read_end_to_end(reader))
        elif function == _SCHEMA:
            reader.byte()
            self.work.set_schema(reader.sized().decode())
        else:
            raise unimplemented(f"TTC piggyback {function}")

    def _meet_faults(self, event: str, text: str) -> re.Pattern[str] | None:
        """Let an event meet the armed faults; which columns of its rows are to be garbled."""
        strike = self._server.faults.strike(event, text)
        if strike.delay:
            self._pause(strike.delay)
        return strike.garble

    def _send_error(self, error: OraError) -> None:
        self._server.journal.count("errors")
        message = replies.outcome(
            self.work.in_transaction, error.number, error.text, offset=error.offset
        )
        self._wire.send_data(message)

    # -- logon

    def _logon_asked(self, reader: Reader) -> None:
        self.user, _ = requests.read_logon(reader)
        self.user = self.user.upper()
        self._logon = Logon(self._server.password if self.user == self._server.user else None)
        self._wire.send_data(replies.pairs(self._logon.challenge()) + replies.status(False))

    def _logon_answered(self, reader: Reader) -> bool:
        _, answer = requests.read_logon(reader)
        logon = self._logon
        try:
            self._meet_faults("login", self.user)
            if logon is None or not logon.is_right(answer):
                raise OraError(1017)
            if "CREATE SESSION" not in self._server.grants.now.held:
                raise OraError(1045, self.user)
        except OraError as error:
            self._server.journal.count("refused_logins")
            self._send_error(error)
            return False
        self.program = answer.get("AUTH_PROGRAM_NM", "")
        if setting := answer.get("AUTH_ALTER_SESSION"):
            self.work.alter_at_logon(setting.rstrip("\0"))
        self._logged_in = True
        self.serial = self._server.entered(self)
        items = {
            "AUTH_VERSION_NO": str(replies.VERSION_NUMBER),
            "AUTH_SESSION_ID": str(self.sid),
            "AUTH_SERIAL_NUM": str(self.serial),
            "AUTH_SC_DBUNIQUE_NAME": self._server.service,
            "AUTH_SC_SERVICE_NAME": self._server.service,
            "AUTH_INSTANCENAME": self._server.service.lower(),
            "AUTH_MAX_OPEN_CURSORS": "300",
            "AUTH_MAX_IDEN_LENGTH": "128",
            "AUTH_SVR_RESPONSE": logon.proof(),
        }
        body = replies.pairs([(name, value, 0) for name, value in items.items()])
        self._wire.send_data(body + replies.status(False))
        return True

    # -- statements

    def _cursor(self, number: int) -> Cursor:
        found = self._cursors.get(number)
        if found is None:
            raise OraError(1001)
        return found

    def _execute(self, reader: Reader) -> None:
        request = requests.read_execute(reader)
        request.batch = requests.read_batch(reader, request.binds)
        if request.sql and request.cursor not in self._cursors:
            self._last_cursor += 1
            cursor = Cursor(self._last_cursor, request.sql)
            self._cursors[cursor.id] = cursor
        else:
            cursor = self._cursor(request.cursor)
            cursor.sql = request.sql or cursor.sql
        if request.binds:
            cursor.binds = request.binds
        if request.options & requests.DEFINE:
            self._define(cursor, request)
            return
        executes = bool(request.options & requests.EXECUTE)
        rows = request.rows if request.options & requests.FETCH else 0
        describes = bool(request.options & requests.PARSE)
        try:
            self._run(cursor, request.batch or [()], rows, describes, executes)
        except (OraError, Interrupted):
            # The client learns a new cursor's number from the answer only; an error forgets it.
            if request.sql and not request.cursor:
                self._cursors.pop(cursor.id, None)
            raise

    def _define(self, cursor: Cursor, request: requests.Execute) -> None:
        """The client says how it wants its columns, LOBs above all."""
        inline = (requests.LONG, requests.LONG_RAW)
        cursor.inline_lobs = any(d.type in inline for d in request.defines)
        self._choose_encoders(cursor)
        self._send_rows(cursor, request.rows, b"")

    def _execute_again(self, reader: Reader, fetches: bool) -> None:
        cursor = self._cursor(reader.number())
        rows = reader.number()
        reader.numbers(2)
        batch = requests.read_batch(reader, cursor.binds)
        self._run(cursor, batch or [()], rows if fetches else 0, describes=False, executes=True)

    def _run(
        self,
        cursor: Cursor,
        batch: list[tuple[Bound, ...]],
        rows: int,
        describes: bool,
        executes: bool,
    ) -> None:
        self._close_rows(cursor)
        if executes:
            cursor.entry = self._note(cursor.sql, batch)
            cursor.garble = self._meet_faults("execute", cursor.sql)
        done = self._busy(lambda: self._translated(cursor.sql, batch, executes))
        cursor.entry.update(rows=done.count, hints=list(done.hints))
        cursor.block, cursor.rows = done.block, done.rows
        if done.block is None:
            message = replies.execution() + self._outcome(cursor, done.count)
            self._wire.send_data(message)
            return
        self._choose_encoders(cursor)
        head = b""
        if describes:
            types = [(c.type, c.nullable) for c in done.block.columns]
            head = replies.describe(done.block.names, types)
        head += replies.execution()
        waits_for_define = describes and any(c.type.is_lob for c in done.block.columns)
        if waits_for_define or not rows or done.rows is None:
            self._wire.send_data(head + self._outcome(cursor, 0))
        else:
            self._send_rows(cursor, rows, head)

    def _note(self, sql: str, batch: list[tuple[Bound, ...]]) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "session": self.sid,
            "module": self.attributes["module"],
            "action": self.attributes["action"],
            "client_identifier": self.attributes["client_identifier"],
            "sql": sql,
        }
        if batch[0]:
            entry["binds"] = [requests.shown(b) for b in batch[0]]
        if len(batch) > 1:
            entry["batch"] = len(batch)
        return self._server.journal.executed(entry)

    def _translated(self, sql: str, batch: list[tuple[Bound, ...]], executes: bool) -> Any:
        """The work itself; DuckDB's refusals become Oracle's."""
        try:
            return self.work.run(sql, batch, executes)
        except duckdb.Error as error:
            raise as_oracle_error(error) from error

    def _outcome(self, cursor: Cursor, rows: int) -> bytes:
        return replies.outcome(self.work.in_transaction, cursor=cursor.id, rows=rows)

    # -- rows

    def _choose_encoders(self, cursor: Cursor) -> None:
        if cursor.block is None:
            raise OraError(1002)

        def keep(value: str | bytes) -> int:
            self._last_lob += 1
            self._lobs[self._last_lob] = value
            cursor.lobs.append(self._last_lob)
            return self._last_lob

        cursor.encoders = [encoder(c.type, cursor.inline_lobs, keep) for c in cursor.block.columns]

    def _send_rows(self, cursor: Cursor, count: int, head: bytes) -> None:
        """The next `count` rows, and whether there are more."""
        rows = cursor.rows
        if rows is None:
            raise OraError(1002)
        self.work.now_running(rows.interrupt)
        before = rows.read
        parts = self._busy(lambda: self._encoded(cursor, rows, count))
        taken = rows.read - before
        self._server.journal.count("rows", taken)
        cursor.entry["rows"] = rows.read
        message = head
        if taken:
            message += replies.row_header() + b"".join(parts)
        if taken < count:
            message += replies.outcome(
                self.work.in_transaction, 1403, OraError(1403).text, cursor.id, rows.read
            )
        else:
            message += self._outcome(cursor, rows.read)
        self._wire.send_data(message)

    @staticmethod
    def _encoded(cursor: Cursor, rows: Rows, count: int) -> list[bytes]:
        try:
            return [
                encode_rows(cursor.encoders, Session._spoiled(cursor, part))
                for part in rows.take(count)
            ]
        except Exception as error:
            if isinstance(error, (OraError, Interrupted)):
                raise
            raise as_oracle_error(error) from error

    @staticmethod
    def _spoiled(cursor: Cursor, part: pa.RecordBatch) -> pa.RecordBatch:
        """The rows, with a text garbled if a fault says so."""
        if cursor.garble is None or cursor.block is None:
            return part
        spoiled = garbled(part, cursor.block, cursor.garble)
        if spoiled is None:
            return part
        cursor.garble = None
        return spoiled

    def _close_rows(self, cursor: Cursor) -> None:
        if cursor.rows is not None:
            cursor.rows.close()
            cursor.rows = None
        for number in cursor.lobs:
            del self._lobs[number]
        cursor.lobs.clear()

    def _lob(self, request: requests.LobRead) -> None:
        value = self._lobs.get(struct.unpack(">Q", request.locator[16:24])[0])
        if value is None:
            raise OraError(22275)
        if request.operation == requests.LOB_LENGTH:
            self._wire.send_data(replies.lob_part(b"", request.locator, len(value)) + self._ended())
            return
        if request.operation != requests.READ_LOB:
            raise unimplemented(f"LOB operation {request.operation}")
        part = value[request.offset - 1 : request.offset - 1 + request.amount]
        data = part.encode() if isinstance(part, str) else part
        self._wire.send_data(replies.lob_part(data, request.locator, len(part)) + self._ended())

    def _ended(self) -> bytes:
        return replies.outcome(self.work.in_transaction)
