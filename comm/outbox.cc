#include "comm/outbox.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace oneflow::comm {

void Outbox::Reserve(int frames) {
  std::lock_guard lock(mutex_);
  reserved_ = static_cast<size_t>(static_cast<int64_t>(reserved_) + frames);
  // A few more for farewells and the like.
  if (reserved_ + 8 > ring_.size()) Grow(reserved_ + 8);
  lent_.reserve(reserved_);
}

void Outbox::Grow(size_t capacity) {
  std::vector<OutFrame> larger(capacity);
  for (size_t i = 0; i < count_; ++i) larger[i] = std::move(At(i));
  ring_ = std::move(larger);
  head_ = 0;
}

void Outbox::Append(OutFrame frame) {
  if (count_ == ring_.size()) Grow(2 * count_ + 8);  // control frames are few and rare
  waiting_bytes_ += frame.bytes;
  At(count_) = std::move(frame);
  ++count_;
  ++pushed_;
}

Outbox::Next Outbox::Push(OutFrame frame, bool may_write, bool* written, Finished* finished) {
  *written = false;
  std::unique_lock lock(mutex_);
  if (closed_) return Next::kNobody;
  Append(std::move(frame));
  if (writing_ || blocked_) return Next::kNobody;
  if (!may_write || waiting_bytes_ > kInlineBytes) return Next::kLeft;
  return Run(&lock, pushed_, written, finished);
}

void Outbox::Hold(OutFrame frame) {
  std::lock_guard lock(mutex_);
  if (!closed_) Append(std::move(frame));
}

Outbox::Next Outbox::Write(bool writable, uint64_t most_bytes, Finished* finished) {
  std::unique_lock lock(mutex_);
  if (writable) blocked_ = false;
  if (closed_ || writing_ || blocked_) return Next::kNobody;
  // What has begun may be of any length.
  if (waiting_bytes_ > most_bytes || (batch_size_ > 0 && most_bytes <= kInlineBytes)) {
    return Next::kLeft;
  }
  bool unused = false;
  return Run(&lock, 0, &unused, finished);
}

// Takes frames out of the ring while the batch has room. REQUIRES: the lock, and being the writer.
void Outbox::Fill() {
  while (batch_size_ < kBatch && count_ > 0) {
    Begun& begun = batch_[batch_size_++];
    begun.frame = std::move(At(0));
    head_ = (head_ + 1) % ring_.size();
    --count_;
    waiting_bytes_ -= begun.frame.bytes;
    begun.header = {static_cast<uint32_t>(begun.frame.type), begun.frame.channel, begun.frame.bytes,
                    sequence_++};
    begun.header.crc = begun.header.ExpectedCrc();
    begun.written = begun.checked = 0;
    begun.crc = 0;
    begun.ticket = ++taken_;
    begun.lends = begun.is_long() ? begun.frame.bytes - kCopiedEnd : 0;
    if (begun.is_long()) lent_.push_back({begun.frame.sender});
  }
}

// What one call to the kernel should write; *more if what follows is lent.
size_t Outbox::Gather(std::array<iovec, 3 * kBatch>* parts, bool* more) {
  size_t count = 0;
  size_t room = kCallBytes;
  const auto add = [&](const void* data, uint64_t bytes) {
    (*parts)[count++] = {const_cast<void*>(data), bytes};
  };
  for (size_t i = 0; i < batch_size_ && room > 0; ++i) {
    Begun& begun = batch_[i];
    uint64_t at = begun.written;
    if (at < sizeof(FrameHeader)) {
      add(reinterpret_cast<const char*>(&begun.header) + at, sizeof(FrameHeader) - at);
      at = sizeof(FrameHeader);
    }
    if (begun.frame.bytes == 0) continue;
    const uint64_t payload_end = sizeof(FrameHeader) + begun.frame.bytes;
    if (at < payload_end) {
      const uint64_t from = at - sizeof(FrameHeader);
      *more = from < begun.lends;
      if (*more) break;
      const uint64_t piece = std::min<uint64_t>(begun.frame.bytes - from, room);
      begun.Sum(from + piece);
      add(begun.frame.data() + from, piece);
      room -= piece;
      at += piece;
      if (at < payload_end) break;
    }
    const uint64_t in_trailer = at - payload_end;
    add(reinterpret_cast<const char*>(&begun.crc) + in_trailer, sizeof(begun.crc) - in_trailer);
  }
  return count;
}

// Lends the next piece of the first of the batch, if that is what comes next.
bool Outbox::Lend() {
  Begun& begun = batch_[0];
  if (begun.written < sizeof(FrameHeader)) return false;
  const uint64_t from = begun.written - sizeof(FrameHeader);
  if (from >= begun.lends) return false;
  const uint64_t piece = std::min<uint64_t>(begun.lends - from, kLendBytes);
  begun.Sum(from + piece);
  if (!lender_.Lend(begun.frame.payload + from, piece)) begun.lends = 0;
  return begun.lends > 0;
}

// What the kernel takes in one call: so many bytes of the batch, or -1.
ssize_t Outbox::WriteSome() {
  if (lender_.lent() > 0 || Lend()) return lender_.Write(fd_);
  std::array<iovec, 3 * kBatch> parts;
  bool more = false;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = Gather(&parts, &more);
  return sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
}

