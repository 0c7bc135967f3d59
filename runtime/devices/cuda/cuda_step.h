// CudaStep: the steps of a plan on a GPU, each enqueued as a whole: on streams by role (one for each lane
// of the work), and from the second on captured, so that a step is one launch of a graph.
//
// A step is: the inputs from pinned memory into one block on the GPU; the firings, whose FEEDs read that
// block and whose FETCHes write another, behind the reports of wrong data; that block into pinned memory;
// an event. The graph holds the firings alone, so nothing that changes from step to step (inputs, among
// them lr and the number of the step) is in it; the StepBlocks of kernels have no number here.
//
// Owned by the executor. Threads: as StepRunner. Invariants: the context's stream carries the steps one
// after the other, so what comes into it later (states read or written, memory given back) is behind them
// all; between the calls of Launch no call waits for the GPU. While a block of StepBlocks has an error no
// kernel writes a state: those that keep gates look, what others write goes through copy_gated. The first
// step is not captured: it loads what kernels need. Read next: runtime/devices/step_work.h, docs/cuda.md.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_STEP_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_STEP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_region.h"
#include "kernels/cuda/cuda_stream.h"
#include "runtime/devices/cuda/cuda_context.h"
#include "runtime/devices/device.h"
#include "runtime/devices/step_work.h"

namespace oneflow {

class CudaStep final : public StepRunner {
 public:
  // `captures`: false enqueues every step firing by firing.
  static absl::StatusOr<std::unique_ptr<CudaStep>> Make(std::shared_ptr<CudaContext> context,
                                                        StepWork work, bool captures);
  ~CudaStep() override;

  absl::Status Launch(int64_t step, const std::byte* const* inputs) override;
  absl::Status Finish(int64_t step, std::byte* const* outputs,
                      std::vector<kernels::StepBlock>* blocks) override;
  absl::Status ForgetErrors() override;
  absl::Status Rebind(StepWork work) override;

 private:
  CudaStep(std::shared_ptr<CudaContext> context, bool captures)
      : context_(std::move(context)), captures_(captures) {}

  absl::Status Prepare();
  absl::Status PrepareFirings();
  absl::Status LaunchFirings();
  // All firings with the waits between their streams, from the context's stream and back to it.
  absl::Status Enqueue();
  absl::Status EnqueueFiring(size_t at);
  absl::Status RunKernel(size_t at, kernels::CudaStream* stream);
  kernels::CudaGate gate() const;

  const std::shared_ptr<CudaContext> context_;
  bool captures_;
  StepWork work_;

  // Places in the blocks below, by input and output.
  std::vector<int64_t> input_at_;
  std::vector<int64_t> output_at_;
  Block inputs_;   // on the GPU: logical inputs
  Block results_;  // on the GPU: a StepBlock per device, then logical outputs
  Block pinned_inputs_;
  Block pinned_results_;
  int64_t inputs_bytes_ = 0;  // of one step
  int64_t results_bytes_ = 0;
  std::vector<std::unique_ptr<kernels::CudaEvent>> over_;  // by step % window

  std::vector<kernels::CudaStream*> streams_;                // by lane
  std::vector<std::unique_ptr<kernels::CudaEvent>> ends_;    // by lane
  std::unique_ptr<kernels::CudaEvent> begin_;                // of a step
  std::vector<std::unique_ptr<kernels::CudaEvent>> events_;  // by firing; nullptr: nobody waits
  std::vector<kernels::CudaRegion> regions_;                 // by firing, of feeds and fetches
  std::vector<bool> skipped_;                                // by firing: another writes the same
  std::vector<Block> detours_;  // by lane: what kernels without a gate write instead of states

  bool warm_ = false;
  std::unique_ptr<kernels::CudaGraph> graph_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_STEP_H_
