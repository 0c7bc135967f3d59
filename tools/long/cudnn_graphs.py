"""cuDNN, asked without a GPU, has engines for ResNet-50's convolutions with their sums, and for attention with the same
bits in every run, within our workspace.

Arguments: numbers of images; `attention`: that alone. Each window is asked in bf16 and f16, forward alone and with sums,
each attention forward and backward; stored are the engines, their workspaces and what compiling them took.
"""

from __future__ import annotations

from typing import Any

from tools import cudnn_graphs, results

COST = "5 minutes for two numbers of images on 2 cores, which compile 112 engines; no GPU, but cuDNN (500 MB)"
IMAGES = (128, 256)
# Three channels are no whole vectors: cuDNN 9.19 sums beside them only in an order that is not the same in every run.
ALONE = cudnn_graphs.Window(224, 3, 64, 7, 2)


# 128 keys: our gradient keeps two numbers of each row, in which no sample's slopes fit. It is the faster one there.
WITHOUT_ROOM = 128


def convolutions(numbers: list[int], rows: list[dict[str, Any]], wrong: list[str]) -> None:
    """Adds what cuDNN says of each, and what is not as it should be."""
    for images in numbers:
        for window in cudnn_graphs.resnet50():
            for dtype in ("bf16", "f16"):
                for op in ("conv2d", "conv2d_sums"):
                    row: dict[str, Any] = {
                        "images": images,
                        "window": str(window),
                        "dtype": dtype,
                        "op": op,
                    }
                    try:
                        row |= cudnn_graphs.ask(window, images, dtype, op)
                    except RuntimeError as error:
                        wrong.append(str(error))
                        continue
                    rows.append(row)
                    print(row, flush=True)
                    expected = op == "conv2d" or window != ALONE
                    if row["found"] != expected or row["workspace"] > row["room"]:
                        wrong.append(f"{images} images, {window}, {dtype} {op}: {row}")


def attention(rows: list[dict[str, Any]], wrong: list[str]) -> None:
    """The same of attention: an engine, in the room that our plan has, which keeps what we reckon and 256 bytes."""
    for heads, samples in cudnn_graphs.ATTENTION.items():
        for dtype in ("bf16", "f16"):
            for op in ("attention", "attention_grad"):
                row: dict[str, Any] = {
                    "samples": samples,
                    "heads": str(heads),
                    "dtype": dtype,
                    "op": op,
                }
                try:
                    row |= cudnn_graphs.ask(heads, samples, dtype, op)
                except RuntimeError as error:
                    wrong.append(str(error))
                    continue
                rows.append(row)
                print(row, flush=True)
                has_room = op == "attention" or heads.words > WITHOUT_ROOM
                fits = row["expected"] <= row["workspace"] <= row["expected"] + 256
                if not row["found"] or not fits or has_room != (row["slice"] > 0):
                    wrong.append(f"{samples} samples, {heads}, {dtype} {op}: {row}")


def main(arguments: list[str]) -> int:
    cudnn_graphs.install()
    if why := cudnn_graphs.missing():
        print(why)
        return 1
    wrong: list[str] = []
    rows: list[dict[str, Any]] = []
    if arguments != ["attention"]:
        numbers = [int(argument) for argument in arguments]
        convolutions(numbers or list(IMAGES), rows, wrong)
    attention(rows, wrong)
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
