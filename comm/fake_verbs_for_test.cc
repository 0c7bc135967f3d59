#include "comm/fake_verbs_for_test.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace oneflow::comm {
namespace {

constexpr int kAccess = 10, kLocal = 4, kRetries = 12, kNotReady = 13;

}  // namespace

class FakeMemory final : public RegisteredMemory {
 public:
  FakeMemory(FakeFabric* fabric, uint32_t key) : fabric_(fabric), key_(key) {}
  ~FakeMemory() override {
    std::lock_guard lock(fabric_->mutex_);
    fabric_->memory_.erase(key_);
  }
  uint32_t local_key() const override { return key_; }
  uint32_t remote_key() const override { return key_; }

 private:
  FakeFabric* const fabric_;
  const uint32_t key_;
};

class FakeCompletions final : public CompletionQueue {
 public:
  FakeCompletions(FakeFabric* fabric, size_t places) : fabric_(fabric) {
    queue_.places = places;
    queue_.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    OF_CHECK(queue_.fd >= 0);
  }
  ~FakeCompletions() override { close(queue_.fd); }
  FakeFabric::Queue* queue() { return &queue_; }

  int fd() const override { return queue_.fd; }
  absl::StatusOr<size_t> Poll(Completion* completions, size_t room) override {
    std::lock_guard lock(fabric_->mutex_);
    const size_t count = std::min({room, queue_.done.size(), fabric_->limits_.polled_at_once});
    std::copy_n(queue_.done.begin(), count, completions);
    queue_.done.erase(queue_.done.begin(), queue_.done.begin() + static_cast<int64_t>(count));
    return count;
  }
  absl::Status Arm() override {
    std::lock_guard lock(fabric_->mutex_);
    uint64_t events;
    (void)!read(queue_.fd, &events, sizeof(events));
    queue_.armed = true;
    return absl::OkStatus();
  }

 private:
  FakeFabric* const fabric_;
  FakeFabric::Queue queue_;
};

class FakePair final : public QueuePair {
 public:
  FakePair(FakeFabric* fabric, uint32_t number) : fabric_(fabric), number_(number) {}
  ~FakePair() override {
    std::lock_guard lock(fabric_->mutex_);
    fabric_->ends_.erase(number_);
  }
  uint32_t number() const override { return number_; }
  absl::Status Connect(uint32_t sequence, const QueuePairAddress& peer) override {
    std::lock_guard lock(fabric_->mutex_);
    FakeFabric::End& own = end();
    if (own.peer != 0) return absl::InvalidArgumentError("connected already");
    own.peer = peer.number;
    own.sequence = sequence;
    own.expected = peer.sequence;
    return absl::OkStatus();
  }
  absl::Status PostReceive(uint64_t id) override {
    std::lock_guard lock(fabric_->mutex_);
    if (end().posted.size() >= end().receives) {
      return absl::ResourceExhaustedError("the receive queue is full");
    }
    end().posted.push_back(id);
    return absl::OkStatus();
  }
  absl::Status PostWrite(const RemoteWrite& write) override {
    std::lock_guard lock(fabric_->mutex_);
    FakeFabric::End& own = end();
    if (own.peer == 0) return absl::InvalidArgumentError("it is not connected");
    const size_t posted = own.work.size() + own.late.size();
    if (posted >= own.writes) return absl::ResourceExhaustedError("the send queue is full");
    if (own.stopped) {
      fabric_->Show(own.queue, {write.id, Completion::kFlushed});
      return absl::OkStatus();
    }
    fabric_->most_posted_ = std::max(fabric_->most_posted_, posted + 1);
    own.work.push_back(write);
    fabric_->changed_.notify_all();
    return absl::OkStatus();
  }
  void Stop() override {
    std::lock_guard lock(fabric_->mutex_);
    fabric_->StopEnd(&end());
  }

 private:
  FakeFabric::End& end() { return fabric_->ends_.at(number_); }

  FakeFabric* const fabric_;
  const uint32_t number_;
};

class FakePort final : public RdmaPort {
 public:
  FakePort(FakeFabric* fabric, int host) : fabric_(fabric), host_(host) {}
  std::string name() const override { return absl::StrCat("fake", host_, ":1"); }
  QueuePairAddress address() const override {
    QueuePairAddress address;
    address.gid[15] = static_cast<uint8_t>(host_ + 1);
    address.link = 2;
    address.mtu = 3;
    return address;
  }
  uint64_t longest_write() const override { return fabric_->limits_.longest_write; }
  uint32_t most_work() const override { return fabric_->limits_.most_work; }

