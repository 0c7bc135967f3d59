// Transcendental functions in float as plain arithmetic, which vectorises and gives the same bits on
// every device; in double the library's.
//
// Functions. Threads: any. No branches, no intrinsics; compiled without contraction of a * b + c: what
// is fused says std::fma, which is one exact operation on every GPU and on CPUs from AVX2 on (one call
// of the C library each in the portable copies of loops, which only CPUs without AVX2 run).
// Errors in units of the last place (ulp) were measured over all floats of a stride
// (kernels/cpu/elementwise_test.cc). Polynomials of log and erf: Cephes, Stephen L. Moshier.
// Read next: kernels/scalar/functions.h.
#ifndef ONEFLOW_KERNELS_SCALAR_MATH_H_
#define ONEFLOW_KERNELS_SCALAR_MATH_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/scalar/types.h"

namespace oneflow::kernels {

// exp(x) within 2 ulp, branch-free so that it vectorises: 2^n * p(r) with r in [-ln2/2, ln2/2] and
// the Taylor polynomial of degree 7. The scale is applied in two steps so that results reach the
// denormals.
OF_SCALAR float ExpF(float x) {
  const float low = x < -104.0f ? -104.0f : x;
  const float clamped = low > 89.0f ? 89.0f : low;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (clamped * 1.44269504f + magic) - magic;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9841270e-4f;
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const int32_t whole = static_cast<int32_t>(n);
  const int32_t half = whole >> 1;
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((whole - half + 127) << 23);
  return x != x ? x : p * scale1 * scale2;
}

// tanh(x) within 3 ulp (Cephes: an odd polynomial near 0, else by exp).
OF_SCALAR float TanhF(float x) {
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near = p * z * x + x;
  const float a = std::fabs(x);
  const float far = 1.0f - 2.0f / (ExpF(2.0f * a) + 1.0f);
  const float chosen = x < 0 ? -far : far;
  return a < 0.625f ? near : (x != x ? x : chosen);
}

// ln(x) within 2 ulp: x = 2^e * m with m in [sqrt(1/2), sqrt(2)), a polynomial of m - 1.
OF_SCALAR float LogF(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const float lifted = tiny ? x * 8388608.0f : x;         // denormals: by 2^23
  const uint32_t bits = std::bit_cast<uint32_t>(lifted);  // unsigned: those of x < 0 wrap
  const uint32_t shifted = bits - 0x3f3504f3u;            // of sqrt(1/2)
  const float e = static_cast<float>((static_cast<int32_t>(shifted) >> 23) - (tiny ? 23 : 0));
  const float r = std::bit_cast<float>(bits - (shifted & 0xff800000u)) - 1.0f;
  const float z = r * r;
  float p = 7.0376836292e-2f;
  p = p * r - 1.1514610310e-1f;
  p = p * r + 1.1676998740e-1f;
  p = p * r - 1.2420140846e-1f;
  p = p * r + 1.4249322787e-1f;
  p = p * r - 1.6668057665e-1f;
  p = p * r + 2.0000714765e-1f;
  p = p * r - 2.4999993993e-1f;
  p = p * r + 3.3333331174e-1f;
  const float y = p * r * z + e * -2.12194440e-4f - 0.5f * z;
  const float finite = r + y + e * 0.693359375f;
  const float large = x > 3.40282347e+38f ? x : finite;  // inf
  const float least = x == 0 ? -HUGE_VALF : large;       // -inf at 0
  return x < 0 || x != x ? std::bit_cast<float>(0x7fc00000) : least;
}

// erf(x) within 3 ulp: an odd polynomial below 1, beyond it 1 - e^-x^2 times a polynomial of 1/x^2.
OF_SCALAR float ErfF(float x) {
  const float a = std::fabs(x);
  const float z = x * x;
  float near = 7.853861353153693e-5f;
  near = near * z - 8.010193625184903e-4f;
  near = near * z + 5.188327685732524e-3f;
  near = near * z - 2.685381193529856e-2f;
  near = near * z + 1.128358514861418e-1f;
  near = near * z - 3.761262582423300e-1f;
  near = near * z + 1.128379165726710e+0f;
  const float bounded = a < 1.0f ? 1.0f : (a > 4.0f ? 4.0f : a);  // erf(4) rounds to 1
  const float q = 1.0f / bounded;
  const float y = q * q;
  float middle = 2.326819970068386e-2f;
  middle = middle * y - 1.387039388740657e-1f;
  middle = middle * y + 3.687424674597105e-1f;
  middle = middle * y - 5.824733027278666e-1f;
  middle = middle * y + 6.210004621745983e-1f;
  middle = middle * y - 4.944515323274145e-1f;
  middle = middle * y + 3.404879937665872e-1f;
  middle = middle * y - 2.741127028184656e-1f;
  middle = middle * y + 5.638259427386472e-1f;
  const float far = 1.0f - ExpF(-bounded * bounded) * q * middle;
  return a < 1.0f ? near * x : (x != x ? x : (x < 0 ? -far : far));
}

// 2^t within 1 ulp for t in [-126.5, 127.4], 0 in [-127.4, -126.5). The integer part is in the low bits of
// the sum that rounds, biased as an exponent is.
OF_SCALAR float PowerOf2F(float t) {
  const float magic = 12583039.0f;  // 1.5 * 2^23 + 127
  const float shifted = t + magic;
  const float r = t - (shifted - magic);
  float p = 1.5353362e-4f;
  p = std::fma(p, r, 1.3398874e-3f);
  p = std::fma(p, r, 9.618437e-3f);
  p = std::fma(p, r, 5.5503324e-2f);
  p = std::fma(p, r, 2.4022648e-1f);
  p = std::fma(p, r, 6.931472e-1f);
  p = std::fma(p, r, 1.0f);
  return p * std::bit_cast<float>(std::bit_cast<uint32_t>(shifted) << 23);
}

// x * Phi(x), Phi the normal distribution function: max(x, 0) - a * Phi(-a) with a = |x|, which does
// not cancel where x < 0. log2 Phi(-a) is almost a parabola: a polynomial of degree 10, minimax with an
// error that may grow as Phi falls. Relative errors: 3e-7 for x > -1, 2e-6 for x > -3, 1e-4 for x > -5,
// 3e-2 for x > -9; 0 below -12.26. 26 operations, no division.
OF_SCALAR float GeluF(float x) {
  const float size = std::fabs(x);
  const float a = size > 12.2586f ? 12.2586f : size;
  float t = -1.26473605e-8f;
  t = std::fma(t, a, 4.5861657e-7f);
  t = std::fma(t, a, -6.8834265e-6f);
  t = std::fma(t, a, 5.4066597e-5f);
  t = std::fma(t, a, -2.0769592e-4f);
  t = std::fma(t, a, -1.3867194e-4f);
  t = std::fma(t, a, 7.103819e-3f);
  t = std::fma(t, a, -5.2538883e-2f);
  t = std::fma(t, a, -4.591919e-1f);
  t = std::fma(t, a, -1.1511071f);
  t = std::fma(t, a, -1.0f);
  const float above = x < 0 ? 0.0f : x;
  return std::fma(-a, PowerOf2F(t), above);
}

// Its derivative Phi(x) + x * phi(x): with phi(a) = e^(-a^2/2) / sqrt(2 pi) and H(a) = Phi(-a) / e^(-a^2/2),
// a polynomial of degree 12 up to 5.5, it is g = e^(-a^2/2) * (H(a) - a / sqrt(2 pi)) where x < 0 and
// 1 - g where x > 0: one exponential for both terms. Within 1.2e-7, and below -5
// within 1 % of itself.
OF_SCALAR float GeluSlopeF(float x) {
  const float size = std::fabs(x);
  const float a = size > 13.2687f ? 13.2687f : size;
  const float near = size > 5.5f ? 5.5f : size;
  float h = 5.1243887e-8f;
  h = std::fma(h, near, -1.4525542e-6f);
  h = std::fma(h, near, 1.8554376e-5f);
  h = std::fma(h, near, -1.4315259e-4f);
  h = std::fma(h, near, 7.5939955e-4f);
  h = std::fma(h, near, -3.0158502e-3f);
  h = std::fma(h, near, 9.610691e-3f);
  h = std::fma(h, near, -2.6031462e-2f);
  h = std::fma(h, near, 6.2245958e-2f);
  h = std::fma(h, near, -1.3291371e-1f);
  h = std::fma(h, near, 2.4999115e-1f);
  h = std::fma(h, near, -3.9894187e-1f);
  h = std::fma(h, near, 0.5f);
  const float below = PowerOf2F(a * a * -0.72134752f) * std::fma(a, -0.39894228f, h);
  return x < 0 ? below : 1.0f - below;
}

// One name for both compute types.
OF_SCALAR float ExpOf(float x) { return ExpF(x); }
OF_SCALAR double ExpOf(double x) { return std::exp(x); }
OF_SCALAR float LogOf(float x) { return LogF(x); }
OF_SCALAR double LogOf(double x) { return std::log(x); }
OF_SCALAR float TanhOf(float x) { return TanhF(x); }
OF_SCALAR double TanhOf(double x) { return std::tanh(x); }
OF_SCALAR float ErfOf(float x) { return ErfF(x); }
OF_SCALAR double ErfOf(double x) { return std::erf(x); }
OF_SCALAR float GeluOf(float x) { return GeluF(x); }
OF_SCALAR double GeluOf(double x) { return x * 0.5 * (1 + std::erf(x * 0.70710678118654752)); }
OF_SCALAR float GeluSlopeOf(float x) { return GeluSlopeF(x); }
OF_SCALAR double GeluSlopeOf(double x) {
  const double cdf = 0.5 * (1 + std::erf(x * 0.70710678118654752));
  return cdf + x * (0.39894228040143268 * std::exp(-0.5 * x * x));
}
// 1 / (1 + e^-x).
template <typename T>
OF_SCALAR T SigmoidOf(T x) {
  return T{1} / (T{1} + ExpOf(-x));
}
// ln(1 + e^x): e^x alone overflows.
template <typename T>
OF_SCALAR T SoftplusOf(T x) {
  return (x > 0 ? x : T{0}) + std::log1p(ExpOf(-std::fabs(x)));
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_MATH_H_
