// fused: a chain of elementwise ops (plan/fused.h) in registers: eight neighbours per thread, each operand read once
// and the result written once. Which function a step runs is a number that all threads branch on alike, so a plan needs
// no compiler at run time; steps round as their ops do, so the bits are those of the ops one by one.
//
// Bytes: those of the inputs and the output. Goal: 80 % of the copy rate for up to four cheap steps. A thread asks
// for the first dense operands of its steps together with the value, so that it waits for memory once. Measured on an
// H100 in a step of ResNet-50 in bf16: add, relu_grad 84 % of the copy rate; bn_apply (add,) relu 47 % in a form that
// kept the numbers of channels in registers, and so had a quarter of the threads that a multiprocessor takes; this
// one, which reads them from the cache, has not run on a GPU.
#include <utility>

#include "base/dtype.h"
#include "base/philox.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/fused_problem.h"
#include "kernels/scalar/fused_functions.h"

namespace oneflow::kernels {
namespace {

constexpr int kNeighbours = 8;

constexpr int kAhead = 2;

struct Places {
  const void* in[kCudaFusedInputs];
  void* out;
  int32_t ahead[kAhead];  // steps whose operands are read with the value; -1: none
};

template <int kCount, typename T>
__device__ __forceinline__ void LoadAs(const void* data, int64_t at, float (&value)[kCount]) {
  const auto pack = *reinterpret_cast<const Pack<T, kCount>*>(static_cast<const T*>(data) + at);
  OF_UNROLL
  for (int k = 0; k < kCount; ++k) value[k] = static_cast<float>(pack.item[k]);
}
template <int kCount>
__device__ __forceinline__ void Load(const void* data, int dtype, int64_t at,
                                     float (&value)[kCount]) {
  switch (static_cast<DType>(dtype)) {
    case DType::kBF16:
      return LoadAs<kCount, BF16>(data, at, value);
    case DType::kF16:
      return LoadAs<kCount, F16>(data, at, value);
    default:
      return LoadAs<kCount, float>(data, at, value);
  }
}

// Elements as they lie, of 4 bytes or, in the first half, of 2.
template <int kCount>
struct Raw {
  uint32_t word[kCount];
};
template <int kCount>
__device__ __forceinline__ void LoadRaw(const void* data, int dtype, int64_t at, Raw<kCount>* raw) {
  constexpr int kHalf = kCount / 2;
  if (static_cast<DType>(dtype) == DType::kF32) {
    const auto pack =
        *reinterpret_cast<const Pack<uint32_t, kCount>*>(static_cast<const uint32_t*>(data) + at);
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) raw->word[k] = pack.item[k];
  } else {
    const auto pack =
        *reinterpret_cast<const Pack<uint32_t, kHalf>*>(static_cast<const uint16_t*>(data) + at);
    OF_UNROLL
    for (int k = 0; k < kHalf; ++k) raw->word[k] = pack.item[k];
  }
}
// A bf16 is the upper half of the f32 of its value.
template <int kCount>
__device__ __forceinline__ void Widen(const Raw<kCount>& raw, int dtype, float (&value)[kCount]) {
  OF_UNROLL
  for (int k = 0; k < kCount; ++k) {
    const uint32_t pair = raw.word[k / 2];
    const uint16_t bits = static_cast<uint16_t>(k % 2 == 0 ? pair : pair >> 16);
    switch (static_cast<DType>(dtype)) {
      case DType::kBF16:
        value[k] = static_cast<float>(__builtin_bit_cast(BF16, bits));
        break;
      case DType::kF16:
        value[k] = static_cast<float>(__builtin_bit_cast(F16, bits));
        break;
      default:
        value[k] = __builtin_bit_cast(float, raw.word[k]);
    }
  }
}

template <int kCount, typename T>
__device__ __forceinline__ void StoreAs(void* data, int64_t at, const float (&value)[kCount]) {
  Pack<T, kCount> pack;
  OF_UNROLL
  for (int k = 0; k < kCount; ++k) pack.item[k] = T(value[k]);
  *reinterpret_cast<Pack<T, kCount>*>(static_cast<T*>(data) + at) = pack;
}
template <int kCount>
__device__ __forceinline__ void Store(void* data, int dtype, int64_t at,
                                      const float (&value)[kCount]) {
  switch (static_cast<DType>(dtype)) {
    case DType::kBF16:
      return StoreAs<kCount, BF16>(data, at, value);
    case DType::kF16:
      return StoreAs<kCount, F16>(data, at, value);
    default:
      return StoreAs<kCount, float>(data, at, value);
  }
}

template <int kCount>
__device__ __forceinline__ void Round(int dtype, float (&value)[kCount]) {
  if (static_cast<DType>(dtype) == DType::kBF16) {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) value[k] = static_cast<float>(BF16(value[k]));
  } else if (static_cast<DType>(dtype) == DType::kF16) {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) value[k] = static_cast<float>(F16(value[k]));
  }
}

