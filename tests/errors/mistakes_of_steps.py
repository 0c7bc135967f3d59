"""Mistakes around steps: losses, optimizers, batches."""

from __future__ import annotations

import oneflow as flow

from tests.errors.mistake import TRAIN, Mistake, step_of

TRAINING = [
    Mistake(
        "a loss per sample",
        flow.Error,
        r"without dims.*mean",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    return model(x).sum(1)\n\n"
        "step(X, Y)  #!\n",
        [(".sum(1)", ".sum(1).mean()")],
    ),
    Mistake(
        "a plan larger than its GPU",
        flow.OutOfMemoryError,
        r"GPU 0 \(cuda:0, cuda:1\) needs .* but has 10737418 (.|\n)*\(workspace\)(.|\n)*smaller batch",
        "gpu = flow.mesh('cuda', dp=2, gpu_memory_gib=0.01)\n\n"
        "@flow.train_step(model=model, optimizer=optimizer, mesh=gpu)\n"
        "def step(x, y):\n"
        "    return F.cross_entropy(model(x), y)  #!\n\n"
        "step.compile(X, Y)\n",
        [("gpu_memory_gib=0.01", "gpu_memory_gib=1")],
    ),
    Mistake(
        "a step without a return",
        flow.Error,
        "returns a scalar loss.*NoneType",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    loss = F.cross_entropy(model(x), y)\n\n"
        "step(X, Y)  #!\n",
        [("    loss = F", "    return F")],
    ),
    Mistake(
        "a tuple of loss and logits",
        flow.Error,
        "dict with 'loss'.*tuple",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    logits = model(x)\n"
        "    return F.cross_entropy(logits, y), logits\n\n"
        "step(X, Y)  #!\n",
        [
            (
                "F.cross_entropy(logits, y), logits",
                "{'loss': F.cross_entropy(logits, y), 'logits': logits}",
            )
        ],
    ),
    Mistake(
        "an accuracy as the loss",
        flow.Error,
        "no gradient.*argmax",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    return (model(x).argmax(1) == y).float().mean()  #!\n\n"
        "step(X, Y)\n",
        [("(model(x).argmax(1) == y).float().mean()", "F.cross_entropy(model(x), y)")],
    ),
    Mistake(
        "a constant as the loss",
        flow.Error,
        "loss does not depend",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    return flow.from_numpy(np.float32(3))\n\n"
        "step(X, Y)  #!\n",
        [("flow.from_numpy(np.float32(3))", "model(x).mean()")],
    ),
    Mistake(
        "everything under no_grad",
        flow.Error,
        "no gradient.*no_grad",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    with flow.no_grad():\n"
        "        return F.cross_entropy(model(x), y)  #!\n\n"
        "step(X, Y)\n",
        [("with flow.no_grad():", "if True:")],
    ),
    Mistake(
        "an optimizer of another model",
        flow.Error,
        "no parameter of the optimizer",
        "other = nn.Linear(3, 5)\n"
        + TRAIN.replace(
            "optimizer=optimizer", "optimizer=flow.optim.SGD(other.parameters(), lr=0.1)"
        )
        + "step(X, Y)  #!\n",
        [("other.parameters()", "model.parameters()")],
    ),
    Mistake(
        "frozen parameters alone",
        flow.Error,
        "no parameter of the optimizer",
        "model.requires_grad_(False)\n" + TRAIN + "step(X, Y)  #!\n",
        [("requires_grad_(False)", "requires_grad_(True)")],
    ),
    Mistake(
        "an optimizer class",
        flow.Error,
        "optimizer= takes a flow.optim.Optimizer, not type",
        "@flow.train_step(model=model, optimizer=flow.optim.SGD, mesh=mesh)  #!\n"
        "def step(x, y):\n"
        "    return F.cross_entropy(model(x), y)\n",
        [("flow.optim.SGD,", "flow.optim.SGD(model.parameters(), lr=0.1),")],
    ),
    Mistake(
        "a model that is none",
        flow.Error,
        "model= takes an nn.Module",
        "flow.eval_step(lambda x: x, model=model.forward, mesh=mesh)  #!\n",
        [("model.forward", "model")],
    ),
    Mistake(
        "an optimizer without parameters",
        flow.Error,
        "no parameters",
        "flow.optim.SGD([], lr=0.1)  #!\n",
        [("[]", "model.parameters()")],
    ),
    Mistake(
        "an optimizer over tensors",
        flow.Error,
        "nn.Parameter",
        "flow.optim.SGD([flow.zeros(3)], lr=0.1)  #!\n",
        [("flow.zeros(3)", "nn.Parameter(flow.zeros(3))")],
    ),
    Mistake(
        "backward outside",
        flow.Error,
        "train_step.*value_and_grad",
        "loss = model(flow.tensor(X)).mean()\nloss.backward()  #!\n",
        [
            (
                "loss.backward()",
                "flow.value_and_grad(lambda x: model(x).mean(), model=model, mesh=mesh)(X)",
            )
        ],
    ),
    Mistake(
        "backward inside a step",
        flow.Error,
        "train_step",
        step_of("loss = F.cross_entropy(model(x), y)\nloss.backward()  #!\nreturn loss"),
        [("    loss.backward()  #!\n", "")],
    ),
    Mistake(
        "grad of a parameter",
        flow.Error,
        "value_and_grad",
        "print(model.weight.grad)  #!\n",
        [
            (
                "model.weight.grad",
                "flow.value_and_grad(lambda x: model(x).mean(), model=model, mesh=mesh)(X)[1]['weight']",
            )
        ],
    ),
    Mistake(
        "optimizer.step",
        flow.Error,
        "train_step",
        TRAIN + "step(X, Y)\noptimizer.step()  #!\n",
        [("optimizer.step()  #!\n", "")],
    ),
    Mistake(
        "optimizer.zero_grad",
        flow.Error,
        "nothing to zero",
        TRAIN + "optimizer.zero_grad()  #!\nstep(X, Y)\n",
        [("optimizer.zero_grad()  #!\n", "")],
    ),
    Mistake(
        "a tensor for an eval step to train on",
        flow.Error,
        "an eval step writes.*mutable=",
        "class Counting(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.register_buffer('calls', flow.zeros(()))\n\n"
        "    def forward(self, x):\n"
        "        self.calls = self.calls + 1  #!\n"
        "        return x\n\n"
        "counting = Counting()\n"
        "flow.eval_step(lambda x: counting(x), model=counting, mesh=mesh)(X)\n",
        [("mesh=mesh)(X)", "mesh=mesh, mutable=('calls',))(X)")],
    ),
    Mistake(
        "a clip_norm of nothing",
        flow.Error,
        "clip_norm=0",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh, clip_norm=0)  #!\n"
        "def step(x, y):\n"
        "    return F.cross_entropy(model(x), y)\n",
        [("clip_norm=0", "clip_norm=None")],
    ),
    Mistake(
        "a loss that is not finite",
        flow.NumericsError,
        "loss of step 0 is -inf.*log of zero",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(x, y):\n"
        "    return (model(x) * 0).log().mean()  #!\n\n"
        "float(step(X, Y)['loss'])\n",
        [("(model(x) * 0).log()", "(model(x) ** 2 + 1).log()")],
    ),
]


