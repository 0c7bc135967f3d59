#include "kernels/cuda/soft_nccl_for_test.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "base/dtype.h"
#include "kernels/cuda/soft_errors_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"
#include "kernels/cuda/soft_streams_for_test.h"
#include "kernels/cuda/soft_trace_for_test.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

std::atomic<bool> there{false};
std::atomic<double> patience{60};
// Of the calling thread: how deep it stands in groups.
thread_local int group_depth = 0;

const char* TypeName(int dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kF64:
      return "f64";
    case DType::kI64:
      return "i64";
    case DType::kI32:
      return "i32";
    default:
      return "no type of NCCL";
  }
}

// buffers[r] by rank, as in CudaCollective; sums in the order of the ranks.
template <typename T>
void Run(const CudaCollective& problem, const std::vector<void*>& buffers) {
  const int64_t ranks = problem.ranks, share = problem.elements / ranks;
  const auto at = [&](int64_t rank) { return static_cast<T*>(buffers[static_cast<size_t>(rank)]); };
  for (int64_t i = 0; i < problem.elements; ++i) {
    if (problem.kind != CudaCollectiveKind::kAllReduce && i >= share * ranks) return;
    const int64_t owner = problem.kind == CudaCollectiveKind::kAllReduce ? 0 : i / share;
    T result = at(owner)[i];
    if (problem.kind != CudaCollectiveKind::kAllGather) {
      result = at(0)[i];
      for (int64_t rank = 1; rank < ranks; ++rank) {
        result = T(static_cast<Compute<T>>(result) + static_cast<Compute<T>>(at(rank)[i]));
      }
    }
    for (int64_t rank = 0; rank < ranks; ++rank) {
      if (problem.kind != CudaCollectiveKind::kReduceScatter || rank == owner) at(rank)[i] = result;
    }
  }
  if (problem.kind != CudaCollectiveKind::kReduceScatter) return;
  for (int64_t rank = 0; rank < ranks; ++rank) {  // nobody may read the rest
    for (int64_t i = 0; i < problem.elements; ++i) {
      if (i / share != rank) at(rank)[i] = T(static_cast<Compute<T>>(-77));
    }
  }
}

void Fail(const std::string& text) {
  std::fprintf(stderr, "software NCCL: %s\n", text.c_str());
  SoftMemory::Of().Tell(kSoftCollective);
}

// Calls that have come, on streams that wait for the others.
struct Meetings {
  struct Meeting {
    std::vector<const SoftCall*> calls;
    bool over = false;
    size_t left = 0;  // ranks that have not gone yet
  };
  static Meetings& Of() {
    static Meetings* meetings = new Meetings;  // streams may outlive static objects
    return *meetings;
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::map<SoftCall::Key, Meeting> open;
  std::map<int, SoftCall::Key> busy;  // by GPU
};

// A rank's handle.
struct SoftComm {
  std::shared_ptr<const SoftClique> clique;
  int rank = 0;
  uint64_t calls = 0;
};

const char* NcclLibrary(const char*, bool* found) {
  *found = there;
  return there ? "software NCCL" : "no NCCL: software CUDA was told to have none";
}
CudaError CommsCreate(int ranks, const int* devices, CudaCommHandle* comms) {
  TraceSoftCall("comms_create", nullptr, false, nullptr, devices[0]);
  auto clique = std::make_shared<SoftClique>();
  clique->gpus.assign(devices, devices + ranks);
  for (const int gpu : clique->gpus) {
    if (gpu < 0 || gpu >= SoftGpus::Of().count()) return kSoftNoDevice;
    // Two ranks on one GPU are refused.
    if (std::count(clique->gpus.begin(), clique->gpus.end(), gpu) != 1) return kSoftCollective;
  }
  for (int rank = 0; rank < ranks; ++rank) comms[rank] = new SoftComm{clique, rank};
  return 0;
}
CudaError CommDestroy(CudaCommHandle comm) {
  delete static_cast<SoftComm*>(comm);
  return 0;
}
CudaError GroupBegin() {
  ++group_depth;
  return 0;
}
CudaError GroupEnd() {
  --group_depth;
  return 0;
}
CudaError Collective(const CudaCollective* problem, void* buffer, CudaCommHandle handle,
                     CudaStreamHandle stream) {
  SoftComm* comm = static_cast<SoftComm*>(handle);
  TraceSoftCall("collective", stream, IsCaptured(stream), nullptr, SoftGpuOf(stream));
  // One thread that calls for several devices one by one may wait in the first call for ever.
  if (comm->clique->gpus.size() > 1 && group_depth == 0) return kSoftCollective;
  auto call = std::make_shared<SoftCall>();
  call->clique = comm->clique;
  call->number = comm->calls++;
  call->problem = *problem;
  call->problem.rank = comm->rank;
  call->buffer = buffer;
  if (SoftGpuOf(stream) != call->gpu()) return kSoftInvalidHandle;
  SoftMemory::Of().Touch(call->gpu(), buffer, "a collective");
  return EnqueueSoftCall(stream, std::move(call));
}

}  // namespace

