"""train_step: forward, gradients and the optimizer's update as one step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import tree
from ..dtypes import float32
from ..errors import DataError, Error
from ..location import user_location
from ..mesh import Mesh
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..sharding import Parallel
from ..tensor import Tensor
from ..tracing import Trace
from .clipping import clip_by_norm
from .interruption import between_steps
from .metrics import Metrics
from .progress import Progress
from .step import OutputName, Program, Step, add_outputs, fill_outputs, print_values

# Metrics that every step has.
RESERVED = ("loss", "lr", "step", "grad_norm")


def split_loss(result: Any) -> tuple[Tensor, dict[str, Any]]:
    """The loss and the further metrics of what a step's function returned."""
    if isinstance(result, Tensor):
        loss, metrics = result, {}
    elif isinstance(result, Mapping) and "loss" in result:
        loss, metrics = (
            result["loss"],
            {name: value for name, value in result.items() if name != "loss"},
        )
    else:
        raise Error(
            f"a train step returns a scalar loss or a dict with 'loss' and metrics, not {type(result).__name__}",
            user_location(),
        )
    if not isinstance(loss, Tensor) or loss.shape != () or not loss.dtype.is_floating_point:
        raise Error(
            f"the loss must be a floating-point tensor without dims, not {loss!r}; reduce it, with .mean() for instance",
            user_location(),
        )
    if not loss.is_traced:
        raise Error("the loss does not depend on the batch or the model", user_location())
    return loss, metrics


