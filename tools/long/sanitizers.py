"""All C++ tests under ASan + UBSan and under TSan (the fast suite runs the core's and some of the kernels' only).

Arguments choose the presets: asan, tsan.
"""

from __future__ import annotations

import time

from tools import results, run_tests

COST = "builds all of the C++ twice with sanitizers: 40 minutes on 2 cores"
LIMIT = 3600.0  # seconds of a binary: under TSan the kernels' cases switch between the threads of blocks


def main(arguments: list[str]) -> int:
    folders = sorted(path.parent.name for path in run_tests.ROOT.glob("*/CMakeLists.txt"))
    total = run_tests.Counts()
    seconds = {}
    for preset in arguments or ["asan", "tsan"]:
        start = time.monotonic()
        built = run_tests.build(preset, folders)
        total.add(built if built.failed else run_tests.run_binaries(preset, folders, None, LIMIT))
        seconds[preset] = round(time.monotonic() - start)
    code = 1 if total.failed or not total.passed else 0
    results.append("sanitizers", counts=vars(total), figures={"seconds": seconds}, exit_code=code)
    print(total)
    return code
