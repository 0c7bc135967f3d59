# What the build takes from outside, each found once. docs: README.md; ./dev build installs what is missing.
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # module mode
find_package(absl REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)

# oneDNN 3: the wheel `onednn-devel-cpu-gomp` in the environment that CMAKE_PREFIX_PATH names.
find_package(dnnl CONFIG REQUIRED)

if(ONEFLOW_TESTS)
  find_package(GTest REQUIRED)
endif()
if(ONEFLOW_PYTHON)
  find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module)
  execute_process(COMMAND ${Python3_EXECUTABLE} -m pybind11 --cmakedir
                  OUTPUT_VARIABLE pybind11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE)
  find_package(pybind11 CONFIG REQUIRED)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
