"""A stand-in server as a process of its own, and the control port that tests drive it by.

The parent's side is `StandIn`: it starts `python -m MODULE …`, reads one JSON line with the ports,
and talks to the control port. The server's side is `serve_until_stdin_closes`: it opens the
control port, prints that line, and ends when its standard input closes, so that no stand-in
outlives the process that started it, not even after kill -9.

The control port speaks JSON over HTTP on 127.0.0.1:

    GET    /stats            what the server counts
    GET    /log?since=N      what it was asked, from the Nth entry on
    POST   /faults           one fault or a list of them; the answer says how many are armed
    DELETE /faults           disarm all
    POST   /reset            counters, peaks and log to zero
    POST   /ACTION           what else the server can be told, with a JSON object of arguments
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from kpcluigi.rehearsal.serverprocess import ServerProcess

START_SECONDS = 30
"""How long a stand-in may take until it prints its ports."""


class Controlled(Protocol):
    """What a server offers to its control port."""

    def stats(self) -> dict[str, Any]: ...
    def log_since(self, index: int) -> list[dict[str, Any]]: ...
    def arm(self, fault: dict[str, Any]) -> int: ...
    def disarm(self) -> None: ...
    def reset(self) -> None: ...


def serve_until_stdin_closes(
    controlled: Controlled,
    port: int,
    stop: Callable[[], None],
    actions: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> None:
    """Announce the ports on standard output and block until standard input closes.

    Args:
        actions: what `POST /NAME` calls, with the members of its JSON object as keyword arguments;
            what it returns is the answer. A ValueError or TypeError is the caller's mistake.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: Any, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/stats":
                self.answer(controlled.stats())
            elif url.path == "/log":
                since = int(parse_qs(url.query).get("since", ["0"])[0])
                self.answer(controlled.log_since(since))
            else:
                self.answer({"error": f"unknown path {url.path}"}, 404)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/reset":
                controlled.reset()
                self.answer({})
            elif self.path == "/faults":
                given = json.loads(body)
                try:
                    armed = [
                        controlled.arm(f) for f in (given if isinstance(given, list) else [given])
                    ]
                except (KeyError, TypeError, ValueError) as error:
                    self.answer({"error": f"not a fault: {error}"}, 400)
                else:
                    self.answer({"armed": armed[-1] if armed else 0})
            elif (action := actions.get(self.path.removeprefix("/"))) is not None:
                try:
                    answer = action(**json.loads(body))
                except (TypeError, ValueError) as error:
                    self.answer({"error": f"{self.path}: {error}"}, 400)
                else:
                    self.answer(answer)
            else:
                self.answer({"error": f"unknown path {self.path}"}, 404)

        def do_DELETE(self) -> None:
            controlled.disarm()
            self.answer({})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The control port is quiet: what matters is in the server's own log."""

    control = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    print(json.dumps({"port": port, "control_port": control.server_address[1]}), flush=True)
    try:
        while os.read(sys.stdin.fileno(), 4096):
            continue
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
    finally:
        control.shutdown()
        stop()


class StandIn(ServerProcess):
    """A running stand-in. Use it as a context manager, or call `stop()`.

    Attributes:
        port: where clients connect, on 127.0.0.1.
        pid: the server's process id.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], *, secrets: Mapping[str, str] | None = None
    ) -> None:
        """Start `python -m module *arguments`; `secrets` go into its environment only.

        Raises:
            RuntimeError: the server ended, or did not announce its ports, within 30 s.
        """
        super().__init__(
            module, arguments, secrets=secrets, start_seconds=START_SECONDS, stop_seconds=5
        )
        self.port: int = self.announced["port"]
        self.pid = self._process.pid
        self._control = f"http://127.0.0.1:{self.announced['control_port']}"

    def stats(self) -> dict[str, Any]:
        """What the server counts, by name."""
        answer: dict[str, Any] = self._call("GET", "/stats")
        return answer

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """What the server was asked, oldest first."""
        answer: list[dict[str, Any]] = self._call("GET", f"/log?since={since}")
        return answer

    def arm(self, **fault: Any) -> None:
        """Arm one fault; its keys are described in the server's `faults` module."""
        self._call("POST", "/faults", fault)

    def disarm(self) -> None:
        """Disarm every fault."""
        self._call("DELETE", "/faults")

    def reset(self) -> None:
        """Set counters, peaks and log to zero."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self._control + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
