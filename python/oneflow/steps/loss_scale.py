"""Loss scaling for precision="fp16": gradients that float16 would round to zero are computed times a scale.

The scale is a state of the step, moved by ops of its graph: a step whose gradients are not finite leaves every state
as it was and backs off, and so many good steps in a row grow the scale. Nothing of it is decided on the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import float32, int64
from ..errors import Error
from ..functions.elementwise import (
    add,
    cast,
    eq,
    isfinite,
    logical_and,
    logical_not,
    lt,
    mul,
    where,
)
from ..functions.reductions import sum as sum_of
from ..initializers import Constant
from ..location import user_location
from ..state import StateCell
from ..tensor import Tensor
from ..traced import TracedValue
from ..tracing import Trace

# How the states are called in plans and checkpoints.
PREFIX = "loss_scale."


@dataclass(frozen=True)
class LossScale:
    """How a train step of precision="fp16" scales its loss; names and defaults are those of torch.amp.GradScaler.

    The scale starts at `init_scale`. A step with a gradient that is not finite changes no state and multiplies the
    scale by `backoff_factor`; `growth_interval` steps in a row without one multiply it by `growth_factor`. Factors of
    1 keep it fixed. Error for a scale or a factor out of range.
    """

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        def is_number(value: Any) -> bool:
            return isinstance(value, (int, float)) and not isinstance(value, bool)

        scale, growth, backoff = self.init_scale, self.growth_factor, self.backoff_factor
        if not (is_number(scale) and 0 < scale <= float(np.finfo(np.float32).max)):
            raise Error(
                f"init_scale={scale!r}: a number above 0 that float32 holds", user_location()
            )
        if not (is_number(growth) and growth >= 1 and math.isfinite(growth)):
            raise Error(f"growth_factor={growth!r}: a number from 1", user_location())
        if not (is_number(backoff) and 0 < backoff <= 1):
            raise Error(f"backoff_factor={backoff!r}: a number above 0, at most 1", user_location())
        interval = self.growth_interval
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise Error(f"growth_interval={interval!r}: an integer from 1", user_location())


def loss_scale_of(asked: Any, precision: str) -> LossScale | None:
    """What a train step's loss_scale= means; None without float16, where there is nothing to scale."""
    if isinstance(asked, (int, float)) and not isinstance(asked, bool):
        asked = LossScale(asked, 1.0, 1.0)
    if asked == "dynamic":
        return LossScale() if precision == "fp16" else None
    if not isinstance(asked, LossScale):
        raise Error(
            f"loss_scale={asked!r}: 'dynamic', a number that stays, or a flow.LossScale(...)",
            user_location(),
        )
    if precision != "fp16":
        raise Error(
            f"loss_scale= belongs to precision='fp16'; {precision!r} has the range of float32 and needs none",
            user_location(),
        )
    return asked


class Scaling:
    """The states of one step's loss scale, and the ops on them."""

    def __init__(self, settings: LossScale) -> None:
        self.settings = settings
        # The scale; good steps since it changed; how many steps were skipped in all.
        self._scale = StateCell((), float32, Constant(settings.init_scale))
        self._good = StateCell((), int64, Constant(0))
        self._skipped = StateCell((), int64, Constant(0))

    def cells(self) -> dict[str, StateCell]:
        """The states by their names in a checkpoint."""
        return {
            f"{PREFIX}scale": self._scale,
            f"{PREFIX}good_steps": self._good,
            f"{PREFIX}skipped_steps": self._skipped,
        }

    @property
    def value(self) -> float:
        """The scale of the next step; waits for steps in flight."""
        return float(self._scale.read())

    def restart(self) -> None:
        """The first scale again, and no step skipped."""
        self._scale.write(np.asarray(self.settings.init_scale))
        self._good.write(np.asarray(0))
        self._skipped.write(np.asarray(0))

    def updates(self, trace: Trace, step: Tensor) -> Tensor:
        """How many updates were made before this step, i64[]: Adam's bias corrections count those alone."""
        return step - trace.read(self._skipped)

    def scaled(self, trace: Trace, loss: Tensor) -> Tensor:
        """The loss times the scale, as if the user's line had made it."""
        source = loss._source
        assert isinstance(source, TracedValue)
        product = mul(cast(loss, float32), trace.read(self._scale))
        return trace.wrap(trace.id_of(product), source.location)

    def unscaled(self, trace: Trace, gradients: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """(the gradients divided by the scale, whether all of them are finite, bool[])."""
        # A sum is finite where its terms are, unless float32 ends; one pass and no buffer per gradient.
        total = sum_of(cast(gradients[0], float32)) * 0.0
        for gradient in gradients[1:]:
            total = total + sum_of(cast(gradient, float32)) * 0.0
        factor = 1.0 / trace.read(self._scale)
        return [cast(cast(g, float32) * factor, g.dtype) for g in gradients], eq(total, 0.0)

    def metrics(self, trace: Trace, is_finite: Tensor) -> dict[str, Tensor]:
        """What the step says beside its loss: the scale that it used, and whether it changed nothing."""
        return {"loss_scale": trace.read(self._scale), "skipped": logical_not(is_finite)}

    def write(self, trace: Trace, is_finite: Tensor, cell: StateCell, new: Tensor) -> None:
        """The state becomes `new` if the gradients are finite, else stays."""
        trace.write(cell, where(is_finite, new, trace.found(cell)))

    def move(self, trace: Trace, is_finite: Tensor) -> None:
        """The scale moves on, and what the function wrote holds if the gradients are finite."""
        for cell, new in list(trace.writes.items()):
            op = trace.graph.describe(trace.id_of(new))[0]
            if op == "running_update" and trace.accumulate > 1:
                continue  # folds the micro-batches on its way into the state, which nothing may come between
            self.write(trace, is_finite, cell, new)
        settings = self.settings
        scale, good = trace.read(self._scale), trace.read(self._good)
        skipped = trace.read(self._skipped)
        count = add(good, 1)
        is_short = lt(count, settings.growth_interval)
        grown = mul(scale, settings.growth_factor)
        risen = where(isfinite(grown), grown, scale)
        kept = where(is_short, scale, risen)
        trace.write(self._scale, where(is_finite, kept, mul(scale, settings.backoff_factor)))
        zero = mul(good, 0)
        trace.write(self._good, where(logical_and(is_finite, is_short), count, zero))
        trace.write(self._skipped, where(is_finite, skipped, add(skipped, 1)))
