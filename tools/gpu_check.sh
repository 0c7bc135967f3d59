#!/usr/bin/env bash
# Everything that needs a GPU, in one command, and the same on software CUDA; the rest is in ./run_tests.
#
#   tools/gpu_check.sh run [DIR [OUT]]  on a machine with a GPU: builds with CUDA; conformance of every kernel;
#                                       training under all layouts with the CPU's numbers; rates and times, with
#                                       PyTorch's beside them if python3 has it. OUT (default build/gpu-check)
#                                       has lines of JSON and logs; the record goes to benchmarks/results/
#   tools/gpu_check.sh soft [OUT]       the same without a GPU, on liboneflow_soft_cuda.so, at sizes that it can do:
#                                       that everything runs and agrees. No time of it is shown or kept
#   tools/gpu_check.sh soft-part OUT    a small part of that, of what ./dev build has built; no record
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

# step WHAT LIMIT LOG SHOWN COMMAND...: runs one command under a limit, and notes whether it passed. What it prints
# goes to LOG in OUT; the last SHOWN lines are shown.
checks=() profile=() libraries="" cudnn="" failed=0
step() {
  local what=$1 limit=$2 log=$3 shown=$4; shift 4
  say "$what"
  if timeout "$limit" "$@" >"$out/$log" 2>"$out/$log.err"; then
    checks+=(--check "$what=passed")
  else
    checks+=(--check "$what=failed") failed=1
    tail -n 20 "$out/$log" "$out/$log".err
  fi
  [ -s "$out/$log.err" ] || rm "$out/$log.err"
  tail -n "$shown" "$out/$log"
}

# all PYTHON ON SIZE [PART]: every check and benchmark, with the library that ONEFLOW_CUDA_LIBRARY names.
all() {
  local python=$1 size=$2 part=${3:-} rates=build/release/kernels
  local filter='*Cuda*' chosen=gpu sized=() which
  [ -z "$size" ] || sized=("$size")
  [ -z "$part" ] || { filter='SoftCuda.*:CudaKernels.*'; chosen='gpu and trains_as and resnet and dp2'; }
  rm -f "$out"/*.jsonl "$out"/*.log "$out"/*.err "$out"/kernels_of_models.txt
  step "conformance of every CUDA kernel with the CPU's" 300 conformance.log 5 \
    env LD_LIBRARY_PATH="$libraries:${LD_LIBRARY_PATH:-}" "$rates/oneflow_kernels_test" --gtest_color=no --gtest_filter="$filter"
  step "training under all layouts, with the CPU's numbers" 400 layouts.log 3 \
    "$python" -m pytest -p no:cacheprovider tests/e2e/test_cuda.py tests/e2e/test_cuda_steps.py tests/e2e/test_fused.py -k "$chosen"
  step "training" 100 training.jsonl 0 "$python" benchmarks/cuda_training.py "${sized[@]}"
  step "training of whole models" 240 models.jsonl 0 "$python" benchmarks/cuda_models.py "${sized[@]}" "${profile[@]}"
  step "rates of kernels" 120 kernels.jsonl 0 \
    "$rates/oneflow_cuda_benchmark" "$ONEFLOW_CUDA_LIBRARY" "$ONEFLOW_CUBLASLT" "${sized[@]}"
  step "rates of layers" 120 layers.jsonl 0 \
    "$rates/oneflow_cuda_layers_benchmark" "$ONEFLOW_CUDA_LIBRARY" "$ONEFLOW_CUBLASLT" "$cudnn" "${sized[@]}"
  if [ "$has_torch" = 1 ]; then
    for which in training models kernels layers; do
      step "PyTorch: $which" 120 "torch_$which.jsonl" 0 "$python" benchmarks/cuda_torch.py "$which" "${sized[@]}"
    done
  fi
}

finish() {
  "$1" -m tools.gpu_report "$out" "${@:2}" "${checks[@]}" || failed=1
  if [ "$failed" = 0 ]; then say "all passed"; else say "something failed: see above"; return 1; fi
}

run() {
  local from=$1; [ -z "$from" ] || from=$(cd "$from" && pwd -P)
  mkdir -p "$2"; out=$(cd "$2" && pwd -P)
  cd "$root" && mkdir -p build
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.draw,temperature.gpu --format=csv,noheader \
    || { echo "no GPU here: nothing was checked (tools/gpu_check.sh soft needs none)"; return 1; }
  say "building"
  build_all "$from" || return 1
  export PYTHONPATH=$root/python:$root OMP_WAIT_POLICY=PASSIVE
  [ "$has_torch" = 0 ] || profile=(--profile "$out/kernels_of_models.txt")
  export ONEFLOW_CUDA_LIBRARY=$root/python/oneflow/liboneflow_cuda.so
  ONEFLOW_CUBLASLT=$(python3 -c 'from oneflow import environment; print(environment.cublaslt())')
  export ONEFLOW_CUBLASLT
  cudnn=$(python3 -c 'from oneflow import environment; print(environment.cudnn())')
  libraries=$(dirname "$cudnn"):$(dirname "$(python3 -c 'from oneflow import environment; print(environment.nccl())')")
  all python3 ""
  finish python3 --on gpu --record gpu-check
}

soft() {
  local part=$2
  mkdir -p "$1"; out=$(cd "$1" && pwd -P)
  cd "$root"
  local targets=(_core oneflow_soft_cuda_plugin oneflow_cuda_benchmark oneflow_cuda_layers_benchmark oneflow_kernels_test)
  if [ -z "$part" ]; then
    say "building"
    ./dev build release "${targets[@]}" >"$out/build.txt" 2>&1 || { tail -20 "$out/build.txt"; return 1; }
  fi
  export PYTHONPATH=$root/python:$root OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 ONEFLOW_CUBLASLT=""
  export ONEFLOW_CUDA_LIBRARY=$root/build/release/kernels/cuda/liboneflow_soft_cuda.so
  all "$python" small "$part"
  if [ -z "$part" ]; then finish "$python" --on software --record gpu-check-soft; else finish "$python" --on software; fi
}

has_torch=0
case ${1:-} in
  pack) pack "$2" ;;
  run)
    ! python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || has_torch=1
    run "${2:-}" "${3:-$root/build/gpu-check}" ;;
  soft | soft-part)
    python=$root/.venv/bin/python
    ! "$python" -c 'import torch' 2>/dev/null || has_torch=1
    soft "${2:-$root/build/gpu-check}" "$([ "$1" = soft ] || echo part)" ;;
  *) sed -n '2,17p' "$0"; exit 2 ;;
esac
