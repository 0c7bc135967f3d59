"""Workers: processes that read and collate batches, started by a fork server, which has no threads.

Batch n of an epoch is read by worker n % num_workers, and batches are handed out in order. A worker lives as long
as the pool's end of its pipe: when the main process goes, however it goes, its workers go.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, process
from typing import Any

from ..errors import DataError, Error
from ..location import user_location
from .notes import note, notes_of
from .reading import Reader, seed_globals
from .sample import WorkerInfo, set_worker_info

_SECONDS_TO_END = 2.0
_SECONDS_TO_NOTICE = 0.2  # that nobody wants the batch any more


@dataclass(frozen=True)
class Job:
    """What a worker is started with."""

    dataset: Any
    collate_fn: Callable[[Any], Any]
    batch_size: int | None  # of an iterable dataset
    drop_last: bool
    iterates: bool
    seed: int
    epoch: int
    init: Callable[[int], None] | None


class WorkerTraceback(Exception):  # noqa: N818 - shown as the cause of another error
    """The traceback of an error in a worker, as text."""

    def __str__(self) -> str:
        return str(self.args[0])


def batches_of(job: Job, reader: Reader) -> Iterator[Any]:
    """Batches of an iterable dataset, or of this worker's copy of it."""
    batch: list[Any] = []
    count = 0
    reader.enter(job.epoch, 0)
    for sample in job.dataset:
        count += 1
        if job.batch_size is None:
            yield reader.collate(sample, f"item {count - 1}")
        else:
            batch.append(sample)
            if len(batch) == job.batch_size:
                yield reader.collate(batch, f"samples {count - len(batch)} to {count - 1}")
                batch = []
        reader.enter(job.epoch, count)
    if batch and not job.drop_last:
        yield reader.collate(batch, f"samples {count - len(batch)} to {count - 1}")


def _answer(kind: str, value: Any) -> bytes:
    return pickle.dumps((kind, value), protocol=pickle.HIGHEST_PROTOCOL)


def _error(error: Exception) -> bytes:
    text = "".join(traceback.format_exception(error))
    try:
        answer = _answer("error", (error, notes_of(error), text))
        pickle.loads(answer)  # some errors cannot be made again from their arguments
    except Exception:
        last = traceback.format_exception_only(error)[0].strip()
        notes = notes_of(error)
        answer = _answer("error", (DataError(f"a worker failed: {last}"), notes, text))
    return answer


