// Movement of bytes: strided copies and combinations of regions (permute, cat, slice, pack, assemble,
// the ring, accumulate), and fill. Bytes per element of type T: a copy 2 T, a combination 3 T, fill T; no
// operations: bound by memory. Predicted 85 % of the copy rate for dense regions, 70 % for transposes.
#include "base/dtype.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {
namespace {

template <typename Function, typename T>
__global__ void CombineKernel(CudaNest<2> nest, const T* source, T* destination) {
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[2];
    OffsetsOf(nest, i, at);
    destination[at[1]] = Function::template Apply<T>(destination[at[1]], source[at[0]]);
  }
}
// What CombineKernel does where rows lie together.
template <typename Function, typename T>
__global__ void CombinePacksKernel(CudaNest<2> nest, const T* source, T* destination) {
  for (int64_t i = FirstItem(); i < nest.elements; i += ItemStride()) {
    int64_t at[2];
    OffsetsOf(nest, i, at);
    using Packed = Pack<T, kPacked<T>>;
    const Packed in = *reinterpret_cast<const Packed*>(source + at[0]);
    Packed out = *reinterpret_cast<const Packed*>(destination + at[1]);
    OF_UNROLL
    for (int k = 0; k < kPacked<T>; ++k) {
      out.item[k] = Function::template Apply<T>(out.item[k], in.item[k]);
    }
    *reinterpret_cast<Packed*>(destination + at[1]) = out;
  }
}

// A copy whose source and destination are contiguous along two different dims, with at most one dim
// around them: tiles through shared memory, so that both sides move whole lines.
struct Transposition {
  int64_t rows, columns, batches;    // the destination's lines run along `columns`
  int64_t source_row, source_batch;  // the source's run along `rows`: its distance between columns
  int64_t destination_row, destination_batch;
};
constexpr int kTile = 32;

bool IsTransposition(const CudaNest<2>& nest, Transposition* out) {
  if (nest.rank != 2 && nest.rank != 3) return false;
  const int first = nest.rank - 2, last = nest.rank - 1;
  if (nest.stride[1][last] != 1 || nest.stride[0][first] != 1 || nest.stride[0][last] == 1) {
    return false;
  }
  *out = {nest.extent[first],
          nest.extent[last],
          first == 1 ? nest.extent[0] : 1,
          nest.stride[0][last],
          first == 1 ? nest.stride[0][0] : 0,
          nest.stride[1][first],
          first == 1 ? nest.stride[1][0] : 0};
  return out->rows >= kTile / 4 && out->columns >= kTile / 4;
}

template <typename T>
__global__ void TransposeKernel(Transposition t, const T* source, T* destination) {
  __shared__ T tile[kTile][kTile + 1];  // one more: no two rows in the same banks
  const int64_t across = (t.columns + kTile - 1) / kTile;
  const int64_t down = (t.rows + kTile - 1) / kTile;
  for (int64_t item = blockIdx.x; item < t.batches * down * across; item += gridDim.x) {
    const int64_t batch = item / (down * across);
    const int64_t row = item / across % down * kTile;
    const int64_t column = item % across * kTile;
    const T* from = source + batch * t.source_batch;
    T* to = destination + batch * t.destination_batch;
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile;
         i += static_cast<int>(blockDim.x)) {
      const int r = i % kTile, c = i / kTile;
      if (row + r < t.rows && column + c < t.columns) {
        tile[r][c] = from[row + r + (column + c) * t.source_row];
      }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile;
         i += static_cast<int>(blockDim.x)) {
      const int r = i / kTile, c = i % kTile;
      if (row + r < t.rows && column + c < t.columns) {
        to[(row + r) * t.destination_row + column + c] = tile[r][c];
      }
    }
    __syncthreads();
  }
}

