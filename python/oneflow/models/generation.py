"""CausalLanguageModel: what decoders share, and generate(), which continues prompts with a key-value cache.

One eval step serves all positions: positions are inputs, so a prompt of any length in a range of widths and every
token behind it run two plans, one for the prompt and one for a single token.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..errors import DataError, Error, ShapeError
from ..functions import expand, unsqueeze
from ..location import user_location
from ..mesh import Mesh
from ..mesh import mesh as default_mesh
from ..nn.module import Module
from ..sharding import Parallel
from ..steps.evaluate import EvalStep
from ..tensor import Tensor
from .cache import KeyValueCache, positions_from

# The narrowest plan for prompts; wider ones are powers of two.
_LEAST_WIDTH = 8


class CausalLanguageModel(nn.Module):
    """A decoder with an `lm_head`; subclasses say what comes before it and where their caches are."""

    lm_head: nn.Linear

    def features(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """What lm_head takes, [n, l, width], of tokens [n, l]; with `positions` [n, l] they stand there and attend
        to what the caches hold."""
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.features(tokens))

    @property
    def max_positions(self) -> int:
        """How many tokens a row may have."""
        raise NotImplementedError

    def allocate_cache(self, n: int, length: int) -> None:
        """Room for `length` positions of n rows in every attention."""
        raise NotImplementedError

    def free_cache(self) -> None:
        """Gives the room and the plans of generate() back."""
        self.__dict__.pop("_decoding", None)
        for module in self.modules():
            if isinstance(module, KeyValueCache):
                module.free()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the plans of generate() behind."""
        return {name: v for name, v in super().__getstate__().items() if name != "_decoding"}

    def generate(
        self,
        prompts: Any,
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
        eos_token_id: int | None = None,
        use_cache: bool = True,
        mesh: Mesh | None = None,
        parallel: Parallel = "auto",
        precision: str = "fp32",
    ) -> Any:
        """Continues each prompt by max_new_tokens tokens.

        Args:
            prompts: int [n, l], or n lists of token numbers of any lengths from 1; the result has the same form,
                prompts included.
            temperature: 0 takes the likeliest token; else tokens are drawn from softmax(logits / temperature).
            top_k: draws from the k likeliest alone.
            seed: row i draws from a generator seeded by (seed, i), so its text does not depend on the other rows.
            eos_token_id: a row that has made this token makes nothing else from there on.
            use_cache: False computes all positions anew for every token, for comparison.
            mesh, parallel, precision: as for flow.eval_step; the states of steps on the same mesh are shared.

        Room and plans stay for the next call with as many rows; free_cache() gives them back.
        """
        rows = _rows_of(prompts)
        choose = Choice(len(rows), temperature, top_k, seed)
        longest = max(map(len, rows))
        if (
            isinstance(max_new_tokens, bool)
            or not isinstance(max_new_tokens, int)
            or max_new_tokens < 0
        ):
            raise Error(f"max_new_tokens={max_new_tokens!r}: an integer from 0", user_location())
        if longest + max_new_tokens > self.max_positions:
            raise ShapeError(
                f"a prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's "
                f"{self.max_positions} positions",
                user_location(),
            )
        decoding = self._decoding_for(
            len(rows),
            min(self.max_positions, _width(longest + max_new_tokens)),
            default_mesh() if mesh is None else mesh,
            parallel,
            precision,
            use_cache,
        )
        done = [False] * len(rows)
        for count in range(max_new_tokens):
            logits = decoding.prompt(rows) if count == 0 or not use_cache else decoding.next(rows)
            for i, token in enumerate(choose(logits)):
                rows[i].append(eos_token_id if done[i] and eos_token_id is not None else token)
                done[i] = done[i] or token == eos_token_id
            if all(done):
                break
        if isinstance(prompts, Tensor):
            return Tensor(np.array(rows, np.int64))
        if isinstance(prompts, np.ndarray):
            return np.array(rows, np.int64)
        for i, row in enumerate(rows):
            if done[i] and eos_token_id is not None:  # what was appended to keep rows alike
                del row[row.index(eos_token_id, len(prompts[i])) + 1 :]
        return rows

    def _decoding_for(
        self,
        n: int,
        length: int,
        mesh: Mesh,
        parallel: Parallel,
        precision: str,
        use_cache: bool,
    ) -> Decoding:
        """The decoding of the last call if it serves this one, else a new one in its place."""
        kept = self.__dict__.get("_decoding")
        states = tuple(id(parameter.cell) for parameter in self.parameters())
        form = (n, mesh, repr(parallel), precision, use_cache, states)
        if kept is None or kept.form != form or kept.length < length:
            self.free_cache()
            if use_cache:
                self.allocate_cache(n, length)
            kept = Decoding(self, form, length, mesh, parallel, precision, use_cache)
            object.__setattr__(self, "_decoding", kept)
        return kept


