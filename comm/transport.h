// Transport: bytes between ranks by push. The receiver posts a slot (which grants the sender a
// credit), the sender writes into it: one crossing per transfer. TCP is the first; shared memory,
// RDMA and NCCL join here.
//
// One per process, owned by the session's maker. Threads: Post and Send may be called from any
// thread and do not block on the network; callbacks run on the transport's own thread and must not
// block. Between two ranks messages of one channel arrive in order. Bounded: at most `slots` posted
// receives per channel. After a peer is lost every channel of it fails through on_error, once. Read
// next: comm/rendezvous.h.
#ifndef ONEFLOW_COMM_TRANSPORT_H_
#define ONEFLOW_COMM_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oneflow::comm {

// One end of a channel as a rank sees it; `name` is equal on both ends.
struct ChannelSpec {
  std::string name;
  int peer = 0;        // rank at the other end
  bool sends = false;  // true: this rank is the source
  int64_t bytes = 0;   // largest message
  int slots = 1;
  std::string
      check;  // must be equal on both ends (stamp, bytes, slots), else the error prints both
};

// Numbers given by OpenChannels, dense from 0 per call to OpenChannels plus earlier calls.
using ChannelId = uint32_t;

struct TransportCallbacks {
  std::function<void(ChannelId)> on_credit;           // sender: the peer posted one more slot
  std::function<void(ChannelId)> on_sent;             // sender: the source bytes may be reused
  std::function<void(ChannelId)> on_arrived;          // receiver: the oldest posted slot is full
  std::function<void(const absl::Status&)> on_error;  // peer lost or protocol broken; kind kPeer
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Collective: all ranks call it in the same order with the fingerprint of what they are about to
  // run and one row per logical node ("hash location"): a mismatch fails on all ranks within 5 s
  // and names both ranks and the first row that differs. Both ends of every channel are compared.
  virtual absl::StatusOr<std::vector<ChannelId>> OpenChannels(
      const std::string& fingerprint, const std::vector<std::string>& rows,
      const std::vector<ChannelSpec>& channels, TransportCallbacks callbacks) = 0;

  // Receiver: `slot` may be filled with the next message of the channel.
  virtual void Post(ChannelId channel, void* slot, size_t bytes) = 0;
  // Sender. REQUIRES: a credit (on_credit was called more often than Send).
  virtual void Send(ChannelId channel, const void* source, size_t bytes) = 0;

  // Local: these channels are used no more. When it returns no callback of theirs runs or will run
  // and no posted slot of theirs will be written, so the caller may free both. Not from a callback.
  // What a peer still sends on them is dropped.
  virtual void CloseChannels(const std::vector<ChannelId>& channels) = 0;

  // Tells all peers to stop with this cause, once.
  virtual void Abort(const std::string& cause) = 0;
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
