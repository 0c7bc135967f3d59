"""Mistakes with layouts, modules, files and loaders."""

from __future__ import annotations

import oneflow as flow

from tests.errors.mistake import Mistake, step_of

LAYOUTS = [
    Mistake(
        "a device that is not there",
        flow.ShardingError,
        r"no 'gpu' devices.*flow\.mesh\('cpu'",
        "flow.mesh('gpu', dp=2)  #!\n",
        [("'gpu'", "'cpu'")],
    ),
    Mistake(
        "torch's device string",
        flow.ShardingError,
        "no 'cuda:0' devices",
        "flow.mesh('cuda:0')  #!\n",
        [("'cuda:0'", "'cpu'")],
    ),
    Mistake(
        "an axis of no devices",
        flow.ShardingError,
        "axis dp has size 0.*from 1",
        "flow.mesh('cpu', dp=0)  #!\n",
        [("dp=0", "dp=1")],
    ),
    Mistake(
        "an axis that the mesh lacks",
        flow.ShardingError,
        r"no axis 'tp'",
        step_of("return flow.shard(model(x), tp='S(1)')  #!"),
        [("tp='S(1)'", "dp='S(0)'")],
    ),
    Mistake(
        "a rule for an axis that the mesh lacks",
        flow.ShardingError,
        "no axis 'tp'",
        "flow.eval_step(model, model=model, mesh=mesh, parallel={'weight': dict(tp='S(0)')})  #!\n",
        [("mesh=mesh", "mesh=flow.mesh('cpu', tp=2)")],
    ),
    Mistake(
        "a rule that matches nothing",
        flow.ShardingError,
        "'wieght' matches no parameter; the parameters are weight, bias",
        "flow.eval_step(model, model=model, mesh=mesh, parallel={'wieght': dict(dp='B')})  #!\n",
        [("wieght", "weight")],
    ),
    Mistake(
        "a rule behind one that takes all",
        flow.ShardingError,
        "never the first to match",
        "flow.eval_step(model, model=model, mesh=mesh, parallel={'*': dict(dp='B'), 'bias': dict(dp='S(0)')})  #!\n",
        [
            (
                "{'*': dict(dp='B'), 'bias': dict(dp='S(0)')}",
                "{'bias': dict(dp='S(0)'), '*': dict(dp='B')}",
            )
        ],
    ),
    Mistake(
        "a layout of a word of one's own",
        flow.ShardingError,
        "'split' is no layout|no layout",
        "flow.shard(model.weight, dp='split')  #!\n",
        [("'split'", "'S(0)'")],
    ),
    Mistake(
        "a split of a dim that is not there",
        flow.ShardingError,
        r"splits a dim that shape \(5, 3\) lacks",
        "flow.shard(model.weight, dp='S(2)')  #!\n",
        [("S(2)", "S(1)")],
    ),
    Mistake(
        "a layout called auto by another name",
        flow.ShardingError,
        "parallel='data'.*'auto'",
        "flow.eval_step(model, model=model, mesh=mesh, parallel='data')  #!\n",
        [("'data'", "'auto'")],
    ),
    Mistake(
        "a stage that is not there",
        flow.ShardingError,
        "stage 2 does not exist.*pp=2",
        "@flow.eval_step(model=model, mesh=flow.mesh('cpu', pp=2))\n"
        "def step(x):\n"
        "    with flow.stage(2):  #!\n"
        "        return x * 2\n\n"
        "step(X)\n",
        [("stage(2)", "stage(1)")],
    ),
]


