"""liboneflow_cuda.so compiled and linked for sm_80, sm_90 and sm_100; no kernel spills a register.

Arguments: the architectures. What was compiled and has not changed is not compiled again.
"""

from __future__ import annotations

import ctypes
import time

from tools import cuda_resources, results

COST = "three times nvcc over all kernels: 10 minutes on 2 cores; no GPU"
ARCHITECTURES = ("80", "90", "100")
# Kernels that may spill, by file, and why.
MAY_SPILL: dict[str, str] = {}


def spills(kernels: list[cuda_resources.Resources]) -> list[str]:
    """The kernels that spill and may not."""
    return [
        f"{one.file}: {one.kernel} spills {one.spilled_bytes} bytes"
        for one in kernels
        if one.spilled_bytes and one.file not in MAY_SPILL
    ]


def main(arguments: list[str]) -> int:
    if why := cuda_resources.missing():
        print(why)
        return 1
    figures: dict[str, object] = {}
    wrong: list[str] = []
    total = 0
    for architecture in arguments or ARCHITECTURES:
        start = time.monotonic()
        kernels: list[cuda_resources.Resources] = []
        try:
            for file in cuda_resources.files():
                kernels += cuda_resources.compile_file(file, architecture)
                print(f"sm_{architecture} {file}: {time.monotonic() - start:.0f} s", flush=True)
            library = cuda_resources.link(architecture)
            # The loader takes it without a driver, and the one entry is there.
            assert ctypes.CDLL(str(library)).oneflow_cuda_api
        except (RuntimeError, OSError, AttributeError) as error:
            wrong.append(str(error))
            continue
        wrong += [f"sm_{architecture} {one}" for one in spills(kernels)]
        total += len(kernels)
        figures[f"sm_{architecture}"] = {
            "kernels": len(kernels),
            "library_bytes": library.stat().st_size,
            "most_registers": max(one.registers for one in kernels),
            "most_shared_bytes": max(one.shared_bytes for one in kernels),
            "spilling": sum(one.spilled_bytes > 0 for one in kernels),
        }
        print(f"sm_{architecture} {figures[f'sm_{architecture}']}", flush=True)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    figures["wrong"] = wrong
    code = 1 if wrong or not total else 0
    results.append("cuda-architectures", counts={"kernels": total}, figures=figures, exit_code=code)
    return code
