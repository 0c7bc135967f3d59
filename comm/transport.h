// Transport: bytes between ranks by push. Both ends of a channel register where its messages lie when
// the channel is opened, so message n needs no address: the receiver posts (which grants the sender a
// credit), the sender writes message n into the receiver's slot for n. One crossing per transfer; a
// remote write needs no message but itself. TCP is the first transport; shared memory and RDMA join
// here. NCCL does not: its calls are collective and belong to a stream, so it will be a task of the
// plan, on a device's stream, like any kernel.
//
// One per process, owned by the session's maker. Threads: Post and Send may be called from any
// thread; they take no lock that is held over a system call and never wait for the network.
// Callbacks run on the transport's own thread and must not block. Between two ranks messages of one
// channel arrive in order. Bounded: at most `slots` posted receives per channel; a peer that grants
// or sends more breaks the protocol and is lost. After a peer is lost every channel fails through
// on_error, once, with a Status that names it (comm/blame.h). Read next: comm/rendezvous.h,
// docs/wire_format.md.
#ifndef ONEFLOW_COMM_TRANSPORT_H_
#define ONEFLOW_COMM_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oneflow::comm {

// Where the messages of one end of a channel lie: message n is at slot n / per_slot % slots.
struct Region {
  std::byte* base = nullptr;
  int64_t stride = 0;
  uint32_t slots = 1;
  uint32_t per_slot = 1;  // messages that are read from, or written to, a slot one after the other

  std::byte* At(int64_t message) const { return base + message / per_slot % slots * stride; }
};

// One end of a channel as a rank sees it; `name` is equal on both ends.
struct ChannelSpec {
  std::string name;
  int peer = 0;        // rank at the other end
  bool sends = false;  // true: this rank is the source
  int64_t bytes = 0;   // of every message
  int slots = 1;       // posted receives at once
  std::string
      check;  // must be equal on both ends (stamp, bytes, slots), else the error prints both
  Region region = {};  // this rank's end; outlives the channel
};

// Numbers given by OpenChannels, dense from 0 per call to OpenChannels plus earlier calls.
using ChannelId = uint32_t;

// What a session hears of its channels.
struct TransportCallbacks {
  std::function<void(ChannelId)> on_credit;           // sender: the peer posted one more slot
  std::function<void(ChannelId)> on_sent;             // sender: the oldest source may be reused
  std::function<void(ChannelId)> on_arrived;          // receiver: the oldest posted slot is full
  std::function<void(const absl::Status&)> on_error;  // peer lost or protocol broken; kind kPeer
  // A peer has left in peace: it sends nothing and posts nothing any more. What it owes by then is
  // an error already.
  std::function<void(int rank)> on_left;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Collective: all ranks call it in the same order with the fingerprint of what they are about to
  // run and one row per logical node ("hash location"): a mismatch fails on all ranks within 5 s
  // and names both ranks and the first row that differs. Both ends of every channel are compared
  // and learn each other's region. After an error no callback runs or will run.
  virtual absl::StatusOr<std::vector<ChannelId>> OpenChannels(
      const std::string& fingerprint, const std::vector<std::string>& rows,
      const std::vector<ChannelSpec>& channels, TransportCallbacks callbacks) = 0;
  // Local: the region of a channel has moved. The peer learns of it in the next OpenChannels.
  // REQUIRES: nothing is posted and nothing on its way; an OpenChannels follows before either.
  virtual void MoveRegion(ChannelId channel, std::byte* base) = 0;
  // The other end, as its rank has announced it: addresses of that process.
  virtual Region RemoteRegion(ChannelId channel) const = 0;

  // Receiver: the slot of the next message may be filled.
  virtual void Post(ChannelId channel) = 0;
  // Sender: the next message. True: its bytes may be reused now; else on_sent follows. REQUIRES: a
  // credit (on_credit was called more often than Send).
  virtual bool Send(ChannelId channel) = 0;

  // Local: these channels are used no more. When it returns no callback of theirs runs or will run
  // and no posted slot of theirs will be written, so the caller may free both. Not from a callback.
  // What a peer still sends on them is dropped.
  virtual void CloseChannels(const std::vector<ChannelId>& channels) = 0;

  // Tells all peers to stop with this cause, once; they blame the rank that it blames, or this one.
  // Waits up to half a second for it to be on its way.
  virtual void Abort(const absl::Status& cause) = 0;
  // A barrier with a payload: returns every rank's bytes, by rank. For collective calls (numbers,
  // lines).
  virtual absl::StatusOr<std::vector<std::string>> AllGather(const std::string& bytes) = 0;
  // Bytes of payload received and sent so far, counted at the socket (tests compare them with
  // formulas).
  virtual uint64_t bytes_received() const = 0;
  virtual uint64_t bytes_sent() const = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_TRANSPORT_H_
