"""What a step offers beside training: metrics, taps, prints, debugging, evaluation, modules in several steps."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 8).astype(np.int64)
LAYOUTS = [({"dp": 1}, 1), ({"dp": 2}, 1), ({"tp": 2}, 1), ({"dp": 2}, 2), ({"pp": 2}, 4)]


def make_model(seed: int = 0) -> nn.Module:
    flow.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def train(model: nn.Module, fn: Any = None, **options: Any) -> flow.steps.TrainStep:
    options.setdefault("mesh", flow.mesh("cpu", dp=2))
    options.setdefault("optimizer", flow.optim.SGD(model.parameters(), lr=0.1))
    loss = fn or (lambda x, y: F.cross_entropy(model(x), y))
    return flow.train_step(loss, model=model, **options)


def state(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def assert_same_state(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    for name, value in state(a).items():
        np.testing.assert_allclose(value, state(b)[name], err_msg=name, **tolerance)


# Clipping.


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
@pytest.mark.parametrize("clip_norm", [0.05, 100.0])
def test_clip_norm_is_torchs(axes: dict[str, int], accumulate: int, clip_norm: float) -> None:
    torch = pytest.importorskip("torch")
    model = make_model()
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    theirs.load_state_dict({name: torch.tensor(value) for name, value in state(model).items()})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    step = train(model, mesh=flow.mesh("cpu", **axes), accumulate=accumulate, clip_norm=clip_norm)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(Y))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
        optimizer.step()
        metrics = step(X, Y)
        assert float(metrics["grad_norm"]) == pytest.approx(float(norm), rel=1e-5)
        assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-5)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(state(model)[name], value.numpy(), rtol=1e-4, atol=1e-6)


def test_metrics_name_the_norm_only_when_it_is_clipped() -> None:
    assert "grad_norm" not in train(make_model())(X, Y)
    assert sorted(train(make_model(), clip_norm=1.0)(X, Y)) == ["grad_norm", "loss", "lr", "step"]
    for wrong in (0, -1.0, float("nan"), "1"):
        with pytest.raises(flow.Error, match="clip_norm="):
            train(make_model(), clip_norm=wrong)


# Looking inside.


class Tapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()

    def forward(self, x: Any) -> Any:
        hidden = flow.tap("hidden", self.inner[1](self.inner[0](x)))
        flow.tap("spread", hidden.square().mean())
        return self.inner[2](hidden)


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
def test_tap_returns_values_from_inside_as_metrics(axes: dict[str, int], accumulate: int) -> None:
    model = Tapped()
    expected = model.inner[1](model.inner[0](flow.tensor(X))).numpy()
    step = train(model, mesh=flow.mesh("cpu", **axes), accumulate=accumulate)
    metrics = step(X, Y)
    np.testing.assert_allclose(metrics["hidden"].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert float(metrics["spread"]) == pytest.approx(float((expected**2).mean()), rel=1e-5)
    assert flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cpu"))(X).shape == (8, 3)


def test_a_name_is_tapped_once() -> None:
    model = make_model()

    def twice(x: Any, y: Any) -> Any:
        return F.cross_entropy(flow.tap("a", flow.tap("a", model(x))), y)

    with pytest.raises(flow.Error, match="'a' is tapped twice"):
        train(model, twice)(X, Y)
    with pytest.raises(flow.Error, match="metric 'loss' already"):
        train(model, lambda x, y: flow.tap("loss", F.cross_entropy(model(x), y)))(X, Y)


def test_debug_print_prints_while_steps_run(capfd: pytest.CaptureFixture[str]) -> None:
    model = make_model()

    def loss(x: Any, y: Any) -> Any:
        logits = model(x)
        flow.debug.print("rows {} sum {:.3f}", x.shape[0], x.sum(), every=2)
        flow.debug.print("always {x}".replace("{x}", "{}"), y.sum())
        return F.cross_entropy(logits, y)

    plain = train(make_model())
    step = train(model, loss)
    losses = [float(step(X, Y)["loss"]) for _ in range(3)]
    lines = capfd.readouterr().out.splitlines()
    rows, always = f"rows 8 sum {X.sum():.3f}", f"always {Y.sum()}"
    assert lines == [rows, always, always, rows, always]
    assert losses == [float(plain(X, Y)["loss"]) for _ in range(3)]
    assert sorted(step(X, Y)) == ["loss", "lr", "step"]
    capfd.readouterr()
    step.debug(X, Y)
    assert capfd.readouterr().out.splitlines()[-2:] == [rows, always]
    flow.debug.print("outside {}", 3)
    assert capfd.readouterr().out == "outside 3\n"
    predict = flow.eval_step(loss, model=model, mesh=flow.mesh("cpu"))
    predict(X, Y)
    assert capfd.readouterr().out.splitlines() == [rows, always]
    with pytest.raises(flow.Error, match="1 fields for 0 values"):
        flow.debug.print("{}")
    with pytest.raises(flow.Error, match="every=0"):
        flow.debug.print("", every=0)


def test_print_of_a_traced_value_shows_its_type_and_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fn(x: Any) -> Any:
        y = x * 2
        print(y)
        return y

    flow.eval_step(fn, model=make_model(), mesh=flow.mesh("cpu")).graph(X)
    assert "Tensor(f32[8,4], traced, at " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["train", "eval", "grad"])
def test_debug_runs_the_python_with_numbers(kind: str) -> None:
    model = make_model()
    seen: dict[str, Any] = {}

    def fn(x: Any, y: Any) -> Any:
        logits = model(x)
        seen["logits"] = np.asarray(logits)
        seen["text"] = repr(logits)
        seen["weight"] = model[0].weight.tolist()
        if logits.mean() > 1e9:  # a branch on a value
            raise AssertionError
        loss = F.cross_entropy(logits, y)
        seen["loss"] = loss.item()
        return loss

    before = state(model)
    expected = model(flow.tensor(X)).numpy()
    if kind == "train":
        metrics = train(model, fn).debug(X, Y)
        assert float(metrics["loss"]) == seen["loss"] and metrics["step"] == 0
    elif kind == "eval":
        step = flow.eval_step(fn, model=model, mesh=flow.mesh("cpu"))
        assert step.debug(X, Y).item() == seen["loss"]
    else:
        grad = flow.value_and_grad(fn, model=model, mesh=flow.mesh("cpu", dp=2))
        loss, gradients = grad.debug(X, Y)
        assert loss.item() == seen["loss"]
        plain = flow.value_and_grad(
            lambda x, y: F.cross_entropy(model(x), y), model=model, mesh=flow.mesh("cpu", dp=2)
        )(X, Y)[1]
        for name, value in plain.items():
            np.testing.assert_allclose(gradients[name].numpy(), value.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(seen["logits"], expected, rtol=1e-5, atol=1e-6)
    assert "traced" not in seen["text"] and seen["weight"] == before["0.weight"].tolist()
    for name, value in state(model).items():
        assert np.array_equal(value, before[name])


def test_debug_sees_gradients_in_an_optimizer_of_ones_own() -> None:
    norms = []

    class Own(flow.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def update(
            self, parameter: Any, gradient: Any, slots: Any, lr: Any, step: Any, group: Any
        ) -> Any:
            if step_is_debugged:
                norms.append(float(gradient.square().sum()))
            return parameter - lr * gradient, slots

    model, other = make_model(), make_model()
    step = train(model, optimizer=Own(model.parameters(), 0.1))
    plain = train(other)
    step_is_debugged = True
    step.debug(X, Y)
    assert len(norms) == 4 and all(norm > 0 for norm in norms)
    step_is_debugged = False
    for _ in range(3):
        step(X, Y), plain(X, Y)
    assert_same_state(model, other, rtol=1e-5, atol=1e-7)


def test_random_numbers_drawn_while_tracing_are_warned_of() -> None:
    model = make_model()
    line = 0
    draw: Any = None

    def noisy(x: Any, y: Any) -> Any:
        nonlocal line
        scale = draw()
        line = sys._getframe().f_lineno + 1
        return F.cross_entropy(model(x) * scale, y)

    for draw in (random.random, np.random.rand):  # noqa: B007
        with pytest.warns(UserWarning, match="random numbers were drawn") as caught:
            train(model, noisy).graph(X, Y)
        assert caught[0].filename == __file__ and abs(caught[0].lineno - line) <= 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, lambda x, y: F.cross_entropy(F.dropout(model(x)), y)).graph(X, Y)


LOG, SQUARE = "log of 0", "square root at 0"


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
@pytest.mark.parametrize("what", [LOG, SQUARE, "inf alone", "nothing"])
def test_check_all_names_the_first_op(axes: dict[str, int], accumulate: int, what: str) -> None:
    model = make_model()

    def loss(x: Any, y: Any) -> Any:
        logits = model(x)
        zero = (logits * 0).square()
        if what == LOG:
            logits = logits + zero.log() * 0  # inf, then nan
        elif what == SQUARE:
            logits = logits + zero.sqrt()  # its gradient is inf * 0
        elif what == "inf alone":
            logits = logits + (zero.log() < 0).float()
        return F.cross_entropy(logits, y)

    first = loss.__code__.co_firstlineno
    options: Any = {"mesh": flow.mesh("cpu", **axes), "accumulate": accumulate}
    step = train(model, loss, check="all", **options)
    if what in (LOG, SQUARE):
        metrics = step(X, Y)
        with pytest.raises(flow.NumericsError, match="step 0: the first nan was made by") as caught:
            metrics.wait()
        line = first + (4 if what == LOG else 2)
        assert caught.value.location is not None and caught.value.location.line == line
        if what == LOG:
            assert f"mul_scalar; log made inf before at {__file__}:{line}" in str(caught.value)
        else:
            assert "in the gradient of this line" in str(caught.value)
        with pytest.raises(flow.NumericsError):
            float(metrics["loss"])
        with pytest.raises(flow.NumericsError, match="step 1: the first nan was made by"):
            step.debug(X, Y)
    else:
        other = make_model()
        plain = train(other, lambda x, y: F.cross_entropy(other(x), y), **options)
        metrics = step(X, Y)
        assert sorted(metrics) == ["loss", "lr", "step"]
        if what == "nothing":
            assert float(metrics["loss"]) == pytest.approx(float(plain(X, Y)["loss"]), rel=1e-5)


# Batches.


def test_numbers_of_the_batch_are_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    step = flow.eval_step(lambda x, k, n: x * k + n, model=make_model(), mesh=flow.mesh("cpu"))
    for k, n in ((1.0, 2), (0.5, -3)):
        np.testing.assert_allclose(step(X, k, n).numpy(), X * k + n, rtol=1e-6)
    assert "compiles plan" not in capsys.readouterr().err


def test_statics_compile_another_plan(capsys: pytest.CaptureFixture[str]) -> None:
    def fn(x: Any, mode: str, power: int, on: bool) -> Any:
        assert type(power) is int and type(mode) is str
        return x**power if on and mode == "power" else x

    step = flow.eval_step(fn, model=make_model(), mesh=flow.mesh("cpu"))
    assert step(X, "power", flow.static(2), True).tolist() == (X**2).tolist()
    np.testing.assert_allclose(step(X, "power", flow.static(3), True).numpy(), X**3, rtol=1e-5)
    assert step(X, "power", flow.static(3), False).tolist() == X.tolist()
    assert step(X, "none", flow.static(3), True).tolist() == X.tolist()
    assert capsys.readouterr().err.count("compiles plan") == 3


# Evaluation over a loader.


def test_run_pads_a_short_last_batch(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model()
    predict = flow.eval_step(
        lambda x: {"logits": model(x), "label": model(x).argmax(1)},
        model=model,
        mesh=flow.mesh("cpu", dp=2),
    )
    results = list(predict.run([X, X[:5], X[:1], X[:5]]))
    expected = model(flow.tensor(X)).numpy()
    assert [r["label"].shape for r in results] == [(8,), (5,), (1,), (5,)]
    for result in results:
        rows = len(result["label"])
        np.testing.assert_allclose(result["logits"].numpy(), expected[:rows], rtol=1e-5, atol=1e-6)
    assert "compiles plan" not in capsys.readouterr().err


MIXING = {
    "a mean": lambda x: x.mean(),
    "a sum per feature": lambda x: x.sum(0),
    "rows less their mean": lambda x: x - x.mean(0),
    "rows by rows": lambda x: x @ x.T,
    "the mean for every row": lambda x: x.mean(0, keepdim=True).expand(x.shape[0], 4),
    "a row and a mean": lambda x: (x, x.mean()),
    "one row less": lambda x: x[1:],
}


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_samples_is_compiled_for_its_shape(name: str) -> None:
    predict = flow.eval_step(MIXING[name], model=make_model(), mesh=flow.mesh("cpu"))
    full, short = predict.run([X, X[:5]])
    del full
    expected = MIXING[name](flow.tensor(X[:5]))
    for ours, theirs in zip(
        short if isinstance(short, tuple) else [short],
        expected if isinstance(expected, tuple) else [expected],
        strict=True,
    ):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_run_over_a_loader_of_pairs() -> None:
    model = make_model()
    predict = flow.eval_step(
        lambda x, y: model(x).argmax(1) == y, model=model, mesh=flow.mesh("cpu", dp=2)
    )
    loader = flow.data.DataLoader(flow.data.TensorDataset(X[:7], Y[:7]), 4)
    right = np.concatenate([r.numpy() for r in predict.run(loader)])
    assert right.tolist() == (model(flow.tensor(X[:7])).argmax(1).numpy() == Y[:7]).tolist()


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", flow.zeros(()))

    def forward(self, x: Any) -> Any:
        self.calls = self.calls + 1
        return x * 2


def test_evaluation_writes_only_what_it_may() -> None:
    model = nn.Sequential(Counter(), nn.Linear(4, 2))
    fn = lambda x: model(x)  # noqa: E731
    with pytest.raises(flow.Error, match=r"an eval step writes 0\.calls.*mutable=") as caught:
        flow.eval_step(fn, model=model, mesh=flow.mesh("cpu"))(X)
    assert caught.value.location is not None and caught.value.location.file == __file__
    assert model[0].calls.item() == 0
    step = flow.eval_step(fn, model=model, mesh=flow.mesh("cpu"), mutable=("*.calls",))
    step(X), step(X)
    assert model[0].calls.item() == 2
    assert len(list(step.run([X, X[:3]]))) == 2  # it is counted once each, not tried
    assert model[0].calls.item() == 4


def test_a_buffer_in_the_place_of_another_has_its_name() -> None:
    """Where the session knows both, it tells them apart; a pattern does not."""
    model = nn.Sequential(Counter(), nn.Linear(4, 2))
    steps = [
        flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cpu"), mutable=("*.calls",))
        for _ in range(2)
    ]
    steps[0](X)
    model[0].calls = nn.Buffer(shape=())
    steps[1](X), steps[1](X)
    assert model[0].calls.item() == 2


# Modules in several steps.


def test_two_steps_over_shared_modules() -> None:
    """A GAN in small, against PyTorch."""
    torch = pytest.importorskip("torch")
    generator, critic = make_model(1), nn.Linear(3, 1)
    their_generator = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
    )
    their_critic = torch.nn.Linear(3, 1)
    for ours, theirs in ((generator, their_generator), (critic, their_critic)):
        theirs.load_state_dict({name: torch.tensor(value) for name, value in state(ours).items()})
    models, mesh = {"g": generator, "c": critic}, flow.mesh("cpu", dp=2)
    real = X[:, :3]

    @flow.train_step(model=models, optimizer=flow.optim.SGD(critic.parameters(), lr=0.1), mesh=mesh)
    def critic_step(noise: Any, real: Any) -> Any:
        return critic(generator(noise).detach()).mean() - critic(real).mean()

    @flow.train_step(
        model=models, optimizer=flow.optim.SGD(generator.parameters(), lr=0.1), mesh=mesh
    )
    def generator_step(noise: Any) -> Any:
        return -critic(generator(noise)).mean()

    critic_sgd = torch.optim.SGD(their_critic.parameters(), lr=0.1)
    generator_sgd = torch.optim.SGD(their_generator.parameters(), lr=0.1)
    noise, truth = torch.tensor(X), torch.tensor(real)
    for _ in range(4):
        critic_step(X, real), generator_step(X)
        critic_sgd.zero_grad()
        (
            their_critic(their_generator(noise).detach()).mean() - their_critic(truth).mean()
        ).backward()
        critic_sgd.step()
        generator_sgd.zero_grad()
        (-their_critic(their_generator(noise)).mean()).backward()
        generator_sgd.step()
    for ours, theirs in ((generator, their_generator), (critic, their_critic)):
        for name, value in theirs.state_dict().items():
            np.testing.assert_allclose(state(ours)[name], value.numpy(), rtol=1e-4, atol=1e-6)
    assert critic_step.store is generator_step.store
    assert set(critic_step.named_parameters()) >= {"g.0.weight", "c.weight"}


def test_steps_over_a_part_of_the_modules_see_the_same_values() -> None:
    model = make_model()
    whole = train(model, lambda x, y: F.cross_entropy(model(x), y))
    head = flow.eval_step(lambda h: model[2](h), model=model[2], mesh=flow.mesh("cpu", dp=2))
    hidden = np.ones((8, 6), np.float32)
    for _ in range(2):
        whole(X, Y)
        expected = hidden @ model[2].weight.numpy().T + model[2].bias.numpy()
        np.testing.assert_allclose(head(hidden).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_frozen_and_unused_parameters_stay() -> None:
    model = make_model()
    model.spare = nn.Linear(2, 2)
    model[0].weight.requires_grad = False
    optimizer = flow.optim.AdamW(model.parameters(), lr=0.1)
    before = state(model)
    step = train(
        model, lambda x, y: F.cross_entropy(model[2](model[1](model[0](x))), y), optimizer=optimizer
    )
    step(X, Y)
    after = state(model)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert same == {"0.weight", "spare.weight", "spare.bias"}
    assert not optimizer.state[model[0].weight]  # no memory for it
    model[0].weight.requires_grad_(True)
    step(X, Y)
    assert not np.array_equal(before["0.weight"], state(model)["0.weight"])


def test_a_parameter_that_the_loss_does_not_reach_is_not_even_decayed() -> None:
    model = make_model()
    optimizer = flow.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)

    def loss(x: Any, y: Any) -> dict[str, Any]:
        with flow.no_grad():
            hidden = model[1](model[0](x))
        return {
            "loss": F.cross_entropy(model[2](hidden), y),
            "size": model[0].weight.square().sum(),
        }

    before = state(model)
    train(model, loss, optimizer=optimizer)(X, Y)
    after = state(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"2.weight", "2.bias"}
    assert not optimizer.state[model[0].weight]


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
def test_tied_weights_are_one_state(axes: dict[str, int], accumulate: int) -> None:
    torch = pytest.importorskip("torch")

    def tie(kinds: Any) -> Any:
        model = kinds.Sequential(kinds.Linear(4, 4), kinds.Tanh(), kinds.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    flow.manual_seed(0)
    ours, theirs = tie(nn), tie(torch.nn)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in state(ours).items()})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    step = train(
        ours,
        lambda x, y: F.cross_entropy(ours(x), y),
        mesh=flow.mesh("cpu", **axes),
        accumulate=accumulate,
    )
    for _ in range(3):
        step(X, Y)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(Y)).backward()
        optimizer.step()
    assert len(list(ours.parameters())) == 3 and len(state(ours)) == 4
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(state(ours)[name], value.numpy(), rtol=1e-4, atol=1e-6)


# Interruption.


def test_a_cell_that_is_run_again_frees_its_session() -> None:
    cell = """
