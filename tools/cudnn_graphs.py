"""Asks cuDNN, without a GPU, for the engines of the graphs that our convolutions and attention are
(kernels/cuda/cudnn_graphs_main.cc).

A graph is asked in a process of its own. cuDNN and what it opens are those of the environment (`pip install
nvidia-cudnn-cu13`), or those that the long suite has installed in build/cudnn; a library of ours stands for the driver.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release" / "kernels" / "cuda"
INSTALLED = ROOT / "build" / "cudnn"
WANTED = ("nvidia-cudnn-cu13==9.19.*", "nvidia-cuda-nvrtc==13.0.*")  # 500 MB, with cuBLASLt
LIMIT = 120  # seconds for a graph, of which a few are compiled


@dataclass(frozen=True)
class Window:
    """A convolution of square images: side, channels, filters, their side, stride."""

    side: int
    channels: int
    filters: int
    window: int
    stride: int = 1

    def arguments(self, images: int) -> list[str]:
        """n h w c k r s stride padding."""
        return [
            str(number)
            for number in (
                images,
                self.side,
                self.side,
                self.channels,
                self.filters,
                self.window,
                self.window,
                self.stride,
                self.window // 2,
            )
        ]

    def __str__(self) -> str:
        by = f" by {self.stride}" if self.stride > 1 else ""
        return f"{self.window}x{self.window}{by}, {self.channels} to {self.filters}, {self.side} x {self.side}"


@dataclass(frozen=True)
class Heads:
    """Attention of so many words, heads of q and of k, and their width; `packed`: q, k and v lie in one tensor."""

    words: int
    heads: int
    key_heads: int
    width: int
    causal: bool = False
    packed: bool = True

    def arguments(self, samples: int) -> list[str]:
        """batch queries keys heads key_heads width causal packed."""
        return [
            str(int(number))
            for number in (
                samples,
                self.words,
                self.words,
                self.heads,
                self.key_heads,
                self.width,
                self.causal,
                self.packed,
            )
        ]

    def __str__(self) -> str:
        of = f" of {self.key_heads}" if self.key_heads != self.heads else ""
        kind = (", causal" if self.causal else "") + (", packed" if self.packed else "")
        return f"{self.words} words, {self.heads}{of} heads of {self.width}{kind}"


# What models of the package ask for, with the samples of a step: BERT-Large of 128 and 512 words, GPT-2 small, and as
# LLaMA has them (32 heads of 128 after rotations, so not packed, and with shared keys).
ATTENTION = {
    Heads(128, 16, 16, 64): 256,
    Heads(512, 16, 16, 64): 64,
    Heads(1024, 12, 12, 64, causal=True): 8,
    Heads(2048, 32, 32, 128, causal=True, packed=False): 4,
    Heads(2048, 32, 8, 128, causal=True, packed=False): 4,
}


def resnet50() -> list[Window]:
    """The windows of ResNet-50 v1.5 on 224 x 224, each once, as they come."""
    windows = [Window(224, 3, 64, 7, 2)]
    side, channels = 56, 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            windows.append(Window(side, channels, width, 1))
            windows.append(Window(side, width, width, 3, stride))
            if block == 0:
                windows.append(Window(side, channels, 4 * width, 1, stride))
            side //= stride
            windows.append(Window(side, width, 4 * width, 1))
            channels = 4 * width
    return list(dict.fromkeys(windows))


def packages() -> Path | None:
    """The folder `nvidia` of the packages that have cuDNN; None: it is not installed."""
    for folder in [INSTALLED, *sorted(ROOT.glob(".venv/lib/python3.*/site-packages"))]:
        if (folder / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9").exists():
            return folder / "nvidia"
    return None


def install() -> None:
    """Where there is none."""
    if packages() is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(INSTALLED)]
        subprocess.run([*command, *WANTED], check=True, timeout=1200)


def missing() -> str:
    """Why nothing can be asked here; empty if all is there."""
    if packages() is None:
        return "cuDNN is not installed (pip install nvidia-cudnn-cu13)"
    if not (BUILD / "oneflow_cudnn_graphs").exists():
        return "the program that asks is not built (./dev build)"
    return ""


def ask(problem: Window | Heads, samples: int, dtype: str, op: str) -> dict[str, Any]:
    """What cuDNN says: found, engine, workspace, room, seconds; of attention also slice (samples that our workspace lets
    it do at a time), planned (that workspace) and expected (what we reckon that it keeps). RuntimeError where it says
    nothing."""
    nvidia = packages()
    assert nvidia is not None, missing()
    folders = [BUILD / "no_driver", *sorted(nvidia.glob("*/lib"))]
    command = [
        str(BUILD / "oneflow_cudnn_graphs"),
        str(nvidia / "cudnn" / "lib" / "libcudnn.so.9"),
        dtype,
        op,
        *problem.arguments(samples),
    ]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders))}
    asked = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment)
    if asked.returncode != 0:
        raise RuntimeError(f"{op} {dtype} {problem}: {asked.returncode} {asked.stderr[-500:]}")
    said: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return said
