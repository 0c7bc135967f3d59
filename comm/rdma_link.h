// RdmaLink: a reliable connection between the adapters of two ranks: messages written straight into the
// peer's slots, and credits.
//
// A message is one write, or several if it is longer than the port takes at once; the last one carries an
// immediate of 32 bits that names the channel, so the reader learns of it when all bytes are there.
// Every immediate takes a receive that the reader has posted: a writer has room for kWindow of them, and
// is given room again by immediates of their own kind, for which receives are kept aside. What finds no
// room, or a full send queue, waits here and goes in order.
//
// Made and joined while the ranks meet (comm/rdma_peers.h), then owned by the transport. Threads: Push,
// idle, Busy from any; the rest from whoever runs callbacks. A lock is held while work is posted, which
// is no system call on an adapter (it is one on soft-RoCE). Invariants: what was pushed is reported once,
// in order, or the link is broken; after Close nothing is reported and nothing new is sent. Read next:
// comm/verbs/verbs.h, docs/wire_format.md.
#ifndef ONEFLOW_COMM_RDMA_LINK_H_
#define ONEFLOW_COMM_RDMA_LINK_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/transport.h"
#include "comm/verbs/verbs.h"

namespace oneflow::comm {

// What an immediate means, in its two upper bits.
enum class ImmediateKind : uint32_t {
  kMessage = 0,  // the next message of the channel is in its slot
  kProbe = 1,    // the connection works
  kCredit = 2,   // the reader of the channel posted one more slot
  kRoom = 3,     // so many more immediates may come
};

class RdmaLink {
 public:
  // Immediates of one side that the other has not answered by room.
  static constexpr uint32_t kWindow = 512;

  // With a queue pair that is not connected.
  static absl::StatusOr<std::unique_ptr<RdmaLink>> Make(std::shared_ptr<RdmaPort> port);
  ~RdmaLink();
  RdmaLink(const RdmaLink&) = delete;
  RdmaLink& operator=(const RdmaLink&) = delete;

  const QueuePairAddress& address() const { return address_; }
  RdmaPort& port() const { return *port_; }
  // Connects to the peer's; receives are posted when it returns.
  absl::Status Join(const QueuePairAddress& peer);
  // A word to the peer, and whether it is there and the peer's is here. REQUIRES: both have joined, and
  // nobody takes yet.
  void Probe() { Push({ImmediateKind::kProbe}); }
  absl::StatusOr<bool> Probed();

  // Something to tell the peer, behind the bytes of a message if it is one.
  struct Order {
    ImmediateKind kind = ImmediateKind::kCredit;
    uint32_t remote = 0;    // the channel's number at the peer
    ChannelId channel = 0;  // and here
    const std::byte* source = nullptr;
    uint64_t bytes = 0;
    uint32_t local_key = 0;
    uint64_t address = 0;  // of the slot
    uint32_t remote_key = 0;
    uint64_t begun = 0;  // bytes that are posted
  };
  // False: the link is broken, and Take says so.
  bool Push(const Order& order);

  // What has happened.
  struct Event {
    enum class Kind { kNothing, kMessage, kCredit, kSent, kBroken };
    Kind kind = Kind::kNothing;
    uint32_t channel = 0;  // its number here
    std::string wrong;     // kBroken: what, in words
  };
  // kBroken once; then nothing more.
  Event Take();
  // Readable when Take may have news, after Arm.
  int bell() const { return completions_->fd(); }
  void Arm();

  // No message of these channels begins any more.
  void Forget(const std::vector<ChannelId>& channels);
  // Whether the adapter may still read a source of that channel.
  bool Busy(ChannelId channel) const;
  // All that was pushed is at the peer, or will never be.
  bool idle() const;
  void Close();

 private:
  explicit RdmaLink(std::shared_ptr<RdmaPort> port) : port_(std::move(port)) {}
  // What the send queue holds.
  struct Posted {
    ChannelId channel = 0;
    bool has_source = false;
    bool reports = false;  // the source was read to its end
  };

  // REQUIRES, of these: mutex_ is held.
  void Drain();
  bool Go(Order* order);  // posts what there is room for; true: all of it
  bool Post(const RemoteWrite& write, const Posted& posted);
  void Break(const std::string& wrong);
  Event TellBroken();

  Event TakeReceived(uint32_t immediate);
  Event TakeWritten(uint64_t id);

  const std::shared_ptr<RdmaPort> port_;
  std::unique_ptr<CompletionQueue> completions_;
  std::unique_ptr<QueuePair> pair_;
  QueuePairAddress address_;
  uint32_t receives_ = 0;  // posted at first

  std::atomic<bool> closed_{false};
  mutable std::mutex mutex_;
  std::deque<Order> waiting_;
  std::vector<Posted> posted_;  // the send queue: work `id` at id % size
  uint64_t first_posted_ = 0;
  uint64_t posted_count_ = 0;
  uint32_t room_ = 0;       // immediates that the peer has receives for
  uint32_t owed_room_ = 0;  // immediates taken, and not told
  std::string broken_;

  // Whoever takes.
  std::vector<Completion> found_;
  size_t next_ = 0;
  size_t count_ = 0;
  bool told_ = false;
  bool probed_ = false;
  bool answered_ = false;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_RDMA_LINK_H_
