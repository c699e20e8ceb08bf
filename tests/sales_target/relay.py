"""A relay on 127.0.0.1 between a client and a server, which can cut and falsify what passes."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_SECONDS = 30.0


class Relay:
    """Listens on a port of its own and passes bytes to and fro.

    Attributes:
        port: where clients connect.
        sent, received: bytes that clients sent and were sent, since `reset`.
        falsified: how often `falsify` found its bytes.
    """

    def __init__(self, upstream: tuple[str, int] | Path) -> None:
        """Say where the server listens: host and port, or the path of its socket."""
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.reset()
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Pass everything on, and count from zero."""
        self.sent = self.received = self.falsified = 0
        self._cut_at_sent: int | None = None
        self._cut_at_received: int | None = None
        self._falsify: tuple[bytes, bytes] | None = None

    def cut_at(self, *, sent: int | None = None, received: int | None = None) -> None:
        """Close both sides, without a word, when so many bytes have passed in a direction."""
        self._cut_at_sent, self._cut_at_received = sent, received

    def falsify(self, old: bytes, new: bytes) -> None:
        """Exchange bytes, in both directions, wherever they stand in one packet."""
        self._falsify = (old, new)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if isinstance(self._upstream, Path):
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._upstream))
            else:
                server = socket.create_connection(self._upstream, timeout=_SECONDS)
            with self._lock:
                self._open |= {client, server}
            for source, sink, sends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, sink, sends), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, sends: bool) -> None:
        try:
            while data := source.recv(65536):
                if self._falsify is not None and self._falsify[0] in data:
                    data = data.replace(*self._falsify)
                    self.falsified += 1
                limit = self._cut_at_sent if sends else self._cut_at_received
                passed = self.sent if sends else self.received
                if limit is not None and passed + len(data) > limit:
                    sink.sendall(data[: max(0, limit - passed)])
                    self._cut()
                    return
                if sends:
                    self.sent += len(data)
                else:
                    self.received += len(data)
                sink.sendall(data)
        except OSError:
            return
        finally:
            _close(source, sink)

    def _cut(self) -> None:
        with self._lock:
            sockets, self._open = self._open, set()
        _close(*sockets)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
        finally:
            one.close()
