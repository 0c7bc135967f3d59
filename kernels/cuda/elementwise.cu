// Elementwise ops from the scalar definitions that the CPU's loops are made of
// (kernels/scalar/functions.h). Memory-bound: unary reads and writes each element once, binary reads
// two; four neighbours per thread at once where they lie together. Goal: 88 % of the copy rate.
#include <cstring>

#include "base/dtype.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {
namespace {

template <typename Function, typename T>
__global__ void UnaryKernel(const T* x, T* y, T value, int64_t n, int64_t fours) {
  for (int64_t i = FirstItem(); i < fours; i += ItemStride()) {
    const Four<T> in = reinterpret_cast<const Four<T>*>(x)[i];
    Four<T> out;
    for (int k = 0; k < 4; ++k) out.item[k] = Function::Apply(in.item[k], value);
    reinterpret_cast<Four<T>*>(y)[i] = out;
  }
  for (int64_t i = 4 * fours + FirstItem(); i < n; i += ItemStride()) {
    y[i] = Function::Apply(x[i], value);
  }
}

bool Aligned(const void* data, size_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

template <typename Function, typename T>
CudaError RunUnary(const void* x, void* y, double value, int64_t n, CudaStreamHandle stream) {
  const bool together = Aligned(x, 4 * sizeof(T)) && Aligned(y, 4 * sizeof(T));
  const int64_t fours = together ? n / 4 : 0;
  return Launch(&UnaryKernel<Function, T>, BlocksFor(std::max(fours, n - 4 * fours)), kThreads,
                stream, static_cast<const T*>(x), static_cast<T*>(y), static_cast<T>(value), n,
                fours);
}

template <typename Function, typename T, typename R>
__global__ void BinaryKernel(CudaNest<3> nest, const T* a, const T* b, R* out) {
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[3];
    OffsetsOf(nest, i, at);
    out[at[2]] = Function::template Apply<T>(a[at[0]], b[at[1]]);
  }
}

// Operand `data` of four neighbours: themselves, or one element repeated.
template <typename T>
__device__ __forceinline__ Four<T> LoadFour(const T* data, bool repeated) {
  if (!repeated) return *reinterpret_cast<const Four<T>*>(data);
  return {{*data, *data, *data, *data}};
}

template <typename Function, typename T>
__global__ void BinaryFoursKernel(CudaNest<3> nest, const T* a, const T* b, T* out) {
  const bool repeat_a = nest.stride[0][nest.rank - 1] == 0;
  const bool repeat_b = nest.stride[1][nest.rank - 1] == 0;
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[3];
    OffsetsOf(nest, i, at);
    const Four<T> left = LoadFour(a + at[0], repeat_a);
    const Four<T> right = LoadFour(b + at[1], repeat_b);
    Four<T> result;
    for (int k = 0; k < 4; ++k) {
      result.item[k] = Function::template Apply<T>(left.item[k], right.item[k]);
    }
    *reinterpret_cast<Four<T>*>(out + at[2]) = result;
  }
}

template <typename Function, typename T>
CudaError RunBinary(const CudaNest<3>* nest, const void* a, const void* b, void* out,
                    CudaStreamHandle stream) {
  CudaNest<3> fours = *nest;
  const int64_t bytes[3] = {sizeof(T), sizeof(T), sizeof(T)};
  const void* data[3] = {a, b, out};
  if (WalkInFours(&fours, bytes, data)) {
    return Launch(&BinaryFoursKernel<Function, T>, BlocksFor(fours.elements), kThreads, stream,
                  fours, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(out));
  }
  return Launch(&BinaryKernel<Function, T, T>, BlocksFor(nest->elements), kThreads, stream, *nest,
                static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(out));
}

template <typename Function, typename T>
CudaError RunComparison(const CudaNest<3>* nest, const void* a, const void* b, void* out,
                        CudaStreamHandle stream) {
  return Launch(&BinaryKernel<Function, T, Bool>, BlocksFor(nest->elements), kThreads, stream,
                *nest, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<Bool*>(out));
}

