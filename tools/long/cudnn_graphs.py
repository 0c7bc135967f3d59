"""cuDNN, asked without a GPU, has engines for ResNet-50's convolutions with their sums, within our workspace.

Arguments: numbers of images. Each window is asked in bf16 and f16, forward alone and with sums; stored are the engines,
their workspaces and what compiling them took.
"""

from __future__ import annotations

from typing import Any

from tools import cudnn_graphs, results

COST = "5 minutes for two numbers of images on 2 cores, which compile 92 engines; no GPU, but cuDNN (500 MB)"
IMAGES = (128, 256)
# Three channels are no whole vectors: cuDNN 9.19 sums beside them only in an order that is not the same in every run.
ALONE = cudnn_graphs.Window(224, 3, 64, 7, 2)


def main(arguments: list[str]) -> int:
    cudnn_graphs.install()
    if why := cudnn_graphs.missing():
        print(why)
        return 1
    wrong: list[str] = []
    rows: list[dict[str, Any]] = []
    library = ""
    for images in [int(argument) for argument in arguments] or IMAGES:
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
                        said = cudnn_graphs.ask(window, images, dtype, op)
                    except RuntimeError as error:
                        wrong.append(str(error))
                        continue
                    library = said.pop("library")
                    row |= said
                    rows.append(row)
                    print(row, flush=True)
                    expected = op == "conv2d" or window != ALONE
                    if said["found"] != expected or said["workspace"] > said["room"]:
                        wrong.append(f"{images} images, {window}, {dtype} {op}: {said}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sums = [row for row in rows if row["op"] == "conv2d_sums" and row["found"]]
    figures = {
        "library": library,
        "with_sums": len(sums),
        "engines": sorted({row["engine"] for row in sums}),
        "most_workspace": max((row["workspace"] for row in sums), default=0),
        "seconds": round(sum(row["seconds"] for row in sums), 1),
        "rows": rows,
        "wrong": wrong,
    }
    code = 1 if wrong or not sums else 0
    results.append("cudnn-graphs", counts={"graphs": len(rows)}, figures=figures, exit_code=code)
    return code
