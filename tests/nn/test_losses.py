"""Losses: value and gradient against PyTorch in float64, and masked means under every cut of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

from tests.ops import test_functions as functions
from tests.ops.test_functions import Case, close

torch = pytest.importorskip("torch")
TF = torch.nn.functional
X = (6, 4)
LABELS = np.array([1, 0, 3, 2, 1, 3])
MASKED = np.array([1, -100, 3, 2, -100, 3])
WEIGHT = np.array([0.5, 2.0, 1.0, 0.25], np.float32)
SIGNS = np.array([1, -1, -1, 1, 1, -1])
IMAGE_LABELS = np.random.default_rng(1).integers(0, 4, (2, 3, 2))
IMAGE_MASKED = np.where(np.random.default_rng(2).random((2, 3, 2)) < 0.4, -100, IMAGE_LABELS)
HALF = np.random.default_rng(3).uniform(0.1, 0.9, X).astype(np.float32)


def both(
    name: str, loss: str, *args: Any, shapes: Any = (X,), positive: bool = False, **options: Any
) -> Case:
    """F.loss of the inputs, then `args`: arrays become tensors of either library."""

    def call(lib: Any, function: Any) -> Any:
        def convert(value: Any, like: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            if lib is flow:
                return flow.tensor(value)
            tensor = torch.tensor(value)
            return tensor.to(like.dtype) if value.dtype == np.float32 else tensor

        def run(*xs: Any) -> Any:
            named = {key: convert(value, xs[0]) for key, value in options.items()}
            return function(*xs, *(convert(a, xs[0]) for a in args), **named)

        return run

    return Case(
        name, call(flow, getattr(F, loss)), call(torch, getattr(TF, loss)), shapes, positive
    )


# Samples of 9 frames, 5 classes, up to 4 labels; the second has equal labels, the third none, the last too few
# frames for its labels.
SPOKEN = (9, 4, 5)
SAID = np.array([[1, 2, 3, 1], [2, 2, 4, 4], [3, 3, 3, 3], [1, 1, 1, 2]])
FRAMES, LETTERS = np.array([9, 8, 5, 4]), np.array([4, 4, 0, 4])
IN_A_ROW = np.concatenate([SAID[i, :n] for i, n in enumerate(LETTERS)])


def ctc(name: str, targets: Any, frames: Any, letters: Any, shape: Any, **options: Any) -> Case:
    """ctc_loss behind log_softmax: as in PyTorch its gradient is meant for the input of that."""

    def over(lib: Any, loss: Any) -> Any:
        def convert(value: Any) -> Any:
            return lib.tensor(value) if isinstance(value, np.ndarray) else value

        return lambda x: loss(
            x.log_softmax(-1), convert(targets), convert(frames), convert(letters), **options
        )

    return Case(f"ctc_loss_{name}", over(flow, F.ctc_loss), over(torch, TF.ctc_loss), (shape,))


CASES = [
    *(
        ctc(reduction, SAID, FRAMES, LETTERS, SPOKEN, reduction=reduction, zero_infinity=True)
        for reduction in ("mean", "sum", "none")
    ),
    ctc("blank", SAID - 1, FRAMES, LETTERS, SPOKEN, blank=4, zero_infinity=True),
    ctc("in_a_row", IN_A_ROW, tuple(FRAMES), tuple(LETTERS), SPOKEN, zero_infinity=True),
    ctc("in_a_row_by_tensors", IN_A_ROW, FRAMES, LETTERS, SPOKEN, zero_infinity=True),
    ctc("one", SAID[0], np.array(9), np.array(4), (9, 5)),
    ctc("one_none", SAID[0], (9,), (4,), (9, 5), reduction="none"),
    *(
        both(
            f"cross_entropy_{reduction}",
            "cross_entropy",
            MASKED,
            ignore_index=-100,
            reduction=reduction,
        )
        for reduction in ("mean", "sum", "none")
    ),
    both("cross_entropy_default", "cross_entropy", MASKED),
    both("nll_loss_default", "nll_loss", MASKED, reduction="sum"),
    both("cross_entropy_ignores_a_class", "cross_entropy", LABELS, ignore_index=3),
    both("cross_entropy_weight", "cross_entropy", LABELS, WEIGHT),
    both("cross_entropy_weight_none", "cross_entropy", LABELS, WEIGHT, reduction="none"),
    both("cross_entropy_smooth", "cross_entropy", LABELS, label_smoothing=0.1),
    *(
        both(
            f"cross_entropy_all_{reduction}",
            "cross_entropy",
            MASKED,
            weight=WEIGHT,
            ignore_index=-100,
            label_smoothing=0.2,
            reduction=reduction,
        )
        for reduction in ("mean", "sum", "none")
    ),
    both("cross_entropy_image", "cross_entropy", IMAGE_LABELS, shapes=((2, 4, 3, 2),)),
    both(
        "cross_entropy_image_all",
        "cross_entropy",
        IMAGE_MASKED,
        weight=WEIGHT,
        ignore_index=-100,
        label_smoothing=0.1,
        shapes=((2, 4, 3, 2),),
    ),
    both(
        "cross_entropy_image_none",
        "cross_entropy",
        IMAGE_MASKED,
        ignore_index=-100,
        reduction="none",
        shapes=((2, 4, 3, 2),),
    ),
    both("cross_entropy_one", "cross_entropy", np.array(2), shapes=((4,),)),
    both("cross_entropy_probabilities", "cross_entropy", HALF),
    both("cross_entropy_probabilities_all", "cross_entropy", HALF, WEIGHT, label_smoothing=0.1),
    both(
        "cross_entropy_probabilities_image",
        "cross_entropy",
        np.random.default_rng(4).random((2, 4, 3, 2)).astype(np.float32),
        shapes=((2, 4, 3, 2),),
    ),
    both("cross_entropy_old_arguments", "cross_entropy", LABELS, None, False, reduction="mean"),
    both("nll_loss", "nll_loss", LABELS),
    both("nll_loss_none", "nll_loss", LABELS, reduction="none"),
    both("nll_loss_all", "nll_loss", MASKED, weight=WEIGHT, ignore_index=-100),
    both("nll_loss_image", "nll_loss", IMAGE_MASKED, ignore_index=-100, shapes=((2, 4, 3, 2),)),
    *(
        both(f"{name}_{reduction}", name, reduction=reduction, shapes=(X, X))
        for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
        for reduction in ("mean", "sum", "none")
    ),
    both("mse_loss_weight", "mse_loss", weight=HALF, shapes=(X, X)),
    both("smooth_l1_loss_beta", "smooth_l1_loss", beta=0.3, shapes=(X, X)),
    both("smooth_l1_loss_beta_0", "smooth_l1_loss", beta=0.0, shapes=(X, X)),
    both("huber_loss_delta", "huber_loss", delta=0.4, shapes=(X, X)),
    Case(
        "binary_cross_entropy",
        lambda a, b: F.binary_cross_entropy(a.sigmoid(), b.sigmoid(), weight=flow.tensor(HALF)),
        lambda a, b: TF.binary_cross_entropy(
            a.sigmoid(), b.sigmoid(), weight=torch.tensor(HALF, dtype=a.dtype)
        ),
        (X, X),
    ),
    both("bce_with_logits", "binary_cross_entropy_with_logits", HALF),
    both(
        "bce_with_logits_all",
        "binary_cross_entropy_with_logits",
        HALF,
        weight=HALF[:, ::-1].copy(),
        pos_weight=WEIGHT,
        reduction="sum",
    ),
    both("kl_div", "kl_div", shapes=(X, X), positive=True),
    both("kl_div_batchmean", "kl_div", shapes=(X, X), positive=True, reduction="batchmean"),
    both("kl_div_log_target", "kl_div", shapes=(X, X), log_target=True, reduction="sum"),
    both("margin_ranking_loss", "margin_ranking_loss", SIGNS, shapes=((6,), (6,)), margin=0.2),
    both("hinge_embedding_loss", "hinge_embedding_loss", SIGNS, shapes=((6,),), margin=0.7),
    both("cosine_embedding_loss", "cosine_embedding_loss", SIGNS, shapes=(X, X), margin=0.1),
    both("cosine_embedding_loss_one", "cosine_embedding_loss", np.array(-1), shapes=((4,), (4,))),
    both("triplet_margin_loss", "triplet_margin_loss", shapes=(X, X, X)),
    both("triplet_margin_loss_swap", "triplet_margin_loss", shapes=(X, X, X), swap=True, p=1),
    both("soft_margin_loss", "soft_margin_loss", SIGNS.astype(np.float32), shapes=((6,),)),
    both("poisson_nll_loss", "poisson_nll_loss", shapes=(X, X), positive=True),
    both(
        "poisson_nll_loss_full",
        "poisson_nll_loss",
        np.array([[0.0, 1.0, 2.0, 7.0]], np.float32).repeat(6, 0),
        log_input=False,
        full=True,
        positive=True,
    ),
    both("gaussian_nll_loss", "gaussian_nll_loss", shapes=(X, X, X), positive=True),
    both(
        "gaussian_nll_loss_full",
        "gaussian_nll_loss",
        shapes=(X, X, (6,)),
        positive=True,
        full=True,
        reduction="sum",
    ),
    both("cosine_similarity", "cosine_similarity", shapes=(X, X)),
    both("cosine_similarity_dim", "cosine_similarity", shapes=((2, 3, 4), (3, 4)), dim=-1),
    both("pairwise_distance", "pairwise_distance", shapes=(X, X)),
    both("pairwise_distance_3", "pairwise_distance", shapes=(X, (4,)), p=3.0, keepdim=True),
    both("normalize", "normalize"),
    both("normalize_1", "normalize", p=1.0, dim=0),
    both("normalize_inf", "normalize", p=float("inf")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value_and_gradient(case: Case) -> None:
    functions.test_value_and_gradient_in_a_step(case)
    functions.test_value_at_once(case)


def test_saturated_logits_have_finite_losses_and_gradients() -> None:
    x = np.array([-200.0, -30.0, 0.0, 30.0, 200.0], np.float32)
    case = both("", "binary_cross_entropy_with_logits", np.ones(5, np.float32), shapes=((5,),))
    logits = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    loss = TF.binary_cross_entropy_with_logits(logits, torch.ones(5, dtype=torch.float64))
    loss.backward()
    model = nn.Module()
    model.x = nn.Parameter(x)
    total, grads = flow.value_and_grad(lambda _: case.ours(model.x), model=model).interpret(x)
    close(total.numpy(), loss.detach().numpy())
    close(grads["x"].numpy(), logits.grad.numpy())


def test_probabilities_of_0_and_1() -> None:
    p, t = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([0.0, 1.0, 1.0, 0.0], np.float32)
    ours = F.binary_cross_entropy(flow.tensor(p), flow.tensor(t), reduction="none")
    theirs = TF.binary_cross_entropy(torch.tensor(p), torch.tensor(t), reduction="none")
    assert ours.tolist() == theirs.tolist() == [0, 0, 100, 100]
    model = nn.Module()
    model.p = nn.Parameter(p)
    _, grads = flow.value_and_grad(
        lambda t: F.binary_cross_entropy(model.p, t), model=model
    ).interpret(t)
    assert np.isfinite(grads["p"].numpy()).all()


def test_vectors_of_zeros_have_no_gradient() -> None:
    model = nn.Module()
    model.x = nn.Parameter(np.zeros((2, 3), np.float32))
    for fn in (
        F.normalize,
        lambda x: F.cosine_similarity(x, x),
        lambda x: F.pairwise_distance(x, x),
    ):
        step = flow.value_and_grad(lambda _, fn=fn: fn(model.x).sum(), model=model)
        assert np.isfinite(step.interpret(np.zeros(1, np.float32))[1]["x"].numpy()).all()


def test_ctc_loss_without_a_way_is_inf() -> None:
    loss = [
        of(x.log_softmax(-1), tensor(SAID), tensor(FRAMES), tensor(LETTERS), reduction="none")
        for of, tensor, x in (
            (F.ctc_loss, flow.tensor, flow.zeros(SPOKEN)),
            (TF.ctc_loss, torch.tensor, torch.zeros(SPOKEN)),
        )
    ]
    np.testing.assert_allclose(loss[0].numpy(), loss[1].numpy(), rtol=1e-5)
    assert np.isinf(loss[0].numpy()).tolist() == [False, False, False, True]


@pytest.mark.parametrize(("axes", "accumulate"), [({"dp": 2}, 1), ({"dp": 3}, 2)], ids=str)
def test_ctc_loss_of_a_cut_batch(axes: dict[str, int], accumulate: int) -> None:
    random = np.random.default_rng(6)
    x = random.standard_normal((6, 9, 4)).astype(np.float32)  # samples first
    said = np.concatenate([SAID, SAID[:2]])
    frames, letters = np.concatenate([FRAMES, [9, 9]]), np.concatenate([LETTERS, [1, 2]])
    model = nn.Linear(4, 5)

    def loss(x: Any, said: Any, frames: Any, letters: Any) -> Any:
        heard = model(x).permute(1, 0, 2).log_softmax(-1)
        return F.ctc_loss(heard, said, frames, letters, zero_infinity=True)

    whole = flow.value_and_grad(loss, model=model).interpret(x, said, frames, letters)
    step = flow.value_and_grad(
        loss, model=model, mesh=flow.mesh("cpu", **axes), accumulate=accumulate
    )
    value, grads = step(x, said, frames, letters)
    close(value.numpy(), whole[0].numpy())
    for name, grad in grads.items():
        close(grad.numpy(), whole[1][name].numpy())


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"targets": np.array([[1, 2, 9, 1]])}, "index 9 is out of range of 5"),
        ({"input_lengths": np.array([10])}, "length 10 does not lie in 0 .. 9"),
        ({"target_lengths": np.array([-1])}, "length -1 does not lie in 0 .. 4"),
    ],
    ids=str,
)
def test_ctc_loss_of_wrong_data_names_it(wrong: dict[str, Any], text: str) -> None:
    given = {
        "targets": SAID[:1],
        "input_lengths": np.array([9]),
        "target_lengths": np.array([4]),
        **wrong,
    }
    model = nn.Linear(5, 5)
    step = flow.eval_step(
        lambda x, given: F.ctc_loss(model(x).log_softmax(-1), **given), model=model
    )
    with pytest.raises(flow.DataError, match=text):
        step(np.zeros((9, 1, 5), np.float32), given)["output"].numpy()


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (((9, 2, 5, 1), (2, 4), (2,), (2,)), "log_probs"),
        (((9, 2, 5), (3, 4), (2,), (2,)), "2 samples"),
        (((9, 2, 5), (2, 4), (3,), (2,)), "input_lengths has 3"),
        (((9, 2, 5), (2, 4), (2,), (1,)), "target_lengths has 1"),
    ],
    ids=str,
)
def test_ctc_loss_of_shapes_that_do_not_fit(shapes: Any, text: str) -> None:
    x, *others = shapes
    with pytest.raises(flow.ShapeError, match=text):
        F.ctc_loss(flow.zeros(x), *(flow.zeros(*shape, dtype=flow.int64) for shape in others))


MEANS: dict[str, Any] = {
    "ignore": lambda lib, F, x, y: F.cross_entropy(x, y, ignore_index=-100),
    "weight": lambda lib, F, x, y: F.cross_entropy(
        x, y, lib.tensor(WEIGHT).to(x.dtype), ignore_index=-100
    ),
    "smooth": lambda lib, F, x, y: F.cross_entropy(
        x, y, lib.tensor(WEIGHT).to(x.dtype), ignore_index=-100, label_smoothing=0.1
    ),
    "nll": lambda lib, F, x, y: F.nll_loss(x, y, lib.tensor(WEIGHT).to(x.dtype), ignore_index=-100),
    "batchmean": lambda lib, F, x, y: F.kl_div(x, x * 0.5, log_target=True, reduction="batchmean"),
    "rows": lambda lib, F, x, y: F.cross_entropy(
        x.reshape(-1, 2, 4).permute(0, 2, 1), y.reshape(-1, 2), ignore_index=-100
    ),
}
CUTS = [
    ({"dp": 2}, 1),
    ({"dp": 3}, 1),
    ({"dp": 1}, 2),
    ({"dp": 2}, 2),
    ({"dp": 1}, 4),
    ({"pp": 2}, 2),
]


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize(("axes", "accumulate"), CUTS, ids=str)
def test_means_are_over_the_logical_batch(name: str, axes: dict[str, int], accumulate: int) -> None:
    random = np.random.default_rng(5)
    x = random.standard_normal((8, 5)).astype(np.float32)
    # Three quarters of the first half do not count: a mean of means would differ.
    y = np.array([-100, -100, 3, -100, 2, 0, 1, 3])
    model = nn.Linear(5, 4)
    reference = torch.nn.Linear(5, 4, dtype=torch.float64)
    state = {key: torch.tensor(value.numpy()) for key, value in model.state_dict().items()}
    reference.load_state_dict(state)
    MEANS[name](torch, TF, reference(torch.tensor(x).double()), torch.tensor(y)).backward()
    step = flow.value_and_grad(
        lambda x, y: MEANS[name](flow, F, model(x), y),
        model=model,
        mesh=flow.mesh("cpu", threads=1, **axes),
        accumulate=accumulate,
    )
    _, grads = step(x, y)
    for key, parameter in reference.named_parameters():
        close(grads[key].numpy(), parameter.grad.numpy())


def test_one_hot() -> None:
    x = np.array([[1, 0], [3, 2]])
    ours, theirs = F.one_hot(flow.tensor(x)), TF.one_hot(torch.tensor(x))
    assert ours.dtype is flow.int64 and ours.tolist() == theirs.tolist()
    assert F.one_hot(flow.tensor(x), 6).shape == (2, 2, 6)
    predict = flow.eval_step(lambda x: F.one_hot(x, 5), model=nn.Identity())
    assert predict(x).tolist() == TF.one_hot(torch.tensor(x), 5).tolist()
    with pytest.raises(flow.Error, match="num_classes="):
        flow.eval_step(F.one_hot, model=nn.Identity())(x)
    with pytest.raises(flow.Error, match="from 0 to 3"):
        F.one_hot(flow.tensor(x), 3)
    with pytest.raises(flow.DTypeError, match="int64"):
        F.one_hot(flow.ones(2))


def test_wrong_labels_give_no_number() -> None:
    x, y = flow.ones(2, 3), flow.tensor([1, 3])
    with pytest.raises(flow.Error):
        F.cross_entropy(x, y).numpy()
    with pytest.raises(flow.Error):
        F.cross_entropy(x, flow.tensor([1, -100]), ignore_index=None).numpy()
    assert F.cross_entropy(x, flow.tensor([1, -100])).item() == pytest.approx(np.log(3))
    assert np.isnan(F.nll_loss(x, y).item())
    assert np.isnan(F.cross_entropy(x, flow.tensor([7, 7]), ignore_index=7).item())  # as PyTorch


REFUSED = [
    (lambda: F.cross_entropy(flow.ones(2, 3), flow.ones(2)), flow.DTypeError, "probabilities"),
    (lambda: F.cross_entropy(flow.ones(2, 3), flow.tensor([1])), flow.ShapeError, r"\[2\]"),
    (
        lambda: F.cross_entropy(flow.ones(2, 3), flow.tensor([1, 1]), flow.ones(2)),
        flow.ShapeError,
        "3 classes",
    ),
    (
        lambda: F.cross_entropy(flow.ones(2, 3), flow.ones(2, 3), ignore_index=1),
        flow.Error,
        "no meaning",
    ),
    (lambda: F.mse_loss(flow.ones(2), flow.ones(2, 1)), flow.ShapeError, "one shape"),
    (lambda: F.mse_loss(flow.ones(2), flow.ones(2), reduction="max"), flow.Error, "'mean'"),
    (lambda: F.gaussian_nll_loss(flow.ones(2), flow.ones(2), -1.0), flow.Error, "negative"),
    (lambda: F.huber_loss(flow.ones(2), flow.ones(2), delta=0), flow.Error, "positive"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


MODULES: dict[str, Any] = {
    "CrossEntropyLoss": lambda n, w: n.CrossEntropyLoss(w, ignore_index=1, label_smoothing=0.1),
    "NLLLoss": lambda n, w: n.NLLLoss(w, reduction="sum"),
    "MSELoss": lambda n, w: n.MSELoss(reduction="sum"),
    "L1Loss": lambda n, w: n.L1Loss(),
    "SmoothL1Loss": lambda n, w: n.SmoothL1Loss(beta=0.5),
    "HuberLoss": lambda n, w: n.HuberLoss(delta=0.5),
    "BCELoss": lambda n, w: n.BCELoss(w),
    "BCEWithLogitsLoss": lambda n, w: n.BCEWithLogitsLoss(w, pos_weight=w),
    "KLDivLoss": lambda n, w: n.KLDivLoss(reduction="batchmean", log_target=True),
    "SoftMarginLoss": lambda n, w: n.SoftMarginLoss(),
    "HingeEmbeddingLoss": lambda n, w: n.HingeEmbeddingLoss(0.5),
    "PoissonNLLLoss": lambda n, w: n.PoissonNLLLoss(full=True),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    x, y = HALF, np.random.default_rng(6).uniform(0.1, 2.9, X).astype(np.float32)
    if name in ("CrossEntropyLoss", "NLLLoss"):
        target = LABELS
    else:
        target = y
    if name.startswith("BCE"):
        target = HALF[::-1].copy()
    ours, theirs = (MODULES[name](lib.nn, lib.tensor(WEIGHT)) for lib in (flow, torch))
    close(
        ours(flow.tensor(x), flow.tensor(target)).numpy(),
        theirs(torch.tensor(x), torch.tensor(target)).numpy(),
    )
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n.MarginRankingLoss(0.3),
        lambda n: n.CosineEmbeddingLoss(0.3),
        lambda n: n.TripletMarginLoss(swap=True),
        lambda n: n.GaussianNLLLoss(full=True),
    ],
)
def test_modules_of_three_inputs(make: Any) -> None:
    random = np.random.default_rng(9)
    xs = [random.uniform(0.5, 2, X).astype(np.float32) for _ in range(3)]
    ours, theirs = make(nn), make(torch.nn)
    if "Embedding" in type(ours).__name__:
        xs[2] = SIGNS.astype(np.float32)
    close(ours(*map(flow.tensor, xs)).numpy(), theirs(*map(torch.tensor, xs)).numpy())