Outbox::Next Outbox::Run(std::unique_lock<std::mutex>* lock, uint64_t own, bool* own_written,
                         Finished* finished) {
  writing_ = true;
  Next next = Next::kNobody;
  while (true) {
    Fill();
    if (batch_size_ == 0 || closed_) break;
    if (wanted_.load() > 0) {
      next = Next::kLeft;
      break;
    }
    lock->unlock();
    const ssize_t n = WriteSome();
    const int error = errno;
    size_t gone = 0;
    uint64_t left = n > 0 ? static_cast<uint64_t>(n) : 0;
    while (gone < batch_size_ && left > 0) {
      Begun& begun = batch_[gone];
      const uint64_t piece = std::min(left, begun.size() - begun.written);
      begun.written += piece;
      left -= piece;
      if (begun.written < begun.size()) break;
      if (begun.ticket == own) {
        *own_written = true;
      } else if (begun.frame.type == FrameType::kData &&
                 (begun.is_long() ? Written() : begun.frame.payload != nullptr)) {
        finished->push_back(begun.frame.sender);
      }
      begun.frame.owned.clear();
      ++gone;
    }
    for (size_t i = gone; gone > 0 && i < batch_size_; ++i) std::swap(batch_[i - gone], batch_[i]);
    batch_size_ -= gone;
    lock->lock();
    if (n >= 0 || error == EINTR) continue;
    if (error == EAGAIN || error == EWOULDBLOCK) {
      blocked_ = true;
      next = Next::kBlocked;
    } else {
      closed_ = true;
      next = Next::kBroken;
    }
    break;
  }
  writing_ = false;
  idle_.notify_all();
  return next;
}

void Outbox::Keep(const std::vector<ChannelId>* forgotten) {
  const auto is_kept = [&](const OutFrame& frame) {
    if (frame.type != FrameType::kData) return true;
    return forgotten != nullptr &&
           !std::binary_search(forgotten->begin(), forgotten->end(), frame.sender);
  };
  size_t kept = 0;
  waiting_bytes_ = 0;
  for (size_t i = 0; i < count_; ++i) {
    if (!is_kept(At(i))) continue;
    waiting_bytes_ += At(i).bytes;
    if (kept != i) At(kept) = std::move(At(i));
    ++kept;
  }
  count_ = kept;
  taken_ = pushed_ - count_;  // tickets of what was dropped are never asked for again
}

bool Outbox::Taken(ChannelId channel, Finished* finished) {
  std::lock_guard lock(mutex_);
  const auto one =
      std::find_if(lent_.begin(), lent_.end(), [](const LongMessage& each) { return !each.taken; });
  if (one == lent_.end() || one->channel != channel) return false;
  one->taken = true;
  if (!one->written) return true;
  finished->push_back(channel);
  lent_.erase(one);
  return true;
}

// The oldest long message that was not written is. True if it is over.
bool Outbox::Written() {
  std::lock_guard lock(mutex_);
  const auto one = std::find_if(lent_.begin(), lent_.end(),
                                [](const LongMessage& each) { return !each.written; });
  if (one == lent_.end()) return false;  // closed meanwhile
  one->written = true;
  const bool over = one->taken;
  if (over) lent_.erase(one);
  return over;
}

bool Outbox::Lends(ChannelId channel) {
  std::lock_guard lock(mutex_);
  return std::any_of(lent_.begin(), lent_.end(),
                     [&](const LongMessage& one) { return one.channel == channel && !one.taken; });
}

Outbox::Next Outbox::Forget(const std::vector<ChannelId>& channels) {
  std::vector<ChannelId> sorted = channels;
  std::sort(sorted.begin(), sorted.end());
  ++wanted_;
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return !writing_; });
  --wanted_;
  Keep(&sorted);
  for (size_t i = 0; i < batch_size_; ++i) {
    OutFrame& frame = batch_[i].frame;
    if (frame.type != FrameType::kData || frame.payload == nullptr) continue;
    if (!std::binary_search(sorted.begin(), sorted.end(), frame.sender)) continue;
    frame.owned.assign(frame.payload, frame.bytes);
    frame.payload = nullptr;
    batch_[i].lends = 0;
  }
  return !closed_ && !blocked_ && batch_size_ + count_ > 0 ? Next::kLeft : Next::kNobody;
}

void Outbox::PutAbortFirst(uint32_t rank, std::string cause) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  Keep(nullptr);
  OutFrame frame;
  frame.type = FrameType::kAbort;
  frame.channel = rank;
  frame.bytes = cause.size();
  frame.owned = std::move(cause);
  Append({});
  for (size_t i = count_ - 1; i > 0; --i) At(i) = std::move(At(i - 1));
  waiting_bytes_ += frame.bytes;
  At(0) = std::move(frame);
}

void Outbox::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  count_ = 0;
  waiting_bytes_ = 0;
  lent_.clear();
}

bool Outbox::Empty() {
  std::lock_guard lock(mutex_);
  return closed_ || (!writing_ && batch_size_ + count_ == 0);
}

}  // namespace oneflow::comm
