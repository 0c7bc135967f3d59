// ParallelFor: cuts a range over a fixed team of threads.
//
// Functions only. Threads: called by the one thread that runs a kernel; the team is that thread's
// OpenMP team. Invariants: the cut depends on the size of the range and of the team alone, never on
// timing, so a kernel gives the same bits in every run; a region always asks for the whole team,
// because libgomp ends the workers that a smaller one leaves out. Small ranges stay on the calling
// thread: several devices share the cores, and waking a worker costs several microseconds.
// Read next: simd.h.
#ifndef ONEFLOW_KERNELS_CPU_PARALLEL_H_
#define ONEFLOW_KERNELS_CPU_PARALLEL_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/denormals.h"

namespace oneflow::kernels {

// Elements of a simple f32 loop per thread below which a team costs more than it saves: a region of parked
// workers takes 5 to 10 us (measured), in which one thread does 60,000 to 100,000 elements.
inline constexpr int64_t kGrain = 1 << 16;

// Number of parts in which n items are done: 1 or `threads`.
inline int PartsOf(int threads, int64_t n, int64_t grain) {
  return threads > 1 && n >= 2 * grain ? threads : 1;
}

// First item of part `part` of `parts`.
inline int64_t PartBegin(int64_t n, int parts, int part) {
  return n / parts * part + std::min<int64_t>(part, n % parts);
}

// body(part, begin, end) for each part of [0, n). REQUIRES: parts is 1 or the size of the team.
template <typename Body>
void ForEachPart(int parts, int64_t n, const Body& body) {
  if (parts == 1) {
    body(0, int64_t{0}, n);
    return;
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    const FlushDenormals flush;  // as the thread that runs the kernel
    body(part, PartBegin(n, parts, part), PartBegin(n, parts, part + 1));
  }
}

// body(begin, end) over [0, n), in parallel if n >= 2 * grain.
template <typename Body>
void ParallelFor(int threads, int64_t n, int64_t grain, const Body& body) {
  ForEachPart(PartsOf(threads, n, grain), n,
              [&](int, int64_t begin, int64_t end) { body(begin, end); });
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_PARALLEL_H_
