"""A disk that is really full: a small file system of the test's own, which somebody else fills."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from kpcluigi.rehearsal.run import COMMAND, Rehearsal

UNSHARE = ("unshare", "--map-root-user", "--mount")
SCRIPT = """
set -u
mount -t tmpfs -o size=20m tmpfs {disk}
{luigi} &
until ls {disk}/data/*/*/*/plan.json; do sleep 0.1; done
head -c $(( $(df --output=avail -B1 {disk} | tail -1) - 200000 )) /dev/zero > {disk}/ballast
wait $!
echo "first run: $?"
find {disk} -name '.*.tmp-*' | sed 's/^/left behind: /'
rm {disk}/ballast
{luigi}
echo "second run: $?"
"""


@pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this system lets nobody make a file system of his own (unshare --mount)",
)
def test_a_full_disk_says_how_much_is_needed_and_the_next_run_goes_on(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    rehearsal.oracle.arm(
        on="execute", match="^SELECT t.*KPS_T_SALES_MD.*ORDER BY", delay=2, times=3
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [
        *COMMAND,
        *("--tables", "KPS_T_SALES_MD"),
        *("--staging-root", f"{disk}/data"),
        *("--staging-min-free-gb", "0"),
    ]
    done = subprocess.run(
        [*UNSHARE, "bash", "-c", SCRIPT.format(disk=disk, luigi=shlex.join(command))],
        env=rehearsal.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    first, second = done.stdout.split("first run: 30")
    assert "No space left on device" in first
    assert "chunks of KPS_T_SALES_MD still to come need about 1.1 MB" in first
    assert "left behind" not in second
    assert "second run: 0" in second
    assert "KPS_T_SALES_MD" in second[second.rindex("phase  table") :]
    assert "all PASS" in second
