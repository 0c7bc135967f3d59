#include "comm/wire.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/check.h"
#include "comm/bytes.h"
#include "comm/channel_table.h"

namespace oneflow::comm {
namespace {

constexpr size_t kLongestObjection = 64u << 10;

// A number that a channel can have.
uint32_t ReadNumber(ByteReader* reader) {
  const uint64_t number = reader->Integer();
  if (number >= ChannelTable::capacity()) reader->ok = false;
  return static_cast<uint32_t>(number);
}

// Without offsets.
void WriteRegion(const Region& region, ByteWriter* writer) {
  writer->Integer(reinterpret_cast<uint64_t>(region.base));
  writer->Integer(static_cast<uint64_t>(region.stride));
  writer->Integer(region.slots);
  writer->Integer(region.per_slot);
}

void ReadRegion(ByteReader* reader, Region* region) {
  region->base = reader->Address();
  region->stride = static_cast<int64_t>(reader->Integer());
  region->slots = static_cast<uint32_t>(reader->Integer());
  region->per_slot = static_cast<uint32_t>(reader->Integer());
  if (region->slots == 0 || region->per_slot == 0) reader->ok = false;
}

void WriteEnd(const Announcement::End& end, ByteWriter* writer) {
  writer->Integer(end.number);
  writer->Text(end.spec.name);
  writer->Integer(end.spec.sends ? 1 : 0);
  writer->Integer(static_cast<uint64_t>(end.spec.bytes));
  writer->Integer(static_cast<uint64_t>(end.spec.slots));
  writer->Text(end.spec.check);
  WriteRegion(end.spec.region, writer);
}

Announcement::End ReadEnd(ByteReader* reader) {
  Announcement::End end;
  end.number = ReadNumber(reader);
  end.spec.name = reader->Text();
  end.spec.sends = reader->Integer() != 0;
  end.spec.bytes = static_cast<int64_t>(reader->Integer());
  end.spec.slots = static_cast<int>(reader->Integer());
  end.spec.check = reader->Text();
  ReadRegion(reader, &end.spec.region);
  return end;
}

void WriteRing(const Announcement::Ring& ring, ByteWriter* writer) {
  writer->Integer(ring.number);
  writer->Text(ring.from);
  writer->Integer(static_cast<uint64_t>(ring.from_peer));
  writer->Text(ring.stretch.to);
  writer->Integer(static_cast<uint64_t>(ring.stretch.to_peer));
  writer->Integer(static_cast<uint64_t>(ring.stretch.members));
  writer->Integer(static_cast<uint64_t>(ring.stretch.bytes));
  writer->Integer(ring.stretch.buffers.size());
  for (const Region& buffer : ring.stretch.buffers) WriteRegion(buffer, writer);
}

Announcement::Ring ReadRing(ByteReader* reader) {
  Announcement::Ring ring;
  ring.number = ReadNumber(reader);
  ring.from = reader->Text();
  ring.from_peer = static_cast<int>(reader->Integer());
  ring.stretch.to = reader->Text();
  ring.stretch.to_peer = static_cast<int>(reader->Integer());
  ring.stretch.members = static_cast<int64_t>(reader->Integer());
  ring.stretch.bytes = static_cast<int64_t>(reader->Integer());
  for (uint64_t i = reader->Count(); i > 0 && reader->ok; --i) {
    ReadRegion(reader, &ring.stretch.buffers.emplace_back());
  }
  if (ring.stretch.buffers.empty() || ring.stretch.bytes < 0) reader->ok = false;
  return ring;
}

}  // namespace

Digest DigestOf(const RankProgram& program) {
  ByteWriter writer;
  writer.Text(program.fingerprint);
  writer.Integer(program.rows.size());
  for (const std::string& row : program.rows) writer.Text(row.substr(0, row.find(' ')));
  Digest digest;
  unsigned int size = 0;
  OF_CHECK(EVP_Digest(writer.bytes.data(), writer.bytes.size(),
                      reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(),
                      nullptr) == 1 &&
           size == digest.size());
  return digest;
}

std::string Encode(const RankProgram& program) {
  ByteWriter writer;
  writer.Text(program.fingerprint);
  writer.Integer(program.rows.size());
  for (const std::string& row : program.rows) writer.Text(row);
  return writer.bytes;
}

absl::StatusOr<RankProgram> DecodeProgram(const std::string& bytes) {
  ByteReader reader(bytes);
  RankProgram program;
  program.fingerprint = reader.Text();
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) program.rows.push_back(reader.Text());
  if (!reader.ok || !reader.done()) {
    return absl::InvalidArgumentError("the program that it sends is cut or malformed");
  }
  return program;
}

