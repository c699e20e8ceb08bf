"""The README and the files beside it mention everything that there is to use."""

from __future__ import annotations

import argparse
import configparser
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import luigi
import pytest

import kpcluigi
from kpcluigi import cli, errors, settings
from kpcluigi.markers import Fitted
from kpcluigi.tables import Column, ColumnType
from kpcluigi.tasks.base import RESOURCES

README = Path("README.md").read_text("utf-8")
CFG = configparser.ConfigParser(interpolation=None)
CFG.read("luigi.cfg", encoding="utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = cli._parser()
    (actions,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(actions.choices)


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_explained(name: str) -> None:
    parser = commands()[name]
    assert f"kpcluigi {name}" in README
    assert parser.description
    for action in parser._actions:
        assert action.help, f"{name} {action.option_strings} has no help"
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert option in README, f"{name} {option}"


def sections() -> dict[str, set[str]]:
    classes = inspect.getmembers(settings, inspect.isclass)
    return {
        name: {parameter for parameter, _ in section.get_params()}
        for name, section in classes
        if issubclass(section, luigi.Config) and section.__module__ == settings.__name__
    }


@pytest.mark.parametrize("section", sections())
def test_every_setting_is_in_luigi_cfg_and_in_the_readme(section: str) -> None:
    keys = sections()[section]
    assert set(CFG.options(section)) == keys
    for key in keys:
        assert re.search(rf"^\| `\[{section}\][^|]*`{key}`|\[{section}\] {key}`", README, re.M), key


def test_every_limit_that_the_tasks_claim_is_set_and_explained() -> None:
    assert set(CFG.options("resources")) == set(RESOURCES)
    for name in RESOURCES:
        assert f"`[resources] {name}`" in README


def test_every_exit_code_is_explained() -> None:
    for name, code in CFG.items("retcode"):
        if name != "missing_data":  # no task here is external
            assert f"| {code} |" in README, name


def test_every_type_and_option_of_a_column_is_explained() -> None:
    start, end = README.index("## What becomes of a value"), README.index("## Commands")
    comments = "\n".join(
        line for line in Path("tables.toml").read_text("utf-8").splitlines() if line[:1] == "#"
    )
    for kind in get_args(ColumnType):
        assert f"| `{kind}` |" in README[start:end]
        assert re.search(rf"^#   {kind} ", comments, re.M), kind
    for option in set(Column.model_fields) - {"field", "type"}:
        assert re.search(rf"`{option}\b", README[start:end]), option
        assert re.search(rf"\b{option}\b", comments), option
    for what in set(Fitted.model_fields) - {"sample_keys"}:
        assert f"`{what}`" in README[start:end], what


def test_every_error_is_in_the_troubleshooting() -> None:
    troubleshooting = README[README.index("## Troubleshooting") :]
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    leaves = [c for c in classes if not c.__subclasses__()]
    assert leaves
    for leaf in leaves:
        assert f"`{leaf.__name__}`" in troubleshooting, leaf.__name__


def test_the_tree_of_errors_is_drawn_in_full() -> None:
    for name, _ in inspect.getmembers(errors, inspect.isclass):
        assert re.search(rf"\b{name}\b", errors.__doc__ or ""), name


def test_every_task_is_in_the_front_door() -> None:
    for name in kpcluigi.__all__:
        assert issubclass(getattr(kpcluigi, name), luigi.Task)


def test_importing_a_library_changes_nothing_in_the_process() -> None:
    code = (
        "import signal, threading, logging, atexit\n"
        "before = [signal.getsignal(s) for s in signal.Signals]\n"
        "handlers = list(logging.getLogger().handlers)\n"
        "import kpcluigi.salesforce, kpcluigi.oracle\n"
        "assert [signal.getsignal(s) for s in signal.Signals] == before\n"
        "assert logging.getLogger().handlers == handlers\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_teaches_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert "luigi --module kpcluigi MigrateAll" in text
    assert "kpcluigi rehearse" in text
