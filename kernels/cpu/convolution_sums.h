// ConvolutionOfSums and PartSumsOf: of `conv2d_sums`, the two ops that it stands for, as problems of their own.
//
// A part of the result is what a sample is to bn_sample_sums: successive samples, as one long one. Functions of a spec
// that its row has checked. Threads: any. Read next: kernels/cpu/conv2d.cc, kernels/cuda/image_kernels.cc.
#ifndef ONEFLOW_KERNELS_CPU_CONVOLUTION_SUMS_H_
#define ONEFLOW_KERNELS_CPU_CONVOLUTION_SUMS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/kernel.h"

namespace oneflow::kernels {

// It keeps its name, which errors tell.
inline KernelSpec ConvolutionOfSums(const KernelSpec& spec) {
  KernelSpec convolution = spec;
  convolution.outputs.resize(1);
  return convolution;
}

inline KernelSpec PartSumsOf(const KernelSpec& spec) {
  const Operand& y = spec.outputs.at(0);
  const int64_t parts = spec.outputs.at(1).shape.at(0);
  const int64_t samples = y.shape.at(0) / std::max<int64_t>(1, parts);
  KernelSpec sums;
  sums.op = "bn_sample_sums";
  sums.inputs = {y};
  Operand& x = sums.inputs[0];
  x.shape = x.logical_shape = {parts, samples * y.shape.at(1), y.shape.at(2), y.shape.at(3)};
  x.begin = Shape(4, 0);
  x.micro_dim = 0;
  x.micro_stride = 0;
  sums.outputs = {spec.outputs.at(1), spec.outputs.at(2)};
  sums.threads = spec.threads;
  return sums;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CONVOLUTION_SUMS_H_
