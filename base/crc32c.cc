#include "base/crc32c.h"

#include <immintrin.h>

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

// x^exponent.
constexpr uint32_t PowerOfX(uint64_t exponent) {
  uint32_t power = 1u << 31;   // 1
  uint32_t square = 1u << 30;  // x
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) power = Product(power, square);
    square = Product(square, square);
  }
  return power;
}

constexpr ZerosTable MakeZeros(size_t bytes) {
  const uint32_t power = PowerOfX(8 * bytes);
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

__attribute__((target("sse4.2"))) uint32_t ExtendByRuns(uint32_t crc, const void* data,
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

// Folding ("Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009): 16 bytes a
// are, modulo the polynomial, worth 16 bytes `behind` bytes further on: their halves times two powers of x.
#define OF_FOLDING __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))

constexpr size_t kFolded = 256;  // bytes at once, in four vectors

template <uint64_t behind>
struct Powers {
  static constexpr int64_t kLow = PowerOfX(8 * behind + 31), kHigh = PowerOfX(8 * behind - 33);
  OF_FOLDING static __m128i Narrow() { return _mm_set_epi64x(kHigh, kLow); }
  OF_FOLDING static __m512i Wide() {
    return _mm512_set_epi64(kHigh, kLow, kHigh, kLow, kHigh, kLow, kHigh, kLow);
  }
};

// What `from` is worth there, and what is there.
OF_FOLDING __m512i Fold(__m512i from, __m512i powers, __m512i there) {
  const __m512i low = _mm512_clmulepi64_epi128(from, powers, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(from, powers, 0x11);
  return _mm512_ternarylogic_epi64(low, high, there, 0x96);
}

OF_FOLDING __m128i Fold(__m128i from, __m128i powers, __m128i there) {
  const __m128i low = _mm_clmulepi64_si128(from, powers, 0x00);
  const __m128i high = _mm_clmulepi64_si128(from, powers, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

OF_FOLDING __m512i Load(const char* at) { return _mm512_loadu_si512(at); }

// REQUIRES: at least kFolded bytes; takes as many times that as there are.
OF_FOLDING uint32_t ExtendByFolding(uint32_t crc, const char** data, size_t* bytes) {
  const char* at = *data;
  const __m512i before = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc)));
  __m512i a = _mm512_xor_si512(Load(at), before);
  __m512i b = Load(at + 64), c = Load(at + 128), d = Load(at + 192);
  const __m512i far = Powers<kFolded>::Wide();
  for (*bytes -= kFolded, at += kFolded; *bytes >= kFolded; *bytes -= kFolded, at += kFolded) {
    a = Fold(a, far, Load(at));
    b = Fold(b, far, Load(at + 64));
    c = Fold(c, far, Load(at + 128));
    d = Fold(d, far, Load(at + 192));
  }
  *data = at;
  const __m512i near = Powers<64>::Wide();
  d = Fold(Fold(Fold(a, near, b), near, c), near, d);
  alignas(64) __m128i lanes[4];
  _mm512_store_si512(lanes, d);
  const __m128i next = Powers<16>::Narrow();
  const __m128i last = Fold(Fold(Fold(lanes[0], next, lanes[1]), next, lanes[2]), next, lanes[3]);
  uint64_t state = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(last)));
  state = _mm_crc32_u64(state, static_cast<uint64_t>(_mm_extract_epi64(last, 1)));
  return ~static_cast<uint32_t>(state);
}

}  // namespace

uint32_t ExtendCrc32cByTable(uint32_t crc, const void* data, size_t bytes) {
  const unsigned char* at = static_cast<const unsigned char*>(data);
  uint32_t state = ~crc;
  for (; bytes > 0; --bytes, ++at) state = (state >> 8) ^ kTable[(state ^ *at) & 255];
  return ~state;
}

uint32_t ExtendCrc32cByRuns(uint32_t crc, const void* data, size_t bytes) {
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  return has_instruction ? ExtendByRuns(crc, data, bytes) : ExtendCrc32cByTable(crc, data, bytes);
}

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes) {
  static const bool folds =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
  const char* at = static_cast<const char*>(data);
  if (folds && bytes >= 2 * kFolded) crc = ExtendByFolding(crc, &at, &bytes);
  return ExtendCrc32cByRuns(crc, at, bytes);
}

}  // namespace oneflow
