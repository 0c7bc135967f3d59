#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace oneflow {

CheckFailure::CheckFailure(const char* condition, const char* file, int line) {
  stream_ << file << ":" << line << ": CHECK failed: " << condition << " ";
}

CheckFailure::~CheckFailure() {
  std::fprintf(stderr, "%s\nThis is a bug in oneflow, please report it.\n", stream_.str().c_str());
  std::abort();
}

}  // namespace oneflow
