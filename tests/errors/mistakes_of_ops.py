"""Mistakes in single ops and in functions that are traced."""

from __future__ import annotations

import oneflow as flow

from tests.errors.mistake import Mistake, step_of

SHAPES = [
    Mistake(
        "a matrix times itself",
        flow.ShapeError,
        r"matmul of \[4, 3\] and \[4, 3\]: 3 columns meet 4 rows",
        step_of("return x @ x  #!"),
        [("x @ x ", "x @ x.T ")],
    ),
    Mistake(
        "labels as a column",
        flow.ShapeError,
        r"cross_entropy.*\[4\].*\(4, 1\)|\(4, 1\).*\[4\]|labels",
        step_of("return F.cross_entropy(model(x), y.unsqueeze(1))  #!"),
        [("y.unsqueeze(1)", "y")],
    ),
    Mistake(
        "a bias of another length",
        flow.ShapeError,
        r"add: a is f32\[4,5\] and b is f32\[3\].*use reshape",
        step_of("return model(x) + flow.zeros(3)  #!"),
        [("zeros(3)", "zeros(5)")],
    ),
    Mistake(
        "features that the layer does not take",
        flow.ShapeError,
        r"linear.*3",
        "model(flow.zeros(4, 5))  #!\n",
        [("zeros(4, 5)", "zeros(4, 3)")],
    ),
    Mistake(
        "an image without channels",
        flow.ShapeError,
        "conv2d|4 dims|NCHW",
        "nn.Conv2d(3, 8, 3)(flow.zeros(2, 28, 28))  #!\n",
        [("(2, 28, 28)", "(2, 3, 28, 28)")],
    ),
    Mistake(
        "channels last",
        flow.ShapeError,
        "channels",
        "nn.Conv2d(3, 8, 3)(flow.zeros(2, 28, 28, 3))  #!\n",
        [("flow.zeros(2, 28, 28, 3)", "flow.zeros(2, 28, 28, 3).permute(0, 3, 1, 2)")],
    ),
    Mistake(
        "flattening too little",
        flow.ShapeError,
        "linear",
        "head = nn.Linear(8 * 4, 2)\nhead(flow.zeros(2, 8, 2, 2).flatten(2))  #!\n",
        [("flatten(2)", "flatten(1)")],
    ),
    Mistake(
        "a view that loses elements",
        flow.ShapeError,
        "12 elements",
        "flow.zeros(3, 4).view(5, 2)  #!\n",
        [("view(5, 2)", "view(6, 2)")],
    ),
    Mistake(
        "two unknown extents",
        flow.ShapeError,
        "-1",
        "flow.zeros(4).reshape(-1, -1)  #!\n",
        [("(-1, -1)", "(2, -1)")],
    ),
    Mistake(
        "a dim that is not there",
        flow.ShapeError,
        "dim 2|2 dims",
        "flow.zeros(3, 4).sum(2)  #!\n",
        [("sum(2)", "sum(1)")],
    ),
    Mistake(
        "an index out of range",
        flow.ShapeError,
        "index 4 is out of range for dim 0 of extent 4",
        step_of("return x[4]  #!"),
        [("x[4]", "x[3]")],
    ),
    Mistake(
        "too many indices",
        flow.ShapeError,
        "3 indices.*2 dims",
        "flow.zeros(2, 2)[0, 0, 0]  #!\n",
        [("[0, 0, 0]", "[0, 0]")],
    ),
    Mistake(
        "stacking different shapes",
        flow.ShapeError,
        "cat|stack",
        "flow.cat([flow.zeros(2, 3), flow.zeros(2, 4)])  #!\n",
        [("(2, 4)", "(2, 3)")],
    ),
    Mistake(
        "item of several",
        flow.ShapeError,
        r"item\(\) needs one element",
        "flow.ones(3).item()  #!\n",
        [("ones(3).item()", "ones(3).sum().item()")],
    ),
    Mistake(
        "a window larger than the image",
        flow.ShapeError,
        "max_pool2d|window|kernel",
        "F.max_pool2d(flow.zeros(1, 1, 2, 2), 3)  #!\n",
        [("2, 2), 3", "2, 2), 2")],
    ),
    Mistake(
        "a wrong permutation",
        flow.ShapeError,
        "permut",
        "flow.zeros(2, 3, 4).permute(0, 1)  #!\n",
        [("permute(0, 1)", "permute(0, 2, 1)")],
    ),
    Mistake(
        "writing another shape into a parameter",
        flow.ShapeError,
        r"\(2, 2\).*\(5, 3\)",
        "model.weight.copy_(flow.zeros(2, 2))  #!\n",
        [("zeros(2, 2)", "zeros(5, 3)")],
    ),
    Mistake(
        "a negative step",
        flow.ShapeError,
        "positive step.*flip",
        "flow.arange(4)[::-1]  #!\n",
        [("flow.arange(4)[::-1]", "flow.arange(3, -1, -1)")],
    ),
]


