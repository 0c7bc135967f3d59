#include "runtime/devices/cuda/cuda_context.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "kernels/cuda/cuda_kernels.h"
#include "runtime/spinning.h"

namespace oneflow {

using kernels::CudaError;
using kernels::CudaEvent;
using kernels::CudaStatus;
using kernels::CudaStream;

namespace {
constexpr int kMostCopying = 8;  // threads; as many as fill a GPU's link
}  // namespace

CudaContext::CudaContext(const kernels::CudaApi* api, bool captures, std::vector<int> placement,
                         double peer_seconds)
    : api_(api),
      table_(kernels::CudaKernels(api)),
      captures_(captures),
      placement_(std::move(placement)),
      peer_seconds_(peer_seconds),
      // The other half of the cores is for what reads the next batch.
      copies_(std::clamp(CoresOfRank(1, false) / 2, 1, kMostCopying)),
      comms_end_(api) {}

absl::StatusOr<std::shared_ptr<CudaContext>> CudaContext::Make(const kernels::CudaApi* api,
                                                               bool captures,
                                                               std::vector<int> placement,
                                                               double peer_seconds) {
  int visible = 0;
  OF_RETURN_IF_ERROR(CudaStatus(*api, api->device_count(&visible), "device_count"));
  if (visible < 1) return MakeError(ErrorKind::kError, "no GPU is visible; see nvidia-smi");
  for (const int gpu : placement) {
    if (gpu >= 0 && gpu < visible) continue;
    return MakeError(
        ErrorKind::kError,
        absl::StrCat("the mesh names GPU ", gpu, ", but ", visible, visible == 1 ? " is" : " are",
                     " visible (0 to ", visible - 1, "); see nvidia-smi and CUDA_VISIBLE_DEVICES"));
  }
  if (placement.empty()) {
    placement.resize(static_cast<size_t>(visible));
    std::iota(placement.begin(), placement.end(), 0);
  }
  return std::shared_ptr<CudaContext>(
      new CudaContext(api, captures, std::move(placement), peer_seconds));
}

absl::Status CudaContext::Add(uint32_t device) {
  own_.insert(device);
  return Open(GpuOf(device));
}

absl::Status CudaContext::Open(int gpu) {
  if (gpus_.contains(gpu)) return absl::OkStatus();
  OF_RETURN_IF_ERROR(Enter(gpu));
  Gpu opened;
  OF_ASSIGN_OR_RETURN(opened.done, CudaEvent::Make(api_));
  for (const auto& [other, ready] : gpus_) {
    for (const auto& [from, to] : {std::pair(gpu, other), std::pair(other, gpu)}) {
      bool direct = false;  // where it is not, copies go through the host's memory
      OF_RETURN_IF_ERROR(Enter(from));
      OF_RETURN_IF_ERROR(CudaStatus(*api_, api_->enable_peer(from, to, &direct), "enable_peer"));
    }
  }
  OF_RETURN_IF_ERROR(Enter(gpu));
  if (gpus_.empty()) {
    lead_ = gpu;
    for (std::unique_ptr<CudaStream>& stream : turns_) {
      OF_ASSIGN_OR_RETURN(stream, CudaStream::Make(api_));
    }
    OF_ASSIGN_OR_RETURN(turned_, CudaEvent::Make(api_));
  } else {
    OF_ASSIGN_OR_RETURN(opened.stream, CudaStream::Make(api_));
  }
  gpus_[gpu] = std::move(opened);
  return absl::OkStatus();
}

absl::Status CudaContext::Enter(int gpu) const {
  // A thread says it once: a step should cost no call more than it needs.
  struct Place {
    const kernels::CudaApi* api;
    int gpu;
    bool operator==(const Place&) const = default;
  };
  static thread_local Place entered = {nullptr, 0};
  const Place wanted = {api_, gpu};
  if (entered == wanted) return absl::OkStatus();
  OF_RETURN_IF_ERROR(CudaStatus(*api_, api_->set_device(gpu), "set_device"));
  entered = wanted;
  return absl::OkStatus();
}

absl::StatusOr<CudaStream*> CudaContext::StreamOf(uint32_t device, const std::string& name) {
  std::unique_ptr<CudaStream>& stream = streams_[{device, name}];
  if (stream == nullptr) {
    OF_RETURN_IF_ERROR(Enter(GpuOf(device)));
    OF_ASSIGN_OR_RETURN(stream, CudaStream::Make(api_));
  }
  return stream.get();
}

absl::StatusOr<Block> CudaContext::Allocate(int gpu, int64_t bytes) {
  if (bytes == 0) return Block();
  OF_RETURN_IF_ERROR(Enter(gpu));
  void* data = nullptr;
  if (api_->allocate(&data, bytes) != 0) {
    return MakeError(ErrorKind::kOutOfMemory,
                     absl::StrCat("GPU ", gpu, " has no ", bytes, " bytes for a cuda device"));
  }
  Block block = Owned(data, bytes, api_->release);
  OF_RETURN_IF_ERROR(Zero(gpu, data, bytes));
  return block;
}

absl::StatusOr<Block> CudaContext::AllocateGrowing(int gpu, int64_t bytes) {
  if (bytes == 0) return Block();
  OF_RETURN_IF_ERROR(Enter(gpu));
  kernels::CudaMemory memory = {};
  void* data = nullptr;
  if (api_->device_memory(gpu, &memory) != 0 || bytes > memory.total ||
      api_->growing_reserve(&data, memory.total, gpu) != 0) {
    return Allocate(gpu, bytes);
  }
  Block block(static_cast<std::byte*>(data), 0,
              [context = shared_from_this()](std::byte* addresses, size_t) {
                context->Drain();  // what is enqueued may use it
                context->growing_.erase(addresses);
                context->api_->growing_release(addresses);
              });
  growing_[data] = memory.total;
  OF_ASSIGN_OR_RETURN(const bool grown, Grow(gpu, &block, bytes));
  return grown ? absl::StatusOr<Block>(std::move(block)) : Allocate(gpu, bytes);
}

absl::StatusOr<bool> CudaContext::Grow(int gpu, Block* block, int64_t bytes) {
  const auto found = growing_.find(block->data());
  if (found == growing_.end() || bytes > found->second) return false;
  OF_RETURN_IF_ERROR(Enter(gpu));
  if (api_->growing_grow(block->data(), bytes) != 0) {
    return MakeError(ErrorKind::kOutOfMemory,
                     absl::StrCat("GPU ", gpu, " has no ", bytes - block->bytes(),
                                  " bytes more for a cuda device"));
  }
  const int64_t before = static_cast<int64_t>(block->bytes());
  block->set_bytes(static_cast<size_t>(bytes));
  OF_RETURN_IF_ERROR(Zero(gpu, block->data() + before, bytes - before));
  return true;
}

absl::StatusOr<Block> CudaContext::AllocatePinned(int64_t bytes) {
  if (bytes == 0) return Block();
  OF_RETURN_IF_ERROR(Enter(lead_));
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

absl::Status CudaContext::Zero(int gpu, void* data, int64_t bytes) {
  return Aside(gpu, [&](CudaStream* stream) {
    return CudaStatus(*api_, api_->zero(data, bytes, stream->handle()), "zeros");
  });
}

absl::Status CudaContext::Aside(int gpu, const std::function<absl::Status(CudaStream*)>& enqueue) {
  OF_RETURN_IF_ERROR(Enter(gpu));
  Stay();
  if (gpu == lead_) return enqueue(stream());
  const Gpu& here = gpus_.at(gpu);
  OF_RETURN_IF_ERROR(stream()->Record(gpus_.at(lead_).done.get()));
  OF_RETURN_IF_ERROR(here.stream->Wait(*gpus_.at(lead_).done));
  OF_RETURN_IF_ERROR(enqueue(here.stream.get()));
  OF_RETURN_IF_ERROR(here.stream->Record(here.done.get()));
  return stream()->Wait(*here.done);
}

bool CudaContext::Communicates(const std::vector<uint32_t>& devices) const {
  std::set<int> gpus;
  for (const uint32_t device : devices) gpus.insert(GpuOf(device));
  bool found = false;
  if (gpus.size() != devices.size()) return false;
  api_->nccl_library("", &found);
  return found;
}

absl::StatusOr<CudaComms*> CudaContext::CommsOf(const std::vector<uint32_t>& devices) {
  std::unique_ptr<CudaComms>& comms = comms_[devices];
  if (comms == nullptr) {
    for (const uint32_t device : devices) {
      if (own_.empty() || own_.contains(device)) continue;
      return MakeError(
          ErrorKind::kPlan,
          absl::StrCat("device ", device, " of another rank has joined no communicator"));
    }
    std::vector<int> gpus;
    for (const uint32_t device : devices) gpus.push_back(GpuOf(device));
    OF_RETURN_IF_ERROR(Enter(lead_));
    OF_ASSIGN_OR_RETURN(comms, CudaComms::Make(api_, gpus));
  }
  return comms.get();
}

std::set<std::vector<uint32_t>> CudaContext::Communicators() const {
  std::set<std::vector<uint32_t>> groups;
  for (const auto& [devices, comms] : comms_) groups.insert(devices);
  return groups;
}

absl::StatusOr<std::string> CudaContext::PlaceOf(int gpu) const {
  kernels::CudaDeviceProperties properties = {};
  OF_RETURN_IF_ERROR(
      CudaStatus(*api_, api_->device_properties(gpu, &properties), "device_properties"));
  return absl::BytesToHexString({properties.uuid, sizeof(properties.uuid)});
}

std::string CudaContext::LackOfCalls() const {
  const char* why = "";
  return api_->nccl_joins(&why) ? "" : why;
}

absl::Status CudaContext::Join(const std::vector<std::vector<uint32_t>>& groups,
                               const Device::Exchange& exchange) {
  std::vector<std::vector<uint32_t>> others;
  for (const std::vector<uint32_t>& group : groups) {
    if (!joined_.contains(group)) others.push_back(group);
  }
  if (others.empty()) return absl::OkStatus();  // on all ranks
  // The first member's rank makes the id; a byte before each says so.
  constexpr size_t kSaid = 1 + sizeof(kernels::CudaCommId);
  std::string mine;
  for (const std::vector<uint32_t>& group : others) {
    kernels::CudaCommId id = {};
    const bool made = own_.contains(group.front()) && api_->comm_id(&id) == 0;
    mine.push_back(made ? 1 : 0);
    mine.append(id.bytes, sizeof(id.bytes));
  }
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(mine));
  for (size_t g = 0; g < others.size(); ++g) {
    kernels::CudaCommId id = {};
    bool made = false;
    for (const std::string& rank : said) {
      if (rank.size() != mine.size() || rank[g * kSaid] != 1) continue;
      std::memcpy(id.bytes, rank.data() + g * kSaid + 1, sizeof(id.bytes));
      made = true;
    }
    if (!made) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat("the rank of device ", others[g].front(),
                                    " could not make an id for a communicator by NCCL"));
    }
    OF_RETURN_IF_ERROR(JoinOne(others[g], id));
    joined_.insert(others[g]);
  }
  return absl::OkStatus();
}

