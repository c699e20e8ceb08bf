"""A copy in a process of its own, which says what it is about to do, so that it can be killed.

`python -m tests.sales_target.killed` reads one JSON object per line (`dsn`, `url`, `batch_rows`),
forks a child for it, and prints the child's process id, then a line before each statement and each
batch, then `ended CODE MEGABYTES`.
"""

from __future__ import annotations

import json
import os
import sys

import sqlalchemy as sa

from kpcluigi.oracle import connect
from kpcluigi.sales_target import OracleTable, open_engine, sync
from tests.sales_target.copying import PASSWORD, PLAIN, TARGET, USER


def main() -> None:
    for line in sys.stdin:
        given = json.loads(line)
        pid = os.fork()  # the modules are loaded, and nothing of them was used yet
        if not pid:
            os._exit(copy(**given))
        say(f"started {pid}")
        _, status, usage = os.wait4(pid, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)} {usage.ru_maxrss // 1024}")


def copy(dsn: str, url: str, batch_rows: int) -> int:
    sync(
        lambda: connect(dsn=dsn, user=USER, password=PASSWORD, module="test"),
        open_engine(sa.make_url(url)),
        source=OracleTable("APPS", PLAIN),
        target=TARGET,
        batch_rows=batch_rows,
        tell=lambda line, share: say(f"told {line}"),
        show=lambda statement: say(f"runs {statement[:40]}"),
    )
    return 0


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
