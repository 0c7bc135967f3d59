#include "comm/verbs/verbs.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace oneflow::comm {

std::string NameOfStatus(int status) {
  // enum ibv_wc_status, in its order.
  static constexpr const char* kNames[] = {"success",
                                           "local length error",
                                           "local QP operation error",
                                           "local EE context operation error",
                                           "local protection error",
                                           "Work Request Flushed Error",
                                           "memory management operation error",
                                           "bad response error",
                                           "local access error",
                                           "remote invalid request error",
                                           "remote access error",
                                           "remote operation error",
                                           "transport retry counter exceeded",
                                           "RNR retry counter exceeded",
                                           "local RDD violation error",
                                           "remote invalid RD request",
                                           "aborted error",
                                           "invalid EE context number",
                                           "invalid EE context state",
                                           "fatal error",
                                           "response timeout error",
                                           "general error"};
  const bool known = status >= 0 && status < static_cast<int>(std::size(kNames));
  return absl::StrCat(known ? kNames[status] : "unknown error", " (status ", status, ")");
}

}  // namespace oneflow::comm
