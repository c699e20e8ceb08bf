"""The Oracle stand-in: a server process that the unmodified python-oracledb logs in to.

    with OracleStandIn(database, user="KPC", password=…) as oracle:
        oracledb.connect(user="KPC", password=…, dsn=oracle.dsn)

The database is a DuckDB file whose tables were made by `catalog.create_table`. Faults are armed
with `oracle.arm(...)`, whose keys `faults` describes.
"""

from __future__ import annotations

from pathlib import Path

from kpcluigi.rehearsal.standin import StandIn

PASSWORD_VARIABLE = "KPCLUIGI_REHEARSAL_ORACLE_PASSWORD"
"""The environment variable by which the server learns its user's password."""


class OracleStandIn(StandIn):
    """A running Oracle stand-in over the DuckDB file `database`.

    `user` owns the schema of the same name; every other schema of the file can be read.
    """

    def __init__(
        self, database: Path, *, user: str, password: str, service: str = "KPC", port: int = 0
    ) -> None:
        self._service = service
        super().__init__(
            "kpcluigi.rehearsal.oracle",
            [str(database), "--user", user, "--service", service, "--port", str(port)],
            secrets={PASSWORD_VARIABLE: password},
        )

    @property
    def dsn(self) -> str:
        """What `oracledb.connect(dsn=…)` takes."""
        return f"127.0.0.1:{self.port}/{self._service}"
