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
  }
}

// What one call to the kernel should write. The checksum of a payload is made piece by piece, while
// its bytes are in the cache anyway.
size_t Outbox::Gather(std::array<iovec, 3 * kBatch>* parts) {
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
      const uint64_t piece = std::min<uint64_t>(begun.frame.bytes - from, room);
      if (from + piece > begun.checked) {
        begun.crc = ExtendCrc32c(begun.crc, begun.frame.data() + begun.checked,
                                 from + piece - begun.checked);
        begun.checked = from + piece;
      }
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
    std::array<iovec, 3 * kBatch> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = Gather(&parts);
    const ssize_t n = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
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
      } else if (begun.frame.type == FrameType::kData && begun.frame.payload != nullptr) {
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
}

bool Outbox::Empty() {
  std::lock_guard lock(mutex_);
  return closed_ || (!writing_ && batch_size_ + count_ == 0);
}

}  // namespace oneflow::comm
