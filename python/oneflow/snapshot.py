"""A copy of the state of a training run in host memory, from which a checkpoint is written.

Taking it is all that training waits for: every rank copies what it will write, and that is about the same number of
bytes for each. A tensor is written whole, by one of the ranks that hold it whole; what no rank holds whole (a split
over ranks) is gathered in groups, and only its writer keeps it. So no rank has more than its share and one group.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import environment, receipts
from .epochs import Epoch
from .errors import CheckpointError, StaleRunError
from .manifest import KINDS, Manifest, file_name
from .publication import Claim, partial_of, why_not, write_files
from .serialization import Packed, pack, read_json
from .state import StateCell
from .store import Store
from .tensor import Tensor

_GROUP_BYTES = 256 << 20
_GROUPS = 6  # at most about so many: a store keeps the plans of few (Store.MAX_GATHERS)
_VISIBLE_SECONDS = 5.0  # until a new folder is seen by other hosts


@dataclass(frozen=True)
class Contents:
    """What a checkpoint is to hold; the same on all ranks."""

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    steps: int
    loader: Any = None
    seeds: Any = None
    extra: Any = None
    epoch: int = 0  # of the run


@dataclass(frozen=True)
class Snapshot:
    """This rank's part of a checkpoint; its arrays do not change any more."""

    target: Path
    files: Mapping[str, Packed]
    steps: int
    loader: Any
    seeds: Any
    extra: Any
    num_bytes: int  # of all ranks' parts
    claim: Claim | None  # of rank 0, which commits
    rank: int
    ranks: int
    seconds: float  # that rank 0 waits for the others
    location: Any
    epoch: int = 0
    fence: Epoch | None = None  # of a run, in its own folder

    def write(self) -> None:
        """Writes this rank's part; on rank 0 the checkpoint is on the disk when it returns, or CheckpointError. Any
        thread."""
        if self.claim is None:
            self._write_part()
            return
        try:
            stored = write_files(self.claim.partial, self.files)
            stored |= receipts.collect(self.claim.partial, self.ranks, self.seconds)
            made = Manifest(self.steps, self.loader, self.seeds, self.extra, stored, self.epoch)
            self.claim.commit(made.text())
        except StaleRunError as error:
            self.claim.abandon()
            raise StaleRunError(error.message, self.location) from None
        except OSError as error:
            self.claim.abandon()
            self._raise_if_stale()
            why = why_not(error, self.target, self.num_bytes)
            raise _unwritten(self.target, why, self.location) from error
        except BaseException:
            self.claim.abandon()
            raise

    def _raise_if_stale(self) -> None:
        """What a newer run has taken away is missed as a file is."""
        try:
            if self.fence is not None:
                self.fence.check()
        except StaleRunError as error:
            raise StaleRunError(error.message, self.location) from None
        except OSError:
            pass

    def _write_part(self) -> None:
        """Rank 0 says what has become of the checkpoint; it learns from here what it needs for that."""
        partial = partial_of(self.target, self.fence)
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while not partial.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            stored = write_files(partial, self.files)
            receipts.leave(partial, self.rank, stored)
        except OSError as error:
            why = why_not(error, self.target, self.num_bytes)
            try:
                receipts.withdraw(partial, self.rank, self.files, why)
            except OSError:
                if partial.exists():  # else rank 0 has given up before
                    print(f"oneflow: rank {self.rank}: {self.target}: {why}", file=sys.stderr)


def told_by_rank_0(error: CheckpointError) -> CheckpointError:
    """One that all ranks raise, because rank 0 has told them: the launcher names that one."""
    error.rank = 0
    return error


def _unwritten(target: Path, why: str, location: Any) -> CheckpointError:
    return CheckpointError(f"{target} cannot be written: {why}", location)


def of_all_ranks(value: Any) -> list[Any]:
    """What each rank says, by rank. All call it alike."""
    if environment.world_size() == 1:
        return [value]
    told = environment.transport().all_gather(json.dumps(value).encode())
    return [json.loads(one) for one in told]


