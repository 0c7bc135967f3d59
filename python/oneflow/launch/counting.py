"""How many ranks a host gets: a number, or what it has."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import environment

_MOST = 1024


def gpus() -> int:
    """NVIDIA GPUs of this host, as its driver shows them."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def processes(text: str) -> int:
    """`4`; `gpu` and `cpu`: one for each GPU or core; `auto`: for each GPU, without any for each core."""
    cores = environment.core_count()
    known = {"cpu": cores, "gpu": gpus(), "auto": gpus() or cores}
    if text in known:
        if not known[text]:
            raise argparse.ArgumentTypeError("this host has no NVIDIA GPU; give a number, or `cpu`")
        return known[text]
    try:
        count = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is neither a number nor `auto`") from None
    if not 1 <= count <= _MOST:
        raise argparse.ArgumentTypeError(f"{count} processes; give a number from 1 to {_MOST}")
    return count


def checked(text: str) -> str:
    """The same text, once it is known to be one of these; the host that it is for counts."""
    if text not in ("gpu", "cpu", "auto"):
        processes(text)
    return text