model = nn.Linear(4, 3)
step = flow.train_step(lambda x, y: F.cross_entropy(model(x), y), model=model,
    optimizer=flow.optim.SGD(model.parameters(), lr=0.1), mesh=flow.mesh("cpu", dp=4))
loss = float(step(X, Y)["loss"])
"""
    names = {"nn": nn, "flow": flow, "F": F, "X": X, "Y": Y}

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    exec(cell, names)
    once = threads()
    for _ in range(5):
        exec(cell, names)
    assert threads() <= once


PROGRAM = """
import sys
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
optimizer = flow.optim.AdamW(model.parameters(), lr=0.01)
step = flow.train_step(lambda x, y: F.cross_entropy(model(x), y), model=model,
    optimizer=optimizer, mesh=flow.mesh("cpu", dp=2))
x, y = np.ones((256, 64), np.float32), np.zeros(256, np.int64)
try:
    for metrics in step.run(iter(lambda: (x, y), None)):
        if optimizer.steps == 3:
            print("running", flush=True)
except KeyboardInterrupt:
    weight = model[0].weight.numpy()
    steps = optimizer.steps
    loss = float(step(x, y)["loss"])  # goes on
    print("ended", steps, optimizer.steps, bool(np.isfinite(weight).all() and np.isfinite(loss)), flush=True)
