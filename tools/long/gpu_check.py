"""tools/gpu_check.sh from start to end on software CUDA: everything runs and agrees, no time is claimed."""

from __future__ import annotations

import time

from tools import process, results

COST = "5 to 10 minutes on 2 cores"
LIMIT = 600  # the bar: start to end within ten minutes


def main(arguments: list[str]) -> int:
    out = results.ROOT / "build" / "gpu-check"
    start = time.monotonic()
    code = process.run(
        ["tools/gpu_check.sh", "soft", str(out), *arguments], LIMIT, cwd=results.ROOT
    )
    print(f"{time.monotonic() - start:.0f} s")
    return code
