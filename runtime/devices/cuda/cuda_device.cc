#include "runtime/devices/cuda/cuda_device.h"

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/algorithm_choices.h"
#include "runtime/devices/cuda/cuda_step.h"

namespace oneflow {

using kernels::CudaError;
using kernels::CudaStatus;

namespace {

class CudaDevice final : public Device {
 public:
  CudaDevice(std::shared_ptr<CudaContext> context, int gpu)
      : context_(std::move(context)), gpu_(gpu) {}
  ~CudaDevice() override { context_->Drain(); }

  std::string kind() const override { return "cuda"; }
  int gpu() const override { return gpu_; }
  bool holds_bytes() const override { return true; }
  bool host_memory() const override { return false; }
  bool runs_whole_steps() const override { return true; }

  absl::StatusOr<Block> Allocate(int64_t bytes) override { return context_->Allocate(gpu_, bytes); }
  absl::StatusOr<Block> AllocateArena(int64_t bytes) override {
    return context_->AllocateGrowing(gpu_, bytes);
  }
  absl::StatusOr<bool> GrowArena(Block* arena, int64_t bytes) override {
    return context_->Grow(gpu_, arena, bytes);
  }
  bool Grows(const Block& arena) const override { return context_->Grows(arena); }
  absl::StatusOr<Block> AllocateShared(int64_t bytes) override {
    return context_->AllocatePinned(bytes);
  }

  absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeKernel(
      const plan::Task& task, int threads, int64_t workspace_bytes) const override {
    OF_RETURN_IF_ERROR(context_->Enter(gpu_));
    return MakeFittingKernel(context_->table(), task, threads, workspace_bytes, isa());
  }

  bool RunsWholeRing(const WholeRing& ring, const std::vector<uint32_t>& devices) const override {
    return CudaComms::Does(ring) && context_->Communicates(devices);
  }

  bool HasCallFor(const WholeRing& ring) const override { return CudaComms::Does(ring); }
  std::string place() const override {
    const absl::StatusOr<std::string> place = context_->PlaceOf(gpu_);
    return place.ok() ? *place : "";
  }
  std::string lack_of_calls() const override { return context_->LackOfCalls(); }
  absl::Status Join(const std::vector<std::vector<uint32_t>>& groups,
                    const Exchange& exchange) override {
    return context_->Join(groups, exchange);
  }

  absl::Status SettleKernels(const Exchange& exchange) override {
    return kernels::AlgorithmChoices::OfProcess().Settle(exchange);
  }

  absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(StepWork work) override {
    OF_ASSIGN_OR_RETURN(std::unique_ptr<CudaStep> step,
                        CudaStep::Make(context_, std::move(work), context_->captures()));
    return std::unique_ptr<StepRunner>(std::move(step));
  }

  // What fails here fails again at the first call that this thread makes, with a cause.
  void EnterThread(int) const override { context_->Enter(gpu_).IgnoreError(); }

  kernels::Stream* stream() override { return context_->stream(); }

  absl::Status ToLocal(const RegionCopy& region, const std::byte* logical,
                       std::byte* local) override {
    if (region.bytes() == 0) return absl::OkStatus();
    const std::byte* from = logical + region.offset();
    if (!region.contiguous()) {
      region.ToLocal(logical, Scratch(region.bytes()));
      from = scratch_.data();
    }
    return context_->Aside(gpu_, [&](kernels::CudaStream* stream) {
      return CudaStatus(api(), api().copy_in(local, from, region.bytes(), stream->handle()),
                        "a write");
    });
  }

  absl::Status FromLocal(const RegionCopy& region, std::byte* logical,
                         const std::byte* local) override {
    if (region.bytes() == 0) return absl::OkStatus();
    if (region.contiguous()) return Read(logical + region.offset(), local, region.bytes());
    OF_RETURN_IF_ERROR(Read(Scratch(region.bytes()), local, region.bytes()));
    region.FromLocal(logical, scratch_.data());
    return absl::OkStatus();
  }

  absl::Status Zero(const Block& block) override {
    return context_->Zero(gpu_, block.data(), static_cast<int64_t>(block.bytes()));
  }

 private:
  const kernels::CudaApi& api() const { return context_->api(); }

  std::byte* Scratch(int64_t bytes) {
    if (scratch_.size() < static_cast<size_t>(bytes)) scratch_.resize(static_cast<size_t>(bytes));
    return scratch_.data();
  }

  absl::Status Read(std::byte* to, const std::byte* from, int64_t bytes) {
    return context_->Aside(gpu_, [&](kernels::CudaStream* stream) {
      CudaError error = api().copy(to, from, bytes, stream->handle());
      if (error == 0) error = api().stream_synchronize(stream->handle());
      return CudaStatus(api(), error, "a read");
    });
  }

  const std::shared_ptr<CudaContext> context_;
  const int gpu_;
  // Where shards of states that are no single run of bytes are gathered; grows to the largest.
  std::vector<std::byte> scratch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(std::shared_ptr<CudaContext> context,
                                                       uint32_t id) {
  const int gpu = context->GpuOf(id);
  OF_RETURN_IF_ERROR(context->Add(id));
  return std::unique_ptr<Device>(std::make_unique<CudaDevice>(std::move(context), gpu));
}

}  // namespace oneflow
