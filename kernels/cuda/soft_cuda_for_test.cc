#include "kernels/cuda/soft_cuda_for_test.h"

#include <ucontext.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda/device_code.h"
#include "kernels/cuda/families.h"

namespace oneflow::kernels {
namespace {

constexpr CudaError kInvalid = 1;      // cudaErrorInvalidValue
constexpr CudaError kOutOfMemory = 2;  // cudaErrorMemoryAllocation
constexpr CudaError kIllegalAddress = 700;

// ---- Fibers: the threads of a block that meet at barriers ----

constexpr size_t kStackBytes = 64 << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  bool done = false;
};

// The block that this OS thread runs now.
struct Block {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  size_t current = 0;
  const std::function<void()>* body = nullptr;
};
thread_local Block* running_block = nullptr;

void EnterFiber() {
  (*running_block->body)();
  running_block->fibers[running_block->current].done = true;
}

// A fiber at its beginning. Apart, for what calls getcontext must not keep values in registers.
__attribute__((noinline)) void Prepare(Block* block, Fiber* fiber) {
  fiber->done = false;
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = &block->scheduler;
  makecontext(&fiber->context, &EnterFiber, 0);
}

// Every thread of the block once per barrier, in an order that changes with `seed`.
void RunBlock(Block* block, int threads, uint64_t seed) {
  block->fibers.resize(static_cast<size_t>(threads));  // as many for each block of a grid
  for (Fiber& fiber : block->fibers) Prepare(block, &fiber);
  const size_t n = block->fibers.size();
  for (size_t left = n; left > 0; ++seed) {
    const size_t first = static_cast<size_t>(seed * 7 % n);
    for (size_t i = 0; i < n; ++i) {
      const size_t at = seed % 2 == 0 ? (first + i) % n : (first + n - i) % n;
      if (block->fibers[at].done) continue;
      block->current = at;
      threadIdx.x = static_cast<unsigned>(at);
      swapcontext(&block->scheduler, &block->fibers[at].context);
      if (block->fibers[at].done) --left;
    }
  }
}

void RunGrid(int64_t blocks, int threads, bool barriers, const std::function<void()>& body,
             uint64_t seed) {
  blockDim.x = static_cast<unsigned>(threads);
  gridDim.x = static_cast<unsigned>(blocks);
  // Stacks are kept from launch to launch.
  static thread_local std::unique_ptr<Block> block = std::make_unique<Block>();
  if (barriers) {
    block->body = &body;
    running_block = block.get();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    blockIdx.x = static_cast<unsigned>(b);
    if (barriers) {
      RunBlock(block.get(), threads, seed + static_cast<uint64_t>(b));
      continue;
    }
    for (int t = 0; t < threads; ++t) {
      threadIdx.x = static_cast<unsigned>(t);
      body();
    }
  }
  running_block = nullptr;
}

// ---- Memory ----

// Every block lies between guards, and one that was released is kept for a while: a write out of bounds
// or too late is told, once, by a later call, as a GPU tells an illegal address.
class SoftMemory {
 public:
  static SoftMemory& Of() {
    static SoftMemory* memory = new SoftMemory;  // streams may outlive static objects
    return *memory;
  }

  // As on a GPU: more than the device has is refused, and memory comes with anything in it.
  CudaError Allocate(void** data, int64_t bytes) {
    if (bytes > kDeviceBytes) return kOutOfMemory;
    const size_t room = static_cast<size_t>((bytes + kGuard - 1) / kGuard * kGuard);
    char* begin = static_cast<char*>(std::aligned_alloc(kGuard, room + 2 * kGuard));
    if (begin == nullptr) return kOutOfMemory;
    std::memset(begin, kGuardByte, room + 2 * kGuard);
    std::memset(begin + kGuard, kFreshByte, static_cast<size_t>(bytes));
    *data = begin + kGuard;
    std::lock_guard<std::mutex> lock(mutex_);
    live_[*data] = {begin, static_cast<size_t>(bytes), room + 2 * kGuard};
    return Take();
  }

