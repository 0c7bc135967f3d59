// Any stream of frames to FrameReader, in pieces of any size: what its sink gets is what was sent and
// whole; a header or payload that was touched, and a frame lost or repeated, break the connection.
//
// Input: records. A byte of what is done to the frame (below kDiscardAnother: nothing; the next two: the reader is told to
// discard a channel while the frame comes; then what is touched), a byte of type, one of the channel, one of its length,
// then the payload; the frame gets the checksums and the number that it should have. The last byte of all cuts the
// stream into pieces, of which the first ones are small.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "comm/frame_reader.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

constexpr uint32_t kChannels = 5;  // channel c takes c times as many bytes; odd ones have a slot
constexpr uint64_t kPerChannel = 9000;  // channel 3: read without the buffer
// Long messages are those of channels 3 and 4: the transport's megabyte would cost more than all else.
constexpr FrameReader::Lent kLent{20'000, 9'000};
// Pieces as the input says; what is left comes in large ones, for a call to the kernel costs more than all else.
constexpr size_t kSmallPieces = 48;
constexpr size_t kLargePiece = 60'000;
constexpr size_t kMostBytes = 150'000;    // of a stream, but for its last frame
constexpr uint8_t kDiscardAnother = 190;  // another channel is discarded
constexpr uint8_t kDiscardThis = 191;

struct Sent {
  FrameHeader header;
  std::string payload;
  uint8_t how = 0;
};

// What messages are filled up with: no piece of it is like another.
const std::string& Filling() {
  static const std::string text = [] {
    std::string bytes(kChannels * kPerChannel, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 24);
    return bytes;
  }();
  return text;
}

// A frame whose header lies about its length, under a checksum that fits: `begin` is where its payload should be. The
// lie may end where bytes that fit as the payload's checksum happen to stand (the next header ends on its own, of all
// of it before). Then nobody can tell, and there is nothing to claim.
bool EndsOnAChecksum(const std::string& stream, size_t begin, uint64_t bytes) {
  const size_t left = stream.size() - begin;
  uint32_t crc = 0;
  if (bytes > left || left - bytes < sizeof(crc)) return false;
  std::memcpy(&crc, stream.data() + begin + bytes, sizeof(crc));
  return crc == Crc32c(stream.data() + begin, bytes);
}

// Takes what the transport would, and compares it with what was sent.
class EndSink : public FrameSink {
 public:
  // The first `good` frames were not touched.
  EndSink(const std::vector<Sent>* sent, size_t good) : sent_(sent), good_(good) {}

  std::string BeginFrame(const FrameHeader& header, char** target) override {
    OF_CHECK(begun_ == ended_ && begun_ < sent_->size());
    OF_CHECK(std::memcmp(&header, &(*sent_)[begun_].header, sizeof(header)) == 0);
    ++begun_;
    is_lent_ = is_discarded_ = false;
    const std::string wrong = WrongLength(header);
    if (header.frame_type() != FrameType::kData || !wrong.empty()) return wrong;
    if (header.channel >= kChannels || header.bytes != header.channel * kPerChannel) {
      return "another length";
    }
    slot_ = std::make_unique<char[]>(header.bytes);  // of exactly its size, so that ASan sees
    *target = header.channel % 2 == 1 ? slot_.get() : nullptr;
    return "";
  }

  void TakeLent(const FrameHeader& header) override {
    OF_CHECK(ended_ < begun_ && !is_lent_ && IsLong(header));
    OF_CHECK(std::memcmp(&header, &(*sent_)[ended_].header, sizeof(header)) == 0);
    if (ended_ < good_) ExpectInSlot(header.bytes - kLent.copied_end);
    is_lent_ = true;
  }

  std::string EndFrame(const FrameHeader& header, std::string text) override {
    OF_CHECK(ended_ < begun_);
    if (header.frame_type() == FrameType::kData) {
      OF_CHECK(text.empty());
      OF_CHECK(is_lent_ == IsLong(header)) << "lent bytes were never given back";
      ExpectInSlot(header.bytes);
    } else {
      OF_CHECK(text == (*sent_)[ended_].payload && !is_lent_);
    }
    ++ended_;
    return "";
  }

  // What its reader is to discard now that it has read a piece, if the frame that comes says so. Nothing may be written
  // to a slot that was discarded: there is none.
  std::optional<uint32_t> ToDiscard() {
    if (begun_ == ended_ || is_discarded_) return std::nullopt;
    const Sent& coming = (*sent_)[ended_];
    if (coming.how == kDiscardAnother) return coming.header.channel + 1;
    if (coming.how != kDiscardThis) return std::nullopt;
    is_discarded_ = true;
    slot_.reset();
    return coming.header.channel;
  }

  size_t ended() const { return ended_; }

 private:
  static bool IsLong(const FrameHeader& header) { return header.bytes >= kLent.from; }

