"""audit.jsonl: what the markers of a run were at each of its exits, as a chain of hashes.

A line per marker, and per file that names rows, that is new, changed or gone since the last line
about it:

    {"at": "2026-11-21T19:10:27Z", "bytes": 812, "facts": {"rows": 10},
     "file": "T/loads/00001.json", "mtime_ns": 1795288227000000000, "n": 1,
     "previous": "", "sha256": "…", "hash": "…"}

`at` is when the marker was written, `sha256` that of its bytes (null: it is gone), `previous` the
hash of the line before. `hash` is the SHA-256 of the line without it: compact JSON, keys in order.
Lines that stand are never rewritten. Whoever keeps the last hash, which is on the report that was
signed, can tell whether any line was changed, taken out or cut off since.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from kpcluigi.errors import AuditError, DiskFullError
from kpcluigi.staging import RunFolder

START = ""
"""What the first line has as the hash before it."""
_END = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_END_BYTES = len(',"hash":""}') + 64
_SETTLED = 2_000_000_000
"""Nanoseconds after which a file that changes gets another time of change on any file system."""
_SCALARS = (
    "verdict", "rows", "source", "salesforce", "difference", "extracted", "created", "updated",
    "failed", "unprocessed", "rejected", "dead_lettered", "changed_to_fit", "blanked", "scn",
    "fingerprint", "attempt", "org_id", "oracle_database", "invocation", "stage", "error",
    "sampled", "sample_checksum", "requests", "accepted", "tool_version",
)  # fmt: skip
"""What a line tells of its marker, where the marker says it; nothing of any row."""
_COUNTED = ("chunks", "jobs", "parts", "checks", "differences", "warnings", "not_checked")
"""Lists of which a line tells how long they are."""
_NO_MARKERS = {"report.json"}
_ROWS = re.compile(
    r"/(dead_letter|blanked|differences)/[^/]*\.csv\.gz$|/repairs/\d+\.failed\.csv\.gz$"
)
"""Files that name rows, which a verdict rests on."""
_WRITTEN_ONCE = re.compile(
    r"/(reconciled|source_totals)\.json$|/(chunks|loads|retries|repairs)/\d{5}\.json$"
)
"""Markers that are only ever written anew, with a later `written_at`."""
_DEPTH = 2
"""Folders between the run's own and that of a marker, at most: TABLE/loads."""


@dataclass(frozen=True)
class AuditEnd:
    """How the audit stands: what the report names of it."""

    last_hash: str = ""
    lines: int = 0
    added: int = 0
    said: str = ""
    """Of a line that a killed process left unfinished."""
    problem: str = ""
    """Why it was not continued; empty when all is well."""


