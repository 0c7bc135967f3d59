// Binary elementwise ops with broadcasting, comparisons, and the gradients of unary ops. Memory-bound:
// three operands move once; four or eight neighbours per thread at once where they lie together. Goal:
// 88 % of the copy rate.
#include <cstring>

#include "base/dtype.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"

namespace oneflow::kernels {
namespace {

template <typename Function, typename T, typename R>
__device__ __forceinline__ R CallBinary(T left, T right, Compute<T> value) {
  const Compute<T> a = left;
  const Compute<T> b = right;
  if constexpr (requires { Function::Apply(a, b, value); }) {
    return R(Function::Apply(a, b, value));
  } else {
    return R(Function::Apply(a, b));
  }
}

template <typename Function, typename T, typename R>
__global__ void BinaryKernel(CudaNest<3> nest, const T* a, const T* b, R* out, Compute<T> value) {
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[3];
    OffsetsOf(nest, i, at);
    out[at[2]] = CallBinary<Function, T, R>(a[at[0]], b[at[1]], value);
  }
}

// A pack of an operand: neighbours, or one element repeated.
template <typename T>
__device__ __forceinline__ Pack<T, kPacked<T>> LoadPack(const T* data, bool repeated) {
  if (!repeated) return *reinterpret_cast<const Pack<T, kPacked<T>>*>(data);
  Pack<T, kPacked<T>> pack;
  OF_UNROLL
  for (int k = 0; k < kPacked<T>; ++k) pack.item[k] = *data;
  return pack;
}

template <typename Function, typename T>
__global__ void BinaryPacksKernel(CudaNest<3> nest, const T* a, const T* b, T* out,
                                  Compute<T> value) {
  const bool repeat_a = nest.stride[0][nest.rank - 1] == 0;
  const bool repeat_b = nest.stride[1][nest.rank - 1] == 0;
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[3];
    OffsetsOf(nest, i, at);
    const Pack<T, kPacked<T>> left = LoadPack(a + at[0], repeat_a);
    const Pack<T, kPacked<T>> right = LoadPack(b + at[1], repeat_b);
    Pack<T, kPacked<T>> result;
    OF_UNROLL
    for (int k = 0; k < kPacked<T>; ++k) {
      result.item[k] = CallBinary<Function, T, T>(left.item[k], right.item[k], value);
    }
    *reinterpret_cast<Pack<T, kPacked<T>>*>(out + at[2]) = result;
  }
}

template <typename Function, typename T>
CudaError RunBinary(const CudaNest<3>* nest, const void* a, const void* b, void* out, double number,
                    CudaStreamHandle stream) {
  CudaNest<3> packs = *nest;
  constexpr int64_t kAlignment = alignof(Pack<T, kPacked<T>>);
  const int64_t alignment[3] = {kAlignment, kAlignment, kAlignment};
  const void* data[3] = {a, b, out};
  const auto value = static_cast<Compute<T>>(number);
  if (WalkInPacks(&packs, kPacked<T>, alignment, data)) {
    return Launch(&BinaryPacksKernel<Function, T>, BlocksFor(packs.elements), kThreads, stream,
                  packs, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(out),
                  value);
  }
  return Launch(&BinaryKernel<Function, T, T>, BlocksFor(nest->elements), kThreads, stream, *nest,
                static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(out), value);
}

template <typename Function, typename T>
CudaError RunComparison(const CudaNest<3>* nest, const void* a, const void* b, void* out,
                        double number, CudaStreamHandle stream) {
  return Launch(&BinaryKernel<Function, T, Bool>, BlocksFor(nest->elements), kThreads, stream,
                *nest, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<Bool*>(out),
                static_cast<Compute<T>>(number));
}

// "gelu" if `op` is "gelu_grad".
bool IsGradOf(const char* op, const char* name) {
  const size_t length = std::strlen(name);
  return std::strncmp(op, name, length) == 0 && std::strcmp(op + length, "_grad") == 0;
}

CudaBinary FindBinary(const char* op, int number) {
  const DType dtype = static_cast<DType>(number);
  CudaBinary found = nullptr;
  VisitBinary([&]<typename Function, Elements kElements>(const char* name) {
    if (std::strcmp(name, op) != 0) return;
    found = FindElement<kElements, CudaBinary>(
        dtype, []<typename T>() -> CudaBinary { return &RunBinary<Function, T>; });
  });
  VisitUnary([&]<typename Function, Elements>(const char* name, int) {
    if constexpr (HasGrad<Function>) {
      if (!IsGradOf(op, name)) return;
      found = FindElement<Elements::kFloats, CudaBinary>(
          dtype, []<typename T>() -> CudaBinary { return &RunBinary<GradOf<Function>, T>; });
    }
  });
  VisitComparison([&]<typename Function>(const char* name) {
    if (std::strcmp(name, op) != 0) return;
    found = FindElement<Elements::kAll, CudaBinary>(
        dtype, []<typename T>() -> CudaBinary { return &RunComparison<Function, T>; });
  });
  return found;
}

}  // namespace

void AddBinary(CudaApi* api) { api->find_binary = &FindBinary; }

}  // namespace oneflow::kernels
