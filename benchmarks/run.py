"""./dev bench NAME [--json] [ARGS...] runs one benchmark; ./dev bench --list names them.

A benchmark is a module of this folder with a docstring (its first line is shown) and
`main(arguments) -> Outcome`: figures, what was asserted and whether it held. The record goes to
benchmarks/results/NAME.jsonl; with --json it is printed as one line as well.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from types import ModuleType

import benchmarks
from benchmarks.outcome import Outcome, table
from tools import results


def all_benchmarks() -> dict[str, ModuleType]:
    """The modules of this folder that define main, by name (file names with `-` for `_`)."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name not in ("run", "outcome"):
            loaded = importlib.import_module(f"benchmarks.{module.name}")
            if hasattr(loaded, "main"):
                found[module.name.replace("_", "-")] = loaded
    return found


def main() -> int:
    arguments = sys.argv[1:]
    as_json = "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--json"]
    known = all_benchmarks()
    if arguments[:1] == ["--list"]:
        for name, module in known.items():
            print(f"{name:16} {(module.__doc__ or '').strip().splitlines()[0]}")
        return 0
    if not arguments or arguments[0] not in known:
        print(
            f"usage: ./dev bench NAME [--json] | --list; NAME: {', '.join(known)}", file=sys.stderr
        )
        return 2
    name = arguments[0]
    outcome: Outcome = known[name].main(arguments[1:])
    record = results.append(
        name,
        counts=outcome.counts,
        figures=outcome.figures,
        seeds=outcome.seeds,
        exit_code=0 if outcome.held else 1,
    )
    if as_json:
        print(json.dumps(record))
    else:
        for key, value in outcome.figures.items():
            is_table = isinstance(value, list) and value and isinstance(value[0], dict)
            print(f"{key}\n{table(value)}\n" if is_table else f"{key:32} {value}")
        print(
            "holds" if outcome.held else "DOES NOT HOLD",
            f"({record['cpu']}, {record['cores']} cores)",
        )
    return 0 if outcome.held else 1


if __name__ == "__main__":
    sys.exit(main())
