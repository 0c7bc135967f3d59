"""5,000 random programs that write their states, in every layout, equal the interpreter bit for bit.

`./dev long state-writes SEED COUNT` takes other programs.
"""

from __future__ import annotations

import time

from tools import results

COST = "5,000 programs of 10 ms each: 2 minutes"


def main(arguments: list[str]) -> int:
    from tests.e2e.state_writes import LAYOUTS, program

    first, count = (int(a) for a in (arguments + ["0", "5000"][len(arguments) :])[:2])
    wrong = []
    begin = time.monotonic()
    for seed in range(first, first + count):
        one = program(seed)
        difference = one.run_both()
        if difference is not None:
            wrong.append(f"program {seed} {one.layout}: {difference}; {one.writes}")
            print(wrong[-1], flush=True)
    print(f"{count} programs, {len(wrong)} wrong, {time.monotonic() - begin:.0f} s")
    code = 1 if wrong else 0
    results.append(
        "state-writes",
        counts={"programs": count, "layouts": len(LAYOUTS), "wrong": len(wrong)},
        figures={"wrong": wrong[:10]},
        seeds=[first, first + count - 1],
        exit_code=code,
    )
    return code
