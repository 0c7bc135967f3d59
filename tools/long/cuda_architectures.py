"""liboneflow_cuda.so compiled and linked for sm_80, sm_90 and sm_100; no kernel spills a register.

Arguments: the architectures. What was compiled and has not changed is not compiled again.
"""

from __future__ import annotations

from tools import cuda_resources, results

COST = "three times nvcc over all kernels: 6 to 10 minutes on 2 cores; no GPU"
ARCHITECTURES = ("80", "90", "100")


def main(arguments: list[str]) -> int:
    if why := cuda_resources.missing():
        print(why)
        return 1
    figures: dict[str, object] = {}
    wrong: list[str] = []
    total = 0
    for architecture in arguments or ARCHITECTURES:
        made = cuda_resources.build(architecture)
        wrong += made.wrong
        if made.library is None:
            continue
        total += len(made.kernels)
        figures[f"sm_{architecture}"] = {
            "kernels": len(made.kernels),
            "library_bytes": made.library.stat().st_size,
            "most_registers": max(one.registers for one in made.kernels),
            "most_shared_bytes": max(one.shared_bytes for one in made.kernels),
            "spilling": sum(one.spilled_bytes > 0 for one in made.kernels),
        }
        print(f"sm_{architecture} {figures[f'sm_{architecture}']}", flush=True)
    figures["wrong"] = wrong
    code = 1 if wrong or not total else 0
    results.append("cuda-architectures", counts={"kernels": total}, figures=figures, exit_code=code)
    return code