std::string SoftCall::Text() const {
  static const char* const kKinds[] = {"all_reduce", "reduce_scatter", "all_gather"};
  std::string text = "call " + std::to_string(number) + " of GPUs ";
  for (size_t rank = 0; rank < clique->gpus.size(); ++rank) {
    text += (rank == 0 ? "" : ",") + std::to_string(clique->gpus[rank]);
  }
  return text + " on GPU " + std::to_string(gpu()) + ": " + kKinds[static_cast<int>(problem.kind)] +
         " of " + std::to_string(problem.elements) + " " + TypeName(problem.dtype);
}

void RunSoftCalls(std::vector<const SoftCall*> calls) {
  std::sort(calls.begin(), calls.end(),
            [](const SoftCall* a, const SoftCall* b) { return a->problem.rank < b->problem.rank; });
  const CudaCollective& first = calls.front()->problem;
  std::vector<void*> buffers;
  for (const SoftCall* call : calls) {
    const CudaCollective& problem = call->problem;
    if (problem.kind != first.kind || problem.dtype != first.dtype ||
        problem.elements != first.elements) {
      return Fail("ranks differ: " + calls.front()->Text() + " and " + call->Text());
    }
    buffers.push_back(call->buffer);
  }
  switch (static_cast<DType>(first.dtype)) {
    case DType::kF32:
      return Run<float>(first, buffers);
    case DType::kF64:
      return Run<double>(first, buffers);
    case DType::kBF16:
      return Run<BF16>(first, buffers);
    case DType::kF16:
      return Run<F16>(first, buffers);
    case DType::kI64:
      return Run<int64_t>(first, buffers);
    case DType::kI32:
      return Run<int32_t>(first, buffers);
    default:
      return Fail(calls.front()->Text());
  }
}

void TellSoftDeadlock(const std::vector<const SoftCall*>& waiting) {
  std::string text = "deadlock, each waits for ranks that never come:";
  for (const SoftCall* call : waiting) text += "\n  " + call->Text();
  Fail(text);
}

void MeetSoftCall(const SoftCall& call) {
  Meetings& all = Meetings::Of();
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
  std::unique_lock<std::mutex> lock(all.mutex);
  if (!all.changed.wait_until(lock, until, [&] { return !all.busy.contains(call.gpu()); })) {
    TellSoftDeadlock({&call});
    return;
  }
  Meetings::Meeting& meeting = all.open[call.key()];
  if (meeting.over) return;  // the others have given up and told so: their calls may be gone
  all.busy[call.gpu()] = call.key();
  meeting.calls.push_back(&call);
  ++meeting.left;
  if (meeting.calls.size() == call.ranks()) {
    RunSoftCalls(meeting.calls);
    meeting.over = true;
    all.changed.notify_all();
  } else if (!all.changed.wait_until(lock, until, [&] { return meeting.over; })) {
    TellSoftDeadlock(meeting.calls);
    meeting.over = true;
    all.changed.notify_all();
  }
  all.busy.erase(call.gpu());
  if (--meeting.left == 0) all.open.erase(call.key());
  all.changed.notify_all();
}

void SetSoftPatience(double seconds) { patience = seconds; }
void SetSoftNccl(bool is_there) { there = is_there; }

void AddSoftNccl(CudaApi* api) {
  api->nccl_library = &NcclLibrary;
  api->comms_create = &CommsCreate;
  api->comm_destroy = &CommDestroy;
  api->comm_abort = &CommDestroy;
  api->group_begin = &GroupBegin;
  api->collective = &Collective;
  api->group_end = &GroupEnd;
}

}  // namespace oneflow::kernels
