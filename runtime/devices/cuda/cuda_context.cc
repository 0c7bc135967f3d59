#include "runtime/devices/cuda/cuda_context.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cuda/cuda_kernels.h"

namespace oneflow {

using kernels::CudaError;
using kernels::CudaStatus;
using kernels::CudaStream;

CudaContext::CudaContext(const kernels::CudaApi* api, bool captures)
    : api_(api), table_(kernels::CudaKernels(api)), captures_(captures) {}

absl::StatusOr<std::shared_ptr<CudaContext>> CudaContext::Make(const kernels::CudaApi* api,
                                                               bool captures) {
  std::shared_ptr<CudaContext> context(new CudaContext(api, captures));
  OF_RETURN_IF_ERROR(context->Enter());
  OF_ASSIGN_OR_RETURN(context->stream_, CudaStream::Make(api));
  return context;
}

absl::Status CudaContext::Enter() const {
  // A thread enters once: there is one GPU, and a step should cost no call more than it needs.
  static thread_local const kernels::CudaApi* entered = nullptr;
  if (entered == api_) return absl::OkStatus();
  OF_RETURN_IF_ERROR(CudaStatus(*api_, api_->set_device(0), "set_device"));
  entered = api_;
  return absl::OkStatus();
}

absl::StatusOr<CudaStream*> CudaContext::StreamOf(uint32_t device, const std::string& name) {
  std::unique_ptr<CudaStream>& stream = streams_[{device, name}];
  if (stream == nullptr) {
    OF_ASSIGN_OR_RETURN(stream, CudaStream::Make(api_));
  }
  return stream.get();
}

absl::StatusOr<Block> CudaContext::Allocate(int64_t bytes) {
  if (bytes == 0) return Block();
  OF_RETURN_IF_ERROR(Enter());
  void* data = nullptr;
  if (api_->allocate(&data, bytes) != 0) {
    return MakeError(ErrorKind::kOutOfMemory,
                     absl::StrCat("the GPU has no ", bytes, " bytes for a cuda device"));
  }
  Block block = Owned(data, bytes, api_->release);
  OF_RETURN_IF_ERROR(Zero(data, bytes));
  return block;
}

absl::StatusOr<Block> CudaContext::AllocatePinned(int64_t bytes) {
  if (bytes == 0) return Block();
  OF_RETURN_IF_ERROR(Enter());
  void* data = nullptr;
  if (api_->allocate_pinned(&data, bytes) != 0) {
    return MakeError(ErrorKind::kOutOfMemory,
                     absl::StrCat("the host has no ", bytes, " bytes that it can pin"));
  }
  std::memset(data, 0, static_cast<size_t>(bytes));
  return Owned(data, bytes, api_->release_pinned);
}

Block CudaContext::Owned(void* data, int64_t bytes, CudaError (*release)(void*)) {
  return Block(static_cast<std::byte*>(data), static_cast<size_t>(bytes),
               [context = shared_from_this(), release](std::byte* memory, size_t) {
                 context->Drain();  // what is enqueued may use it
                 release(memory);
               });
}

absl::Status CudaContext::Zero(void* data, int64_t bytes) {
  OF_RETURN_IF_ERROR(Enter());
  return CudaStatus(*api_, api_->zero(data, bytes, stream_->handle()), "zeros");
}

void CudaContext::Drain() const {
  if (!Enter().ok()) return;  // the GPU is lost
  for (const auto& [role, stream] : streams_) stream->Drain();
  stream_->Drain();
}

}  // namespace oneflow
