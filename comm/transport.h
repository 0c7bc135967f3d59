// Transport: bytes between ranks by push. Both ends of a channel register where its messages lie when
// the channel is opened, so message n needs no address: the receiver posts (which grants the sender a
// credit), the sender writes message n into the receiver's slot for n. One crossing per transfer; a
// remote write needs no message but itself. Ranks of one host write into each other's memory where it
// was allocated here (AllocateShared); ranks whose adapters reach each other by RDMA (comm/rdma_peers.h);
// all else goes over TCP. NCCL does not join here: its calls are collective and belong to a stream of a
// device, which makes them in place of messages (runtime/step_calls.h); for those devices ranks agree
// here, and hear that one is lost.
//
// One per process, owned by the session's maker. Threads: Post and Send may be called from any
// thread; they take no lock that is held over a system call and never wait for the network; what goes
// through shared memory Send copies itself. Callbacks run one at a time, on the transport's own thread
// or on one that looks (Look) or stands in for it (StandIn), and must not block. Between two ranks messages of one
// channel arrive in order. Bounded: at most `slots` posted receives per channel; a peer that grants
// or sends more breaks the protocol and is lost. After a peer is lost every channel fails through
// on_error, once, with a Status that names it (comm/blame.h). Read next: comm/rendezvous.h,
// docs/wire_format.md.
#ifndef ONEFLOW_COMM_TRANSPORT_H_
#define ONEFLOW_COMM_TRANSPORT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oneflow::comm {

// Where the messages of one end of a channel lie: message n is at slot n / per_slot % slots and, where there are
// `offsets` (at a sender's end, and where messages land), so far into the slot as they say by turns.
struct Region {
  std::byte* base = nullptr;
  int64_t stride = 0;
  uint32_t slots = 1;
  uint32_t per_slot = 1;  // messages that are read from, or written to, a slot one after the other

  std::vector<int64_t> offsets = {};  // negative: no such message lies here

  bool Has(int64_t message) const {
    return base != nullptr &&
           (offsets.empty() || offsets[static_cast<size_t>(message) % offsets.size()] >= 0);
  }
  std::byte* At(int64_t message) const {
    std::byte* slot = base + message / per_slot % slots * stride;
    if (offsets.empty()) return slot;
    return slot + offsets[static_cast<size_t>(message) % offsets.size()];
  }
};

// What a rank has of a ring that need not go round where all members share memory (plan/rings.h, RingPlace): the
// buffers of its members that follow each other, from the one that a channel leads to up to the one that another
// channel leads on from. Who has mapped all buffers of the ring reads and writes them; what keeps them from bytes in use is
// the ring itself.
struct RingStretch {
  std::vector<Region> buffers = {};  // without offsets; none: a channel of no such ring
  int64_t bytes = 0;                 // of each: what the ring touches
  int64_t members = 0;               // of the whole ring
  // The channel that leads on.
  std::string to = "";
  int to_peer = 0;

  bool any() const { return !buffers.empty(); }
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
  Region region = {};     // this rank's end; outlives the channel
  RingStretch ring = {};  // a receiver's: the stretch that it leads to; its buffers do too
  // A receiver's: messages that it has go there and not into their slots, if the channel Lands.
  Region landing = {};
};

// Where the memory of a channel has moved to (ChannelSpec).
struct MovedTo {
  std::byte* region = nullptr;
  std::vector<std::byte*> ring = {};
  std::byte* landing = nullptr;
};

// Numbers given by OpenChannels, dense from 0 per call to OpenChannels plus earlier calls.
using ChannelId = uint32_t;

// How a rank may reach the others (ONEFLOW_TRANSPORT).
enum class PathChoice {
  kTcp,   // as if they were on another host, without adapters
  kAuto,  // by shared memory where both sides can open the other's, else by RDMA where a probe comes
          // through, else TCP
  kShared,  // by shared memory; an error where that cannot be
  kRdma,    // by RDMA, those of its own host too; an error where that cannot be
};
// As the variable has it: "tcp", "auto", "shm", "rdma".
const char* NameOf(PathChoice choice);

// What a session hears of its channels.
struct TransportCallbacks {
  std::function<void(ChannelId)> on_credit;  // sender: the peer posted one more slot
  // sender: the oldest source may be reused; a long message's when the peer has read it
  std::function<void(ChannelId)> on_sent;
  std::function<void(ChannelId)> on_arrived;          // receiver: the oldest posted slot is full
  std::function<void(const absl::Status&)> on_error;  // peer lost or protocol broken; kind kPeer
  // A peer has left in peace: it sends nothing and posts nothing any more. What it owes by then is
  // an error already.
  std::function<void(int rank)> on_left;
};

