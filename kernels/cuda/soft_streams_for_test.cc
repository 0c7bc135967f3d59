#include "kernels/cuda/soft_streams_for_test.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda/soft_errors_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"

namespace oneflow::kernels {
namespace {

struct SoftNode {
  std::function<void()> work;
  std::vector<size_t> before;            // nodes that are over first
  std::shared_ptr<const SoftCall> call;  // in place of work
};
struct SoftGraph {
  std::vector<SoftNode> nodes;

  // `seed` draws which of the nodes that may run is next.
  void Run(uint64_t seed) const {
    std::vector<size_t> missing(nodes.size());
    std::vector<std::vector<size_t>> behind(nodes.size());
    std::vector<size_t> ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
      missing[i] = nodes[i].before.size();
      for (size_t other : nodes[i].before) behind[other].push_back(i);
      if (missing[i] == 0) ready.push_back(i);
    }
    std::map<SoftCall::Key, std::vector<size_t>> met;  // calls that wait for other ranks
    std::map<int, size_t> busy;                        // by GPU, the call that it is in
    std::vector<std::pair<size_t, std::unique_ptr<SoftMeeting>>> apart;  // with other processes
    const auto finish = [&](size_t node) {
      for (size_t other : behind[node]) {
        if (--missing[other] == 0) ready.push_back(other);
      }
    };
    while (!ready.empty() || !apart.empty()) {
      // Other processes have an order of their own: what is over with them is seen whenever it is.
      std::erase_if(apart, [&](const auto& meeting) {
        if (!meeting.second->Over()) return false;
        busy.erase(nodes[meeting.first].call->gpu());
        finish(meeting.first);
        return true;
      });
      // A GPU in a call does not begin another.
      std::vector<size_t> able;
      for (size_t place = 0; place < ready.size(); ++place) {
        const SoftCall* call = nodes[ready[place]].call.get();
        if (call == nullptr || !busy.contains(call->gpu())) able.push_back(place);
      }
      if (able.empty()) {
        if (apart.empty()) break;
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        continue;
      }
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      std::swap(ready[able[(seed >> 33) % able.size()]], ready.back());
      const size_t next = ready.back();
      ready.pop_back();
      if (nodes[next].call == nullptr) {
        nodes[next].work();
        finish(next);
        continue;
      }
      const SoftCall& call = *nodes[next].call;
      busy[call.gpu()] = next;
      if (call.part != nullptr) {
        apart.emplace_back(next, std::make_unique<SoftMeeting>(call, SoftPatience()));
        continue;
      }
      std::vector<size_t>& members = met[call.key()];
      members.push_back(next);
      if (members.size() < call.ranks()) continue;
      RunSoftCalls(CallsOf(members));
      for (size_t member : members) {
        busy.erase(nodes[member].call->gpu());
        finish(member);
      }
      met.erase(call.key());
    }
    if (busy.empty()) return;
    std::vector<size_t> waiting;
    for (const auto& [gpu, node] : busy) waiting.push_back(node);
    TellSoftDeadlock(CallsOf(waiting));
  }

  std::vector<const SoftCall*> CallsOf(const std::vector<size_t>& those) const {
    std::vector<const SoftCall*> calls;
    for (size_t node : those) calls.push_back(nodes[node].call.get());
    return calls;
  }
};

class SoftStream;
struct Capture {
  SoftGraph graph;
  std::vector<SoftStream*> streams;  // the first began it
  CudaError broken = 0;
  bool over = false;
};

class SoftStream {
 public:
  SoftStream() : thread_([this] { Loop(); }) {}
  ~SoftStream() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void Push(std::function<void()> work) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(std::move(work));
      ++pushed_;
    }
    changed_.notify_all();
  }
  void Synchronize() {
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t until = pushed_;
    changed_.wait(lock, [&] { return finished_ >= until; });
  }

  const int gpu = SoftGpus::Current();
  // Of the capture that it takes part in; nullptr: its work runs.
  std::shared_ptr<Capture> capture;
  std::vector<size_t> tail;  // the nodes that its next one stands behind

 private:
  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
      work = nullptr;
      lock.lock();
      ++finished_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  uint64_t pushed_ = 0;
  uint64_t finished_ = 0;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

// Records are numbered; a wait waits for the number that stood when it was enqueued.
struct SoftEvent {
  // One record. Who waits waits for the one that was the last then: a later one, on another stream, may be reached
  // before it.
  struct Mark {
    bool reached = false;
    std::chrono::steady_clock::time_point when;
  };

