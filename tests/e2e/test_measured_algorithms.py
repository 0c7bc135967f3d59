"""Products, convolutions and attention by measured algorithms: a file of choices decides the bits, and ranks whose files
differ still agree. Software CUDA has two algorithms of each: products add forwards and backwards, convolutions in shares
and in one, attention all samples at once and in slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oneflow import _core

from tests.e2e.test_cuda_processes import launch

MODEL, LAYOUT, GPUS = "mlp", "dp2", 2
Results = list[dict[str, np.ndarray]]


def train(processes: int, folder: Path, *algorithms: str, model: str = MODEL) -> Results:
    """What each rank wrote; `algorithms` are ONEFLOW_CUDA_ALGORITHMS of each."""
    folder.mkdir()
    arguments = ("train", str(GPUS), str(folder), model, LAYOUT)
    result, _ = launch(processes, *arguments, TEST_ALGORITHMS=",".join(algorithms))
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(processes)]
    return [{k: v for k, v in one.items() if k not in ("placed", "did")} for one in ranks]


def same(one: Results, other: Results) -> bool:
    return all(
        a[name].tobytes() == b[name].tobytes() for a in one for b in other for name in one[0]
    )


def lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def renamed(path: Path, name: str, to: Path, product: str = "") -> str:
    """The same choices, all of one algorithm; products of another, if that is said."""
    text = path.read_text().splitlines()[0] + "\n"
    for _, place, problem, _, times in lines(path):
        chosen = product if product and problem.startswith("product ") else name
        rest = "\t".join((place, problem, chosen, times))
        text += f"{_core.crc32c(rest.encode()):08x}\t{rest}\n"
    to.write_text(text)
    return f"measured:{to}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("algorithms")
    measured = folder / "measured"
    train(1, folder / "one", f"measured:{measured}")
    assert {line[3] for line in lines(measured)} <= {"forwards", "backwards"}
    assert len(lines(measured)) >= 5  # three products, forward and back
    before = measured.read_text()
    train(1, folder / "again", f"measured:{measured}")
    assert measured.read_text() == before  # nothing is measured twice
    return {name: renamed(measured, name, folder / name) for name in ("forwards", "backwards")}


def test_what_the_file_has_decides_the_bits(files: dict[str, str], tmp_path: Path) -> None:
    heuristics = train(1, tmp_path / "heuristics", "heuristics")
    forwards = train(1, tmp_path / "forwards", files["forwards"])
    backwards = train(1, tmp_path / "backwards", files["backwards"])
    assert same(heuristics, forwards) and not same(forwards, backwards)
    np.testing.assert_allclose(forwards[0]["losses"], backwards[0]["losses"], rtol=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("forwards", "backwards", "forwards"),
        ("backwards", "forwards", "backwards"),
        ("", "backwards", "forwards"),
        ("backwards", "", "forwards"),
    ],
)
def test_ranks_agree_by_the_lowest_or_not_to_measure(
    first: str, second: str, both: str, files: dict[str, str], tmp_path: Path
) -> None:
    of_ranks = [files.get(name, "heuristics") for name in (first, second)]
    several = train(2, tmp_path / "several", *of_ranks)
    assert same(several, train(1, tmp_path / "one", files[both]))


def test_convolutions_are_measured_and_agreed_on_too(tmp_path: Path) -> None:
    measured = tmp_path / "measured"
    train(1, tmp_path / "one", f"measured:{measured}", model="resnet")
    passes = {line[2].split(" type ")[0] for line in lines(measured)}
    assert {"convolution", "gradient of images", "gradient of filters"} <= passes
    files = {
        name: renamed(measured, name, tmp_path / name.replace(" ", "-"), "forwards")
        for name in ("in shares", "in one")
    }
    shares = train(1, tmp_path / "shares", files["in shares"], model="resnet")
    one = train(1, tmp_path / "in_one", files["in one"], model="resnet")
    assert same(shares, train(1, tmp_path / "heuristics", "heuristics", model="resnet"))
    assert not same(shares, one)
    np.testing.assert_allclose(shares[0]["losses"], one[0]["losses"], rtol=1e-3)
    several = train(2, tmp_path / "several", files["in one"], files["in shares"], model="resnet")
    assert same(several, one)


def test_attention_is_measured_and_trains_in_slices(tmp_path: Path) -> None:
    """Two samples of each GPU, of 64 keys, so a slice has the bits of the whole."""
    measured = tmp_path / "measured"
    train(1, tmp_path / "one", f"measured:{measured}", model="attention")
    (problem,) = [line[2] for line in lines(measured) if line[2].startswith("attention ")]
    assert "batch 2 queries 64 keys 64 heads 2,2 width 8" in problem and "causal" in problem
    files = {
        name: renamed(measured, name, tmp_path / name.replace(" ", "-"), "forwards")
        for name in ("own kernel", "own kernel in slices")
    }
    own = train(1, tmp_path / "own", files["own kernel"], model="attention")
    heuristics = train(1, tmp_path / "heuristics", "heuristics", model="attention")
    assert same(own, heuristics)
    ranks = train(
        2, tmp_path / "ranks", files["own kernel in slices"], files["own kernel"], model="attention"
    )
    assert same(ranks, own)
    assert own[0]["losses"][-1] < own[0]["losses"][0]


def test_a_damaged_file_is_told_and_does_no_harm(files: dict[str, str], tmp_path: Path) -> None:
    path = Path(files["backwards"].removeprefix("measured:"))
    damaged = tmp_path / "damaged"
    damaged.write_text(path.read_text().replace("backwards", "sidewards"))
    folder = tmp_path / "run"
    folder.mkdir()
    result, _ = launch(
        1, "train", str(GPUS), str(folder), MODEL, LAYOUT, TEST_ALGORITHMS=f"measured:{damaged}"
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr.count("lines are damaged") == 1, result.stderr
