"""What PyTorch computes for the models of bar 2: gradients of step 1 and parameters after 5 SGD steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.models import build, grouped_batch_norm


def _model(torch: Any, name: str, weights: dict[str, np.ndarray], groups: int, dtype: Any) -> Any:
    norm = grouped_batch_norm(torch, groups)
    model = build(name, torch.nn, norm=norm).to(dtype)
    state = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
    model.load_state_dict(state)
    return model


def gradients(
    torch: Any,
    name: str,
    weights: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    *,
    groups: int,
    training: bool,
    double: bool,
) -> dict[str, np.ndarray]:
    """Gradients of the mean cross entropy, and the loss under "loss"."""
    dtype = torch.float64 if double else torch.float32
    model = _model(torch, name, weights, groups, dtype).train(training)
    loss = torch.nn.functional.cross_entropy(
        model(torch.from_numpy(batch["x"]).to(dtype)), torch.from_numpy(batch["y"])
    )
    loss.backward()
    result = {key: p.grad.numpy().copy() for key, p in model.named_parameters()}
    return {**result, "loss": loss.detach().numpy()}


def train(
    torch: Any,
    name: str,
    weights: dict[str, np.ndarray],
    batches: list[dict[str, np.ndarray]],
    *,
    groups: int,
    double: bool,
    sgd: dict[str, float],
) -> dict[str, np.ndarray]:
    """How far each state has moved after one SGD step per batch."""
    dtype = torch.float64 if double else torch.float32
    model = _model(torch, name, weights, groups, dtype).train()
    optimizer = torch.optim.SGD(model.parameters(), **sgd)
    for batch in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(batch["x"]).to(dtype)), torch.from_numpy(batch["y"])
        )
        loss.backward()
        optimizer.step()
    return moved({key: value.numpy() for key, value in model.state_dict().items()}, weights)


def moved(after: dict[str, Any], before: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """after - before in float64, counters left out."""
    return {
        key: np.asarray(value, dtype=np.float64) - np.asarray(before[key], dtype=np.float64)
        for key, value in after.items()
        if not key.endswith("num_batches_tracked")
    }
