"""Frames become a chunk file, a file of the rejected rows, and a ledger of what was changed."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import duckdb
import oracledb
import polars as pl
import pyarrow as pa
import pytest

from kpcluigi.errors import OracleError
from kpcluigi.extract import extract_chunk, stage
from kpcluigi.fields import LONG_ID, NO_ID
from kpcluigi.markers import ChunkManifest
from kpcluigi.oracle import Window, connect, describe_source, plan_chunks
from kpcluigi.oracle.frames import to_frame
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, create_table
from kpcluigi.rehearsal.oracle.catalog import Table as OracleTable
from kpcluigi.staging import RunFolder, read_marker
from kpcluigi.tables import Table, parse_tables

USER, PASSWORD = "READER", "test-password"
OUTSIDE = "is outside 1700-01-01 to 4000-12-31, the dates that Salesforce holds"
NULL_FLAG = 'is NULL, which a checkbox cannot be (null_as = "false" would send false)'


def mapping(name: str = "T", **columns: dict[str, object]) -> Table:
    """A table whose column K is the external id, of four characters; X maps to X__c."""
    document = {
        "tables": {
            name: {
                "phase": 1,
                "object": "T__c",
                "external_id": "K__c",
                "key": ["K"],
                "partition_column": "CREATED",
                "source_zone": "Asia/Bangkok",
                "columns": {
                    "K": {"field": "K__c", "type": "text", "length": 4},
                    **{n: {"field": f"{n}__c", **mapped} for n, mapped in columns.items()},
                },
            }
        }
    }
    return parse_tables(document)[name]


def rows_of(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def text_array(*values: bytes) -> pa.Array:
    """Texts made of these very bytes, valid or not, as the driver hands them on."""
    ends = [sum(map(len, values[: i + 1])) for i in range(len(values))]
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, *ends))
    data = pa.py_buffer(b"".join(values))
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), data)


def test_good_and_bad_rows_go_to_files_of_their_own(tmp_path: Path) -> None:
    table = mapping(V={"type": "date"}, N={"type": "text", "length": 3, "on_overflow": "reject"})
    frames = [
        pl.DataFrame(
            {"K": ["a", None, "c"], "V": [datetime(2024, 1, 1)] * 3, "N": ["x", "y", "long"]}
        ),
        pl.DataFrame(
            {"K": ["d", "e"], "V": [datetime(2024, 1, 1), datetime(9999, 12, 31)], "N": ["z"] * 2}
        ),
    ]
    file, rejected = tmp_path / "1.csv.gz", tmp_path / "1.rejected.csv.gz"
    staged = stage(table, iter(frames), in_utc=set(), file=file, rejected_file=rejected)
    assert rows_of(file) == [
        ["K__c", "V__c", "N__c"],
        ["a", "2024-01-01", "x"],
        ["d", "2024-01-01", "z"],
    ]
    too_long = "REJECTED:N is longer than the 3 characters of its field:N__c --"
    outside = f"REJECTED:V {OUTSIDE}:V__c --"
    assert rows_of(rejected) == [
        ["sf__Error", "K__c", "V__c", "N__c"],
        [NO_ID, "#N/A", "2024-01-01", "y"],
        [too_long, "c", "2024-01-01", "long"],
        [outside, "e", "9999-12-31 00:00:00", "z"],
    ]
    assert (staged.written.rows, staged.rejected) == (2, 3)
    assert staged.ledger.rejected_for == {NO_ID: 1, too_long: 1, outside: 1}


def test_a_file_of_rejected_rows_from_an_earlier_attempt_is_gone(tmp_path: Path) -> None:
    rejected = tmp_path / "1.rejected.csv.gz"
    rejected.write_bytes(b"of an attempt that was killed")
    frames = [pl.DataFrame({"K": ["a"]})]
    stage(mapping(), frames, in_utc=set(), file=tmp_path / "1.csv.gz", rejected_file=rejected)
    assert not rejected.exists()


def test_no_file_appears_where_a_value_cannot_be_read(tmp_path: Path) -> None:
    frames = [
        pl.DataFrame({"K": ["a", None], "V": ["y", "n"]}),
        pl.DataFrame({"K": ["b"], "V": ["?"]}),
    ]
    with pytest.raises(OracleError, match=r"T\.V is mapped as boolean, but row b holds '\?'"):
        stage(
            mapping(V={"type": "boolean"}),
            frames,
            in_utc=set(),
            file=tmp_path / "1.csv.gz",
            rejected_file=tmp_path / "1.rejected.csv.gz",
        )
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_utf8_never_reach_polars_as_text() -> None:
    thai = "ไทย".encode()
    batch = pa.table(
        {
            "K": pa.array(["a", "b", "c", "d", "e"]),
            "V": text_array(b"good", b"b\xffd", thai, thai[:-1], b"\xed\xa0\x80"),
        }
    )
    frame = to_frame(batch)
    assert frame.columns == ["K", "V", "invalid_utf8 V"]
    assert frame["V"].to_list() == ["good", "b\ufffdd", "ไทย", "ไท\ufffd", "\ufffd\ufffd\ufffd"]
    assert frame["invalid_utf8 V"].to_list() == [False, True, False, True, True]


def test_a_true_replacement_character_and_nulls_are_left_alone() -> None:
    batch = pa.table({"V": pa.array(["\ufffd", None, ""]), "W": pa.array([b"\xff", None, b""])})
    frame = to_frame(batch)
    assert frame.columns == ["V", "W"]
    assert frame.rows() == [("\ufffd", b"\xff"), (None, None), ("", b"")]


def test_bad_bytes_beside_a_null_and_in_a_long_text() -> None:
    texts = pa.concat_arrays([text_array(b"\xff"), pa.array([None, "x"], pa.string())])
    batch = pa.table({"V": texts, "C": texts.cast(pa.binary()).cast(pa.large_binary())})
    (clob,) = batch["C"].chunks
    batch = batch.set_column(1, "C", clob.view(pa.large_string()))
    frame = to_frame(batch)
    assert frame["V"].to_list() == frame["C"].to_list() == ["\ufffd", None, "x"]
    assert frame["invalid_utf8 C"].to_list() == [True, False, False]


def test_bad_bytes_are_counted_with_the_keys_of_their_rows(tmp_path: Path) -> None:
    batch = pa.table({"K": pa.array(["a", "b"]), "V": text_array(b"\xc3", b"ok")})
    staged = stage(
        mapping(V={"type": "text"}),
        [to_frame(batch)],
        in_utc=set(),
        file=tmp_path / "1.csv.gz",
        rejected_file=tmp_path / "1.rejected.csv.gz",
    )
    assert rows_of(tmp_path / "1.csv.gz")[1:] == [["a", "\ufffd"], ["b", "ok"]]
    fitted = staged.ledger.columns["V"]
    assert (fitted.invalid_utf8, fitted.sample_keys) == (1, ["a"])


ODD_NUMBERS = {
    "FREE": ("NUMBER", "123456789012345678901234567890.12345678"),
    "WHOLE": ("NUMBER(38)", "99999999999999999999999999999999999999"),
    "PLACES": ("NUMBER(18,4)", "12345678901234.5678"),
    "HUNDREDS": ("NUMBER(5,-2)", "12300"),
    "TINY": ("NUMBER(2,5)", "0.00099"),
    "FLOATING": ("FLOAT(126)", "0.1"),
}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    database = tmp_path_factory.mktemp("oracle") / "oracle.duckdb"
    key, created = Column("K", "VARCHAR2(10)", nullable=False), Column("CREATED", "DATE")
    with duckdb.connect(str(database)) as con:
        numbers = [Column(name, kind) for name, (kind, _) in ODD_NUMBERS.items()]
        create_table(con, OracleTable(USER, "NUMBERS", (key, *numbers, created), ("K",)))
        values = ", ".join(f"'{value}'" for _, value in ODD_NUMBERS.values())
        con.execute(
            f"""INSERT INTO "{USER}"."NUMBERS" (K, {", ".join(ODD_NUMBERS)}, CREATED)
            VALUES ('a', {values}, TIMESTAMP '2024-06-01')"""
        )
        dates = (Column("D", "DATE"), Column("S", "TIMESTAMP(6)"), Column("F", "CHAR(1)"))
        create_table(con, OracleTable(USER, "DATES", (key, *dates, created), ("K",)))
        con.execute(
            f"""INSERT INTO "{USER}"."DATES" (K, D, S, F, CREATED)
            SELECT k, d, d, f, TIMESTAMP '2024-06-01' FROM (VALUES
                ('a', TIMESTAMP '2024-01-01 00:00:00', 'Y'),
                ('b', TIMESTAMP '0044-03-15 (BC) 12:00:00', 'Y'),
                ('c', TIMESTAMP '9999-12-31 23:59:59', NULL),
                ('d', NULL, NULL),
                ('toolong', NULL, 'N')) v(k, d, f)"""
        )
        raws = (Column("R", "RAW(16)"), Column("B", "BLOB"))
        create_table(con, OracleTable(USER, "RAWS", (key, *raws, created), ("K",)))
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        yield oracle


@pytest.fixture
def connection(oracle: OracleStandIn) -> Iterator[oracledb.Connection]:
    with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
        yield connection


def extracted(connection: oracledb.Connection, table: Table, run: RunFolder) -> ChunkManifest:
    """Extract the one chunk of a small table; its files lie in the folder `run`."""
    window = Window(date(2024, 6, 1), date(2024, 6, 1))
    source = describe_source(connection, owner=USER, table=table, window=window)
    plan = plan_chunks(connection, source, fingerprint="f")
    (chunk,) = plan.chunks
    folder = run.table(table.name)
    manifest = extract_chunk(
        connection, source, plan, chunk, folder, min_free_bytes=0, tell=lambda rows: None
    )
    written = read_marker(folder.chunk_manifest(1), ChunkManifest)
    assert written == manifest
    return manifest


def test_numbers_of_every_declaration_come_out_with_all_their_digits(
    connection: oracledb.Connection, tmp_path: Path
) -> None:
    columns: dict[str, dict[str, object]] = {name: {"type": "text"} for name in ODD_NUMBERS}
    extracted(connection, mapping("NUMBERS", **columns), RunFolder(tmp_path))
    (_, row) = rows_of(RunFolder(tmp_path).table("NUMBERS").chunk_file(1))
    # Oracle's TM9 writes no zero before the point
    assert row == ["a", *(value.removeprefix("0") for _, value in ODD_NUMBERS.values())]


def test_what_salesforce_cannot_hold_is_named_before_the_upload(
    connection: oracledb.Connection, tmp_path: Path
) -> None:
    """Among it a date before Christ, which the driver could not even hand to Python."""
    table = mapping("DATES", D={"type": "datetime"}, S={"type": "date"}, F={"type": "boolean"})
    manifest = extracted(connection, table, RunFolder(tmp_path))
    folder = RunFolder(tmp_path).table("DATES")
    assert rows_of(folder.chunk_file(1))[1:] == [
        ["a", "2023-12-31T17:00:00.000Z", "2024-01-01", "true"]
    ]
    outside = f"REJECTED:D {OUTSIDE}:D__c --"
    null = f"REJECTED:F {NULL_FLAG}:F__c --"
    assert rows_of(folder.rejected_rows(1))[1:] == [
        [outside, "b", "0001-01-01 or earlier", "0001-01-01 or earlier", "true"],
        [outside, "c", "9999-12-31 23:59:59", "9999-12-31 23:59:59", "#N/A"],
        [null, "d", "#N/A", "#N/A", "#N/A"],
        [LONG_ID, "toolong", "#N/A", "#N/A", "false"],
    ]
    assert (manifest.rows, manifest.rejected) == (1, 4)
    assert manifest.rejected_for == {outside: 2, null: 1, LONG_ID: 1}
    assert manifest.fitted == {}


def test_by_consent_they_are_blank_or_false_and_counted(
    connection: oracledb.Connection, tmp_path: Path
) -> None:
    table = mapping(
        "DATES",
        D={"type": "datetime", "out_of_range": "blank"},
        S={"type": "date", "out_of_range": "blank"},
        F={"type": "boolean", "null_as": "false"},
    )
    manifest = extracted(connection, table, RunFolder(tmp_path))
    assert rows_of(RunFolder(tmp_path).table("DATES").chunk_file(1))[2:] == [
        ["b", "#N/A", "#N/A", "true"],
        ["c", "#N/A", "#N/A", "false"],
        ["d", "#N/A", "#N/A", "false"],
    ]
    assert manifest.rejected_for == {LONG_ID: 1}
    assert {name: f.model_dump(exclude_defaults=True) for name, f in manifest.fitted.items()} == {
        "D": {"out_of_range": 2, "sample_keys": ["b", "c"]},
        "S": {"out_of_range": 2, "sample_keys": ["b", "c"]},
        "F": {"null_as_false": 2, "sample_keys": ["c", "d"]},
    }
    assert manifest.changed_to_fit == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (mapping("RAWS", R={"type": "text"}), r'RAWS\.R is DB_TYPE_RAW.*type = "base64"'),
        (mapping("RAWS", B={"type": "decimal"}), r'RAWS\.B is DB_TYPE_BLOB.*type = "base64"'),
        (
            mapping("RAWS", R={"type": "base64"}).model_copy(update={"key": ("R",)}),
            r"RAWS\.R is DB_TYPE_RAW.*neither key nor lookup",
        ),
        (mapping("DATES", F={"type": "base64"}), r"DATES\.F is DB_TYPE_CHAR, but .* as base64"),
    ],
)
def test_bytes_become_base64_and_nothing_else_does(
    connection: oracledb.Connection, table: Table, message: str
) -> None:
    with pytest.raises(OracleError, match=message):
        describe_source(
            connection, owner=USER, table=table, window=Window(date(2024, 6, 1), date(2024, 6, 1))
        )
