// Any stream of frames to FrameReader, in pieces of any size: what its sink gets is what was sent and
// whole; a header or payload that was touched, and a frame lost or repeated, break the connection.
//
// Input: records. A byte of what is done to the frame (0 to 191: nothing), a byte of type, one of the
// channel, one of its length, then the payload; the frame gets the checksums and the number that it
// should have. The last byte of all cuts the stream into pieces, of which the first ones are small.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/check.h"
#include "comm/frame_reader.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

constexpr uint32_t kChannels = 4;       // channel c takes c times as many bytes
constexpr uint64_t kPerChannel = 9000;  // channel 2 and 3: read without the buffer
// Pieces as the input says; what is left comes in large ones, for a call to the kernel costs more than all else.
constexpr size_t kSmallPieces = 48;
constexpr size_t kLargePiece = 60'000;

struct Sent {
  FrameHeader header;
  std::string payload;
};

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
  explicit EndSink(const std::vector<Sent>* sent) : sent_(sent) {}

  std::string BeginFrame(const FrameHeader& header, char** target) override {
    OF_CHECK(begun_ < sent_->size());
    OF_CHECK(std::memcmp(&header, &(*sent_)[begun_].header, sizeof(header)) == 0);
    ++begun_;
    if (header.frame_type() != FrameType::kData) return WrongLength(header);
    if (header.channel >= kChannels || header.bytes != header.channel * kPerChannel) {
      return "another length";
    }
    slot_ = std::make_unique<char[]>(header.bytes);  // of exactly its size, so that ASan sees
    *target = header.channel % 2 == 1 ? slot_.get() : nullptr;
    return "";
  }

  void TakeLent(const FrameHeader& header) override {
    OF_CHECK(false) << "a message of " << header.bytes << " bytes is no long one";
  }

  std::string EndFrame(const FrameHeader& header, std::string text) override {
    OF_CHECK(ended_ < begun_);
    const std::string& payload = (*sent_)[ended_].payload;
    if (header.frame_type() == FrameType::kData) {
      OF_CHECK(text.empty());
      if (header.channel % 2 == 1) {
        OF_CHECK(std::memcmp(slot_.get(), payload.data(), payload.size()) == 0);
      }
    } else {
      OF_CHECK(text == payload);
    }
    ++ended_;
    return "";
  }

  size_t ended() const { return ended_; }

 private:
  const std::vector<Sent>* sent_;
  std::unique_ptr<char[]> slot_;
  size_t begun_ = 0;
  size_t ended_ = 0;
};

}  // namespace

void FuzzFrames(const uint8_t* data, size_t size) {
  const size_t small = size == 0 ? 1 : 1 + data[size - 1] * size_t{97};
  FuzzInput input{data, size};
  std::vector<Sent> sent;
  std::string stream;
  size_t good = SIZE_MAX;  // frames before the first one that was touched
  size_t lie = SIZE_MAX;   // if that one lies: where its payload begins
  for (uint32_t sequence = 0; input.size > 0 && sent.size() < 64; ++sequence) {
    const uint8_t how = input.Next<uint8_t>();
    Sent one;
    one.header.type = input.Next<uint8_t>() % 9;
    one.header.channel = input.Next<uint8_t>() % (kChannels + 1);
    const uint8_t length = input.Next<uint8_t>();
    one.payload = input.Text(length);
    if (one.header.frame_type() == FrameType::kData && length < 200) {  // mostly what fits
      one.payload.resize(std::min(one.header.channel, kChannels) * kPerChannel, 'x');
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
  FrameReader reader;
  EndSink sink(&sent);
  std::string wrong;
  bool broken = false;
  size_t pieces = 0;
  for (size_t at = 0, count = 0; at < stream.size() && !broken; at += count) {
    count = std::min(pieces++ < kSmallPieces ? small : kLargePiece, stream.size() - at);
    OF_CHECK(write(ends[0], stream.data() + at, count) == static_cast<ssize_t>(count));
    FrameReader::End end = FrameReader::End::kMore;
    while (end == FrameReader::End::kMore) end = reader.Read(ends[1], &sink, &wrong);
    broken = end == FrameReader::End::kBroken;
    OF_CHECK(broken || end == FrameReader::End::kDrained);
    OF_CHECK(broken == !wrong.empty());
  }
  OF_CHECK(sink.ended() <= good) << "a frame that was touched was taken";
  OF_CHECK(broken || good != SIZE_MAX || sink.ended() == sent.size()) << "a frame was lost";
  close(ends[0]);
  close(ends[1]);
}

}  // namespace oneflow::comm