// What becomes of a program between two steps.
enum class Boundary {
  kGoOn,
  kStop,        // all ranks stop here
  kNotDecided,  // the ranks have not agreed yet on where they stop: ask again
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Collective: all ranks call it in the same order with the fingerprint of what they are about to
  // run and one row per logical node ("hash location"): a mismatch fails on all ranks within 5 s
  // and names both ranks and the first row that differs (comm/agreement.h). Both ends of every
  // channel are compared by their ranks and learn each other's region; ends that do not fit fail
  // on all ranks. After an error no callback runs or will run.
  virtual absl::StatusOr<std::vector<ChannelId>> OpenChannels(
      const std::string& fingerprint, const std::vector<std::string>& rows,
      const std::vector<ChannelSpec>& channels, TransportCallbacks callbacks) = 0;
  // Local: the memory of a channel has moved. Peers learn of it in the next OpenChannels. REQUIRES: nothing is posted and
  // nothing on its way; an OpenChannels follows before either.
  virtual void MoveRegion(ChannelId channel, const MovedTo& to) = 0;
  // The other end, as its rank has announced it: addresses of that process.
  virtual Region RemoteRegion(ChannelId channel) const = 0;
  // True if this end, a sender, or its adapter writes into the other end's slots, or messages carry nothing.
  virtual bool WritesDirectly(ChannelId) const { return false; }
  // Of a channel that leads to a stretch of a ring: the buffers of all members, where they lie here, from that stretch's
  // first on, if the ring need not go round: as the last OpenChannels has found. Then its messages carry nothing, and
  // come as with it: posted, sent, arrived.
  virtual std::vector<Region> InPlace(ChannelId) const { return {}; }
  // True if this end, a receiver, puts the messages that its `landing` has there: those that no peer, and no adapter,
  // writes into their slots itself. Once opened a channel does so always or never.
  virtual bool Lands(ChannelId) const { return false; }

  // Receiver: the slot of the next message may be filled.
  virtual void Post(ChannelId channel) = 0;
  // Sender: the next message. True: its bytes may be reused now; else on_sent follows. REQUIRES: a
  // credit (on_credit was called more often than Send).
  virtual bool Send(ChannelId channel) = 0;

  // Local: these channels are used no more. When it returns no callback of theirs runs or will run
  // and no posted slot of theirs will be written (but for shared memory, where FreeShared is what keeps
  // a late peer out), so the caller may free both. Not from a callback. What a peer still sends on them
  // is dropped.
  virtual void CloseChannels(const std::vector<ChannelId>& channels) = 0;

  // Memory of zeros that peers of this host can map: channels whose slots lie in it are written by the
  // sender itself. nullptr if no peer is reached so, or there is none left: any other memory will do,
  // and its messages go over TCP.
  virtual std::byte* AllocateShared(size_t) { return nullptr; }
  // REQUIRES: no open channel has its region there, or an OpenChannels follows before anything is sent.
  virtual void FreeShared(std::byte*) {}

  // A thread that waits for messages anyway may look for those in shared memory, instead of being woken
  // by the transport's thread: between BeginLooking and EndLooking, which any number of threads may
  // call, peers wake nobody. Look runs the callbacks of what has come; false if that was nothing.
  virtual void BeginLooking() {}
  virtual bool Look() { return false; }
  virtual void EndLooking() {}
  // True if every other rank is reached through shared memory, so that looking finds all they send.
  virtual bool looking_suffices() const { return false; }
  // A thread that has nothing to do may stand in for the transport's where messages come in: it sleeps in
  // its place and runs the callbacks of what comes, until `done`, which it asks before it sleeps, after
  // each turn and after Rouse. So a message wakes one thread, not two. False, at once, if another thread
  // stands in already, or none can. It holds back what nobody waits for yet (credits of small messages
  // while their sender has another), as long as it has something to do: so it comes back.
  virtual bool StandIn(const std::function<bool()>&) { return false; }
  // From any thread; a call of the kernel only if one that stands in sleeps.
  virtual void Rouse() {}
  // How each rank is reached: "itself", "shared memory", "rdma (port to port)", "tcp (why not by others)".
  virtual std::vector<std::string> paths() const { return {}; }

  // Tells all peers to stop with this cause, once; they blame the rank that it blames, or this one.
  // Waits up to half a second for it to be on its way.
  virtual void Abort(const absl::Status& cause) = 0;
  // All ranks are to stop at the same boundary between two steps, which PassBoundary tells. Returns at
  // once; once for all ranks.
  virtual void AskToStop() {}
  // Every rank calls it at the same places of its program, whether or not it wants to stop. Waits for
  // `limit` at most, and only once a rank has asked.
  virtual Boundary PassBoundary(std::chrono::milliseconds) { return Boundary::kGoOn; }

  // A barrier with a payload: returns every rank's bytes, by rank. For collective calls (numbers,
  // lines).
  virtual absl::StatusOr<std::vector<std::string>> AllGather(const std::string& bytes) = 0;
  // Bytes of payload received and sent so far, counted where they go in and out (tests compare
  // them with formulas).
  virtual uint64_t bytes_received() const = 0;
  virtual uint64_t bytes_sent() const = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_TRANSPORT_H_
