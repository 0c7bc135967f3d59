"""BERT and ResNet over 1, 2 and 4 devices, processes and hosts, run; and over 8 to 256 H100s, predicted.

    ./dev bench scaling [--rounds 3] [--picture FILE.svg] [--only run|predict]

Run: small models under dp, tp and pp, the same batch for all: devices of one process, a process for each, a host
(network namespace) for each. A row has the time of a step, bytes between devices, the part of a step in which not
even the busiest device computes (waiting for movement, and for cores: 4 devices share the cores of this machine),
the least and largest share of the work that a device has, and the speed-up over one device for each core that the
devices can have. With the decisions of one process the losses must be its bits: that is the bar.

Predicted: BERT-Large (128 words) and ResNet-50 in bf16, batches that grow with the devices, `step.compile_for` the
machine of examples/targets/h100.json: memory and bytes are the plan's, times follow from the rates of that file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = [sys.executable, "-m", "oneflow.launch"]
WARM, STEPS = 3, 10
H100 = ROOT / "examples" / "targets" / "h100.json"
DEVICES = (8, 16, 32, 64, 128, 256)
PER_DEVICE = {"bert-large": 64, "resnet50": 128}
SECONDS = 300


def worker(model: str, layout_name: str, decisions: str) -> int:
    """One rank of a run: prints what it measured as JSON."""
    import oneflow as flow

    from benchmarks.scaling_cases import RUN, small_step

    layout = next(one for one in RUN if one.name == layout_name)
    follow = flow.Decisions.load(decisions) if os.path.exists(decisions) else None
    step, batch = small_step(model, layout, follow)
    losses, times = [], []
    for i in range(WARM + STEPS):
        begin = time.perf_counter()
        losses.append(float(step(**batch)["loss"]))
        if i >= WARM:
            times.append(time.perf_counter() - begin)
    plan = step.compile(**batch)
    if follow is None and flow.rank() == 0:
        plan.save_decisions(decisions)
    said = {
        "rank": flow.rank(),
        "step_s": statistics.median(times),
        "losses": [loss.hex() for loss in losses],
        "moved": plan.figures()["moved_bytes_per_step"],
        "work": plan.work(),
    }
    print("scaling", json.dumps(said), flush=True)
    return 0


def exposed(traces: list[Path], step_s: float) -> float:
    """The part of a step in which not even the device that computes longest does so: the median over steps."""
    from tools.trace_slices import slices

    busy: dict[tuple[str, int], int] = {}
    for path in traces:
        for one in slices(path):
            if " compute" in one.track and one.step >= WARM:
                key = (path.name + one.track, one.step)
                busy[key] = busy.get(key, 0) + one.duration_ns
    of_steps: dict[int, int] = {}
    for (_, step), spent in busy.items():
        of_steps[step] = max(of_steps.get(step, 0), spent)
    return max(0.0, 1 - statistics.median(of_steps.values()) / 1e9 / step_s)


def run_once(model: str, layout: str, how: str, devices: int, folder: Path) -> dict[str, Any]:
    """One run of a layout: `how` is devices, processes or hosts."""
    decisions = folder / f"{model}-{layout}.decisions"
    trace = folder / "trace"
    for old in folder.glob("trace*"):
        old.unlink()
    program = ["-m", "benchmarks.scaling", "--worker", model, layout, str(decisions)]
    environment = {**os.environ, "ONEFLOW_TRACE": str(trace), "OMP_NUM_THREADS": "1"}
    if how == "hosts":
        output = on_hosts(devices, program, str(trace))
    else:
        command = (
            [sys.executable] if how == "devices" else [*LAUNCH, "--nproc-per-node", str(devices)]
        )
        done = subprocess.run(
            [*command, *program],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=ROOT,
        )
        if done.returncode:
            raise RuntimeError(f"{model} {layout} over {devices} {how}:\n{done.stderr[-2000:]}")
        output = done.stdout
    ranks = [
        json.loads(line.split("scaling ", 1)[1])
        for line in output.splitlines()
        if "scaling {" in line
    ]
    ranks.sort(key=lambda said: said["rank"])
    if len(ranks) != (1 if how == "devices" else devices):
        raise RuntimeError(
            f"{model} {layout} over {devices} {how}: {len(ranks)} ranks answered:\n{output[-2000:]}"
        )
    flops = [device["flops"] for said in ranks for device in said["work"]]
    step_s = max(said["step_s"] for said in ranks)
    return {
        "step_s": step_s,
        "losses": [said["losses"] for said in ranks],
        "moved": sum(said["moved"] for said in ranks),
        "shares": [min(flops) / sum(flops), max(flops) / sum(flops)],
        "exposed": exposed(sorted(folder.glob("trace*")), step_s),
    }


def on_hosts(hosts: int, program: list[str], trace: str) -> str:
    """The output of all ranks, one on each of so many network namespaces."""
    from tests.launch.cluster import Cluster, output_of

    secret = os.urandom(32).hex()
    with Cluster(hosts) as cluster:
        started = [
            cluster.start(
                host,
                [*LAUNCH, "--nnodes", str(hosts), "--node-rank", str(host - 1)]
                + ["--master-addr", "h1", "--nproc-per-node", "1", *program],
                ONEFLOW_SECRET=secret,
                ONEFLOW_TRACE=trace,
            )
            for host in range(1, hosts + 1)
        ]
        for process in started:
            if process.wait(SECONDS):
                raise RuntimeError(output_of(process)[-2000:])
        return "".join(output_of(process) for process in started)


def run(rounds: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of what was run, and the rows whose losses were not those of one process."""
    from benchmarks.scaling_cases import RUN_MODELS
    from tests.launch.cluster import why_not

    if why_not():
        print(f"no hosts: {why_not()}", file=sys.stderr)
    rows, other_bits = [], []
    cores = len(os.sched_getaffinity(0))
    for model, (_, layouts) in RUN_MODELS.items():
        alone = 0.0
        for layout in layouts:
            ways = ["devices"]
            if layout.devices > 1:
                ways += ["processes"] if why_not() else ["processes", "hosts"]
            with tempfile.TemporaryDirectory() as folder:
                seen: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
                for _ in range(rounds):
                    for way in ways:
                        seen[way].append(
                            run_once(model, layout.name, way, layout.devices, Path(folder))
                        )
            expected = seen["devices"][0]["losses"][0]
            for way, runs in seen.items():
                step_s = statistics.median(one["step_s"] for one in runs)
                alone = alone or step_s
                same = all(losses == expected for one in runs for losses in one["losses"])
                row = {
                    "model": model,
                    "layout": layout.name,
                    "over": f"{layout.devices} {way if layout.devices > 1 else 'device'}",
                    "step_ms": round(1e3 * step_s, 1),
                    "moved_MiB": round(runs[0]["moved"] / 2**20, 2),
                    "exposed": round(statistics.median(one["exposed"] for one in runs), 2),
                    "share_min": round(runs[0]["shares"][0], 3),
                    "share_max": round(runs[0]["shares"][1], 3),
                    "efficiency": round(alone / step_s / min(layout.devices, cores), 2),
                    "same_bits": same,
                }
                rows.append(row)
                if not same:
                    other_bits.append(f"{model} {layout.name} {way}")
    return rows, other_bits