BATCHES = [
    Mistake(
        "a label out of range",
        flow.DataError,
        "step 0 of step.*index 5 is out of range of 5",
        TRAIN.replace("y)\n", "y)  #!\n", 1).replace("def step(x, y)  #!", "def step(x, y)")
        + "float(step(X, np.array([0, 1, 5, 0]))['loss'])\n",
        [("[0, 1, 5, 0]", "[0, 1, 4, 0]")],
    ),
    Mistake(
        "accumulate that does not divide the batch",
        flow.ShardingError,
        "accumulate=3 must divide dim 0.*'x'.*4",
        TRAIN.replace("mesh=mesh", "mesh=mesh, accumulate=3") + "step(X, Y)  #!\n",
        [("accumulate=3", "accumulate=2")],
    ),
    Mistake(
        "accumulate that is no number",
        flow.ShardingError,
        "accumulate=0",
        TRAIN.replace("mesh=mesh)", "mesh=mesh, accumulate=0)  #!"),
        [("accumulate=0", "accumulate=1")],
    ),
    Mistake(
        "an empty batch",
        flow.DataError,
        "'x'.*empty batch",
        TRAIN + "step(X[:0], Y[:0])  #!\n",
        [("X[:0], Y[:0]", "X[:2], Y[:2]")],
    ),
    Mistake(
        "a missing argument",
        flow.Error,
        "step: missing a required argument: 'y'",
        TRAIN + "step(X)  #!\n",
        [("step(X)", "step(X, Y)")],
    ),
    Mistake(
        "a missing entry of the batch",
        flow.Error,
        "no entry 'label'; its entries are 'image', 'labels'",
        "@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)\n"
        "def step(batch):\n"
        "    return F.cross_entropy(model(batch['image']), batch['label'])  #!\n\n"
        "step({'image': X, 'labels': Y})\n",
        [("'labels'", "'label'")],
    ),
    Mistake(
        "one batch in place of many",
        flow.DataError,
        "iterable of batches, not dict",
        TRAIN + "list(step.run({'x': X, 'y': Y}))  #!\n",
        [("{'x': X, 'y': Y}", "[{'x': X, 'y': Y}]")],
    ),
    Mistake(
        "a number in place of batches",
        flow.DataError,
        "iterable of batches, not int",
        TRAIN + "list(step.run(100))  #!\n",
        [("step.run(100)", "step.run([(X, Y)], steps=100)")],
    ),
    Mistake(
        "a mesh by its name",
        flow.Error,
        "mesh= takes a flow.mesh.*not 'cpu'",
        TRAIN.replace("mesh=mesh)", "mesh='cpu')  #!") + "step(X, Y)\n",
        [("mesh='cpu'", "mesh=flow.mesh('cpu', dp=2)")],
    ),
    Mistake(
        "a step of no function",
        flow.Error,
        "made of a function, not of Tensor",
        "flow.eval_step(model(flow.tensor(X)), model=model, mesh=mesh)  #!\n",
        [("model(flow.tensor(X))", "lambda x: model(x)")],
    ),
    Mistake(
        "no plans at all",
        flow.Error,
        "max_plans=0",
        "flow.eval_step(model, model=model, mesh=mesh, max_plans=0)  #!\n",
        [("max_plans=0", "max_plans=1")],
    ),
    Mistake(
        "lists in place of arrays",
        flow.DataError,
        r"batch entry 'x.0' is a list of numbers; pass np.asarray",
        TRAIN + "step(X.tolist(), Y.tolist())  #!\n",
        [("X.tolist(), Y.tolist()", "np.asarray(X.tolist(), np.float32), np.asarray(Y.tolist())")],
    ),
    Mistake(
        "a metric that is not returned",
        flow.Error,
        "no metric 'accuracy', it has loss, lr, step",
        TRAIN + "print(step(X, Y)['accuracy'])  #!\n",
        [
            (
                "return F.cross_entropy(model(x), y)",
                "return {'loss': F.cross_entropy(model(x), y), 'accuracy': (model(x).argmax(1) == y).float().mean()}",
            )
        ],
    ),
    Mistake(
        "a batch with an entry too many",
        flow.Error,
        "unexpected keyword argument 'index'",
        TRAIN + "list(step.run([{'x': X, 'y': Y, 'index': Y}]))  #!\n",
        [(", 'index': Y", "")],
    ),
    Mistake(
        "an object in the batch",
        flow.DataError,
        "batch entry 'y' is a set",
        TRAIN + "step(X, {1, 2})  #!\n",
        [("{1, 2}", "Y")],
    ),
    Mistake(
        "a batch of strings",
        flow.DataError,
        "batch entry 'y'.*<U1",
        TRAIN + "step(X, np.array(list('abcd')))  #!\n",
        [("np.array(list('abcd'))", "Y")],
    ),
    Mistake(
        "an image and labels of another length",
        flow.ShapeError,
        "cross_entropy",
        TRAIN.replace("y)\n", "y)  #!\n", 1).replace("def step(x, y)  #!", "def step(x, y)")
        + "step(X, Y[:3])\n",
        [("Y[:3]", "Y")],
    ),
    Mistake(
        "a spec to run",
        flow.Error,
        r"flow\.spec.*array",
        TRAIN + "step(flow.spec((4, 3)), flow.spec((4,), flow.int64))  #!\n",
        [("step(flow", "step.compile(flow")],
    ),
    Mistake(
        "a static that cannot be a key",
        flow.Error,
        "not hashable",
        "step = flow.eval_step(lambda x, c: x * c['a'], model=model, mesh=mesh)\n"
        "step(X, flow.static({'a': 2}))  #!\n",
        [("c['a']", "dict(c)['a']"), ("{'a': 2}", "(('a', 2),)")],
    ),
    Mistake(
        "an iterator that is at its end",
        flow.DataError,
        "loader is empty.*iterated again",
        TRAIN
        + "batches = iter([(X, Y)])\nfor metrics in step.run(batches, steps=3):  #!\n    pass\n",
        [("iter([(X, Y)])", "[(X, Y)]")],
    ),
    Mistake(
        "samples that are compared",
        flow.ShardingError,
        "different micro-batches",
        "@flow.eval_step(model=model, mesh=mesh, accumulate=2)\n"
        "def step(x, y):\n"
        "    return (x @ x.T).sum()  #!\n\n"
        "step(X, Y)\n",
        [("accumulate=2", "accumulate=1")],
    ),
    Mistake(
        "samples of different shapes",
        flow.DataError,
        r"sample 1 has shape \(3,\).*pad_collate",
        "rows = [np.ones(2), np.ones(3)]\nloader = flow.data.DataLoader(rows, 2)\nfor x in loader:  #!\n    pass\n",
        [
            (
                "loader = flow.data.DataLoader(rows, 2)",
                "loader = flow.data.DataLoader(rows, 2, collate_fn=flow.data.pad_collate)",
            )
        ],
    ),
]
