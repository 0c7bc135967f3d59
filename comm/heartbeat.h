// Heartbeat: whether the other ranks live, on a thread and on connections of its own, so that
// neither data nor a busy step delays it.
//
// Owned by the transport, which outlives it. One thread, which allocates nothing and shares no lock
// with the rest. Each side sends a beat every 0.5 s; a peer silent for 2 s is suspected (one line on
// stderr), for 5 s lost; so what is stopped for 4 s and goes on harms nobody. A thread that finds it
// was itself stopped gives everybody another period. Read next: docs/wire_format.md.
#ifndef ONEFLOW_COMM_HEARTBEAT_H_
#define ONEFLOW_COMM_HEARTBEAT_H_

#include <poll.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "comm/socket.h"

namespace oneflow::comm {

class Heartbeat {
 public:
  // `lost` is called on the heartbeat's thread, once per rank, and must not block. links[r] leads to
  // rank r.
  Heartbeat(int rank, std::vector<Socket> links, std::function<void(int, std::string)> lost);
  ~Heartbeat();

  // That rank has left, or is lost already: its silence means nothing. From any thread.
  void Excuse(int rank) { links_[static_cast<size_t>(rank)].excused.store(true); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Link {
    Socket socket;
    std::atomic<bool> excused{false};
    uint64_t sent = 0;  // bytes; the stream is the numbers 0, 1, 2, ... of eight bytes each
    uint64_t read = 0;
    Clock::time_point heard;
    Clock::time_point closed;  // when the peer closed it
    bool is_closed = false;
    bool suspected = false;
  };

  void Loop();
  void SendBeat(Link* link);
  void Read(int rank, Link* link, Clock::time_point now);
  void Judge(int rank, Link* link, Clock::time_point now);
  void Lose(int rank, const std::string& how);

  const int rank_;
  const std::function<void(int, std::string)> lost_;
  std::vector<Link> links_;
  std::vector<pollfd> polled_;
  std::atomic<bool> stop_{false};
  Socket wake_;  // an eventfd
  std::thread thread_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_HEARTBEAT_H_
