#include "comm/frame_reader.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace oneflow::comm {

FrameReader::End FrameReader::Read(int fd, FrameSink* sink, std::string* wrong) {
  size_t turn = 0;
  while (turn < kTurnBytes) {
    const uint64_t missing = header_.bytes - payload_read_;
    const bool straight =
        part_ == Part::kPayload && target_ != nullptr && begin_ == end_ && missing >= kLarge;
    ssize_t n = 0;
    if (straight) {
      n = recv(fd, target_ + payload_read_, std::min<uint64_t>(missing, kCallBytes), MSG_DONTWAIT);
    } else {
      // Whole frames were consumed, so what is left is less than a header.
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
      n = recv(fd, buffer_.data() + end_, buffer_.size() - end_, MSG_DONTWAIT);
    }
    if (n == 0) return End::kClosed;
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return End::kDrained;
      *wrong = std::strerror(errno);
      return End::kFailed;
    }
    turn += static_cast<size_t>(n);
    if (straight) {
      crc_ = ExtendCrc32c(crc_, target_ + payload_read_, static_cast<size_t>(n));
      // What the sink answers goes out between two turns, and the peer waits for it.
      if (Count(static_cast<uint64_t>(n), sink)) return End::kMore;
      continue;
    }
    const bool filled = end_ + static_cast<size_t>(n) == buffer_.size();
    end_ += static_cast<size_t>(n);
    if (!Consume(sink, wrong)) return End::kBroken;
    // A call that did not fill the buffer has emptied the socket, as far as it is worth asking.
    if (!filled && !(part_ == Part::kPayload && target_ != nullptr)) return End::kDrained;
  }
  return End::kMore;
}

bool FrameReader::Consume(FrameSink* sink, std::string* wrong) {
  while (true) {
    const size_t have = end_ - begin_;
    const char* at = buffer_.data() + begin_;
    switch (part_) {
      case Part::kHeader:
        if (have < sizeof(header_)) return true;
        std::memcpy(&header_, at, sizeof(header_));
        begin_ += sizeof(header_);
        if (!Begin(sink, wrong)) return false;
        break;
      case Part::kPayload: {
        if (have == 0) return true;
        const size_t piece = std::min<uint64_t>(have, header_.bytes - payload_read_);
        TakePayload(at, piece, sink);
        begin_ += piece;
        break;
      }
      case Part::kTrailer: {
        if (have < sizeof(uint32_t)) return true;
        uint32_t crc = 0;
        std::memcpy(&crc, at, sizeof(crc));
        begin_ += sizeof(crc);
        if (crc != crc_) {
          *wrong = absl::StrCat("the payload of a frame of type ", header_.type, ", channel ",
                                header_.channel, ", ", header_.bytes,
                                " bytes, arrived damaged (its CRC32C differs)");
          return false;
        }
        if (!Finish(sink, wrong)) return false;
        break;
      }
    }
  }
}

bool FrameReader::Begin(FrameSink* sink, std::string* wrong) {
  if (header_.crc != header_.ExpectedCrc()) {
    *wrong = "a frame's header arrived damaged (its CRC32C differs)";
    return false;
  }
  if (header_.sequence != next_sequence_) {
    *wrong = absl::StrCat("frame ", header_.sequence, " came where frame ", next_sequence_,
                          " was due: one was lost or came twice");
    return false;
  }
  ++next_sequence_;
  target_ = nullptr;
  payload_read_ = 0;
  crc_ = 0;
  text_.clear();
  *wrong = sink->BeginFrame(header_, &target_);
  if (!wrong->empty()) return false;
  if (header_.bytes == 0) return Finish(sink, wrong);
  part_ = Part::kPayload;
  return true;
}

bool FrameReader::Count(uint64_t bytes, FrameSink* sink) {
  const bool is_long = header_.frame_type() == FrameType::kData && header_.bytes >= lent_.from;
  const uint64_t lent = is_long ? header_.bytes - lent_.copied_end : 0;
  const bool due = payload_read_ < lent && payload_read_ + bytes >= lent;
  payload_read_ += bytes;
  if (payload_read_ == header_.bytes) part_ = Part::kTrailer;
  if (due) sink->TakeLent(header_);
  return due;
}

void FrameReader::TakePayload(const char* data, size_t bytes, FrameSink* sink) {
  crc_ = ExtendCrc32c(crc_, data, bytes);
  if (header_.frame_type() != FrameType::kData) {
    text_.append(data, bytes);
  } else if (target_ != nullptr) {
    std::memcpy(target_ + payload_read_, data, bytes);
  }
  Count(bytes, sink);
}

bool FrameReader::Finish(FrameSink* sink, std::string* wrong) {
  part_ = Part::kHeader;
  *wrong = sink->EndFrame(header_, std::move(text_));
  text_.clear();
  return wrong->empty();
}

void FrameReader::Discard(uint32_t channel) {
  if (part_ != Part::kHeader && header_.frame_type() == FrameType::kData &&
      header_.channel == channel) {
    target_ = nullptr;
  }
}

}  // namespace oneflow::comm
