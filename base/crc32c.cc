#include "base/crc32c.h"

#include <nmmintrin.h>

#include <array>
#include <cstring>

namespace oneflow {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? kPolynomial : 0);
    table[i] = value;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = MakeTable();

// The instruction takes three cycles, one may begin in each: three runs side by side keep it busy. Their
// sums are joined by what so many zero bytes do to a sum: a product with x^(8 * bytes) modulo the
// polynomial, of which a table for each of its bytes is made when this is compiled.
constexpr size_t kLongRun = 4096;
constexpr size_t kShortRun = 256;

// Of two polynomials in the reflected order, modulo the checksum's.
constexpr uint32_t Product(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

using ZerosTable = std::array<std::array<uint32_t, 256>, 4>;

constexpr ZerosTable MakeZeros(size_t bytes) {
  uint32_t power = 1u << 31;         // 1
  uint32_t square = 1u << (31 - 8);  // x^8
  for (size_t left = bytes; left > 0; left >>= 1) {
    if (left & 1) power = Product(power, square);
    square = Product(square, square);
  }
  ZerosTable table{};
  for (size_t byte = 0; byte < table.size(); ++byte) {
    for (uint32_t value = 0; value < 256; ++value) {
      table[byte][value] = Product(value << (8 * byte), power);
    }
  }
  return table;
}

constexpr ZerosTable kLongZeros = MakeZeros(kLongRun);
constexpr ZerosTable kShortZeros = MakeZeros(kShortRun);

uint64_t BehindZeros(const ZerosTable& table, uint64_t state) {
  return table[0][state & 255] ^ table[1][state >> 8 & 255] ^ table[2][state >> 16 & 255] ^
         table[3][state >> 24 & 255];
}

uint64_t WordAt(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// As many times three runs as there are.
__attribute__((target("sse4.2"))) uint64_t ExtendByThree(uint64_t state, size_t run,
                                                         const ZerosTable& zeros, const char** data,
                                                         size_t* bytes) {
  for (; *bytes >= 3 * run; *bytes -= 3 * run, *data += 2 * run) {
    uint64_t second = 0, third = 0;
    for (const char* end = *data + run; *data < end; *data += sizeof(uint64_t)) {
      state = _mm_crc32_u64(state, WordAt(*data));
      second = _mm_crc32_u64(second, WordAt(*data + run));
      third = _mm_crc32_u64(third, WordAt(*data + 2 * run));
    }
    state = BehindZeros(zeros, state) ^ second;
    state = BehindZeros(zeros, state) ^ third;
  }
  return state;
}

__attribute__((target("sse4.2"))) uint32_t ExtendByInstruction(uint32_t crc, const void* data,
                                                               size_t bytes) {
  const char* at = static_cast<const char*>(data);
  uint64_t state = ~crc;
  state = ExtendByThree(state, kLongRun, kLongZeros, &at, &bytes);
  state = ExtendByThree(state, kShortRun, kShortZeros, &at, &bytes);
  for (; bytes >= 8; bytes -= 8, at += 8) state = _mm_crc32_u64(state, WordAt(at));
  uint32_t rest = static_cast<uint32_t>(state);
  for (; bytes > 0; --bytes, ++at) rest = _mm_crc32_u8(rest, static_cast<unsigned char>(*at));
  return ~rest;
}

}  // namespace

uint32_t ExtendCrc32cByTable(uint32_t crc, const void* data, size_t bytes) {
  const unsigned char* at = static_cast<const unsigned char*>(data);
  uint32_t state = ~crc;
  for (; bytes > 0; --bytes, ++at) state = (state >> 8) ^ kTable[(state ^ *at) & 255];
  return ~state;
}

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes) {
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  return has_instruction ? ExtendByInstruction(crc, data, bytes)
                         : ExtendCrc32cByTable(crc, data, bytes);
}

}  // namespace oneflow
