// StepBlock: what a step and its kernels tell each other on the device: the number of the step, and
// the first error in the data.
//
// Standard layout, no pointers: it lies in memory that host and device both reach, and a recorded
// stretch of kernels keeps its address. One per device and place in the window of steps in flight.
// Where a device runs whole steps its kernels have one of their own for all steps, without a number, in
// the device's memory, and what it says is copied here when a step is over
// (runtime/devices/cuda/cuda_step.h).
// Threads: the host begins it before the step's first kernel is enqueued and reads it after the last
// is over; between, kernels of the step read `step`, and any of their threads may report. Invariant:
// the first report wins, and its other fields are whole once the kernel that made it is over.
// Read next: kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_STEP_BLOCK_H_
#define ONEFLOW_KERNELS_STEP_BLOCK_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <type_traits>

namespace oneflow::kernels {

// What was wrong in the data of a step. Numbers are part of the contract with device code.
enum class DataErrorCode : uint32_t {
  kNone = 0,
  kIndexOutOfRange = 1,   // value: the index; bound: legal are 0 <= index < bound
  kLengthOutOfRange = 2,  // value: the length; bound: legal are 0 <= length <= bound
};

// In a cache line of its own.
struct alignas(64) StepBlock {
  uint64_t step = 0;        // of the run
  uint32_t error_code = 0;  // DataErrorCode; set once, by compare-exchange from 0
  uint32_t error_task = 0;  // KernelArgs::task
  int64_t error_value = 0;
  int64_t error_bound = 0;

  // REQUIRES: no kernel of the step before it at this place is still to come.
  void Begin(uint64_t number) {
    *this = StepBlock();
    step = number;
  }
  DataErrorCode error() const { return static_cast<DataErrorCode>(error_code); }
};
static_assert(std::is_standard_layout_v<StepBlock> && sizeof(StepBlock) == 64);

// For kernels on a CPU: the first to come writes the error. Any thread of a team.
inline void ReportDataError(StepBlock* block, uint32_t task, DataErrorCode code, int64_t value,
                            int64_t bound) {
  uint32_t fine = 0;
  if (!std::atomic_ref<uint32_t>(block->error_code)
           .compare_exchange_strong(fine, static_cast<uint32_t>(code), std::memory_order_relaxed)) {
    return;
  }
  block->error_task = task;
  block->error_value = value;
  block->error_bound = bound;
}

// "index 37 is out of range of 10", "length 12 does not lie in 0 .. 10"; empty if there is no error.
std::string DescribeDataError(const StepBlock& block);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_STEP_BLOCK_H_
