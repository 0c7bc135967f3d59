"""./dev long NAME [ARGS...] runs one bar at full size; ./dev long --list says what each costs.

A bar is a module of this folder with a docstring (its first line is shown), COST (a sentence) and
`main(arguments) -> exit code`. It appends its record to benchmarks/results/NAME.jsonl by
tools.results.append, and goes on where it stopped if it takes more than some minutes.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType

import tools.long


def bars() -> dict[str, ModuleType]:
    """All bars by name (file names with `-` for `_`)."""
    found = {}
    for module in pkgutil.iter_modules(tools.long.__path__):
        loaded = importlib.import_module(f"tools.long.{module.name}")
        if hasattr(loaded, "COST"):
            found[module.name.replace("_", "-")] = loaded
    return found


def main() -> int:
    known = bars()
    arguments = sys.argv[1:]
    if arguments[:1] == ["--list"]:
        for name, bar in known.items():
            print(
                f"{name:16} {(bar.__doc__ or '').strip().splitlines()[0]}\n{'':16} cost: {bar.COST}"
            )
        return 0
    if not arguments or arguments[0] not in known:
        print(f"usage: ./dev long NAME | --list; NAME: {', '.join(known)}", file=sys.stderr)
        return 2
    return int(known[arguments[0]].main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main())