// The function of that number of a list, over a thread's elements. The comparisons become one jump.
template <typename Body, typename... Functions>
__device__ __forceinline__ void Pick(FunctionList<Functions...>, int function, const Body& body) {
  int at = 0;
  ((at++ == function ? body.template operator()<Functions>() : void()), ...);
}

template <int kCount>
__device__ __forceinline__ void RunUnary(const CudaFusedStep& step, float (&value)[kCount]) {
  const float number = step.value;
  Pick(FusedUnary{}, step.function, [&]<typename Function>() {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) value[k] = Function::Apply(value[k], number);
  });
}

template <int kCount>
__device__ __forceinline__ void RunBinary(const CudaFusedStep& step, const float (&beside)[kCount],
                                          float (&value)[kCount]) {
  const float number = step.value;
  const bool turned = step.reversed;
  if (step.kind == CudaFusedKind::kGradient) {
    Pick(FusedUnary{}, step.function, [&]<typename Function>() {
      if constexpr (HasGrad<Function>) {
        OF_UNROLL
        for (int k = 0; k < kCount; ++k) {
          value[k] =
              Function::Grad(turned ? beside[k] : value[k], turned ? value[k] : beside[k], number);
        }
      }
    });
    return;
  }
  Pick(FusedBinary{}, step.function, [&]<typename Function>() {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) {
      value[k] = Function::Apply(turned ? beside[k] : value[k], turned ? value[k] : beside[k]);
    }
  });
}

template <int kCount>
__device__ __forceinline__ void RunDropout(const CudaDropout& p, const int64_t* step, int64_t at,
                                           float (&value)[kCount]) {
  const uint64_t now = static_cast<uint64_t>(*step);
  if constexpr (kCount == 1) {
    int64_t place[2];
    OffsetsOf(p.draw.nest, at, place);
    const uint64_t index = static_cast<uint64_t>(p.draw.base + place[1]);
    const uint32_t word = PhiloxBlock(p.draw.key, now, index / 4)[index % 4];
    value[0] = p.scale != 0 && word >= p.threshold ? value[0] * p.scale : 0;
  } else {
    OF_UNROLL
    for (int block = 0; block < kCount / 4; ++block) {
      const auto words =
          PhiloxBlock(p.draw.key, now, static_cast<uint64_t>((p.draw.base + at) / 4 + block));
      OF_UNROLL
      for (int k = 0; k < 4; ++k) {
        float& item = value[4 * block + k];
        item = p.scale != 0 && words[k] >= p.threshold ? item * p.scale : 0;
      }
    }
  }
}

template <int kCount>
__device__ __forceinline__ void RunBatchNorm(const CudaFused& p, const Places& places, int input,
                                             int64_t at, float (&value)[kCount]) {
  const int64_t channel =
      p.end <= INT32_MAX ? static_cast<uint32_t>(at) % static_cast<uint32_t>(p.c) : at % p.c;
  const int64_t of_group = p.group * p.c + channel;
  float mean[kCount], rstd[kCount], weight[kCount], bias[kCount];
  LoadAs<kCount, float>(places.in[input], of_group, mean);
  LoadAs<kCount, float>(places.in[input + 1], of_group, rstd);
  LoadAs<kCount, float>(places.in[input + 2], channel, weight);
  LoadAs<kCount, float>(places.in[input + 3], channel, bias);
  OF_UNROLL
  for (int k = 0; k < kCount; ++k) {
    value[k] = (value[k] - mean[k]) * (rstd[k] * weight[k]) + bias[k];
  }
}