class TrainStep(Step):
    """Made by `@flow.train_step`. Calling it trains on one global batch and returns its Metrics at once."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        optimizer: Optimizer,
        check: str,
        clip_norm: float | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise Error(
                f"optimizer= takes a flow.optim.Optimizer, not {type(optimizer).__name__}",
                user_location(),
            )
        if check not in ("off", "loss"):
            raise Error(f"check={check!r}: 'off' or 'loss'", user_location())
        if clip_norm is not None and not (
            isinstance(clip_norm, (int, float)) and clip_norm > 0 and math.isfinite(clip_norm)
        ):
            raise Error(f"clip_norm={clip_norm!r}: a number above 0, or None", user_location())
        self.optimizer = optimizer
        self._check = check
        self._clip_norm = clip_norm
        super().__init__(fn, **options)

    def _extra_key(self) -> Any:
        return self.optimizer.key()

    def _trace_body(self, trace: Trace, call: Callable[[], Any]) -> tuple[Any, Tensor | None]:
        loss, metrics = split_loss(call())
        named = {parameter.cell: name for name, parameter in self.named_parameters().items()}
        updates = [
            (group_index, group, parameter)
            for group_index, group in enumerate(self.optimizer.param_groups)
            for parameter in group["params"]
            if parameter.requires_grad and parameter.cell in trace.reads
        ]
        if not updates:
            raise Error("the loss depends on no parameter of the optimizer", user_location())
        values = [trace.reads[parameter.cell] for _, _, parameter in updates]
        reached = [
            (update, value, gradient)
            for update, value, gradient in zip(
                updates, values, trace.gradients(loss, values), strict=True
            )
            if gradient is not None  # as in PyTorch: no gradient, no update, no decay
        ]
        gradients = [gradient for _, _, gradient in reached]
        if self._clip_norm is not None:
            gradients, metrics["grad_norm"] = clip_by_norm(gradients, self._clip_norm)
        for name, value in trace.taps.items():
            if name in metrics or name in RESERVED:
                raise Error(
                    f"flow.tap: the step has a metric {name!r} already; choose another name",
                    user_location(),
                )
            metrics[name] = value
        outputs = add_outputs(trace, {"loss": loss, **metrics})
        rates = {
            index: trace.input(f"lr.{index}", float32, (), "scalar")
            for index in sorted({update[0] for update, _, _ in reached})
        }
        for ((index, group, parameter), value, _), gradient in zip(reached, gradients, strict=True):
            name = named.get(parameter.cell, "parameter")
            cells = self.optimizer.state_cells(parameter, group)
            for slot, cell in cells.items():
                trace.names[cell] = self.store.name_of(cell, f"{name}.{slot}")
                if parameter.cell in trace.annotations:
                    trace.annotations[cell] = trace.annotations[parameter.cell]
            new, slots = self.optimizer.update(
                value,
                gradient,
                {slot: trace.read(cell) for slot, cell in cells.items()},
                rates[index],
                trace.step(),
                group,
            )
            trace.write(parameter.cell, new)
            for slot, cell in cells.items():
                trace.write(cell, slots[slot])
        return outputs, loss

    def _scalars(self) -> dict[str, np.ndarray]:
        scalars = {"step": np.asarray(self.optimizer.steps, dtype=np.int64)}
        for index, rate in enumerate(self.optimizer.learning_rates()):
            scalars[f"lr.{index}"] = np.asarray(rate, dtype=np.float32)
        return scalars

    def __call__(self, *args: Any, **kwargs: Any) -> Metrics:
        with between_steps():
            metrics = self._step(args, kwargs)
        metrics.show()
        return metrics

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Metrics:
        rates = self.optimizer.learning_rates()
        optimizer = self.optimizer

        def undo() -> None:
            optimizer.steps -= 1

        name = f"step {optimizer.steps} of {self._fn.__name__}"
        program, invocation = self._launch(args, kwargs, name, undo)
        number = optimizer.steps
        optimizer.steps += 1
        known = {"lr": rates[0], "step": number}
        known.update(
            (name, value)
            for name, value in program.result.items()
            if not any(isinstance(leaf, OutputName) for _, leaf in tree.flatten(value))
        )
        show = None
        if any(number % one.every == 0 for one, _ in program.prints):
            show = functools.partial(print_values, program, number=number)
        return Metrics(
            self.store,
            invocation,
            list(program.output_names),
            known,
            self._check == "loss",
            program.loss_location,
            show,
        )

    def interpret(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The metrics of this step computed op by op on one device, no plan; changes no state."""
        program, values = self._interpret(args, kwargs)
        return self._metrics(program, values)

    def debug(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The metrics of this step, running the function's Python with real values, gradients and update included:
        `print`, `.item()` and `pdb` work in it. Changes no state."""
        return self._metrics(*self._debug(args, kwargs))

    def _metrics(self, program: Program, values: Mapping[str, Tensor]) -> dict[str, Any]:
        return {
            **fill_outputs(program.result, values),
            "lr": self.optimizer.learning_rates()[0],
            "step": self.optimizer.steps,
        }

    def run(self, loader: Iterable[Any], steps: int | None = None) -> Iterator[Metrics]:
        """Trains over `loader`, again and again until the optimizer has made `steps` steps in all; once without."""
        with Progress(self._fn.__name__, steps) as progress:
            while steps is None or self.optimizer.steps < steps:
                start = self.optimizer.steps
                batches = iter(loader)
                # A batch is taken only for a step: the loader's position counts what was taken.
                while steps is None or self.optimizer.steps < steps:
                    try:
                        batch = next(batches)
                    except StopIteration:
                        break
                    args, kwargs = self._arguments_of(batch)
                    metrics = self(*args, **kwargs)
                    yield metrics
                    progress.show(self.optimizer.steps, metrics)
                if steps is None:
                    return
                if self.optimizer.steps == start:
                    raise DataError(
                        f"the loader is empty at step {start} of {steps}; an iterator ends for good: pass something "
                        "that can be iterated again",
                        user_location(),
                    )


def train_step(
    fn: Callable[..., Any] | None = None,
    *,
    model: Module | Mapping[str, Module],
    optimizer: Optimizer,
    mesh: Mesh | None = None,
    parallel: Parallel = "auto",
    accumulate: int = 1,
    seed: int | None = None,
    clip_norm: float | None = None,
    check: str = "loss",
    max_plans: int = 8,
) -> Any:
    """Makes a function of a batch that returns a loss (or a dict with "loss" and metrics) into a train step.

    The batch is the global one; how it is cut is the plan's business. `parallel` is "auto" or rules over parameter
    names, `{"encoder.*.weight": dict(tp="S(0)")}`, first match wins. `accumulate=k` cuts each batch into k
    micro-batches; `seed` is that of dropout masks. `clip_norm` scales the gradients so that their norm together is
    at most that, as torch.nn.utils.clip_grad_norm_, and adds the norm before as the metric `grad_norm`.
    """

    def make(function: Callable[..., Any]) -> TrainStep:
        return TrainStep(
            function,
            optimizer=optimizer,
            check=check,
            clip_norm=clip_norm,
            model=model,
            mesh=mesh,
            parallel=parallel,
            accumulate=accumulate,
            seed=seed,
            max_plans=max_plans,
        )

    return make if fn is None else make(fn)
