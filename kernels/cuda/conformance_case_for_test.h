// ConformanceCase: one call of a kernel that the CUDA table must answer as the CPU's does.
//
// Test code only. Threads: one test at a time. Read next: kernels/cuda/conformance_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_CONFORMANCE_CASE_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_CONFORMANCE_CASE_FOR_TEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {

using Longs = std::vector<int64_t>;
using Strings = std::vector<std::string>;

struct Case {
  std::string op;
  Attrs attrs;
  std::vector<TestTensor> inputs;
  std::vector<TestTensor> outputs;
  // Of f32 results, relative to |expected| + 1; 0: the same bits. Narrower and wider floats: see
  // ToleranceFor.
  double tolerance = 0;
  uint32_t firings = 1;  // micro and chunk count up
};

// Values of any dtype, small so that sums stay exact.
inline TestTensor Values(DType dtype, const Shape& shape, uint32_t seed) {
  const std::vector<float> draws = RandomFloats(NumElements(shape), seed, -9, 9);
  TestTensor tensor = TestTensor::Empty(dtype, shape);
  DispatchDType(dtype, [&]<typename T>() {
    T* at = static_cast<T*>(tensor.bytes->data());
    for (size_t i = 0; i < draws.size(); ++i) at[i] = Convert<T>(draws[i]);
  });
  return tensor;
}
inline TestTensor Of(DType dtype, const Shape& shape) { return TestTensor::Empty(dtype, shape); }

// Cases of the layers: norms, indices, images, attention (conformance_layers_test.cc).
void AddLayerCases(std::vector<Case>* cases);
// Chains of elementwise ops (conformance_fused_test.cc).
void AddFusedCases(std::vector<Case>* cases);
void AddJoinedUpdates(std::vector<Case>* cases);
void AddLinear(std::vector<Case>* cases);
void AddMatmulGelu(std::vector<Case>* cases);
void AddMatmulSums(std::vector<Case>* cases);
// Attention of the widths that tensor cores take, larger than their tiles.
void AddTensorAttentionCases(std::vector<Case>* cases);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CONFORMANCE_CASE_FOR_TEST_H_
