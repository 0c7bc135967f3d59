// dropout, numbers drawn in a step, and the optimizers' updates: formulas as in kernels/cpu/random.cc,
// kernels/scalar/draws.h and kernels/cpu/optimizer.cc, one pass over memory each (dropout 8 bytes per
// element, draws 4, SGD 12 or 20, AdamW 28, two less where the gradient is narrow), 10 to 60 operations an
// element: bound by bytes; predicted 85 % of the copy rate. What changes every step (lr, step) is read on
// the device, never passed by value.
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "base/dtype.h"
#include "base/philox.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/gate.h"
#include "kernels/cuda/updates_problem.h"
#include "kernels/scalar/draws.h"

namespace oneflow::kernels {
namespace {

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

// Fours of elements that a thread of an update has at once. They are a block apart, so that neighbours read and write
// neighbours: a narrow gradient is read by 8 bytes, all else by 16.
constexpr int kTogether = 2;
// Blocks of an update at most: as many as run at once, so that each takes a step's factors once.
constexpr int64_t kUpdateBlocks = kMaxBlocks / 4;

// True if all tensors of an update can be read and written by fours.
bool InFours(std::initializer_list<const void*> tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const void* data) { return IsAligned(data, 16); });
}
int64_t UpdateBlocks(int64_t fours, int64_t n) {
  const int64_t items = std::max((fours + kTogether - 1) / kTogether, n - 4 * fours);
  return std::min(kUpdateBlocks, BlocksFor(items));
}
template <typename T>
__device__ __forceinline__ Four<T> FourAt(const T* data, int64_t i) {
  return reinterpret_cast<const Four<T>*>(data)[i];
}
template <typename T>
__device__ __forceinline__ void StoreFour(const Four<T>& four, T* data, int64_t i) {
  reinterpret_cast<Four<T>*>(data)[i] = four;
}
// use(slot, i) for the fours of a thread from `at` on.
template <typename Use>
__device__ __forceinline__ void ForFours(int64_t at, int64_t fours, const Use& use) {
  OF_UNROLL
  for (int slot = 0; slot < kTogether; ++slot) {
    const int64_t i = at + static_cast<int64_t>(slot) * blockDim.x;
    if (i < fours) use(slot, i);
  }
}
__device__ __forceinline__ int64_t FirstFour() {
  return static_cast<int64_t>(blockIdx.x) * kTogether * blockDim.x + threadIdx.x;
}

// G: the gradient's type.
template <typename G, bool kMomentum>
__global__ void __launch_bounds__(kThreads, 4)
    SgdKernel(CudaSgd c, const float* p, const G* g, const float* lr_at, const int64_t* step,
              const float* m, float* p_out, float* m_out, int64_t fours) {
  if (IsShut(c.gate)) return;
  const float lr = *lr_at;
  const bool first = *step == 0;
  const float old_share = first ? 0.0f : c.momentum;
  const float new_share = first ? 1.0f : c.keep;
  const auto update = [&](float gradient, float* param, float* slot) {
    const float grad = gradient + c.weight_decay * *param;
    if (!kMomentum) {
      *param = *param - lr * grad;
      return;
    }
    const float old = first ? 0.0f : *slot;  // the buffer may hold anything before step 0
    const float next = old_share * old + new_share * grad;
    *slot = next;
    *param = *param - lr * (c.nesterov ? grad + c.momentum * next : next);
  };
  for (int64_t at = FirstFour(); at < fours; at += kTogether * ItemStride()) {
    Four<G> grad[kTogether] = {};
    Four<float> param[kTogether] = {}, slots[kTogether] = {};
    ForFours(at, fours, [&](int slot, int64_t i) {
      grad[slot] = FourAt(g, i);
      param[slot] = FourAt(p, i);
      if constexpr (kMomentum) slots[slot] = FourAt(m, i);
    });
    ForFours(at, fours, [&](int slot, int64_t i) {
      OF_UNROLL
      for (int k = 0; k < 4; ++k) {
        update(static_cast<float>(grad[slot].item[k]), &param[slot].item[k], &slots[slot].item[k]);
      }
      StoreFour(param[slot], p_out, i);
      if constexpr (kMomentum) StoreFour(slots[slot], m_out, i);
    });
  }
  for (int64_t i = 4 * fours + FirstItem(); i < c.n; i += ItemStride()) {
    float param = p[i], slot = kMomentum ? m[i] : 0.0f;
    update(static_cast<float>(g[i]), &param, &slot);
    p_out[i] = param;
    if constexpr (kMomentum) m_out[i] = slot;
  }
}

