// Frame: what goes over a connection between two ranks: a header of 24 bytes and, if it has a
// payload, the payload and its CRC32C. docs/wire_format.md describes every byte.
//
// Values. Threads: any. Invariant: nothing of a frame is believed before its checksum was compared.
// Read next: comm/outbox.h (writes frames), comm/frame_reader.h (reads them).
#ifndef ONEFLOW_COMM_FRAME_H_
#define ONEFLOW_COMM_FRAME_H_

#include <cstdint>
#include <string>

#include "base/crc32c.h"

namespace oneflow::comm {

// What a frame says.
enum class FrameType : uint32_t {
  kData = 1,     // the next message of a channel
  kCredit = 2,   // the reader of a channel posted one more slot
  kControl = 3,  // a piece of a collective call; `channel` is its number
  kAbort = 4,    // the sender failed; the payload is the cause
  kBye = 5,      // the sender leaves in peace; nothing follows
  kWritten = 6,  // the next message of a channel lies in its slot, by shared memory
  kStop = 7,     // of where all ranks stop; `channel` is a StopWord, the payload a number
  kTaken = 8,    // the reader of a channel has what is lent of the oldest long message
};

// What ranks say of where they stop (comm/stop_agreement.h).
enum class StopWord : uint32_t { kAsk = 0, kHold = 1, kPassed = 2, kStop = 3 };

constexpr uint64_t kLongestControl = 4u << 20;
constexpr uint64_t kLongestAbort = 64u << 10;
// A message of so many bytes is a long one: all but its end may be lent, and its reader says when it has that.
constexpr uint64_t kLongMessage = 1u << 20;
// Of a long message, at its end: copied, so that what is lent is given back while these bytes are on their way.
constexpr uint64_t kCopiedEnd = 512u << 10;

// Little-endian, as it lies on the wire.
struct FrameHeader {
  uint32_t type = 0;
  uint32_t channel = 0;   // number at the reader
  uint64_t bytes = 0;     // of payload
  uint32_t sequence = 0;  // of the frame on this connection, from 0: none is lost, none comes twice
  uint32_t crc = 0;       // of the 20 bytes before

  uint32_t ExpectedCrc() const { return Crc32c(this, sizeof(*this) - sizeof(crc)); }
  FrameType frame_type() const { return static_cast<FrameType>(type); }
};
static_assert(sizeof(FrameHeader) == 24);

// Why such a frame may not come, whatever it is about: its type, or its length. Empty if it may. A message
// has its channel's length, which the reader of channels knows.
std::string WrongLength(const FrameHeader& header);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_FRAME_H_
