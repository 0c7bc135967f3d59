// FakeFabric: adapters in memory, for tests of the RDMA transport where there is none: ports of one
// process whose queue pairs write into each other's registered memory, and fail in the ways real ones do.
//
// A thread of its own does the work, one piece at a time: in order for each queue pair, in random order
// between them; the completion of a write comes late, after what the peer has made of it. It keeps the
// rules that adapters keep: keys, bounds and rights of memory, depths of queues, receives that must be
// posted, completions that make a descriptor readable only after Arm. Owned by a test, longer than the
// transports that use its ports. Threads: any. Read next: comm/verbs/verbs.h, comm/rdma_test.cc.
#ifndef ONEFLOW_COMM_FAKE_VERBS_FOR_TEST_H_
#define ONEFLOW_COMM_FAKE_VERBS_FOR_TEST_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/verbs/verbs.h"

namespace oneflow::comm {

class FakeFabric {
 public:
  // What its ports can do.
  struct Limits {
    uint64_t longest_write = 256 << 10;
    uint32_t most_work = 1024;
    size_t polled_at_once = 3;
    uint64_t most_memory = ~uint64_t{0};  // that may be registered at once, by all
    uint64_t seed = 1;
  };
  FakeFabric() : FakeFabric(Limits{}) {}
  explicit FakeFabric(Limits limits);
  ~FakeFabric();

  // What opens the one port of a host: "fake0", "fake1", ...
  std::shared_ptr<Verbs> verbs(int host);

  // From here on no work is done, until Release.
  void Hold();
  void Release();
  // The next piece of work of that host, after `later` others, ends with `status`.
  void FailWork(int host, int status, int later = 0);
  // Nothing gets from or to that host any more: work ends with status 12, as after vain retries.
  void Unplug(int host);
  // Nothing that the host sends arrives, and it never learns of it.
  void Swallow(int host);
  // Peers can open no port there.
  void PutDown(int host);

  uint64_t writes() const;     // pieces of work done
  size_t most_posted() const;  // the fullest a send queue has been
  size_t memories() const;     // that are registered now

 private:
  friend class FakePort;
  friend class FakeCompletions;
  friend class FakePair;
  friend class FakeMemory;
  friend class FakeVerbs;

  // Registered bytes.
  struct Bytes {
    int host = 0;
    uint64_t address = 0;  // as peers call it
    std::byte* data = nullptr;
    uint64_t bytes = 0;
    Rights rights = Rights::kNone;
  };
  // Completions, and whether the next one rings.
  struct Queue {
    int fd = -1;
    size_t places = 0;
    bool armed = false;
    std::deque<Completion> done;
  };
  // One end of a connection.
  struct End {
    int host = 0;
    Queue* queue = nullptr;
    uint32_t peer = 0;  // 0: not connected
    uint32_t sequence = 0;
    uint32_t expected = 0;            // of the peer's sequence
    size_t writes = 0, receives = 0;  // depths
    bool stopped = false;
    std::deque<RemoteWrite> work;
    std::deque<Completion> late;  // completions of writes, not shown yet
    std::deque<uint64_t> posted;  // receives
  };

  // REQUIRES, of these: mutex_ is held.
  void Show(Queue* queue, const Completion& completion);
  void StopEnd(End* end);
  void Work(uint32_t number, End* end);
  int Do(End* end, const RemoteWrite& write);
  const Bytes* Covering(uint32_t key, int host, uint64_t address, uint64_t bytes) const;
  uint64_t Draw();
  bool Step();

  void Loop();

  const Limits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t random_;
  uint32_t next_number_ = 0x11;
  uint32_t next_key_ = 0x1000;
  std::map<uint32_t, Bytes> memory_;
  std::map<uint32_t, End> ends_;
  std::map<int, bool> unplugged_, swallowing_, down_;
  std::map<int, std::pair<int, int>> failures_;  // by host: pieces before it, status
  uint64_t done_ = 0;
  size_t most_posted_ = 0;
  bool held_ = false;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_FAKE_VERBS_FOR_TEST_H_
