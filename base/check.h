// OF_CHECK: our own invariants. A failed check is our bug, never the user's: it prints the
// condition, the place and a message, then aborts. User mistakes are absl::Status (base/status.h).
//
// Threads: any. Read next: base/status.h.
#ifndef ONEFLOW_BASE_CHECK_H_
#define ONEFLOW_BASE_CHECK_H_

#include <sstream>

namespace oneflow {

// Collects the message of a failed check and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* condition, const char* file, int line);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace oneflow

// OF_CHECK(a == b) << "why it must hold";
#define OF_CHECK(condition) \
  if (condition)            \
    [[likely]];             \
  else                      \
    ::oneflow::CheckFailure(#condition, __FILE__, __LINE__).stream()

#endif  // ONEFLOW_BASE_CHECK_H_
