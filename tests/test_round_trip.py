"""What Oracle held is what the org holds, value by value, through all that lies between.

Random rows are put into an Oracle table, extracted, loaded and read back by SOQL. What is expected
is computed here in plain Python, from what was put in and from nothing of the product.
"""

from __future__ import annotations

import base64
import itertools
import string
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import oracledb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kpcluigi.extract import extract_chunk
from kpcluigi.oracle import Window, connect, describe_source, plan_chunks
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle import catalog as oracle_catalog
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object
from kpcluigi.salesforce import Client, ClientCredentials
from kpcluigi.staging import RunFolder
from kpcluigi.tables import Table, parse_tables
from tests.loading import load_chunk

USER, PASSWORD = "READER", "test-password"
CLIENT_ID, CLIENT_SECRET = "test-client", "test-secret"
EXAMPLES = 7
NOTE_LENGTH = 12

COLUMNS: dict[str, tuple[str, dict[str, Any], Field | None]] = {
    "ID": ("VARCHAR2(40)", {"field": "Ext__c", "type": "text", "length": 40},
           Field("Ext__c", "string", length=40, external_id=True, unique=True)),
    "WIDE": ("NUMBER(38)", {"field": "Wide__c", "type": "text"},
             Field("Wide__c", "string", length=40)),
    "LOOSE": ("NUMBER", {"field": "Loose__c", "type": "text"},
              Field("Loose__c", "string", length=80)),
    "AMOUNT": ("NUMBER(15,4)", {"field": "Amount__c", "type": "decimal", "scale": 2},
               Field("Amount__c", "double", precision=18, scale=2)),
    "RATE": ("NUMBER", {"field": "Rate__c", "type": "decimal", "scale": 3},
             Field("Rate__c", "double", precision=18, scale=3)),
    "NAME": ("VARCHAR2(400 CHAR)", {"field": "Name_Text__c", "type": "text"},
             Field("Name_Text__c", "textarea", length=2000)),
    "NOTE": ("VARCHAR2(400 CHAR)",
             {"field": "Note__c", "type": "text", "length": NOTE_LENGTH},
             Field("Note__c", "string", length=2 * NOTE_LENGTH)),
    "CODE": ("CHAR(8 CHAR)", {"field": "Code__c", "type": "text", "trim": True},
             Field("Code__c", "string", length=20)),
    "PADDED": ("CHAR(8 CHAR)", {"field": "Padded__c", "type": "text"},
               Field("Padded__c", "string", length=20)),
    "FLAG": ("CHAR(5)", {"field": "Flag__c", "type": "boolean", "null_as": "false"},
             Field("Flag__c", "boolean")),
    "DAY": ("DATE", {"field": "Day__c", "type": "date", "out_of_range": "blank"},
            Field("Day__c", "date")),
    "MOMENT": ("DATE", {"field": "Moment__c", "type": "datetime", "out_of_range": "blank"},
               Field("Moment__c", "datetime")),
    "STAMP": ("TIMESTAMP(6)", {"field": "Stamp__c", "type": "text"},
              Field("Stamp__c", "string", length=40)),
    "SEEN": ("TIMESTAMP(6)", {"field": "Seen__c", "type": "datetime", "out_of_range": "blank"},
             Field("Seen__c", "datetime")),
    "BODY": ("CLOB", {"field": "Body__c", "type": "text"},
             Field("Body__c", "textarea", length=131_072)),
    "TOKEN": ("RAW(20)", {"field": "Token__c", "type": "base64", "length": 28},
              Field("Token__c", "string", length=28)),
    "SCAN": ("BLOB", {"field": "Scan__c", "type": "base64"},
             Field("Scan__c", "textarea", length=131_072)),
    "CREATED": ("DATE", {"field": "Created__c", "type": "datetime"},
                Field("Created__c", "datetime")),
}  # fmt: skip
"""Oracle's type, the mapping, and the field of the org, for each column."""


@dataclass(frozen=True)
class Row:
    """One row as it is put into Oracle, in the order of the columns between ID and CREATED."""

    wide: Decimal | None
    loose: Decimal | None
    amount: Decimal | None
    rate: Decimal | None
    name: str | None
    note: str | None
    code: str | None
    padded: str | None
    flag: str | None
    day: datetime | None
    moment: datetime | None
    stamp: datetime | None
    seen: datetime | None
    body: str | None
    token: bytes | None
    scan: bytes | None


ODD_TEXTS = ["#N/A", "a,b", 'say "no"', '"', "two\nlines", "dos\r\nlines", "lone\rcr", "\r", "\n",
             " ", "blank at the end ", " and before", "ร้านค้าปลอดอากร", "กำ", "😀😀", "N/A", "NULL",
             "'", ";", "\t", "=1+1", "a" * 300, "\ufeffbom"]  # fmt: skip
ALPHABET = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from(
    ",\"'#\n\r\t กขค😀"
)


