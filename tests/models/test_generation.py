"""generate(): the tokens of PyTorch and of a full forward pass, under every kind of layout, with two plans."""

from __future__ import annotations

import copy
import functools
import gc
import weakref
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import GPT2, CausalLanguageModel, GPT2Config, Llama, LlamaConfig
from oneflow.models.generation import Choice
from oneflow.steps.step import Step

from tests.models.judged import LAYOUTS, spread, torch_state

SIZES: dict[str, Any] = {
    "gpt2": GPT2Config(
        vocab_size=41,
        n_positions=48,
        n_embd=24,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    ),
    "llama": LlamaConfig(
        vocab_size=41,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=48,
        rope_theta=500.0,
    ),
}
PROMPTS = [[3, 1, 4], [1, 5, 9, 2, 6, 5, 3, 5, 8, 9], [7]]
NEW = 12


def make(kind: str) -> CausalLanguageModel:
    flow.manual_seed(2)
    network: CausalLanguageModel = {"gpt2": GPT2, "llama": Llama}[kind](SIZES[kind])
    spread(network, seed=1)
    return network


@functools.cache
def by_torch(kind: str) -> list[list[int]]:
    """Greedy, in float64, all positions anew for each token."""
    torch = pytest.importorskip("torch")
    from tests.models import torch_gpt2, torch_llama

    state = torch_state(make(kind))
    rows = [list(prompt) for prompt in PROMPTS]
    for row in rows:
        for _ in range(NEW):
            tokens = torch.tensor([row])
            with torch.no_grad():
                if kind == "gpt2":
                    scores = torch_gpt2.logits(state, tokens, 2, 4)
                else:
                    scores = torch_llama.logits(state, tokens, 2, 4, 2, 500.0)
            row.append(int(scores[0, -1].argmax()))
    return rows


