#include "runtime/devices/cuda/cuda_comms.h"

#include <utility>

#include "base/dtype.h"
#include "base/status.h"

namespace oneflow {

using kernels::CudaCollective;
using kernels::CudaCollectiveKind;
using kernels::CudaError;
using kernels::CudaStatus;

namespace {

CudaCollectiveKind KindOf(RingKind kind) {
  switch (kind) {
    case RingKind::kReduceScatter:
      return CudaCollectiveKind::kReduceScatter;
    case RingKind::kAllGather:
      return CudaCollectiveKind::kAllGather;
    case RingKind::kAllReduce:
      break;
  }
  return CudaCollectiveKind::kAllReduce;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaComms>> CudaComms::Make(const kernels::CudaApi* api,
                                                           const std::vector<int>& gpus) {
  std::unique_ptr<CudaComms> comms(new CudaComms(api));
  std::vector<kernels::CudaCommHandle> handles(gpus.size(), nullptr);
  OF_RETURN_IF_ERROR(CudaStatus(
      *api, api->comms_create(static_cast<int>(gpus.size()), gpus.data(), handles.data()),
      "comms_create"));
  comms->handles_ = std::move(handles);
  return comms;
}

CudaComms::~CudaComms() {
  for (const kernels::CudaCommHandle handle : handles_) {
    broken_ ? api_->comm_abort(handle) : api_->comm_destroy(handle);
  }
}

bool CudaComms::Does(const WholeRing& ring) {
  switch (ring.dtype) {
    case DType::kF32:
    case DType::kBF16:
    case DType::kF16:
    case DType::kF64:
    case DType::kI64:
    case DType::kI32:
      break;
    default:
      return false;
  }
  if (ring.elements == 0) return false;
  // Its max and min say nothing of NaN, ours do.
  if (ring.kind != RingKind::kAllGather && ring.mode != "sum") return false;
  return ring.kind == RingKind::kAllReduce || ring.even;
}

absl::Status CudaComms::Run(const WholeRing& ring, const std::vector<void*>& buffers,
                            const std::vector<kernels::CudaStream*>& streams) {
  CudaError error = api_->group_begin();
  for (size_t rank = 0; rank < handles_.size() && error == 0; ++rank) {
    const CudaCollective problem = {KindOf(ring.kind), static_cast<int32_t>(ring.dtype),
                                    ring.elements, static_cast<int32_t>(handles_.size()),
                                    static_cast<int32_t>(rank)};
    error = api_->collective(&problem, buffers[rank], handles_[rank], streams[rank]->handle());
  }
  const CudaError ended = api_->group_end();
  if (error == 0) error = ended;
  broken_ |= error != 0;
  return CudaStatus(*api_, error, "a collective");
}

}  // namespace oneflow
