#!/bin/sh
# The test of a mutant that a fuzzer must find without any seed: builds target $2 of the tree that it stands in by
# clang 16, and runs it for at most a minute. 126, which is no red, where it does not build. $1: the Python of the environment.
set -u
prefix=$(dirname "$(dirname "$1")")
cmake=$(command -v /usr/bin/cmake || command -v cmake)
"$cmake" -G Ninja -B build/fuzz -DCMAKE_BUILD_TYPE=Sanitize -DONEFLOW_SANITIZE=fuzzer -DONEFLOW_PYTHON=OFF -DONEFLOW_TESTS=OFF \
  -DCMAKE_CXX_COMPILER=clang++-16 "-DCMAKE_PREFIX_PATH=$prefix" "-DPython3_EXECUTABLE=$1" || exit 126
"$cmake" --build build/fuzz --target "$2" || exit 126
exec "build/fuzz/tests/fuzz/$2" -max_total_time=60 -seed=1 -print_final_stats=1 -timeout=20