def predict() -> list[dict[str, Any]]:
    """The rows of plans for H100s: rank 0's, which is like any other's."""
    import oneflow as flow

    from benchmarks.scaling_cases import predicted_layouts, published_step

    rows = []
    for model, per_device in PER_DEVICE.items():
        for devices in DEVICES:
            target = flow.Target.load(H100, hosts=devices // 8)
            for layout in predicted_layouts(model, devices):
                step, batch = published_step(model, layout, per_device)
                plan = step.compile_for(target, **batch)
                figures, work, memory = plan.figures(), plan.work()[0], plan.memory()[0]
                step_ns = figures["step_ns"]
                rows.append(
                    {
                        "model": model,
                        "layout": layout.name,
                        "devices": devices,
                        "predicted_step_ms": round(step_ns / 1e6, 2),
                        "moved_MiB": round(figures["moved_bytes_per_step"] / 2**20, 1),
                        "exposed": round(1 - work["compute_ns"] / step_ns, 3),
                        "memory_GiB": round(
                            (memory["arena_bytes"] + memory["state_bytes"]) / 2**30, 2
                        ),
                        "predicted_samples_per_s": round(per_device * devices / (step_ns / 1e9)),
                    }
                )
    for row in rows:
        first = next(
            one for one in rows if (one["model"], one["layout"]) == (row["model"], row["layout"])
        )
        speed = row["predicted_samples_per_s"] / first["predicted_samples_per_s"]
        row["efficiency"] = round(speed / (row["devices"] / first["devices"]), 3)
    return rows


def picture(rows: list[dict[str, Any]]) -> str:
    """Predicted efficiency over devices, a line for each model and layout, as SVG."""
    width, height, left, bottom = 640, 360, 60, 320
    names = sorted({(row["model"], row["layout"]) for row in rows})
    places = {
        devices: left + 100 * i for i, devices in enumerate(sorted({r["devices"] for r in rows}))
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20">Predicted efficiency against 8 H100s, batches that grow with the devices</text>',
    ]
    for tenth in range(0, 11, 2):
        y = bottom - 28 * tenth
        parts.append(f'<path d="M{left} {y}H{width - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 36}" y="{y + 4}">{tenth / 10:.1f}</text>')
    for devices, x in places.items():
        parts.append(f'<text x="{x - 8}" y="{bottom + 18}">{devices}</text>')
    for i, name in enumerate(names):
        colour = ("#1565c0", "#2e7d32", "#c62828", "#6a1b9a")[i % 4]
        points = [
            (places[row["devices"]], bottom - 280 * row["efficiency"])
            for row in rows
            if (row["model"], row["layout"]) == name
        ]
        line = " ".join(f"{x},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{left + 8}" y="{bottom - 10 - 16 * i}" fill="{colour}">{" ".join(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench scaling")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--picture", default="", help="an SVG of the predicted efficiency")
    parser.add_argument("--only", choices=("run", "predict"), default="")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {}
    other_bits: list[str] = []
    if options.only != "predict":
        figures["run"], other_bits = run(options.rounds)
        figures["other_bits"] = other_bits
    if options.only != "run":
        figures["predicted"] = predict()
        if options.picture:
            Path(options.picture).write_text(picture(figures["predicted"]))
    return Outcome(figures, held=not other_bits, counts={"rounds": options.rounds})


if __name__ == "__main__" and sys.argv[1:2] == ["--worker"]:
    sys.exit(worker(*sys.argv[2:]))