def or_null(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values | values | values


def texts(longest: int) -> st.SearchStrategy[Any]:
    odd = st.sampled_from([t for t in ODD_TEXTS if len(t) <= longest])
    return or_null(odd | st.text(ALPHABET, min_size=1, max_size=min(longest, 30)))


def numbers(digits: int, places: int) -> st.SearchStrategy[Any]:
    most = 10**digits - 1
    whole = st.integers(-most, most) | st.sampled_from([0, 1, -1, most, -most, 5, -5])
    return or_null(whole.map(lambda n: Decimal(f"{n}E-{places}")))  # scaleb would round to 28


def moments(*, micro: bool) -> st.SearchStrategy[Any]:
    found = st.datetimes() | st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1))
    odd = [datetime(9999, 12, 31, 23, 59, 59, 999_999), datetime(1, 1, 1), datetime(1900, 1, 1),
           datetime(1969, 12, 31, 23, 59, 59, 999_600), datetime(1700, 1, 1, 6, 59, 59),
           datetime(4000, 12, 31, 23, 59, 59)]  # fmt: skip
    all_of_them = or_null(found | st.sampled_from(odd))
    return all_of_them if micro else all_of_them.map(lambda d: d and d.replace(microsecond=0))


ROWS = st.builds(
    Row,
    wide=numbers(38, 0),
    loose=or_null(st.integers(0, 12).flatmap(lambda places: numbers(30, places))),
    amount=numbers(15, 4),
    rate=or_null(st.integers(0, 6).flatmap(lambda places: numbers(12, places))),
    name=texts(400),
    note=texts(400),
    code=texts(8),
    padded=texts(8),
    flag=st.sampled_from([None, "Y", "n", "1", "0", "YES", "No", "true", "FALSE", "  "]),
    day=moments(micro=False),
    moment=moments(micro=False),
    stamp=moments(micro=True).filter(lambda d: d is None or d > datetime(1, 1, 2)),
    seen=moments(micro=True),
    body=texts(400),
    token=or_null(st.binary(min_size=1, max_size=20)),
    scan=or_null(st.binary(min_size=1, max_size=40)),
)


def expected(row: Row, created: date) -> dict[str, Any]:
    """The record that the org has to answer."""
    return {
        "Wide__c": None if row.wide is None else str(int(row.wide)),
        "Loose__c": oracle_digits(row.loose),
        "Amount__c": rounded(row.amount, 2),
        "Rate__c": rounded(row.rate, 3),
        "Name_Text__c": text(row.name),
        "Note__c": text(row.note, NOTE_LENGTH),
        "Code__c": text(row.code and row.code.rstrip(" ")),
        "Padded__c": text(row.padded and row.padded.ljust(8)),
        "Flag__c": (row.flag or "").strip().lower() in ("y", "1", "yes", "true"),
        "Day__c": row.day.date().isoformat() if row.day and 1700 <= row.day.year <= 4000 else None,
        "Moment__c": utc(row.moment),
        "Stamp__c": None if row.stamp is None else row.stamp.isoformat(" ", "microseconds"),
        "Seen__c": utc(row.seen),
        "Body__c": text(row.body),
        "Token__c": None if row.token is None else base64.b64encode(row.token).decode(),
        "Scan__c": None if row.scan is None else base64.b64encode(row.scan).decode(),
        "Created__c": utc(datetime(created.year, created.month, created.day)),
    }


def text(value: str | None, longest: int | None = None) -> str | None:
    if not value:
        return None
    lines = value.replace("\r\n", "\n").replace("\r", "\n")[:longest]
    return None if lines == "#N/A" else lines


