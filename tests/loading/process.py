"""A load as a process of its own, which can be killed at any moment and started again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from kpcluigi.errors import KpcluigiError
from kpcluigi.load import ChunkLoad, Compression, RetryLoad, open_attempt
from kpcluigi.markers import ChunkManifest, LoadResult
from kpcluigi.quota import Admission
from kpcluigi.salesforce import Client, ClientCredentials, allocation_of
from kpcluigi.staging import RunFolder, read_marker
from kpcluigi.tables import Table
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.loading import RULES

WAIT = 30.0
"""Seconds for what a test waits for; far more than it takes."""
FOR_EVER = 300.0

# Importing takes longer than loading: it is done once, and each process is forked from there
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Command:
    """What is done again and again until it is done.

    Attributes:
        n: the chunk that is loaded; 0: the dead letter is sent again.
        stalls: a lost answer holds the process for ever, instead of for a moment: so it stands
            still where a test wants to kill it.
    """

    url: str
    run: Path
    table: Table
    n: int = 1
    corrected: Path | None = None
    stalls: bool = False
    retries: int = 3
    gzip: bool = False

    @property
    def said(self) -> Path:
        return self.run.parent / "said.txt"


def carry_out(command: Command) -> None:
    """The shipped loader as BulkUpload and RetryFailed call it; exit code 1 when it gives up."""
    try:
        _carry_out(command)
    except KpcluigiError as error:
        command.said.write_text(f"{type(error).__name__}: {error}", "utf-8")
        os._exit(1)
    os._exit(0)


def _carry_out(command: Command) -> None:
    run = RunFolder(command.run)
    run.sweep()  # as each command does when it begins
    folder = run.table(command.table.name)
    client = Client(
        command.url,
        credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        retries=3,
        retry_delay=FOR_EVER if command.stalls else 0.01,
        timeout=10,
    )
    gate = Admission(
        run.path.parent, ask_org=lambda: allocation_of(client), reserve=0.1, recheck=1.0
    )
    rules = replace(RULES, retries=command.retries)
    compression = Compression(run.gzip_verdict, wanted=command.gzip)
    with client:
        if command.n:
            with folder.chunk_lock(command.n):
                if read_marker(folder.load_result(command.n), LoadResult) is not None:
                    return
                manifest = read_marker(folder.chunk_manifest(command.n), ChunkManifest)
                assert manifest is not None
                ChunkLoad(
                    client=client,
                    table=command.table,
                    manifest=manifest,
                    folder=folder,
                    logs=run.job_logs,
                    rules=rules,
                    compression=compression,
                    gate=gate,
                    may_send=lambda: None,
                    stage=lambda stage: None,
                    tell=lambda line, share, job_id: None,
                ).run()
            return
        with folder.retry_lock():
            attempt = open_attempt(folder, command.table, command.corrected)
            if attempt is None:
                return
            RetryLoad(
                client=client,
                table=command.table,
                folder=folder,
                attempt=attempt,
                logs=run.job_logs,
                rules=rules,
                compression=compression,
                gate=gate,
                stage=lambda stage: None,
                tell=lambda line, share, job_id: None,
            ).run()


def start(command: Command) -> ForkServerProcess:
    process = _CONTEXT.Process(target=carry_out, args=(command,), daemon=True)
    process.start()
    return process


def finish(command: Command) -> int:
    """Run it to its end; returns the exit code."""
    process = start(command)
    process.join(WAIT * 4)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode


def kill(process: ForkServerProcess) -> None:
    """kill -9; it must have been alive."""
    process.kill()
    process.join(WAIT)
    assert process.exitcode == -signal.SIGKILL


def kill_when(command: Command, reached: Callable[[], object]) -> None:
    """Start it, and kill it as soon as it has come to the point."""
    process = start(command)
    wait_for(reached)
    kill(process)


def wait_for(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not reached():
        assert time.monotonic() < deadline, "that did not happen"
        time.sleep(0.005)
