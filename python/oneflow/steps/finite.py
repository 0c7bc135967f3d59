"""check="all": which op made the first value that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import NumericsError
from ..location import user_location
from ..tracing import Trace

# Names of outputs that are no results begin so.
HIDDEN = "hidden."
_NAN, _INFINITE = f"{HIDDEN}nan", f"{HIDDEN}infinite"

Place = tuple[str, bool, tuple[str, int, str] | None]  # op, whether of a gradient, line


@dataclass(frozen=True)
class Watched:
    """The values whose counts of nan, and of nan and inf, a step returns, in the order in which they are made."""

    places: list[Place]
    may_skip: bool = False  # the step has an output "skipped": what it dropped is no error

    def error(self, outputs: Mapping[str, Any], what: str, loss: float) -> NumericsError | None:
        """What is wrong. An inf alone is not, unless the loss is one: masks have them."""
        if self.may_skip and np.asarray(outputs["skipped"]) and np.isfinite(loss):
            return None
        nan, infinite = (np.asarray(outputs[name]) for name in (_NAN, _INFINITE))
        first_nan, first_infinite = (
            int(np.argmax(counts > 0)) if (counts > 0).any() else None for counts in (nan, infinite)
        )
        first = (
            first_nan if first_nan is not None else None if np.isfinite(loss) else first_infinite
        )
        if first is None:
            return None
        op, in_gradient, place = self.places[first]
        kind = "nan" if first_nan is not None else "inf"
        text = f"{what}: the first {kind} was made by {op}{_in_gradient(in_gradient)}"
        if first_infinite is not None and first_infinite < first:
            op, in_gradient, earlier = self.places[first_infinite]
            at = f" at {earlier[0]}:{earlier[1]}" if earlier is not None else ""
            text += f"; {op}{_in_gradient(in_gradient)} made inf before{at}"
        return NumericsError(text, place)


def _in_gradient(is_so: bool) -> str:
    return " in the gradient of this line" if is_so else ""


def watch(trace: Trace, may_skip: bool = False) -> Watched:
    """Adds the counts to the graph, for every floating value that it has so far."""
    graph, location = trace.graph, user_location()
    places: list[Place] = []
    counts: dict[str, list[int]] = {_NAN: [], _INFINITE: []}

    def add(op: str, inputs: list[int], **attrs: Any) -> int:
        return graph.add_node(op, inputs, attrs, location, "", None)[0]

    for id in range(graph.num_values()):
        name, shape = graph.type_of(id)
        op, in_gradient, place = graph.describe(id)
        if not dtypes.by_name(name).is_floating_point or op == "constant":
            continue
        places.append((op, in_gradient, place))
        nothing = add("mul_scalar", [id], value=0.0)  # nan where the value is not finite
        for output, value in ((_NAN, id), (_INFINITE, nothing)):
            count = add("cast", [add("ne", [value, value])], dtype="f32")
            if shape:
                count = add("sum", [count], dims=list(range(len(shape))), keepdim=False)
            counts[output].append(add("reshape", [count], shape=[1]))
    for output, values in counts.items():
        graph.add_node("output", [add("cat", values, dim=0)], {"name": output}, location, "", None)
    return Watched(places, may_skip)