def run_worker(conn: connection.Connection, job: Job, number: int, num_workers: int) -> None:
    """The main function of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pool ends us
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def receive() -> None:
        # Reading at once keeps the pool from waiting while we wait for it; the end of the pipe ends us, even
        # in the middle of a sample.
        try:
            while True:
                tasks.put(conn.recv())
        except (EOFError, OSError):
            os._exit(0)

    set_worker_info(WorkerInfo(number, num_workers, job.seed, job.dataset))
    place = f" in worker {number} (pid {os.getpid()})"
    reader = Reader(job.dataset, job.collate_fn, job.seed, seeds_globals=True, place=place)
    seed_globals([job.seed & 0xFFFFFFFFFFFFFFFF, job.epoch, 1 << 32, number])
    threading.Thread(target=receive, daemon=True).start()
    source: Iterator[Any] | None = None
    try:
        failed: bytes | None = None
        try:
            if job.init is not None:
                job.init(number)
            source = batches_of(job, reader) if job.iterates else None
        except Exception as error:
            failed = _error(error)
        while True:
            task = tasks.get()
            answer = failed
            if answer is None:
                try:
                    if source is not None:
                        answer = _answer("batch", next(source))
                    elif job.batch_size is None:
                        answer = _answer("batch", reader.read_one(job.epoch, task))
                    else:
                        answer = _answer("batch", reader.read(job.epoch, task))
                except StopIteration:
                    answer = _answer("end", None)
                except Exception as error:
                    answer = _error(error)
            conn.send_bytes(answer)
    except (BrokenPipeError, OSError):
        os._exit(0)


class Pool:
    """The workers of one epoch. Made, used and closed on one thread."""

    def __init__(self, job: Job, num_workers: int, location: tuple[str, int, str] | None) -> None:
        if getattr(process.current_process(), "_inheriting", False):
            raise Error(
                "a worker runs this program's main module again: put what starts the training under "
                "if __name__ == '__main__':",
                user_location() or location,
            )
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["oneflow.data.workers"])
        self._location = location
        self._processes: list[Any] = []
        self._connections: list[connection.Connection] = []
        self._asked: list[deque[Any]] = [deque() for _ in range(num_workers)]
        try:
            for number in range(num_workers):
                ours, theirs = context.Pipe()
                self._connections.append(ours)
                worker = context.Process(
                    target=run_worker,
                    args=(theirs, job, number, num_workers),
                    name=f"oneflow-data-{number}",
                    daemon=True,
                )
                try:
                    worker.start()
                except (pickle.PicklingError, AttributeError, TypeError) as error:
                    raise DataError(
                        f"the dataset or collate_fn cannot be sent to a worker ({error}): define classes and "
                        "functions at the top level of a module and open files lazily, or use num_workers=0",
                        location,
                    ) from error
                finally:
                    theirs.close()
                self._processes.append(worker)
        except BaseException:
            self.close()
            raise

    def ask(self, worker: int, task: Any) -> None:
        """Gives a worker one more batch to read."""
        self._asked[worker].append(task)
        with contextlib.suppress(OSError):  # a dead worker is noticed when its answer is awaited
            self._connections[worker].send(task)

    def answer(self, worker: int, timeout: float, cancelled: threading.Event) -> tuple[str, Any]:
        """("batch", batch) or ("end", None), in the order of asking; raises what the worker raised."""
        conn, living = self._connections[worker], self._processes[worker]
        began = time.monotonic()
        try:
            while not (ready := connection.wait([conn, living.sentinel], _SECONDS_TO_NOTICE)):
                if cancelled.is_set():
                    return "cancelled", None
                if timeout and time.monotonic() - began > timeout:
                    raise DataError(
                        f"worker {worker} (pid {living.pid}) gave no batch within timeout={timeout:g} seconds; it reads "
                        f"{self._asked[worker][0]!r}",
                        self._location,
                    )
            if conn not in ready and not conn.poll(0):
                raise EOFError
            kind, value = pickle.loads(conn.recv_bytes())
        except (EOFError, OSError):
            raise self._died(worker) from None
        self._asked[worker].popleft()
        if kind == "error":
            error, notes, text = value
            for text_of_note in notes:
                if text_of_note not in notes_of(error):
                    note(error, text_of_note)
            raise error from WorkerTraceback(f"\n'''\n{text}'''")
        return kind, value

    def _died(self, worker: int) -> DataError:
        living = self._processes[worker]
        living.join(_SECONDS_TO_END)
        code = living.exitcode
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += " (often the system does it when memory is short: fewer workers or smaller batches help)"
        else:
            how = f"ended with exit code {code}; what it printed above may say why"
        task = self._asked[worker][0] if self._asked[worker] else None
        what = f" while it read {task!r}" if task is not None else ""
        return DataError(f"worker {worker} (pid {living.pid}) {how}{what}", self._location)

    def close(self) -> None:
        """Ends all workers."""
        for conn in self._connections:
            conn.close()
        for worker in self._processes:
            worker.join(_SECONDS_TO_END)
            if worker.exitcode is None:
                worker.kill()
                worker.join()
            worker.close()
        self._connections, self._processes = [], []


def read_by_workers(
    job: Job,
    num_workers: int,
    ahead: int,
    tasks: Iterator[Any],
    location: tuple[str, int, str] | None,
    timeout: float,
    cancelled: threading.Event,
) -> Iterator[tuple[Any, Any]]:
    """(task, batch) for each task, in order, with up to `ahead` batches per worker asked for beforehand.

    A batch may take `timeout` seconds (0: any time); `cancelled` ends the wait for one from another thread.
    """
    pool = Pool(job, num_workers, location)
    try:
        turn: deque[tuple[int, Any]] = deque()
        free = deque(w for _ in range(ahead) for w in range(num_workers))
        finished: set[int] = set()

        def fill() -> None:
            while free:
                if free[0] in finished:
                    free.popleft()
                    continue
                try:
                    task = next(tasks)
                except StopIteration:
                    free.clear()
                    return
                worker = free.popleft()
                pool.ask(worker, task)
                turn.append((worker, task))

        fill()
        while turn:
            worker, task = turn.popleft()
            kind, batch = pool.answer(worker, timeout, cancelled)
            if kind == "cancelled":
                return
            if kind == "end":
                finished.add(worker)
            else:
                yield task, batch
                free.append(worker)
            fill()
    finally:
        pool.close()
