#include "runtime/devices/async.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "runtime/devices/cpu.h"

namespace oneflow {
namespace {

class AsyncStream;

// A place in a stream: over when the stream has done that many items.
class AsyncEvent final : public kernels::Event {
 public:
  bool Done() const override;

 private:
  friend class AsyncStream;
  struct Place {
    const AsyncStream* stream = nullptr;
    uint64_t items = 0;
  };
  Place place() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return place_;
  }
  mutable std::mutex mutex_;  // a leaf
  Place place_;
};

class AsyncStream final : public kernels::Stream {
 public:
  AsyncStream(const Device* device, uint64_t seed)
      : device_(device), random_(seed), thread_([this] { Loop(); }) {}
  ~AsyncStream() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  absl::Status Record(kernels::Event* event) override {
    AsyncEvent* place = static_cast<AsyncEvent*>(event);
    std::lock_guard<std::mutex> lock(mutex_);
    std::lock_guard<std::mutex> place_lock(place->mutex_);
    place->place_ = {this, given_};
    return absl::OkStatus();
  }
  absl::Status Wait(const kernels::Event& event) override {
    const AsyncEvent::Place place = static_cast<const AsyncEvent&>(event).place();
    if (place.stream == nullptr || place.stream == this) return absl::OkStatus();
    Give([&](Item* item) {
      item->kind = Item::kWait;
      item->place = place;
    });
    return absl::OkStatus();
  }
  absl::Status OnComplete(void (*function)(void*), void* argument) override {
    Give([&](Item* item) {
      item->kind = Item::kCall;
      item->function = function;
      item->argument = argument;
    });
    return absl::OkStatus();
  }
  void Drain() override {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return done_ == given_; });
  }

  // The call is kept: its arrays of pointers are copied.
  void Run(const kernels::Kernel* kernel, int threads, const kernels::KernelArgs& args,
           size_t inputs, size_t outputs) {
    Give([&](Item* item) {
      item->kind = Item::kRun;
      item->kernel = kernel;
      item->threads = threads;
      item->args = args;
      item->inputs.assign(args.inputs, args.inputs + inputs);
      item->outputs.assign(args.outputs, args.outputs + outputs);
    });
  }

  // Returns when the first `items` are done. For other streams' threads.
  void WaitFor(uint64_t items) const {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return done_ >= items; });
  }
  bool HasDone(uint64_t items) const {
    std::lock_guard<std::mutex> lock(mutex_);
    return done_ >= items;
  }

 private:
  struct Item {
    Item() {
      inputs.reserve(kPorts);
      outputs.reserve(kPorts);
    }
    enum Kind { kRun, kWait, kCall } kind = kRun;
    const kernels::Kernel* kernel = nullptr;
    int threads = 1;
    kernels::KernelArgs args;
    std::vector<const void*> inputs;  // keep their room from use to use
    std::vector<void*> outputs;
    AsyncEvent::Place place;
    void (*function)(void*) = nullptr;
    void* argument = nullptr;
  };

  static constexpr size_t kPorts = 16;  // of most kernels; more grow an item once

  template <typename Fill>
  void Give(Fill fill) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (given_ - done_ == ring_.size()) Grow();
      fill(&ring_[given_++ % ring_.size()]);
    }
    changed_.notify_all();
  }

  // Doubles the ring; what is in it keeps its numbers.
  void Grow() {
    std::vector<Item> larger(2 * ring_.size());
    for (uint64_t i = done_; i < given_; ++i) {
      std::swap(larger[i % larger.size()], ring_[i % ring_.size()]);
    }
    ring_ = std::move(larger);
  }

  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    Item item;  // swapped with the ring's, which may grow meanwhile
    while (true) {
      changed_.wait(lock, [this] { return stopped_ || done_ < given_; });
      if (stopped_) return;
      std::swap(item, ring_[done_ % ring_.size()]);
      lock.unlock();
      Do(&item);
      lock.lock();
      std::swap(item, ring_[done_ % ring_.size()]);
      ++done_;
      changed_.notify_all();
    }
  }

  void Do(Item* item) {
    Delay();
    switch (item->kind) {
      case Item::kWait:
        item->place.stream->WaitFor(item->place.items);
        return;
      case Item::kCall:
        item->function(item->argument);
        return;
      case Item::kRun:
        break;
    }
    if (item->threads != team_) {
      device_->EnterThread(item->threads);
      team_ = item->threads;
    }
    item->args.inputs = item->inputs.data();
    item->args.outputs = item->outputs.data();
    kernels::InlineStream inline_stream;
    const absl::Status ran = item->kernel->Run(item->args, &inline_stream);
    OF_CHECK(ran.ok()) << "a CPU kernel takes every call";
  }

  // Mostly none; else some other thread goes first, or everything that is ready does.
  void Delay() {
    const uint64_t draw = random_();
    if (draw % 8 < 5) return;
    if (draw % 8 < 7) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds((draw >> 8) % 60));
    }
  }

  const Device* const device_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Item> ring_ = std::vector<Item>(64);
  uint64_t given_ = 0;
  uint64_t done_ = 0;
  bool stopped_ = false;
  // Of the thread.
  std::mt19937_64 random_;
  int team_ = 0;
  std::thread thread_;  // last: it uses all of the above
};

