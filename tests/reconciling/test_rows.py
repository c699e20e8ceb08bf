"""Level 4 on few rows that are hard to compare: what was sent lies in files, the org is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from kpcluigi.chunkfile import writing
from kpcluigi.csvframes import header_line
from kpcluigi.errors import JobFailedError, JobTimeoutError
from kpcluigi.load import Standing
from kpcluigi.markers import (
    ComparedRows,
    Difference,
    JobOutcome,
    LoadResult,
    RangeTotals,
    RepairResult,
    RetryResult,
    RetrySource,
)
from kpcluigi.reconcile import QueryRules, deal, rows, spans
from kpcluigi.reconcile.alike import fields_alike, key_of
from kpcluigi.reconcile.measures import Aggregates, Measure
from kpcluigi.reconcile.rows import RowComparison
from kpcluigi.reconcile.spans import Days, Partition, Range
from kpcluigi.reconcile.staged import Sent, StagedTotals
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.ids import make_id
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from kpcluigi.salesforce import Client, ClientCredentials
from kpcluigi.staging import TableFolder, write_marker
from kpcluigi.tables import Table, parse_tables

CLIENT_ID, CLIENT_SECRET = "test-client", "test-secret"
SENT_AT = datetime(2030, 1, 1, tzinfo=UTC)
"""After everything that was changed in the org."""
NOON = "2024-01-01T05:00:00.000Z"
RULES = QueryRules(poll_interval=0.02, poll_interval_max=0.1, job_timeout=20)
FIELDS = ("Key__c", "Text__c", "Number__c", "Day__c", "Moment__c", "Parent__r.Code__c")


def sobject(name: str, prefix: str, *, case_sensitive: bool) -> SObject:
    fields = (
        Field("Key__c", "string", 20, external_id=True, case_sensitive=case_sensitive),
        Field("Text__c", "string", 80),
        Field("Number__c", "double", precision=18, scale=4),
        Field("Day__c", "date"),
        Field("Moment__c", "datetime"),
        Field("Parent__c", "reference", reference_to="Parent__c", relationship="Parent__r"),
    )
    return SObject(name, fields, prefix)


PARENT = SObject(
    "Parent__c", (Field("Code__c", "string", 8, external_id=True, unique=True),), "a0P"
)
OBJECTS = (
    sobject("Folded__c", "a0F", case_sensitive=False),
    sobject("Exact__c", "a0E", case_sensitive=True),
)
DEFAULTS = {"Text__c": "text", "Number__c": "1", "Day__c": "2024-01-01", "Moment__c": NOON}


@dataclass
class Sheet:
    """Rows that were sent, and those of the org."""

    org: SalesforceStandIn
    client: Client
    folder: TableFolder
    object: str = "Folded__c"
    partition: str = "MOMENT"
    days: tuple[date, ...] = (date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3))
    loads: list[LoadResult] = field(default_factory=list)
    _records: int = 0

    @property
    def table(self) -> Table:
        mapping = {
            "phase": 1,
            "object": self.object,
            "external_id": "Key__c",
            "key": ["ID"],
            "partition_column": self.partition,
            "source_zone": "Asia/Bangkok",
            "columns": {
                "ID": {"field": "Key__c", "type": "text", "length": 20},
                "TEXT": {"field": "Text__c", "type": "text", "length": 80},
                "NUMBER_": {"field": "Number__c", "type": "decimal", "scale": 4},
                "DAY": {"field": "Day__c", "type": "date"},
                "MOMENT": {"field": "Moment__c", "type": "datetime"},
            },
            "lookups": {"PARENT": "Parent__r.Code__c"},
        }
        return parse_tables({"tables": {"HARD": mapping}})["HARD"]

    def write(self, path: Path, given: Sequence[Mapping[str, str]]) -> str:
        """A file of rows; what is not given is as in every row."""
        texts = [{**DEFAULTS, "Parent__r.Code__c": "#N/A", **row} for row in given]
        told = any("sf__Error" in row for row in texts)
        columns = ["sf__Error", *FIELDS] if told else list(FIELDS)
        frame = pl.DataFrame(texts, schema=dict.fromkeys(columns, pl.String))
        with writing(path, header_line(columns)) as writer:
            writer.add(frame)
            return writer.close().sha256

    def chunk(self, *given: Mapping[str, str]) -> None:
        n = len(self.loads) + 1
        sha256 = self.write(self.folder.chunk_file(n), given)
        counts = dict.fromkeys(("updated", "failed", "unprocessed", "rejected"), 0)
        load = LoadResult(
            table="HARD",
            n=n,
            object=self.object,
            chunk_sha256=sha256,
            extracted=len(given),
            created=len(given),
            changed_to_fit=0,
            jobs=[JobOutcome(id="750", state="JobComplete", rows=len(given), ended_at=SENT_AT)],
            seconds=1,
            **counts,
        )
        self.loads.append(load)
        write_marker(self.folder.load_result(n), load)

    def retried(self, *given: Mapping[str, str], when: datetime = SENT_AT) -> None:
        """Rows of the dead letter that somebody corrected, and that arrived."""
        sha256 = self.write(self.folder.retry_file(1), given)
        source = RetrySource(
            table="HARD",
            attempt=1,
            rows=len(given),
            invocation="",
            corrected="corrected.csv",
            raw_bytes=1,
            sha256=sha256,
            header_bytes=1,
            cuts=[],
        )
        write_marker(self.folder.retry_source(1), source)
        result = RetryResult(
            table="HARD",
            attempt=1,
            rows=len(given),
            corrected="corrected.csv",
            created=len(given),
            updated=0,
            failed=0,
            unprocessed=0,
            jobs=[JobOutcome(id="750", state="JobComplete", rows=len(given), ended_at=when)],
            seconds=1,
        )
        write_marker(self.folder.retry_result(1), result)

    def repaired(self, *given: Mapping[str, str], when: datetime) -> None:
        """Rows that a repair sent again."""
        sha256 = self.write(self.folder.repair_file(1), given)
        source = RetrySource(
            table="HARD",
            attempt=1,
            rows=len(given),
            invocation="",
            corrected="",
            raw_bytes=1,
            sha256=sha256,
            header_bytes=1,
            cuts=[],
        )
        write_marker(self.folder.repair_source(1), source)
        result = RepairResult(
            table="HARD",
            attempt=1,
            rows=len(given),
            changed_too=False,
            created=0,
            updated=len(given),
            failed=0,
            unprocessed=0,
            jobs=[JobOutcome(id="750", state="JobComplete", rows=len(given), ended_at=when)],
            seconds=1,
        )
        write_marker(self.folder.repair_result(1), result)

    def record(self, **values: str | None) -> None:
        """A record of the org."""
        given: dict[str, str | None] = {**DEFAULTS, **values}
        self._records += 1
        prefix = next(one.key_prefix for one in OBJECTS if one.name == self.object)
        literals = [f"'{make_id(prefix, 1000 + self._records)}' AS Id"]
        literals += [f"{literal(value)} AS {name}" for name, value in given.items()]
        self.org.alter(
            f"INSERT INTO {self.object} SELECT * REPLACE ({', '.join(literals)}) "
            f"FROM template_{self.object}"
        )

    def both(self, **values: str) -> None:
        """A row, in a chunk of its own, and a record that is the same."""
        self.chunk(values)
        self.record(**values)

    def ranges(self) -> list[Range]:
        partition = Partition.of(self.table)
        assert partition is not None
        return [
            Range(
                Days(day, day, (RangeTotals(day=str(day), rows=2, columns={}),)),
                partition.span(day, day),
            )
            for day in self.days
        ]

    def compare(self, rules: QueryRules = RULES) -> tuple[ComparedRows, list[Difference]]:
        exact = {"Key__c": {"caseSensitive": self.object == "Exact__c"}}
        comparison = RowComparison(
            self.client,
            self.table,
            Sent(
                self.folder,
                self.table,
                Standing([*self.loads], []),
                self.folder.chunk_file,
                partition=Partition.of(self.table),
            ),
            ranges=self.ranges(),
            measures=[],
            key=key_of(self.table, exact),
            fields=fields_alike(self.table),
            rules=rules,
            tell=lambda line, share: None,
        )
        return comparison.run(all_rows=True)


def literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


@pytest.fixture(scope="module")
def small_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceStandIn]:
    database = tmp_path_factory.mktemp("rows") / "org.duckdb"
    with duckdb.connect(str(database)) as con:
        create_object(con, PARENT)
        insert_rows(con, "Parent__c", "SELECT 'P1' AS Code__c")
        for one in OBJECTS:
            create_object(con, one)
            insert_rows(con, one.name, "SELECT 'template' AS Key__c")
            con.execute(f"CREATE TABLE template_{one.name} AS FROM {one.name}")
    with SalesforceStandIn(database, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as org:
        yield org


@pytest.fixture
def sheet(small_org: SalesforceStandIn, tmp_path: Path) -> Iterator[Sheet]:
    small_org.disarm()
    small_org.reset()
    for one in OBJECTS:
        small_org.alter(f"DELETE FROM {one.name}")
    credentials = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    with Client(small_org.url, credentials=credentials, retry_delay=0.01) as client:
        yield Sheet(small_org, client, TableFolder(tmp_path / "HARD"))
    small_org.disarm()


def require(
    found: tuple[ComparedRows, list[Difference]], *named: tuple[str, str, str], **counts: int
) -> None:
    """These and no others are named; and so many rows, and no others, are of each class."""
    compared, differences = found
    assert sorted((d.kind, d.key, d.field) for d in differences) == sorted(named)
    classes = (
        "identical",
        "modified",
        "missing",
        "extra",
        "changed_since",
        "dead_lettered",
        "trimmed",
        "duplicates",
    )
    there = {name: getattr(compared, name) for name in classes if getattr(compared, name)}
    assert there == counts


# -- keys


def test_keys_that_differ_in_case_are_one_where_the_field_is_not_case_sensitive(
    sheet: Sheet,
) -> None:
    sheet.chunk({"Key__c": "AbC"})
    sheet.record(Key__c="aBc")
    require(sheet.compare(), ("modified", "AbC", "Key__c"), modified=1)


def test_keys_that_differ_in_case_are_two_where_the_field_is_case_sensitive(sheet: Sheet) -> None:
    sheet.object = "Exact__c"
    sheet.chunk({"Key__c": "AbC"}, {"Key__c": "abc"})
    sheet.record(Key__c="AbC")
    sheet.record(Key__c="ABC")
    require(
        sheet.compare(), ("missing", "abc", ""), ("extra", "ABC", ""),
        identical=1, missing=1, extra=1,
    )  # fmt: skip


def test_two_rows_of_oracle_with_one_external_id(sheet: Sheet) -> None:
    """The org has room for the later one only."""
    sheet.chunk({"Key__c": "K", "Text__c": "first"}, {"Key__c": "K", "Text__c": "second"})
    sheet.record(Key__c="K", Text__c="second")
    require(sheet.compare(), ("duplicate", "K", "Key__c"), identical=1, duplicates=1)


def test_two_records_with_one_external_id(sheet: Sheet) -> None:
    """A second one is one too many, also where it is the same."""
    sheet.both(Key__c="K")
    sheet.record(Key__c="K")
    require(sheet.compare(), ("extra", "K", ""), identical=1, extra=1)


def test_a_record_without_an_external_id(sheet: Sheet) -> None:
    sheet.both(Key__c="K")
    sheet.record(Key__c=None)
    sheet.record(Key__c=None)
    require(sheet.compare(), ("extra", "", ""), ("extra", "", ""), identical=1, extra=2)


# -- values


@pytest.mark.parametrize(
    "text",
    ["two\nlines", 'a "quoted" one', '"', "comma, and\n\n", "'", "  both ends  ", "\\n", "ก", "\t"],
)
def test_a_text_is_the_same_to_the_last_character(sheet: Sheet, text: str) -> None:
    sheet.both(Key__c="K", Text__c=text)
    sheet.chunk({"Key__c": "L", "Text__c": text})
    sheet.record(Key__c="L", Text__c=f"{text}.")
    require(sheet.compare(), ("modified", "L", "Text__c"), identical=1, modified=1)


def test_a_lone_carriage_return_is_no_line_feed(sheet: Sheet) -> None:
    sheet.chunk({"Key__c": "K", "Text__c": "a\nb"})
    sheet.record(Key__c="K", Text__c="a\rb")
    _, (named,) = sheet.compare()
    assert (named.expected, named.found) == ("a\nb", "a\rb")


def test_nothing_is_not_the_text_that_stands_for_it(sheet: Sheet) -> None:
    """`#N/A` in a chunk file empties the field; the org has the four characters."""
    sheet.chunk({"Key__c": "K", "Text__c": "#N/A"}, {"Key__c": "L", "Text__c": "#N/A"})
    sheet.record(Key__c="K", Text__c=None)
    sheet.record(Key__c="L", Text__c="#N/A")
    require(sheet.compare(), ("modified", "L", "Text__c"), identical=1, modified=1)


@pytest.mark.parametrize(
    ("sent", "there", "same"),
    [
        ("12000000.0000", "1.2E7", True),
        ("0.0001", "1E-4", True),
        ("-0", "0", True),
        ("-0.0000", "#N/A", False),
        ("12345678901234.5678", "12345678901234.5678", True),
        ("12345678901234.5678", "12345678901234.5778", False),
        ("0.0001", "0", False),
        ("7", "-7", False),
    ],
)
def test_numbers_are_the_same_as_doubles(sheet: Sheet, sent: str, there: str, same: bool) -> None:
    sheet.chunk({"Key__c": "K", "Number__c": sent})
    sheet.record(Key__c="K", Number__c=None if there == "#N/A" else there)
    compared, _ = sheet.compare()
    assert (compared.identical, compared.modified) == (same, not same)


def test_what_somebody_wrote_by_hand_is_no_number(sheet: Sheet) -> None:
    """It was refused and is dead; comparing the others goes on."""
    sheet.both(Key__c="K")
    sheet.chunk({"Key__c": "L"})
    sheet.retried({"Key__c": "L", "Number__c": "12,5"})
    sheet.write(sheet.folder.dead_retry(1), [{"Key__c": "L", "Number__c": "12,5"}])
    require(sheet.compare(), identical=1, dead_lettered=1)


# -- ranges


def test_nothing_on_either_side(sheet: Sheet) -> None:
    sheet.chunk()
    require(sheet.compare())
    assert not sheet.folder.differences.exists()


def test_nothing_was_sent_and_something_is_there(sheet: Sheet) -> None:
    sheet.chunk()
    sheet.record(Key__c="K")
    require(sheet.compare(), ("extra", "K", ""), extra=1)


def test_everything_was_sent_and_nothing_is_there(sheet: Sheet) -> None:
    sheet.chunk({"Key__c": "K"}, {"Key__c": "L"})
    require(sheet.compare(), ("missing", "K", ""), ("missing", "L", ""), missing=2)


@pytest.mark.parametrize("held", [100_000, 1])
def test_many_files_and_groups(sheet: Sheet, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """A row that has moved to another group of ranges is one that was modified, as long as rows
    of one side are few enough to be held."""
    for module, name, value in (
        (deal, "BUCKET_ROWS", 1), (deal, "FLUSH_ROWS", 3), (spans, "GROUP_ROWS", 2),
        (spans, "JOB_ROWS", 2), (rows, "HELD_ROWS", held),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    days = [f"2024-01-0{day}T05:00:00.000Z" for day in (1, 2, 3)]
    for day in days:
        given = [{"Key__c": f"{day[:10]} {i}", "Moment__c": day} for i in range(9)]
        sheet.chunk(*given)
        for row in given:
            sheet.record(**row)
    sheet.chunk({"Key__c": "moved", "Moment__c": days[0]}, {"Key__c": "lost"})
    sheet.record(Key__c="moved", Moment__c=days[2])
    sheet.record(Key__c="found", Moment__c=days[1])
    found = sheet.compare()
    if held > 1:
        require(
            found,
            ("modified", "moved", "Moment__c"), ("missing", "lost", ""), ("extra", "found", ""),
            identical=27, modified=1, missing=1, extra=1,
        )  # fmt: skip
    else:
        require(
            found,
            ("missing", "moved", ""), ("missing", "lost", ""),
            ("extra", "moved", ""), ("extra", "found", ""),
            identical=27, missing=2, extra=2,
        )  # fmt: skip


@pytest.mark.parametrize("partition", ["MOMENT", "DAY"])
def test_only_the_days_that_are_compared(sheet: Sheet, partition: str) -> None:
    """A datetime's day is Bangkok's, which begins at 17:00 UTC; a date has no zone."""
    sheet.partition, sheet.days = partition, (date(2024, 1, 2),)
    edges = {
        "before": ("2024-01-01T16:59:59.000Z", "2024-01-01"),
        "first": ("2024-01-01T17:00:00.000Z", "2024-01-02"),
        "last": ("2024-01-02T16:59:59.000Z", "2024-01-02"),
        "after": ("2024-01-02T17:00:00.000Z", "2024-01-03"),
    }
    sheet.chunk(*({"Key__c": k, "Moment__c": m, "Day__c": d} for k, (m, d) in edges.items()))
    for key, (moment, day) in edges.items():
        sheet.record(Key__c=key, Moment__c=moment, Day__c=day, Text__c="other")
    require(
        sheet.compare(), ("modified", "first", "Text__c"), ("modified", "last", "Text__c"),
        modified=2,
    )  # fmt: skip


def test_sums_of_what_was_sent_are_exact(sheet: Sheet) -> None:
    """However many frames they are added up from: they are no answers of the org, in doubles."""
    summed = Measure("NUMBER_", "Number__c", "sum", "number", scale=4)
    ranges = sheet.ranges()
    totals = StagedTotals(sheet.table, [summed], ranges)
    frame = pl.DataFrame({"Number__c": ["99999999999999.9999", "0.0001", "#N/A", ""]})
    for _ in range(3):
        totals.add(frame, pl.Series([1, 1, 1, 2]), ranges)
    assert totals.of(ranges[1]) == Aggregates(9, {summed: Decimal(300_000_000_000_000)}, parts=1)
    assert totals.of(ranges[2]) == Aggregates(3, {summed: Decimal(0)}, parts=1)
    assert totals.of(ranges[0]) == Aggregates(0, {summed: None}, parts=1)


# -- rows that were sent again, or not as they were


def test_a_corrected_row_is_compared_as_it_was_corrected(sheet: Sheet) -> None:
    sheet.chunk({"Key__c": "K", "Text__c": "wrong"}, {"Key__c": "L", "Text__c": "wrong"})
    sheet.retried({"Key__c": "K", "Text__c": "right"}, {"Key__c": "rejected", "Text__c": "right"})
    for key, text in (("K", "right"), ("L", "wrong"), ("rejected", "right")):
        sheet.record(Key__c=key, Text__c=text)
    require(sheet.compare(), identical=3)


@pytest.mark.parametrize("compared", ["2024-01-01", "2024-01-02"])
def test_a_corrected_row_may_have_got_another_day(sheet: Sheet, compared: str) -> None:
    sheet.days = (date.fromisoformat(compared),)
    sheet.chunk({"Key__c": "K"})
    corrected = {"Key__c": "K", "Moment__c": "2024-01-02T05:00:00.000Z"}
    sheet.retried(corrected)
    sheet.record(**corrected)
    compared_rows, differences = sheet.compare()
    assert differences == []
    assert compared_rows.staged == compared_rows.identical == (compared == "2024-01-02")


def test_a_moment_that_was_corrected_may_have_an_offset(sheet: Sheet) -> None:
    """It is the moment that counts, also for the day: this one is of the evening before in UTC."""
    sheet.days = (date(2024, 1, 2),)
    sheet.chunk({"Key__c": "K"}, {"Key__c": "L"})
    sheet.retried(
        {"Key__c": "K", "Moment__c": "2024-01-02T00:30:00.000+0700"},
        {"Key__c": "L", "Moment__c": "2024-01-02T00:30:00+07:00"},
    )
    for key in ("K", "L"):
        sheet.record(Key__c=key, Moment__c="2024-01-01T17:30:00.000Z")
    require(sheet.compare(), identical=2)


def test_a_row_that_was_sent_without_its_parent(sheet: Sheet) -> None:
    """Only the lookup that its error names may be empty."""
    given = [{"Key__c": key, "Parent__r.Code__c": "gone"} for key in ("K", "L", "M", "N")]
    sheet.chunk(*given)
    error = "INVALID_FIELD:Foreign key external ID: gone not found for field {0} in entity P:{0} --"
    lost = [{**row, "sf__Error": error.format("Code__c")} for row in given[:2]]
    other = {**given[3], "sf__Error": error.format("Other_Code__c")}
    sheet.write(sheet.folder.blanked(1), [*lost, other])
    sheet.record(Key__c="K")
    sheet.record(Key__c="L", Text__c="other")
    sheet.record(Key__c="M")
    sheet.record(Key__c="N")
    require(
        sheet.compare(),
        ("modified", "L", "Text__c"),
        ("modified", "M", "Parent__r.Code__c"),
        ("modified", "N", "Parent__r.Code__c"),
        identical=1,
        modified=3,
    )


def test_blanks_that_the_org_has_not_kept(sheet: Sheet) -> None:
    """A kind of their own; blanks that it has too many are a change."""
    sheet.chunk(
        {"Key__c": "K", "Text__c": " both ends "},
        {"Key__c": "L", "Text__c": "   "},
        {"Key__c": "M", "Text__c": "more"},
        {"Key__c": "N", "Text__c": " here", "Number__c": "5"},
    )
    sheet.record(Key__c="K", Text__c="both ends")
    sheet.record(Key__c="L", Text__c=None)
    sheet.record(Key__c="M", Text__c="more ")
    sheet.record(Key__c="N", Text__c="here", Number__c="6")
    require(
        sheet.compare(),
        ("trimmed", "K", "Text__c"),
        ("trimmed", "L", "Text__c"),
        ("modified", "M", "Text__c"),
        ("modified", "N", "Text__c"),
        ("modified", "N", "Number__c"),
        trimmed=2,
        modified=2,
    )
    assert not (sheet.folder.differences / "changed_since.csv.gz").exists()


def test_a_refused_row_does_not_excuse_another_of_its_key(sheet: Sheet) -> None:
    """Two rows of Oracle share a key: one was refused at the extraction, the other got lost."""
    sheet.chunk({"Key__c": "K"})
    refused = {"Key__c": "K", "sf__Error": "REJECTED:TEXT is longer than …:Text__c --"}
    sheet.write(sheet.folder.rejected_rows(1), [refused])
    require(sheet.compare(), ("missing", "K", ""), missing=1, dead_lettered=1)


def test_a_row_that_changed_after_it_was_repaired_last(sheet: Sheet) -> None:
    """What was changed before that is not as it was sent; what was changed after, is newer."""
    sheet.loads.clear()
    sheet.chunk({"Key__c": "K"}, {"Key__c": "L"})
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    outcome = sheet.loads[0].jobs[0].model_copy(update={"ended_at": long_ago})
    sheet.loads[0] = sheet.loads[0].model_copy(update={"jobs": [outcome]})
    sheet.repaired({"Key__c": "L"}, when=datetime.now(UTC) + timedelta(days=1))
    sheet.record(Key__c="K", Text__c="other")
    sheet.record(Key__c="L", Text__c="other")
    require(
        sheet.compare(), ("changed_since", "K", "Text__c"), ("modified", "L", "Text__c"),
        modified=1, changed_since=1,
    )  # fmt: skip


# -- query jobs


def test_a_query_job_that_fails_is_told(sheet: Sheet) -> None:
    sheet.both(Key__c="K")
    sheet.org.arm(on="query_processing", job_state="Failed", message="InvalidBatch : broken")
    with pytest.raises(JobFailedError, match="InvalidBatch : broken"):
        sheet.compare()
    assert not sheet.folder.differences.exists()
    assert not (sheet.folder.path / ".rows").exists()


def test_a_query_job_that_times_out_is_asked_in_halves(sheet: Sheet) -> None:
    for i in range(8):
        sheet.both(Key__c=f"{i}", Moment__c=f"2024-01-01T{2 * i:02}:00:00.000Z")
    sheet.org.arm(on="query_processing", job_state="Failed", message="QUERY_TIMEOUT : too long")
    compared, differences = sheet.compare()
    assert (compared.identical, differences) == (8, [])
    assert compared.query_jobs == 2


def test_a_query_job_that_does_not_end_is_aborted(sheet: Sheet) -> None:
    sheet.both(Key__c="K")
    sheet.org.arm(on="query_processing", job_state="InProgress")
    with pytest.raises(JobTimeoutError):
        sheet.compare(QueryRules(poll_interval=0.02, poll_interval_max=0.05, job_timeout=0.2))
    assert [e["method"] for e in sheet.org.log() if "/jobs/query/" in e["path"]][-1] == "PATCH"


def test_a_page_that_is_cut_off_is_fetched_again(sheet: Sheet) -> None:
    for i in range(3):
        sheet.both(Key__c=f"{i}", Text__c="line\n" * 10)
    sheet.org.arm(on="query_results", reset=True, after_bytes=60)
    require(sheet.compare(), identical=3)