def mesh(layout: str = "one") -> flow.Mesh:
    return flow.mesh("cpu", threads=1, **LAYOUTS[layout].axes)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions of which a plan was made."""
    names: list[str] = []
    compile_one = Step._compile

    def counted(self: Step, program: Any) -> None:
        names.append(self._fn.__name__)
        compile_one(self, program)

    monkeypatch.setattr(Step, "_compile", counted)
    return names


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", SIZES)
def test_greedy_tokens_are_pytorchs(kind: str, layout: str, compiled: list[str]) -> None:
    model = make(kind)
    assert model.generate(PROMPTS, NEW, mesh=mesh(layout)) == by_torch(kind)
    assert len(compiled) == 2  # the prompts, and any further token
    assert len({tuple(row[-NEW:]) for row in by_torch(kind)}) == 3  # they depend on the prompts


@pytest.mark.parametrize("kind", SIZES)
def test_drawn_tokens_are_those_of_full_passes(kind: str) -> None:
    model = make(kind)
    options: dict[str, Any] = {"temperature": 1.5, "top_k": 9, "seed": 4, "mesh": mesh()}
    drawn = model.generate(PROMPTS, NEW, **options)
    assert drawn == model.generate(PROMPTS, NEW, use_cache=False, **options)
    assert drawn != by_torch(kind)
    assert drawn != model.generate(PROMPTS, NEW, **{**options, "seed": 5})
    assert drawn[:1] == model.generate(PROMPTS[:1], NEW, **options)  # whatever the other rows


def test_positions_make_no_plans(compiled: list[str]) -> None:
    model = make("llama")
    long = model.generate(PROMPTS, 30, mesh=mesh())
    assert compiled == ["next_token"] * 2
    assert [row[: len(row) - 18] for row in long] == model.generate(PROMPTS, NEW, mesh=mesh())
    model.generate([[1] * 16, [2], [3] * 4], 16, mesh=mesh())
    assert len(compiled) == 2
    model.generate([[1] * 17, [2], [3] * 4], 16, mesh=mesh())  # a prompt beyond the width
    assert len(compiled) == 3


def test_it_writes_with_what_a_step_has_trained(compiled: list[str]) -> None:
    model = make("gpt2")
    tokens = (np.arange(24) + np.arange(8)[:, None]) % 8

    @flow.train_step(
        model=model, optimizer=flow.optim.AdamW(model.parameters(), lr=0.02), mesh=mesh("dp2")
    )
    def step(batch: Any) -> Any:
        return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    for _ in range(60):
        metrics = step(tokens)
    assert float(metrics["loss"]) < 0.2
    options: dict[str, Any] = {"mesh": mesh("dp2")}
    assert model.generate([[2, 3, 4]], 6, **options) == [[2, 3, 4, 5, 6, 7, 0, 1, 2]]
    before = len(compiled)
    step(tokens)
    assert len(compiled) == before  # room for keys changes no other plan
    found = model.generate(np.array([[5, 6], [0, 1]]), 3, eos_token_id=7, **options)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[5, 6, 7, 7, 7], [0, 1, 2, 3, 4]]
    assert model.generate([[5, 6], [4, 5]], 9, eos_token_id=7, **options) == [
        [5, 6, 7],
        [4, 5, 6, 7],
    ]
    tensor = model.generate(flow.Tensor(np.array([[5, 6]])), 2, **options)
    assert isinstance(tensor, flow.Tensor) and tensor.tolist() == [[5, 6, 7, 0]]
    assert not any("cache" in name for name in model.state_dict())


def test_what_takes_the_place_of_a_weight_is_used() -> None:
    model = make("llama")
    assert set(model.generate([[1]], 5, mesh=mesh())[0][1:]) != {7}
    model.lm_head = flow.nn.Linear(24, 41)
    model.lm_head.weight.zero_()
    model.lm_head.bias.copy_(np.eye(41, dtype=np.float32)[7])
    assert model.generate([[1]], 5, mesh=mesh()) == [[1, 7, 7, 7, 7, 7]]


def test_bf16() -> None:
    model = make("llama")
    found = model.generate(PROMPTS, 4, mesh=mesh(), precision="bf16")
    assert [len(row) for row in found] == [len(prompt) + 4 for prompt in PROMPTS]
    assert found == model.generate(PROMPTS, 4, mesh=mesh(), precision="bf16", use_cache=False)


def test_room_and_plans_go_with_the_model() -> None:
    model = make("gpt2")
    model.generate(PROMPTS, 2, mesh=mesh())
    assert model.transformer.h[0].attn.cache.key.shape == (3, 4, 16, 6)
    twin = copy.deepcopy(model)
    assert twin.generate(PROMPTS, 2, mesh=mesh()) == model.generate(PROMPTS, 2, mesh=mesh())
    model.free_cache()
    assert not list(model.buffers())
    model.generate(PROMPTS, 2, mesh=mesh())
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None  # at once, not by the collector
    finally:
        gc.enable()


def test_choices() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))

    def shares(**options: Any) -> np.ndarray:
        choose = Choice(1, **{"temperature": 1.0, "top_k": None, "seed": 0, **options})
        drawn = [choose(logits)[0] for _ in range(4000)]
        return np.bincount(drawn, minlength=4) / 4000

    np.testing.assert_allclose(shares(), [0.1, 0.2, 0.3, 0.4], atol=0.03)
    np.testing.assert_allclose(shares(top_k=2), [0, 0, 3 / 7, 4 / 7], atol=0.03)
    squared = np.array([1, 4, 9, 16]) / 30
    np.testing.assert_allclose(shares(temperature=0.5), squared, atol=0.03)
    assert shares(top_k=1).tolist() == shares(temperature=0.0).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("prompts", "options", "kind", "message"),
    [
        ([[1], []], {}, flow.DataError, "an empty one"),
        ([], {}, flow.DataError, "no prompts"),
        (np.ones((1, 2)), {}, flow.DataError, "integers"),
        ([1, 2], {}, flow.DataError, "list of lists"),
        ([[41]], {}, flow.DataError, "41"),
        ([[1] * 40], {"max_new_tokens": 9}, flow.ShapeError, "48 positions"),
        ([[1]], {"max_new_tokens": -1}, flow.Error, "max_new_tokens"),
        ([[1]], {"temperature": -1.0}, flow.Error, "temperature"),
        ([[1]], {"temperature": float("nan")}, flow.Error, "temperature"),
        ([[1]], {"top_k": 0}, flow.Error, "top_k"),
    ],
)
def test_mistakes(prompts: Any, options: dict[str, Any], kind: Any, message: str) -> None:
    model = make("gpt2")
    with pytest.raises(kind, match=message) as caught:
        model.generate(prompts, **{"max_new_tokens": 4, "mesh": mesh(), **options})
    assert caught.value.location.file == __file__


def test_weights_that_are_not_finite_are_told() -> None:
    model = make("gpt2")
    model.transformer.ln_f.weight.fill_(float("nan"))
    with pytest.raises(flow.DataError, match="not finite"):
        model.generate([[1]], 2, mesh=mesh())


def test_positions_without_a_cache_are_refused() -> None:
    model = make("gpt2")
    step = flow.eval_step(
        lambda tokens: model.features(tokens, tokens), model=model, mesh=mesh(), mutable="*.cache.*"
    )
    with pytest.raises(flow.Error, match="has no cache"):
        step(np.array([[1, 2]]))
