"""Mutations of every plan of bar 2: >= 8 harmful kinds refused with the mutated item named, >= 4 harmless accepted.

`./dev long verifier SEED PER_KIND` takes other mutations.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tools import results

COST = "20 plans, 10 mutations of each of 19 kinds: 5 minutes"


def main(arguments: list[str]) -> int:
    from tests.e2e.layouts import LAYOUTS
    from tests.e2e.proofs import kinds, misjudged, mutate

    seed, per_kind = (int(a) for a in (arguments + ["1", "10"][len(arguments) :])[:2])
    figures, wrong, made = {}, [], 0
    with tempfile.TemporaryDirectory() as folder:
        for model in ("mlp", "resnet"):
            for layout in LAYOUTS:
                verdicts = mutate(model, layout.name, Path(folder), seed=seed, per_kind=per_kind)
                harmful = kinds(verdicts, harmful=True)
                harmless = kinds(verdicts, harmful=False)
                bad = misjudged(verdicts)
                if harmful < 8 or harmless < 4:
                    bad.append(f"only {harmful} harmful and {harmless} harmless kinds apply")
                name = f"{model} {layout.name}"
                figures[name] = {"harmful_kinds": harmful, "harmless_kinds": harmless, "wrong": bad}
                wrong += bad
                made += sum(v.made for v in verdicts.values())
                print(
                    f"{name:24} {harmful} harmful kinds, {harmless} harmless, wrong: {bad or 'none'}"
                )
    code = 1 if wrong else 0
    counts = {"plans": len(figures), "mutations": made, "wrong": len(wrong)}
    results.append("verifier", counts=counts, figures=figures, seeds=[seed], exit_code=code)
    return code
