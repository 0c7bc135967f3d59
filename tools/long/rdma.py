"""RDMA over real ibverbs: the transport's tests in a guest with soft-RoCE, loss, killed and stopped peers, links cut.

The guest is QEMU without KVM (tools/rdma_vm/guest.py). Where it cannot boot, adapters in memory run the same tests in
the fast suite (comm/rdma_test.cc, comm/transport_test.cc). Arguments: parts of the names of cases
(tools/rdma_vm/faults.py).
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tools import results
from tools.rdma_vm import guest

COST = "4 to 8 minutes on 2 cores, 3.5 GB of memory; the first time 70 MB for a kernel"
LIMIT = 1500
TARGETS = ("oneflow_comm_test", "oneflow_comm_pair")


def main(arguments: list[str]) -> int:
    if missing := guest.why_not():
        print(missing, file=sys.stderr)
        return 2
    build = results.ROOT / "build" / "release"
    subprocess.run(
        ["cmake", "--build", str(build), "--target", *TARGETS],
        check=True,
        timeout=LIMIT,
        stdout=sys.stderr,
    )
    share = guest.CACHE / "share"
    shutil.rmtree(share, ignore_errors=True)
    share.mkdir(parents=True)
    records = share / "cases.jsonl"
    command = [
        sys.executable,
        guest.HERE / "faults.py",
        build,
        records,
        *arguments,
    ]
    (share / "run.sh").write_text(shlex.join(map(str, command)) + "\n")
    log = guest.CACHE / "guest.log"
    code = guest.run(share, "run.sh", LIMIT, log)
    cases = _cases(records)
    for case in cases:
        seconds = f"{case['noticed_s']:.2f} s" if "noticed_s" in case else ""
        print(
            f"{'held' if case['held'] else 'FAILED':6} {case['name']:42} {case['seconds']:6.1f} s"
            f"  {seconds:8} {case.get('said', '')}"
        )
    failed = [str(case["name"]) for case in cases if not case["held"]]
    if code == guest.NO_RESULT or not cases:
        print(f"the guest did not come to its end; see {log}", file=sys.stderr)
        code = guest.NO_RESULT
    # Some of the cases are no record of the bar.
    if not arguments:
        results.append(
            "rdma",
            counts={"cases": len(cases), "held": len(cases) - len(failed), "failed": len(failed)},
            figures={"cases": {str(case.pop("name")): case for case in cases}, "failed": failed},
            exit_code=code,
        )
    return code


def _cases(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
