"""Runs one cell: a name in one form, judged by PyTorch.

PyTorch's own call gives dtype and shape of the results, and whether there are any; the same call on the same operands
in float64 gives the values, and for integers its own. Where PyTorch raises, ours raises a flow.Error.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import oneflow as flow
import torch

from tests.conformance.differences import LEFT_OUT, RAISING, WIDER
from tests.conformance.entry import DTYPES, FORMS, Call, D, Entry, Several, T
from tests.conformance.operands import (
    BROADCAST,
    ODD,
    SIZES,
    SPECIAL,
    array_of,
    dims_of,
    extents,
)
from tests.reference.compare import Yardstick

RAISED = (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError, AssertionError)
PAIRS = (
    ("float32", "int64"),
    ("int32", "float16"),
    ("float16", "bfloat16"),
    ("uint8", "int8"),
    ("bool", "int16"),
    ("int64", "int32"),
    ("float64", "float32"),
)
NUMBERS = (2, 2.5, True)
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


class Cell(NamedTuple):
    """What a cell is: "ok", "raises", "more", "n/a", or "wrong"; and why."""

    state: str
    why: str = ""


class Problem(Exception):
    """A difference from PyTorch."""


class Operand(NamedTuple):
    """An operand as exact numbers, with the dtype that it gets."""

    array: np.ndarray
    dtype: str
    is_free: bool
    is_strided: bool = False
    is_leaf: bool = True  # gradients are asked for


class Library(NamedTuple):
    """How operands become tensors of a library."""

    package: Any
    functional: Any
    make: Callable[[Operand], Any]


def _laid_out(array: np.ndarray, is_strided: bool) -> np.ndarray:
    """The same numbers, every second of a buffer, dims in the reversed order."""
    if not is_strided or array.ndim == 0:
        return array
    wide = np.zeros((*array.shape[::-1][:-1], 2 * array.shape[0]), array.dtype)
    view = wide[..., ::2].T
    view[...] = array
    return view


def _ours(operand: Operand) -> flow.Tensor:
    dtype = getattr(flow, operand.dtype)
    return flow.from_numpy(_laid_out(operand.array.astype(dtype.numpy), operand.is_strided))


def _theirs(operand: Operand) -> torch.Tensor:
    tensor = torch.tensor(operand.array).to(getattr(torch, operand.dtype))
    if not operand.is_strided or tensor.ndim == 0:
        return tensor
    view = torch.zeros((*tensor.shape[::-1][:-1], 2 * tensor.shape[0]), dtype=tensor.dtype)
    view = view[..., ::2].permute(*range(tensor.ndim - 1, -1, -1))
    return view.copy_(tensor)


def _exact(operand: Operand) -> torch.Tensor:
    """In float64 if it counts as a number of the form, rounded as its dtype rounds."""
    tensor = torch.tensor(operand.array).to(getattr(torch, operand.dtype))
    return tensor.double() if operand.is_free or tensor.dtype.is_floating_point else tensor


OURS = Library(flow, flow.nn.functional, _ours)
THEIRS = Library(torch, torch.nn.functional, _theirs)
EXACT = Library(torch, torch.nn.functional, _exact)


def first_rank(call: Call, form: str, sizes: dict[str, int]) -> int:
    for value in call.arguments.values():
        if isinstance(value, Several):
            value = value.items[0]
        if isinstance(value, T):
            rank = len(extents(value, sizes))
            return 0 if form == "0-d" else rank + (form == "deeper")
    return 0


def sizes_of(call: Call, form: str) -> dict[str, int]:
    sizes = dict(ODD if form == "odd" else SIZES)
    if form != "odd":
        sizes.update(call.extents)
    if form == "special":
        sizes = {letter: len(SPECIAL) for letter in sizes}
    if form == "one":
        sizes = dict.fromkeys(sizes, 1)
    if form == "empty":
        first = next(iter(call.arguments.values()))
        first = first.items[0] if isinstance(first, Several) else first
        letters = [part for part in first.shape.split() if part in sizes]
        if letters:
            sizes[letters[0]] = 0
    return sizes


def arguments_of(call: Call, form: str, dtypes: tuple[str, ...]) -> dict[str, Any]:
    """The call's arguments with operands in place of specifications; `dtypes` in turn of the free ones."""
    sizes = sizes_of(call, form)
    rank = first_rank(call, form, sizes)
    count = 0

    def operand(spec: T, key: str) -> Operand:
        nonlocal count
        shape = extents(spec, sizes)
        if form == "0-d":
            shape = ()
        elif form == "deeper":
            shape = (2, *shape)
        elif form == "broadcast":
            shape = (call.broadcast or BROADCAST)[count % len(call.broadcast or BROADCAST)]
        dtype = spec.dtype or dtypes[min(count, len(dtypes) - 1)]
        key = f"{key} {count}"
        count += 1
        array = array_of(spec, shape, dtype, sizes, key)
        if form == "special" and spec.is_free:
            at = np.arange(array.size).reshape(array.shape)
            numbers = np.array(SPECIAL)
            array = numbers[(at if count == 1 else at // len(SPECIAL)) % len(SPECIAL)]
        return Operand(array, dtype, spec.is_free, form == "strided", not spec.constant)

    def resolved(key: str, value: Any) -> Any:
        if isinstance(value, T):
            return operand(value, key)
        if isinstance(value, Several):
            return [operand(item, key) for item in value.items]
        if isinstance(value, D):
            return dims_of(value, form, rank)
        if isinstance(value, str) and value in sizes and len(value) == 1:
            return sizes[value]
        return value

    return {key: resolved(key, value) for key, value in call.arguments.items()}


def made(library: Library, value: Any) -> Any:
    if isinstance(value, Operand):
        return library.make(value)
    if isinstance(value, list) and value and isinstance(value[0], Operand):
        return [library.make(item) for item in value]
    if isinstance(value, str) and value.startswith("dtype."):
        return getattr(library.package, value.removeprefix("dtype."))
    return value


def function_of(library: Library, name: str) -> Callable[..., Any]:
    place, _, rest = name.partition(".")
    owner = {"flow": library.package, "F": library.functional, "nn": library.package.nn}.get(place)
    found: Any = library.package.Tensor if owner is None else owner
    for part in rest.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise Problem(f"{name} does not exist")
    return found


def is_dtype(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("dtype.")


@functools.cache
def parameters_of(name: str) -> list[str]:
    """PyTorch's parameters in order, where it tells them."""
    try:
        return list(inspect.signature(function_of(THEIRS, name)).parameters)
    except (ValueError, TypeError):
        return []


def after_a_gap(name: str, keys: list[str]) -> set[str]:
    """Arguments that cannot go by position, since one before them is left out."""
    parameters = parameters_of(name)
    if not name.startswith("F.") or not set(keys) <= set(parameters):
        return set()
    return {key for i, key in enumerate(keys) if parameters[i] != key}


def invoke(library: Library, name: str, call: Call, arguments: dict[str, Any], form: str) -> Any:
    """The call in the library's words: by position or by keyword as the form says."""
    values = {key: made(library, value) for key, value in arguments.items()}
    only = {key: made(library, value) for key, value in call.only.items()}
    positional: list[Any] = []
    by_keyword: dict[str, Any] = {}
    is_method = name.startswith("Tensor.")
    skipped = after_a_gap(name, list(values))
    for position, (key, value) in enumerate(values.items()):
        is_operand = isinstance(call.arguments[key], (T, Several))
        if is_method and position == 0:
            continue
        if form == "keyword" and call.named:
            by_keyword[key] = value
        elif key not in skipped and (
            form == "positional" or not call.named or (is_operand and not by_keyword)
        ):
            positional.append(value)
        else:
            by_keyword[key] = value
    if is_method:
        target = next(iter(values.values()))
        attribute = getattr(target, name.partition(".")[2])
        if not callable(attribute):
            return attribute
        return attribute(*positional, **by_keyword, **only)
    return function_of(library, name)(*positional, **by_keyword, **only)


def results_of(value: Any) -> list[Any]:
    """All results in order, tensors or plain values."""
    if isinstance(value, (flow.Tensor, torch.Tensor)):
        return [value]
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], int)):
        return [one for item in value for one in results_of(item)]
    if isinstance(value, torch.Size):
        return [tuple(value)]
    return [value]


