"""report.html and report.json: one page to sign, the same facts for programs."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from pydantic import BaseModel

from kpcluigi.files import replacing
from kpcluigi.report import charts, frames
from kpcluigi.report.history import TableHistory, read_history
from kpcluigi.report.summary import DELETES, PASS, RunSummary, share
from kpcluigi.report.text import LEVELS, Step, next_steps, sides_of, verdict_sentence
from kpcluigi.staging import RunFolder, repair_command, retry_command
from kpcluigi.version import VERSION

DAILY_BATCHES = 15_000
"""That Salesforce allows in any 24 hours (Bulk API 2.0 Developer Guide, "Limits")."""
SHOWN = 50
"""Lines of one kind that the page shows of one table; all of them stand in its markers."""
_LIBRARIES = ("luigi", "oracledb", "polars", "pandas", "pyarrow", "pydantic", "requests")


@dataclass(frozen=True)
class Report:
    """All that page and facts are made of."""

    run: RunSummary
    histories: dict[str, TableHistory]
    verdict: str
    steps: list[Step]
    """What to do next; none where all is well."""
    written_at: datetime
    versions: dict[str, str]


def write(folder: RunFolder, summary: RunSummary, *, about: str = "") -> None:
    """Write both files into the run folder, if there is one yet.

    Args:
        about: the one table that the command was about.
    """
    if not folder.path.is_dir():
        return
    report = Report(
        run=summary,
        histories=read_history(folder, [table.table for table in summary.tables]),
        verdict=verdict_sentence(summary),
        steps=[] if summary.reconciled else next_steps(folder, summary, about=about),
        written_at=datetime.now(UTC),
        versions=_versions(),
    )
    with replacing(folder.report_facts) as file:
        file.write(_facts(report).encode())
    with replacing(folder.report_page) as file:
        file.write(_page(folder, report).encode())


def _versions() -> dict[str, str]:
    return {
        "kpcluigi": VERSION,
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _facts(report: Report) -> str:
    run = report.run
    unit, rates = frames.throughput(frames.jobs_of(report.histories))
    allocation = frames.allocation(frames.jobs_of(report.histories))
    facts = {
        "written_at": report.written_at,
        "started_at": run.started_at,
        "tool_version": VERSION,
        "versions": report.versions,
        "folder": run.folder,
        "window": run.window,
        "incremental": run.scope,
        "green": run.green,
        "may_be_signed": run.may_be_signed,
        "verdict": report.verdict,
        "next": report.steps,
        "left_out": run.left_out,
        "automation_off": run.automation_off,
        "audit": run.audit,
        "mapping": run.mapping,
        "run": run.identity,
        "preflight": run.preflight,
        "tables": [
            {
                **{name: getattr(table, name) for name in table.__dataclass_fields__},
                "success_rate": table.success_rate,
                "difference": table.difference,
                "match_percentage": table.match_percentage,
                "failed_at_first": report.histories[table.table].failed,
                "rejected": report.histories[table.table].rejected,
                "load_seconds": report.histories[table.table].load_seconds,
                "fitted": report.histories[table.table].changed_columns,
                "manifests": report.histories[table.table].manifests,
                "not_read": report.histories[table.table].unread,
            }
            for table in run.tables
        ],
        "throughput": {"per": unit, "steps": rates.round({"rows": 1}).to_dict("records")},
        "allocation": {"allowed": DAILY_BATCHES, "steps": allocation.to_dict("records")},
    }
    return json.dumps(facts, indent=1, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """What json does not know by itself."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return asdict(value)


def _page(folder: RunFolder, report: Report) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "thousands": _thousands,
        "percent": _percent,
        "breaks": _breaks,
        "moment": _moment,
        "value": _value,
        "words": lambda text: text.replace("_", " "),
        "plural": lambda count, one, many: f"{count:,} {one if count == 1 else many}",
    }
    run = report.run
    jobs = frames.jobs_of(report.histories)
    template = files("kpcluigi.report").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        run=run,
        report=report,
        histories=report.histories,
        totals=_totals(run, report.histories),
        levels=LEVELS,
        charts=_charts(report.histories),
        jobs=jobs,
        errors=frames.errors(run.tables),
        fitted=frames.fitted(report.histories),
        deletes=DELETES,
        passed=PASS,
        shown=SHOWN,
        first=_first,
        sides_of=sides_of,
        retry=lambda table: retry_command(folder.table(table)),
        repair=lambda table: repair_command(folder.table(table)),
        folder_of=lambda table: folder.table(table).path,
    )