@dataclass
class _Chain:
    """The lines of a file that follow one on another."""

    lines: int = 0
    last_hash: str = START
    hashes: set[str] = field(default_factory=set)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By file: the last line about it."""
    faults: list[str] = field(default_factory=list)
    tail: bytes = b""
    """Behind the last end of a line."""


@dataclass(frozen=True)
class _Line:
    """One line as it was read."""

    content: dict[str, Any]
    """Empty where it is no JSON object."""
    stated: str
    """The hash that it gives; empty where it gives none."""
    is_intact: bool
    """That hash is the one of its content."""


def append(folder: RunFolder, *, now: datetime | None = None) -> AuditEnd:
    """Add a line for each marker that is new, changed or gone; on disk when it returns.

    Raises:
        AuditError: the chain is broken, or does not have the hash that the last report names;
            nothing was added.
        DiskFullError: there is no room for it; nothing was added.
    """
    if not folder.path.is_dir():
        return AuditEnd()
    moment = now or datetime.now(UTC)
    with _locked(folder.audit) as file:
        chain = _read(file.read())
        faults = [*chain.faults, *_cut_off(chain, folder, reported_hash(folder))]
        if faults:
            raise AuditError(
                f"{folder.audit}: {faults[0]}. Nothing was added to it, and this run is not to be "
                f"signed. See: kpcluigi audit. Restore {folder.audit.name} and "
                f"{folder.report_facts.name} from a backup, or move both aside to begin a new audit"
            )
        said, end = "", file.tell() - len(chain.tail)
        events = sorted(_events(folder.path, chain.known, moment), key=_in_order)
        faults = [told for event in events for told in _by_hand(event, chain.known)]
        if faults:
            raise AuditError(
                f"{folder.audit}: {faults[0]}. Nothing was added to it, and this run is not to be "
                f"signed. Restore the marker from a backup, or remove it to have that step done "
                f"again"
            )
        new = []
        tail = _parse(chain.tail)
        if chain.tail and not _fault(chain, tail, chain.lines + 1):
            _take(chain, tail)
            new.append(chain.tail + b"\n")
            events = [event for event in events if not _same(event, chain.known)]
            said = "the last line had no end; it was whole, and got one"
        elif chain.tail:
            said = f"a line that a killed run left unfinished was removed ({len(chain.tail)} bytes)"
            events.insert(0, _discarded(folder, chain.tail, moment))
        added = len(events)
        new += [_add(chain, event) + b"\n" for event in events]
        if new or chain.tail:
            _write(file, folder.audit, end, b"".join(new))
    return AuditEnd(last_hash=chain.last_hash, lines=chain.lines, added=added, said=said)


def verify(folder: RunFolder, *, last_hash: str = "") -> tuple[AuditEnd, list[str]]:
    """The chain, and every marker against its last line; what is wrong, a sentence each.

    Args:
        last_hash: from a report that was signed; it has to be in the chain.

    Raises:
        AuditError: there is no audit.
    """
    if not folder.audit.is_file():
        raise AuditError(f"{folder.audit} is not there: no run has ended in this folder yet")
    with folder.audit.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        chain = _read(file.read())
        found = dict(_markers(folder.path))
        faults = list(chain.faults)
        if chain.tail:
            faults.append(
                f"line {chain.lines + 1} has no end: a killed run left it so, and the next one "
                f"removes it; or it was cut off"
            )
        faults += _cut_off(chain, folder, reported_hash(folder))
        if last_hash and last_hash.lower() not in chain.hashes:
            faults.append(
                f"no line has the hash {last_hash}: lines were cut off at the end, or it is of "
                f"another run"
            )
        for name, line in sorted(chain.known.items()):
            if line["sha256"] is None:
                continue
            if name not in found:
                faults.append(f"{name} is missing: line {line.get('n')} names it")
            elif _sha256(folder.path / name) != line["sha256"]:
                faults.append(
                    f"{name} is not what line {line.get('n')} says of it: it was changed since"
                )
        for name in sorted(found):
            last = chain.known.get(name)
            if last is None or last["sha256"] is None:
                faults.append(
                    f"{name} is in no line: it was added by hand, or by a run that is under way or "
                    f"was killed (its next start adds it)"
                )
    return AuditEnd(last_hash=chain.last_hash, lines=chain.lines), faults


def reported_hash(folder: RunFolder) -> str:
    """The last hash that report.json names; empty where there is none."""
    try:
        facts = json.loads(folder.report_facts.read_bytes())
        return str(facts["audit"]["last_hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _read(content: bytes) -> _Chain:
    chain = _Chain()
    *lines, chain.tail = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        parsed = _parse(line)
        if fault := _fault(chain, parsed, number):
            chain.faults.append(fault)
        _take(chain, parsed)
    return chain


def _parse(line: bytes) -> _Line:
    end = _END.fullmatch(line[-_END_BYTES:])
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    stated = end[1].decode() if end else ""
    return _Line(
        content=content if isinstance(content, dict) else {},
        stated=stated,
        is_intact=bool(stated) and _hash(line[:-_END_BYTES] + b"}") == stated,
    )


def _fault(chain: _Chain, line: _Line, number: int) -> str:
    """What is wrong with a line that is to follow on the chain; empty when all is well."""
    if not line.is_intact:
        return f"line {number} was changed: its hash is not that of its content"
    n, previous = line.content.get("n"), line.content.get("previous")
    if previous == chain.last_hash and n == chain.lines + 1:
        return ""
    if n != number:
        return f"line {number} has the number {n}: lines before it were removed or added"
    return f"line {number} does not follow on line {number - 1}: one of the two was replaced"


def _take(chain: _Chain, line: _Line) -> None:
    """The line becomes the last one, whatever is wrong with it."""
    content = line.content
    chain.lines = content["n"] if isinstance(content.get("n"), int) else chain.lines + 1
    chain.last_hash = line.stated
    chain.hashes.add(line.stated)
    if isinstance(content.get("file"), str) and "sha256" in content:
        chain.known[content["file"]] = content


def _cut_off(chain: _Chain, folder: RunFolder, reported: str) -> Iterator[str]:
    if reported and reported not in chain.hashes:
        yield (
            f"lines are missing, or were replaced, at the end: {folder.report_facts.name} names "
            f"the last hash {reported}, and no line has it"
        )


def _events(run: Path, known: dict[str, dict[str, Any]], now: datetime) -> Iterator[dict[str, Any]]:
    """What the lines about changed markers say, but for their places in the chain."""
    found = dict(_markers(run))
    for name, stat in found.items():
        last = known.get(name)
        if last and last["mtime_ns"] == stat.st_mtime_ns and last["bytes"] == stat.st_size:
            continue
        try:
            sha256 = _sha256_of(run / name)
            if last and last["sha256"] == sha256:
                continue
            at, facts = _told(run / name, stat, now)
        except FileNotFoundError:
            continue  # gone meanwhile: the next exit says so
        # A file could change again within the clock's step, unseen: it is read again next time
        settled = now.timestamp() * 1e9 - stat.st_mtime_ns > _SETTLED
        yield {
            "at": at,
            "bytes": stat.st_size,
            "facts": facts,
            "file": name,
            "mtime_ns": stat.st_mtime_ns if settled else 0,
            "sha256": sha256,
        }
    for name, last in known.items():
        if name not in found and last["sha256"] is not None:
            yield _gone(name, now, {"removed": True})


def _by_hand(event: dict[str, Any], known: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What was changed by something else than a run, which writes a marker with a later time."""
    last = known.get(event["file"])
    if last is None or None in (last["sha256"], event["sha256"]):
        return
    if _WRITTEN_ONCE.search(event["file"]) and event["at"] <= last["at"]:
        yield f"{event['file']} was changed after it was written, at {last['at']}"


