"""One rank of a job: trains a model under a layout and writes what it got. Started by test_processes.py."""

from __future__ import annotations

import sys

import numpy as np
import oneflow as flow

from tests.e2e.layouts import BY_NAME, Run, make_batch


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


def main() -> None:
    model, name, folder = sys.argv[1:]
    layout = BY_NAME[name]
    run = Run(model, layout, dropout=0.4)
    states = run.train([make_batch(model, layout.batch, i) for i in range(5)])
    gradients = Run(model, layout, dropout=0.4).gradients(make_batch(model, layout.batch, 1))
    results = {f"state {key}": value for key, value in states.items()}
    results |= {f"gradient {key}": value for key, value in gradients.items()}
    messages = np.array(unreadable(run, make_batch(model, layout.batch, 1)))
    path = f"{folder}/rank{flow.rank()}.npz"
    np.savez(path, losses=run.losses, messages=messages, **results)


if __name__ == "__main__":
    main()