  CudaError Release(void* data) {
    if (data == nullptr) return 0;
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = live_.find(data);
    if (it == live_.end()) return kInvalid;
    const Block block = it->second;
    live_.erase(it);
    const char* end = block.begin + kGuard + block.bytes;
    const size_t behind = block.whole - kGuard - block.bytes;
    if (!IsAll(block.begin, kGuardByte, kGuard) || !IsAll(end, kGuardByte, behind)) Note();
    std::memset(block.begin, kReleasedByte, block.whole);
    kept_.push_back(block);
    kept_bytes_ += block.whole;
    while (kept_bytes_ > kKeptBytes) Drop();
    return Take();
  }

  // What was found so far; looks at all that is kept.
  CudaError Check() {
    std::lock_guard<std::mutex> lock(mutex_);
    while (!kept_.empty()) Drop();
    return Take();
  }
  CudaError TellError() {
    std::lock_guard<std::mutex> lock(mutex_);
    return Take();
  }

 private:
  struct Block {
    char* begin;
    size_t bytes, whole;  // asked for; with its guards
  };
  static constexpr int64_t kDeviceBytes = int64_t{4} << 30;
  static constexpr size_t kGuard = 256;
  static constexpr size_t kKeptBytes = 16 << 20;
  static constexpr char kFreshByte = static_cast<char>(0xA5);
  static constexpr char kGuardByte = 0x6B;
  static constexpr char kReleasedByte = 0x5A;

  static bool IsAll(const char* data, char byte, size_t n) {
    return n == 0 || (data[0] == byte && std::memcmp(data, data + 1, n - 1) == 0);
  }
  void Drop() {
    const Block block = kept_.front();
    kept_.pop_front();
    kept_bytes_ -= block.whole;
    if (!IsAll(block.begin, kReleasedByte, block.whole)) Note();
    std::free(block.begin);
  }
  void Note() { error_ = kIllegalAddress; }
  CudaError Take() { return std::exchange(error_, 0); }

  std::mutex mutex_;
  std::map<void*, Block> live_;
  std::deque<Block> kept_;  // released, the oldest first
  size_t kept_bytes_ = 0;
  CudaError error_ = 0;
};

// ---- Streams and events ----

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
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0;
  uint64_t reached = 0;
  std::chrono::steady_clock::time_point when;
};

CudaError Enqueue(CudaStreamHandle stream, std::function<void()> work) {
  if (stream == nullptr) {
    work();
  } else {
    static_cast<SoftStream*>(stream)->Push(std::move(work));
  }
  return 0;
}

std::atomic<uint64_t>& LaunchNumber() {
  static std::atomic<uint64_t> number{0};
  return number;
}

// ---- The run time's part of the table ----

