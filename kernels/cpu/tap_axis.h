// TapAxis: which source lines the taps of a convolution read along one image dim, as numbers instead of
// a table.
//
// A value. Threads: any once made. Invariants: taps stand in ascending order of what they read, so
// that neighbours in the image are neighbours in the list. Read next:
// kernels/cpu/bf16_convolution.h.
#ifndef ONEFLOW_KERNELS_CPU_TAP_AXIS_H_
#define ONEFLOW_KERNELS_CPU_TAP_AXIS_H_

#include <cstdint>
#include <vector>

#include "kernels/cpu/convolution.h"

namespace oneflow::kernels {

// Target i, which is line first + i * every, reads source line i * step + offsets[t] through tap
// taps[t]; beyond [0, sources) that is padding.
struct TapAxis {
  std::vector<int64_t> taps;
  std::vector<int64_t> offsets;
  int64_t first = 0;
  int64_t every = 1;
  int64_t targets = 0;
  int64_t step = 1;
  int64_t sources = 0;

  int64_t count() const { return static_cast<int64_t>(taps.size()); }
  bool Reaches(int64_t line) const { return line >= 0 && line < sources; }
};

// dim 0: rows, 1: columns. Lines of the result from those of the image.
TapAxis ForwardAxis(const ConvolutionProblem& problem, int dim);
// Lines phase, phase + stride, .. of the image's gradient from those of the result's.
TapAxis GradientAxis(const ConvolutionProblem& problem, int dim, int64_t phase);

// One phase of a pass that makes an image from an image: every tap reaches its targets, or padding.
struct TapPhase {
  TapAxis rows;
  TapAxis columns;

  int64_t taps() const { return rows.count() * columns.count(); }
  int64_t pixels() const { return rows.targets * columns.targets; }
};
// Of the forward pass one; of the gradient of the image one for each phase of the stride.
std::vector<TapPhase> PhasesOf(TapConvolution::Direction direction,
                               const ConvolutionProblem& problem);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_TAP_AXIS_H_
