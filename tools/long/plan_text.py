"""100,000 single and double changes of the text of the layouts' plans, under ASan and UBSan: refused by name, or run with every firing's operands between guards.

`./dev long plan-text COUNT SEED SECONDS` makes as many as fit into the seconds; called again with the same
count and seed it goes on where it stopped.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tools import process, results, run_tests

COST = "builds C++ with sanitizers (15 minutes), then about 30 changes a second: 1 hour; goes on"
ROOT = results.ROOT
STATE = ROOT / "build" / "plan-text.json"
CHUNK = 2000  # changes between two records of how far it came


def main(arguments: list[str]) -> int:
    from tests.e2e.plan_attack import attack, plan_attack, save_jobs

    count, seed, seconds = (int(a) for a in (arguments + ["100000", "1", "7200"][len(arguments) :]))
    log = run_tests.LOGS / "build-plan-text.log"
    if process.run(["./dev", "build", "asan", "plan_attack"], 3000, cwd=ROOT, log=log):
        print(f"FAILED build ({log.relative_to(ROOT)})")
        return 1
    program = plan_attack("asan")
    head, changed = results.commit()
    state = {
        "key": [head, changed, count, seed],
        "next": 0,
        "counts": {},
        "crashes": [],
        "wrong": [],
    }
    if STATE.exists():
        known = json.loads(STATE.read_text())
        if known["key"] == state["key"] and not changed:
            state = known
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        jobs = save_jobs(Path(folder))
        while state["next"] < count and (left := end - time.monotonic()) > 1:
            verdict = attack(
                jobs,
                seed=seed,
                first=state["next"],
                count=min(CHUNK, count - state["next"]),
                seconds=int(left),
                program=program,
            )
            for name, number in verdict.counts.items():
                state["counts"][name] = state["counts"].get(name, 0) + number
            state["crashes"] += verdict.crashes
            state["wrong"] += verdict.wrong
            state["next"] = verdict.next
            STATE.write_text(json.dumps(state))
            for text in [*verdict.crashes, *verdict.wrong]:
                print(text, flush=True)
            print(f"{state['next']} of {count}: {state['counts']}, {len(state['crashes'])} crashes")
    finished = state["next"] >= count
    code = 1 if state["crashes"] or state["wrong"] or not finished else 0
    results.append(
        "plan-text",
        counts={"made": state["next"], "crashes": len(state["crashes"]), **state["counts"]},
        figures={"wrong": state["wrong"][:50]},
        seeds=[seed],
        exit_code=code,
    )
    return code
