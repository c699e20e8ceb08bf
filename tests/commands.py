"""The `luigi` and `kpcluigi` commands as processes of their own, imported once for all of them.

Importing is most of the work of a short command, and there are a hundred of them. Here one process
imports what the two scripts import; each command is forked from it, takes over its arguments,
environment, folder and output, and then runs the function that the script of that name runs, to
the end of a process. From outside it is a process like any other, to be waited for, stopped and
killed. The scripts themselves are run by the tests of `kpcluigi rehearse`, of the full disk, of all
16 tables, of SIGTERM, of a start without settings, and of the nightly copy.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

_REQUEST = 1 << 20
_READY = b"ready"
_STARTING = 60.0
"""Seconds until the process must be ready, or a command have its id; far more than it takes."""


class Command:
    """A command that was started, with what `subprocess.Popen` offers for it."""

    def __init__(self, arguments: Sequence[str], answers: socket.socket) -> None:
        self._arguments = arguments
        self._answers = answers
        self.returncode: int | None = None
        self.pid = self._answer(_STARTING)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self._answer(timeout)
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _answer(self, timeout: float | None) -> int:
        self._answers.settimeout(timeout)
        try:
            answer = self._answers.recv(100)
        except TimeoutError:
            assert timeout is not None
            raise subprocess.TimeoutExpired(list(self._arguments), timeout) from None
        if not answer:
            raise RuntimeError(f"nobody knows how {self._arguments} ended; see above")
        return int(answer)


class Commands:
    """The process that commands are forked from. Use it as a context manager."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", __name__]
            self._process = subprocess.Popen(command, stdin=theirs.fileno())
        self._started: list[Command] = []
        self._requests.settimeout(_STARTING)
        assert self._requests.recv(len(_READY)) == _READY

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
        folder: Path | None = None,
    ) -> Command:
        """Start a command, with nothing to read from its standard input.

        Args:
            arguments: as typed; the first is `luigi` or `kpcluigi`.
            stdout: file descriptors.
            folder: to start it in; else this process's.
        """
        request = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder or Path.cwd()),
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptors = [stdout, stderr, theirs.fileno()]
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
        self._started.append(Command(arguments, ours))
        return self._started[-1]

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and take what it printed."""
        with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+") as err:
            code = self.start(
                arguments,
                environment=environment,
                stdout=out.fileno(),
                stderr=err.fileno(),
                folder=folder,
            ).wait(timeout)
            said = [file.read() for file in (out, err) if file.seek(0) == 0]
        return subprocess.CompletedProcess(list(arguments), code, *said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for command in self._started:
            command.kill()
            command.wait()
        self._requests.close()
        self._process.wait(30)


def _serve() -> None:
    """Fork a command per request, until nobody can ask any more."""
    import luigi.cmdline
    import luigi.configuration

    import kpcluigi
    import kpcluigi.cli

    mains: dict[str, Callable[[list[str]], Any]] = {
        "luigi": luigi.cmdline.luigi_run,
        "kpcluigi": kpcluigi.cli.main,
    }
    gc.freeze()  # what is imported is never garbage: left alone, it is not copied in each command
    with socket.socket(fileno=os.dup(0)) as requests:
        requests.sendall(_READY)
        while True:
            text, descriptors, _, _ = socket.recv_fds(requests, _REQUEST, 3)
            _reap(0 if not text else os.WNOHANG)
            if not text:
                return
            if os.fork() == 0:
                break
            for descriptor in descriptors:
                os.close(descriptor)
    request = json.loads(text)
    _fork_and_wait(*descriptors)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    # What Luigi looks at when it is imported: luigi.cfg here, and the one that is named
    luigi.configuration.LuigiConfigParser._instance = None
    if path := os.environ.get("LUIGI_CONFIG_PATH"):
        luigi.configuration.add_config_path(path)
    sys.exit(mains[sys.argv[0]](sys.argv[1:]))


def _reap(options: int) -> None:
    """Take notice of the children that have ended; with no options wait for all of them."""
    try:
        while os.waitpid(-1, options) != (0, 0):
            continue
    except ChildProcessError:
        return


def _fork_and_wait(stdout: int, stderr: int, answers: int) -> None:
    """Return in a new process, with its own input and output; its parent tells how it ended."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((nothing, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, number)
        os.close(source)
    pid = os.fork()
    if pid == 0:
        os.close(answers)
        return
    for number in (1, 2):
        os.dup2(0, number)
    os.write(answers, str(pid).encode())
    _, status = os.waitpid(pid, 0)
    try:
        os.write(answers, str(os.waitstatus_to_exitcode(status)).encode())
    except BrokenPipeError:
        os._exit(1)  # who started it has ended
    os._exit(0)


if __name__ == "__main__":
    _serve()
