// ConvolutionCase: convolutions of all kinds for tests, and their results by seven nested loops in double.
//
// Test code only; header-only. Threads: one test at a time. Read next: kernels/cpu/kernel_case.h.
#ifndef ONEFLOW_KERNELS_CPU_CONVOLUTION_CASE_H_
#define ONEFLOW_KERNELS_CPU_CONVOLUTION_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {

struct ConvolutionRow {
  int64_t n, h, w, c, k, r, s, groups;
  std::vector<int64_t> stride, padding, dilation;
};

inline std::vector<ConvolutionRow> ConvolutionRows() {
  return {
      {2, 8, 8, 3, 16, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
      {1, 5, 7, 1, 1, 1, 1, 1, {1, 1}, {0, 0}, {1, 1}},
      {3, 9, 6, 5, 7, 3, 2, 1, {2, 1}, {1, 0}, {1, 1}},
      {2, 8, 8, 16, 32, 3, 3, 1, {2, 2}, {1, 1}, {1, 1}},
      {2, 8, 8, 16, 32, 1, 1, 1, {2, 2}, {0, 0}, {1, 1}},
      {2, 10, 9, 8, 12, 3, 3, 4, {1, 1}, {1, 1}, {1, 1}},
      {2, 10, 9, 6, 6, 3, 3, 6, {1, 1}, {1, 1}, {1, 1}},
      {2, 11, 11, 4, 6, 3, 3, 1, {1, 1}, {2, 2}, {2, 2}},
      {1, 12, 13, 2, 3, 5, 4, 1, {3, 2}, {2, 1}, {1, 2}},
      {4, 1, 1, 33, 65, 1, 1, 1, {1, 1}, {0, 0}, {1, 1}},
      {2, 16, 16, 48, 40, 3, 3, 2, {2, 2}, {1, 1}, {1, 1}},
      {4, 16, 16, 32, 48, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
      {3, 33, 31, 3, 20, 5, 5, 1, {2, 2}, {2, 2}, {1, 1}},
      {0, 8, 8, 3, 4, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
      {2, 4, 4, 0, 4, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
      {2, 4, 4, 3, 0, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
  };
}

// Operands and, in double, results.
struct Reference {
  Shape x_shape, w_shape, y_shape;
  std::vector<float> x, w, dy;
  std::vector<double> y, dx, dw;
};

// `round`: what the operands' type does to a float.
inline Reference ReferenceOf(const ConvolutionRow& v, float (*round)(float) = nullptr) {
  Reference ref;
  const int64_t p = (v.h + 2 * v.padding[0] - v.dilation[0] * (v.r - 1) - 1) / v.stride[0] + 1;
  const int64_t q = (v.w + 2 * v.padding[1] - v.dilation[1] * (v.s - 1) - 1) / v.stride[1] + 1;
  const int64_t cg = v.c / v.groups;
  const int64_t kg = v.k / v.groups;
  ref.x_shape = {v.n, v.h, v.w, v.c};
  ref.w_shape = {v.k, cg, v.r, v.s};
  ref.y_shape = {v.n, p, q, v.k};
  ref.x = RandomFloats(NumElements(ref.x_shape), 1);
  ref.w = RandomFloats(NumElements(ref.w_shape), 2);
  ref.dy = RandomFloats(NumElements(ref.y_shape), 3);
  for (std::vector<float>* operand : {&ref.x, &ref.w, &ref.dy}) {
    if (round == nullptr) break;
    for (float& value : *operand) value = round(value);
  }
  ref.y.assign(ref.dy.size(), 0);
  ref.dx.assign(ref.x.size(), 0);
  ref.dw.assign(ref.w.size(), 0);
  for (int64_t n = 0; n < v.n; ++n) {
    for (int64_t i = 0; i < p; ++i) {
      for (int64_t j = 0; j < q; ++j) {
        for (int64_t k = 0; k < v.k; ++k) {
          const int64_t out = ((n * p + i) * q + j) * v.k + k;
          for (int64_t a = 0; a < v.r; ++a) {
            for (int64_t b = 0; b < v.s; ++b) {
              const int64_t h = i * v.stride[0] - v.padding[0] + a * v.dilation[0];
              const int64_t w = j * v.stride[1] - v.padding[1] + b * v.dilation[1];
              if (h < 0 || h >= v.h || w < 0 || w >= v.w) continue;
              for (int64_t c = 0; c < cg; ++c) {
                const int64_t in = ((n * v.h + h) * v.w + w) * v.c + k / kg * cg + c;
                const int64_t weight = ((k * cg + c) * v.r + a) * v.s + b;
                ref.y[out] += static_cast<double>(ref.x[in]) * ref.w[weight];
                ref.dx[in] += static_cast<double>(ref.dy[out]) * ref.w[weight];
                ref.dw[weight] += static_cast<double>(ref.dy[out]) * ref.x[in];
              }
            }
          }
        }
      }
    }
  }
  return ref;
}

inline Attrs AttrsOf(const ConvolutionRow& v) {
  return {
      {"stride", v.stride}, {"padding", v.padding}, {"dilation", v.dilation}, {"groups", v.groups}};
}

inline std::string Text(const ConvolutionRow& v) {
  return ToString({v.n, v.h, v.w, v.c, v.k, v.r, v.s, v.groups}) + ToString(v.stride);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CONVOLUTION_CASE_H_
