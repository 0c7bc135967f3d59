"""One rank of a job: trains a model under a layout and writes what it got. Started by test_processes.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import oneflow as flow

from tests.e2e.layouts import BY_NAME, Layout, Run, make_batch


def unreadable(run: Run, batch: dict[str, np.ndarray]) -> list[str]:
    """What reading each parameter says after one more step, where it does not lie here as a whole."""
    run.train_step()(**batch)
    messages = []
    for parameter in run.model.parameters():
        try:
            parameter.numpy()
        except flow.Error as error:
            messages.append(str(error))
    return messages


def hold(model: str, layout: Layout, folder: Path) -> list[flow.Decisions]:
    """Decisions of both steps, from the files in `folder`; the first job writes them.

    Searched without rules: so the search has most to choose, and differs most between numbers of processes.
    """
    paths = [folder / "train.decisions", folder / "gradients.decisions"]
    if not folder.exists():
        folder.mkdir()
        batch = make_batch(model, layout.batch, 1)
        train, run = (Run(model, layout, dropout=0.4) for _ in range(2))
        train.options["parallel"] = run.options["parallel"] = "auto"
        train.train_step().compile(**batch).save_decisions(paths[0])
        flow.value_and_grad(run.loss, **run.options).compile(**batch).save_decisions(paths[1])
    return [flow.Decisions.load(path) for path in paths]


def main() -> None:
    model, name, folder = sys.argv[1:4]
    layout = BY_NAME[name]
    run, other = (Run(model, layout, dropout=0.4) for _ in range(2))
    if len(sys.argv) > 4:
        decisions = hold(model, layout, Path(sys.argv[4]))
        run.options["parallel"] = other.options["parallel"] = decisions
    states = run.train([make_batch(model, layout.batch, i) for i in range(5)])
    gradients = other.gradients(make_batch(model, layout.batch, 1))
    results = {f"state {key}": value for key, value in states.items()}
    results |= {f"gradient {key}": value for key, value in gradients.items()}
    # One more train step has an optimizer of its own: other states, so other decisions.
    run.options["parallel"] = "auto" if len(sys.argv) > 4 else layout.rules(model)
    messages = np.array(unreadable(run, make_batch(model, layout.batch, 1)))
    path = f"{folder}/rank{flow.rank()}.npz"
    np.savez(path, losses=run.losses, messages=messages, **results)


if __name__ == "__main__":
    main()