def rounded(value: Decimal | None, places: int) -> float | None:
    if value is None:
        return None
    return float(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def oracle_digits(value: Decimal | None) -> str | None:
    """As Oracle's TO_CHAR writes a number: nothing before the point where that is zero."""
    if value is None:
        return None
    if value == 0:
        return "0"
    digits = f"{value:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    return sign + (digits[1:] if digits.startswith("0.") else digits)


def utc(value: datetime | None) -> str | None:
    """Bangkok's wall clock, seven hours ahead, as the API prints it: whole seconds."""
    if value is None or value < datetime(1, 1, 2):
        return None
    moment = value - timedelta(hours=7)
    if not datetime(1700, 1, 1) <= moment <= datetime(4000, 12, 31):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def mapping() -> Table:
    document = {
        "tables": {
            "ROUND": {
                "phase": 1,
                "object": "Round__c",
                "external_id": "Ext__c",
                "key": ["ID"],
                "partition_column": "CREATED",
                "source_zone": "Asia/Bangkok",
                "fetch_size": 7,
                "columns": {name: mapped for name, (_, mapped, _) in COLUMNS.items()},
            }
        }
    }
    return parse_tables(document)["ROUND"]


@dataclass
class Trip:
    """Both ends, and a number for each example: its keys, its day, its folder."""

    oracle: OracleStandIn
    client: Client
    folder: Path
    numbers: Iterator[int]

    def make(self, rows: list[Row]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Rows into Oracle, out of it, into the org; pairs of what is expected and found."""
        number = next(self.numbers)
        created = date(2020, 1, 1) + timedelta(days=number)
        keys = [f"{number}-{i:04d}" for i in range(len(rows))]
        self._insert(keys, rows, created)
        run = RunFolder(self.folder / str(number))
        table = mapping()
        window = Window(created, created)
        with connect(dsn=self.oracle.dsn, user=USER, password=PASSWORD, module="t") as connection:
            source = describe_source(connection, owner=USER, table=table, window=window)
            plan = plan_chunks(connection, source, fingerprint="f")
            for chunk in plan.chunks:
                manifest = extract_chunk(
                    connection, source, plan, chunk, run.table("ROUND"),
                    min_free_bytes=0, tell=lambda rows: None,
                )  # fmt: skip
                assert (manifest.rows, manifest.rejected) == (chunk.rows, 0)
                self._load(table, manifest, run)
        records = self._records(f"{number}-")
        assert list(records) == keys
        return [(expected(row, created), records[key]) for key, row in zip(keys, rows, strict=True)]

    def _insert(self, keys: list[str], rows: list[Row], created: date) -> None:
        marks = ", ".join(f":{i}" for i in range(len(COLUMNS)))
        with oracledb.connect(dsn=self.oracle.dsn, user=USER, password=PASSWORD) as connection:
            with connection.cursor() as cursor:
                sizes: list[Any] = [None] * len(COLUMNS)
                for i, (kind, _, _) in enumerate(COLUMNS.values()):
                    if kind.startswith("TIMESTAMP"):
                        sizes[i] = oracledb.DB_TYPE_TIMESTAMP
                    elif kind == "DATE":
                        sizes[i] = oracledb.DB_TYPE_DATE
                    elif kind.startswith("NUMBER"):
                        sizes[i] = oracledb.DB_TYPE_NUMBER
                    elif kind == "BLOB" or kind.startswith("RAW"):
                        sizes[i] = oracledb.DB_TYPE_RAW
                    else:
                        sizes[i] = oracledb.DB_TYPE_VARCHAR
                cursor.setinputsizes(*sizes)
                day = datetime(created.year, created.month, created.day)
                cursor.executemany(
                    f"INSERT INTO round VALUES ({marks})",
                    [(key, *astuple(row), day) for key, row in zip(keys, rows, strict=True)],
                )
            connection.commit()

    def _load(self, table: Table, manifest: Any, run: RunFolder) -> None:
        result = load_chunk(self.client, table, manifest, run)
        assert (result.created, result.failed) == (manifest.rows, 0), [
            path.read_bytes() for path in run.job_logs.glob("*failed*")
        ]

    def _records(self, prefix: str) -> dict[str, dict[str, Any]]:
        fields = [mapped["field"] for _, mapped, _ in COLUMNS.values()]
        soql = (
            f"SELECT {', '.join(fields)} FROM Round__c WHERE Ext__c LIKE '{prefix}%' "
            f"ORDER BY Ext__c"
        )
        body = self.client.call("GET", "/query", params={"q": soql}).json()
        assert body["done"]
        found: dict[str, dict[str, Any]] = {}
        for record in body["records"]:
            del record["attributes"]
            found[record.pop("Ext__c")] = record
        return found


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    folder = tmp_path_factory.mktemp("round-trip")
    columns = [
        oracle_catalog.Column(name, kind, nullable=name != "ID")
        for name, (kind, _, _) in COLUMNS.items()
    ]
    with duckdb.connect(str(folder / "oracle.duckdb")) as con:
        oracle_catalog.create_table(
            con, oracle_catalog.Table(USER, "ROUND", tuple(columns), ("ID",))
        )
    fields = tuple(field for _, _, field in COLUMNS.values() if field is not None)
    with duckdb.connect(str(folder / "org.duckdb")) as con:
        create_object(con, SObject("Round__c", fields, "a0R"))
    with (
        OracleStandIn(folder / "oracle.duckdb", user=USER, password=PASSWORD) as oracle,
        SalesforceStandIn(
            folder / "org.duckdb", client_id=CLIENT_ID, client_secret=CLIENT_SECRET, latency=0.01
        ) as org,
        Client(
            org.url,
            credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
            retries=0,
            retry_delay=0.01,
            timeout=10,
        ) as client,
    ):
        yield Trip(oracle, client, folder, itertools.count())


@given(rows=st.lists(ROWS, min_size=40, max_size=60))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a failure names its value; shrinking would take minutes
)
def test_every_value_arrives(trip: Trip, rows: list[Row]) -> None:
    for wanted, found in trip.make(rows):
        assert found == wanted


def test_long_texts_and_large_bytes_arrive(trip: Trip) -> None:
    """Beyond what fits a VARCHAR2 or one network packet."""
    story = "ภาษาไทย, English\n" * 7_000
    scan = bytes(range(256)) * 300
    printable = string.printable.replace("\x0b", "").replace("\x0c", "")
    row = Row(*[None] * 16)
    rows = [
        Row(**{**vars(row), "body": story, "scan": scan}),
        Row(**{**vars(row), "body": printable, "name": printable}),
    ]
    for wanted, found in trip.make(rows):
        assert found == wanted
