#include "comm/shared_link.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "comm/system_error.h"

namespace oneflow::comm {

void InboxOffer::Write(ByteWriter* writer) const {
  writer->Integer(pid);
  ring.Write(writer);
  bell.Write(writer);
}

InboxOffer InboxOffer::Read(ByteReader* reader) {
  InboxOffer offer;
  offer.pid = reader->Integer();
  offer.ring = Offer::Read(reader);
  offer.bell = Offer::Read(reader);
  return offer;
}

absl::StatusOr<std::unique_ptr<SharedLink>> SharedLink::Make() {
  std::unique_ptr<SharedLink> link(new SharedLink);
  absl::StatusOr<std::unique_ptr<SharedMemory>> ring =
      SharedMemory::Make("oneflow-inbox", sizeof(NoticeRing));
  if (!ring.ok()) return ring.status();
  link->ring_ = *std::move(ring);
  // A memfd begins as zeros, which is a ring without notices.
  link->reader_ =
      std::make_unique<NoticeReader>(reinterpret_cast<NoticeRing*>(link->ring_->data()));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return SystemError("pipe2");
  }
  link->bell_read_ = Socket(ends[0]);
  link->bell_write_ = Socket(ends[1]);
  link->bell_nonce_ = RandomNonce();
  if (write(ends[1], link->bell_nonce_.data(), sizeof(Nonce)) != sizeof(Nonce)) {
    return absl::UnavailableError("a pipe does not take 16 bytes");
  }
  return link;
}

InboxOffer SharedLink::offer() const {
  return {static_cast<uint64_t>(getpid()),
          ring_->offer(),
          {static_cast<uint64_t>(bell_write_.fd()), 0, 0, bell_nonce_}};
}

absl::Status SharedLink::Join(const InboxOffer& offer) {
  if (offer.ring.bytes != sizeof(NoticeRing)) {
    return absl::InvalidArgumentError("its ring of notices has another size");
  }
  absl::StatusOr<std::shared_ptr<PeerMemory>> ring = PeerMemory::Open(offer.pid, offer.ring);
  if (!ring.ok()) return ring.status();
  // Open for both: with a reader of our own a write to a peer that is gone is no signal.
  absl::StatusOr<Socket> bell = OpenOffered(offer.pid, offer.bell.descriptor, S_IFIFO);
  if (!bell.ok()) return bell.status();
  Nonce nonce{};
  if (read(bell->fd(), nonce.data(), nonce.size()) != sizeof(Nonce) || nonce != offer.bell.nonce) {
    return absl::InvalidArgumentError("its bell is another: the nonce differs");
  }
  peer_pid_ = offer.pid;
  peer_ring_ = *std::move(ring);
  peer_bell_ = *std::move(bell);
  writer_ = std::make_unique<NoticeWriter>(reinterpret_cast<NoticeRing*>(peer_ring_->data()));
  return absl::OkStatus();
}

bool SharedLink::Notify(const Notice& notice) {
  bool ring = false;
  {
    std::lock_guard lock(mutex_);
    if (!writer_->Put(notice)) return false;
    ring = writer_->MustRing();
  }
  // A pipe that is full is readable: the peer wakes anyway.
  if (ring) (void)!write(peer_bell_.fd(), "", 1);
  return true;
}

void SharedLink::SilenceBell() {
  char rings[64];
  // Once: what is left keeps the pipe readable.
  (void)!read(bell_read_.fd(), rings, sizeof(rings));
}

std::optional<SharedLink::Target> SharedLink::Map(const std::byte* address, uint64_t bytes) {
  for (const Offer& offer : offers_) {
    const uint64_t at = reinterpret_cast<uint64_t>(address);
    if (at < offer.base || at - offer.base >= offer.bytes) continue;
    std::shared_ptr<PeerMemory> memory;
    std::erase_if(mapped_, [](const auto& entry) { return entry.second.expired(); });
    for (const auto& [nonce, mapped] : mapped_) {
      if (nonce == offer.nonce) memory = mapped.lock();
    }
    if (memory == nullptr) {
      absl::StatusOr<std::shared_ptr<PeerMemory>> opened = PeerMemory::Open(peer_pid_, offer);
      if (!opened.ok()) return std::nullopt;
      memory = *std::move(opened);
      mapped_.push_back({offer.nonce, memory});
    }
    if (std::byte* base = memory->Find(address, bytes); base != nullptr) return {{memory, base}};
  }
  return std::nullopt;
}

}  // namespace oneflow::comm
