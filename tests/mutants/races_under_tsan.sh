#!/bin/sh
# The test of a mutant that ThreadSanitizer must see: builds oneflow_races_test of the tree that it stands in, and runs it.
# 126, which is no red, where it does not build. $1: the Python of the environment.
set -u
prefix=$(dirname "$(dirname "$1")")
cmake=$(command -v /usr/bin/cmake || command -v cmake)
"$cmake" -G Ninja -B build/tsan -DCMAKE_BUILD_TYPE=Sanitize -DONEFLOW_SANITIZE=thread -DONEFLOW_PYTHON=OFF \
  "-DCMAKE_PREFIX_PATH=$prefix" "-DPython3_EXECUTABLE=$1" || exit 126
"$cmake" --build build/tsan --target oneflow_races_test || exit 126
exec setarch "$(uname -m)" --addr-no-randomize build/tsan/kernels/cuda/races/oneflow_races_test
