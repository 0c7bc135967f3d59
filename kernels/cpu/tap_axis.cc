#include "kernels/cpu/tap_axis.h"

#include <algorithm>

namespace oneflow::kernels {
namespace {

struct Extents {
  int64_t image, result, taps;
};
Extents ExtentsOf(const ConvolutionProblem& c, int dim) {
  return dim == 0 ? Extents{c.h, c.p, c.r} : Extents{c.w, c.q, c.s};
}

}  // namespace

TapAxis ForwardAxis(const ConvolutionProblem& c, int dim) {
  const Extents e = ExtentsOf(c, dim);
  TapAxis axis;
  axis.targets = e.result;
  axis.step = c.stride[dim];
  axis.sources = e.image;
  for (int64_t tap = 0; tap < e.taps; ++tap) {
    axis.taps.push_back(tap);
    axis.offsets.push_back(tap * c.dilation[dim] - c.padding[dim]);
  }
  return axis;
}

TapAxis GradientAxis(const ConvolutionProblem& c, int dim, int64_t phase) {
  const Extents e = ExtentsOf(c, dim);
  const int64_t stride = c.stride[dim];
  TapAxis axis;
  axis.first = phase;
  axis.every = stride;
  axis.targets = phase < e.image ? (e.image - phase - 1) / stride + 1 : 0;
  axis.sources = e.result;
  // Line h of the image was read by line (h + padding - tap * dilation) / stride, where that divides.
  for (int64_t tap = e.taps - 1; tap >= 0; --tap) {
    const int64_t at = phase + c.padding[dim] - tap * c.dilation[dim];
    if (at % stride != 0) continue;
    axis.taps.push_back(tap);
    axis.offsets.push_back(at / stride);
  }
  return axis;
}

std::vector<TapPhase> PhasesOf(TapConvolution::Direction direction,
                               const ConvolutionProblem& problem) {
  std::vector<TapPhase> phases;
  if (direction == TapConvolution::Direction::kForward) {
    phases.push_back({ForwardAxis(problem, 0), ForwardAxis(problem, 1)});
    return phases;
  }
  // A phase beyond the image has no pixels.
  for (int64_t row = 0; row < std::min(problem.stride[0], problem.h); ++row) {
    for (int64_t column = 0; column < std::min(problem.stride[1], problem.w); ++column) {
      phases.push_back({GradientAxis(problem, 0, row), GradientAxis(problem, 1, column)});
    }
  }
  return phases;
}

}  // namespace oneflow::kernels
