// Unary elementwise ops from the scalar definitions that the CPU's loops are made of
// (kernels/scalar/), conversions, where. Memory-bound: each element is read and written once; four or
// eight neighbours per thread at once where they lie together. Goal: 88 % of the copy rate.
#include <cstring>

#include "base/dtype.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"

namespace oneflow::kernels {
namespace {

// y[i] = map(x[i]); `packs` of kCount neighbours at once, the rest one by one.
template <int kCount, typename From, typename To, typename Map>
__device__ __forceinline__ void MapEach(const From* x, To* y, int64_t n, int64_t packs,
                                        const Map& map) {
  for (int64_t i = FirstItem(); i < packs; i += ItemStride()) {
    const auto in = reinterpret_cast<const Pack<From, kCount>*>(x)[i];
    Pack<To, kCount> out;
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) out.item[k] = map(in.item[k]);
    reinterpret_cast<Pack<To, kCount>*>(y)[i] = out;
  }
  for (int64_t i = kCount * packs + FirstItem(); i < n; i += ItemStride()) y[i] = map(x[i]);
}
// How many packs there are of operands that begin there, and the blocks for them and the rest.
template <int kCount, typename From, typename To>
int64_t PacksOf(const void* x, const void* y, int64_t n) {
  const bool together =
      IsAligned(x, alignof(Pack<From, kCount>)) && IsAligned(y, alignof(Pack<To, kCount>));
  return together ? n / kCount : 0;
}
int64_t BlocksForPacks(int64_t n, int64_t packs, int64_t count) {
  return BlocksFor(std::max(packs, n - count * packs));
}

template <typename Function, typename T>
__global__ void UnaryKernel(const T* x, T* y, Compute<T> value, int64_t n, int64_t packs) {
  MapEach<kPacked<T>>(x, y, n, packs, [value](T in) {
    return T(Function::Apply(static_cast<Compute<T>>(in), value));
  });
}
template <typename Function, typename T>
CudaError RunUnary(const void* x, void* y, double value, int64_t n, CudaStreamHandle stream) {
  const int64_t packs = PacksOf<kPacked<T>, T, T>(x, y, n);
  return Launch(&UnaryKernel<Function, T>, BlocksForPacks(n, packs, kPacked<T>), kThreads, stream,
                static_cast<const T*>(x), static_cast<T*>(y), static_cast<Compute<T>>(value), n,
                packs);
}

// Sixteen bytes are written at once, and eight elements at most.
template <typename To>
inline constexpr int kCast = sizeof(To) < 4 ? 8 : 4;
template <typename From, typename To>
__global__ void CastKernel(const From* x, To* y, int64_t n, int64_t packs) {
  MapEach<kCast<To>>(x, y, n, packs, [](From in) { return Convert<To>(in); });
}
template <typename From, typename To>
CudaError RunCast(const void* x, void* y, int64_t n, CudaStreamHandle stream) {
  const int64_t packs = PacksOf<kCast<To>, From, To>(x, y, n);
  return Launch(&CastKernel<From, To>, BlocksForPacks(n, packs, kCast<To>), kThreads, stream,
                static_cast<const From*>(x), static_cast<To*>(y), n, packs);
}

template <typename T>
__global__ void WhereKernel(CudaNest<4> nest, const uint8_t* condition, const T* a, const T* b,
                            T* out) {
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[4];
    OffsetsOf(nest, i, at);
    out[at[3]] = condition[at[0]] ? a[at[1]] : b[at[2]];
  }
}
template <typename T>
CudaError RunWhere(const CudaNest<4>* nest, const void* condition, const void* a, const void* b,
                   void* out, CudaStreamHandle stream) {
  return Launch(&WhereKernel<T>, BlocksFor(nest->elements), kThreads, stream, *nest,
                static_cast<const uint8_t*>(condition), static_cast<const T*>(a),
                static_cast<const T*>(b), static_cast<T*>(out));
}

template <typename Function, Elements kElements>
CudaUnary UnaryOf(DType dtype) {
  return FindElement<kElements, CudaUnary>(
      dtype, []<typename T>() -> CudaUnary { return &RunUnary<Function, T>; });
}

CudaUnary FindUnary(const char* op, int number) {
  const DType dtype = static_cast<DType>(number);
  CudaUnary found = nullptr;
  VisitUnary([&]<typename Function, Elements kElements>(const char* name, int) {
    if (std::strcmp(name, op) == 0) found = UnaryOf<Function, kElements>(dtype);
  });
  if (std::strcmp(op, "pow_scalar") == 0) found = UnaryOf<PowScalar, Elements::kFloats>(dtype);
  if (std::strcmp(op, "cube") == 0) found = UnaryOf<Cube, Elements::kFloats>(dtype);
  return found;
}

template <typename From>
CudaCast CastTo(DType to) {
  if (to == DType::kBool) return &RunCast<From, Bool>;
  return FindElement<Elements::kNumbers, CudaCast>(
      to, []<typename To>() -> CudaCast { return &RunCast<From, To>; });
}

CudaCast FindCast(int from_number, int to_number) {
  const DType from = static_cast<DType>(from_number);
  const DType to = static_cast<DType>(to_number);
  if (from == DType::kBool) return CastTo<Bool>(to);
  return FindElement<Elements::kNumbers, CudaCast>(
      from, [&]<typename From>() -> CudaCast { return CastTo<From>(to); });
}

CudaError Where(const CudaNest<4>* nest, const void* condition, const void* a, const void* b,
                void* out, int element_bytes, CudaStreamHandle stream) {
  switch (element_bytes) {
    case 8:
      return RunWhere<uint64_t>(nest, condition, a, b, out, stream);
    case 4:
      return RunWhere<uint32_t>(nest, condition, a, b, out, stream);
    case 2:
      return RunWhere<uint16_t>(nest, condition, a, b, out, stream);
    default:
      return RunWhere<uint8_t>(nest, condition, a, b, out, stream);
  }
}

}  // namespace

void AddElementwise(CudaApi* api) {
  api->find_unary = &FindUnary;
  api->find_cast = &FindCast;
  api->where = &Where;
}

}  // namespace oneflow::kernels