class Decoding:
    """The step of a model's generate(), and the room that it writes.

    The model keeps it, so it holds the model weakly: a session goes with its model, not with the collector.
    """

    def __init__(
        self,
        model: CausalLanguageModel,
        form: Any,
        length: int,
        mesh: Mesh,
        parallel: Parallel,
        precision: str,
        use_cache: bool,
    ) -> None:
        self.form, self.length = form, length
        of_model = weakref.ref(model)

        def next_token(tokens: Tensor, first: Tensor, last: Tensor) -> Tensor:
            network = of_model()
            assert network is not None, "the model calls it"
            positions = positions_from(first, tokens.shape[1]) if use_cache else None
            x = network.features(tokens, positions)
            if tokens.shape[1] > 1:
                index = unsqueeze(unsqueeze(last, 1), 2)
                x = x.gather(1, expand(index, x.shape[0], 1, x.shape[2]))
            return network.lm_head(x).float()[:, 0]

        self.step = _StepOfItsModel(
            next_token,
            model=model,
            mesh=mesh,
            parallel=parallel,
            accumulate=1,
            seed=0,
            mutable=("*.cache.key", "*.cache.value"),
            precision=precision,
            max_plans=32,  # widths are powers of two
        )

    def prompt(self, rows: list[list[int]]) -> np.ndarray:
        """Logits [n, vocab] behind whole rows, which the cache holds from now on."""
        lengths = np.array([len(row) for row in rows], np.int64)
        tokens = np.zeros((len(rows), min(self.length, _width(int(lengths.max())))), np.int64)
        for row, written in zip(tokens, rows, strict=True):
            row[: len(written)] = written
        return self.step(tokens, np.zeros_like(lengths), lengths - 1).numpy()

    def next(self, rows: list[list[int]]) -> np.ndarray:
        """Logits [n, vocab] behind rows of which the cache holds all but the last token."""
        tokens = np.array([row[-1:] for row in rows], np.int64)
        first = np.array([len(row) - 1 for row in rows], np.int64)
        return self.step(tokens, first, np.zeros_like(first)).numpy()


class _StepOfItsModel(EvalStep):
    """An eval step that does not keep its model alive."""

    @property
    def _models(self) -> dict[str, Module]:
        model = self._model()
        assert model is not None, "the model keeps the step"
        return {"": model}

    @_models.setter
    def _models(self, models: Mapping[str, Module]) -> None:
        (model,) = models.values()
        self._model = weakref.ref(model)


class Choice:
    """Chooses the next token of each row from logits, on the host, in float64."""

    def __init__(self, n: int, temperature: float, top_k: int | None, seed: int) -> None:
        location = user_location()
        if not 0 <= temperature < float("inf"):
            raise Error(f"temperature={temperature!r}: a number from 0", location)
        if top_k is not None and (
            isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1
        ):
            raise Error(f"top_k={top_k!r}: an integer from 1, or None", location)
        self.temperature, self.top_k = temperature, top_k
        self.random = [np.random.default_rng((seed, i)) for i in range(n)]

    def __call__(self, logits: np.ndarray) -> list[int]:
        if not np.isfinite(logits).all():
            raise DataError(
                "the model's logits are not finite: nothing can be chosen from them; look at its weights with "
                "np.isfinite",
                user_location(),
            )
        if self.temperature == 0:
            return [int(token) for token in logits.argmax(1)]
        return [self._draw(row, random) for row, random in zip(logits, self.random, strict=True)]

    def _draw(self, logits: np.ndarray, random: np.random.Generator) -> int:
        order = np.argsort(-logits, kind="stable")[: self.top_k]
        scaled = logits[order].astype(np.float64) / self.temperature
        chances = np.exp(scaled - scaled[0])
        reached = np.cumsum(chances)
        return int(order[np.searchsorted(reached, random.random() * reached[-1], side="right")])


def _rows_of(prompts: Any) -> list[list[int]]:
    """Prompts as lists; an error if there is no token to go on from."""
    location = user_location()
    if isinstance(prompts, (np.ndarray, Tensor)):
        array = np.asarray(prompts)
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise DataError(
                f"prompts are integers [n, length], not {array.dtype} {list(array.shape)}", location
            )
        rows = array.tolist()
    else:
        try:
            rows = [[int(token) for token in row] for row in prompts]
        except TypeError:
            raise DataError(
                "prompts are an array [n, length] or a list of lists of token numbers", location
            ) from None
    if not rows or not all(rows):
        raise DataError(
            "there are no prompts, or an empty one: give each at least a token", location
        )
    return rows


def _width(length: int) -> int:
    """The power of two from which `length` fits."""
    width = _LEAST_WIDTH
    while width < length:
        width *= 2
    return width
