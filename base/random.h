// Random: initial values of logical tensors, slice by slice.
//
// Functions only. Threads: any; large slices are drawn by a team of their own. Invariant: an
// element's value depends on (seed, key) and its index in the logical tensor alone, so every layout
// starts from the same numbers and no rank draws the whole tensor. Read next: base/philox.h.
#ifndef ONEFLOW_BASE_RANDOM_H_
#define ONEFLOW_BASE_RANDOM_H_

#include <cstdint>

#include "base/shape.h"

namespace oneflow {

// Which numbers: `key` tells the tensors of one seed apart (a hash of the parameter's name, say).
struct RandomStream {
  uint64_t seed = 0;
  uint64_t key = 0;
};

// The slice of a logical tensor that is filled; out is dense, row-major, of shape `extent`.
struct RandomSlice {
  Shape logical_shape;
  Shape begin;
  Shape extent;
};

// Uniform in [low, high), 24 random bits.
void FillUniform(const RandomStream& stream, const RandomSlice& slice, double low, double high,
                 float* out);

// Normal by Box-Muller.
void FillNormal(const RandomStream& stream, const RandomSlice& slice, double mean, double stddev,
                float* out);

}  // namespace oneflow

#endif  // ONEFLOW_BASE_RANDOM_H_
