// ChannelTable: the channels of a transport by number, found without a lock while others are added.
//
// Owned by the transport. Threads: Find from any; Add from one at a time. Invariant: a channel never
// moves and lives as long as the table; closed ones keep a few bytes. Read next:
// comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_CHANNEL_TABLE_H_
#define ONEFLOW_COMM_CHANNEL_TABLE_H_

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/frame.h"
#include "comm/shared_link.h"
#include "comm/transport.h"
#include "comm/verbs/verbs.h"

namespace oneflow::comm {

// A ring all of whose ranks share memory (comm/ring_binding.h).
struct SharedRing {
  struct Stretch {
    int rank = 0;
    uint32_t number = 0;          // at its rank, of the channel that leads to it
    std::vector<Region> buffers;  // where they lie here; base nullptr: they are not mapped
    std::vector<std::shared_ptr<PeerMemory>> memory;
  };
  std::vector<Stretch> stretches;  // in the ring's order, this rank's first
  ChannelId to = 0;                // of this rank, that leads on

  bool mapped() const {
    for (const Stretch& stretch : stretches) {
      for (const Region& buffer : stretch.buffers) {
        if (buffer.base == nullptr) return false;
      }
    }
    return true;
  }
};

// One end of a channel, and how many messages it has seen.
struct Channel {
  // Fixed before `bound`.
  std::string name;
  int peer = 0;
  bool sends = false;
  uint64_t bytes = 0;
  int slots = 1;
  uint32_t remote = 0;  // number at the peer
  std::atomic<bool> bound{false};
  std::atomic<bool> closed{false};
  // Sessions that use the channel and its peer agree on quiet moments to change these.
  Region region;
  Region remote_region;
  SharedLink::Target
      target;  // the sender's: the slots of the remote region, if they are mapped here
  RingStretch ring;
  Region landing;  // the receiver's, where messages come by frames; else none
  std::unique_ptr<SharedRing> shared_ring;  // that the stretch belongs to
  bool in_place = false;  // all ranks of its ring have mapped all buffers: messages carry nothing
  // What the adapter may reach of this end's region; then, at the sender, the key of the other's.
  std::unique_ptr<RegisteredMemory> registered;
  std::optional<uint32_t> remote_key;
  // Any thread.
  std::atomic<int64_t> posted{0};
  std::atomic<int64_t> sent{0};
  // Whoever runs callbacks; `arrived` is read by any.
  std::atomic<int64_t> arrived{0};
  int64_t granted = 0;
  std::shared_ptr<TransportCallbacks> callbacks;

  // To the peer: messages, or credits and word of what was lent. Never more of each than there are slots.
  int frames_at_once() const { return !sends && bytes >= kLongMessage ? 2 * slots : slots; }
  // Where message n goes when it comes.
  std::byte* PlaceOf(int64_t message) const {
    return landing.Has(message) ? landing.At(message) : region.At(message);
  }
  // What is known before the other end is.
  void Open(const ChannelSpec& spec, std::shared_ptr<TransportCallbacks> of_session) {
    name = spec.name;
    peer = spec.peer;
    sends = spec.sends;
    bytes = static_cast<uint64_t>(spec.bytes);
    slots = spec.slots;
    region = spec.region;
    ring = spec.ring;
    landing = spec.landing;
    callbacks = std::move(of_session);
  }
  // What a closed one has no use for.
  void Release() {
    callbacks.reset();
    target = {};
    shared_ring.reset();
    in_place = false;
  }
};

class ChannelTable {
 public:
  ChannelTable() = default;
  ~ChannelTable() {
    for (std::atomic<Block*>& block : blocks_) delete block.load();
  }
  ChannelTable(const ChannelTable&) = delete;
  ChannelTable& operator=(const ChannelTable&) = delete;

  // nullptr if there is no channel of that number.
  Channel* Find(ChannelId id) const {
    if (id >= size_.load(std::memory_order_acquire)) return nullptr;
    return &(*blocks_[id / kBlock].load(std::memory_order_acquire))[id % kBlock];
  }
  uint32_t size() const { return size_.load(std::memory_order_acquire); }
  static constexpr uint32_t capacity() { return kBlock * kBlocks; }

  // The next number's channel, which nobody finds before Publish. REQUIRES: size() < capacity().
  Channel* Prepare(uint32_t ahead) {
    const uint32_t id = size() + ahead;
    std::atomic<Block*>& block = blocks_[id / kBlock];
    if (block.load() == nullptr) block.store(new Block);
    return &(*block.load())[id % kBlock];
  }
  void Publish(uint32_t count) { size_.fetch_add(count, std::memory_order_release); }

 private:
  static constexpr uint32_t kBlock = 1024;
  static constexpr uint32_t kBlocks = 4096;
  using Block = std::array<Channel, kBlock>;

  std::array<std::atomic<Block*>, kBlocks> blocks_{};
  std::atomic<uint32_t> size_{0};
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_CHANNEL_TABLE_H_
