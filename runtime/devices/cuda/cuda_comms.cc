#include "runtime/devices/cuda/cuda_comms.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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
  const int ranks = static_cast<int>(gpus.size());
  std::unique_ptr<CudaComms> comms(new CudaComms(api, ranks, 0, nullptr));
  std::vector<kernels::CudaCommHandle> handles(gpus.size(), nullptr);
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->comms_create(ranks, gpus.data(), handles.data()), "comms_create"));
  comms->handles_ = std::move(handles);
  comms->numbers_.resize(gpus.size());
  std::iota(comms->numbers_.begin(), comms->numbers_.end(), 0);
  return comms;
}

absl::StatusOr<std::unique_ptr<CudaComms>> CudaComms::Join(const kernels::CudaApi* api, int ranks,
                                                           const kernels::CudaCommId& id,
                                                           const std::vector<Member>& members,
                                                           double seconds, CommsEnd* end) {
  std::unique_ptr<CudaComms> comms(new CudaComms(api, ranks, seconds, end));
  std::vector<int> gpus;
  for (const Member& member : members) {
    comms->numbers_.push_back(member.number);
    gpus.push_back(member.gpu);
  }
  OF_RETURN_IF_ERROR(end->Use([&]() -> absl::Status {
    std::vector<kernels::CudaCommHandle> handles(members.size(), nullptr);
    const CudaError error = api->comms_join(&id, ranks, static_cast<int>(members.size()),
                                            comms->numbers_.data(), gpus.data(), handles.data());
    if (error != 0 && error != kernels::kNcclPending) {
      return CudaStatus(*api, error, "comms_join");
    }
    comms->handles_ = std::move(handles);
    end->Add(comms->handles_);
    const absl::Status joined = comms->Settle("comms_join");
    comms->broken_ = !joined.ok();
    return joined;
  }));
  return comms;
}

CudaComms::~CudaComms() {
  if (handles_.empty() || (end_ != nullptr && !end_->Remove(handles_))) return;
  if (broken_) {
    api_->comms_abort(static_cast<int>(handles_.size()), handles_.data());
    return;
  }
  for (const kernels::CudaCommHandle handle : handles_) api_->comm_destroy(handle);
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
  const auto enqueue = [&] {
    CudaError error = 0;
    for (size_t rank = 0; rank < handles_.size() && error == 0; ++rank) {
      const CudaCollective problem = {KindOf(ring.kind), static_cast<int32_t>(ring.dtype),
                                      ring.elements, ranks_, numbers_[rank]};
      error = api_->collective(&problem, buffers[rank], handles_[rank], streams[rank]->handle());
      if (error == kernels::kNcclPending) error = 0;
    }
    return error;
  };
  return InGroup(enqueue, "a collective");
}

absl::Status CudaComms::Carry(const std::vector<End>& ends) {
  const auto enqueue = [&] {
    CudaError error = 0;
    for (size_t i = 0; i < ends.size() && error == 0; ++i) {
      const size_t member = static_cast<size_t>(
          std::find(numbers_.begin(), numbers_.end(), ends[i].message.rank) - numbers_.begin());
      error = api_->message(&ends[i].message, ends[i].data, handles_.at(member),
                            ends[i].stream->handle());
      if (error == kernels::kNcclPending) error = 0;
    }
    return error;
  };
  return InGroup(enqueue, "a message");
}

absl::Status CudaComms::InGroup(const std::function<CudaError()>& calls, const char* what) {
  const auto group = [&] {
    CudaError error = api_->group_begin();
    if (error == 0) error = calls();
    const CudaError ended = api_->group_end();
    if (error == 0 || error == kernels::kNcclPending) error = ended;
    absl::Status status =
        error == kernels::kNcclPending ? Settle(what) : CudaStatus(*api_, error, what);
    broken_ |= !status.ok();
    return status;
  };
  return end_ == nullptr ? group() : end_->Use(group);
}

absl::Status CudaComms::Settle(const char* what) const {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_);
  for (const kernels::CudaCommHandle handle : handles_) {
    while (true) {
      const CudaError state = api_->comm_state(handle);
      if (state == 0) break;
      if (state != kernels::kNcclPending) return CudaStatus(*api_, state, what);
      if (end_ != nullptr && end_->begun()) {
        return MakeError(ErrorKind::kError,
                         absl::StrCat(what, " was given up: the session failed"));
      }
      if (std::chrono::steady_clock::now() >= until) {
        return MakeError(
            ErrorKind::kError,
            absl::StrFormat("%s: its ranks did not all come within %.1f s (ONEFLOW_PEER_SECONDS); "
                            "NCCL_DEBUG=INFO shows what NCCL waits for",
                            what, seconds_));
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  return absl::OkStatus();
}

}  // namespace oneflow