def _array(tensor: Any) -> np.ndarray:
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach()
        tensor = tensor.double() if tensor.dtype.is_floating_point else tensor
        return tensor.numpy()
    array = tensor.numpy()
    return array.astype(np.float64) if tensor.dtype.is_floating_point else array


def _plain(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return getattr(value, "title", value)


def compare(ours: Any, theirs: Any, exact: Any, call: Call) -> None:
    """Raises Problem where results differ in number, shape, dtype or value."""
    mine, right = results_of(ours), results_of(theirs)
    exactly = results_of(exact)
    if len(mine) != len(right):
        raise Problem(f"{len(mine)} results, PyTorch has {len(right)}")
    for a, b, c in zip(mine, right, exactly, strict=True):
        if isinstance(b, torch.Tensor) != isinstance(a, flow.Tensor):
            raise Problem(f"a {type(a).__name__}, PyTorch has a {type(b).__name__}")
        if not isinstance(b, torch.Tensor):
            if _plain(a) != _plain(b):
                raise Problem(f"{a!r}, PyTorch has {b!r}")
            continue
        title = str(b.dtype).removeprefix("torch.")
        if a.shape != tuple(b.shape):
            raise Problem(f"shape {list(a.shape)}, PyTorch has {list(b.shape)}")
        if a.dtype.title != title:
            raise Problem(f"dtype {a.dtype.title}, PyTorch has {title}")
        if call.judged != "type":
            _compare_values(_array(a), _array(b), _array(c), title, call)


def _compare_values(a: Any, b: Any, c: Any, title: str, call: Call) -> None:
    if title not in EPS:
        if not np.array_equal(a, b):
            raise Problem(f"{a.tolist()}, PyTorch has {b.tolist()}")
        return
    c = np.asarray(c, dtype=np.float64)
    if call.judged == "torch":
        c = b
    # What overflows in the dtype, and where float64 itself has no number, is as PyTorch has it.
    odd = ~np.isfinite(b) | ~np.isfinite(c)
    if not np.array_equal(a[odd], b[odd], equal_nan=True):
        raise Problem(f"{a[odd][:6].tolist()}, PyTorch has {b[odd][:6].tolist()}")
    a, c = a[~odd], c[~odd]
    scale = np.abs(c).max(initial=call.least)
    allowed = call.factor * EPS[title] * scale
    if title == "float16":
        allowed += 2.0**-24  # the least step of a float16
    distance = np.abs(a - c)
    if not (distance <= allowed).all():
        at = int(np.nanargmax(distance)) if np.isfinite(distance).any() else 0
        raise Problem(f"{a[at]!r}, float64 has {c[at]!r}, allowed {allowed:.3g}")


def judge(name: str, call: Call, form: str, arguments: dict[str, Any]) -> str:
    """ "ok", "raises" or "more"; Problem where both give results that differ."""
    if name.startswith("nn."):
        from tests.conformance.modules import judge_module

        return judge_module(name, call, arguments)
    failure = theirs = None
    try:
        theirs = invoke(THEIRS, name, call, arguments, form)
    except RAISED as error:
        failure = error
    try:
        ours = invoke(OURS, name, call, arguments, form)
    except flow.Error as error:
        if not error.message:
            raise Problem("an error without a message") from None
        return "ok" if failure is not None else "raises"
    except Exception as error:
        raise Problem(f"{type(error).__name__}, no flow.Error: {error}") from error
    if failure is not None:
        return "more"
    compare(ours, theirs, _exactly(name, call, arguments, form, theirs), call)
    return "ok"


def _exactly(name: str, call: Call, arguments: dict[str, Any], form: str, theirs: Any) -> Any:
    """The call in float64, or PyTorch's own results where it has no such call or nothing in floating point."""
    tensors = [one for one in results_of(theirs) if isinstance(one, torch.Tensor)]
    if not any(one.dtype.is_floating_point for one in tensors):
        return theirs
    operands = [
        one
        for value in arguments.values()
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, Operand) and one.is_free
    ]
    # Integers wrap and have no float64; a dtype that is asked for decides where sums are made.
    if "dtype" in {*call.only, *call.arguments} or any(one.dtype not in EPS for one in operands):
        return theirs
    try:
        found = invoke(EXACT, name, call, arguments, form)
    except RAISED:
        return theirs
    shapes = [getattr(one, "shape", None) for one in results_of(found)]
    return (
        found if shapes == [getattr(one, "shape", None) for one in results_of(theirs)] else theirs
    )


