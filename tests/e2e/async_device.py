"""Bar "async device": the plans of the layouts on devices that answer later, and faults planted in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from oneflow import _core

from tests.e2e.any_order import Case, bits
from tests.e2e.layouts import BY_NAME, Run, make_batch


def trained(model: str, layout_name: str, kind: str, steps: int) -> dict[str, bytes]:
    """The bits of all states and losses after some SGD steps in this process."""
    layout = replace(BY_NAME[layout_name], kind=kind)
    run = Run(model, layout, dropout=0.1)
    states = run.train([make_batch(model, layout.batch, i) for i in range(steps)])
    return {"loss": run.losses.tobytes(), **{k: v.tobytes() for k, v in states.items()}}


def wrong_seeds(case: Case, right: list[tuple[str, bytes]], seeds: int) -> int:
    """How many orders of events give other bits than `right`."""
    runtime = case.load()
    return sum(bits(case.run(runtime, seed)) != right for seed in range(seeds))


REGISTER = re.compile(r"^register r(?P<id>\d+) .*?-> (?P<consumers>.*)$", re.MULTILINE)


def told_too_early(plan: _core.Plan) -> Iterator[tuple[str, _core.Plan]]:
    """Copies of a plan, each with one edge more that says enqueued where finished is needed."""
    text = plan.text()
    for register in REGISTER.finditer(text):
        consumers, _, enqueued = register["consumers"].partition(" enqueued ")
        marked = set(enqueued.split())
        for consumer in consumers.split():
            if consumer in marked:
                continue
            more = sorted({*marked, consumer}, key=lambda task: int(task[1:]))
            line = register[0].split(" enqueued ")[0] + " enqueued " + " ".join(more)
            changed = text[: register.start()] + line + text[register.end() :]
            yield f"r{register['id']} to {consumer}", _core.Plan.parse_text(changed)


def finite(result: dict[str, bytes]) -> bool:
    """Bits that are equal because both are NaN prove nothing."""
    return all(
        bool(np.isfinite(np.frombuffer(value, np.float32)).all()) for value in result.values()
    )