  absl::StatusOr<std::unique_ptr<RegisteredMemory>> Register(std::byte* data, uint64_t bytes,
                                                             Rights rights) override {
    return Add({host_, reinterpret_cast<uint64_t>(data), data, bytes, rights});
  }
  // The buffer is a memory file, say; it is not mapped, and only its keys are here.
  absl::StatusOr<std::unique_ptr<RegisteredMemory>> RegisterDmaBuffer(int, uint64_t, uint64_t bytes,
                                                                      uint64_t address,
                                                                      Rights rights) override {
    return Add({host_, address, nullptr, bytes, rights});
  }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> MakeCompletionQueue(uint32_t places) override {
    return std::unique_ptr<CompletionQueue>(std::make_unique<FakeCompletions>(fabric_, places));
  }
  absl::StatusOr<std::unique_ptr<QueuePair>> MakeQueuePair(CompletionQueue* completions,
                                                           uint32_t writes,
                                                           uint32_t receives) override {
    std::lock_guard lock(fabric_->mutex_);
    if (std::max(writes, receives) > fabric_->limits_.most_work) {
      return absl::InvalidArgumentError("deeper queues than it has");
    }
    const uint32_t number = fabric_->next_number_++;
    FakeFabric::End& end = fabric_->ends_[number];
    end.host = host_;
    end.queue = static_cast<FakeCompletions*>(completions)->queue();
    end.writes = writes;
    end.receives = receives;
    return std::unique_ptr<QueuePair>(std::make_unique<FakePair>(fabric_, number));
  }

 private:
  absl::StatusOr<std::unique_ptr<RegisteredMemory>> Add(const FakeFabric::Bytes& bytes) {
    std::lock_guard lock(fabric_->mutex_);
    uint64_t registered = bytes.bytes;
    for (const auto& [key, memory] : fabric_->memory_) registered += memory.bytes;
    if (registered > fabric_->limits_.most_memory) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name(), " cannot register ", bytes.bytes, " bytes"));
    }
    const uint32_t key = fabric_->next_key_ += 0x101;
    fabric_->memory_[key] = bytes;
    return std::unique_ptr<RegisteredMemory>(std::make_unique<FakeMemory>(fabric_, key));
  }

  FakeFabric* const fabric_;
  const int host_;
};

class FakeVerbs final : public Verbs {
 public:
  FakeVerbs(FakeFabric* fabric, int host) : fabric_(fabric), host_(host) {}
  absl::StatusOr<std::shared_ptr<RdmaPort>> Open(const std::string& device, const Gid&) override {
    std::lock_guard lock(fabric_->mutex_);
    const std::string own = absl::StrCat("fake", host_);
    if (fabric_->down_[host_]) return absl::NotFoundError(absl::StrCat(own, ":1 is not active"));
    if (!device.empty() && device != own) {
      return absl::NotFoundError(absl::StrCat("no RDMA adapter `", device, "`"));
    }
    return std::shared_ptr<RdmaPort>(std::make_shared<FakePort>(fabric_, host_));
  }

 private:
  FakeFabric* const fabric_;
  const int host_;
};

FakeFabric::FakeFabric(Limits limits) : limits_(limits), random_(limits.seed) {
  thread_ = std::thread([this] { Loop(); });
}

FakeFabric::~FakeFabric() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::shared_ptr<Verbs> FakeFabric::verbs(int host) {
  return std::make_shared<FakeVerbs>(this, host);
}

void FakeFabric::Hold() {
  std::lock_guard lock(mutex_);
  held_ = true;
}
void FakeFabric::Release() {
  std::lock_guard lock(mutex_);
  held_ = false;
  changed_.notify_all();
}
void FakeFabric::FailWork(int host, int status, int later) {
  std::lock_guard lock(mutex_);
  failures_[host] = {later, status};
}
void FakeFabric::Unplug(int host) {
  std::lock_guard lock(mutex_);
  unplugged_[host] = true;
}
void FakeFabric::Swallow(int host) {
  std::lock_guard lock(mutex_);
  swallowing_[host] = true;
}
void FakeFabric::PutDown(int host) {
  std::lock_guard lock(mutex_);
  down_[host] = true;
}
uint64_t FakeFabric::writes() const {
  std::lock_guard lock(mutex_);
  return done_;
}
size_t FakeFabric::most_posted() const {
  std::lock_guard lock(mutex_);
  return most_posted_;
}
size_t FakeFabric::memories() const {
  std::lock_guard lock(mutex_);
  return memory_.size();
}

