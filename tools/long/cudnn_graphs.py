"""cuDNN, asked without a GPU, has engines for ResNet-50's convolutions with their sums, and for attention with the same
bits in every run, within our workspace.

Arguments: numbers of images; `attention`: that alone. Each window is asked in bf16 and f16, forward alone and with sums,
each attention forward and backward; stored are the engines, their workspaces and what compiling them took.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools import cudnn_graphs, results

COST = "5 minutes for two numbers of images on 2 cores, which compile 112 engines; no GPU, but cuDNN (500 MB)"
IMAGES = (128, 256)
# Three channels are no whole vectors: cuDNN 9.19 sums beside them only in an order that is not the same in every run.
ALONE = cudnn_graphs.Window(224, 3, 64, 7, 2)
# 128 keys: our gradient keeps two numbers of each row, in which no sample's slopes fit. It is the faster one there.
WITHOUT_ROOM = 128


class Asked:
    """What cuDNN has said of each graph, and what was not as it should be."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    def ask(
        self,
        problem: cudnn_graphs.Window | cudnn_graphs.Heads,
        samples: int,
        names: tuple[str, str],
        ops: tuple[str, str],
        is_right: Callable[[str, dict[str, Any]], bool],
    ) -> None:
        """In both types. `names`: of the samples and of the problem in a row."""
        for dtype in ("bf16", "f16"):
            for op in ops:
                row = {names[0]: samples, names[1]: str(problem), "dtype": dtype, "op": op}
                try:
                    row |= cudnn_graphs.ask(problem, samples, dtype, op)
                except RuntimeError as error:
                    self.wrong.append(str(error))
                    continue
                self.rows.append(row)
                print(row, flush=True)
                if not is_right(op, row):
                    self.wrong.append(f"{samples} {names[0]}, {problem}, {dtype} {op}: {row}")


def convolution(asked: Asked, window: cudnn_graphs.Window, images: int) -> None:
    """An engine within the room, alone and with sums; but for what stands alone."""

    def is_right(op: str, row: dict[str, Any]) -> bool:
        expected = op == "conv2d" or window != ALONE
        return bool(row["found"] == expected and row["workspace"] <= row["room"])

    asked.ask(window, images, ("images", "window"), ("conv2d", "conv2d_sums"), is_right)


def attention(asked: Asked, heads: cudnn_graphs.Heads, samples: int) -> None:
    """An engine, in the room that our plan has, which keeps what we reckon and 256 bytes."""

    def is_right(op: str, row: dict[str, Any]) -> bool:
        has_room = op == "attention" or heads.words > WITHOUT_ROOM
        fits = row["expected"] <= row["workspace"] <= row["expected"] + 256
        return bool(row["found"] and fits and has_room == (row["slice"] > 0))

    asked.ask(heads, samples, ("samples", "heads"), ("attention", "attention_grad"), is_right)


def main(arguments: list[str]) -> int:
    cudnn_graphs.install()
    if why := cudnn_graphs.missing():
        print(why)
        return 1
    asked = Asked()
    if arguments != ["attention"]:
        for images in [int(argument) for argument in arguments] or IMAGES:
            for window in cudnn_graphs.resnet50():
                convolution(asked, window, images)
    for heads, samples in cudnn_graphs.ATTENTION.items():
        attention(asked, heads, samples)
    rows, wrong = asked.rows, asked.wrong
    print(*wrong, sep="\n", end="\n" if wrong else "")
    libraries = sorted({row.pop("library") for row in rows})
    sums = [row for row in rows if row["op"] == "conv2d_sums" and row["found"]]
    attentions = [row for row in rows if "heads" in row and row["found"]]
    figures = {
        "library": ", ".join(libraries),
        "with_sums": len(sums),
        "attention": len(attentions),
        "engines": sorted({row["engine"] for row in sums}),
        "attention_engines": sorted({row["engine"] for row in attentions}),
        "most_workspace": max((row["workspace"] for row in sums), default=0),
        "seconds": round(sum(row["seconds"] for row in sums + attentions), 1),
        "rows": rows,
        "wrong": wrong,
    }
    code = 1 if wrong or not attentions else 0
    results.append("cudnn-graphs", counts={"graphs": len(rows)}, figures=figures, exit_code=code)
    return code