std::string Encode(const Announcement& announcement) {
  ByteWriter writer;
  writer.bytes.assign(announcement.digest.begin(), announcement.digest.end());
  // Most ranks have nothing else to say to each other.
  if (announcement.channels.empty() && announcement.moved.empty() && announcement.rings.empty() &&
      announcement.moved_rings.empty() && announcement.memory.empty() &&
      announcement.keys.empty()) {
    return writer.bytes;
  }
  writer.Integer(announcement.channels.size());
  for (const Announcement::End& end : announcement.channels) WriteEnd(end, &writer);
  writer.Integer(announcement.moved.size());
  for (const Announcement::Moved& one : announcement.moved) {
    writer.Integer(one.number);
    writer.Integer(reinterpret_cast<uint64_t>(one.base));
  }
  writer.Integer(announcement.rings.size());
  for (const Announcement::Ring& ring : announcement.rings) WriteRing(ring, &writer);
  writer.Integer(announcement.moved_rings.size());
  for (const Announcement::MovedRing& one : announcement.moved_rings) {
    writer.Integer(one.number);
    writer.Integer(one.buffers.size());
    for (const std::byte* base : one.buffers) writer.Integer(reinterpret_cast<uint64_t>(base));
  }
  writer.Integer(announcement.memory.size());
  for (const Offer& offer : announcement.memory) offer.Write(&writer);
  writer.Integer(announcement.keys.size());
  for (const auto& [channel, key] : announcement.keys) {
    writer.Integer(channel);
    writer.Integer(key);
  }
  return writer.bytes;
}

absl::StatusOr<Announcement> Decode(const std::string& bytes) {
  const absl::Status malformed =
      absl::InvalidArgumentError("its announcement of channels is cut or malformed");
  Announcement announcement;
  if (bytes.size() < announcement.digest.size()) return malformed;
  std::copy_n(bytes.begin(), announcement.digest.size(), announcement.digest.begin());
  if (bytes.size() == announcement.digest.size()) return announcement;
  const std::string rest = bytes.substr(announcement.digest.size());
  ByteReader reader(rest);
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    announcement.channels.push_back(ReadEnd(&reader));
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    Announcement::Moved one;
    one.number = ReadNumber(&reader);
    one.base = reader.Address();
    announcement.moved.push_back(one);
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    announcement.rings.push_back(ReadRing(&reader));
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    Announcement::MovedRing& one = announcement.moved_rings.emplace_back();
    one.number = ReadNumber(&reader);
    for (uint64_t n = reader.Count(); n > 0 && reader.ok; --n) {
      one.buffers.push_back(reader.Address());
    }
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    announcement.memory.push_back(Offer::Read(&reader));
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    const uint32_t channel = ReadNumber(&reader);
    announcement.keys.push_back({channel, static_cast<uint32_t>(reader.Integer())});
  }
  if (!reader.ok || !reader.done()) return malformed;
  return announcement;
}

std::string Encode(const Verdict& verdict) {
  ByteWriter writer;
  if (verdict.objection.empty() && verdict.mapped.empty()) return writer.bytes;
  writer.Text(verdict.objection.substr(0, kLongestObjection));
  writer.Integer(verdict.mapped.size());
  for (const uint32_t number : verdict.mapped) writer.Integer(number);
  return writer.bytes;
}

absl::StatusOr<Verdict> DecodeVerdict(const std::string& bytes) {
  Verdict verdict;
  if (bytes.empty()) return verdict;
  ByteReader reader(bytes);
  verdict.objection = reader.Text();
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    verdict.mapped.push_back(ReadNumber(&reader));
  }
  if (!reader.ok || !reader.done() || verdict.objection.size() > kLongestObjection) {
    return absl::InvalidArgumentError("its verdict on the channels is cut or malformed");
  }
  return verdict;
}

}  // namespace oneflow::comm
