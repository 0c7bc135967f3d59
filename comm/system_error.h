// SystemError: what the system refused, as an error.
//
// Pure. Threads: any; errno is the calling thread's. Read next: base/status.h.
#ifndef ONEFLOW_COMM_SYSTEM_ERROR_H_
#define ONEFLOW_COMM_SYSTEM_ERROR_H_

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace oneflow::comm {

// `what`, and why by errno.
inline absl::Status SystemError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_SYSTEM_ERROR_H_
