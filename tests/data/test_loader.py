"""DataLoader in one process: order, batches, position, what it refuses."""

from __future__ import annotations

import threading
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import data, nn
from oneflow.data import DataLoader

from tests.data.samples import FailsAt, Noise, Ragged, Squares, Stream


def indices(loader: Any) -> list[list[int]]:
    """The samples of each batch of one epoch."""
    return [batch["y"].tolist() for batch in loader]


def test_batches_in_order() -> None:
    loader = DataLoader(Squares(), 4)
    batches = list(loader)
    assert [b["y"].tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert isinstance(batches[0]["x"], flow.Tensor) and batches[0]["x"].shape == (4, 2)
    assert batches[0]["x"].dtype is flow.float32 and batches[0]["y"].dtype is flow.int64
    assert len(loader) == 3
    dropping = DataLoader(Squares(), 4, drop_last=True)
    assert len(dropping) == 2 and len(list(dropping)) == 2
    assert len(DataLoader(Squares())) == 10  # batches of one, as in PyTorch


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    loader = DataLoader(Squares(), 4, shuffle=True, seed=3)
    first, second = indices(loader), indices(loader)
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10))
    assert first != second
    again = DataLoader(Squares(), 4, shuffle=True, seed=3, prefetch=0)
    assert [indices(again), indices(again)] == [first, second]
    again.set_epoch(0)
    assert indices(again) == first
    assert indices(DataLoader(Squares(), 4, shuffle=True, seed=4)) != first
    flow.manual_seed(3)
    assert indices(DataLoader(Squares(), 4, shuffle=True)) == first


def test_a_broken_off_epoch_is_over() -> None:
    loader = DataLoader(Squares(), 2, shuffle=True, seed=0)
    epochs = [indices(DataLoader(Squares(), 2, shuffle=True, seed=0))]
    for _ in loader:
        break
    assert indices(loader) != epochs[0]


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 2, 3, 5])
def test_a_run_goes_on_where_it_stood(prefetch: int, taken: int) -> None:
    def batches(loader: Any) -> Iterator[list[int]]:
        while True:
            yield from indices_one_by_one(loader)

    def indices_one_by_one(loader: Any) -> Iterator[list[int]]:
        for batch in loader:
            yield batch["y"].tolist()

    whole = batches(DataLoader(Squares(), 4, shuffle=True, seed=1, prefetch=0))
    expected = [next(whole) for _ in range(9)]
    loader = DataLoader(Squares(), 4, shuffle=True, seed=1, prefetch=prefetch)
    run = batches(loader)
    assert [next(run) for _ in range(taken)] == expected[:taken]
    state = loader.state_dict()
    assert state == {
        "epoch": max(taken - 1, 0) // 3,
        "batch": taken - max(taken - 1, 0) // 3 * 3,
        "seed": 1,
    }
    dataset = Squares()
    resumed = DataLoader(dataset, 4, shuffle=True, seed=1, prefetch=prefetch)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    later = batches(resumed)
    assert [next(later) for _ in range(9 - taken)] == expected[taken:]
    if prefetch == 0:  # what was taken before is not read again
        assert dataset.read == sum(expected[taken:], [])


def test_the_position_of_an_epoch_that_is_over_is_the_next_epoch() -> None:
    loader = DataLoader(Squares(), 4)
    assert len(list(loader)) == 3
    assert loader.state_dict()["epoch"] == 1 and loader.state_dict()["batch"] == 0
    with pytest.raises(flow.DataError, match="seed=7"):
        loader.load_state_dict({"epoch": 0, "batch": 0, "seed": 7})
    with pytest.raises(flow.DataError, match="entries"):
        loader.load_state_dict({"epoch": 0})


def test_prefetch_reads_ahead_and_no_further() -> None:
    class Watched(Squares):
        def __getitem__(self, index: int) -> Any:
            item = super().__getitem__(index)
            reached.release()
            return item

    reached = threading.Semaphore(0)
    dataset = Watched(100)
    batches = iter(DataLoader(dataset, 1, prefetch=3))
    next(batches)
    for _ in range(5):  # the one handed out, three in the queue, one in the thread's hands
        assert reached.acquire(timeout=30)
    assert not reached.acquire(timeout=0.1)
    batches.close()  # type: ignore[attr-defined]
    assert len(dataset.read) == 5
    assert not [t for t in threading.enumerate() if t.name == "oneflow-data"]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_comes_in_its_turn_and_names_the_sample(prefetch: int) -> None:
    batches = iter(DataLoader(FailsAt("raises"), 2, prefetch=prefetch))
    assert [next(batches)["y"].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="no such picture") as caught:
        next(batches)
    assert "while sample 5 was read" in caught.value.__notes__
    assert caught.traceback[-1].name == "__getitem__"


