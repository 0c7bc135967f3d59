#!/usr/bin/env bash
# Everything that needs a GPU, in one command; what needs none is in ./run_tests.
#
#   tools/gpu_check.sh run [DIR [OUT]]  on a machine with a GPU: builds with CUDA; conformance of every kernel;
#                                       training under all layouts with the CPU's numbers; rates and times, with
#                                       PyTorch's beside them if python3 has it. JSON lines go to OUT
#                                       (default build/gpu-check)
#   tools/gpu_check.sh pack DIR         for a machine that can fetch nothing: what the build needs beside a
#                                       compiler, nvcc, CMake and Python, and this commit's sources, into DIR.
#                                       There: unpack DIR/sources.tar.gz and let its tools/gpu_check.sh run DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
say() { echo "== $* ($(date +%T))"; }

pack() {
  mkdir -p "$1" && local out; out=$(cd "$1" && pwd -P)
  rm -rf "${out:?}"/* && mkdir -p "$out"/{debs,dnnl/include,dnnl/lib/cmake,cublas}
  (cd "$out/debs" && apt-get download -qq libabsl-dev libabsl20220623 libprotobuf-dev libprotobuf32 libprotobuf-lite32 \
    libprotoc32 protobuf-compiler libssl-dev nlohmann-json3-dev libgtest-dev libgmock-dev googletest zlib1g-dev)
  # The wheel has three copies of the library.
  cp -r "$root"/.venv/include/{oneapi,dnnl*} "$out/dnnl/include/"
  strip --strip-unneeded -o "$out/dnnl/lib/libdnnl.so.3.2" "$root/.venv/lib/libdnnl.so.3.2"
  ln -s libdnnl.so.3.2 "$out/dnnl/lib/libdnnl.so.3" && ln -s libdnnl.so.3 "$out/dnnl/lib/libdnnl.so"
  cp -r "$root/.venv/lib/cmake/dnnl" "$out/dnnl/lib/cmake/"
  tar -C "$out" -c dnnl | gzip -1 >"$out/dnnl.tar.gz" && rm -r "$out/dnnl"
  local header; header=$(find "$root/.venv" -name cublasLt.h -print -quit)
  [ -z "$header" ] || cp "$(dirname "$header")"/cublas{Lt,_api}.h "$out/cublas/"
  git -C "$root" archive HEAD | gzip -1 >"$out/sources.tar.gz"
  say "packed $(du -sh "$out" | cut -f1) into $out"
}

# Builds in this tree, for the python3 that is here.
build_all() {
  local options=()
  if [ -d "$1/debs" ]; then
    local deb
    for deb in "$1"/debs/*.deb; do dpkg -x "$deb" /; done
    ldconfig
    tar -C "$root/build" -xzf "$1/dnnl.tar.gz"
    options+=("-Ddnnl_DIR=$root/build/dnnl/lib/cmake/dnnl")
  fi
  local cublas
  cublas=$(python3 -c 'import glob, sys
found = [p for s in sys.path for p in glob.glob(s + "/nvidia/cu13/include/cublasLt.h")]
print(found[0] if found else "")')
  [ -n "$cublas" ] || { [ ! -e "$1/cublas/cublasLt.h" ] || cublas=$1/cublas/cublasLt.h; }
  [ -z "$cublas" ] || options+=("-DONEFLOW_CUDA_INCLUDE=$(dirname "$cublas")")
  cmake -S "$root" -B "$root/build/release" -G Ninja -DCMAKE_BUILD_TYPE=Release -DONEFLOW_INPLACE=ON -DONEFLOW_CUDA=ON \
    -DPython3_EXECUTABLE="$(command -v python3)" "${options[@]}" >"$out/configure.log" 2>&1 \
    || { tail -30 "$out/configure.log"; return 1; }
  ninja -C "$root/build/release" _core oneflow_cuda oneflow_soft_cuda_plugin oneflow_cuda_benchmark oneflow_cuda_layers_benchmark oneflow_kernels_test \
    >"$out/build.log" 2>&1 || { grep -E "error|FAILED" "$out/build.log" | head -30; tail -5 "$out/build.log"; return 1; }
}

run() {
  local failed=0
  local from=$1; [ -z "$from" ] || from=$(cd "$from" && pwd -P)
  mkdir -p "$2"; out=$(cd "$2" && pwd -P)
  cd "$root" && mkdir -p build
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.draw,temperature.gpu --format=csv,noheader \
    || { echo "no GPU here: nothing was checked"; return 1; }
  say "building"
  build_all "$from" || return 1
  export PYTHONPATH=$root/python OMP_WAIT_POLICY=PASSIVE
  export ONEFLOW_CUDA_LIBRARY=$root/python/oneflow/liboneflow_cuda.so
  ONEFLOW_CUBLASLT=$(python3 -c 'from oneflow import environment; print(environment.cublaslt())')
  export ONEFLOW_CUBLASLT
  say "conformance of every CUDA kernel with the CPU's"
  timeout 200 build/release/kernels/oneflow_kernels_test --gtest_filter='*Cuda*' 2>&1 | tee "$out/conformance.log" | tail -30 || failed=1
  say "training under all layouts, with the CPU's numbers"
  timeout 400 python3 -m pytest -q -p no:cacheprovider tests/e2e/test_cuda.py 2>&1 | tee "$out/layouts.log" | tail -15 || failed=1
  say "training"
  timeout 100 python3 benchmarks/cuda_training.py | tee "$out/training.jsonl" || failed=1
  if [ "$has_torch" = 1 ]; then timeout 100 python3 benchmarks/cuda_torch.py training | tee "$out/torch_training.jsonl" || failed=1; fi
  say "rates"
  timeout 120 build/release/kernels/oneflow_cuda_benchmark "$ONEFLOW_CUDA_LIBRARY" "$ONEFLOW_CUBLASLT" | tee "$out/kernels.jsonl" || failed=1
  timeout 120 build/release/kernels/oneflow_cuda_layers_benchmark "$ONEFLOW_CUDA_LIBRARY" | tee "$out/layers.jsonl" || failed=1
  if [ "$has_torch" = 1 ]; then timeout 120 python3 benchmarks/cuda_torch.py kernels | tee "$out/torch_kernels.jsonl" || failed=1; fi
  # One file of records, and the logs in another.
  cat "$out"/*.jsonl >"$out/records" && rm "$out"/*.jsonl && mv "$out/records" "$out/gpu.jsonl"
  tail -n +1 "$out"/*.log >"$out/logs.txt" && rm -f "$out"/{configure,build,conformance,layouts}.log
  if [ "$failed" = 0 ]; then say "all passed"; else say "something failed: see above"; return 1; fi
}

case ${1:-} in
  pack) pack "$2" ;;
  run)
    has_torch=0
    ! python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || has_torch=1
    run "${2:-}" "${3:-$root/build/gpu-check}" ;;
  *) sed -n '2,13p' "$0"; exit 2 ;;
esac
