"""Bar 3 on real plans: plan_tool breaks a plan on purpose and tells what the proofs refuse."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.layouts import BY_NAME, Run, make_batch

ROOT = Path(__file__).resolve().parents[2]


def plan_tool() -> Path:
    """The newest built plan_tool."""
    found = [*ROOT.glob("build/tools/plan_tool"), *ROOT.glob("build/*/tools/plan_tool")]
    assert found, "plan_tool is not built: ./dev build"
    return max(found, key=lambda path: path.stat().st_mtime)


@dataclass
class Verdict:
    """How many mutations of one kind were made, refused, and refused with the mutated item named."""

    harmful: bool
    made: int
    refused: int
    named: int


def mutate(
    model: str, layout: str, folder: Path, *, seed: int, per_kind: int
) -> dict[str, Verdict]:
    """The verdicts by kind for the training plan of a model under a layout."""
    step = Run(model, BY_NAME[layout], dropout=0.4).train_step()
    path = folder / f"{model}.{layout}.plan"
    step.compile(**make_batch(model, BY_NAME[layout].batch, 0)).save(path)
    command = [plan_tool(), "mutate", f"--seed={seed}", f"--per-kind={per_kind}", path]
    out = subprocess.run(command, capture_output=True, text=True, timeout=600).stdout
    verdicts = {}
    for line in out.splitlines():
        match = re.match(r"\s+(harmful|harmless)\s+(.*?)\s+(\d+)\s+(\d+)\s+(\d+|-)$", line)
        if match:
            change, kind, made, refused, named = match.groups()
            count = 0 if named == "-" else int(named)
            verdicts[kind] = Verdict(change == "harmful", int(made), int(refused), count)
    return verdicts


def misjudged(verdicts: dict[str, Verdict]) -> list[str]:
    """What the verifier got wrong: harm accepted or not named, harmless changes refused."""
    wrong = []
    for kind, verdict in verdicts.items():
        if verdict.harmful and not verdict.made == verdict.refused == verdict.named:
            wrong.append(f"{kind}: {verdict}")
        if not verdict.harmful and verdict.refused:
            wrong.append(f"{kind}: {verdict}")
    return wrong


def kinds(verdicts: dict[str, Verdict], *, harmful: bool) -> int:
    return sum(v.made > 0 for v in verdicts.values() if v.harmful == harmful)