def test_what_can_be_loaded_from() -> None:
    x = np.arange(6, dtype=np.float32)
    assert [b.tolist() for b in DataLoader(x, 4)] == [[0, 1, 2, 3], [4, 5]]
    assert [b.tolist() for b in DataLoader(flow.tensor(x), 4)] == [[0, 1, 2, 3], [4, 5]]
    assert [b.tolist() for b in DataLoader([1, 2, 3], 2)] == [[1, 2], [3]]
    assert [b.tolist() for b in DataLoader((i for i in range(3)), 2)] == [[0, 1], [2]]
    assert [b.tolist() for b in DataLoader(Stream(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    rows = [
        {"ids": [1, 2], "text": "a"},
        {"ids": [3, 4], "text": "b"},
    ]  # as of Hugging Face datasets
    (batch,) = DataLoader(rows, 2)
    assert batch["ids"].tolist() == [[1, 2], [3, 4]] and batch["text"] == ["a", "b"]
    batches = DataLoader([(x, 1), (x, 2)], batch_size=None)
    assert [(b[0].shape, b[1]) for b in batches] == [((6,), 1), ((6,), 2)] and len(batches) == 2
    with pytest.raises(TypeError, match="no length"):
        len(DataLoader(Stream(5)))


def test_getitems_reads_a_batch_at_once() -> None:
    class Table:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("one by one")

        def __getitems__(self, indices: list[int]) -> list[int]:
            return [i * 10 for i in indices]

    assert [b.tolist() for b in DataLoader(Table(), 3)] == [[0, 10, 20], [30, 40]]


def test_datasets_and_torch_loaders_of_others() -> None:
    torch = pytest.importorskip("torch")
    inner = torch.utils.data.TensorDataset(torch.arange(6).float().reshape(3, 2), torch.arange(3))
    (batch,) = DataLoader(inner, 3)
    assert batch[0].tolist() == [[0, 1], [2, 3], [4, 5]] and batch[1].tolist() == [0, 1, 2]
    theirs = torch.utils.data.DataLoader(inner, batch_size=2)
    ours = list(DataLoader(theirs, batch_size=None))
    assert isinstance(ours[0][0], flow.Tensor) and [b[1].tolist() for b in ours] == [[0, 1], [2]]


def test_samples_are_trees() -> None:
    Point = namedtuple("Point", "x y")
    samples = [
        {"p": Point(1, np.ones(2)), "t": (True, [flow.ones(1)]), "s": "a", 0: 2.5} for _ in range(3)
    ]
    batch = data.default_collate(samples)
    assert type(batch["p"]) is Point and batch["p"].y.shape == (3, 2)
    assert batch["t"][0].dtype is flow.bool and batch["t"][1][0].shape == (3, 1)
    assert batch["s"] == ["a"] * 3 and batch[0].dtype is flow.float64


def test_what_cannot_be_collated_is_named() -> None:
    with pytest.raises(flow.DataError, match=r"'a.0': sample 1 has shape \(3,\).*pad_collate"):
        data.default_collate([{"a": (np.ones(2),)}, {"a": (np.ones(3),)}])
    with pytest.raises(flow.DataError, match=r"'a' is a NoneType"):
        data.default_collate([{"a": None}])
    with pytest.raises(flow.DataError, match=r"sample 1 of a batch has the entries \['b'\]"):
        data.default_collate([{"a": 1}, {"b": 1}])
    with pytest.raises(flow.DataError, match="no samples"):
        data.default_collate([])
    with pytest.raises(flow.DataError, match="sample 1 has 2 parts"):
        data.default_collate([(1,), (1, 2)])


def test_pad_collate() -> None:
    (batch,) = DataLoader(Ragged(3), 3, collate_fn=data.pad_collate)
    assert batch["ids"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 2]]
    assert batch["n"].tolist() == [1, 2, 3]
    padded = data.PadCollate(value=-1, multiple_of=4)([[1], [1, 2]])
    assert padded.tolist() == [[1, -1, -1, -1], [1, 2, -1, -1]]
    assert data.PadCollate(length=5)([np.ones((1, 2)), np.ones((3, 1))]).shape == (2, 5, 2)
    with pytest.raises(flow.DataError, match="longer than length=1"):
        data.PadCollate(length=1)([[1, 2]])
    assert data.pad_collate.whole_batch and not data.PadCollate(length=1).whole_batch


def test_datasets_of_datasets() -> None:
    pair = data.TensorDataset(np.arange(4), flow.tensor([4, 5, 6, 7]))
    assert len(pair) == 4 and [int(v) for v in pair[1]] == [1, 5]
    both = pair + data.Subset(pair, [3, 0])
    assert len(both) == 6 and [int(both[i][0]) for i in (3, 4, 5, -1)] == [3, 3, 0, 0]
    with pytest.raises(IndexError):
        both[6]
    with pytest.raises(flow.ShapeError, match="same dim 0"):
        data.TensorDataset(np.ones(2), np.ones(3))
    assert list(Stream(2) + Stream(1)) == [0, 1, 0]


def test_random_split() -> None:
    generator = flow.Generator(5)
    a, b = data.random_split(range(10), [7, 3], generator)
    assert sorted([*a, *b]) == list(range(10)) and list(a) != list(range(7))
    assert list(data.random_split(range(10), [0.7, 0.3], generator)[0]) == list(a)
    assert list(data.random_split(range(10), [7, 3], flow.Generator(6))[0]) != list(a)
    with pytest.raises(flow.Error, match="10 samples"):
        data.random_split(range(10), [1, 2])


def test_samplers() -> None:
    draws = data.RandomSampler(range(5), replacement=True, num_samples=20, seed=0)
    assert len(list(draws)) == len(draws) == 20 and set(draws) <= set(range(5))
    twice = list(data.RandomSampler(range(3), num_samples=6, seed=0))
    assert sorted(twice) == [0, 0, 1, 1, 2, 2]
    subset = data.SubsetRandomSampler([7, 8, 9], seed=0)
    assert sorted(subset) == [7, 8, 9]
    batches = data.BatchSampler(data.SequentialSampler(range(5)), 2, drop_last=True)
    assert list(batches) == [[0, 1], [2, 3]] and len(batches) == 2
    assert indices(DataLoader(Squares(), batch_sampler=[[1, 2], [5]])) == [[1, 2], [5]]
    assert indices(DataLoader(Squares(), 2, sampler=[4, 3, 9])) == [[4, 3], [9]]
    loader = DataLoader(Squares(), batch_sampler=data.BatchSampler(subset, 2))
    assert indices(DataLoader(Squares(10), 3, sampler=data.SubsetRandomSampler([7, 8, 9], seed=0)))
    assert len(loader) == 2


def test_epochs_are_told_to_what_asks_for_them() -> None:
    told = []

    class Told(Squares):
        def set_epoch(self, epoch: int) -> None:
            told.append(epoch)

    loader = DataLoader(Told(), 5)
    list(loader), list(loader)
    assert told == [0, 1]


def test_a_samples_own_randomness() -> None:
    def own(**options: Any) -> dict[int, int]:
        loader = DataLoader(Noise(6), seed=2, **options)
        return {int(i): int(v) for b in loader for i, v in zip(b["index"], b["own"], strict=True)}

    first = own(batch_size=3)
    assert len(set(first.values())) == 6
    assert own(batch_size=2, shuffle=True, prefetch=0) == first
    loader = DataLoader(Noise(6), 6, seed=2)
    epochs = [next(iter(loader))["own"].tolist() for _ in range(2)]
    assert epochs[0] == list(first.values()) != epochs[1]


REFUSED = {
    "a number": (lambda: DataLoader(3), "sequence or an iterable"),
    "batch_size 0": (lambda: DataLoader([1], 0), "batch_size=0"),
    "a fraction": (lambda: DataLoader([1], 1.5), "batch_size=1.5"),  # type: ignore[arg-type]
    "shuffle and sampler": (lambda: DataLoader([1], shuffle=True, sampler=[0]), "says the order"),
    "two batch sizes": (lambda: DataLoader([1], 2, batch_sampler=[[0]]), "what each batch holds"),
    "shuffled stream": (lambda: DataLoader(Stream(3), shuffle=True), "its own order"),
    "batch_size of a stream": (lambda: DataLoader(Stream(3), -1), "batch_size=-1"),
    "workers": (lambda: DataLoader([1], num_workers=-1), "num_workers=-1"),
    "prefetch": (lambda: DataLoader([1], prefetch=-1), "prefetch=-1"),
    "nothing to drop": (lambda: DataLoader([1], None, drop_last=True), "nothing to drop"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_loaders_that_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(flow.Error, match=message) as caught:
        make()
    assert caught.value.location is not None and caught.value.location.file == __file__


def test_a_step_takes_its_batches() -> None:
    flow.manual_seed(0)
    model = nn.Linear(2, 1)
    step = flow.train_step(
        lambda x, y: ((model(x) - y.float().unsqueeze(1)) ** 2).mean(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=1e-4),
        mesh=flow.mesh("cpu", dp=2),
    )
    loader = DataLoader(Squares(8), 4, shuffle=True, seed=0)
    losses = [float(m["loss"]) for m in step.run(loader, steps=5)]
    assert len(losses) == 5 and losses[-1] < losses[0]
    assert loader.state_dict() == {"epoch": 2, "batch": 1, "seed": 0}