"""


@pytest.mark.parametrize("trial", range(3))
def test_ctrl_c_comes_between_two_steps(tmp_path: Path, trial: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "running\n"
    time.sleep(0.1 * trial)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    words = out.split()
    assert run.returncode == 0 and words[0] == "ended" and words[3] == "True", out
    assert int(words[2]) == int(words[1]) + 1


def test_a_signal_during_a_step_is_delivered_behind_it() -> None:
    model = make_model()
    step = train(model)
    step(X, Y)
    counted = step.optimizer.steps

    class Interrupts:
        """An array whose reading, in the middle of a call, is when Ctrl-C comes."""

        shape = X.shape

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            signal.raise_signal(signal.SIGINT)
            return X

    with pytest.raises(KeyboardInterrupt):
        step(Interrupts(), Y)
    assert step.optimizer.steps == counted + 1  # the step was made
    before = signal.getsignal(signal.SIGINT)
    assert np.isfinite(float(step(X, Y)["loss"])) and signal.getsignal(signal.SIGINT) is before
    losses = []
    thread = threading.Thread(target=lambda: losses.append(float(step(X, Y)["loss"])))
    thread.start()
    thread.join()
    assert np.isfinite(losses[0])


def test_a_module_or_a_partial_is_a_function_of_a_step() -> None:
    net = nn.Linear(3, 2)
    x = np.ones((2, 3), np.float32)
    mesh = flow.mesh("cpu", dp=1)
    expected = net(flow.tensor(x)).numpy()
    step = flow.eval_step(net, model=net, mesh=mesh)
    np.testing.assert_allclose(step(x).numpy(), expected, rtol=1e-6)
    scaled = flow.eval_step(
        functools.partial(lambda factor, x: factor * net(x), 2.0), model=net, mesh=mesh
    )
    np.testing.assert_allclose(scaled(x).numpy(), 2 * expected, rtol=1e-6)