bool AsyncEvent::Done() const {
  const Place at = place();
  return at.stream == nullptr || at.stream->HasDone(at.items);
}

// Gives a CPU kernel to the stream in place of running it.
class AsyncKernel final : public kernels::Kernel {
 public:
  AsyncKernel(std::unique_ptr<kernels::Kernel> kernel, int threads, size_t inputs, size_t outputs)
      : kernel_(std::move(kernel)), threads_(threads), inputs_(inputs), outputs_(outputs) {}
  absl::Status Run(const kernels::KernelArgs& args, kernels::Stream* stream) const override {
    auto* queue = dynamic_cast<AsyncStream*>(stream);
    if (queue == nullptr) return kernel_->Run(args, stream);  // virtual time has streams of its own
    queue->Run(kernel_.get(), threads_, args, inputs_, outputs_);
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<kernels::Kernel> kernel_;
  const int threads_;
  const size_t inputs_;
  const size_t outputs_;
};

class AsyncDevice final : public Device {
 public:
  AsyncDevice(const kernels::KernelTable* table, uint32_t id)
      : cpu_(MakeCpuDevice(table)), id_(id) {}

  std::string kind() const override { return "async"; }
  bool holds_bytes() const override { return true; }
  bool answers_later() const override { return true; }
  absl::StatusOr<Block> Allocate(int64_t bytes) override { return cpu_->Allocate(bytes); }
  void EnterThread(int threads) const override { cpu_->EnterThread(threads); }

  int64_t capacity_bytes() const override { return cpu_->capacity_bytes(); }
  std::string isa() const override { return cpu_->isa(); }

  absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeKernel(
      const plan::Task& task, int threads, int64_t workspace_bytes) const override {
    absl::StatusOr<std::unique_ptr<kernels::Kernel>> kernel =
        cpu_->MakeKernel(task, threads, workspace_bytes);
    if (!kernel.ok()) return kernel.status();
    return std::unique_ptr<kernels::Kernel>(std::make_unique<AsyncKernel>(
        *std::move(kernel), threads, static_cast<size_t>(task.inputs_size()),
        static_cast<size_t>(task.outputs_size())));
  }
  absl::StatusOr<std::unique_ptr<kernels::Stream>> MakeStream() override {
    return std::unique_ptr<kernels::Stream>(
        std::make_unique<AsyncStream>(cpu_.get(), (uint64_t{id_} << 32) + streams_++));
  }
  absl::StatusOr<std::unique_ptr<kernels::Event>> MakeEvent() override {
    return std::unique_ptr<kernels::Event>(std::make_unique<AsyncEvent>());
  }

 private:
  const std::unique_ptr<Device> cpu_;
  const uint32_t id_;
  uint32_t streams_ = 0;
};

}  // namespace

std::unique_ptr<Device> MakeAsyncDevice(const kernels::KernelTable* table, uint32_t id) {
  return std::make_unique<AsyncDevice>(table, id);
}

}  // namespace oneflow