// Elements [p.begin, p.end), whose number is a multiple of kCount. Steps are found by number, so the problem stays in
// constant memory: a copy for each thread would lie in local memory.
template <int kCount>
__global__ void __launch_bounds__(kThreads, 4)
    FusedKernel(const __grid_constant__ CudaFused p, const __grid_constant__ Places places) {
  for (int64_t i = FirstItem(); i < (p.end - p.begin) / kCount; i += ItemStride()) {
    const int64_t at = p.begin + i * kCount;
    Raw<kCount> ahead[kAhead];
    if constexpr (kCount > 1) {
      OF_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        if (places.ahead[a] < 0) continue;
        const CudaFusedStep& step = p.step[places.ahead[a]];
        LoadRaw<kCount>(places.in[step.input], step.dtype, at, &ahead[a]);
      }
    }
    float value[kCount];
    Load<kCount>(places.in[0], p.dtype, at, value);
    for (int s = 0; s < p.steps; ++s) {
      const CudaFusedStep& step = p.step[s];
      switch (step.kind) {
        case CudaFusedKind::kUnary:
          RunUnary<kCount>(step, value);
          break;
        case CudaFusedKind::kCast:
          break;  // the rounding
        case CudaFusedKind::kBinary:
        case CudaFusedKind::kGradient: {
          float beside[kCount];
          if (step.repeated) {
            float one[1];
            Load<1>(places.in[step.input], step.dtype, 0, one);
            OF_UNROLL
            for (int k = 0; k < kCount; ++k) beside[k] = one[0];
          } else if (kCount > 1 && s == places.ahead[0]) {
            Widen<kCount>(ahead[0], step.dtype, beside);
          } else if (kCount > 1 && s == places.ahead[1]) {
            Widen<kCount>(ahead[1], step.dtype, beside);
          } else {
            Load<kCount>(places.in[step.input], step.dtype, at, beside);
          }
          RunBinary<kCount>(step, beside, value);
          break;
        }
        case CudaFusedKind::kDropout:
          RunDropout<kCount>(p.dropout, static_cast<const int64_t*>(places.in[step.input]), at,
                             value);
          break;
        case CudaFusedKind::kBatchNorm:
          RunBatchNorm<kCount>(p, places, step.input, at, value);
          break;
      }
      Round<kCount>(step.dtype, value);
    }
    Store<kCount>(places.out, p.out_dtype, at, value);
  }
}

// True if threads may take eight neighbours at once.
bool InPacks(const CudaFused& p, const Places& places) {
  if (p.begin % kNeighbours != 0 || !IsAligned(places.in[0], 16) || !IsAligned(places.out, 16)) {
    return false;
  }
  for (int s = 0; s < p.steps; ++s) {
    const CudaFusedStep& step = p.step[s];
    const bool reads = step.kind == CudaFusedKind::kBinary || step.kind == CudaFusedKind::kGradient;
    if (reads && !step.repeated && !IsAligned(places.in[step.input], 16)) return false;
    if (step.kind == CudaFusedKind::kDropout) {
      const CudaNest<2>& nest = p.dropout.draw.nest;
      if (nest.rank != 1 || nest.stride[1][0] != 1 || p.dropout.draw.base % 4 != 0) return false;
    }
    if (step.kind == CudaFusedKind::kBatchNorm) {
      if (p.c % kNeighbours != 0) return false;
      for (int i = 0; i < 4; ++i) {
        if (!IsAligned(places.in[step.input + i], 16)) return false;
      }
    }
  }
  return true;
}

CudaError Fused(const CudaFused* problem, const CudaOperands* a, CudaStreamHandle stream) {
  Places places = {};
  int ahead = 0;
  for (int s = 0; s < problem->steps; ++s) {
    const CudaFusedStep& step = problem->step[s];
    const bool reads = step.kind == CudaFusedKind::kBinary || step.kind == CudaFusedKind::kGradient;
    if (reads && !step.repeated && ahead < kAhead) places.ahead[ahead++] = s;
  }
  while (ahead < kAhead) places.ahead[ahead++] = -1;
  for (int i = 0; i < problem->inputs; ++i) places.in[i] = a->in[i];
  places.out = a->out[0];
  CudaFused rest = *problem;
  if (InPacks(rest, places)) {
    CudaFused packs = rest;
    packs.end = rest.begin = packs.begin + (packs.end - packs.begin) / kNeighbours * kNeighbours;
    const CudaError error =
        Launch(&FusedKernel<kNeighbours>, BlocksFor((packs.end - packs.begin) / kNeighbours),
               kThreads, stream, packs, places);
    if (error != 0) return error;
  }
  return Launch(&FusedKernel<1>, BlocksFor(rest.end - rest.begin), kThreads, stream, rest, places);
}

}  // namespace

void AddFused(CudaApi* api) { api->fused = &Fused; }

}  // namespace oneflow::kernels