def take(target: Path, contents: Contents, location: Any, fence: Epoch | None = None) -> Snapshot:
    """The state of now. All ranks call it alike; CheckpointError on all of them if rank 0 cannot write there, and
    StaleRunError if the fence of a run has fallen."""
    try:
        read_json(json.dumps([contents.loader, contents.extra]).encode(), any_float=True)
    except (RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"extra and the loader's state must be JSON ({error}): numbers, strings, lists and dicts",
            location,
        ) from None
    if not target.name:
        why = "it is written beside its place and takes its name then: give a folder that has one"
        raise _unwritten(target, why, location)
    rank, ranks = environment.rank(), environment.world_size()
    num_bytes = bytes_of_states(contents.model, contents.optimizer)
    claim: Claim | None = None
    refused: OSError | StaleRunError | None = None
    of_all_ranks(None)  # no rank writes any more into what rank 0 clears away now
    if rank == 0:
        try:
            claim = Claim(target, fence)
        except (OSError, StaleRunError) as error:
            refused = error
    if isinstance(refused, OSError):
        told = why_not(refused, target, num_bytes)
    else:
        told = "" if refused is None else refused.message
    try:
        files = _files(contents, told, isinstance(refused, StaleRunError))
    except _Refused as why:
        if why.is_stale:
            raise told_by_rank_0(StaleRunError(str(why), location)) from None
        unwritten = _unwritten(target, str(why), location)
        raise told_by_rank_0(unwritten) from (refused or OSError(str(why)))
    except BaseException:
        if claim is not None:
            claim.abandon()
        raise
    return Snapshot(
        target,
        files,
        contents.steps,
        contents.loader,
        contents.seeds,
        contents.extra,
        num_bytes,
        claim,
        rank,
        ranks,
        environment.peer_seconds() / 2,  # others wait for rank 0 when the next one is due
        location,
        contents.epoch,
        fence,
    )


class _Refused(Exception):
    """Rank 0 cannot write, and says why."""

    def __init__(self, why: str, is_stale: bool) -> None:
        super().__init__(why)
        self.is_stale = is_stale


def _files(contents: Contents, refused: str, is_stale: bool) -> dict[str, Packed]:
    """This rank's files by name."""
    rank, ranks = environment.rank(), environment.world_size()
    tensors = dict(zip(KINDS, (contents.model, contents.optimizer), strict=True))
    cells: dict[StateCell, str] = {}
    for kind, named in tensors.items():
        for name, tensor in named.items():
            cells.setdefault(_cell_of(tensor), f"{kind}.{name}")
    held = sum(1 << i for i, cell in enumerate(cells) if _is_whole_here(cell))
    told = of_all_ranks([refused, is_stale, f"{held:x}"])
    if told[0][0]:
        raise _Refused(*told[0][:2])
    masks = [int(mask, 16) for _, _, mask in told]
    holders = [[r for r in range(ranks) if masks[r] >> i & 1] for i in range(len(cells))]
    owners = dict(
        zip(
            cells,
            writers([(_bytes_of(c), n) for c, n in cells.items()], holders, ranks),
            strict=True,
        )
    )
    for group in _groups([c for c, some in zip(cells, holders, strict=True) if not some]):
        for store in {id(cell.home): cell.home for cell in group}.values():
            assert isinstance(store, Store)
            store.gather([cell for cell in group if cell.home is store])
        for cell in group:
            if owners[cell] != rank:
                cell.forget()
    return {
        file_name(kind, rank, ranks): pack(
            {name: tensor for name, tensor in named.items() if owners[_cell_of(tensor)] == rank}
        )
        for kind, named in tensors.items()
    }


def writers(
    tensors: Sequence[tuple[int, str]], holders: Sequence[Sequence[int]], ranks: int
) -> list[int]:
    """Which rank writes each tensor, given its bytes, its name and who holds it whole: one of those, or any rank if
    nobody does; each rank about as many bytes."""
    result = [0] * len(tensors)
    loads = [0] * ranks
    for i in sorted(range(len(tensors)), key=lambda i: (-tensors[i][0], tensors[i][1])):
        result[i] = min(holders[i] or range(ranks), key=lambda rank: (loads[rank], rank))
        loads[result[i]] += tensors[i][0]
    return result


def _groups(cells: Sequence[StateCell]) -> Iterator[list[StateCell]]:
    """In order, none of much more bytes than the others."""
    most = max(_GROUP_BYTES, sum(map(_bytes_of, cells)) // _GROUPS)
    group: list[StateCell] = []
    size = 0
    for cell in cells:
        if group and size + _bytes_of(cell) > most:
            yield group
            group, size = [], 0
        group.append(cell)
        size += _bytes_of(cell)
    if group:
        yield group


def bytes_of_states(*named: Mapping[str, Tensor]) -> int:
    """Of the tensors of a checkpoint; one that has several names counts once."""
    cells = {_cell_of(tensor) for tensors in named for tensor in tensors.values()}
    return sum(map(_bytes_of, cells))


def _cell_of(tensor: Tensor) -> StateCell:
    cell = tensor._source
    assert isinstance(cell, StateCell), "states of a step"
    return cell


def _bytes_of(cell: StateCell) -> int:
    count = cell.dtype.itemsize
    for extent in cell.shape:
        count *= extent
    return count


def _is_whole_here(cell: StateCell) -> bool:
    """This rank can read it without another one."""
    store = cell.home
    return cell.is_on_host or not isinstance(store, Store) or store.holds(cell)
