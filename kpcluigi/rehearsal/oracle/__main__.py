"""The server as a process: `python -m kpcluigi.rehearsal.oracle DATABASE --user U --service S`.

The user's password comes by the environment variable KPCLUIGI_REHEARSAL_ORACLE_PASSWORD.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from kpcluigi.rehearsal.oracle import PASSWORD_VARIABLE
from kpcluigi.rehearsal.oracle.server import Server
from kpcluigi.rehearsal.standin import serve_until_stdin_closes


def main() -> None:
    parser = argparse.ArgumentParser(prog="kpcluigi.rehearsal.oracle", description=__doc__)
    parser.add_argument("database", type=Path, help="the DuckDB file with the tables")
    parser.add_argument(
        "--user", required=True, help="who may log in; owns the schema of that name"
    )
    parser.add_argument("--service", default="KPC", help="the service name to answer to")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 takes a free port")
    for option, what in (("--grant", "a privilege to add"), ("--revoke", "one to take away")):
        parser.add_argument(option, action="append", default=[], help=f"{what}; see `privileges`")
    given = parser.parse_args()
    password = os.environ.pop(PASSWORD_VARIABLE, "")
    if not password:
        parser.error(f"the environment variable {PASSWORD_VARIABLE} holds no password")
    server = Server(
        given.database,
        user=given.user,
        password=password,
        service=given.service,
        port=given.port,
        granted=given.grant,
        revoked=given.revoke,
    )
    serve_until_stdin_closes(server, server.port, server.close)
    # Sessions may still be inside DuckDB, which must not be torn down under them; the file is
    # consistent at any moment, as after a crash.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
