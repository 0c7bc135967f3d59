"""What `./dev bench scaling` makes of its rows."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import oneflow as flow
from oneflow import models

from benchmarks import scaling
from benchmarks.outcome import table
from benchmarks.scaling_cases import RUN, RUN_MODELS, bert_step, predicted_layouts, small_step


def test_the_picture_has_a_line_for_each_layout() -> None:
    rows = [
        {"model": model, "layout": "dp", "devices": devices, "efficiency": efficiency}
        for model in ("bert-large", "resnet50")
        for devices, efficiency in ((8, 1.0), (16, 0.5))
    ]
    drawn = ElementTree.fromstring(scaling.picture(rows))
    lines = [one for one in drawn.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 2
    (_, first), (_, second) = (point.split(",") for point in lines[0].attrib["points"].split())
    assert float(second) - float(first) == 140.0  # half of the height
    assert table([{"a": 1, "bcd": 2}, {"a": 10, "bcd": 3}]) == "a   bcd\n1   2\n10  3"


def test_every_layout_that_is_run_is_a_step_of_that_many_devices() -> None:
    assert {layout.devices for layout in RUN} == {1, 2, 4}
    for model, (_, layouts) in RUN_MODELS.items():
        assert {layout.devices for layout in layouts} == {1, 2, 4}
        step, batch = small_step(model, layouts[1])
        plan = step.compile(**batch)
        first, second = (device["flops"] for device in plan.work())
        assert first == second > 0
        assert plan.figures()["moved_bytes_per_step"] > 0


def test_a_predicted_layout_is_a_plan_of_that_machine() -> None:
    """Of a small model, in the form in which BERT-Large is."""
    target = flow.Target.load(scaling.H100, hosts=2)
    for layout in predicted_layouts("bert-large", 16):
        config = models.BertConfig(
            vocab_size=512, hidden_size=128, num_hidden_layers=2, num_attention_heads=8
        )
        model = models.BertForPreTraining(config)
        mesh = flow.mesh("cuda", **dict(layout.axes))
        step = bert_step(model, mesh, layout, "bf16", None)
        tokens = flow.spec((32, 64), flow.int64)
        batch = {"tokens": tokens, "labels": tokens, "apart": flow.spec((32,), flow.int64)}
        plan = step.compile_for(target.at(15), **batch)
        assert plan.core.rank == 15
        assert 0 < plan.work()[0]["compute_ns"] < plan.figures()["step_ns"]


def test_the_part_that_is_exposed(tmp_path: Path) -> None:
    """A trace of the runtime itself: less than a step computes, more than nothing."""
    trace = tmp_path / "trace"
    program = (
        "import numpy as np, oneflow as flow\n"
        "from oneflow import nn\n"
        "model = nn.Linear(256, 256)\n"
        "@flow.train_step(model=model, optimizer=flow.optim.SGD(model.parameters(), lr=0.1),\n"
        "                 mesh=flow.mesh('cpu', dp=2, threads=1))\n"
        "def step(x): return model(x).square().mean()\n"
        "x = np.ones((512, 256), np.float32)\n"
        f"for _ in range({scaling.WARM + 4}): float(step(x)['loss'])\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={**os.environ, "ONEFLOW_TRACE": str(trace)},
        timeout=120,
        cwd=scaling.ROOT,
    )
    assert scaling.exposed([trace], 10.0) > 0.9  # of a step of ten seconds
    assert scaling.exposed([trace], 1e-9) == 0.0
