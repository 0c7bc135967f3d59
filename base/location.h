// Location: the place in the user's program that made an op. It travels Node -> Task -> kernel
// launch, so that an error found late still points at the user's line.
//
// Plain value. Threads: any. Never part of a fingerprint (paths differ between hosts).
// Read next: base/status.h.
#ifndef ONEFLOW_BASE_LOCATION_H_
#define ONEFLOW_BASE_LOCATION_H_

#include <string>

namespace oneflow {

// A line of the user's program. line == 0 means "unknown".
struct Location {
  std::string file;
  int line = 0;
  std::string function;

  bool known() const { return line > 0; }
  // "mlp.py:8" (base name of the file and line), "?" if unknown: for dumps and messages.
  std::string Short() const;
  bool operator==(const Location&) const = default;
  auto operator<=>(const Location&) const = default;
};

}  // namespace oneflow

#endif  // ONEFLOW_BASE_LOCATION_H_
