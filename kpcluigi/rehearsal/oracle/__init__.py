"""The Oracle stand-in: a server process that the unmodified python-oracledb logs in to.

    with OracleStandIn(database, user="KPC", password=…) as oracle:
        oracledb.connect(user="KPC", password=…, dsn=oracle.dsn)

The database is a DuckDB file whose tables were made by `catalog.create_table`. Faults are armed
with `oracle.arm(...)`, whose keys `faults` describes; what the user may do is changed with
`oracle.grant(...)` and `oracle.revoke(...)`, see `privileges`; `oracle.forget_undo(...)` makes the
past unreadable. `oracle.reset()` undoes the last three.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kpcluigi.rehearsal.standin import StandIn

PASSWORD_VARIABLE = "KPCLUIGI_REHEARSAL_ORACLE_PASSWORD"
"""The environment variable by which the server learns its user's password."""


class OracleStandIn(StandIn):
    """A running Oracle stand-in over the DuckDB file `database`.

    `user` owns the schema of the same name; every other schema of the file can be read. `granted`
    and `revoked` are privileges by which he differs from the usual user.
    """

    def __init__(
        self,
        database: Path,
        *,
        user: str,
        password: str,
        service: str = "KPC",
        port: int = 0,
        granted: Sequence[str] = (),
        revoked: Sequence[str] = (),
    ) -> None:
        self._service = service
        options = [f"--grant={privilege}" for privilege in granted]
        options += [f"--revoke={privilege}" for privilege in revoked]
        super().__init__(
            "kpcluigi.rehearsal.oracle",
            [str(database), "--user", user, "--service", service, "--port", str(port), *options],
            secrets={PASSWORD_VARIABLE: password},
        )

    def grant(self, *privileges: str) -> None:
        """Give the user privileges, until `reset()`."""
        for privilege in privileges:
            self._call("POST", "/faults", {"grant": privilege})

    def revoke(self, *privileges: str) -> None:
        """Take privileges from the user, until `reset()`."""
        for privilege in privileges:
            self._call("POST", "/faults", {"revoke": privilege})

    def forget_undo(self, scn: int | None = None, *, table: str | None = None) -> None:
        """ORA-01555 for every SCN below `scn`, or the present one, until `reset()`.

        `table` is "OWNER.TABLE"; all tables when left out. Statements that are open get it at
        their next fetch.
        """
        self._call("POST", "/faults", {"forget_undo": scn, "table": table})

    @property
    def dsn(self) -> str:
        """What `oracledb.connect(dsn=…)` takes."""
        return f"127.0.0.1:{self.port}/{self._service}"
