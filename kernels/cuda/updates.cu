// dropout, numbers drawn in a step, and the optimizers' updates: formulas as in kernels/cpu/random.cc,
// kernels/scalar/draws.h and kernels/cpu/optimizer.cc, one pass over memory each (dropout 8 bytes per
// element, draws 4, SGD 12 or 20, AdamW 28), 10 to 60 operations an element: bound by bytes; predicted
// 85 % of the copy rate. What changes every step (lr, step) is read on the device, never passed by
// value.
#include <cmath>
#include <cstring>

#include "base/dtype.h"
#include "base/philox.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/gate.h"
#include "kernels/scalar/draws.h"

namespace oneflow::kernels {
namespace {

// Four floats at once.
bool InFours(const void* data) { return IsAligned(data, 16); }

// The mask depends on (key, step, logical index) alone, so shards draw the bits of the whole.
template <typename T>
__global__ void DropoutKernel(CudaDropout problem, const T* x, const int64_t* step, T* y) {
  using C = Compute<T>;
  const uint64_t now = static_cast<uint64_t>(*step);
  for (int64_t i = FirstItem(); i < problem.draw.nest.elements; i += ItemStride()) {
    int64_t at[2];
    OffsetsOf(problem.draw.nest, i, at);
    const uint64_t index = static_cast<uint64_t>(problem.draw.base + at[1]);
    const uint32_t word = PhiloxBlock(problem.draw.key, now, index / 4)[index % 4];
    y[at[0]] = T(word >= problem.threshold ? static_cast<C>(x[at[0]]) * problem.scale : C{0});
  }
}
// A dense buffer that begins at a whole block: one draw for its four elements.
template <typename T>
__global__ void DropoutBlocksKernel(CudaDropout problem, const T* x, const int64_t* step, T* y) {
  using C = Compute<T>;
  const uint64_t now = static_cast<uint64_t>(*step);
  const int64_t n = problem.draw.nest.elements;
  const auto drop = [&](uint32_t word, T value) {
    return T(word >= problem.threshold ? static_cast<C>(value) * problem.scale : C{0});
  };
  for (int64_t block = FirstItem(); 4 * block < n; block += ItemStride()) {
    const std::array<uint32_t, 4> words =
        PhiloxBlock(problem.draw.key, now, static_cast<uint64_t>(problem.draw.base / 4 + block));
    if (4 * block + 4 <= n) {
      Four<T> value = reinterpret_cast<const Four<T>*>(x)[block];
      for (int k = 0; k < 4; ++k) value.item[k] = drop(words[k], value.item[k]);
      reinterpret_cast<Four<T>*>(y)[block] = value;
      continue;
    }
    for (int64_t i = 4 * block; i < n; ++i) y[i] = drop(words[i - 4 * block], x[i]);
  }
}

template <typename T>
CudaError Dropout(const CudaDropout* problem, const CudaOperands* a, CudaStreamHandle stream) {
  const CudaNest<2>& nest = problem->draw.nest;
  const T* x = static_cast<const T*>(a->in[0]);
  const int64_t* step = static_cast<const int64_t*>(a->in[1]);
  T* y = static_cast<T*>(a->out[0]);
  if (nest.rank == 1 && nest.stride[0][0] == 1 && nest.stride[1][0] == 1 &&
      problem->draw.base % 4 == 0 && IsAligned(x, 4 * sizeof(T)) && IsAligned(y, 4 * sizeof(T))) {
    return Launch(&DropoutBlocksKernel<T>, BlocksFor((nest.elements + 3) / 4), kThreads, stream,
                  *problem, x, step, y);
  }
  return Launch(&DropoutKernel<T>, BlocksFor(nest.elements), kThreads, stream, *problem, x, step,
                y);
}
CudaRun<CudaDropout> FindDropout(int dtype) {
  return FindFloat<CudaRun<CudaDropout>>(
      static_cast<DType>(dtype), []<typename T>() -> CudaRun<CudaDropout> { return &Dropout<T>; });
}

template <typename T, bool kNormal>
__global__ void DrawKernel(CudaDraw draw, const int64_t* step, T* y) {
  const uint64_t now = static_cast<uint64_t>(*step);
  for (int64_t i = FirstItem(); i < draw.nest.elements; i += ItemStride()) {
    int64_t at[2];
    OffsetsOf(draw.nest, i, at);
    const uint64_t index = static_cast<uint64_t>(draw.base + at[1]);
    const std::array<uint32_t, 4> words = PhiloxBlock(draw.key, now, index / 4);
    const uint64_t pair = index % 4 / 2 * 2;
    const float value = kNormal ? NormalOf(words[pair], words[pair + 1], index % 2 == 0)
                                : UniformOf<T>(words[index % 4]);
    y[at[0]] = T(static_cast<Compute<T>>(value));
  }
}
template <typename T, bool kNormal>
CudaError Draw(const CudaDraw* draw, const CudaOperands* a, CudaStreamHandle stream) {
  return Launch(&DrawKernel<T, kNormal>, BlocksFor(draw->nest.elements), kThreads, stream, *draw,
                static_cast<const int64_t*>(a->in[1]), static_cast<T*>(a->out[0]));
}
CudaRun<CudaDraw> FindDraw(const char* op, int dtype) {
  const bool is_normal = std::strcmp(op, "normal") == 0;
  return FindFloat<CudaRun<CudaDraw>>(static_cast<DType>(dtype),
                                      [&]<typename T>() -> CudaRun<CudaDraw> {
                                        return is_normal ? &Draw<T, true> : &Draw<T, false>;
                                      });
}

__global__ void SgdKernel(CudaSgd c, const float* p, const float* g, const float* lr_at,
                          const int64_t* step, const float* m, float* p_out, float* m_out) {
  if (IsShut(c.gate)) return;
  const float lr = *lr_at;
  const bool first = *step == 0;
  const float old_share = first ? 0.0f : c.momentum;
  const float new_share = first ? 1.0f : c.keep;
  for (int64_t i = FirstItem(); i < c.n; i += ItemStride()) {
    const float grad = g[i] + c.weight_decay * p[i];
    if (!c.has_momentum) {
      p_out[i] = p[i] - lr * grad;
      continue;
    }
    const float old = first ? 0.0f : m[i];  // the buffer may hold anything before step 0
    const float next = old_share * old + new_share * grad;
    m_out[i] = next;
    p_out[i] = p[i] - lr * (c.nesterov ? grad + c.momentum * next : next);
  }
}
CudaError Sgd(const CudaSgd* c, const float* p, const float* g, const float* lr,
              const int64_t* step, const float* m, float* p_out, float* m_out,
              CudaStreamHandle stream) {
  return Launch(&SgdKernel, BlocksFor(c->n), kThreads, stream, *c, p, g, lr, step, m, p_out, m_out);
}

// The factors of one step, in f64 as on the CPU; one thread of a block computes them for all.
struct AdamWFactors {
  float keep, new1, beta2, new2, step_size, root_correction, eps;
};
__global__ void AdamWKernel(CudaAdamW c, const float* p, const float* g, const float* m,
                            const float* v, const float* lr_at, const int64_t* step, float* p_out,
                            float* m_out, float* v_out, int64_t fours) {
  if (IsShut(c.gate)) return;
  __shared__ AdamWFactors shared;
  if (threadIdx.x == 0) {
    const double lr = *lr_at;
    const double t = static_cast<double>(*step) + 1;
    shared = {static_cast<float>(1 - lr * c.weight_decay),
              static_cast<float>(1 - c.beta1),
              static_cast<float>(c.beta2),
              static_cast<float>(1 - c.beta2),
              static_cast<float>(lr / (1 - std::pow(c.beta1, t))),
              static_cast<float>(std::sqrt(1 - std::pow(c.beta2, t))),
              static_cast<float>(c.eps)};
  }
  __syncthreads();
  const AdamWFactors f = shared;
  const auto update = [&](float grad, float* param, float* mean, float* square) {
    *mean = *mean + f.new1 * (grad - *mean);
    *square = f.beta2 * *square + f.new2 * grad * grad;
    const float denominator = std::sqrt(*square) / f.root_correction + f.eps;
    *param = *param * f.keep - f.step_size * *mean / denominator;
  };
  for (int64_t i = FirstItem(); i < fours; i += ItemStride()) {
    const Four<float> grad = reinterpret_cast<const Four<float>*>(g)[i];
    Four<float> param = reinterpret_cast<const Four<float>*>(p)[i];
    Four<float> mean = reinterpret_cast<const Four<float>*>(m)[i];
    Four<float> square = reinterpret_cast<const Four<float>*>(v)[i];
    for (int k = 0; k < 4; ++k) {
      update(grad.item[k], &param.item[k], &mean.item[k], &square.item[k]);
    }
    reinterpret_cast<Four<float>*>(p_out)[i] = param;
    reinterpret_cast<Four<float>*>(m_out)[i] = mean;
    reinterpret_cast<Four<float>*>(v_out)[i] = square;
  }
  for (int64_t i = 4 * fours + FirstItem(); i < c.n; i += ItemStride()) {
    float param = p[i], mean = m[i], square = v[i];
    update(g[i], &param, &mean, &square);
    p_out[i] = param;
    m_out[i] = mean;
    v_out[i] = square;
  }
}
CudaError AdamW(const CudaAdamW* c, const float* p, const float* g, const float* m, const float* v,
                const float* lr, const int64_t* step, float* p_out, float* m_out, float* v_out,
                CudaStreamHandle stream) {
  bool together = true;
  for (const void* data : {p, g, m, v, static_cast<const float*>(p_out),
                           static_cast<const float*>(m_out), static_cast<const float*>(v_out)}) {
    together = together && InFours(data);
  }
  const int64_t fours = together ? c->n / 4 : 0;
  return LaunchBlocks(&AdamWKernel, BlocksFor(std::max(fours, c->n - 4 * fours)), kThreads, stream,
                      *c, p, g, m, v, lr, step, p_out, m_out, v_out, fours);
}

}  // namespace

void AddUpdates(CudaApi* api) {
  api->find_dropout = &FindDropout;
  api->find_draw = &FindDraw;
  api->sgd = &Sgd;
  api->adamw = &AdamW;
}

}  // namespace oneflow::kernels
