# oneflow_library(NAME DEPS...): one static library per folder; its dependencies are the layers.
# oneflow_tests(LIBRARY): every x_test.cc under the folder becomes one test binary of that library.
# oneflow_program(NAME SOURCE DEPS...): one executable from an x_main.cc.
# Precompiled headers cost each target five seconds: a target of one or a few sources goes without.
add_library(oneflow_options INTERFACE)
target_include_directories(oneflow_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_options(oneflow_options INTERFACE -Wall -Wextra -Werror=return-type -Wno-missing-field-initializers
                       -Wno-deprecated-declarations -ffp-contract=off -fvisibility=hidden)
if(ONEFLOW_SANITIZE STREQUAL "address")
  # Without the checks of pointers that stand before an access which AddressSanitizer checks itself: they cost a
  # third of the compile time of the kernels.
  target_compile_options(oneflow_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                         -fno-sanitize=null,object-size,pointer-overflow,vptr -fno-omit-frame-pointer)
  target_link_options(oneflow_options INTERFACE -fsanitize=address,undefined)
elseif(ONEFLOW_SANITIZE STREQUAL "fuzzer")  # clang only
  target_compile_options(oneflow_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined
                         -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(oneflow_options INTERFACE -fsanitize=address,undefined)
elseif(ONEFLOW_SANITIZE STREQUAL "thread")
  target_compile_options(oneflow_options INTERFACE -fsanitize=thread)
  target_link_options(oneflow_options INTERFACE -fsanitize=thread)
elseif(ONEFLOW_SANITIZE)
  message(FATAL_ERROR "ONEFLOW_SANITIZE is address, thread, fuzzer or empty, not ${ONEFLOW_SANITIZE}")
endif()

# Tests compile a quarter faster so, and are no slower to run: their time goes into what they call.
set(ONEFLOW_TEST_OPTIMISATION $<$<CONFIG:Release>:-O1> $<$<CONFIG:Sanitize>:-O0>)

function(oneflow_library name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$|_main\\.cc$|_benchmark\\.cc$|_for_test\\.cc$")
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC oneflow_options ${ARG_DEPS})
endfunction()

function(oneflow_program name source)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE oneflow_options ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
endfunction()

function(oneflow_tests name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  if(NOT ONEFLOW_TESTS)
    return()
  endif()
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  list(FILTER tests EXCLUDE REGEX "_for_test\\.cc$")
  if(NOT tests)
    return()
  endif()
  add_executable(${name}_test ${tests})
  target_link_libraries(${name}_test PRIVATE ${name} ${ARG_DEPS} GTest::gtest_main GTest::gmock)
  list(LENGTH tests count)
  if(count GREATER 3)
    target_precompile_headers(${name}_test PRIVATE <gtest/gtest.h> <gmock/gmock.h>)
  else()
    set_target_properties(${name}_test PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
  endif()
  target_compile_options(${name}_test PRIVATE ${ONEFLOW_TEST_OPTIMISATION})
  add_test(NAME ${name} COMMAND ${name}_test)
  # libgomp is not instrumented, so that more than one OpenMP thread gives false reports under TSan.
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT "OMP_NUM_THREADS=1;OMP_WAIT_POLICY=PASSIVE")
endfunction()

# oneflow_unity(LIBRARY): sanitizers' builds (ONEFLOW_UNITY) compile its sources, and its tests, a dozen as one: half of
# their compile time is what each source instantiates anew. So names in anonymous namespaces differ within a folder.
# Other builds compile source by source, as suits work on them.
function(oneflow_unity name)
  foreach(target ${name} ${name}_test)
    if(ONEFLOW_UNITY AND TARGET ${target})
      set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12)
    endif()
  endforeach()
endfunction()
