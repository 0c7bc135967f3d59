// Invocation: what one step in flight reads from and writes to the caller: input bytes, output
// buffers, and counts of what is still to come.
//
// A fixed ring of them belongs to each loaded plan (kWindow steps may be in flight); step s uses
// entry s % kWindow. Threads: the caller fills an entry before the step is launched and takes it
// back after the step is done; between, movement threads only read the addresses and count down.
// Read next: runtime/io/staging.h, runtime/io/fetch_ring.h, runtime/program.h.
#ifndef ONEFLOW_RUNTIME_IO_INVOCATION_H_
#define ONEFLOW_RUNTIME_IO_INVOCATION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "base/host_tensor.h"

namespace oneflow {

// The outputs of one invocation, in the fetch ring.
struct FetchEntry {
  int64_t id = -1;  // -1: unused
  std::vector<HostTensor> tensors;
  bool discarded = false;            // free as soon as it is done
  absl::Status error;                // why there are no values, once the session knows
  std::atomic<bool> skipped{false};  // an output was not written: the data of the step is wrong
  std::atomic<bool> done{false};     // set under the executor's progress lock
};

struct Invocation {
  // Steps of one plan that may be in flight. More would only lengthen queues: credits bound what
  // overlaps.
  static constexpr int64_t kWindow = 4;

  int64_t id = -1;                 // of the session
  std::vector<HostTensor> inputs;  // the caller's, while feeds read from them; else empty
  bool caller_waits = false;       // until all feeds are done
  std::vector<const std::byte*> input_bytes;  // logical, by Plan.inputs
  std::vector<std::byte*> output_bytes;       // logical, by Plan.outputs; nullptr: not fetched here
  FetchEntry* fetch = nullptr;
  int64_t launched_ns = 0;
  std::atomic<int32_t> feeds_left{0};
  std::atomic<int32_t> fetches_left{0};
  std::atomic<int32_t> streams_left{0};
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_IO_INVOCATION_H_
