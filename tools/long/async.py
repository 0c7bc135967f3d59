"""The async device: all layouts with threads, 500 seeds in virtual time, faults planted in every plan
(another count of seeds is the first argument).
"""

from __future__ import annotations

import sys
import time

from tools import results

COST = "20 layouts with threads, 6 plans x 500 seeds of 2-40 ms each: 3-8 minutes"
PLANTED = 40  # edges, of each plan
PLANTED_SEEDS = 5


def main(arguments: list[str]) -> int:
    from tests.e2e.any_order import PLANS, bits, make_case
    from tests.e2e.async_device import finite, told_too_early, trained, wrong_seeds
    from tests.e2e.layouts import LAYOUTS

    seeds = int(arguments[0]) if arguments else 500
    failed = 0
    figures: dict[str, object] = {}
    for model in ("mlp", "resnet"):
        for layout in LAYOUTS:
            right = trained(model, layout.name, "cpu", steps=3)
            same = trained(model, layout.name, "async", steps=3) == right and finite(right)
            failed += not same
            figures[f"{model} {layout.name}"] = {"same": same}
            print(f"{model} {layout.name}: {'same' if same else 'OTHER'} bits", flush=True)
    seen_in_all = planted_in_all = 0
    for model, layout_name, ranks in PLANS:
        begin = time.monotonic()
        cpu = make_case(model, layout_name, ranks)
        right_bits = bits(cpu.run(cpu.load(), 0))
        case = make_case(model, layout_name, ranks, "async")
        wrong = wrong_seeds(case, right_bits, seeds)
        refused = seen = 0
        planted = list(told_too_early(case.plans[0]))
        planted = planted[:: max(1, len(planted) // PLANTED)]
        others = case.plans[1:]
        for _, plan in planted:
            case.plans = [plan, *others]
            try:
                case.load()
            except Exception as error:
                refused += "but needs it finished" in str(error)
            runtime = case.load(verify=False)
            seen += wrong_in(case, runtime, right_bits)
        failed += wrong > 0 or refused < len(planted)
        seen_in_all += seen
        planted_in_all += len(planted)
        name = f"{model} {layout_name} x{ranks}"
        figures[name] = {"wrong": wrong, "planted": len(planted), "refused": refused, "seen": seen}
        print(
            f"{name}: {seeds} seeds, {wrong} with other bits; {len(planted)} edges told too early: "
            f"{refused} refused, {seen} seen; {time.monotonic() - begin:.0f} s",
            flush=True,
        )
    failed += seen_in_all == 0
    results.append(
        "async",
        seeds=[0, seeds - 1],
        counts={"planted": planted_in_all, "seen": seen_in_all},
        figures=figures,
        exit_code=int(failed > 0),
    )
    return int(failed > 0)


def wrong_in(case: object, runtime: object, right: list[tuple[str, bytes]]) -> bool:
    """True if some order of events shows it: other bits, or a deadlock."""
    from tests.e2e.any_order import bits

    for seed in range(PLANTED_SEEDS):
        try:
            if bits(case.run(runtime, seed)) != right:  # type: ignore[attr-defined]
                return True
        except Exception:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