absl::Status CudaContext::JoinOne(const std::vector<uint32_t>& devices,
                                  const kernels::CudaCommId& id) {
  std::vector<CudaComms::Member> members;
  for (size_t i = 0; i < devices.size(); ++i) {
    if (own_.contains(devices[i])) members.push_back({static_cast<int>(i), GpuOf(devices[i])});
  }
  if (members.empty()) return absl::OkStatus();  // others'
  OF_RETURN_IF_ERROR(Enter(lead_));
  absl::StatusOr<std::unique_ptr<CudaComms>> comms = CudaComms::Join(
      api_, static_cast<int>(devices.size()), id, members, peer_seconds_, &comms_end_);
  if (!comms.ok()) {
    return WithContext(comms.status(),
                       absl::StrCat("a communicator of devices ", absl::StrJoin(devices, ",")));
  }
  comms_[devices] = *std::move(comms);
  return absl::OkStatus();
}

absl::Status CudaContext::Turn() {
  const CudaEvent* behind = ended_;
  if (behind == nullptr) {
    OF_RETURN_IF_ERROR(stream()->Record(turned_.get()));
    behind = turned_.get();
  }
  turn_ = 1 - turn_;
  Stay();
  return stream()->Wait(*behind);
}

absl::Status CudaContext::Ended(CudaEvent* over) {
  OF_RETURN_IF_ERROR(stream()->Record(over));
  ended_ = over;
  return absl::OkStatus();
}

void CudaContext::Drain() {
  Stay();
  if (gpus_.empty() || !Enter(lead_).ok()) return;  // the GPU is lost
  for (const auto& [role, stream] : streams_) stream->Drain();
  for (const auto& [gpu, opened] : gpus_) StreamOfGpu(gpu)->Drain();
  next_stream()->Drain();
}

}  // namespace oneflow