def _gone(name: str, now: datetime, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": _moment(now),
        "bytes": 0,
        "facts": facts,
        "file": name,
        "mtime_ns": 0,
        "sha256": None,
    }


def _discarded(folder: RunFolder, tail: bytes, now: datetime) -> dict[str, Any]:
    return _gone(folder.audit.name, now, {"unfinished_bytes": len(tail), "removed": True})


def _same(event: dict[str, Any], known: dict[str, dict[str, Any]]) -> bool:
    last = known.get(event["file"])
    return last is not None and last["sha256"] == event["sha256"]


def _in_order(event: dict[str, Any]) -> tuple[datetime, str]:
    return datetime.fromisoformat(event["at"]), event["file"]


def _told(path: Path, stat: os.stat_result, now: datetime) -> tuple[str, dict[str, Any]]:
    """When a file was written, and of a marker a few of its numbers."""
    if path.suffix == ".json":
        return _facts(path.read_bytes(), now)
    return _moment(datetime.fromtimestamp(stat.st_mtime, UTC)), {}


def _facts(data: bytes, now: datetime) -> tuple[str, dict[str, Any]]:
    """When a marker was written, and a few of its numbers."""
    try:
        marker = json.loads(data)
        at = datetime.fromisoformat(marker["written_at"])
    except (ValueError, KeyError, TypeError):
        return _moment(now), {"unreadable": True}
    facts = {name: marker[name] for name in _SCALARS if marker.get(name) not in (None, "", [], {})}
    facts |= {name: len(marker[name]) for name in _COUNTED if isinstance(marker.get(name), list)}
    return _moment(at if at.tzinfo else at.replace(tzinfo=UTC)), facts


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _add(chain: _Chain, event: dict[str, Any]) -> bytes:
    """The event as the next line of the chain."""
    content = {**event, "n": chain.lines + 1, "previous": chain.last_hash}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    stated = _hash(text)
    _take(chain, _Line(content, stated, is_intact=True))
    return text[:-1] + f',"hash":"{stated}"}}'.encode()


def _markers(
    folder: Path, prefix: str = "", depth: int = _DEPTH
) -> Iterator[tuple[str, os.stat_result]]:
    """Every marker of a run, by its path in the run's folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if entry.name.endswith(".json"):
                if name not in _NO_MARKERS and entry.is_file():
                    yield name, entry.stat()
            elif entry.name.endswith(".csv.gz"):
                if _ROWS.search(name) and entry.is_file():
                    yield name, entry.stat()
            elif depth and "." not in entry.name and entry.is_dir(follow_symlinks=False):
                yield from _markers(Path(entry.path), f"{name}/", depth - 1)


def _sha256(path: Path) -> str:
    try:
        return _sha256_of(path)
    except OSError:
        return ""


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, made where it is missing, for one process at a time."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskFullError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _write(file: BinaryIO, path: Path, end: int, data: bytes) -> None:
    """Put the data behind `end`, on disk; all of it or, as far as can be, none."""
    try:
        file.truncate(end)
        file.seek(end)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # where the file is new
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        os.ftruncate(file.fileno(), end)
        raise DiskFullError(
            f"{path} cannot be written: {error.strerror}; make room in {path.parent} and run the "
            f"same command again"
        ) from error
