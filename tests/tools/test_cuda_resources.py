"""Registers and spills as the assembler reports them; one file through nvcc where it is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import cuda_resources

REPORT = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4rowsIfEvPKT_' for 'sm_90'
ptxas info    : Function properties for _Z4rowsIfEvPKT_
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 134 registers, used 1 barriers, 2048 bytes smem
ptxas info    : Compiling entry function '_Z4copyPv' for 'sm_90'
ptxas info    : Function properties for _Z4copyPv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 16 registers, used 0 barriers
"""


def test_the_report_is_read() -> None:
    copy, rows = cuda_resources.parse("norms", REPORT)
    assert copy == cuda_resources.Resources("norms", "_Z4copyPv", 16, 0, 0, 0)
    assert rows == cuda_resources.Resources("norms", "_Z4rowsIfEvPKT_", 134, 2048, 8, 16)
    assert cuda_resources.spills([copy, rows]) == ["norms: _Z4rowsIfEvPKT_ spills 16 bytes"]


def test_names_are_short() -> None:
    names = ["_ZN7oneflow7kernels12_GLOBAL__N_110NormKernelIdLb0EEEvNS0_8CudaNormEPKT_"]
    assert cuda_resources.readable(names) == ["NormKernel<double, false>"]


def test_an_object_is_known_by_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_resources, "ROOT", tmp_path)
    (tmp_path / "a.cu").write_text("one")
    (tmp_path / "a.h").write_text("two")
    rule = tmp_path / "a.d"
    rule.write_text(f"a.o : {tmp_path}/a.cu \\\n    {tmp_path}/a.h \\\n    /usr/include/stdio.h\n")
    depends = cuda_resources.depended_on(rule)
    assert depends == ["a.cu", "a.h"]
    known = cuda_resources.fingerprint(["-O3", "-I/somewhere"], depends)
    assert cuda_resources.fingerprint(["-O3", "-I/elsewhere"], depends) == known
    assert cuda_resources.fingerprint(["-O2"], depends) != known
    (tmp_path / "a.h").write_text("three")
    assert cuda_resources.fingerprint(["-O3"], depends) != known


def test_a_build_tells_every_file_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compiled(file: str, architecture: str) -> list[cuda_resources.Resources]:
        if file == "gate":
            raise RuntimeError(f"nvcc gate.cu for sm_{architecture}: error")
        return [cuda_resources.Resources(file, "Kernel", 32, 0, 0, 8 if file == "pool" else 0)]

    def link(architecture: str) -> Path:
        raise RuntimeError(f"linking for sm_{architecture}: undefined")

    monkeypatch.setattr(cuda_resources, "compile_file", compiled)
    monkeypatch.setattr(cuda_resources, "link", link)
    made = cuda_resources.build("90")
    assert made.library is None and len(made.kernels) == len(cuda_resources.files()) - 1
    assert sorted(made.wrong) == [
        "sm_90 nvcc gate.cu for sm_90: error",
        "sm_90 pool: Kernel spills 8 bytes",
    ]
    first = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in first if line.startswith("ok ")] and "FAILED sm_90 pool" in first
    assert "FAILED sm_90 gate" in first
    # What compiles may still not link.
    monkeypatch.setattr(cuda_resources, "files", lambda: ["norms"])
    assert cuda_resources.build("90").wrong == ["sm_90 linking for sm_90: undefined"]
    assert not cuda_resources.build("90", ["norms"]).wrong  # files that are chosen are not linked


def test_what_the_loader_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_resources, "OBJECTS", tmp_path)
    monkeypatch.setattr(cuda_resources, "find_nvcc", lambda: "true")
    (tmp_path / "sm_90").mkdir()
    (tmp_path / "sm_90" / "liboneflow_cuda.so").write_bytes(b"no library")
    with pytest.raises(RuntimeError, match="loading liboneflow_cuda.so for sm_90"):
        cuda_resources.link("90")


@pytest.mark.skipif(not cuda_resources.find_nvcc(), reason="no nvcc of CUDA 13")
def test_one_file_compiles_and_spills_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_resources, "OBJECTS", tmp_path)
    found = cuda_resources.compile_file("pool", "90")
    assert len(found) > 8 and not cuda_resources.spills(found)
    assert all(0 < one.registers <= 255 for one in found)
    # The second time nothing is compiled: an object that is only touched stays.
    (tmp_path / "sm_90" / "pool.o").write_bytes(b"kept")
    assert cuda_resources.compile_file("pool", "90") == found
    assert (tmp_path / "sm_90" / "pool.o").read_bytes() == b"kept"
