// embedding and its gradient, gather, scatter_add: what they do with a wrong index is as in
// kernels/cpu/indexing.cc, and it is reported. No float is added atomically, so bits are the same in
// every run.
//
// embedding and gather read and write each element once (2 T bytes): 88 % of the copy rate, measured on an
// H100, and, for scattered reads, predicted 30 %. embedding_grad: a block owns some rows of the table and goes over all
// indices of its share of them, adding in their order; 2 T bytes per element of dy and of the table
// plus the indices once per block, from the L2: 17 % measured there (32,768 of 30,528 words of 1024). scatter_add: a thread owns a line, or a
// part of what one writes to, and goes over its indices in order: predicted 20 % where lines are many,
// and far less for one long line.
#include "base/dtype.h"
#include "kernels/cuda/data_error.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {
namespace {

// ---- embedding ----

template <typename Unit>
__global__ void EmbeddingKernel(CudaEmbedding p, const Unit* weight, Indices index, Unit* y,
                                int64_t units, StepBlock* block, uint32_t task) {
  for (int64_t at = FirstItem(); at < p.indices * units; at += ItemStride()) {
    const int64_t i = at / units;
    const int64_t unit = at - i * units;
    const int64_t row = index[i];
    if (unit == 0 && (row < 0 || row >= p.all)) ReportWrongIndex(block, task, row, p.all);
    const bool here = row >= p.begin && row < p.begin + p.count;
    y[at] = here ? weight[(row - p.begin) * units + unit] : Unit{0};
  }
}
template <typename Unit>
CudaError RunEmbedding(const CudaEmbedding* p, const CudaOperands* a, CudaStreamHandle stream) {
  const int64_t units = p->row_bytes / static_cast<int64_t>(sizeof(Unit));
  return Launch(&EmbeddingKernel<Unit>, BlocksFor(p->indices * units), kThreads, stream, *p,
                static_cast<const Unit*>(a->in[0]), Indices{a->in[1], p->wide},
                static_cast<Unit*>(a->out[0]), units, a->block, a->task);
}
// Buffers lie on 64 bytes, so rows lie on the largest unit that divides them.
CudaError Embedding(const CudaEmbedding* p, const CudaOperands* a, CudaStreamHandle stream) {
  if (p->row_bytes % 8 == 0) return RunEmbedding<uint64_t>(p, a, stream);
  if (p->row_bytes % 4 == 0) return RunEmbedding<uint32_t>(p, a, stream);
  if (p->row_bytes % 2 == 0) return RunEmbedding<uint16_t>(p, a, stream);
  return RunEmbedding<uint8_t>(p, a, stream);
}

// Blocks: shares of the indices by chunks of the table's rows by chunks of kThreads features.
struct GradBlocks {
  int64_t feature_chunks, row_chunks;
};

__device__ __forceinline__ int LowestBit(uint32_t bits) {
#ifdef __CUDACC__
  return __ffs(static_cast<int>(bits)) - 1;
#else
  return __builtin_ctz(bits);
#endif
}

// A bit for each thread of the block whose `named` is not negative. Ends with a barrier.
__device__ __forceinline__ void MarkNamed(const int64_t* named, uint32_t* marks) {
#ifdef __CUDACC__
  const uint32_t word = __ballot_sync(~0u, named[threadIdx.x] >= 0);
  if (threadIdx.x % 32 == 0) marks[threadIdx.x / 32] = word;
#else
  if (threadIdx.x % 32 == 0) marks[threadIdx.x / 32] = 0;
  __syncthreads();
  if (named[threadIdx.x] >= 0) {
    __atomic_fetch_or(&marks[threadIdx.x / 32], 1u << threadIdx.x % 32, __ATOMIC_RELAXED);
  }
#endif
  __syncthreads();
}

template <typename T>
__global__ void EmbeddingGradKernel(CudaEmbedding p, GradBlocks blocks, const T* dy, Indices index,
                                    Compute<T>* sums) {
  using C = Compute<T>;
  __shared__ int64_t named[kThreads];
  __shared__ uint32_t marks[kThreads / 32];
  const int64_t feature = blockIdx.x % blocks.feature_chunks * blockDim.x + threadIdx.x;
  const int64_t chunk = blockIdx.x / blocks.feature_chunks % blocks.row_chunks;
  const int64_t share = blockIdx.x / blocks.feature_chunks / blocks.row_chunks;
  const bool works = feature < p.features;
  const int64_t begin = p.count * chunk / blocks.row_chunks;
  const int64_t end = p.count * (chunk + 1) / blocks.row_chunks;
  C* table = sums + share * p.count * p.features;
  for (int64_t row = begin; works && row < end; ++row) table[row * p.features + feature] = 0;
  // The row that is added to stays in a register while it is named again and again.
  int64_t current = -1;
  C total = 0;
  const int64_t last = p.indices * (share + 1) / p.splits;
  for (int64_t first = p.indices * share / p.splits; first < last; first += blockDim.x) {
    const int64_t i = first + threadIdx.x;
    const int64_t row = i < last && index[i] != p.padding ? index[i] - p.begin : -1;
    named[threadIdx.x] = row >= begin && row < end ? row : -1;
    MarkNamed(named, marks);
    // Those of this chunk in the order of their positions: few, where the table is large.
    for (int w = 0; w < kThreads / 32; ++w) {
      for (uint32_t rest = marks[w]; works && rest != 0; rest &= rest - 1) {
        const int t = 32 * w + LowestBit(rest);
        const int64_t now = named[t];
        if (now != current) {
          if (current >= 0) table[current * p.features + feature] = total;
          current = now;
          total = table[now * p.features + feature];
        }
        total += static_cast<C>(dy[(first + t) * p.features + feature]);
      }
    }
    __syncthreads();
  }
  if (current >= 0) table[current * p.features + feature] = total;
}

template <typename T>
__global__ void JoinTables(CudaEmbedding p, const Compute<T>* sums, T* out) {
  const int64_t n = p.count * p.features;
  for (int64_t i = FirstItem(); i < n; i += ItemStride()) {
    Compute<T> total = sums[i];
    for (int32_t share = 1; share < p.splits; ++share) total += sums[share * n + i];
    out[i] = T(total);
  }
}

template <typename T>
CudaError EmbeddingGrad(const CudaEmbedding* p, const CudaOperands* a, CudaStreamHandle stream) {
  using C = Compute<T>;
  if (p->count * p->features == 0) return 0;
  GradBlocks blocks = {};
  blocks.feature_chunks = (p->features + kThreads - 1) / kThreads;
  blocks.row_chunks =
      std::clamp<int64_t>(kMaxBlocks / (blocks.feature_chunks * p->splits), 1, p->count);
  const bool direct = p->splits == 1 && std::is_same_v<T, C>;
  C* sums = static_cast<C*>(direct ? a->out[0] : a->workspace);
  const CudaError error = LaunchBlocks(
      &EmbeddingGradKernel<T>, blocks.feature_chunks * blocks.row_chunks * p->splits, kThreads,
      stream, *p, blocks, static_cast<const T*>(a->in[0]), Indices{a->in[1], p->wide}, sums);
  if (error != 0 || direct) return error;
  return Launch(&JoinTables<T>, BlocksFor(p->count * p->features), kThreads, stream, *p,
                static_cast<const C*>(sums), static_cast<T*>(a->out[0]));
}
CudaRun<CudaEmbedding> FindEmbeddingGrad(int dtype) {
  return FindFloat<CudaRun<CudaEmbedding>>(
      static_cast<DType>(dtype),
      []<typename T>() -> CudaRun<CudaEmbedding> { return &EmbeddingGrad<T>; });
}

// ---- gather, scatter_add ----

template <typename T>
__global__ void GatherKernel(CudaGather p, const T* x, Indices index, T* y, StepBlock* block,
                             uint32_t task) {
  for (int64_t i = FirstItem(); i < p.nest.elements; i += ItemStride()) {
    int64_t at[2];
    OffsetsOf(p.nest, i, at);
    const int64_t row = index[at[0]];
    const bool legal = row >= 0 && row < p.bound;
    if (!legal) ReportWrongIndex(block, task, row, p.bound);
    y[at[0]] = legal ? x[at[1] + row * p.x_stride] : T{0};
  }
}
template <typename T>
CudaError Gather(const CudaGather* p, const CudaOperands* a, CudaStreamHandle stream) {
  return Launch(&GatherKernel<T>, BlocksFor(p->nest.elements), kThreads, stream, *p,
                static_cast<const T*>(a->in[0]), Indices{a->in[1], p->wide},
                static_cast<T*>(a->out[0]), a->block, a->task);
}
CudaRun<CudaGather> FindGather(int element_bytes) {
  switch (element_bytes) {
    case 8:
      return &Gather<uint64_t>;
    case 4:
      return &Gather<uint32_t>;
    case 2:
      return &Gather<uint16_t>;
    default:
      return &Gather<uint8_t>;
  }
}

// Item i: part i / lines of what line i % lines may write to, so that neighbours walk neighbours.
template <typename T>
__global__ void ScatterAddKernel(CudaScatter p, Indices index, const T* src, T* y, StepBlock* block,
                                 uint32_t task) {
  for (int64_t item = FirstItem(); item < p.lines.elements * p.splits; item += ItemStride()) {
    const int64_t part = item / p.lines.elements;
    const int64_t begin = p.bound * part / p.splits;
    const int64_t end = p.bound * (part + 1) / p.splits;
    int64_t at[2];
    OffsetsOf(p.lines, item % p.lines.elements, at);
    for (int64_t i = 0; i < p.length; ++i) {
      const int64_t from = at[0] + i * p.index_stride;
      const int64_t row = index[from];
      if (part == 0 && (row < 0 || row >= p.bound)) ReportWrongIndex(block, task, row, p.bound);
      if (row < begin || row >= end) continue;
      const int64_t to = at[1] + row * p.x_stride;
      y[to] = CombineWith<CombineMode::kSum>::Apply(y[to], src[from]);
    }
  }
}
template <typename T>
__global__ void CopyKernel(const T* x, T* y, int64_t n) {
  for (int64_t i = FirstItem(); i < n; i += ItemStride()) y[i] = x[i];
}
template <typename T>
CudaError ScatterAdd(const CudaScatter* p, const CudaOperands* a, CudaStreamHandle stream) {
  T* y = static_cast<T*>(a->out[0]);
  if (a->in[0] != y) {
    const CudaError error = Launch(&CopyKernel<T>, BlocksFor(p->elements), kThreads, stream,
                                   static_cast<const T*>(a->in[0]), y, p->elements);
    if (error != 0) return error;
  }
  return Launch(&ScatterAddKernel<T>, BlocksFor(p->lines.elements * p->splits), kThreads, stream,
                *p, Indices{a->in[1], p->wide}, static_cast<const T*>(a->in[2]), y, a->block,
                a->task);
}
CudaRun<CudaScatter> FindScatterAdd(int number) {
  const DType dtype = static_cast<DType>(number);
  return FindElement<Elements::kNumbers, CudaRun<CudaScatter>>(
      dtype, []<typename T>() -> CudaRun<CudaScatter> { return &ScatterAdd<T>; });
}

}  // namespace

void AddIndices(CudaApi* api) {
  api->embedding = &Embedding;
  api->find_embedding_grad = &FindEmbeddingGrad;
  api->find_gather = &FindGather;
  api->find_scatter_add = &FindScatterAdd;
}

}  // namespace oneflow::kernels
