#include "kernels/cpu/strided_copy.h"

#include <cstring>

#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {
namespace {

// Bytes of a plain copy that are worth a second thread.
constexpr int64_t kCopyGrainBytes = 1 << 18;
constexpr int64_t kTransposeTile = 16;

// out[j * out_stride + i] = in[i * in_stride + j]: tiles, so that both sides stay in the nearest
// cache.
template <typename T>
void Transpose(const T* in, int64_t in_stride, T* out, int64_t out_stride, int64_t rows,
               int64_t columns) {
  for (int64_t i0 = 0; i0 < rows; i0 += kTransposeTile) {
    const int64_t i1 = std::min(rows, i0 + kTransposeTile);
    for (int64_t j0 = 0; j0 < columns; j0 += kTransposeTile) {
      const int64_t j1 = std::min(columns, j0 + kTransposeTile);
      for (int64_t j = j0; j < j1; ++j) {
        for (int64_t i = i0; i < i1; ++i) out[j * out_stride + i] = in[i * in_stride + j];
      }
    }
  }
}

template <typename T>
void CopyRows(const LoopNest<2>& nest, const T* source, T* destination, int threads) {
  const int64_t grain = kCopyGrainBytes / static_cast<int64_t>(sizeof(T));
  const int64_t s = nest.inner_stride(0);
  const int64_t d = nest.inner_stride(1);
  if (s == 1 && d == 1) {
    nest.ParallelRows(threads, grain, [&](const auto& at, int64_t n) {
      std::memcpy(destination + at[1], source + at[0], n * sizeof(T));
    });
    return;
  }
  // The last two dims are exchanged: a batch of matrix transposes.
  const int last = nest.rank() - 1;
  if (last >= 1 && d == 1 && nest.stride(0, last - 1) == 1 && nest.inner() >= 2) {
    const int64_t rows = nest.extent(last - 1);  // of the destination
    const int64_t columns = nest.inner();
    if (rows == 0) return;
    const int64_t batches = nest.rows() / rows;
    const int64_t row_tiles = (rows + kTransposeTile - 1) / kTransposeTile;
    ParallelFor(threads, batches * row_tiles, grain / (4 * kTransposeTile * columns) + 1,
                [&](int64_t begin, int64_t end) {
                  for (int64_t item = begin; item < end; ++item) {
                    const int64_t first = item % row_tiles * kTransposeTile;
                    const int64_t index = (item / row_tiles * rows + first) * columns;
                    Transpose(source + nest.OffsetOf(index, 0), s,
                              destination + nest.OffsetOf(index, 1), nest.stride(1, last - 1),
                              columns, std::min(kTransposeTile, rows - first));
                  }
                });
    return;
  }
  nest.ParallelRows(threads, grain / 4, [&](const auto& at, int64_t n) {
    const T* in = source + at[0];
    T* out = destination + at[1];
    if (s == 0 && d == 1) {
      const T value = in[0];
      for (int64_t i = 0; i < n; ++i) out[i] = value;
    } else if (d == 1) {
      for (int64_t i = 0; i < n; ++i) out[i] = in[i * s];
    } else {
      for (int64_t i = 0; i < n; ++i) out[i * d] = in[i * s];
    }
  });
}

}  // namespace

StridedCopy::StridedCopy(DType dtype, const Shape& extent, const Shape& source_strides,
                         int64_t source_begin, const Shape& destination_strides,
                         int64_t destination_begin)
    : nest_(extent, {source_strides, destination_strides}),
      dtype_(dtype),
      source_begin_(source_begin),
      destination_begin_(destination_begin) {}

StridedCopy StridedCopy::Region(DType dtype, const Shape& extent, const Shape& source,
                                const Shape& source_begin, const Shape& destination,
                                const Shape& destination_begin) {
  return StridedCopy(dtype, extent, StridesOf(source), DenseOffset(source, source_begin),
                     StridesOf(destination), DenseOffset(destination, destination_begin));
}

StridedCopy StridedCopy::Shifted(int64_t source_elements, int64_t destination_elements) const {
  StridedCopy copy = *this;
  copy.source_begin_ += source_elements;
  copy.destination_begin_ += destination_elements;
  return copy;
}

void StridedCopy::Run(const void* source, void* destination, int threads) const {
  if (nest_.elements() == 0) return;
  DispatchSize(dtype_, [&]<typename T>() {
    CopyRows(nest_, static_cast<const T*>(source) + source_begin_,
             static_cast<T*>(destination) + destination_begin_, threads);
  });
}

int64_t DenseOffset(const Shape& shape, const Shape& index) {
  const Shape strides = StridesOf(shape);
  int64_t offset = 0;
  for (size_t d = 0; d < shape.size(); ++d) offset += index.at(d) * strides[d];
  return offset;
}

}  // namespace oneflow::kernels