  const int gpu = SoftGpus::Current();
  std::mutex mutex;
  std::condition_variable changed;
  std::shared_ptr<Mark> last;  // nullptr: none yet
  // Where it stands in a capture, if it was recorded last in one.
  std::shared_ptr<Capture> capture;
  std::vector<size_t> tail;
};

SoftStream* Stream(CudaStreamHandle stream) { return static_cast<SoftStream*>(stream); }
// Work that is enqueued keeps its event: one may be destroyed before it is reached.
std::shared_ptr<SoftEvent> Event(CudaEventHandle event) {
  return *static_cast<std::shared_ptr<SoftEvent>*>(event);
}
std::shared_ptr<SoftEvent::Mark> LastOf(SoftEvent* event) {
  std::lock_guard<std::mutex> lock(event->mutex);
  return event->last;
}
void WaitFor(SoftEvent* event, const SoftEvent::Mark* mark) {
  std::unique_lock<std::mutex> lock(event->mutex);
  event->changed.wait(lock, [&] { return mark == nullptr || mark->reached; });
}

// The host may not wait for what only stands in a graph.
CudaError Refuse(Capture* capture) {
  if (!capture->over) capture->broken = kSoftCaptureInvalidated;
  return kSoftCaptureUnsupported;
}

void Merge(const std::vector<size_t>& more, std::vector<size_t>* nodes) {
  for (size_t node : more) {
    if (std::find(nodes->begin(), nodes->end(), node) == nodes->end()) nodes->push_back(node);
  }
}

}  // namespace

CudaError EnqueueSoft(CudaStreamHandle handle, std::function<void()> work) {
  if (handle == nullptr) {
    work();
    return 0;
  }
  SoftStream* stream = Stream(handle);
  if (stream->capture == nullptr) {
    stream->Push(std::move(work));
    return 0;
  }
  std::vector<SoftNode>& nodes = stream->capture->graph.nodes;
  nodes.push_back({std::move(work), std::move(stream->tail), nullptr});
  stream->tail = {nodes.size() - 1};
  return 0;
}

CudaError EnqueueSoftCall(CudaStreamHandle handle, std::shared_ptr<const SoftCall> call) {
  if (!IsCaptured(handle)) return EnqueueSoft(handle, [call] { MeetSoftCall(*call); });
  const CudaError error = EnqueueSoft(handle, nullptr);
  Stream(handle)->capture->graph.nodes.back().call = std::move(call);
  return error;
}

bool IsCaptured(CudaStreamHandle stream) {
  return stream != nullptr && Stream(stream)->capture != nullptr;
}

int SoftGpuOf(CudaStreamHandle stream) {
  return stream == nullptr ? SoftGpus::Current() : Stream(stream)->gpu;
}

uint64_t NextSoftSeed() {
  static std::atomic<uint64_t> number{0};
  return number.fetch_add(1);
}

CudaError SoftStreamCreate(CudaStreamHandle* stream) {
  *stream = new SoftStream;
  return 0;
}
CudaError SoftStreamDestroy(CudaStreamHandle stream) {
  delete Stream(stream);
  return SoftMemory::Of().Check();
}
CudaError SoftStreamSynchronize(CudaStreamHandle stream) {
  if (stream != nullptr) {
    if (Stream(stream)->capture != nullptr) return Refuse(Stream(stream)->capture.get());
    Stream(stream)->Synchronize();
  }
  return SoftMemory::Of().TellError();
}

CudaError SoftStreamWait(CudaStreamHandle handle, CudaEventHandle event_handle) {
  SoftStream* stream = Stream(handle);
  const std::shared_ptr<SoftEvent> event = Event(event_handle);
  if (event->capture != nullptr) {
    if (event->capture->over) return kSoftInvalid;
    if (stream->capture == nullptr) {
      stream->capture = event->capture;
      stream->tail.clear();
      event->capture->streams.push_back(stream);
    }
    if (stream->capture != event->capture) return kSoftInvalid;
    Merge(event->tail, &stream->tail);
    return 0;
  }
  if (stream->capture != nullptr) {
    stream->capture->broken = kSoftCaptureInvalidated;
    return kSoftCaptureIsolation;
  }
  return EnqueueSoft(handle,
                     [event, mark = LastOf(event.get())] { WaitFor(event.get(), mark.get()); });
}

