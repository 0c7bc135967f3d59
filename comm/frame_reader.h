// FrameReader: cuts what comes from one peer into frames, and checks every byte before anybody acts
// on it.
//
// Owned by the transport, one per peer. Threads: one at a time, in a turn (comm/turns.h). Small frames are
// read through a buffer, many with one call to the kernel; what is large goes straight to where it belongs. Memory
// for texts grows with the bytes that have come, never with what a header promises. Read next:
// comm/frame.h, comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_FRAME_READER_H_
#define ONEFLOW_COMM_FRAME_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/frame.h"

namespace oneflow::comm {

// What is done with frames.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // A header has come whose checksum holds. Empty, or what the peer did wrong. The payload of kData
  // goes to *target (nullptr: nowhere).
  virtual std::string BeginFrame(const FrameHeader& header, char** target) = 0;
  // All that may be lent of a long message has come (kCopiedEnd); nothing is checked yet.
  virtual void TakeLent(const FrameHeader& header) = 0;
  // The payload has come whole, and its checksum holds. `text` has that of other frames than kData.
  virtual std::string EndFrame(const FrameHeader& header, std::string text) = 0;
};

class FrameReader {
 public:
  // Messages of so many bytes are long ones, of which all but the end may be lent. Both ends of a connection
  // agree; shorter than the transport's only where a megabyte would be too much, in a fuzzer.
  struct Lent {
    uint64_t from = kLongMessage;
    uint64_t copied_end = kCopiedEnd;
  };
  FrameReader() : FrameReader(Lent{}) {}
  explicit FrameReader(Lent lent) : lent_(lent), buffer_(kBuffer) {}

  // How a call to Read ended.
  enum class End { kDrained, kMore, kClosed, kFailed, kBroken };

  // Reads what has come, at most about a megabyte. `wrong` says why it is
  // kFailed (the connection) or kBroken (the protocol).
  End Read(int fd, FrameSink* sink, std::string* wrong);
  // The rest of this channel's payload, if one is being read, goes nowhere.
  void Discard(uint32_t channel);

 private:
  static constexpr size_t kBuffer = 64 << 10;
  static constexpr size_t kLarge = 16 << 10;  // from here on without the buffer
  static constexpr size_t kCallBytes = 256 << 10;
  static constexpr size_t kTurnBytes = 1 << 20;

  bool Consume(FrameSink* sink, std::string* wrong);  // what is in the buffer; false: broken
  bool Begin(FrameSink* sink, std::string* wrong);
  bool Finish(FrameSink* sink, std::string* wrong);
  void TakePayload(const char* data, size_t bytes, FrameSink* sink);
  bool Count(uint64_t bytes,
             FrameSink* sink);  // more of the payload; true if that made TakeLent due

  enum class Part { kHeader, kPayload, kTrailer };

  const Lent lent_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // unread bytes of the buffer
  size_t end_ = 0;

  Part part_ = Part::kHeader;
  uint32_t next_sequence_ = 0;
  FrameHeader header_;
  char* target_ = nullptr;
  std::string text_;
  uint64_t payload_read_ = 0;
  uint32_t crc_ = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_FRAME_READER_H_
