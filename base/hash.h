// A stable 64-bit hash: the same bytes give the same number on every machine, in every version. For
// fingerprints that ranks compare; not for hash tables, not against an adversary.
//
// Values. Threads: any. Read next: plan/text.h (Fingerprint). Definition:
//
//   FNV-1a over the bytes   offset 0xcbf29ce484222325, prime 0x100000001b3
//   then the mix            h ^= h>>33, h *= 0xff51afd7ed558ccd,
//                           h ^= h>>33, h *= 0xc4ceb9fe1a85ec53,
//                           h ^= h>>33, so that near inputs differ in all bits
#ifndef ONEFLOW_BASE_HASH_H_
#define ONEFLOW_BASE_HASH_H_

#include <cstdint>
#include <string_view>

namespace oneflow {

// Hashes what is added, in order. Fields are framed: Text adds its length first, Integer eight
// bytes, so ("ab", "c") and ("a", "bc") differ.
class Hasher {
 public:
  // The bytes alone, without a frame.
  Hasher& Bytes(std::string_view bytes) {
    for (char c : bytes) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return *this;
  }
  // Eight bytes, little-endian.
  Hasher& Integer(uint64_t value) {
    for (int i = 0; i < 8; ++i) state_ = (state_ ^ (value >> (8 * i) & 0xffu)) * 0x100000001b3u;
    return *this;
  }
  Hasher& Text(std::string_view text) { return Integer(text.size()).Bytes(text); }

  uint64_t value() const {
    uint64_t h = state_;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325u;
};

// The hash of a string of bytes.
inline uint64_t HashBytes(std::string_view bytes) { return Hasher().Bytes(bytes).value(); }

}  // namespace oneflow

#endif  // ONEFLOW_BASE_HASH_H_