MODULES = [
    Mistake(
        "forgetting super().__init__",
        AttributeError,
        r"super\(\).__init__\(\) in Net",
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        self.fc = nn.Linear(3, 2)  #!\n\n"
        "Net()\n",
        [("        self.fc", "        super().__init__()\n        self.fc")],
    ),
    Mistake(
        "a module without forward",
        NotImplementedError,
        "Net has no forward",
        "class Net(nn.Module):\n    def call(self, x):\n        return x\n\nNet()(X)  #!\n",
        [("def call", "def forward")],
    ),
    Mistake(
        "an attribute with a slip",
        AttributeError,
        "'wieght'",
        "model.wieght  #!\n",
        [("wieght", "weight")],
    ),
    Mistake(
        "a tensor in place of a parameter",
        TypeError,
        r"weight is a parameter.*copy_\(\)",
        "model.weight = flow.zeros(5, 3)  #!\n",
        [("model.weight = flow.zeros(5, 3)", "model.weight.copy_(flow.zeros(5, 3))")],
    ),
    Mistake(
        "a state dict without an entry",
        flow.CheckpointError,
        r"missing \['bias'\].*strict=False",
        "model.load_state_dict({'weight': np.zeros((5, 3), np.float32)})  #!\n",
        [("np.float32)})", "np.float32)}, strict=False)")],
    ),
    Mistake(
        "a state dict with a prefix",
        flow.CheckpointError,
        r"unexpected \['module.weight'",
        "state = {'module.' + name: value for name, value in model.state_dict().items()}\n"
        "model.load_state_dict(state)  #!\n",
        [
            (
                "model.load_state_dict(state)",
                "model.load_state_dict({n.removeprefix('module.'): v for n, v in state.items()})",
            )
        ],
    ),
    Mistake(
        "a state dict of another size",
        flow.CheckpointError,
        r"weight has shape \(2, 3\) in the state dict and \(5, 3\) in the model",
        "model.load_state_dict(nn.Linear(3, 2).state_dict())  #!\n",
        [("nn.Linear(3, 2)", "nn.Linear(3, 5)")],
    ),
    Mistake(
        "writing into a parameter's array",
        ValueError,
        "read-only",
        "model.weight.numpy()[0] = 1.0  #!\n",
        [
            (
                "model.weight.numpy()[0] = 1.0",
                "w = model.weight.numpy().copy()\nw[0] = 1.0\nmodel.weight.copy_(w)",
            )
        ],
    ),
    Mistake(
        "a file that is not there",
        Exception,
        "no.safetensors",
        "flow.load('no.safetensors')  #!\n",
        [
            (
                "flow.load('no.safetensors')",
                "flow.save(model.state_dict(), 'no.safetensors')\nflow.load('no.safetensors')",
            )
        ],
    ),
    Mistake(
        "a probability beyond 1",
        flow.Error,
        "dropout|probability|p=",
        "F.dropout(flow.ones(3), 1.5)  #!\n",
        [("1.5", "0.5")],
    ),
    Mistake(
        "heads that do not divide",
        flow.ShapeError,
        "view|reshape|elements",
        "flow.zeros(2, 5, 10).view(2, 5, 3, 4)  #!\n",
        [("3, 4)", "2, 5)")],
    ),
]


LOADING = [
    Mistake(
        "shuffling a stream",
        flow.Error,
        "its own order",
        "flow.data.DataLoader((x for x in X), 2, shuffle=True)  #!\n",
        [("(x for x in X)", "[x for x in X]")],
    ),
    Mistake(
        "a dataset without a length",
        flow.Error,
        "sequence or an iterable, not Rows",
        "class Rows:\n    def get(self, i):\n        return X[i]\n\nflow.data.DataLoader(Rows(), 2)  #!\n",
        [
            (
                "    def get(self, i):",
                "    def __len__(self):\n        return 4\n\n    def __getitem__(self, i):",
            )
        ],
    ),
    Mistake(
        "tensors of different lengths",
        flow.ShapeError,
        "same dim 0",
        "flow.data.TensorDataset(X, Y[:3])  #!\n",
        [("Y[:3]", "Y")],
    ),
    Mistake(
        "parts that do not add up",
        flow.Error,
        "sum to",
        "flow.data.random_split(X, [3, 2])  #!\n",
        [("[3, 2]", "[3, 1]")],
    ),
    Mistake(
        "a local dataset in workers",
        flow.DataError,
        "num_workers=0",
        "def make():\n"
        "    class Rows(flow.data.Dataset):\n"
        "        def __len__(self):\n"
        "            return 4\n\n"
        "        def __getitem__(self, i):\n"
        "            return i\n\n"
        "    return Rows()\n\n"
        "loader = flow.data.DataLoader(make(), 2, num_workers=1)\n"
        "list(loader)  #!\n",
        [("num_workers=1", "num_workers=0")],
    ),
    Mistake(
        "a position of another seed",
        flow.DataError,
        "seed=1.*seed=2",
        "a = flow.data.DataLoader(X, 2, shuffle=True, seed=1)\n"
        "b = flow.data.DataLoader(X, 2, shuffle=True, seed=2)\n"
        "b.load_state_dict(a.state_dict())  #!\n",
        [("seed=2", "seed=1")],
    ),
    Mistake(
        "a tap of one name twice",
        flow.Error,
        "'h' is tapped twice",
        step_of("for i in range(2):\n    x = flow.tap('h', x * 2)  #!\nreturn x").replace(
            "flow.eval_step(model=model,", "flow.eval_step(model=model,"
        ),
        [("'h'", "f'h{i}'")],
    ),
    Mistake(
        "a print with too few values",
        flow.Error,
        "2 fields for 1 values",
        step_of("flow.debug.print('{} {}', x.sum())  #!\nreturn x"),
        [("'{} {}'", "'{}'")],
    ),
]
