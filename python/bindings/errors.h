// Status -> Python exceptions: the only C++ of the project that throws.
//
// The class that Python sees is oneflow.errors.<Kind>Error, chosen by KindOf(status); its
// `location` is the user's line. Functions. Threads: throw anywhere; the translation runs with the
// GIL held. Read next: base/status.h, python/oneflow/errors.py.
#ifndef ONEFLOW_PYTHON_BINDINGS_ERRORS_H_
#define ONEFLOW_PYTHON_BINDINGS_ERRORS_H_

#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace oneflow::python {

// A failed Status on its way to Python.
class StatusError : public std::exception {
 public:
  explicit StatusError(absl::Status status);
  const absl::Status& status() const { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  absl::Status status_;
  std::string message_;
};

inline void ThrowIfError(absl::Status status) {
  if (!status.ok()) throw StatusError(std::move(status));
}

template <typename T>
T ValueOrThrow(absl::StatusOr<T> result) {
  if (!result.ok()) throw StatusError(std::move(result).status());
  return std::move(result).value();
}

void BindErrors(pybind11::module_& module);

}  // namespace oneflow::python

#endif  // ONEFLOW_PYTHON_BINDINGS_ERRORS_H_