template <typename From, typename To>
__global__ void CastKernel(const From* x, To* y, int64_t n) {
  for (int64_t i = FirstItem(); i < n; i += ItemStride()) y[i] = Convert<To>(x[i]);
}
template <typename From, typename To>
CudaError RunCast(const void* x, void* y, int64_t n, CudaStreamHandle stream) {
  return Launch(&CastKernel<From, To>, BlocksFor(n), kThreads, stream, static_cast<const From*>(x),
                static_cast<To*>(y), n);
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

// ---- Tables ----

template <typename Function>
CudaUnary NumberUnary(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return &RunUnary<Function, float>;
    case DType::kI64:
      return &RunUnary<Function, int64_t>;
    case DType::kI32:
      return &RunUnary<Function, int32_t>;
    case DType::kI8:
      return &RunUnary<Function, int8_t>;
    case DType::kU8:
      return &RunUnary<Function, uint8_t>;
    default:
      return nullptr;
  }
}
template <typename Function>
CudaUnary FloatUnary(DType dtype) {
  return dtype == DType::kF32 ? &RunUnary<Function, float> : nullptr;
}
template <typename Function>
CudaBinary NumberBinary(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return &RunBinary<Function, float>;
    case DType::kI64:
      return &RunBinary<Function, int64_t>;
    case DType::kI32:
      return &RunBinary<Function, int32_t>;
    case DType::kI8:
      return &RunBinary<Function, int8_t>;
    case DType::kU8:
      return &RunBinary<Function, uint8_t>;
    default:
      return nullptr;
  }
}
template <typename Function>
CudaBinary FloatBinary(DType dtype) {
  return dtype == DType::kF32 ? &RunBinary<Function, float> : nullptr;
}
template <typename Function>
CudaBinary AnyComparison(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return &RunComparison<Function, float>;
    case DType::kBF16:
      return &RunComparison<Function, BF16>;
    case DType::kF16:
      return &RunComparison<Function, F16>;
    case DType::kI64:
      return &RunComparison<Function, int64_t>;
    case DType::kI32:
      return &RunComparison<Function, int32_t>;
    case DType::kI8:
      return &RunComparison<Function, int8_t>;
    case DType::kU8:
      return &RunComparison<Function, uint8_t>;
    case DType::kBool:
      return &RunComparison<Function, Bool>;
    case DType::kInvalid:
      break;
  }
  return nullptr;
}

CudaUnary FindUnary(const char* op, int dtype) {
  struct Row {
    const char* op;
    CudaUnary (*find)(DType);
  };
  static constexpr Row kRows[] = {
      {"neg", NumberUnary<Neg>},
      {"abs", NumberUnary<Abs>},
      {"relu", NumberUnary<Relu>},
      {"square", NumberUnary<Square>},
      {"add_scalar", NumberUnary<AddScalar>},
      {"mul_scalar", NumberUnary<MulScalar>},
      {"exp", FloatUnary<Exp>},
      {"log", FloatUnary<Log>},
      {"sqrt", FloatUnary<Sqrt>},
      {"rsqrt", FloatUnary<Rsqrt>},
      {"tanh", FloatUnary<Tanh>},
      {"sigmoid", FloatUnary<Sigmoid>},
      {"pow_scalar", FloatUnary<PowScalar>},
      {"cube", FloatUnary<Cube>},
      {"reciprocal", FloatUnary<Reciprocal>},
  };
  for (const Row& row : kRows) {
    if (std::strcmp(row.op, op) == 0) return row.find(static_cast<DType>(dtype));
  }
  return nullptr;
}

CudaBinary FindBinary(const char* op, int dtype) {
  struct Row {
    const char* op;
    CudaBinary (*find)(DType);
  };
  static constexpr Row kRows[] = {
      {"add", NumberBinary<Add>},
      {"sub", NumberBinary<Sub>},
      {"mul", NumberBinary<Mul>},
      {"div", NumberBinary<Div>},
      {"maximum", NumberBinary<Maximum>},
      {"minimum", NumberBinary<Minimum>},
      {"relu_grad", FloatBinary<ReluGrad>},
      {"tanh_grad", FloatBinary<TanhGrad>},
      {"sigmoid_grad", FloatBinary<SigmoidGrad>},
      {"abs_grad", FloatBinary<AbsGrad>},
      {"eq", AnyComparison<Eq>},
      {"ne", AnyComparison<Ne>},
      {"lt", AnyComparison<Lt>},
      {"le", AnyComparison<Le>},
      {"gt", AnyComparison<Gt>},
      {"ge", AnyComparison<Ge>},
      {"logical_and", AnyComparison<LogicalAnd>},
  };
  for (const Row& row : kRows) {
    if (std::strcmp(row.op, op) == 0) return row.find(static_cast<DType>(dtype));
  }
  return nullptr;
}

template <typename From>
CudaCast CastTo(DType to) {
  switch (to) {
    case DType::kF32:
      return &RunCast<From, float>;
    case DType::kBF16:
      return &RunCast<From, BF16>;
    case DType::kF16:
      return &RunCast<From, F16>;
    case DType::kI64:
      return &RunCast<From, int64_t>;
    case DType::kI32:
      return &RunCast<From, int32_t>;
    case DType::kI8:
      return &RunCast<From, int8_t>;
    case DType::kU8:
      return &RunCast<From, uint8_t>;
    case DType::kBool:
      return &RunCast<From, Bool>;
    case DType::kInvalid:
      break;
  }
  return nullptr;
}

CudaCast FindCast(int from, int to_number) {
  const DType to = static_cast<DType>(to_number);
  switch (static_cast<DType>(from)) {
    case DType::kF32:
      return CastTo<float>(to);
    case DType::kBF16:
      return CastTo<BF16>(to);
    case DType::kF16:
      return CastTo<F16>(to);
    case DType::kI64:
      return CastTo<int64_t>(to);
    case DType::kI32:
      return CastTo<int32_t>(to);
    case DType::kI8:
      return CastTo<int8_t>(to);
    case DType::kU8:
      return CastTo<uint8_t>(to);
    case DType::kBool:
      return CastTo<Bool>(to);
    case DType::kInvalid:
      break;
  }
  return nullptr;
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
  api->find_binary = &FindBinary;
  api->find_cast = &FindCast;
  api->where = &Where;
}

}  // namespace oneflow::kernels
