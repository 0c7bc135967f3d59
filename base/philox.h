// Philox4x32-10: random numbers as a pure function of a key and a counter.
//
// J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. Functions only.
// Threads: any. The same (seed, key, step, logical index) gives the same number on every device and
// in every layout. Read next: base/random.h (initial values), kernels/cpu/random.cc (dropout).
#ifndef ONEFLOW_BASE_PHILOX_H_
#define ONEFLOW_BASE_PHILOX_H_

#include <array>
#include <cstdint>

namespace oneflow {

inline constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
inline constexpr uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
inline constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u;
inline constexpr uint32_t kPhiloxWeyl1 = 0xBB67AE85u;
inline constexpr int kPhiloxRounds = 10;

// Four random words from a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter,
                                         std::array<uint32_t, 2> key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * counter[0];
    const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += kPhiloxWeyl0;
    key[1] += kPhiloxWeyl1;
  }
  return counter;
}

// The 64-bit key of one stream of numbers: `seed` is the user's, `key` names the op or the
// parameter. Two SplitMix64 finalisers, so that neighbouring seeds and keys give unrelated streams.
inline uint64_t PhiloxKey(uint64_t seed, uint64_t key) {
  const auto mix = [](uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  };
  return mix(mix(seed) ^ key);
}

// Words 4 * block .. 4 * block + 3 of a stream at a step: element i uses word i % 4 of block i / 4.
constexpr std::array<uint32_t, 4> PhiloxBlock(uint64_t philox_key, uint64_t step, uint64_t block) {
  return Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                 static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32)},
                {static_cast<uint32_t>(philox_key), static_cast<uint32_t>(philox_key >> 32)});
}

}  // namespace oneflow

#endif  // ONEFLOW_BASE_PHILOX_H_
