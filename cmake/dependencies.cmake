# What the build takes from outside, each found once. ./dev build installs what is missing
# (tools/setup/*.txt say what).
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # module mode
find_package(absl REQUIRED)
if(NOT ONEFLOW_SANITIZE STREQUAL "fuzzer")  # clang without libomp; base and plan have no parallel loops
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
find_package(OpenSSL REQUIRED COMPONENTS Crypto)

find_package(Python3 REQUIRED COMPONENTS Interpreter)

# oneDNN 3: a newer 3.x of the system, or the wheel `onednn-devel-cpu-gomp`, whose files lie in the
# prefix of the environment (.venv, or the isolated one that pip builds a wheel in).
find_package(dnnl 3 CONFIG QUIET)
if(NOT dnnl_FOUND)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c "
from importlib.metadata import files
print(next(f.locate().resolve().parent for f in files('onednn-devel-cpu-gomp') if f.name == 'dnnl-config.cmake'))"
    OUTPUT_VARIABLE dnnl_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  find_package(dnnl 3 CONFIG REQUIRED PATHS ${dnnl_DIR} NO_DEFAULT_PATH)
endif()

if(ONEFLOW_TESTS)
  find_package(GTest REQUIRED)
endif()
if(ONEFLOW_PYTHON)
  find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module)
  execute_process(COMMAND ${Python3_EXECUTABLE} -m pybind11 --cmakedir
                  OUTPUT_VARIABLE pybind11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(PYBIND11_FINDPYTHON ON)
  find_package(pybind11 2.13 CONFIG REQUIRED)
endif()