CudaError SoftEventCreate(CudaEventHandle* event, bool) {
  *event = new std::shared_ptr<SoftEvent>(new SoftEvent);
  return 0;
}
CudaError SoftEventDestroy(CudaEventHandle event) {
  delete static_cast<std::shared_ptr<SoftEvent>*>(event);
  return 0;
}
CudaError SoftEventRecord(CudaEventHandle handle, CudaStreamHandle stream) {
  const std::shared_ptr<SoftEvent> event = Event(handle);
  if (event->gpu != SoftGpuOf(stream)) return kSoftInvalidHandle;
  event->capture = stream == nullptr ? nullptr : Stream(stream)->capture;
  if (event->capture != nullptr) {
    event->tail = Stream(stream)->tail;
    return 0;
  }
  const auto mark = std::make_shared<SoftEvent::Mark>();
  {
    std::lock_guard<std::mutex> lock(event->mutex);
    event->last = mark;
  }
  return EnqueueSoft(stream, [event, mark] {
    std::lock_guard<std::mutex> lock(event->mutex);
    mark->reached = true;
    mark->when = std::chrono::steady_clock::now();
    event->changed.notify_all();
  });
}
CudaError SoftEventQuery(CudaEventHandle handle, bool* finished) {
  const std::shared_ptr<SoftEvent> event = Event(handle);
  if (event->capture != nullptr) return Refuse(event->capture.get());
  std::lock_guard<std::mutex> lock(event->mutex);
  *finished = event->last == nullptr || event->last->reached;
  return 0;
}
CudaError SoftEventSynchronize(CudaEventHandle handle) {
  const std::shared_ptr<SoftEvent> event = Event(handle);
  if (event->capture != nullptr) return Refuse(event->capture.get());
  WaitFor(event.get(), LastOf(event.get()).get());
  return SoftMemory::Of().TellError();
}
CudaError SoftEventMilliseconds(CudaEventHandle begin, CudaEventHandle end, float* milliseconds) {
  const auto first = LastOf(Event(begin).get()), last = LastOf(Event(end).get());
  if (first == nullptr || last == nullptr) return kSoftInvalid;
  *milliseconds = std::chrono::duration<float, std::milli>(last->when - first->when).count();
  return 0;
}

CudaError SoftCaptureBegin(CudaStreamHandle handle) {
  if (handle == nullptr || Stream(handle)->capture != nullptr) return kSoftInvalid;
  SoftStream* stream = Stream(handle);
  stream->capture = std::make_shared<Capture>();
  stream->capture->streams.push_back(stream);
  stream->tail.clear();
  return 0;
}

CudaError SoftCaptureEnd(CudaStreamHandle handle, CudaGraphHandle* graph) {
  SoftStream* stream = Stream(handle);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr || capture->streams.front() != stream) return kSoftInvalid;
  capture->over = true;
  // Every node stands before the end of the stream that began.
  std::set<size_t> joined(stream->tail.begin(), stream->tail.end());
  const std::vector<SoftNode>& nodes = capture->graph.nodes;
  for (size_t i = nodes.size(); i-- > 0;) {
    if (joined.contains(i)) joined.insert(nodes[i].before.begin(), nodes[i].before.end());
  }
  for (SoftStream* member : capture->streams) {
    member->capture = nullptr;
    member->tail.clear();
  }
  *graph = nullptr;
  if (capture->broken != 0) return capture->broken;
  if (joined.size() != nodes.size()) return kSoftCaptureUnjoined;
  *graph = new std::shared_ptr<SoftGraph>(new SoftGraph(std::move(capture->graph)));
  return 0;
}

CudaError SoftGraphDestroy(CudaGraphHandle graph) {
  delete static_cast<std::shared_ptr<SoftGraph>*>(graph);
  return 0;
}
CudaError SoftGraphInstantiate(CudaGraphExecHandle* exec, CudaGraphHandle graph) {
  *exec = new std::shared_ptr<SoftGraph>(*static_cast<std::shared_ptr<SoftGraph>*>(graph));
  return 0;
}
CudaError SoftGraphLaunch(CudaGraphExecHandle exec, CudaStreamHandle stream) {
  if (IsCaptured(stream)) return kSoftCaptureUnsupported;
  // One that is destroyed while it runs goes on to its end.
  return EnqueueSoft(stream, [graph = *static_cast<std::shared_ptr<SoftGraph>*>(exec),
                              seed = NextSoftSeed()] { graph->Run(seed); });
}
CudaError SoftGraphExecDestroy(CudaGraphExecHandle exec) {
  delete static_cast<std::shared_ptr<SoftGraph>*>(exec);
  return 0;
}

}  // namespace oneflow::kernels
