"""The command as the README has it run at night: by cron and by systemd, on the real parts."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kpcluigi import settings
from kpcluigi.errors import ConfigurationError
from tests.sales_target.copying import PASSWORD, ROWS, SMALL, USER, Copying

README = Path("README.md").read_text("utf-8")
CHAPTER = README[README.index("\n## Every night") : README.index("\n## Where everything lies")]
SECRET = "s3cret-for-nobody"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", CHAPTER, re.S)


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


CRONTAB = blocks("crontab")[0]
SERVICE, TIMER = map(unit, blocks("ini"))


class Nightly:
    """A host as the README describes it, below a folder of the test's."""

    def __init__(self, project: Path, copying: Copying) -> None:
        self.project, self.copying = project, copying
        scripts = project / ".venv" / "bin"
        scripts.mkdir(parents=True)
        (scripts / "luigi").symlink_to(Path(sys.executable).parent / "luigi")
        url = copying.relayed_url.replace("postgres@", f"postgres:{SECRET}@")
        self.variables = {
            "KPC_ORACLE_DSN": copying.relayed_dsn,
            "KPC_ORACLE_USER": USER,
            "KPC_ORACLE_PASSWORD": PASSWORD,
            "KPC_POSTGRES_URL": url,
        }
        lines = [f"{name}='{value}'" for name, value in self.variables.items()]
        (project / "kpcluigi.env").write_text("\n".join(lines) + "\n")

    def here(self, text: str) -> str:
        """What the README says, in the test's folder."""
        text = text.replace("/opt/kpcluigi", str(self.project))
        return text.replace("/etc/kpcluigi.env", str(self.project / "kpcluigi.env"))

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """In the bare environment that cron and systemd give."""
        return subprocess.run(
            command,
            cwd=self.project,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.project), **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def by_systemd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = shlex.split(self.here(SERVICE["Service"]["ExecStart"]))
        return self.run(*command, *arguments, **self.variables)

    @property
    def markers(self) -> dict[str, dict[str, Any]]:
        folder = self.project / "data" / "sales_target"
        return {path.name: json.loads(path.read_text()) for path in folder.glob("*/*")}


@pytest.fixture
def nightly(project: Path, copying: Copying) -> Nightly:
    return Nightly(project, copying)


def test_the_units_are_those_of_a_daily_service() -> None:
    assert SERVICE["Service"]["Type"] == "oneshot"
    assert SERVICE["Service"]["WorkingDirectory"] == "/opt/kpcluigi"
    assert SERVICE["Service"]["EnvironmentFile"] == "/etc/kpcluigi.env"
    assert TIMER["Timer"]["OnCalendar"] == "*-*-* 00:00:00"
    assert TIMER["Install"]["WantedBy"] == "timers.target"
    name = "kpcluigi-sales-target.timer"
    assert f"# /etc/systemd/system/{name}\n" in CHAPTER
    assert f"enable --now {name}" in CHAPTER


def test_from_midnight_to_midnight(nightly: Nightly) -> None:
    """By cron, through a lost connection; by systemd, in vain; and again, by force."""
    copying = nightly.copying
    (line,) = CRONTAB.splitlines()
    *when, command = line.split(maxsplit=5)
    assert when == ["0", "0", "*", "*", "*"]
    assert "%" not in command, "cron would end the command there"
    copying.oracle.arm(on="execute", match="AS id", drop=True)
    ended = nightly.run("/bin/sh", "-c", nightly.here(command))
    log = (nightly.project / "sales_target.log").read_text()
    assert ended.returncode == 0, log
    assert ended.stdout == ended.stderr == "", "cron sends no mail"
    (name,) = nightly.markers
    marker = nightly.markers[name]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.json", name)
    assert (marker["rows"], marker["batches"], marker["tries"]) == (ROWS, 1, 2)
    assert {"bytes", "rows_per_second", "seconds", "peak_memory_mb"} <= set(marker)
    assert marker["columns"]["target_year"]["non_null"] < ROWS
    assert "try 1 of 2 failed: DPY-4011" in log
    assert re.search(
        rf"equals APPS\.KHS_CUSTOMERS_TRX_TARGETS: {ROWS:,} rows in 1 batches, [\d,]+ bytes, "
        r"[\d.]+ s, [\d,]+ rows/s, peak memory \d+ MB; committed",
        log,
    )
    seen = copying.seen()
    assert seen[0] == ROWS

    cfg = nightly.project / "luigi.cfg"
    text = cfg.read_text()
    cfg.write_text(text.replace("= KHS_CUSTOMERS_TRX_TARGETS", f"= {SMALL}"))
    copying.to_postgres.falsify(b"333333", b"333334")
    failed = nightly.by_systemd("--log-level", "DEBUG")
    assert failed.returncode == 30, "another source is another copy, whatever the day"
    assert "FAILED: MismatchError: mb.sales_target was left as it was" in failed.stdout
    assert "sum of target_month: 333,344 / 333,345" in failed.stdout
    assert copying.seen() == seen
    assert nightly.markers[name.replace(".json", ".failed.json")]["error"] == "MismatchError"
    for statement in ("SET TRANSACTION READ ONLY", "COPY ", "SELECT count(*)"):
        assert f"DEBUG: {statement}" in failed.stderr

    cfg.write_text(text)
    copying.to_postgres.reset()
    logins = copying.oracle.stats()["logins"]
    forced = nightly.by_systemd("--force")
    assert forced.returncode == 0, forced.stderr
    assert copying.oracle.stats()["logins"] == logins + 1
    assert copying.seen() == seen
    assert nightly.markers[name]["checksum"] == marker["checksum"]

    told = [log, failed.stdout, failed.stderr, forced.stdout, forced.stderr]
    files = [path.read_text() for path in (nightly.project / "data").rglob("*") if path.is_file()]
    assert not any(SECRET in text for text in (*told, *files))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "set KPC_POSTGRES_URL in the environment .README, .Every night: the sales targets"),
        (f"mysql://u:{SECRET}@h/d", "no URL of a PostgreSQL database"),
        (f"postgresql+psycopg://u:{SECRET}@h:5432/", "no URL of a PostgreSQL database"),
        (f"postgresql+psycopg://u:{SECRET}@h:port/d", "is no URL; expected postgresql"),
        (SECRET, "is no URL; expected postgresql"),
    ],
)
def test_where_to_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.setenv("KPC_POSTGRES_URL", url)
    with pytest.raises(ConfigurationError, match=says) as refused:
        settings.postgres_url()
    assert SECRET not in str(refused.value)


def test_the_url_prints_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPC_POSTGRES_URL", f"postgresql://u:{SECRET}@h/d?sslmode=verify-full")
    url = settings.postgres_url()
    assert str(url) == "postgresql+psycopg://u:***@h/d?sslmode=verify-full"
