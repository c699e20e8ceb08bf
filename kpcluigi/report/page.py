"""report.html and report.json: one page for people, the same facts for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from kpcluigi.files import replacing
from kpcluigi.report.summary import DELETES, RunSummary
from kpcluigi.staging import RunFolder, retry_command
from kpcluigi.version import VERSION


def write(folder: RunFolder, summary: RunSummary) -> None:
    """Write both files into the run folder, if there is one yet."""
    if not folder.path.is_dir():
        return
    written_at = datetime.now(UTC)
    with replacing(folder.report_facts) as file:
        file.write(_facts(summary, written_at).encode())
    with replacing(folder.report_page) as file:
        file.write(_page(summary, written_at).encode())


def _facts(summary: RunSummary, written_at: datetime) -> str:
    facts = {
        "written_at": written_at.isoformat(),
        "tool_version": VERSION,
        "folder": str(summary.folder),
        "window": summary.window,
        "incremental": summary.scope.model_dump(mode="json") if summary.scope else None,
        "green": summary.green,
        "automation_off": summary.automation_off,
        "run": summary.identity.model_dump(mode="json") if summary.identity else None,
        "tables": [
            {
                **asdict(table),
                "failures": [failure.model_dump(mode="json") for failure in table.failures],
                "dead_letters": [str(path) for path in table.dead_letters],
                "attempts": [done.model_dump(mode="json") for done in table.attempts],
                "errors": [found.model_dump(mode="json") for found in table.errors],
                "not_loaded": [str(path) for path in table.not_loaded],
            }
            for table in summary.tables
        ],
    }
    return json.dumps(facts, indent=1) + "\n"


def _page(summary: RunSummary, written_at: datetime) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["thousands"] = lambda value: "" if value is None else f"{value:,}"
    template = files("kpcluigi.report").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        run=summary,
        written_at=written_at,
        version=VERSION,
        deletes=DELETES,
        retry=lambda table: retry_command(RunFolder(summary.folder).table(table)),
    )
