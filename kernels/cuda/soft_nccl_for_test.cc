#include "kernels/cuda/soft_nccl_for_test.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

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
std::atomic<bool> deaf{false};
std::atomic<double> patience{60};
// Of the calling thread: how deep it stands in groups, and what it has called there.
struct Pending {
  CudaStreamHandle stream;
  std::shared_ptr<SoftCall> call;
};
thread_local int group_depth = 0;
thread_local std::vector<Pending> pending;

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

template <typename T>
void Run(const CudaCollective& problem, const std::vector<const void*>& from,
         const std::vector<void*>& to) {
  const int64_t ranks = problem.ranks, share = problem.elements / ranks;
  const auto source = [&](int64_t rank) {
    return static_cast<const T*>(from[static_cast<size_t>(rank)]);
  };
  const auto put = [&](int64_t rank, int64_t i, T value) {
    if (to[static_cast<size_t>(rank)] != nullptr) {
      static_cast<T*>(to[static_cast<size_t>(rank)])[i] = value;
    }
  };
  for (int64_t i = 0; i < problem.elements; ++i) {
    if (problem.kind != CudaCollectiveKind::kAllReduce && i >= share * ranks) return;
    const int64_t owner = problem.kind == CudaCollectiveKind::kAllReduce ? 0 : i / share;
    T result = source(owner)[i];
    if (problem.kind != CudaCollectiveKind::kAllGather) {
      result = source(0)[i];
      for (int64_t rank = 1; rank < ranks; ++rank) {
        result = T(static_cast<Compute<T>>(result) + static_cast<Compute<T>>(source(rank)[i]));
      }
    }
    for (int64_t rank = 0; rank < ranks; ++rank) {
      if (problem.kind != CudaCollectiveKind::kReduceScatter || rank == owner) {
        put(rank, i, result);
      }
    }
  }
  if (problem.kind != CudaCollectiveKind::kReduceScatter) return;
  for (int64_t rank = 0; rank < ranks; ++rank) {  // nobody may read the rest
    for (int64_t i = 0; i < problem.elements; ++i) {
      if (i / share != rank) put(rank, i, T(static_cast<Compute<T>>(-77)));
    }
  }
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

// A rank's handle: in a communicator of this process, or in one over processes.
struct SoftComm {
  std::shared_ptr<const SoftClique> clique;
  int rank = 0;
  uint64_t calls = 0;
  std::shared_ptr<SoftPart> part;

  int gpu() const { return part != nullptr ? part->gpu : clique->gpus[static_cast<size_t>(rank)]; }
  bool alone() const { return part == nullptr && clique->gpus.size() == 1; }
  // Some graph or stream has a call of it.
  bool used() const { return part != nullptr && part.use_count() > 1; }
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
bool NcclJoins(const char** why) {
  *why = there ? "" : "no NCCL: software CUDA was told to have none";
  return there;
}
CudaError CommId(CudaCommId* id) {
  if (!deaf) return SoftSegment::Make(id);
  std::memset(id, 0, sizeof(*id));
  return 0;
}
CudaError CommsJoin(const CudaCommId* id, int ranks, int own, const int* numbers,
                    const int* devices, CudaCommHandle* comms) {
  TraceSoftCall("comms_join", nullptr, false, nullptr, devices[0]);
  if (ranks > SoftSegment::kMostRanks) return kNcclErrors + 4;
  for (int i = 0; i < own; ++i) {
    if (devices[i] < 0 || devices[i] >= SoftGpus::Of().count()) return kSoftNoDevice;
    if (std::count(devices, devices + own, devices[i]) != 1) return kSoftCollective;
  }
  const std::shared_ptr<SoftSegment> segment = SoftSegment::Find(*id);
  for (int i = 0; i < own; ++i) {
    auto part = std::make_shared<SoftPart>();
    part->segment = segment;
    part->ranks = ranks;
    part->rank = numbers[i];
    part->gpu = devices[i];
    part->Join();
    comms[i] = new SoftComm{nullptr, numbers[i], 0, std::move(part)};
  }
  return kNcclPending;
}
CudaError CommState(CudaCommHandle comm) {
  const SoftPart* part = static_cast<SoftComm*>(comm)->part.get();
  return part == nullptr || part->Joined() ? 0 : kNcclPending;
}
CudaError CommDestroy(CudaCommHandle comm) {
  // NCCL would wait for the graph to go.
  if (static_cast<SoftComm*>(comm)->used()) {
    FailSoftCall("a communicator is destroyed before the graph that has its calls");
  }
  delete static_cast<SoftComm*>(comm);
  return 0;
}
CudaError CommsAbort(int count, const CudaCommHandle* comms) {
  TraceSoftCall("comms_abort", nullptr, false, nullptr, 0);
  const auto part_of = [&](int i) { return static_cast<SoftComm*>(comms[i])->part.get(); };
  for (int i = 0; i < count; ++i) {
    if (part_of(i) != nullptr) part_of(i)->aborted.store(true);
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
  for (int i = 0; i < count; ++i) {
    while (static_cast<SoftComm*>(comms[i])->used() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    CommDestroy(comms[i]);
  }
  return 0;
}
CudaError GroupBegin() {
  ++group_depth;
  return 0;
}
CudaError EnqueuePending() {
  CudaError first = 0;
  for (Pending& each : std::exchange(pending, {})) {
    if (!each.call->ends.empty()) {
      TraceSoftCall("messages", each.stream, IsCaptured(each.stream), nullptr,
                    SoftGpuOf(each.stream));
    }
    const CudaError error = EnqueueSoftCall(each.stream, std::move(each.call));
    if (first == 0) first = error;
  }
  return first;
}
CudaError GroupEnd() { return --group_depth == 0 ? EnqueuePending() : 0; }
CudaError Enqueue(const char* name, SoftComm* comm, CudaStreamHandle stream, void* buffer,
                  std::shared_ptr<SoftCall> call) {
  TraceSoftCall(name, stream, IsCaptured(stream), nullptr, SoftGpuOf(stream));
  // One thread that calls for several devices one by one may wait in the first call for ever.
  if (!comm->alone() && group_depth == 0) return kSoftCollective;
  if (comm->part != nullptr && !comm->part->Joined()) return kSoftCollective;
  call->clique = comm->clique;
  call->part = comm->part;
  call->number = comm->calls++;
  call->problem.rank = comm->rank;
  if (SoftGpuOf(stream) != call->gpu()) return kSoftInvalidHandle;
  SoftMemory::Of().Touch(call->gpu(), buffer, name);
  pending.push_back({stream, std::move(call)});
  return group_depth == 0 ? EnqueuePending() : 0;
}
CudaError Collective(const CudaCollective* problem, void* buffer, CudaCommHandle handle,
                     CudaStreamHandle stream) {
  auto call = std::make_shared<SoftCall>();
  call->problem = *problem;
  call->buffer = buffer;
  return Enqueue("collective", static_cast<SoftComm*>(handle), stream, buffer, std::move(call));
}
CudaError Message(const CudaMessage* message, void* data, CudaCommHandle handle,
                  CudaStreamHandle stream) {
  const SoftComm* comm = static_cast<SoftComm*>(handle);
  if (comm->part == nullptr || message->peer < 0 || message->peer >= comm->part->ranks ||
      message->peer == comm->part->rank) {
    return kNcclErrors + 4;
  }
  const char* name = message->sends ? "send" : "receive";
  for (Pending& each : pending) {
    if (each.call->part != comm->part || each.call->ends.empty()) continue;
    // NCCL would take another stream too; whoever calls says which waits for which.
    if (each.stream != stream) return kSoftCollective;
    TraceSoftCall(name, stream, IsCaptured(stream), nullptr, SoftGpuOf(stream));
    SoftMemory::Of().Touch(each.call->gpu(), data, name);
    each.call->ends.push_back({*message, data});
    return 0;
  }
  auto call = std::make_shared<SoftCall>();
  call->ends.push_back({*message, data});
  return Enqueue(name, static_cast<SoftComm*>(handle), stream, data, std::move(call));
}

}  // namespace

std::string SoftCall::What() const {
  static const char* const kKinds[] = {"all_reduce", "reduce_scatter", "all_gather"};
  if (ends.size() == 1) return EndText(0);
  if (!ends.empty()) {
    std::string text = "a group of ";
    for (size_t end = 0; end < ends.size(); ++end) {
      text += (end == 0 ? "" : " and ") + EndText(end) +
              (ends[end].message.sends ? " to " : " from ") +
              std::to_string(ends[end].message.peer);
    }
    return text;
  }
  return std::string(kKinds[static_cast<int>(problem.kind)]) + " of " +
         std::to_string(problem.elements) + " " + TypeName(problem.dtype);
}

std::string SoftCall::EndText(size_t end) const {
  const CudaMessage& message = ends[end].message;
  size_t place = 0, there = 0, back = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    if (ends[i].message.peer != message.peer) continue;
    const bool same = ends[i].message.sends == message.sends;
    ++(same ? there : back);
    if (same && i <= end) ++place;
  }
  std::string text = "a message of " + std::to_string(message.bytes) + " bytes";
  if (there > 1) text += ", " + std::to_string(place) + " of " + std::to_string(there);
  if (back > 0) text += ", with " + std::to_string(back) + " back";
  return text;
}

std::string SoftCall::Text() const {
  const std::string end = " on GPU " + std::to_string(gpu()) + ": " + What();
  if (part != nullptr) {
    return "a call of rank " + std::to_string(part->rank) + " of " + std::to_string(part->ranks) +
           end;
  }
  std::string text = "call " + std::to_string(number) + " of GPUs ";
  for (size_t rank = 0; rank < clique->gpus.size(); ++rank) {
    text += (rank == 0 ? "" : ",") + std::to_string(clique->gpus[rank]);
  }
  return text + end;
}

void RunSoftCalls(std::vector<const SoftCall*> calls) {
  std::sort(calls.begin(), calls.end(),
            [](const SoftCall* a, const SoftCall* b) { return a->problem.rank < b->problem.rank; });
  const CudaCollective& first = calls.front()->problem;
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const SoftCall* call : calls) {
    const CudaCollective& problem = call->problem;
    if (problem.kind != first.kind || problem.dtype != first.dtype ||
        problem.elements != first.elements) {
      return FailSoftCall("ranks differ: " + calls.front()->Text() + " and " + call->Text());
    }
    from.push_back(call->buffer);
    to.push_back(call->buffer);
  }
  RunSoftCollective(first, from, to);
}

void RunSoftCollective(const CudaCollective& problem, const std::vector<const void*>& from,
                       const std::vector<void*>& to) {
  switch (static_cast<DType>(problem.dtype)) {
    case DType::kF32:
      return Run<float>(problem, from, to);
    case DType::kF64:
      return Run<double>(problem, from, to);
    case DType::kBF16:
      return Run<BF16>(problem, from, to);
    case DType::kF16:
      return Run<F16>(problem, from, to);
    case DType::kI64:
      return Run<int64_t>(problem, from, to);
    case DType::kI32:
      return Run<int32_t>(problem, from, to);
    default:
      return FailSoftCall("a collective of no type of NCCL");
  }
}

void FailSoftCall(const std::string& text) {
  std::fprintf(stderr, "software NCCL: %s\n", text.c_str());
  SoftMemory::Of().Tell(kSoftCollective);
}

void TellSoftDeadlock(const std::vector<const SoftCall*>& waiting) {
  std::string text = "deadlock, each waits for ranks that never come:";
  for (const SoftCall* call : waiting) text += "\n  " + call->Text();
  FailSoftCall(text);
}

void MeetSoftCall(const SoftCall& call) {
  Meetings& all = Meetings::Of();
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
  std::unique_lock<std::mutex> lock(all.mutex);
  if (!all.changed.wait_until(lock, until, [&] { return !all.busy.contains(call.gpu()); })) {
    TellSoftDeadlock({&call});
    return;
  }
  if (call.part != nullptr) {
    all.busy[call.gpu()] = call.key();
    lock.unlock();
    SoftMeeting meeting(call, patience);
    while (!meeting.Over()) std::this_thread::sleep_for(std::chrono::microseconds(50));
    lock.lock();
    all.busy.erase(call.gpu());
    all.changed.notify_all();
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
double SoftPatience() { return patience; }
void SetSoftDeaf(bool is_deaf) { deaf = is_deaf; }
void SetSoftNccl(bool is_there) { there = is_there; }

void AddSoftNccl(CudaApi* api) {
  api->nccl_library = &NcclLibrary;
  api->comms_create = &CommsCreate;
  api->nccl_joins = &NcclJoins;
  api->comm_id = &CommId;
  api->comms_join = &CommsJoin;
  api->comm_state = &CommState;
  api->comm_destroy = &CommDestroy;
  api->comms_abort = &CommsAbort;
  api->group_begin = &GroupBegin;
  api->collective = &Collective;
  api->message = &Message;
  api->group_end = &GroupEnd;
}

}  // namespace oneflow::kernels
