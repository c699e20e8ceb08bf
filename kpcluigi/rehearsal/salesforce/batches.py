"""One job's data: its rows in DuckDB, batch after batch, and its three result files.

Result files are written in blocks of 200 rows that stand in no particular order, since an org does
not promise the order of the upload. Quoting is as recorded: the two `sf__` headers and every value
are quoted, the original headers are not.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import duckdb

from kpcluigi.rehearsal.salesforce.automations import Automations
from kpcluigi.rehearsal.salesforce.clock import OrgClock
from kpcluigi.rehearsal.salesforce.csvfile import DELIMITERS, CsvError, load_rows, read_header
from kpcluigi.rehearsal.salesforce.faults import Faults
from kpcluigi.rehearsal.salesforce.field_rules import Column, to_columns
from kpcluigi.rehearsal.salesforce.rows import Counts, RowRules
from kpcluigi.rehearsal.salesforce.schema import SObject, literal

RESULTS = ("successfulResults", "failedResults", "unprocessedrecords")


class JobData:
    """What stands in a job's folder. Its methods are called by one thread at a time."""

    def __init__(self, con: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self._con = con.cursor()
        self._folder = folder
        self._kept: list[tuple[int, str]] = []
        """Position and header of the columns that match a field."""
        self._rules: RowRules | None = None
        self._records_unprocessed = True
        self.rows = 0
        self._con.execute(
            "CREATE TEMP TABLE outcome (r BIGINT, id VARCHAR, created BOOLEAN, error VARCHAR)"
        )

    def open(
        self,
        objects: dict[str, SObject],
        object_name: str,
        operation: str,
        external_id_field: str,
        line_ending: str,
        column_delimiter: str,
    ) -> None:
        """Read the file and make ready for its batches.

        Raises:
            CsvError: the job fails before its first row.
        """
        path = self._folder / "upload.csv"
        sobject = objects[object_name]
        delimiter = DELIMITERS[column_delimiter]
        header = read_header(path, line_ending, delimiter)
        columns, unknown = to_columns(header, sobject, objects)
        self._kept = [(i, name) for i, name in enumerate(header) if name not in unknown]
        self.rows = load_rows(self._con, path, len(header), line_ending, delimiter)
        if unknown:
            raise CsvError(f"InvalidBatch : Field name not found : {unknown[0]}")
        match_field = external_id_field if operation == "upsert" else "Id"
        _check_columns(columns, operation, match_field)
        self._rules = RowRules(sobject, columns, operation, match_field, objects)

    def process(
        self,
        first: int,
        after: int,
        object_name: str,
        faults: Faults,
        automations: Automations,
        clock: OrgClock,
    ) -> Counts:
        """Work on the rows first <= r < after."""
        assert self._rules is not None, "open() comes first"
        self._rules.check(self._con, first, after)
        if self._rules.operation != "delete":
            automation = automations.acting(self._con, object_name)
            if automation is not None:
                automations.reject(self._con, automation)
        if faults.has_row_faults(object_name):
            self._apply_row_faults(object_name, faults)
        return self._rules.save(self._con, clock.now())

    def forget_unprocessed(self) -> None:
        """Record nothing of the rows that are left: they are over the day's allocation."""
        self._records_unprocessed = False

    def write_results(self, column_delimiter: str) -> None:
        """Write the result files and let go of the rows."""
        delimiter = DELIMITERS[column_delimiter]
        names = [name for _, name in self._kept]
        values = [f"coalesce(c{i}, '')" for i, _ in self._kept]
        of_rows = "FROM upload JOIN outcome USING (r) WHERE error IS"
        created = "CASE WHEN created THEN 'true' ELSE 'false' END"
        unprocessed = "FROM upload WHERE r NOT IN (SELECT r FROM outcome)"
        if not self._records_unprocessed:
            unprocessed = "FROM upload WHERE false"
        for result, own_headers, own_values, rows in (
            (RESULTS[0], ['"sf__Id"', '"sf__Created"'], ["id", created], f"{of_rows} NULL"),
            (RESULTS[1], ['"sf__Id"', '"sf__Error"'], ["coalesce(id, '')", "error"],
             f"{of_rows} NOT NULL"),
            (RESULTS[2], [], [], unprocessed),
        ):  # fmt: skip
            path = self._folder / result
            header = delimiter.join([*own_headers, *names])
            rows_path = path.with_suffix(".rows")
            if self.rows:
                selected = ", ".join([*own_values, *values])
                self._con.execute(
                    f"COPY (SELECT {selected} {rows} ORDER BY hash(r // 200), r) "
                    f"TO {literal(str(rows_path))} (FORMAT csv, HEADER false, FORCE_QUOTE *, "
                    f"DELIMITER {literal(delimiter)})"
                )
            _join(path, header, rows_path)
        self._con.close()

    def _apply_row_faults(self, object_name: str, faults: Faults) -> None:
        rows = self._con.execute(
            "SELECT r, coalesce(match, '') FROM batch WHERE error IS NULL ORDER BY r"
        ).fetchall()
        hit: defaultdict[str, list[int]] = defaultdict(list)
        for row, external_id in rows:
            fault = faults.take("row", object_name, external_id)
            if fault is not None:
                hit[fault.row_error].append(row)
        for error, numbers in hit.items():
            self._con.execute(
                "UPDATE batch SET error = ? WHERE r IN (SELECT unnest(?))", [error, numbers]
            )


def _check_columns(columns: list[Column], operation: str, match_field: str) -> None:
    headers = [column.header for column in columns]
    if operation != "insert" and match_field not in headers:
        raise CsvError(f"InvalidBatch : Field name not found : {match_field}")
    if "Id" in headers and (operation == "insert" or match_field != "Id"):
        # Worded by the stand-in, like the next two.
        raise CsvError("InvalidBatch : Id cannot be given by an insert or an upsert")
    if operation == "delete" and headers != ["Id"]:
        raise CsvError("InvalidBatch : A delete has the column Id and no other")
    fields = [column.field.name for column in columns]
    for name in fields:
        if fields.count(name) > 1:
            raise CsvError(f"InvalidBatch : Two columns set the same field : {name}")


def _join(path: Path, header: str, rows_path: Path) -> None:
    """Put the header line in front of the rows."""
    with path.open("wb") as file:
        if header:
            file.write(header.encode() + b"\n")
        if rows_path.exists():
            with rows_path.open("rb") as rows:
                while block := rows.read(1 << 20):
                    file.write(block)
            rows_path.unlink()
