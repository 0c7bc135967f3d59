#include "runtime/devices/cuda/cuda_device.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cuda/cuda_kernels.h"

namespace oneflow {

using kernels::CudaError;
using kernels::CudaStatus;

CudaContext::CudaContext(const kernels::CudaApi* api)
    : api_(api), table_(kernels::CudaKernels(api)) {}

absl::StatusOr<std::shared_ptr<CudaContext>> CudaContext::Make(const kernels::CudaApi* api) {
  std::shared_ptr<CudaContext> context(new CudaContext(api));
  OF_RETURN_IF_ERROR(context->Enter());
  OF_ASSIGN_OR_RETURN(context->stream_, kernels::CudaStream::Make(api));
  return context;
}

absl::Status CudaContext::Enter() const {
  return CudaStatus(*api_, api_->set_device(0), "set_device");
}

// A kernel that may find wrong data. Its firing counts as over when Run returns, and what it found must
// have reached the step's block by then, so the host waits here.
class WaitedForKernel final : public kernels::Kernel {
 public:
  explicit WaitedForKernel(std::unique_ptr<kernels::Kernel> kernel) : kernel_(std::move(kernel)) {}
  absl::Status Run(const kernels::KernelArgs& args, kernels::Stream* stream) const override {
    OF_RETURN_IF_ERROR(kernel_->Run(args, stream));
    stream->Drain();
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<kernels::Kernel> kernel_;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(std::shared_ptr<CudaContext> context) : context_(std::move(context)) {}
  ~CudaDevice() override { context_->stream()->Drain(); }

  std::string kind() const override { return "cuda"; }
  bool holds_bytes() const override { return true; }
  bool host_memory() const override { return false; }

  absl::StatusOr<Block> Allocate(int64_t bytes) override {
    if (bytes == 0) return Block();
    OF_RETURN_IF_ERROR(context_->Enter());
    void* data = nullptr;
    if (api().allocate(&data, bytes) != 0) {
      return MakeError(ErrorKind::kOutOfMemory,
                       absl::StrCat("the GPU has no ", bytes, " bytes for a cuda device"));
    }
    Block block(static_cast<std::byte*>(data), static_cast<size_t>(bytes),
                [context = context_](std::byte* memory, size_t) {
                  context->stream()->Drain();  // what is enqueued may use it
                  context->api().release(memory);
                });
    OF_RETURN_IF_ERROR(Zero(block));
    return block;
  }

  // Pinned memory of the host: kernels reach it over the bus.
  absl::StatusOr<Block> AllocateShared(int64_t bytes) override {
    if (bytes == 0) return Block();
    OF_RETURN_IF_ERROR(context_->Enter());
    void* data = nullptr;
    if (api().allocate_pinned(&data, bytes) != 0) {
      return MakeError(ErrorKind::kOutOfMemory,
                       absl::StrCat("the host has no ", bytes, " bytes that it can pin"));
    }
    std::memset(data, 0, static_cast<size_t>(bytes));
    return Block(static_cast<std::byte*>(data), static_cast<size_t>(bytes),
                 [context = context_](std::byte* memory, size_t) {
                   context->stream()->Drain();
                   context->api().release_pinned(memory);
                 });
  }

  absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeKernel(
      const plan::Task& task, int threads, int64_t workspace_bytes) const override {
    OF_RETURN_IF_ERROR(context_->Enter());
    OF_ASSIGN_OR_RETURN(
        std::unique_ptr<kernels::Kernel> kernel,
        MakeFittingKernel(context_->table(), task, threads, workspace_bytes, isa()));
    if (!task.may_fail()) return kernel;
    return std::make_unique<WaitedForKernel>(std::move(kernel));
  }

  // What fails here fails again at the first call that this thread makes, with a cause.
  void EnterThread(int) const override { context_->Enter().IgnoreError(); }

  kernels::Stream* stream() override { return context_->stream(); }

  absl::Status ToLocal(const RegionCopy& region, const std::byte* logical,
                       std::byte* local) override {
    if (region.bytes() == 0) return absl::OkStatus();
    OF_RETURN_IF_ERROR(context_->Enter());
    if (region.contiguous()) {
      return CudaStatus(api(),
                        api().copy_in(local, logical + region.offset(), region.bytes(), handle()),
                        "a feed");
    }
    std::lock_guard<std::mutex> lock(context_->scratch_mutex_);
    region.ToLocal(logical, Scratch(region.bytes()));
    return CudaStatus(
        api(), api().copy_in(local, context_->scratch_.data(), region.bytes(), handle()), "a feed");
  }

  absl::Status FromLocal(const RegionCopy& region, std::byte* logical,
                         const std::byte* local) override {
    if (region.bytes() == 0) return absl::OkStatus();
    OF_RETURN_IF_ERROR(context_->Enter());
    if (region.contiguous()) return Read(logical + region.offset(), local, region.bytes());
    std::lock_guard<std::mutex> lock(context_->scratch_mutex_);
    OF_RETURN_IF_ERROR(Read(Scratch(region.bytes()), local, region.bytes()));
    region.FromLocal(logical, context_->scratch_.data());
    return absl::OkStatus();
  }

  absl::Status Zero(const Block& block) override {
    OF_RETURN_IF_ERROR(context_->Enter());
    return CudaStatus(
        api(), api().zero(block.data(), static_cast<int64_t>(block.bytes()), handle()), "zeros");
  }

 private:
  const kernels::CudaApi& api() const { return context_->api(); }
  kernels::CudaStreamHandle handle() const { return context_->stream()->handle(); }

  std::byte* Scratch(int64_t bytes) {
    if (context_->scratch_.size() < static_cast<size_t>(bytes)) {
      context_->scratch_.resize(static_cast<size_t>(bytes));
    }
    return context_->scratch_.data();
  }

  absl::Status Read(std::byte* to, const std::byte* from, int64_t bytes) {
    CudaError error = api().copy(to, from, bytes, handle());
    if (error == 0) error = api().stream_synchronize(handle());
    return CudaStatus(api(), error, "a fetch");
  }

  const std::shared_ptr<CudaContext> context_;
};

std::unique_ptr<Device> MakeCudaDevice(std::shared_ptr<CudaContext> context) {
  return std::make_unique<CudaDevice>(std::move(context));
}

}  // namespace oneflow
