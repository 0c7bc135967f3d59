# Language, build types and the compiler cache.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# A preset's .venv takes precedence over any active environment.
set(Python3_FIND_VIRTUALENV STANDARD)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
# -O3 pays in kernels/ alone, which adds it; elsewhere -O2 compiles faster and runs as fast.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
# A precompiled header fills GCC's heap to where it collects garbage; without that it takes 5 % less time and more.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  string(APPEND CMAKE_CXX_FLAGS " --param ggc-min-heapsize=1048576")  # KiB
endif()
# The sanitizers' build type: -g1 is enough for stacks and compiles three times as fast as -g.
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1")

# The cache is shared by all checkouts: paths below the source folder are hashed relative to it.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
endif()