def _totals(run: RunSummary, histories: Mapping[str, TableHistory]) -> dict[str, float | None]:
    """Over all tables; None where no table has a number yet."""
    totals: dict[str, float | None] = {
        "failed_at_first": sum(history.failed for history in histories.values())
    }
    for name in ("planned", "extracted", "loaded", "failed", "in_org", "difference"):
        known = [n for table in run.tables if (n := getattr(table, name)) is not None]
        totals[name] = sum(known) if known else None
    extracted = sum(table.extracted for table in run.tables)
    loaded = sum(table.loaded for table in run.tables)
    totals["success_rate"] = share(extracted, loaded) if extracted else None
    compared = [table.reconciled for table in run.tables if table.reconciled is not None]
    source, org = sum(done.source for done in compared), sum(done.salesforce for done in compared)
    apart = sum(abs(done.difference) for done in compared)  # what lacks is not made up elsewhere
    match = share(max(source, org), max(source, org) - apart) if compared else None
    totals["match_percentage"] = None if match is None else max(match, 0.0)
    return totals


def _charts(histories: Mapping[str, TableHistory]) -> list[Markup]:
    jobs = frames.jobs_of(histories)
    unit, rates = frames.throughput(jobs)
    drawn = []
    if len(rates):
        drawn.append(
            charts.bars(
                [start.to_pydatetime() for start in rates["start"]],
                rates["rows"].tolist(),
                dict(frames.STEPS)[unit],
                title=f"Throughput: rows that arrived in Salesforce, per {unit}",
                unit=f"rows per {unit}",
            )
        )
    allocation = frames.allocation(jobs)
    if len(allocation):
        drawn.append(
            charts.steps(
                [moment.to_pydatetime() for moment in allocation["at"]],
                allocation["batches"].tolist(),
                limit=DAILY_BATCHES,
                title="Daily allocation: batches of this run that count in 24 hours",
                unit="batches in 24 hours",
            )
        )
    return drawn


def _first(found: list[Any]) -> list[Any]:
    """What is shown of checks or ranges: those that differ first of all, in their order."""
    wrong = [one for one in found if _is_wrong(one)]
    right = [one for one in found if not _is_wrong(one)]
    chosen = [*wrong[: 4 * SHOWN], *right[:SHOWN]]
    ids = {id(one) for one in chosen}
    return [one for one in found if id(one) in ids]


def _is_wrong(one: Any) -> bool:
    return bool(one.verdict != PASS)


def _thousands(value: Any) -> str:
    """With thousands; as it is where it is a text; a dash where it is not known."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float | None) -> str:
    """Never rounded up to 100."""
    if value is None:
        return "–"
    return "100 %" if value == 100 else f"{min(value, 99.9999):.4f}".rstrip("0").rstrip(".") + " %"


def _value(side: tuple[str, bool]) -> Markup:
    """One side of a difference: blanks and line ends in sight, a word such as NULL told apart."""
    text, is_value = side
    if not is_value:
        return Markup('<span class="null">{}</span>').format(text)
    shown = text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥")
    kept = shown.strip(" ")
    lead = len(shown) - len(shown.lstrip(" ")) if kept else 0
    return Markup("{}{}{}").format("␣" * lead, kept, "␣" * (len(shown) - lead - len(kept)))


def _breaks(name: str) -> Markup:
    """A long name, which may be broken behind its single underscores."""
    parts = re.split(r"(?<=[^_]_)(?=[^_])", name)
    return Markup("<wbr>").join(escape(part) for part in parts)


def _moment(at: datetime | None) -> str:
    return "–" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
