"""Plan: what a step will do, looked at before it runs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import Any

from . import _core
from .decisions import Decisions


class Plan:
    """One rank's plan with the decisions behind it; `step.compile(batch)` returns one."""

    def __init__(
        self,
        core: _core.Plan,
        explanations: str,
        dumps: Sequence[tuple[str, str]],
        graph: str,
        decisions: Decisions,
        target: _core.Target,
    ) -> None:
        self.core = core
        self.graph = graph
        self.dumps = list(dumps)
        self.decisions = decisions  # what was decided, to be given back as parallel=
        self._explanations = explanations
        self._target = target

    @property
    def text(self) -> str:
        """The text form (docs/plan_format.md): the same bytes for the same program and target."""
        return self.core.text()

    @property
    def fingerprint(self) -> int:
        """A 64-bit hash of the plan: equal where the plans are."""
        return self.core.fingerprint()

    def summary(self) -> str:
        """Memory per device and per GPU, predicted step time and what limits it, and the links that were reckoned
        with."""
        parts = [
            self.core.summary(),
            self._target.gpu_memory_text(self.core),
            self._target.links_text(),
        ]
        return "\n".join(part for part in parts if part)

    def memory(self) -> list[dict[str, Any]]:
        """Per device: arena_bytes, lower_bound, state_bytes, peak_task and (name, bytes, line) at the peak, of which
        workspace_bytes are workspaces of kernels."""
        return self.core.memory()

    def gpu_memory(self) -> list[dict[str, Any]]:
        """Per GPU of a cuda mesh: gpu, devices, and bytes by pool: states, arenas, inputs, outputs, messages, detours.
        `bytes` is their sum, all that is allocated for the plan alone; needed_bytes adds rounding, nccl (both
        predicted) and reserved, which is not the plan's; memory_bytes is what the GPU has, 0 if that is not known."""
        return self._target.gpu_memory(self.core)

    def figures(self) -> dict[str, int]:
        """Predicted step_ns, flops_per_step and moved_bytes_per_step."""
        return self.core.figures()

    def work(self) -> list[dict[str, int]]:
        """Per device: predicted compute_ns and flops of its kernels in a step. What step_ns has beyond the busiest
        device's is movement that nothing hides."""
        return self.core.work()

    def kernels(self) -> list[dict[str, Any]]:
        """Every kernel that a step runs, in the plan's order: name, op, moves (bytes only, without arithmetic),
        device, (dtype, shape) of its inputs and outputs, firings in a step, and flops, bytes and predicted_ns of a
        firing."""
        return self.core.kernels()

    def explain(self, pattern: str = "") -> str:
        """The decisions about the nodes whose line of text contains `pattern`, with the alternatives' costs."""
        return "\n".join(line for line in self._explanations.splitlines() if pattern in line)

    def save_decisions(self, path: str | os.PathLike[str]) -> None:
        """Writes the decisions; `parallel=flow.Decisions.load(path)` follows them."""
        self.decisions.save(path)

    def verify(self) -> None:
        """Proves the plan once more; PlanError names what is wrong."""
        self.core.verify()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the text form; tools/plan_tool reads it."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.text)

    def diff(self, other: Plan) -> str:
        """What changed from this plan to another, as a unified diff of their text."""
        lines = difflib.unified_diff(
            self.text.splitlines(), other.text.splitlines(), "this plan", "the other", lineterm=""
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Plan {self.core.name}: {self.core.num_tasks} tasks on rank {self.core.rank}>"
