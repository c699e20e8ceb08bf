"""The package as someone meets it who has only Python: its example, its words, its import."""

from __future__ import annotations

import gzip
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import kpcluigi.salesforce as sf
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from tests.conftest import CLIENT_ID, CLIENT_SECRET


def example_of(text: str) -> str:
    """The code of the docstring: its first indented block."""
    found = re.search(r"\n\n((?:    .*\n|\n)+)", text)
    assert found
    return textwrap.dedent(found.group(1))


def test_the_example_of_the_docstring_does_what_it_shows(
    org: SalesforceStandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KPC_SALESFORCE_URL", org.url)
    monkeypatch.setenv("KPC_SALESFORCE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("KPC_SALESFORCE_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.chdir(tmp_path)
    code = example_of(sf.__doc__ or "")
    assert "create_job" in code
    exec(compile(code, "the example", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("00D")
    assert "JobComplete 2 0" in lines
    assert lines.index("first") < lines.index("second")
    failed = gzip.decompress(Path("failed.csv.gz").read_bytes()).decode()
    assert failed.splitlines() == ['"sf__Id","sf__Error",External_ID__c,Note__c']


def test_everything_public_is_explained() -> None:
    functions = [thing for _, thing in inspect.getmembers(sf, inspect.isfunction)]
    classes = [sf.Client, sf.ClientCredentials, sf.JobInfo, sf.QueryJobInfo]
    methods = [m for c in classes for _, m in inspect.getmembers(c, inspect.isfunction)]
    for thing in [*functions, *classes, *(m for m in methods if not m.__name__.startswith("_"))]:
        first = (thing.__doc__ or "").partition("\n")[0]
        assert re.fullmatch(r"[A-Z].*[.;:,\w]", first), thing
    assert {function.__name__ for function in functions} <= set(sf.__all__)


def test_importing_the_package_opens_nothing_and_loads_little() -> None:
    code = """
        import logging, os, signal, socket, sys, threading, warnings
        opened = []
        # urllib3 tries at import whether a socket can be bound to ::1; nothing else is called
        quiet = {"socket.__new__", "socket.bind"}
        sys.addaudithook(lambda event, given: opened.append(event)
                         if event.startswith(("socket.", "subprocess.")) else None)
        handlers = [signal.getsignal(number) for number in signal.Signals]
        open_files = sorted(os.listdir("/proc/self/fd"))

        import kpcluigi.salesforce

        assert not set(opened) - quiet, opened
        assert [signal.getsignal(number) for number in signal.Signals] == handlers
        assert sorted(os.listdir("/proc/self/fd")) == open_files
        assert threading.active_count() == 1
        assert not logging.getLogger().handlers
        assert logging.getLogger().level == logging.WARNING
        heavy = {"luigi", "oracledb", "polars", "pandas", "sqlalchemy", "duckdb", "tornado"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        client = kpcluigi.salesforce.Client("http://127.0.0.1:9", access_token="00D!t")
        assert sorted(os.listdir("/proc/self/fd")) == open_files
        client.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_the_tasks_are_there_for_whoever_names_them() -> None:
    code = """
        import kpcluigi.salesforce, sys
        assert "luigi" not in sys.modules
        from kpcluigi import MigrateAll
        import luigi
        assert issubclass(MigrateAll, luigi.Task)
        try:
            kpcluigi.NoSuchTask
        except AttributeError as error:
            assert "NoSuchTask" in str(error)
        else:
            raise AssertionError("an attribute that is not there")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_the_package_knows_no_other_part_of_the_product() -> None:
    for path in Path("kpcluigi/salesforce").glob("*.py"):
        for found in re.findall(r"^\s*(?:from|import) (kpcluigi[\w.]*)", path.read_text(), re.M):
            assert re.match(r"kpcluigi\.(salesforce|errors|files|version)\b", found), (path, found)
