"""What the user says of layouts: annotations of values, rules over parameter names, pipeline stages."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from .decisions import Decisions
from .errors import ShardingError
from .location import user_location
from .mesh import Mesh
from .nn.parameter import Parameter
from .state import StateCell
from .tensor import Tensor
from .traced import TracedValue
from .tracing import current_trace

T = TypeVar("T", bound=Tensor)

Rules = Mapping[str, Mapping[str, str]]
# What `parallel=` of a step takes: "auto", rules, or decisions to follow (several: each plan takes its own).
Parallel = str | Rules | Decisions | Sequence[Decisions]

_SBP = re.compile(r"B|S\((\d+)\)|P(\((sum|max|min)\))?")


class S:
    """A split of a dim, `flow.S(0)`; `flow.B` and `flow.P` are the other two."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __str__(self) -> str:
        return f"S({self.dim})"

    __repr__ = __str__


B = "B"
P = "P"


def check(
    name: str,
    axes: Mapping[str, Any],
    shape: tuple[int, ...],
    mesh: Mesh | None,
    location: tuple[str, int, str] | None,
) -> dict[str, str]:
    """The annotation as text per axis; ShardingError where an axis is absent or a dim does not exist."""
    result = {}
    for axis, value in axes.items():
        text = str(value)
        match = _SBP.fullmatch(text)
        if match is None:
            raise ShardingError(
                f"{name}: {axis}={text!r} is no layout; use 'S(dim)', 'B' or 'P'", location
            )
        if match.group(1) is not None and int(match.group(1)) >= len(shape):
            raise ShardingError(
                f"{name}: {axis}={text!r} splits a dim that shape {tuple(shape)} lacks", location
            )
        if mesh is not None and axis not in mesh.shape:
            raise ShardingError(
                f"{name}: the mesh ({mesh}) has no axis {axis!r}; an axis of size 1 may be named, an absent one not",
                location,
            )
        if axis == "pp":
            raise ShardingError(
                f"{name}: stages are not layouts; use flow.stage(i) for pp", location
            )
        result[axis] = text
    return result


def shard(x: T, /, **axes: Any) -> T:
    """Asks for a layout: `flow.shard(x, tp="S(0)", dp="B")`; axes not named stay free, so does x's gradient.

    On a parameter it holds for every step; on a value inside a step for that value; elsewhere it does nothing.
    """
    trace = current_trace()
    location = user_location()
    mesh = trace.mesh if trace is not None else None
    annotation = check("flow.shard", axes, x.shape, mesh, location)
    if isinstance(x, Parameter):
        x.annotation.update(annotation)
        return x
    if trace is None:
        return x
    if isinstance(x._source, StateCell):
        raise ShardingError(
            "flow.shard of a state inside a step: annotate the parameter outside", location
        )
    if isinstance(x._source, TracedValue):
        trace.graph.annotate(trace.id_of(x), annotation)
    return x


class stage:  # noqa: N801
    """`with flow.stage(i):` ops inside belong to pipeline stage i; outside a step it does nothing."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._outer: int | None = None

    def __enter__(self) -> None:
        trace = current_trace()
        if trace is None:
            return
        stages = trace.mesh.shape.get("pp", 1)
        if self._index < 0 or (self._index >= stages and stages > 1):
            raise ShardingError(
                f"stage {self._index} does not exist: the mesh ({trace.mesh}) has pp={stages}",
                user_location(),
            )
        self._outer, trace.stage = trace.stage, min(self._index, stages - 1)

    def __exit__(self, *exc: object) -> None:
        trace = current_trace()
        if trace is not None:
            trace.stage = self._outer


def decisions_of(parallel: Parallel, location: tuple[str, int, str] | None) -> list[Decisions]:
    """The decisions among which each plan of a step finds its own; none for "auto" and rules."""
    if isinstance(parallel, (str, Mapping)):
        return []
    decisions = [parallel] if isinstance(parallel, Decisions) else list(parallel)
    if not decisions or not all(isinstance(one, Decisions) for one in decisions):
        raise ShardingError(
            f"parallel={parallel!r}: use 'auto', rules {{pattern: dict(axis=layout)}}, or "
            "flow.Decisions.load(path), one or a list",
            location,
        )
    return decisions


def collect_annotations(
    parallel: Parallel,
    parameters: Mapping[str, Parameter],
    mesh: Mesh,
    location: tuple[str, int, str] | None,
) -> dict[StateCell, dict[str, str]]:
    """What `parallel` and flow.shard ask of each parameter; the first rule that matches a name wins."""
    result: dict[StateCell, dict[str, str]] = {}
    for name, parameter in parameters.items():
        if parameter.annotation:
            result[parameter.cell] = check(
                name, parameter.annotation, parameter.shape, mesh, location
            )
    if isinstance(parallel, str):
        if parallel != "auto":
            raise ShardingError(
                f"parallel={parallel!r}: use 'auto', rules {{pattern: dict(axis=layout)}}, or "
                "flow.Decisions.load(path)",
                location,
            )
        return result
    if not isinstance(parallel, Mapping):
        decisions_of(parallel, location)
        return result
    matched: set[str] = set()
    for name, parameter in parameters.items():
        for pattern, axes in parallel.items():
            if fnmatch.fnmatchcase(name, pattern):
                if pattern not in matched:
                    matched.add(pattern)
                result[parameter.cell] = check(
                    f"rule {pattern!r} for {name}", axes, parameter.shape, mesh, location
                )
                break
    for pattern in parallel:
        if pattern not in matched:
            shadowed = [name for name in parameters if fnmatch.fnmatchcase(name, pattern)]
            why = "is never the first to match" if shadowed else "matches no parameter"
            raise ShardingError(
                f"the rule {pattern!r} {why}; the parameters are {', '.join(list(parameters)[:8])}"
                + (", ..." if len(parameters) > 8 else ""),
                location,
            )
    return result
