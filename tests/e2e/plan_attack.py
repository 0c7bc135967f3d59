"""No plan hurts: random changes of the text of the layouts' plans, by the program plan_attack.

The program runs in a process of its own, since what hurts ends it; then the change that did is recorded
and the attack goes on behind it.
"""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.any_order import make_case
from tests.e2e.layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[2]
# One process for all devices, and two where the devices can be dealt to two.
JOBS = [(layout.name, 1) for layout in LAYOUTS] + [
    (name, 2) for name in ("dp2", "tp2", "pp2", "dp2_tp2", "dp2_pp2_acc4")
]


def plan_attack(preset: str = "*") -> Path:
    """The newest built plan_attack."""
    found = list(ROOT.glob(f"build/{preset}/tools/plan_attack"))
    assert found, f"plan_attack is not built: ./dev build {preset} plan_attack"
    return max(found, key=lambda path: path.stat().st_mtime)


def save_jobs(folder: Path, model: str = "mlp") -> list[Path]:
    """A folder per job with the plans of its ranks."""
    paths = []
    for layout, ranks in JOBS:
        path = folder / f"{model}.{layout}.x{ranks}"
        path.mkdir()
        for rank, plan in enumerate(make_case(model, layout, ranks).plans):
            # Without the folder of this tree, whose name would decide what is drawn.
            (path / f"{rank}.plan").write_text(plan.text().replace(f"{ROOT}/", ""))
        paths.append(path)
    return paths


@dataclass
class Verdict:
    """What became of the changes made."""

    counts: dict[str, int] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # changes that hurt or were not named
    next: int = 0
    rss_mib: int = 0

    @property
    def made(self) -> int:
        return sum(self.counts.values()) + len(self.crashes)


def attack(
    jobs: list[Path],
    *,
    seed: int,
    first: int = 0,
    count: int,
    seconds: int = 3600,
    program: Path | None = None,
) -> Verdict:
    """Makes changes number `first` to `first + count - 1` of `seed`, as far as the seconds last."""
    verdict = Verdict(next=first)
    progress = jobs[0].parent / f"progress-{first}"
    while verdict.next < first + count and len(verdict.crashes) < 20:
        progress.write_bytes(struct.pack("=Q", verdict.next))
        done = subprocess.run(
            [
                program or plan_attack(),
                f"--seed={seed}",
                f"--first={verdict.next}",
                f"--count={first + count - verdict.next}",
                f"--seconds={seconds}",
                f"--progress={progress}",
                *jobs,
            ],
            capture_output=True,
            text=True,
            errors="replace",
        )
        *wrong, last = done.stdout.splitlines() or [""]
        if not last.startswith("{"):
            (at,) = struct.unpack("=Q", progress.read_bytes())
            error = "\n".join(done.stderr.splitlines()[:40])
            verdict.crashes.append(f"change {at}: exit {done.returncode}\n{error}")
            verdict.counts["before a crash"] = (
                verdict.counts.get("before a crash", 0) + at - verdict.next
            )
            verdict.wrong += [*wrong, last]
            verdict.next = at + 1
            continue
        figures = json.loads(last)
        verdict.wrong += wrong
        verdict.next = figures.pop("next")
        verdict.rss_mib = max(verdict.rss_mib, figures.pop("rss_mib"))
        figures.pop("made")
        for name, number in figures.items():
            verdict.counts[name] = verdict.counts.get(name, 0) + number
        break
    return verdict
