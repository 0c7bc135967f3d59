"""Modules: made alike in both libraries, PyTorch's weights loaded into ours, results and all gradients compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import torch

from tests.conformance.entry import Call
from tests.conformance.runner import (
    EPS,
    RAISED,
    Operand,
    Problem,
    _exact,
    _ours,
    _theirs,
    arguments_of,
    compare,
    is_differentiated,
    results_of,
    weights_of,
)
from tests.reference.compare import Yardstick


def _pair(name: str, call: Call, is_training: bool) -> tuple[Any, Any]:
    kind = name.removeprefix("nn.")
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(*call.init, **call.options)
    with torch.no_grad():  # no parameter at a first value that hides it
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = getattr(flow.nn, kind)(*call.init, **call.options)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    found = ours.load_state_dict(state)
    if tuple(found) != ([], []):
        raise Problem(f"state_dict: {found}")
    return ours.train(is_training), theirs.train(is_training)


def _operands(call: Call, form: str, dtype: str) -> list[Any]:
    return list(arguments_of(call, form, (dtype,)).values())


def _called(module: Any, make: Any, operands: list[Any]) -> Any:
    return module(*(make(one) if isinstance(one, Operand) else one for one in operands))


def judge_module(name: str, call: Call, arguments: dict[str, Any]) -> str:
    operands = list(arguments.values())
    ours, theirs = _pair(name, call, is_training=False)
    free = {one.dtype for one in operands if isinstance(one, Operand) and one.is_free}
    for dtype in free & {"float64", "bfloat16", "float16"}:  # the module's states as well
        ours, theirs = ours.to(getattr(flow, dtype)), theirs.to(getattr(torch, dtype))
    failure = right = None
    try:
        right = _called(theirs, _theirs, operands)
    except RAISED as error:
        failure = error
    try:
        mine = _called(ours, _ours, operands)
    except flow.Error as error:
        if not error.message:
            raise Problem("an error without a message") from None
        return "ok" if failure is not None else "raises"
    except Exception as error:
        raise Problem(f"{type(error).__name__}, no flow.Error: {error}") from error
    if failure is not None:
        return "more"
    if free <= set(EPS):  # integers wrap and have no float64
        exact = _called(theirs.double(), _exact, operands)
    else:
        exact = right
    compare(mine, right, exact, call)
    return "ok"


def _their_gradients(
    theirs: Any, operands: list[Any], dtype: torch.dtype
) -> tuple[dict[str, np.ndarray], list[int], list[np.ndarray]]:
    theirs = theirs.to(dtype)
    theirs.zero_grad()
    leaves = []

    def make(operand: Operand) -> torch.Tensor:
        tensor = _theirs(operand)
        if not is_differentiated(operand):
            return tensor.to(dtype) if tensor.dtype.is_floating_point else tensor
        leaves.append(tensor.to(dtype).requires_grad_())
        return leaves[-1]

    results = results_of(_called(theirs, make, operands))
    kept = [
        i for i, one in enumerate(results) if isinstance(one, torch.Tensor) and one.requires_grad
    ]
    weights = weights_of(results)
    if kept:
        sum(
            (results[i] * torch.tensor(w).to(dtype)).sum()
            for i, w in zip(kept, weights, strict=True)
        ).backward()
    named = {f"x{i}": leaf for i, leaf in enumerate(leaves)}
    named |= {f"module.{key}": value for key, value in theirs.named_parameters()}
    gradients = {
        key: (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).double().numpy().copy()
        for key, leaf in named.items()
    }
    return gradients, kept, weights


def module_gradient(name: str, call: Call) -> str:
    if call.judged == "type":
        return "n/a a random result"
    operands = _operands(call, "gradient", "float32")
    # Statistics of the batch have gradients of their own; dropout, which is random, is judged in evaluation.
    ours, theirs = _pair(name, call, is_training="Dropout" not in name)
    exact, kept, weights = _their_gradients(theirs, operands, torch.float64)
    if not kept:
        return "n/a PyTorch's result has no gradient"
    single, _, _ = _their_gradients(theirs, operands, torch.float32)
    model = flow.nn.Module()
    model.module = ours
    free = [one for one in operands if is_differentiated(one)]
    for i, one in enumerate(free):
        setattr(model, f"x{i}", flow.nn.Parameter(one.array.astype(np.float32)))

    def loss() -> flow.Tensor:
        at = iter(range(len(free)))

        def make(operand: Operand) -> Any:
            return getattr(model, f"x{next(at)}") if is_differentiated(operand) else _ours(operand)

        results = results_of(_called(ours, make, operands))
        return sum(
            (results[i] * flow.tensor(w.astype(np.float32))).sum()
            for i, w in zip(kept, weights, strict=True)
        )

    step = flow.value_and_grad(loss, model=model, mesh=flow.mesh("cpu", dp=1))
    found = {key: value.numpy() for key, value in step.interpret()[1].items()}
    missing = {key: np.zeros_like(value) for key, value in exact.items() if key not in found}
    problems = Yardstick.make(exact, single).violations({**found, **missing})
    if problems:
        raise Problem("; ".join(problems))
    return "ok"
