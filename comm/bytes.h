// ByteWriter and ByteReader: integers and texts one behind the other, length-prefixed, little-endian.
// What comes from a peer is read with these: total on arbitrary input.
//
// Values. Threads: one at a time. Invariant: after the first failure everything read is zero or empty,
// and `ok` is false. Read next: comm/wire.cc, comm/neighbours.cc.
#ifndef ONEFLOW_COMM_BYTES_H_
#define ONEFLOW_COMM_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace oneflow::comm {

// Appends.
class ByteWriter {
 public:
  void Integer(uint64_t value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Text(const std::string& text) {
    Integer(text.size());
    bytes += text;
  }
  std::string bytes;
};

// Reads what ByteWriter wrote. The bytes outlive it.
class ByteReader {
 public:
  explicit ByteReader(const std::string& bytes) : bytes_(bytes) {}
  uint64_t Integer() {
    uint64_t value = 0;
    if (bytes_.size() - at_ < sizeof(value)) {
      ok = false;
      return 0;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }
  // Of the process that wrote it; never followed here.
  std::byte* Address() { return reinterpret_cast<std::byte*>(Integer()); }
  std::string Text() {
    const uint64_t size = Integer();
    if (!ok || bytes_.size() - at_ < size) {
      ok = false;
      return "";
    }
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  // A count of items of at least eight bytes each.
  uint64_t Count() {
    const uint64_t count = Integer();
    if (count > (bytes_.size() - at_) / 8) ok = false;
    return ok ? count : 0;
  }
  bool done() const { return at_ == bytes_.size(); }
  bool ok = true;

 private:
  const std::string& bytes_;
  size_t at_ = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_BYTES_H_
