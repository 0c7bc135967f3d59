// SharedLink: two ranks of one host that write into each other's memory: a ring of notices and a bell
// each way, and the peer's memory as far as channels need it.
//
// Each side makes an inbox (a ring in its own memory and a pipe, the bell) and offers it to the other;
// when both have opened the other's, the link is there. The bell is rung only if the reader sleeps, and
// its pipe is in the reader's epoll beside its sockets. Owned by the transport. Threads: Notify from any;
// the rest as NoticeReader says. Read next: comm/neighbours.h.
#ifndef ONEFLOW_COMM_SHARED_LINK_H_
#define ONEFLOW_COMM_SHARED_LINK_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/notice_ring.h"
#include "comm/shared_memory.h"
#include "comm/socket.h"

namespace oneflow::comm {

// What one side offers the other.
struct InboxOffer {
  uint64_t pid = 0;
  Offer ring;
  Offer bell;

  void Write(ByteWriter* writer) const;
  static InboxOffer Read(ByteReader* reader);
};

class SharedLink {
 public:
  // With an inbox of its own; an error where the system cannot make one.
  static absl::StatusOr<std::unique_ptr<SharedLink>> Make();
  InboxOffer offer() const;
  // Opens the peer's inbox: from here on Notify may be called.
  absl::Status Join(const InboxOffer& offer);

  // Tells the peer, and wakes it if it sleeps. False: no room, tell it in another way.
  bool Notify(const Notice& notice);

  NoticeReader& inbox() { return *reader_; }
  const NoticeReader& inbox() const { return *reader_; }
  // Readable when the peer has rung.
  int bell() const { return bell_read_.fd(); }
  void SilenceBell();

  // The peer's memory that has been offered for its channels; what is no more offered goes when no
  // channel uses it.
  void SetOffers(std::vector<Offer> offers) { offers_ = std::move(offers); }
  struct Target {
    std::shared_ptr<PeerMemory> memory;
    std::byte* base = nullptr;
  };
  // Those bytes of the peer, mapped here. Nothing if they are not in what it offers, or it cannot be had.
  std::optional<Target> Map(const std::byte* address, uint64_t bytes);

 private:
  SharedLink() = default;

  std::unique_ptr<SharedMemory> ring_;
  std::unique_ptr<NoticeReader> reader_;
  Socket bell_read_;
  Socket bell_write_;  // what the peer opens
  Nonce bell_nonce_{};

  uint64_t peer_pid_ = 0;
  std::shared_ptr<PeerMemory> peer_ring_;
  Socket peer_bell_;
  std::mutex mutex_;  // one writer at a time
  std::unique_ptr<NoticeWriter> writer_;

  std::vector<Offer> offers_;
  std::vector<std::pair<Nonce, std::weak_ptr<PeerMemory>>> mapped_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_SHARED_LINK_H_