// The factors of one step, in f64 as on the CPU; two threads of a block compute them for all.
struct AdamWFactors {
  float keep, new1, beta2, new2, step_size, root_correction, eps;
  bool shut;
};
// A parameter of `n` elements, the first 4 * fours of them by fours.
struct AdamWTensors {
  const float* p;
  const void* g;  // of its gradient's type
  const float* m;
  const float* v;
  float* p_out;
  float* m_out;
  float* v_out;
  int64_t n, fours;
};

// Block `block` of `blocks` that share a parameter. Ends without one where the gate is shut.
template <typename G>
__device__ __forceinline__ void UpdateByAdamW(const CudaAdamW& c, const AdamWTensors& x,
                                              const float* lr_at, const int64_t* step,
                                              int64_t block, int64_t blocks, AdamWFactors* shared) {
  const G* const gradient = static_cast<const G*>(x.g);
  const int64_t stride = blocks * kTogether * blockDim.x;
  // Its first elements are on their way while the factors are made.
  int64_t at = block * kTogether * blockDim.x + threadIdx.x;
  Four<G> grad[kTogether] = {};
  Four<float> param[kTogether] = {}, mean[kTogether] = {}, square[kTogether] = {};
  const auto load = [&] {
    ForFours(at, x.fours, [&](int slot, int64_t i) {
      grad[slot] = FourAt(gradient, i);
      param[slot] = FourAt(x.p, i);
      mean[slot] = FourAt(x.m, i);
      square[slot] = FourAt(x.v, i);
    });
  };
  load();
  const double t = static_cast<double>(*step) + 1;
  if (threadIdx.x == 0) {
    const double lr = *lr_at;
    shared->keep = static_cast<float>(1 - lr * c.weight_decay);
    shared->new1 = static_cast<float>(1 - c.beta1);
    shared->beta2 = static_cast<float>(c.beta2);
    shared->new2 = static_cast<float>(1 - c.beta2);
    shared->step_size = static_cast<float>(lr / (1 - std::pow(c.beta1, t)));
    shared->eps = static_cast<float>(c.eps);
  }
  if (threadIdx.x == blockDim.x / 2) {
    shared->root_correction = static_cast<float>(std::sqrt(1 - std::pow(c.beta2, t)));
    shared->shut = IsShut(c.gate);
  }
  __syncthreads();
  const AdamWFactors f = *shared;
  if (f.shut) return;
  const auto update = [&](float slope, float* parameter, float* first, float* second) {
    *first = *first + f.new1 * (slope - *first);
    *second = f.beta2 * *second + f.new2 * slope * slope;
    const float denominator = std::sqrt(*second) / f.root_correction + f.eps;
    *parameter = *parameter * f.keep - f.step_size * *first / denominator;
  };
  while (at < x.fours) {
    ForFours(at, x.fours, [&](int slot, int64_t i) {
      OF_UNROLL
      for (int k = 0; k < 4; ++k) {
        update(static_cast<float>(grad[slot].item[k]), &param[slot].item[k], &mean[slot].item[k],
               &square[slot].item[k]);
      }
      StoreFour(param[slot], x.p_out, i);
      StoreFour(mean[slot], x.m_out, i);
      StoreFour(square[slot], x.v_out, i);
    });
    at += stride;
    load();
  }
  for (int64_t i = 4 * x.fours + block * blockDim.x + threadIdx.x; i < x.n;
       i += blocks * blockDim.x) {
    float parameter = x.p[i], first = x.m[i], second = x.v[i];
    update(static_cast<float>(gradient[i]), &parameter, &first, &second);
    x.p_out[i] = parameter;
    x.m_out[i] = first;
    x.v_out[i] = second;
  }
}
template <typename G>
__global__ void __launch_bounds__(kThreads, 4)
    AdamWKernel(CudaAdamW c, AdamWTensors x, const float* lr, const int64_t* step) {
  __shared__ AdamWFactors shared;
  UpdateByAdamW<G>(c, x, lr, step, blockIdx.x, gridDim.x, &shared);
}

