"""NUMBERs whose declared digits no DECIMAL has can be read, and nothing is rounded into them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table


def test_odd_numbers_are_described_read_and_never_rounded(tmp_path: Path) -> None:
    columns = (
        Column("HUNDREDS", "NUMBER(5,-2)"),
        Column("TINY", "NUMBER(2,5)"),
        Column("FLOATING", "FLOAT"),
    )
    with duckdb.connect(str(tmp_path / "odd.duckdb")) as con:
        create_table(con, Table("KPC", "ODD_NUMBERS", columns))
        con.execute("""INSERT INTO "KPC"."ODD_NUMBERS" (HUNDREDS, TINY, FLOATING)
            VALUES ('12300', '0.00099', '0.1')""")
    with (
        OracleStandIn(tmp_path / "odd.duckdb", user="KPC", password="p") as server,
        oracledb.connect(user="KPC", password="p", dsn=server.dsn) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT hundreds, tiny, floating FROM odd_numbers")
        assert [(c.precision, c.scale) for c in cursor.description] == [
            (5, -2),
            (2, 5),
            (126, -127),
        ]
        assert cursor.fetchall() == [(12300, 0.00099, 0.1)]
        cursor.execute(
            "SELECT data_type, data_precision, data_scale FROM all_tab_columns "
            "WHERE table_name = 'ODD_NUMBERS' ORDER BY column_id"
        )
        assert cursor.fetchall() == [("NUMBER", 5, -2), ("NUMBER", 2, 5), ("FLOAT", 126, None)]
        for refused in (
            "INSERT INTO odd_numbers (hundreds) VALUES (12345)",
            "UPDATE odd_numbers SET floating = 1",
            "SELECT CAST(1.5 AS FLOAT) FROM dual",
            "SELECT CAST(12345 AS NUMBER(5,-2)) FROM dual",
        ):
            with pytest.raises(oracledb.DatabaseError, match=r"ORA-03001|ORA-009\d\d"):
                cursor.execute(refused)
