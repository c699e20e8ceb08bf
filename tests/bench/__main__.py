"""Benchmarks, run by hand from the repository's root: `python -m tests.bench NAME`.

None is part of pytest. Each prints a table, and one line of JSON at the end.
"""

from __future__ import annotations

import argparse

from tests.bench import extract, load, quota, reconcile, sales_target

MODULES = {
    "extract": extract,
    "load": load,
    "quota": quota,
    "reconcile": reconcile,
    "sales_target": sales_target,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure a stage of kpcluigi. Run it in the repository's root, in a virtual "
        "environment with `pip install -e '.[test]'`, on a machine that is otherwise idle.",
        epilog="The last line is JSON; `… | tail -n 1 > result.json` keeps it.",
    )
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in MODULES.items():
        description = (module.__doc__ or "").strip()
        command = names.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
