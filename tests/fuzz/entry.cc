// libFuzzer's entry point of one function of comm_fuzz.h, which CMakeLists.txt names.
#include "tests/fuzz/comm_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  oneflow::comm::ONEFLOW_FUZZED(data, size);
  return 0;
}