// As many parameters as the arguments of a launch have room for (4 KiB).
constexpr int kJoined = 44;
static_assert(kJoined < 64);
struct AdamWList {
  AdamWTensors x[kJoined];
  int32_t dtype[kJoined];
  int32_t end[kJoined];  // of each one's blocks; behind the last of them no block is
};
// Three types of gradients at once: registers for more than two blocks would be spilled (sm_100).
__global__ void __launch_bounds__(kThreads, 2)
    AdamWsKernel(CudaAdamW c, const __grid_constant__ AdamWList list, const float* lr,
                 const int64_t* step) {
  __shared__ AdamWFactors shared;
  const int block = static_cast<int>(blockIdx.x);
  int item = 0;
  for (int half = 32; half > 0; half /= 2) {
    if (item + half <= kJoined && list.end[item + half - 1] <= block) item += half;
  }
  const int begin = item == 0 ? 0 : list.end[item - 1];
  const AdamWTensors& x = list.x[item];
  const int64_t mine = block - begin, blocks = list.end[item] - begin;
  switch (static_cast<DType>(list.dtype[item])) {
    case DType::kBF16:
      return UpdateByAdamW<BF16>(c, x, lr, step, mine, blocks, &shared);
    case DType::kF16:
      return UpdateByAdamW<F16>(c, x, lr, step, mine, blocks, &shared);
    default:
      return UpdateByAdamW<float>(c, x, lr, step, mine, blocks, &shared);
  }
}

// launch.operator()<G>() for the gradient's type; REQUIRES: one that the check of the row has seen.
template <typename LaunchOf>
CudaError ForGradient(int32_t dtype, const LaunchOf& launch) {
  if (static_cast<DType>(dtype) == DType::kBF16) return launch.template operator()<BF16>();
  if (static_cast<DType>(dtype) == DType::kF16) return launch.template operator()<F16>();
  return launch.template operator()<float>();
}
CudaError Sgd(const CudaSgd* c, const float* p, const void* g, const float* lr, const int64_t* step,
              const float* m, float* p_out, float* m_out, CudaStreamHandle stream) {
  const int64_t fours = InFours({p, g, m, p_out, m_out}) ? c->n / 4 : 0;
  return ForGradient(c->g_dtype, [&]<typename G>() {
    return Launch(c->has_momentum ? &SgdKernel<G, true> : &SgdKernel<G, false>,
                  UpdateBlocks(fours, c->n), kThreads, stream, *c, p, static_cast<const G*>(g), lr,
                  step, m, p_out, m_out, fours);
  });
}
CudaError AdamW(const CudaAdamW* c, const float* p, const void* g, const float* m, const float* v,
                const float* lr, const int64_t* step, float* p_out, float* m_out, float* v_out,
                CudaStreamHandle stream) {
  const int64_t fours = InFours({p, g, m, v, p_out, m_out, v_out}) ? c->n / 4 : 0;
  return ForGradient(c->g_dtype, [&]<typename G>() {
    const AdamWTensors x = {p, g, m, v, p_out, m_out, v_out, c->n, fours};
    return LaunchBlocks(&AdamWKernel<G>, UpdateBlocks(fours, c->n), kThreads, stream, *c, x, lr,
                        step);
  });
}
CudaError AdamWs(const CudaAdamWs* c, const CudaOperands* o, CudaStreamHandle stream) {
  const float* const lr = static_cast<const float*>(o->in[0]);
  const int64_t* const step = static_cast<const int64_t*>(o->in[1]);
  for (int first = 0; first < c->count; first += kJoined) {
    AdamWList list = {};
    int64_t blocks = 0;
    int count = 0;
    std::fill_n(list.end, kJoined, INT32_MAX);
    for (int i = first; i < std::min(first + kJoined, c->count); ++i) {
      const void* const* in = o->in + 2 + 4 * i;
      void* const* out = o->out + 3 * i;
      const int64_t n = c->n[i];
      if (n == 0) continue;  // an empty one has no blocks
      const bool together = InFours({in[0], in[1], in[2], in[3], out[0], out[1], out[2]});
      list.x[count] = {static_cast<const float*>(in[0]),
                       in[1],
                       static_cast<const float*>(in[2]),
                       static_cast<const float*>(in[3]),
                       static_cast<float*>(out[0]),
                       static_cast<float*>(out[1]),
                       static_cast<float*>(out[2]),
                       n,
                       together ? n / 4 : 0};
      list.dtype[count] = c->g_dtype[i];
      blocks += UpdateBlocks(list.x[count].fours, n);
      list.end[count++] = static_cast<int32_t>(blocks);
    }
    const CudaError error =
        LaunchBlocks(&AdamWsKernel, blocks, kThreads, stream, c->rates, list, lr, step);
    if (error != 0) return error;
  }
  return 0;
}

}  // namespace

void AddUpdates(CudaApi* api) {
  api->find_dropout = &FindDropout;
  api->find_draw = &FindDraw;
  api->sgd = &Sgd;
  api->adamw = &AdamW;
  api->adamws = &AdamWs;
}

}  // namespace oneflow::kernels