DTYPES = [
    Mistake(
        "labels in floating point",
        flow.DTypeError,
        "integer class indices",
        step_of("return F.cross_entropy(model(x), y.float())  #!"),
        [("y.float()", "y.float().long()")],
    ),
    Mistake(
        "the mean of integers",
        flow.DTypeError,
        "mean of.*float",
        "flow.tensor([1, 2]).mean()  #!\n",
        [(".mean()", ".float().mean()")],
    ),
    Mistake(
        "an array of objects",
        flow.DTypeError,
        "object",
        "flow.tensor(np.array([{}, {}]))  #!\n",
        [("np.array([{}, {}])", "np.array([0, 1])")],
    ),
    Mistake(
        "an array of strings",
        flow.DTypeError,
        "NumPy dtype <U1",
        "flow.tensor(['a', 'b'])  #!\n",
        [("['a', 'b']", "[0, 1]")],
    ),
    Mistake(
        "logits that are integers",
        flow.DTypeError,
        "softmax|float",
        step_of("return y.softmax(0)  #!"),
        [("y.softmax", "y.float().softmax")],
    ),
    Mistake(
        "a list instead of a tensor",
        flow.Error,
        r"relu takes tensors, not list; make one with flow.tensor",
        "F.relu([1.0, -1.0])  #!\n",
        [("[1.0, -1.0]", "flow.tensor([1.0, -1.0])")],
    ),
]


TRACING = [
    Mistake(
        "a branch on a value",
        flow.Error,
        r"branch.*flow\.where",
        step_of("if x.sum() > 0:  #!\n    return x\nreturn -x"),
        [
            (
                "if x.sum() > 0:  #!\n        return x\n    return -x",
                "return flow.where(x.sum() > 0, x, -x)",
            )
        ],
    ),
    Mistake(
        "a loop while a value holds",
        flow.Error,
        r"branch.*flow\.where",
        step_of("while x.sum() < 100:  #!\n    x = x * 2\nreturn x"),
        [("while x.sum() < 100:  #!", "for _ in range(3):")],
    ),
    Mistake(
        "item in a step",
        flow.Error,
        "not known while the step is traced",
        step_of("return x / x.sum().item()  #!"),
        [(".item()", "")],
    ),
    Mistake(
        "numpy in a step",
        flow.Error,
        "not known while the step is traced.*debug",
        step_of("return x * float(np.mean(x.numpy()))  #!"),
        [("float(np.mean(x.numpy()))", "x.mean()")],
    ),
    Mistake(
        "a NumPy function of a traced value",
        flow.Error,
        "not known while the step is traced",
        step_of("return np.tanh(x)  #!"),
        [("np.tanh", "flow.tanh")],
    ),
    Mistake(
        "float of a metric in a step",
        flow.Error,
        "return it as a metric",
        "history = []\n"
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    loss = F.cross_entropy(model(x), y)\n"
        "    history.append(float(loss))  #!\n"
        "    return loss\n\n"
        "step(X, Y)\n",
        [
            ("    history.append(float(loss))  #!\n", ""),
            ("step(X, Y)\n", "history.append(float(step(X, Y)['loss']))\n"),
        ],
    ),
    Mistake(
        "a parameter's value in a step",
        flow.Error,
        "elements of a state",
        step_of("return x * float(model.weight.numpy().max())  #!"),
        [("float(model.weight.numpy().max())", "model.weight.amax()")],
    ),
    Mistake(
        "a traced value kept for later",
        flow.Error,
        "used after the trace.*return the value as a metric",
        "kept = []\n" + step_of("kept.append(x.mean())\nreturn x") + "print(kept[0] * 2)  #!\n",
        [
            ("kept.append(x.mean())\n    return x", "return x, x.mean()"),
            ("step(X, Y)\n", "kept = [step(X, Y)[1]]\n"),
        ],
    ),
    Mistake(
        "a traced value of one step in another",
        flow.Error,
        "used after the trace",
        "kept = []\n"
        + step_of("kept.append(x.mean())\nreturn x")
        + "@flow.eval_step(model=model, mesh=mesh)\ndef other(x):\n    return x * kept[0]  #!\n\nother(X)\n",
        [
            ("kept.append(x.mean())\n    return x", "return x.mean()"),
            ("\nstep(X, Y)\n", "\nkept.append(step(X, Y))\n"),
        ],
    ),
    Mistake(
        "a step in a step",
        flow.Error,
        "while another one is traced",
        "inner = flow.eval_step(lambda x: x * 2, model=model, mesh=mesh)\n"
        + step_of("return inner(X)  #!"),
        [
            (
                "inner = flow.eval_step(lambda x: x * 2, model=model, mesh=mesh)",
                "inner = lambda x: x * 2",
            )
        ],
    ),
    Mistake(
        "a mask as index",
        flow.Error,
        r"flow\.where",
        step_of("return x[x > 0].sum()  #!"),
        [("x[x > 0].sum()", "flow.where(x > 0, x, 0.0).sum()")],
    ),
    Mistake(
        "tolist in a step",
        flow.Error,
        "not known while the step is traced",
        step_of("return sum(x.sum(1).tolist())  #!"),
        [("sum(x.sum(1).tolist())", "x.sum(1).sum()")],
    ),
]
