"""train_step: forward, gradients and the optimizer's update as one step."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .. import environment, tree
from ..background import Background
from ..checkpoint import Checkpoint, Stored, array_of, begin, check_fits, find
from ..dtypes import float32
from ..epochs import Epoch
from ..errors import CheckpointError, DataError, Error, PeerError, StaleRunError
from ..location import user_location
from ..mesh import Mesh
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..publication import drop_old
from ..random import default_generator
from ..sharding import Parallel
from ..snapshot import Contents, Snapshot, bytes_of_states, of_all_ranks, take, told_by_rank_0
from ..tensor import Tensor
from ..tracing import Trace
from .clipping import clip_by_norm
from .finite import watch
from .interruption import Termination, between_steps
from .loss_scale import PREFIX, LossScale, Scaling, loss_scale_of
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
        loss_scale: Any = "dynamic",
        **options: Any,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise Error(
                f"optimizer= takes a flow.optim.Optimizer, not {type(optimizer).__name__}",
                user_location(),
            )
        if check not in ("off", "loss", "all"):
            raise Error(f"check={check!r}: 'off', 'loss' or 'all'", user_location())
        if clip_norm is not None and not (
            isinstance(clip_norm, (int, float)) and clip_norm > 0 and math.isfinite(clip_norm)
        ):
            raise Error(f"clip_norm={clip_norm!r}: a number above 0, or None", user_location())
        self.optimizer = optimizer
        self._check = check
        self._clip_norm = clip_norm
        self._writing = Background()
        # A checkpoint was due before the last one was written, and that was told.
        self._was_late = False
        self._epoch: Epoch | None = None  # of the last run that kept checkpoints
        super().__init__(fn, **options)
        settings = loss_scale_of(loss_scale, self.precision)
        self._scaling = None if settings is None else Scaling(settings)

    def _extra_key(self) -> Any:
        return self.optimizer.key()

    @property
    def loss_scale(self) -> float:
        """What the next step multiplies its loss by; 1.0 unless precision="fp16". Waits for steps in flight."""
        return 1.0 if self._scaling is None else self._scaling.value

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
        scaling = self._scaling
        if scaling is not None:
            for name, cell in scaling.cells().items():
                trace.names[cell] = self.store.name_of(cell, name)
        derived = loss if scaling is None else scaling.scaled(trace, loss)
        reached = [
            (update, value, gradient)
            for update, value, gradient in zip(
                updates, values, trace.gradients(derived, values), strict=True
            )
            if gradient is not None  # as in PyTorch: no gradient, no update, no decay
        ]
        gradients = [gradient for _, _, gradient in reached]
        step, write = trace.step(), trace.write
        if scaling is not None:
            step = scaling.updates(trace, step)
            gradients, is_finite = scaling.unscaled(trace, gradients)
            for name, value in scaling.metrics(trace, is_finite).items():
                if name in metrics:
                    raise Error(
                        f'a step of precision="fp16" has a metric {name!r} of its own; choose another name',
                        user_location(),
                    )
                metrics[name] = value
            scaling.move(trace, is_finite)
            write = functools.partial(scaling.write, trace, is_finite)
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
                if parameter.cell in trace.annotations and cell.shape == parameter.shape:
                    trace.annotations[cell] = trace.annotations[parameter.cell]
            new, slots = self.optimizer.update(
                value,
                gradient,
                {slot: trace.read(cell) for slot, cell in cells.items()},
                rates[index],
                step,
                group,
            )
            write(parameter.cell, new)
            for slot, cell in cells.items():
                write(cell, slots[slot])
        if self._check == "all":
            trace.watched = watch(trace, may_skip=scaling is not None)
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

        name = f"step {optimizer.steps} of {self._name}"
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
            self._check != "off",
            program.loss_location,
            show,
            program.watched,
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
        result = fill_outputs(program.result, values)
        if program.watched is not None:
            what, loss = f"step {self.optimizer.steps}", float(result["loss"])
            if (error := program.watched.error(values, what, loss)) is not None:
                raise error
        return {
            **result,
            "lr": self.optimizer.learning_rates()[0],
            "step": self.optimizer.steps,
        }

    def run(
        self,
        loader: Iterable[Any],
        steps: int | None = None,
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        resume: str = "auto",
    ) -> Iterator[Metrics]:
        """Trains over `loader`, again and again until the optimizer has made `steps` steps in all; once without.

        With `checkpoint`, a folder or a flow.Checkpoint, the run is saved, and goes on from the newest checkpoint
        that is further than the optimizer: `resume` is "auto", "must" (an error if there is none) or "never". A
        loader with `state_dict` goes on at its next batch. The run claims the folder: an older one that still writes
        there ends with a StaleRunError. SIGTERM to any rank saves once more and ends the program, with exit code 143,
        at the same step on all ranks.
        """
        if resume not in ("auto", "must", "never"):
            raise Error(f"resume={resume!r}: 'auto', 'must' or 'never'", user_location())
        self._check_loader(loader)
        kept = checkpoint if isinstance(checkpoint, Checkpoint | None) else Checkpoint(checkpoint)
        if kept is not None:
            self._resume(kept, loader, resume)
        return self._run(loader, steps, kept, None if kept is None else self._epoch)

    def _resume(self, kept: Checkpoint, loader: Iterable[Any], resume: str) -> None:
        self._writing.wait()
        self._epoch = begin(kept.directory, must_resume=resume == "must")
        stored = None if resume == "never" else find(kept.directory, above=self.optimizer.steps)
        if stored is None and resume == "must" and find(kept.directory) is None:
            raise CheckpointError(
                f"resume='must', and there is no checkpoint in {os.fspath(kept.directory)}",
                user_location(),
            )
        says = (
            "starts anew"
            if self.optimizer.steps == 0
            else f"goes on at step {self.optimizer.steps}"
        )
        if stored is not None:
            self._install(stored, loader)
            self._reseed(stored.seeds)
            says = f"resumes at step {self.optimizer.steps} from {stored.path}"
        if environment.rank() == 0:
            print(f"oneflow: {self._name} {says}", file=sys.stderr)

    def _check_room(self, kept: Checkpoint, steps: int | None) -> None:
        """Behind the first step of a run: then all states are there."""
        why = ""
        if environment.rank() == 0:
            size = bytes_of_states(*self._stored_states())
            why = kept.why_no_room(size, self.optimizer.steps - 1, steps)
        if why := of_all_ranks(why)[0]:
            raise told_by_rank_0(CheckpointError(why, user_location()))

    def _run(
        self,
        loader: Iterable[Any],
        steps: int | None,
        kept: Checkpoint | None,
        epoch: Epoch | None,
    ) -> Iterator[Metrics]:
        begun = saved = self.optimizer.steps
        was_empty = False
        with (
            Progress(self._name, steps) as progress,
            Termination(kept is not None) as ending,
            self._written(),
        ):
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
                    if kept is not None and self.optimizer.steps == begun + 1:
                        self._check_room(kept, steps)
                    if isinstance(failed := self._writing.outcome, StaleRunError):
                        raise failed
                    stops = kept is not None and ending.stops_here()
                    if kept is not None and (
                        stops or (kept.every and self.optimizer.steps % kept.every == 0)
                    ):
                        saved = self.optimizer.steps
                        self._keep(kept, epoch, loader, metrics)
                    yield metrics
                    progress.show(self.optimizer.steps, metrics)
                    if kept is not None and stops:
                        self._end(kept)
                if steps is None:
                    break
                # A loader that resumes behind the last batch of an epoch is empty once.
                is_empty = self.optimizer.steps == start
                if is_empty and was_empty:
                    raise DataError(
                        f"the loader is empty at step {start} of {steps}; an iterator ends for good: pass something "
                        "that can be iterated again",
                        user_location(),
                    )
                was_empty = is_empty
            if kept is not None:
                if self.optimizer.steps > saved:
                    self._keep(kept, epoch, loader, None)
                self._raise_if_unsaved()
                if ending.asked:  # behind the last step
                    self._end(kept)

    def _end(self, kept: Checkpoint) -> NoReturn:
        self._raise_if_unsaved()
        if environment.rank() == 0:
            steps = self.optimizer.steps
            print(
                f"oneflow: {self._name} ends at step {steps}, as SIGTERM asked: {kept.path(steps)} is written, and the "
                "same command goes on from there",
                file=sys.stderr,
            )
        Termination.end()

    # Checkpoints.

    def _keep(
        self,
        kept: Checkpoint,
        epoch: Epoch | None,
        loader: Iterable[Any],
        metrics: Metrics | None,
    ) -> None:
        """Takes a copy of the state of now, which a thread writes while training goes on. A state that is not finite
        is not saved: its error comes here, and that of a run that is stale. A file system that takes no more is told,
        and older checkpoints stay."""
        if metrics is not None:
            metrics.wait()
        number = self.optimizer.steps
        if self._writing.is_busy and not self._was_late:
            self._was_late = True
            print(
                f"oneflow: {self._name}: step {number} waits for the checkpoint before it to be written; "
                f"every={kept.every} is less than that takes",
                file=sys.stderr,
            )
        if isinstance(failed := self._writing.wait(), StaleRunError):
            raise failed
        try:
            taken = self._snapshot(kept.path(number), _position(loader), None, epoch)
        except CheckpointError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            if environment.rank() == 0:
                self._writing.failed(_told(self._name, number, error))
            return
        self._writing.start(functools.partial(_write, self._name, kept, taken))

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """However a run ends, what it has begun to write is on the disk then. Unless another rank is lost: then its
        part may never come, and the error is to be heard now."""
        is_lost = is_told = False
        try:
            yield
        except PeerError:
            is_lost = True
            raise
        except StaleRunError:
            is_told = True
            raise
        finally:
            failed = None if is_lost else self._writing.wait()
            if isinstance(failed, StaleRunError) and not is_told:  # a run that is left early
                print(f"oneflow: {self._name}: {failed.message}", file=sys.stderr)

    def _raise_if_unsaved(self) -> None:
        """The CheckpointError of the last checkpoint, if it is none."""
        if (unsaved := self._writing.wait()) is not None:
            raise unsaved

    def save(self, directory: str | os.PathLike[str], extra: Any = None) -> None:
        """Writes parameters, buffers, the optimizer's states and count, and `extra` (JSON) into a folder, whole or
        not at all; it is on the disk when this returns. All ranks call it. Hyperparameters and schedules come from
        the code."""
        self._writing.wait()
        location = user_location()
        taken = self._snapshot(Path(directory), None, extra, None)
        why = ""
        try:
            taken.write()
        except CheckpointError as error:
            why = error.message
            if environment.world_size() == 1:
                raise
        if why := of_all_ranks(why)[0]:
            raise told_by_rank_0(CheckpointError(why, location))

    def restore(self, directory: str | os.PathLike[str]) -> Any:
        """Reads what `save` or a run has written, under any layout, and returns its `extra`. It may be called before
        the first step. All ranks call it. CheckpointError, and nothing is changed, if it is damaged or does not
        fit."""
        self._writing.wait()
        stored = find(directory)
        if stored is None:
            raise CheckpointError(
                f"there is no checkpoint in {os.fspath(directory)}", user_location()
            )
        self._install(stored, None)
        return stored.extra

    def _stored_states(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Handles on the states of the model and of the optimizer, by their names in a checkpoint."""
        model: dict[str, Tensor] = {}
        for key, module in self._models.items():
            model.update(module.state_dict(prefix=f"{key}." if key else ""))
        names = {parameter.cell: name for name, parameter in self.named_parameters().items()}
        slots = {
            f"{names.get(parameter.cell, f'parameter.{i}')}.{slot}": tensor
            for i, (parameter, held) in enumerate(self.optimizer.state.items())
            for slot, tensor in held.items()
        }
        if self._scaling is not None:
            slots |= {n: Tensor._of_cell(cell) for n, cell in self._scaling.cells().items()}
        return model, slots

    def _snapshot(self, target: Path, loader: Any, extra: Any, fence: Epoch | None) -> Snapshot:
        """`fence`: of a run, which writes into its folder."""
        model, slots = self._stored_states()
        seeds = {"step": self._seed, "tensors": [default_generator.seed, default_generator.made]}
        number = 0 if self._epoch is None else self._epoch.number
        contents = Contents(model, slots, self.optimizer.steps, loader, seeds, extra, number)
        return take(target, contents, user_location(), fence)

    def _install(self, stored: Stored, loader: Any) -> None:
        """Makes a checkpoint the state of now; changes nothing if it does not fit."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                self.optimizer.state_cells(parameter, group)
        model, slots = self._stored_states()
        check_fits("model", {n: t.shape for n, t in model.items()}, stored.model)
        kept = {
            name: tensor
            for name, tensor in stored.optimizer.items()
            if name in slots or not name.startswith(PREFIX)  # no scale is needed in float32
        }
        check_fits("optimizer", {n: t.shape for n, t in slots.items()}, kept, partly=True)
        for name, tensor in model.items():
            tensor.copy_(array_of(stored.model[name], tensor.dtype.numpy))
        if self._scaling is not None:  # of a run in another precision there is none
            self._scaling.restart()
        for name, tensor in slots.items():
            if name in kept:
                tensor.copy_(array_of(kept[name], tensor.dtype.numpy))
            elif not name.startswith(PREFIX):
                tensor.zero_()
        self.optimizer.steps = stored.steps
        if stored.loader is not None and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(stored.loader)

    def _reseed(self, seeds: Any) -> None:
        """Random tensors are made on from where the run was; another seed of the step is told."""
        if not isinstance(seeds, dict):
            return
        tensors = seeds.get("tensors")
        if isinstance(tensors, list) and [type(number) for number in tensors] == [int, int]:
            default_generator.go_on(*tensors)
        if seeds.get("step") != self._seed and environment.rank() == 0:
            print(
                f"oneflow: {self._name} has seed={self._seed}, and the checkpoint is of a run with "
                f"seed={seeds.get('step')}: its masks go on as others",
                file=sys.stderr,
            )


def _write(name: str, kept: Checkpoint, taken: Snapshot) -> CheckpointError | None:
    """Writes a checkpoint of a run and drops what is too old; what the file system refuses is told, and returned: the
    next attempt may work. On the thread that writes."""
    try:
        taken.write()
    except StaleRunError as error:
        return error
    except CheckpointError as error:
        return _told(name, taken.steps, error)
    try:
        if taken.rank == 0:
            drop_old(kept.too_old(taken.steps), taken.fence)
    except StaleRunError as error:
        return StaleRunError(error.message, taken.location)
    except OSError as error:
        print(
            f"oneflow: {name}: an older checkpoint than {taken.target} cannot be removed: {error}",
            file=sys.stderr,
        )
    return None


def _told(name: str, steps: int, error: CheckpointError) -> CheckpointError:
    print(
        f"oneflow: {name}: no checkpoint at step {steps}: {error.message}; older ones stay",
        file=sys.stderr,
    )
    return error


def _position(loader: Any) -> Any:
    """Where a loader stands, None if it cannot say."""
    return loader.state_dict() if hasattr(loader, "load_state_dict") else None


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
    precision: str = "fp32",
    loss_scale: str | float | LossScale = "dynamic",
    max_plans: int = 8,
) -> Any:
    """Makes a function of a batch that returns a loss (or a dict with "loss" and metrics) into a train step.

    The batch is the global one; how it is cut is the plan's business. `parallel` is "auto" or rules over parameter
    names, `{"encoder.*.weight": dict(tp="S(0)")}`, first match wins. `accumulate=k` cuts each batch into k
    micro-batches; `seed` is that of dropout masks. `clip_norm` scales the gradients so that their norm together is
    at most that, as torch.nn.utils.clip_grad_norm_, and adds the norm before as the metric `grad_norm`.
    `precision="bf16"` computes products in bfloat16 and keeps parameters, norms, softmax and losses in float32;
    "fp16" does so in float16, with the loss times a scale: `loss_scale` is "dynamic", a number that stays, or a
    flow.LossScale. A step whose gradients are not finite then changes no state; the metrics `loss_scale`, of this
    step, and `skipped` say so.
    `check="loss"` makes a loss that is not finite a NumericsError when it is read (the states have been updated by
    then), "all" names the first op that made a nan, forward, in gradients or in the update (it looks at every value,
    which costs time and memory), "off" goes on.
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
            precision=precision,
            loss_scale=loss_scale,
            max_plans=max_plans,
        )

    return make if fn is None else make(fn)
