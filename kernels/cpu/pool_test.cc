// Pooling against loops over every window in double.
#include <limits>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

struct PoolRow {
  int64_t n, h, w, c;
  std::vector<int64_t> kernel, stride, padding;
};

std::vector<PoolRow> PoolRows() {
  return {
      {2, 8, 8, 16, {2, 2}, {2, 2}, {0, 0}},    {3, 7, 9, 5, {3, 2}, {2, 1}, {1, 0}},
      {1, 5, 5, 1, {3, 3}, {1, 1}, {1, 1}},     {2, 8, 6, 33, {3, 3}, {2, 2}, {1, 1}},
      {2, 4, 4, 7, {4, 4}, {4, 4}, {0, 0}},     {0, 8, 8, 3, {2, 2}, {2, 2}, {0, 0}},
      {64, 16, 16, 20, {2, 2}, {2, 2}, {0, 0}},
  };
}

// Plays the windows: f(out index, in index, first of its window) for every element of every window.
template <typename F>
Shape ForEachWindow(const PoolRow& v, const F& f) {
  const int64_t p = (v.h + 2 * v.padding[0] - v.kernel[0]) / v.stride[0] + 1;
  const int64_t q = (v.w + 2 * v.padding[1] - v.kernel[1]) / v.stride[1] + 1;
  for (const Shape& o : Indices({v.n, p, q, v.c})) {
    const int64_t out = ((o[0] * p + o[1]) * q + o[2]) * v.c + o[3];
    for (int64_t a = 0; a < v.kernel[0]; ++a) {
      for (int64_t b = 0; b < v.kernel[1]; ++b) {
        const int64_t h = o[1] * v.stride[0] - v.padding[0] + a;
        const int64_t w = o[2] * v.stride[1] - v.padding[1] + b;
        if (h < 0 || h >= v.h || w < 0 || w >= v.w) continue;
        f(out, ((o[0] * v.h + h) * v.w + w) * v.c + o[3]);
      }
    }
  }
  return {v.n, p, q, v.c};
}

Attrs AttrsOf(const PoolRow& v) {
  return {{"kernel", v.kernel}, {"stride", v.stride}, {"padding", v.padding}};
}

TEST(MaxPool, ForwardAndGradient) {
  for (const PoolRow& row : PoolRows()) {
    const Shape image = {row.n, row.h, row.w, row.c};
    // Few different values, so that windows have ties.
    std::vector<float> x = RandomFloats(NumElements(image), 1);
    for (float& v : x) v = std::round(v * 2);
    const Shape result = ForEachWindow(row, [](int64_t, int64_t) {});
    std::vector<double> y(NumElements(result), -std::numeric_limits<double>::infinity());
    std::vector<int64_t> from(y.size(), -1);
    ForEachWindow(row, [&](int64_t out, int64_t in) {
      if (x[in] > y[out]) {
        y[out] = x[in];
        from[out] = in;
      }
    });
    const std::vector<float> dy = RandomFloats(NumElements(result), 2);
    std::vector<double> dx(x.size(), 0);
    for (size_t out = 0; out < from.size(); ++out) dx[from[out]] += dy[out];
    const TestTensor xt = TestTensor::Of<float>(image, x);
    for (const int threads : {1, 2}) {
      const std::vector<float> pooled =
          RunKernel("max_pool2d", AttrsOf(row), {xt}, result, threads);
      ExpectClose(pooled, y, 0, 0);
      ExpectClose(
          RunKernel("max_pool2d_grad", AttrsOf(row),
                    {xt, TestTensor::Of<float>(result, pooled), TestTensor::Of<float>(result, dy)},
                    image, threads),
          dx, 1e-6, 1e-6);
    }
  }
}

TEST(AvgPool, ForwardAndGradient) {
  for (const PoolRow& row : PoolRows()) {
    const Shape image = {row.n, row.h, row.w, row.c};
    const std::vector<float> x = RandomFloats(NumElements(image), 1);
    const Shape result = ForEachWindow(row, [](int64_t, int64_t) {});
    const std::vector<float> dy = RandomFloats(NumElements(result), 2);
    std::vector<double> y(dy.size(), 0), dx(x.size(), 0);
    const double area = static_cast<double>(row.kernel[0] * row.kernel[1]);
    ForEachWindow(row, [&](int64_t out, int64_t in) {
      y[out] += x[in] / area;
      dx[in] += dy[out] / area;
    });
    Attrs grad = AttrsOf(row);
    grad.Set("h", row.h);
    grad.Set("w", row.w);
    for (const int threads : {1, 2}) {
      ExpectClose(
          RunKernel("avg_pool2d", AttrsOf(row), {TestTensor::Of<float>(image, x)}, result, threads),
          y, 1e-6, 1e-6);
      ExpectClose(
          RunKernel("avg_pool2d_grad", grad, {TestTensor::Of<float>(result, dy)}, image, threads),
          dx, 1e-6, 1e-6);
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
