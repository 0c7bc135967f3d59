// Trace: what ran when, kept in bounded rings and written as a Perfetto file (ui.perfetto.dev).
//
// One TraceRing per worker, owned by it and written by its thread only; WriteTrace after the
// threads have stopped. One track per stream; a slice is named after the task and carries task id,
// step and micro-batch, so that it can be laid beside the plan. When a ring is full the oldest
// slices go. Format: protobuf wire format by hand, only the few fields that Perfetto needs. Read
// next: runtime/worker.h.
#ifndef ONEFLOW_RUNTIME_TRACE_H_
#define ONEFLOW_RUNTIME_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/program.h"

namespace oneflow {

// One firing that ran.
struct TraceSlice {
  uint32_t plan = 0;
  uint32_t task = 0;
  int64_t ordinal = 0;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
};

// The last slices of one worker.
class TraceRing {
 public:
  // Keeps the last `capacity` slices; 0: none.
  explicit TraceRing(size_t capacity) : slices_(capacity) {}
  void Add(const TraceSlice& slice) {
    if (slices_.empty()) return;
    slices_[count_++ % slices_.size()] = slice;
  }
  // Oldest first.
  std::vector<TraceSlice> Slices() const;

 private:
  std::vector<TraceSlice> slices_;
  uint64_t count_ = 0;
};

// The file's bytes. `programs` by TraceSlice::plan; nullptr: no slice has that number.
std::string EncodeTrace(const std::vector<const Program*>& programs,
                        const std::vector<TraceSlice>& slices);
absl::Status WriteTrace(const std::string& path, const std::vector<const Program*>& programs,
                        const std::vector<TraceSlice>& slices);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_TRACE_H_
