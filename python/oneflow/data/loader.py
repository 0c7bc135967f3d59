"""DataLoader: batches of a dataset in an order that (seed, epoch) fixes, read ahead, resumable."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .. import environment
from ..errors import DataError, Error, Location
from ..location import user_location
from ..mesh import Mesh
from ..random import Generator, default_generator
from ..tensor import Tensor
from .collate import default_collate, default_convert
from .datasets import is_map_style
from .prefetch import prefetch as read_ahead
from .reading import Reader
from .samplers import BatchSampler, RandomSampler, SequentialSampler, tell_epoch
from .shares import make_partial, rows_of_rank
from .workers import Job, batches_of, read_by_workers

# Where the outermost frames of threads and workers stand.
_NOBODYS_LINES = (threading.__file__, os.path.dirname(multiprocessing.__file__))


class DataLoader:
    """Batches of `dataset`, which is any sequence (`__getitem__` and `__len__`) or any iterable.

    Arguments stand in PyTorch's order. `batch_size` is that of the global batch, on any number of ranks; None
    hands out the items as they are. One iteration is one epoch, and the order of its samples is a function of
    (seed, epoch) alone: `seed` is by default that of `flow.manual_seed`.

    `prefetch` batches are read ahead by a thread (0: none), or, with `num_workers` processes, `prefetch` by each
    of them and two by the thread; `prefetch_factor` is PyTorch's name for it. `worker_init_fn(number)` is called
    in each worker. With `mesh` (and `accumulate`, as of the step) each rank reads only the samples that its
    devices need; the other rows of its tensors are read when somebody looks at them.

    `state_dict()` is the position, `load_state_dict()` goes on from one: docs/data.md.
    `timeout` is how many seconds a worker may take for a batch (0: any time). `pin_memory`, `persistent_workers`
    and `multiprocessing_context` are accepted for porting and change nothing.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch: int = 2,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        seed: int | None = None,
        mesh: Mesh | None = None,
        accumulate: int = 1,
    ) -> None:
        del pin_memory, multiprocessing_context, persistent_workers
        location = user_location()
        self._location = location

        def refuse(message: str) -> Error:
            return Error(message, location)

        if not hasattr(dataset, "__getitem__") and not hasattr(dataset, "__iter__"):
            raise refuse(
                f"a DataLoader reads a sequence or an iterable, not {type(dataset).__name__}: write __getitem__ and "
                "__len__, or __iter__"
            )
        if not isinstance(num_workers, int) or num_workers < 0:
            raise refuse(f"num_workers={num_workers!r}: an integer from 0")
        prefetch = prefetch_factor if prefetch_factor is not None else prefetch
        if not isinstance(prefetch, int) or prefetch < 0:
            raise refuse(f"prefetch={prefetch!r}: an integer from 0")
        self.dataset = dataset.numpy() if isinstance(dataset, Tensor) else dataset
        self.num_workers = num_workers
        self.prefetch = prefetch
        self.timeout = float(timeout)
        self.seed = seed if seed is not None else (generator or default_generator).seed
        self.mesh = mesh
        self.accumulate = accumulate
        self.drop_last = drop_last
        self.worker_init_fn = worker_init_fn
        self._is_map_style = is_map_style(self.dataset)
        if not self._is_map_style and (shuffle or sampler is not None or batch_sampler is not None):
            raise refuse(
                f"{type(dataset).__name__} is read in its own order, so shuffle, sampler and batch_sampler cannot be "
                "asked for; shuffle inside it, or give a dataset with __getitem__ and __len__"
            )
        if sampler is not None and shuffle:
            raise refuse("sampler= says the order already, so shuffle=True cannot be asked for")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise refuse(
                "batch_sampler= says what each batch holds, so batch_size, shuffle, sampler and drop_last cannot be "
                "given"
            )
        if batch_size is None and drop_last:
            raise refuse("batch_size=None hands out items as they are: there is nothing to drop")
        self.batch_size = None if batch_sampler is not None else batch_size
        self._unbatched = batch_size is None
        if self._is_map_style and sampler is None and batch_sampler is None:
            if shuffle and len(self.dataset):
                sampler = RandomSampler(self.dataset, seed=self.seed)
            else:
                sampler = SequentialSampler(self.dataset)
        self.sampler = sampler
        if sampler is not None and batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        elif batch_size is not None and batch_sampler is None:
            BatchSampler([], batch_size)  # checks it
        self.batch_sampler = batch_sampler
        self.collate_fn = collate_fn or (default_convert if self._unbatched else default_collate)
        self._epoch = 0
        self._batches = 0  # of this epoch that were handed out
        self._resumes = False  # the next iteration goes on at this position
        self._newest: object = None

    # Position.

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch, from its beginning."""
        self._epoch, self._batches, self._resumes = int(epoch), 0, True
        self._newest = None

    def state_dict(self) -> dict[str, int]:
        """The position: the batches that were handed out, not those that were read ahead."""
        return {"epoch": self._epoch, "batch": self._batches, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration goes on behind the batches of `state`, in the same order of samples."""
        if not {"epoch", "batch", "seed"} <= set(state):
            raise DataError(
                f"the state of a DataLoader has the entries epoch, batch and seed, not {sorted(state)}",
                user_location(),
            )
        if int(state["seed"]) != self.seed:
            raise DataError(
                f"the state is that of a DataLoader with seed={state['seed']}, this one has seed={self.seed}: the order "
                "of the samples would be another",
                user_location(),
            )
        self._epoch, self._batches, self._resumes = int(state["epoch"]), int(state["batch"]), True
        self._newest = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        if self.sampler is not None:
            return len(self.sampler)  # type: ignore[arg-type]
        if not hasattr(self.dataset, "__len__"):
            raise TypeError(f"{type(self.dataset).__name__} has no length, so its loader has none")
        count = len(self.dataset)
        if self._unbatched or self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    # Iteration.

    def __iter__(self) -> Iterator[Any]:
        if not self._resumes and (self._batches or self._newest is not None):
            self._epoch, self._batches = self._epoch + 1, 0
        self._resumes = False
        self._newest = token = object()
        # A program's line for errors of workers: the thread that finds them has none.
        return self._iterate(self._epoch, self._batches, token, user_location())

    def _iterate(
        self, epoch: int, skip: int, token: object, location: tuple[str, int, str] | None
    ) -> Iterator[Any]:
        for target in (self.dataset, self.sampler, self.batch_sampler):
            tell_epoch(target, epoch)
        open_source = functools.partial(self._open, epoch, skip, location)
        ahead = self.prefetch if self.num_workers == 0 else min(self.prefetch, 2)
        source = read_ahead(open_source, ahead) if ahead else open_source(threading.Event())
        number = skip
        try:
            for batch in source:
                number += 1
                if self._newest is token:
                    self._batches = number
                yield batch
        except Error as error:
            # Threads and processes that read have no line of the program; the loop has.
            if error.location is None or error.location.file.startswith(_NOBODYS_LINES):
                place = user_location() or location
                error.location = Location(*place) if place is not None else None
            raise
        finally:
            source.close()  # type: ignore[attr-defined]
        if self._newest is token:
            self._epoch, self._batches, self._resumes = epoch + 1, 0, True

    def _open(
        self,
        epoch: int,
        skip: int,
        location: tuple[str, int, str] | None,
        cancelled: threading.Event,
    ) -> Iterator[Any]:
        if not self._is_map_style:
            return self._stream(epoch, skip, location, cancelled)
        order = self.batch_sampler if self.batch_sampler is not None else self.sampler
        assert order is not None
        indices = itertools.islice(iter(order), skip, None)
        return self._read_order(epoch, indices, location, cancelled)

    def _read_order(
        self,
        epoch: int,
        order: Iterator[Any],
        location: tuple[str, int, str] | None,
        cancelled: threading.Event,
    ) -> Iterator[Any]:
        """Batches of a dataset that is read by index."""
        reader = Reader(self.dataset, self.collate_fn, self.seed)
        read = reader.read_one if self._unbatched else reader.read
        tasks = (self._task(indices) for indices in order)
        if self.num_workers == 0:
            for rows, held, size, indices in tasks:
                yield self._whole_or_partial(reader, epoch, read(epoch, held), rows, size, indices)
            return
        asked: dict[int, tuple[Any, ...]] = {}

        def numbered() -> Iterator[Any]:
            for number, task in enumerate(tasks):
                asked[number] = task
                yield task[1]

        job = self._job(epoch, iterates=False)
        batches = self._by_workers(job, numbered(), location, cancelled)
        try:
            for number, (_, batch) in enumerate(batches):
                rows, _, size, indices = asked.pop(number)
                yield self._whole_or_partial(reader, epoch, batch, rows, size, indices)
        finally:
            batches.close()  # type: ignore[attr-defined]

    def _task(self, indices: Any) -> tuple[Any, Any, int, Any]:
        """(row ranges or None, what this rank reads, size of the global batch, all indices)."""
        if self._unbatched:
            return None, indices, 1, indices
        indices = list(indices)
        size, world_size = len(indices), environment.world_size()
        if self.mesh is None or world_size == 1 or getattr(self.collate_fn, "whole_batch", False):
            return None, indices, size, indices
        rows = rows_of_rank(size, self.mesh, self.accumulate, environment.rank(), world_size)
        held = [index for first, end in rows for index in indices[first:end]]
        if not held or len(held) == size:
            return None, indices, size, indices
        return rows, held, size, indices

    def _whole_or_partial(
        self, reader: Reader, epoch: int, batch: Any, rows: Any, size: int, indices: Any
    ) -> Any:
        if rows is None:
            return batch
        return make_partial(batch, size, rows, lambda: reader.read(epoch, indices))

    def _stream(
        self,
        epoch: int,
        skip: int,
        location: tuple[str, int, str] | None,
        cancelled: threading.Event,
    ) -> Iterator[Any]:
        """Batches of an iterable; those before `skip` are read and left out."""
        job = self._job(epoch, iterates=True)
        if self.num_workers == 0:
            batches = batches_of(job, Reader(self.dataset, self.collate_fn, self.seed))
            yield from itertools.islice(batches, skip, None)
            return
        source = self._by_workers(job, itertools.repeat(None), location, cancelled)
        try:
            for _, batch in itertools.islice(source, skip, None):
                yield batch
        finally:
            source.close()  # type: ignore[attr-defined]

    def _by_workers(
        self,
        job: Job,
        tasks: Iterator[Any],
        location: tuple[str, int, str] | None,
        cancelled: threading.Event,
    ) -> Iterator[tuple[Any, Any]]:
        ahead = max(self.prefetch, 1)
        return read_by_workers(
            job, self.num_workers, ahead, tasks, location, self.timeout, cancelled
        )

    def _job(self, epoch: int, iterates: bool) -> Job:
        return Job(
            self.dataset,
            self.collate_fn,
            None if self._unbatched else (self.batch_size or 1),
            self.drop_last,
            iterates,
            self.seed,
            epoch,
            self.worker_init_fn,
        )
