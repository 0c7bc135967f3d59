"""The graphs that our library gives to cuDNN are graphs that cuDNN has engines for: asked without a GPU, two windows and
two models' attention.

`./dev long cudnn-graphs` asks for all of ResNet-50's, and for more models.
"""

from __future__ import annotations

import pytest

from tools import cudnn_graphs

WINDOWS = [cudnn_graphs.Window(14, 256, 256, 3), cudnn_graphs.Window(56, 256, 128, 1)]


def test_the_windows_are_resnet_50s() -> None:
    windows = cudnn_graphs.resnet50()
    assert len(windows) == 23
    assert windows[0] == cudnn_graphs.Window(224, 3, 64, 7, 2)
    assert cudnn_graphs.Window(7, 512, 2048, 1) in windows
    assert cudnn_graphs.Window(56, 256, 512, 1, 2) in windows  # a shortcut


# Where cuDNN is installed; the fast suite does not install its 500 MB.
if cudnn_graphs.packages() is not None:

    @pytest.mark.parametrize("window", WINDOWS, ids=str)
    def test_cudnn_has_an_engine_within_the_room(window: cudnn_graphs.Window) -> None:
        for dtype in ("bf16", "f16"):
            said = cudnn_graphs.ask(window, 32, dtype, "conv2d_sums")
            assert said["found"], said
            # Sums that come again have their shares in memory; those that do not need none.
            assert 0 < said["workspace"] <= said["room"], said

    @pytest.mark.parametrize(
        ("heads", "samples"),
        [item for item in cudnn_graphs.ATTENTION.items() if item[0].words > 128][-3::2],
        ids=str,
    )
    def test_cudnn_has_an_engine_of_attention_within_the_room(
        heads: cudnn_graphs.Heads, samples: int
    ) -> None:
        forward = cudnn_graphs.ask(heads, samples, "bf16", "attention")
        assert forward["found"] and forward["slice"] == samples, forward
        assert forward["workspace"] <= forward["room"] < forward["planned"], forward
        said = cudnn_graphs.ask(heads, samples, "bf16", "attention_grad")
        assert said["found"] and 0 < said["slice"] < samples, said
        # That it keeps the slopes is what makes its bits come again.
        assert said["expected"] <= said["workspace"] <= said["room"] < said["planned"], said

    def test_engines_have_names_by_which_measured_ones_are_kept() -> None:
        """Different ones different names, the same in each process, and that of the first is among them."""
        said = cudnn_graphs.ask(WINDOWS[0], 32, "bf16", "conv2d")
        names = said["offered"]
        assert 2 <= len(names) <= 8 and len(set(names)) == len(names)
        assert said["name"] in names and said["name"].startswith(f"engine {said['engine']} ")
        assert cudnn_graphs.ask(WINDOWS[0], 32, "bf16", "conv2d")["offered"] == names
