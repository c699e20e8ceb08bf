"""The root process: what is done once, before the first task and after the last.

`open_run` is called by the root task when Luigi first asks whether it is complete, in the one
process that the operator started. It refuses to begin where something is missing, in one sentence;
it waits until luigid has forgotten workers that were killed; and it sees to it that the report and
the last lines are written at every exit that a process can see.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import multiprocessing
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import luigi
import requests
from luigi.configuration import LuigiConfigParser
from luigi.retcodes import retcode

from kpcluigi.errors import ConfigurationError, CorruptMarkerError, KpcluigiError
from kpcluigi.tasks.process import end_children, ignore_interrupts, interrupt_on_sigterm

_INVOCATION = "KPCLUIGI_INVOCATION"
_LUIGID_SECONDS = 5.0
_INDISPENSABLE = (
    ("retcode", "task_failed"),
    ("retcode", "scheduling_error"),
    ("retcode", "not_run"),
    ("retcode", "unhandled_exception"),
    ("worker", "check_complete_on_run"),
    ("worker", "task_process_context"),
)
_opened_by: int | None = None
_exit_code: int | None = None

# luigi.rpc reads these keys of [core] past luigi's own list of settings, which calls them unknown
luigi.interface.core.ignore_unconsumed |= {
    "rpc_connect_timeout",
    "rpc_retry_attempts",
    "rpc_retry_wait",
}


def invocation() -> str:
    """The name of this start of the command: the same in the root process and its children."""
    name = os.environ.get(_INVOCATION)
    if name is None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        os.environ[_INVOCATION] = name
    return name


def open_run(begin: Callable[[], Callable[[], None]]) -> None:
    """Begin a run, once, in the root process; a no-op in its children and when called again.

    Args:
        begin: raises `KpcluigiError` where the run must not begin; returns what is to be done at
            exit.

    Raises:
        SystemExit: with one sentence that names what is missing and the next command.
    """
    global _opened_by
    if _opened_by is not None or multiprocessing.parent_process() is not None:
        return
    _opened_by = os.getpid()
    atexit.register(_leave)
    invocation()
    try:
        require_luigi_cfg()
        at_exit = begin()
        luigid = luigid_url()
        if luigid is not None:
            require_luigid(luigid)
            wait_for_dead_workers(luigid)
    except CorruptMarkerError as error:
        print(f"kpcluigi: {error}", file=sys.stderr)
        raise SystemExit(retcode().scheduling_error) from None
    except KpcluigiError as error:
        raise SystemExit(f"kpcluigi: {error}") from None
    interrupt_on_sigterm()
    at_root_exit(at_exit)
    # Every task is forked from here: what the collector leaves alone is not copied in each of them
    gc.freeze()


def at_root_exit(work: Callable[[], None]) -> None:
    """Have `work` done when the root process exits, before what was asked for earlier."""
    atexit.register(_in_root_only, work)


def exit_not_green() -> None:
    """Have this process end as one that found a marker it cannot rely on, whatever Luigi says.

    For what is found at exit, when Luigi has chosen the exit code already.
    """
    global _exit_code
    _exit_code = retcode().scheduling_error


def _leave() -> None:
    """Ours that is done last. Python would end with the code that it was given before."""
    if _exit_code is None or os.getpid() != _opened_by:
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(_exit_code)


def _in_root_only(work: Callable[[], None]) -> None:
    if os.getpid() == _opened_by:
        ignore_interrupts()
        end_children()
        work()


def require_luigi_cfg() -> None:
    """Without luigi.cfg there are no limits, no exit codes and no guard over children: refuse that.

    Raises:
        ConfigurationError: there is none, or it lacks what a run depends on.
    """
    candidates = [Path(path) for path in LuigiConfigParser._config_paths]
    if not any(path.is_file() for path in candidates):
        raise ConfigurationError(
            f"No luigi.cfg in {Path.cwd()}: run in the folder that holds it, "
            f"or name it with: export LUIGI_CONFIG_PATH=/path/to/luigi.cfg"
        )
    config = luigi.configuration.get_config()
    if missing := [f"[{s}] {key}" for s, key in _INDISPENSABLE if not config.get(s, key, "")]:
        raise ConfigurationError(
            f"luigi.cfg lacks {', '.join(missing)}; copy these lines from the luigi.cfg that came "
            f"with kpcluigi: without them a failed run could look like a good one"
        )


def luigid_url() -> str | None:
    """Where luigid is expected; None with --local-scheduler."""
    core = luigi.interface.core()
    if core.local_scheduler:
        return None
    return core.scheduler_url or f"http://{core.scheduler_host}:{core.scheduler_port}"


def require_luigid(url: str) -> None:
    """One question, its connection closed before anything is forked."""
    try:
        rpc(url, "resource_list")
    except (requests.RequestException, KeyError):
        host, _, port = url.removeprefix("http://").partition(":")
        raise ConfigurationError(
            f"luigid does not answer at {url}: start it, in the folder that holds luigi.cfg, "
            f"with: luigid --address {host} --port {port or 8082}"
        ) from None


def rpc(url: str, call: str, **data: Any) -> Any:
    """One of luigid's remote calls. Raises `requests.RequestException`."""
    answer = requests.post(
        f"{url}/api/{call}",
        data={"data": json.dumps(data)},
        timeout=_LUIGID_SECONDS,
        headers={"Connection": "close"},
    )
    answer.raise_for_status()
    return answer.json()["response"]


def wait_for_dead_workers(url: str) -> None:
    """Wait, for seconds, until luigid has dropped this host's workers whose processes are gone.

    Until then it would hold their tasks as running, and refuse them to us.
    """
    told = False
    deadline = time.monotonic() + 60
    while dead := [worker for worker in rpc(url, "worker_list") if _is_dead(worker)]:
        if not told:
            told = True
            print(
                f"kpcluigi: an earlier run was killed; luigid forgets its "
                f"{len(dead)} worker(s) in a few seconds",
                file=sys.stderr,
            )
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"luigid at {url} still holds workers of processes that are gone "
                f"({', '.join(str(worker['pid']) for worker in dead)}); set "
                f"worker_disconnect_delay = 5 under [scheduler] in its luigi.cfg and restart it"
            )
        time.sleep(0.5)
    rpc(url, "prune")


def _is_dead(worker: Mapping[str, Any]) -> bool:
    """Whether its process is gone while luigid still holds tasks as run by it."""
    pid = worker.get("pid")
    if not worker.get("num_running"):
        return False
    if worker.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"  # ended, but not yet collected by its parent