template <typename Function, typename T>
CudaError RunCombine(const CudaNest<2>* nest, const void* source, void* destination,
                     CudaStreamHandle stream) {
  CudaNest<2> packs = *nest;
  constexpr int64_t kAlignment = alignof(Pack<T, kPacked<T>>);
  const int64_t alignment[2] = {kAlignment, kAlignment};
  const void* data[2] = {source, destination};
  const int last = nest->rank - 1;
  if (nest->stride[0][last] == 1 && nest->stride[1][last] == 1 &&
      WalkInPacks(&packs, kPacked<T>, alignment, data)) {
    return Launch(&CombinePacksKernel<Function, T>, BlocksFor(packs.elements), kThreads, stream,
                  packs, static_cast<const T*>(source), static_cast<T*>(destination));
  }
  return Launch(&CombineKernel<Function, T>, BlocksFor(nest->elements), kThreads, stream, *nest,
                static_cast<const T*>(source), static_cast<T*>(destination));
}

template <typename Function>
CudaCombine CombineOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return &RunCombine<Function, float>;
    case DType::kBF16:
      return &RunCombine<Function, BF16>;
    case DType::kF16:
      return &RunCombine<Function, F16>;
    case DType::kF64:
      return &RunCombine<Function, double>;
    case DType::kI16:
      return &RunCombine<Function, int16_t>;
    case DType::kI64:
      return &RunCombine<Function, int64_t>;
    case DType::kI32:
      return &RunCombine<Function, int32_t>;
    case DType::kI8:
      return &RunCombine<Function, int8_t>;
    case DType::kU8:
      return &RunCombine<Function, uint8_t>;
    case DType::kBool:
      return &RunCombine<Function, Bool>;
    case DType::kInvalid:
      break;
  }
  return nullptr;
}

// Any copy: by tiles where that pays.
template <typename T>
CudaError RunCopy(const CudaNest<2>* nest, const void* source, void* destination,
                  CudaStreamHandle stream) {
  Transposition t;
  if (IsTransposition(*nest, &t)) {
    const int64_t tiles =
        t.batches * ((t.rows + kTile - 1) / kTile) * ((t.columns + kTile - 1) / kTile);
    return LaunchBlocks(&TransposeKernel<T>, std::min(tiles, 8 * kMaxBlocks), kThreads, stream, t,
                        static_cast<const T*>(source), static_cast<T*>(destination));
  }
  return RunCombine<CombineWith<CombineMode::kCopy>, T>(nest, source, destination, stream);
}

// A copy moves bytes: one kernel per size of element.
CudaCombine CopyOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return &RunCopy<uint64_t>;
    case DType::kF32:
    case DType::kI32:
      return &RunCopy<uint32_t>;
    case DType::kBF16:
    case DType::kF16:
    case DType::kI16:
      return &RunCopy<uint16_t>;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return &RunCopy<uint8_t>;
    case DType::kInvalid:
      break;
  }
  return nullptr;
}

CudaCombine FindCombine(int mode, int dtype_number) {
  const DType dtype = static_cast<DType>(dtype_number);
  switch (static_cast<CombineMode>(mode)) {
    case CombineMode::kCopy:
      return CopyOf(dtype);
    case CombineMode::kSum:
      return CombineOf<CombineWith<CombineMode::kSum>>(dtype);
    case CombineMode::kMax:
      return CombineOf<CombineWith<CombineMode::kMax>>(dtype);
    case CombineMode::kMin:
      return CombineOf<CombineWith<CombineMode::kMin>>(dtype);
  }
  return nullptr;
}

template <typename T>
__global__ void FillKernel(T* out, T value, int64_t n) {
  for (int64_t i = FirstItem(); i < n; i += ItemStride()) out[i] = value;
}
template <typename T>
CudaError RunFill(void* out, uint64_t bits, int64_t n, CudaStreamHandle stream) {
  return Launch(&FillKernel<T>, BlocksFor(n), kThreads, stream, static_cast<T*>(out),
                static_cast<T>(bits), n);
}
CudaError Fill(void* out, uint64_t bits, int element_bytes, int64_t n, CudaStreamHandle stream) {
  switch (element_bytes) {
    case 8:
      return RunFill<uint64_t>(out, bits, n, stream);
    case 4:
      return RunFill<uint32_t>(out, bits, n, stream);
    case 2:
      return RunFill<uint16_t>(out, bits, n, stream);
    default:
      return RunFill<uint8_t>(out, bits, n, stream);
  }
}

}  // namespace

void AddMovement(CudaApi* api) {
  api->find_combine = &FindCombine;
  api->fill = &Fill;
}

}  // namespace oneflow::kernels
