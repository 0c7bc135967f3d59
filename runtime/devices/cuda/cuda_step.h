// CudaStep: the steps of a plan on the GPUs of a session, each enqueued as a whole: on streams by role (one
// for each lane of the work), and from the second on captured, so that a step is one launch of a graph.
//
// A step is: the inputs from pinned memory into a block on each GPU, what its FEEDs read and no more; the
// firings, whose FEEDs read that block and whose FETCHes write another, behind the reports of wrong data;
// that block into pinned memory; an event. A graph holds all of it but the event. What changes from step to step
// (inputs, among them lr and the number of the step) lies in pinned memory, which has a place for each of the steps
// that may be in flight, and each place has a graph; the StepBlocks of kernels have no number here.
//
// Where inputs are large (plan/gpu_memory.h says which are), they come ahead, while the step before runs:
//
//   stream 0   inputs 0 | step 0 ....... | inputs 2 | . | step 2 ....... | inputs 4
//   stream 1            | inputs 1 |     . step 1 ....... | inputs 3 |   . step 3 ...
//
// Their block has a half for every second step. Steps take turns on the context's two streams, so a half is written
// behind the step that read it, without an event for it, and the firings wait for the step before.
//
// Between two GPUs no kernel reaches across: what a task writes into a register of another GPU (a message)
// goes into a block of its lane, and from there by a peer copy, on the lane's stream; what is fetched
// elsewhere goes to the GPU that leads and gets its place in the result there; each GPU has all reports of
// wrong data, a copy of each behind the kernel that made it, for the gates of its kernels. Rings whose members
// lie on different GPUs are one call of NCCL, where that is, and so is each message from or to another rank; the
// calls of a GPU, of whatever rings, follow each other in the plan's order, which is the same on all GPUs of all
// ranks (runtime/step_calls.h), so that no two wait for each other.
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
#include <functional>
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

  // What a step has on one GPU.
  struct Gpu {
    int number = 0;            // the driver's
    Block inputs;              // stretches of the logical inputs
    int64_t inputs_bytes = 0;  // of one step
    int64_t inputs_at = 0;     // in the step's pinned inputs
    bool ahead = false;        // the inputs come ahead
    std::byte* InputsOf(int64_t place) const {
      return inputs.data() + (ahead ? place % 2 * inputs_bytes : 0);
    }
    Block reports;  // a StepBlock for each device; of the GPU that leads in its results
    std::unique_ptr<kernels::CudaEvent> brought;  // the inputs; nullptr for the GPU that leads
  };
  // A stretch of a logical input that some FEED of a GPU reads, and where it lies in the GPU's inputs.
  struct Stretch {
    uint32_t input = 0;
    int64_t begin = 0, end = 0, at = 0;
  };

  absl::Status Prepare();
  absl::Status PrepareGpus();
  // Which stretches each GPU reads, and where they and the outputs lie.
  void PlaceInputs();
  absl::Status PrepareFirings();
  void StageInputs(int64_t place, const std::byte* const* inputs);
  // Those that come ahead; the context's stream is another one then.
  absl::Status BringAhead(int64_t place);
  // What `enqueue` puts into the stream, by its graph, which is captured where there is none yet.
  absl::Status LaunchGraph(kernels::CudaStream* stream, std::unique_ptr<kernels::CudaGraph>* graph,
                           const std::function<absl::Status()>& enqueue);
  // All of a step with the waits between its streams, from the context's stream and back to it.
  absl::Status Enqueue(int64_t place);
  // Of the GPUs whose inputs come ahead, or of the others, from the stream and back to it.
  absl::Status BringInputs(int64_t place, bool ahead, kernels::CudaStream* stream);
  absl::Status EnqueueFiring(size_t at, int64_t place);
  absl::Status RunKernel(size_t at, kernels::CudaStream* stream);
  // The kernel with its operands there; states through the gate.
  absl::Status RunGated(size_t at, const std::vector<const void*>& inputs,
                        std::vector<void*> outputs, kernels::CudaStream* stream);
  // Registers on other GPUs: operands become places in the lane's block, and what the kernel reads is
  // brought there; what it wrote is sent.
  absl::Status BringRemote(size_t at, std::vector<const void*>* inputs, std::vector<void*>* outputs,
                           kernels::CudaStream* stream);
  absl::Status SendRemote(size_t at, const std::vector<void*>& outputs,
                          kernels::CudaStream* stream);
  absl::Status SendReport(size_t at, kernels::CudaStream* stream);
  absl::Status Fetch(size_t at, kernels::CudaStream* stream);
  // The waits of one member of a ring that is one call; behind those of the last, the call.
  absl::Status Collect(size_t at, kernels::CudaStream* stream);
  // Behind the waits of the last of them: the ends of messages from or to other ranks that are one call.
  absl::Status Carry(size_t at);
  // Behind the last call of the GPU, which this one is from now on.
  absl::Status FollowCalls(size_t at, kernels::CudaStream* stream);
  kernels::StepBlock* ReportsOn(size_t gpu) const;
  // Positions in gpus_.
  size_t GpuOfDevice(uint32_t device) const { return gpu_of_device_[device]; }
  size_t GpuOfFiring(size_t at) const { return GpuOfDevice(work_.firings[at].device); }

  const std::shared_ptr<CudaContext> context_;
  bool captures_;
  StepWork work_;

  std::vector<Gpu> gpus_;                        // the one that leads first
  std::vector<size_t> gpu_of_device_;            // by position in the plan
  std::vector<std::vector<Stretch>> stretches_;  // by GPU, by input and begin
  std::vector<int64_t> output_at_;               // by output, its place in the results
  Block results_;  // on the GPU that leads: a StepBlock per device, then logical outputs
  Block fetched_;  // there too: what FETCHes of other GPUs bring
  Block pinned_inputs_;
  Block pinned_results_;
  int64_t inputs_bytes_ = 0;  // of one step, for all GPUs
  int64_t results_bytes_ = 0;
  std::vector<std::unique_ptr<kernels::CudaEvent>> over_;  // by step % window

  std::vector<CudaComms*> comms_;                            // by ring
  CudaComms* messages_ = nullptr;                            // between ranks
  std::vector<size_t> collected_;                            // by GPU: its last call; kNone
  std::vector<kernels::CudaStream*> streams_;                // by lane
  std::vector<std::unique_ptr<kernels::CudaEvent>> ends_;    // by lane
  std::unique_ptr<kernels::CudaEvent> start_;                // of a step
  std::unique_ptr<kernels::CudaEvent> begin_;                // of its firings: the inputs are there
  std::vector<std::unique_ptr<kernels::CudaEvent>> events_;  // by firing; nullptr: nobody waits
  std::vector<kernels::CudaRegion> regions_;                 // by firing, of feeds and fetches
  std::vector<bool> skipped_;                                // by firing: another writes the same
  std::vector<int64_t>
      shifts_;                  // by firing: elements between an input's begin and its place in the
                                // GPU's inputs; of FETCHes elsewhere: the place in fetched_
  std::vector<Block> detours_;  // by lane: what kernels without a gate write instead of states
  std::vector<Block> crossings_;  // by lane: operands whose registers lie on other GPUs

  bool warm_ = false;
  bool ahead_ = false;       // some GPU's inputs come ahead
  int64_t last_place_ = -1;  // of the step that was launched last
  // By step % window; nullptr: not captured yet.
  std::vector<std::unique_ptr<kernels::CudaGraph>> graphs_, inputs_graphs_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_STEP_H_