class Inputs(flow.nn.Module):
    """Parameters with given values, so that a step has gradients for them."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        super().__init__()
        for i, array in enumerate(arrays):
            setattr(self, f"x{i}", flow.nn.Parameter(array))


def is_differentiated(operand: Any) -> bool:
    return isinstance(operand, Operand) and operand.is_free and operand.is_leaf


def weights_of(results: list[Any]) -> list[np.ndarray]:
    random = np.random.default_rng(8)
    return [
        random.standard_normal(tuple(one.shape))
        for one in results
        if isinstance(one, torch.Tensor) and one.requires_grad
    ]


def flat_operands(arguments: dict[str, Any]) -> list[Operand]:
    found = []
    for value in arguments.values():
        found += [
            v for v in (value if isinstance(value, list) else [value]) if is_differentiated(v)
        ]
    return found


def their_gradients(
    name: str, call: Call, arguments: dict[str, Any], dtype: torch.dtype
) -> tuple[dict[str, np.ndarray], list[int], list[np.ndarray]]:
    """Gradients by operand, which results have any, and the weights of their sum."""
    leaves: list[torch.Tensor] = []

    def make(operand: Operand) -> torch.Tensor:
        tensor = _theirs(operand)
        if not is_differentiated(operand):
            return tensor.to(dtype) if tensor.dtype.is_floating_point else tensor
        leaves.append(tensor.to(dtype).requires_grad_())
        return leaves[-1]

    library = Library(torch, torch.nn.functional, make)
    results = results_of(invoke(library, name, call, arguments, "gradient"))
    kept = [
        i for i, one in enumerate(results) if isinstance(one, torch.Tensor) and one.requires_grad
    ]
    weights = weights_of(results)
    if kept:
        total = sum(
            (results[i] * torch.tensor(w).to(dtype)).sum()
            for i, w in zip(kept, weights, strict=True)
        )
        total.backward()
    zero = {
        f"x{i}": (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).double().numpy()
        for i, leaf in enumerate(leaves)
    }
    return zero, kept, weights


def our_gradients(
    name: str, call: Call, arguments: dict[str, Any], kept: list[int], weights: list[np.ndarray]
) -> dict[str, np.ndarray]:
    operands = flat_operands(arguments)
    model = Inputs([operand.array.astype(np.float32) for operand in operands])

    def loss() -> flow.Tensor:
        at = iter(range(len(operands)))

        def make(operand: Operand) -> Any:
            return getattr(model, f"x{next(at)}") if is_differentiated(operand) else _ours(operand)

        library = Library(flow, flow.nn.functional, make)
        results = results_of(invoke(library, name, call, arguments, "gradient"))
        total = sum(
            (results[i] * flow.tensor(w.astype(np.float32))).sum()
            for i, w in zip(kept, weights, strict=True)
        )
        # A loss that no parameter reaches is an error; where PyTorch's gradient is 0, ours must be as well.
        return total + sum((x * 0.0).sum() for x in model.parameters())

    step = flow.value_and_grad(loss, model=model, mesh=flow.mesh("cpu", dp=1))
    return {key: value.numpy() for key, value in step.interpret()[1].items()}


def gradient(name: str, call: Call) -> str:
    if name.startswith("nn."):
        from tests.conformance.modules import module_gradient

        return module_gradient(name, call)
    arguments = arguments_of(call, "gradient", ("float32",))
    if not flat_operands(arguments) or call.judged == "type":
        return "n/a no operand in floating point, or a random result"
    try:
        exact, kept, weights = their_gradients(name, call, arguments, torch.float64)
    except RAISED:
        return "n/a PyTorch refuses operands in floating point"
    if not kept:
        return "n/a PyTorch's result has no gradient"
    single, _, _ = their_gradients(name, call, arguments, torch.float32)
    try:
        ours = our_gradients(name, call, arguments, kept, weights)
    except flow.Error as error:
        return "raises" if error.message else "an error without a message"
    except Exception as error:
        raise Problem(f"{type(error).__name__}, no flow.Error: {error}") from error
    problems = Yardstick.make(exact, single).violations(ours)
    if problems:
        raise Problem("; ".join(problems))
    return "ok"


def cases(name: str, call: Call, form: str) -> list[tuple[Any, ...]] | str:
    """The dtypes of free operands and the number in place of the second, by turns; or why there are none."""
    first = next(iter(call.arguments.values()), None)
    flat = [
        item
        for value in call.arguments.values()
        for item in (value.items if isinstance(value, Several) else (value,))
    ]
    free = [value for value in flat if isinstance(value, T) and value.is_free]
    dims = any(isinstance(value, D) for value in flat)
    if form in DTYPES:
        return [((DTYPES[form],), None)] if free else "no operand has a dtype that may vary"
    if form in ("negative", "beyond") and not dims:
        return "names no dim"
    if form in ("empty", "one", "0-d", "odd", "strided", "deeper") and not isinstance(
        first, (T, Several)
    ):
        return "takes no tensor"
    if form == "broadcast":
        plain = sum(isinstance(v, T) and v.shape == "n k" for v in flat) == sum(
            isinstance(v, T) for v in flat
        )
        if call.broadcast is None and (not plain or len(free) < 2):
            return "its operands do not broadcast" if len(free) > 1 else "has one operand"
    if form == "keyword" and not call.named:
        return "PyTorch takes its arguments by position"
    if form == "mixed" and name.startswith(("F.", "nn.")):
        return "layers and losses take operands of one dtype"
    if form == "mixed":
        return [(pair, None) for pair in PAIRS] if len(free) > 1 else "has one operand with a dtype"
    if form == "number":
        if not call.number:
            return "PyTorch takes no number there"
        return [((dtype,), number) for dtype in ("float32", "int64") for number in NUMBERS]
    if form == "special" and not call.special:
        return "no function of single elements in floating point"
    return [(("float32",), None)]


def run_call(name: str, call: Call, form: str) -> list[str]:
    """The state of each case of a call."""
    turns = cases(name, call, form)
    if isinstance(turns, str):
        return [f"n/a {turns}"]
    if name.startswith("Tensor.") and form == "keyword" and len(call.arguments) == 1:
        return ["n/a a method without arguments"]
    if form == "gradient":
        return [gradient(name, call)]
    found = []
    for dtypes, number in turns:
        arguments = arguments_of(call, form, dtypes)
        if number is not None:
            second = list(arguments)[1]
            arguments[second] = number
        try:
            found.append(judge(name, call, form, arguments))
        except Problem as problem:
            given = "" if number is None else f" and {number!r}"
            raise Problem(f"{'/'.join(dtypes)}{given}: {problem}") from problem
    return found


def has_in_torch(name: str) -> bool:
    """Whether the list names something that PyTorch has."""
    try:
        function_of(THEIRS, name)
    except Problem:
        return False
    return True


def run_cell(one: Entry, form: str) -> Cell:
    """What the form is for a name: the declared state where it holds, else "wrong"."""
    assert form in FORMS
    key = (one.name, form)
    if key in LEFT_OUT:
        return Cell("n/a", LEFT_OUT[key])
    states: list[str] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for number, call in enumerate(one.calls):
            try:
                states += run_call(one.name.partition(":")[0], call, form)
            except Problem as problem:
                return Cell("wrong", f"call {number}: {problem}")
    applied = [state for state in states if not state.startswith("n/a")]
    for state, declared in (("raises", RAISING), ("more", WIDER)):
        if (state in applied) != (key in declared):
            return Cell("wrong", f"declared: {declared.get(key)}, found {sorted(set(applied))}")
    if not applied:
        return Cell("n/a", states[0].removeprefix("n/a "))
    if "raises" in applied:
        return Cell("raises", RAISING[key])
    if "more" in applied:
        return Cell("more", WIDER[key])
    return Cell("ok")