const char* ErrorText(CudaError error) {
  if (error == 0) return "no error";
  if (error == kInvalid) return "invalid argument";
  if (error == kOutOfMemory) return "out of memory";
  if (error == kIllegalAddress) return "memory was written out of bounds or after its release";
  return "software CUDA error";
}
CudaError DeviceCount(int* count) {
  *count = 1;
  return 0;
}
CudaError Properties(int device, CudaDeviceProperties* out) {
  if (device != 0) return kInvalid;
  std::memset(out, 0, sizeof(*out));
  std::strcpy(out->name, "software CUDA");
  out->memory_bytes = int64_t{4} << 30;
  out->multiprocessors = 1;
  return 0;
}
CudaError SetDevice(int device) { return device == 0 ? 0 : kInvalid; }
CudaError Allocate(void** data, int64_t bytes) { return SoftMemory::Of().Allocate(data, bytes); }
CudaError Release(void* data) { return SoftMemory::Of().Release(data); }
CudaError StreamCreate(CudaStreamHandle* stream) {
  *stream = new SoftStream;
  return 0;
}
CudaError StreamDestroy(CudaStreamHandle stream) {
  delete static_cast<SoftStream*>(stream);
  return SoftMemory::Of().Check();
}
CudaError StreamSynchronize(CudaStreamHandle stream) {
  if (stream != nullptr) static_cast<SoftStream*>(stream)->Synchronize();
  return SoftMemory::Of().TellError();
}
CudaError StreamWait(CudaStreamHandle stream, CudaEventHandle handle) {
  SoftEvent* event = static_cast<SoftEvent*>(handle);
  uint64_t until = 0;
  {
    std::lock_guard<std::mutex> lock(event->mutex);
    until = event->recorded;
  }
  return Enqueue(stream, [event, until] {
    std::unique_lock<std::mutex> lock(event->mutex);
    event->changed.wait(lock, [&] { return event->reached >= until; });
  });
}
CudaError StreamCallback(CudaStreamHandle stream, void (*done)(void*), void* context) {
  return Enqueue(stream, [done, context] { done(context); });
}
CudaError EventCreate(CudaEventHandle* event, bool) {
  *event = new SoftEvent;
  return 0;
}
CudaError EventDestroy(CudaEventHandle event) {
  delete static_cast<SoftEvent*>(event);
  return 0;
}
CudaError EventRecord(CudaEventHandle handle, CudaStreamHandle stream) {
  SoftEvent* event = static_cast<SoftEvent*>(handle);
  uint64_t number = 0;
  {
    std::lock_guard<std::mutex> lock(event->mutex);
    number = ++event->recorded;
  }
  return Enqueue(stream, [event, number] {
    std::lock_guard<std::mutex> lock(event->mutex);
    event->reached = number;
    event->when = std::chrono::steady_clock::now();
    event->changed.notify_all();
  });
}
CudaError EventQuery(CudaEventHandle handle, bool* finished) {
  SoftEvent* event = static_cast<SoftEvent*>(handle);
  std::lock_guard<std::mutex> lock(event->mutex);
  *finished = event->reached == event->recorded;
  return 0;
}
CudaError EventMilliseconds(CudaEventHandle begin, CudaEventHandle end, float* milliseconds) {
  *milliseconds = std::chrono::duration<float, std::milli>(static_cast<SoftEvent*>(end)->when -
                                                           static_cast<SoftEvent*>(begin)->when)
                      .count();
  return 0;
}
CudaError Copy(void* to, const void* from, int64_t bytes, CudaStreamHandle stream) {
  return Enqueue(stream, [=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
}
CudaError CopyIn(void* to, const void* from, int64_t bytes, CudaStreamHandle stream) {
  const char* first = static_cast<const char*>(from);
  return Enqueue(stream, [to, read = std::vector<char>(first, first + bytes)] {
    if (!read.empty()) std::memcpy(to, read.data(), read.size());
  });
}
CudaError Zero(void* data, int64_t bytes, CudaStreamHandle stream) {
  return Enqueue(stream, [=] { std::memset(data, 0, static_cast<size_t>(bytes)); });
}

CudaApi MakeTable() {
  CudaApi api = {};
  api.version = kCudaApiVersion;
  api.error_text = &ErrorText;
  api.device_count = &DeviceCount;
  api.device_properties = &Properties;
  api.set_device = &SetDevice;
  api.allocate = &Allocate;
  api.release = &Release;
  api.allocate_pinned = &Allocate;
  api.release_pinned = &Release;
  api.stream_create = &StreamCreate;
  api.stream_destroy = &StreamDestroy;
  api.stream_synchronize = &StreamSynchronize;
  api.stream_wait = &StreamWait;
  api.stream_callback = &StreamCallback;
  api.event_create = &EventCreate;
  api.event_destroy = &EventDestroy;
  api.event_record = &EventRecord;
  api.event_query = &EventQuery;
  api.event_milliseconds = &EventMilliseconds;
  api.copy = &Copy;
  api.copy_in = &CopyIn;
  api.zero = &Zero;
  AddKernels(&api);
  return api;
}

}  // namespace

void SoftBarrier() {
  Block* block = running_block;
  const size_t me = block->current;
  swapcontext(&block->fibers[me].context, &block->scheduler);
}

CudaError SoftLaunch(int64_t blocks, int threads, CudaStreamHandle stream, bool barriers,
                     std::function<void()> body) {
  const uint64_t seed = LaunchNumber().fetch_add(1);
  return Enqueue(stream, [=] { RunGrid(blocks, threads, barriers, body, seed); });
}

const CudaApi* SoftCudaApi() {
  static const CudaApi api = MakeTable();
  return &api;
}

// As in liboneflow_cuda.so: liboneflow_soft_cuda.so stands for it in tests of the whole package.
extern "C" __attribute__((visibility("default"))) const CudaApi* oneflow_cuda_api() {
  return SoftCudaApi();
}

}  // namespace oneflow::kernels