  void ExpectInSlot(size_t bytes) const {
    if ((*sent_)[ended_].header.channel % 2 == 0 || is_discarded_) return;
    OF_CHECK(std::memcmp(slot_.get(), (*sent_)[ended_].payload.data(), bytes) == 0);
  }

  const std::vector<Sent>* sent_;
  const size_t good_;
  std::unique_ptr<char[]> slot_;
  bool is_lent_ = false;       // of the frame that comes
  bool is_discarded_ = false;  // likewise
  size_t begun_ = 0;
  size_t ended_ = 0;
};

// All that has come is read, whatever the reader says of how much that is. False: the connection is broken.
bool Drain(FrameReader* reader, int fd, EndSink* sink, std::string* wrong) {
  FrameReader::End end = FrameReader::End::kMore;
  while (end == FrameReader::End::kMore) {
    end = reader->Read(fd, sink, wrong);
    const std::optional<uint32_t> channel = sink->ToDiscard();
    if (channel) reader->Discard(*channel);
  }
  const bool broken = end == FrameReader::End::kBroken;
  OF_CHECK(broken || end == FrameReader::End::kDrained);
  OF_CHECK(broken == !wrong->empty());
  return !broken;
}

}  // namespace

void FuzzFrames(const uint8_t* data, size_t size) {
  const size_t small = size == 0 ? 1 : 1 + data[size - 1] * size_t{97};
  FuzzInput input{data, size};
  std::vector<Sent> sent;
  std::string stream;
  size_t good = SIZE_MAX;  // frames before the first one that was touched
  size_t lie = SIZE_MAX;   // if that one lies: where its payload begins
  for (uint32_t sequence = 0; input.size > 0 && stream.size() < kMostBytes; ++sequence) {
    const uint8_t how = input.Next<uint8_t>();
    Sent one;
    one.how = how;
    one.header.type = input.Next<uint8_t>() % 9;
    one.header.channel = input.Next<uint8_t>() % (kChannels + 1);
    const uint8_t length = input.Next<uint8_t>();
    one.payload = input.Text(length);
    if (one.header.frame_type() == FrameType::kData && length < 200) {  // mostly what fits
      one.payload.append(Filling(), one.payload.size());
      one.payload.resize(std::min(one.header.channel, kChannels) * kPerChannel);
    }
    one.header.bytes = one.payload.size();
    one.header.sequence = sequence;
    if (how == 192) ++one.header.sequence;  // a hole
    if (how == 193 && sequence > 0) --one.header.sequence;
    if (how == 194) one.header.bytes += 1 + input.Next<uint64_t>() % (uint64_t{1} << 40);  // a lie
    one.header.crc = one.header.ExpectedCrc();
    FrameHeader header = one.header;
    std::string payload = one.payload;
    const uint32_t bit = input.size > 0 ? 1u << (how % 32) : 1;
    if (how >= 195 && how < 200) header.crc ^= bit;
    if (how >= 200 && how < 205) header.channel ^= bit;
    if (how >= 205 && how < 210) header.bytes ^= bit;
    uint32_t crc = Crc32c(payload.data(), payload.size());
    if (how >= 210 && how < 220) crc ^= bit;
    if (how >= 220 && !payload.empty()) payload[how % payload.size()] ^= 1;
    stream.append(reinterpret_cast<const char*>(&header), sizeof(header));
    if (how == 194 && good == SIZE_MAX) lie = stream.size();
    if (!payload.empty()) {
      stream += payload;
      stream.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
    }
    const bool is_touched =
        how >= 192 && !(how == 193 && sequence == 0) && !(how >= 210 && payload.empty());
    if (is_touched && good == SIZE_MAX) good = sent.size();
    sent.push_back(std::move(one));
  }
  if (lie != SIZE_MAX && EndsOnAChecksum(stream, lie, sent[good].header.bytes)) return;
  int ends[2];
  OF_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  FrameReader reader(kLent);
  EndSink sink(&sent, good);
  std::string wrong;
  bool whole = true;
  size_t pieces = 0;
  for (size_t at = 0, count = 0; at < stream.size() && whole; at += count) {
    count = std::min(pieces++ < kSmallPieces ? small : kLargePiece, stream.size() - at);
    OF_CHECK(write(ends[0], stream.data() + at, count) == static_cast<ssize_t>(count));
    whole = Drain(&reader, ends[1], &sink, &wrong);
  }
  OF_CHECK(sink.ended() <= good) << "a frame that was touched was taken";
  OF_CHECK(!whole || good != SIZE_MAX || sink.ended() == sent.size()) << "a frame was lost";
  // Not close(): while somebody else holds the file (a look at /proc/PID/fd is enough) that ends nothing.
  OF_CHECK(shutdown(ends[0], SHUT_WR) == 0);
  OF_CHECK(!whole || reader.Read(ends[1], &sink, &wrong) == FrameReader::End::kClosed);
  close(ends[0]);
  close(ends[1]);
  OF_CHECK(reader.Read(-1, &sink, &wrong) == FrameReader::End::kFailed && !wrong.empty());
}

}  // namespace oneflow::comm
