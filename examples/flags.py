"""What the example programs share: the flags that say how to train under which layout, and a log of losses."""

from __future__ import annotations

import argparse
import json
from typing import Any, TextIO

import oneflow as flow


def parse_mesh(text: str) -> dict[str, int]:
    """ "dp=2,tp=2" -> {"dp": 2, "tp": 2}."""
    return {name: int(size) for name, size in (item.split("=") for item in text.split(","))}


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mesh", type=parse_mesh, default={"dp": 1}, help="dp=2,tp=2 for instance")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches per step")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--decisions", default="", help="layouts to follow: what was saved before")
    parser.add_argument("--save-decisions", default="", help="a file for the layouts chosen here")
    parser.add_argument("--log", default="", help="a file for the loss of every step, as JSON")


def parallel(options: argparse.Namespace, otherwise: Any = "auto") -> Any:
    """What --decisions says, else what the program would."""
    return flow.Decisions.load(options.decisions) if options.decisions else otherwise


class Log:
    """Writes the loss of each step, in full, from rank 0; nothing without --log. Use as a context."""

    def __init__(self, path: str) -> None:
        self._path = path if flow.rank() == 0 else ""
        self._file: TextIO | None = None

    def __enter__(self) -> Log:
        self._file = open(self._path, "w", buffering=1) if self._path else None
        return self

    def add(self, step: int, metrics: Any) -> None:
        if self._file is not None:
            print(json.dumps({"step": step, "loss": float(metrics["loss"])}), file=self._file)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
