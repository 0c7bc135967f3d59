"""Models written for PyTorch, only their imports changed, under every layout, in both modes, on several batches.

Every loss of every file in tests/ported/models: all gradients and one SGD step against PyTorch in float64, and what
each device does. Then random programs that write through views. Arguments: how many batches, how many programs.
"""

from __future__ import annotations

import sys
import time
import warnings

from tools import results

COST = "4 batches, 3,000 programs: 12 minutes (1 batch, 1,000 programs: 4)"


def models(batches: int) -> dict[str, int]:
    """How many runs there were, how many had other numbers or idle devices."""
    from tests.ported import porting, runs

    counts = {"runs": 0, "wrong": 0, "idle": 0}
    for name in porting.NAMES:
        begin = time.monotonic()
        for loss in porting.losses_of(porting.original(name)):
            for training in (True, False):
                one = runs.Port(name, "one").gradients(loss, training)
                for layout in runs.LAYOUTS:
                    for seed in range(1, batches + 1):
                        of_gradients, of_moves = runs.yardsticks(name, loss, training, seed)
                        found = runs.Port(name, layout, seed).gradients(loss, training)
                        moved = runs.Port(name, layout, seed).moved(loss, training)
                        idle = runs.idle(name, layout, found, one)
                        wrong = [
                            *of_gradients.violations(found.values),
                            *of_moves.violations(moved.values),
                        ]
                        counts["runs"] += 2
                        counts["wrong"] += bool(wrong)
                        counts["idle"] += bool(idle)
                        for problem in [*wrong, *idle]:
                            mode = "train" if training else "eval"
                            print(f"{name} {loss} {layout} {mode} batch {seed}: {problem}")
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    return counts


def programs(count: int) -> dict[str, int]:
    """How many random programs differed from PyTorch's, how many were refused."""
    from tests.api.test_inplace import differs_or_refused

    counts = {"programs": count, "different": 0, "refused": 0}
    for seed in range(1000, 1000 + count):
        try:
            counts["refused"] += differs_or_refused(seed, 8 + seed % 20)
        except AssertionError as error:
            counts["different"] += 1
            print(f"program {seed}: {error}")
    return counts


def main(arguments: list[str]) -> int:
    batches, count = (int(a) for a in (arguments + ["4", "3000"][len(arguments) :])[:2])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Decorating classes", FutureWarning)
        counts = {**models(batches), **programs(count)}
    for name, number in counts.items():
        print(f"{name:12} {number}")
    held = not counts["wrong"] and not counts["idle"] and not counts["different"]
    code = 0 if held and counts["refused"] <= 0.35 * count else 1
    results.append("ported", counts=counts, seeds=[1, batches], exit_code=code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