uint64_t FakeFabric::Draw() {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return random_ >> 33;
}

void FakeFabric::Show(Queue* queue, const Completion& completion) {
  OF_CHECK(queue->done.size() < queue->places) << "a completion queue has run over";
  queue->done.push_back(completion);
  if (!queue->armed) return;
  queue->armed = false;
  const uint64_t one = 1;
  (void)!write(queue->fd, &one, sizeof(one));
}

void FakeFabric::StopEnd(End* end) {
  if (end->stopped) return;
  end->stopped = true;
  for (const Completion& completion : end->late) Show(end->queue, completion);
  end->late.clear();
  for (const RemoteWrite& write : end->work) Show(end->queue, {write.id, Completion::kFlushed});
  end->work.clear();
  for (uint64_t id : end->posted) Show(end->queue, {id, Completion::kFlushed});
  end->posted.clear();
}

const FakeFabric::Bytes* FakeFabric::Covering(uint32_t key, int host, uint64_t address,
                                              uint64_t bytes) const {
  const auto found = memory_.find(key);
  if (found == memory_.end() || found->second.host != host) return nullptr;
  const Bytes& memory = found->second;
  if (address < memory.address || bytes > memory.bytes ||
      address - memory.address > memory.bytes - bytes) {
    return nullptr;
  }
  return &memory;
}

// The status of that work.
int FakeFabric::Do(End* end, const RemoteWrite& write) {
  if (auto failure = failures_.find(end->host); failure != failures_.end()) {
    if (failure->second.first-- == 0) {
      const int status = failure->second.second;
      failures_.erase(failure);
      return status;
    }
  }
  const auto peer = ends_.find(end->peer);
  if (peer == ends_.end() || peer->second.stopped || unplugged_[end->host] ||
      unplugged_[peer->second.host] || peer->second.expected != end->sequence) {
    return kRetries;
  }
  if (swallowing_[end->host]) return Completion::kSuccess;
  End& other = peer->second;
  if (write.bytes > 0) {
    const uint64_t source = reinterpret_cast<uint64_t>(write.source);
    if (Covering(write.local_key, end->host, source, write.bytes) == nullptr) return kLocal;
    const Bytes* target = Covering(write.remote_key, other.host, write.address, write.bytes);
    if (target == nullptr || target->rights != Rights::kRemoteWrite || target->data == nullptr) {
      StopEnd(&other);
      return kAccess;
    }
    std::memcpy(target->data + (write.address - target->address), write.source, write.bytes);
  }
  if (!write.immediate) return Completion::kSuccess;
  if (other.posted.empty()) return kNotReady;
  const uint64_t id = other.posted.front();
  other.posted.pop_front();
  Show(other.queue, {id, Completion::kSuccess, true, *write.immediate});
  return Completion::kSuccess;
}

// One step of an end: some work, or a completion that becomes visible.
void FakeFabric::Work(uint32_t number, End* end) {
  if (!end->late.empty() && (end->work.empty() || Draw() % 3 == 0)) {
    Show(end->queue, end->late.front());
    end->late.pop_front();
    return;
  }
  const RemoteWrite write = end->work.front();
  end->work.pop_front();
  ++done_;
  const int status = Do(end, write);
  // Its connection may have stopped by the same work.
  end = &ends_.at(number);
  if (status == Completion::kSuccess) {
    if (!end->stopped) end->late.push_back({write.id, status});
    return;
  }
  for (const Completion& completion : end->late) Show(end->queue, completion);
  end->late.clear();
  Show(end->queue, {write.id, status});
  StopEnd(end);
}

bool FakeFabric::Step() {
  std::vector<uint32_t> ready;
  for (const auto& [number, end] : ends_) {
    if (!end.stopped && !(end.work.empty() && end.late.empty())) ready.push_back(number);
  }
  if (held_ || ready.empty()) return false;
  const uint32_t number = ready[Draw() % ready.size()];
  Work(number, &ends_.at(number));
  return true;
}

void FakeFabric::Loop() {
  std::unique_lock lock(mutex_);
  while (!over_) {
    if (!Step()) {
      changed_.wait(lock);
      continue;
    }
    // Let others in between two steps.
    lock.unlock();
    lock.lock();
  }
}

}  // namespace oneflow::comm
