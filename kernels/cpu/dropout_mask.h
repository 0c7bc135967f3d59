// DropoutMask: which elements dropout keeps, as the attributes p, seed and key of an op say it.
//
// Element i of the *logical* tensor is kept if word i % 4 of the Philox block i / 4 is at least p *
// 2^32. A value, const. Threads: any. Invariant: a mask depends on (seed, key, step, index) alone,
// never on the layout. Read next: base/philox.h, kernels/cpu/random.cc, kernels/cpu/attention.cc.
#ifndef ONEFLOW_KERNELS_CPU_DROPOUT_MASK_H_
#define ONEFLOW_KERNELS_CPU_DROPOUT_MASK_H_

#include <algorithm>
#include <cstdint>

#include "base/philox.h"
#include "kernels/cpu/simd.h"
#include "kernels/scalar/types.h"
#include "kernels/spec_check.h"

namespace oneflow::kernels {

struct DropoutMask {
  uint64_t key = 0;
  uint32_t threshold = 0;  // a smaller word drops its element
  float scale = 1;         // of what is kept; 0 where all is dropped

  bool drops_all() const { return scale == 0; }
  // REQUIRES: CheckDropoutAttrs.
  static DropoutMask Of(const Attrs& attrs);
};

// The key of the stream that the attributes seed and key name.
uint64_t StreamKey(const Attrs& attrs);

// p is a probability, seed and key are there.
SpecCheck& CheckDropoutAttrs(SpecCheck* check);

inline constexpr int64_t kPhiloxBlocks = 16;

// words[4 * b + w]: word w of block first + b.
OF_LOOP void DrawPhilox(uint64_t key, uint64_t step, uint64_t first, uint32_t* words) {
  uint32_t c0[kPhiloxBlocks], c1[kPhiloxBlocks], c2[kPhiloxBlocks], c3[kPhiloxBlocks];
#pragma omp simd
  for (int64_t b = 0; b < kPhiloxBlocks; ++b) {
    const uint64_t block = first + b;
    c0[b] = static_cast<uint32_t>(block);
    c1[b] = static_cast<uint32_t>(block >> 32);
    c2[b] = static_cast<uint32_t>(step);
    c3[b] = static_cast<uint32_t>(step >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
#pragma omp simd
    for (int64_t b = 0; b < kPhiloxBlocks; ++b) {
      const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * c0[b];
      const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * c2[b];
      const uint32_t next0 = static_cast<uint32_t>(product1 >> 32) ^ c1[b] ^ k0;
      const uint32_t next2 = static_cast<uint32_t>(product0 >> 32) ^ c3[b] ^ k1;
      c1[b] = static_cast<uint32_t>(product1);
      c3[b] = static_cast<uint32_t>(product0);
      c0[b] = next0;
      c2[b] = next2;
    }
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
  for (int64_t b = 0; b < kPhiloxBlocks; ++b) {
    words[4 * b] = c0[b];
    words[4 * b + 1] = c1[b];
    words[4 * b + 2] = c2[b];
    words[4 * b + 3] = c3[b];
  }
}

// body(words, done, count): the words of `count` of the n elements whose logical indices are first, first + 1, ..; words[i]
// is that of element done + i.
template <typename Body>
OF_LOOP void ForPhiloxWords(uint64_t key, uint64_t step, uint64_t first, int64_t n,
                            const Body& body) {
  uint32_t words[4 * kPhiloxBlocks];
  uint64_t block = first / 4;
  int64_t skip = static_cast<int64_t>(first % 4);
  for (int64_t done = 0; done < n; block += kPhiloxBlocks, skip = 0) {
    DrawPhilox(key, step, block, words);
    const int64_t count = std::min(4 * kPhiloxBlocks - skip, n - done);
    body(words + skip, done, count);
    done += count;
  }
}

// n elements whose logical indices are first, first + 1, ..
template <typename T>
struct DropoutLoop {
  OF_LOOP static void Run(const T* x, T* y, int64_t n, uint64_t first, uint64_t step,
                          DropoutMask mask) {
    ForPhiloxWords(
        mask.key, step, first,
        n, [&](const uint32_t* words, int64_t done, int64_t count) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) {
            const Compute<T> kept = x[done + i] * mask.scale;
            Store<T>(words[i] >= mask.threshold ? kept : 0, y + done + i);
          }
        });
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_DROPOUT_MASK_H_
