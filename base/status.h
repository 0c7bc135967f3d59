// Errors between folders: absl::Status with two payloads, the kind of error (which Python class it
// becomes) and the user's location.
//
// A Status is a value. Threads: any. Invariant: a payload is never lost: annotate with the
// functions here, never by building a new Status from code and message. Message form: what
// happened, where, why, what to do. Read next: python/bindings/errors.h.
#ifndef ONEFLOW_BASE_STATUS_H_
#define ONEFLOW_BASE_STATUS_H_

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/location.h"

namespace oneflow {

// Which class of flow.Error the user sees.
enum class ErrorKind : int {
  kError = 0,
  kShape = 1,
  kDType = 2,
  kSharding = 3,
  kPlan = 4,
  kOutOfMemory = 5,
  kData = 6,
  kCheckpoint = 7,
  kPeer = 8,
  kNumerics = 9,
};

// A new error. `location` may be unknown; an outer caller then adds it with WithLocation.
absl::Status MakeError(ErrorKind kind, const std::string& message, const Location& location = {});

// kError for a Status made elsewhere. REQUIRES: !status.ok().
ErrorKind KindOf(const absl::Status& status);

// The user's location, if one was attached.
std::optional<Location> LocationOf(const absl::Status& status);

// Attaches `location` unless the status is ok or has one already.
absl::Status WithLocation(absl::Status status, const Location& location);

// Puts "`context`: " before the message and keeps code and payloads.
absl::Status WithContext(const absl::Status& status, const std::string& context);

// The message as std::string (absl::string_view is not std::string_view with Debian's Abseil).
std::string MessageOf(const absl::Status& status);

}  // namespace oneflow

#define OF_CONCAT_INNER(a, b) a##b
#define OF_CONCAT(a, b) OF_CONCAT_INNER(a, b)

// Returns the Status of `expression` from the enclosing function unless it is ok.
#define OF_RETURN_IF_ERROR(expression)                                                 \
  do {                                                                                 \
    if (::absl::Status of_status_ = (expression); !of_status_.ok()) return of_status_; \
  } while (false)

// Declares or assigns `lhs` from a StatusOr, or returns its Status.
#define OF_ASSIGN_OR_RETURN(lhs, expression) \
  OF_ASSIGN_OR_RETURN_INNER(OF_CONCAT(of_result_, __LINE__), lhs, expression)
#define OF_ASSIGN_OR_RETURN_INNER(result, lhs, expression) \
  auto result = (expression);                              \
  if (!result.ok()) return std::move(result).status();     \
  lhs = std::move(result).value()

#endif  // ONEFLOW_BASE_STATUS_H_
