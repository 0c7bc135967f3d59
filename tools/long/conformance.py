"""Every name of the list against PyTorch in every form, printed as a table without a hole.

Rows are functions, methods, functional forms and modules; a cell is ok (equal to PyTorch, or both raise), raises (a
flow.Error where PyTorch has a value), more (a value where PyTorch raises), or - (does not apply). Reasons follow.
"""

from __future__ import annotations

import time
from collections import Counter

from tools import results

COST = "774 names in 25 forms: 1 minute"
MARKS = {"ok": "ok", "raises": "raises", "more": "more", "n/a": "-", "wrong": "WRONG"}


def main(arguments: list[str]) -> int:
    from tests.conformance.entry import FORMS
    from tests.conformance.names import ENTRIES
    from tests.conformance.runner import run_cell

    begin = time.monotonic()
    cells = {
        (name, form): run_cell(one, form)
        for name, one in ENTRIES.items()
        if not arguments or name in arguments
        for form in FORMS
    }
    names = list(dict.fromkeys(name for name, _ in cells))
    width = max(map(len, names), default=0) + 1
    print(" " * width + " ".join(f"{form[:8]:8}" for form in FORMS))
    for name in names:
        print(f"{name:{width}}" + " ".join(f"{MARKS[cells[name, f].state]:8}" for f in FORMS))
    for state in ("wrong", "raises", "more", "n/a"):
        whys = Counter(cell.why for cell in cells.values() if cell.state == state)
        print(f"\n{state}: {sum(whys.values())} cells")
        for why, count in sorted(whys.items()):
            print(f"  {count:5} {why}")
    blank = [key for key, cell in cells.items() if cell.state != "ok" and not cell.why]
    counts = Counter(cell.state for cell in cells.values())
    total = {"names": len(names), "forms": len(FORMS), "cells": len(cells), "blank": len(blank)}
    print(f"\n{total}, {dict(sorted(counts.items()))}, {time.monotonic() - begin:.0f} s")
    code = 1 if counts["wrong"] or blank or not names else 0
    results.append(
        "conformance",
        counts={**total, **{state.replace("/", ""): counts[state] for state in MARKS}},
        figures={"wrong": [" ".join(k) for k, c in cells.items() if c.state == "wrong"][:20]},
        exit_code=code,
    )
    return code
