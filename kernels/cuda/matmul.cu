// Products: cuBLASLt where the library is, else an own kernel (a thread per result: right, and slow;
// what tests without a GPU run). f32 without TF32, bf16 and f16 with f32 sums, f64. A bias is added before a
// result is rounded: by the library's epilogue, or, where that cannot be (f64, a result that passes through a
// copy, no algorithm), by a kernel of its own behind the product, rounded twice. In 16-bit types the sums of an operand
// over k (BGRADA, BGRADB), gelu_tanh behind a bias (GELU_BIAS, GELU_AUX_BIAS) and its gradient (DGELU) are epilogues
// too, in f32; where that cannot be there is no plan, and the caller has kernels for them (kernels/cuda/reductions.cu,
// elementwise.cu).
//
// Operations: 2 m n k; bytes: a, b and d once, with the library. Predicted 80 % of the datasheet's rate
// for bf16 and f16 from 2048^3 on, 90 % of the f32 rate without tensor cores; the own kernel reads 2 k
// elements for each result, from the caches at best: 2 % of the f32 rate.
//
// Operands whose rows do not begin on 16 bytes are copied into rows that do (CudaMatmul::padded_n), and
// results back: 4 bytes for each of their elements, at the copy rate.
//
// cuBLASLt is column-major, so d = a . b is asked for as d^T = b^T . a^T: its A is our b, its D has n rows, along
// which a bias runs, and x lies as D does, with columns of n. The algorithm is its
// heuristic's first that fits the workspace; the choice is made once, when a plan is loaded, and may be another of
// its first eight by measurement (kernels/cuda/algorithm_choices.h).

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/device_code.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/matmul_copies.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/open_library.h"
#include "kernels/scalar/activations.h"
#include "kernels/scalar/types.h"

#if defined(__CUDACC__) && __has_include(<cublasLt.h>)
#define ONEFLOW_CUBLASLT 1
#include <cublasLt.h>

#include "kernels/cuda/gpu_place.h"
#endif

namespace oneflow::kernels {
namespace {

// A matrix [rows, columns] into one of other extents: what both have, and zeros. A thread has several elements
// in flight.
struct Resize {
  int64_t from_rows, from_columns, to_rows, to_columns;
};
constexpr int kResizedEach = 8;
__global__ void ResizeKernel(Resize r, const uint16_t* from, uint16_t* to) {
  const int64_t stretch = int64_t{blockDim.x} * kResizedEach;
  const int64_t stretches = (r.to_columns + stretch - 1) / stretch;
  for (int64_t item = blockIdx.x; item < r.to_rows * stretches; item += gridDim.x) {
    const int64_t row = item / stretches;
    const int64_t first = item % stretches * stretch + threadIdx.x;
    uint16_t held[kResizedEach];
    OF_UNROLL
    for (int e = 0; e < kResizedEach; ++e) {
      const int64_t i = first + e * int64_t{blockDim.x};
      held[e] =
          row < r.from_rows && i < r.from_columns ? from[row * r.from_columns + i] : uint16_t{0};
    }
    OF_UNROLL
    for (int e = 0; e < kResizedEach; ++e) {
      const int64_t i = first + e * int64_t{blockDim.x};
      if (i < r.to_columns) to[row * r.to_columns + i] = held[e];
    }
  }
}
CudaError RunResize(const Resize& r, const void* from, void* to, CudaStreamHandle stream) {
  const int64_t blocks = r.to_rows * ((r.to_columns - 1) / (kThreads * kResizedEach) + 1);
  return Launch(&ResizeKernel, std::min(blocks, 16 * kMaxBlocks), kThreads, stream, r,
                static_cast<const uint16_t*>(from), static_cast<uint16_t*>(to));
}

// What becomes of a rounded product: the bits are those of the kernels of the ops.
template <typename T>
__device__ __forceinline__ T Finished(CudaEpilogue joins, T product, T* x, int64_t at) {
  using C = Compute<T>;
  if (joins == CudaEpilogue::kGeluGrad) {
    return T(GeluTanh::Grad(static_cast<C>(x[at]), static_cast<C>(product), C{0}));
  }
  if (joins == CudaEpilogue::kBiasGeluX) x[at] = product;
  if (joins == CudaEpilogue::kBiasGelu || joins == CudaEpilogue::kBiasGeluX) {
    return T(GeluTanh::Apply(static_cast<C>(product), C{0}));
  }
  return product;
}

template <typename T>
__global__ void ProductKernel(CudaMatmul g, bool backwards, const T* a, const T* b, const T* bias,
                              T* d, T* x) {
  using C = Compute<T>;
  const int64_t result = g.m * g.n;
  const int64_t a_row = g.transpose_a ? 1 : g.k, a_column = g.transpose_a ? g.m : 1;
  const int64_t b_row = g.transpose_b ? 1 : g.n, b_column = g.transpose_b ? g.k : 1;
  for (int64_t i = FirstItem(); i < g.batches * result; i += ItemStride()) {
    const int64_t batch = i / result, row = i % result / g.n, column = i % g.n;
    const T* left = a + batch * g.stride_a + row * a_row;
    const T* right = b + batch * g.stride_b + column * b_column;
    C total = 0;
    for (int64_t i_k = 0; i_k < g.k; ++i_k) {
      const int64_t j = backwards ? g.k - 1 - i_k : i_k;
      total += static_cast<C>(left[j * a_column]) * static_cast<C>(right[j * b_row]);
    }
    if (bias != nullptr) total += static_cast<C>(bias[column]);
    const int64_t at = batch * g.stride_d + row * g.n + column;
    if constexpr (sizeof(T) == 2) {
      d[at] = Finished(g.epilogue, T(total), x, at);
    } else {
      d[at] = T(total);
    }
  }
}
template <typename T>
CudaError RunProduct(const CudaMatmul& g, bool backwards, const CudaMatmulOperands& of,
                     CudaStreamHandle stream) {
  return Launch(&ProductKernel<T>, BlocksFor(g.batches * g.m * g.n), kThreads, stream, g, backwards,
                static_cast<const T*>(of.a), static_cast<const T*>(of.b),
                static_cast<const T*>(of.bias), static_cast<T*>(of.d), static_cast<T*>(of.x));
}

// sums[i] = the sum over k of an operand, k_stride apart.
template <typename T>
__global__ void OperandSumsKernel(int64_t count, int64_t stride, int64_t k, int64_t k_stride,
                                  const T* x, T* sums) {
  using C = Compute<T>;
  for (int64_t i = FirstItem(); i < count; i += ItemStride()) {
    C total = 0;
    for (int64_t j = 0; j < k; ++j) total += static_cast<C>(x[i * stride + j * k_stride]);
    sums[i] = T(total);
  }
}
template <typename T>
CudaError RunOperandSums(const CudaMatmul& g, const CudaMatmulOperands& of,
                         CudaStreamHandle stream) {
  const bool of_a = g.epilogue == CudaEpilogue::kSumsOfA;
  const int64_t count = of_a ? g.m : g.n;
  const bool rows = of_a ? g.transpose_a : !g.transpose_b;  // of k
  return Launch(&OperandSumsKernel<T>, BlocksFor(count), kThreads, stream, count,
                rows ? int64_t{1} : g.k, g.k, rows ? count : int64_t{1},
                static_cast<const T*>(of_a ? of.a : of.b), static_cast<T*>(of.sums));
}

// d[row, j] += bias[j].
template <typename T>
__global__ void BiasKernel(int64_t elements, int64_t n, const T* bias, T* d) {
  using C = Compute<T>;
  for (int64_t i = FirstItem(); i < elements; i += ItemStride()) {
    d[i] = T(static_cast<C>(d[i]) + static_cast<C>(bias[i % n]));
  }
}
template <typename T>
CudaError RunBias(const CudaMatmul& g, const void* bias, void* d, CudaStreamHandle stream) {
  const int64_t elements = g.batches * g.m * g.n;
  return Launch(&BiasKernel<T>, BlocksFor(elements), kThreads, stream, elements, g.n,
                static_cast<const T*>(bias), static_cast<T*>(d));
}
CudaError AddBias(const CudaMatmul& g, const void* bias, void* d, CudaStreamHandle stream) {
  switch (g.math) {
    case CudaMath::kBF16:
      return RunBias<BF16>(g, bias, d, stream);
    case CudaMath::kF16:
      return RunBias<F16>(g, bias, d, stream);
    case CudaMath::kF64:
      return RunBias<double>(g, bias, d, stream);
    case CudaMath::kF32:
    case CudaMath::kTF32:
      break;
  }
  return RunBias<float>(g, bias, d, stream);
}

#ifdef ONEFLOW_CUBLASLT

// The functions that we call, and why there are none.
struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) algo_get = nullptr;
  bool opened = false;
  char text[512] = "";
};

void Open(const char* path, Library* library) {
  void* opened = OpenLibrary(path, "libcublasLt.so.13");
  if (opened == nullptr) {
    std::snprintf(library->text, sizeof(library->text),
                  "no cuBLASLt (%s); name the file in ONEFLOW_CUBLASLT. Products run on the own "
                  "kernel, which is slow",
                  dlerror());
    return;
  }
  const bool all =
      Resolve(opened, "cublasLtCreate", &library->create) &&
      Resolve(opened, "cublasLtDestroy", &library->destroy) &&
      Resolve(opened, "cublasLtGetVersion", &library->version) &&
      Resolve(opened, "cublasLtMatmul", &library->matmul) &&
      Resolve(opened, "cublasLtMatmulDescCreate", &library->desc_create) &&
      Resolve(opened, "cublasLtMatmulDescDestroy", &library->desc_destroy) &&
      Resolve(opened, "cublasLtMatmulDescSetAttribute", &library->desc_set) &&
      Resolve(opened, "cublasLtMatrixLayoutCreate", &library->layout_create) &&
      Resolve(opened, "cublasLtMatrixLayoutDestroy", &library->layout_destroy) &&
      Resolve(opened, "cublasLtMatrixLayoutSetAttribute", &library->layout_set) &&
      Resolve(opened, "cublasLtMatmulPreferenceCreate", &library->preference_create) &&
      Resolve(opened, "cublasLtMatmulPreferenceDestroy", &library->preference_destroy) &&
      Resolve(opened, "cublasLtMatmulPreferenceSetAttribute", &library->preference_set) &&
      Resolve(opened, "cublasLtMatmulAlgoGetHeuristic", &library->heuristic) &&
      Resolve(opened, "cublasLtMatmulAlgoConfigGetAttribute", &library->algo_get);
  cublasLtHandle_t first = nullptr;
  if (!all || library->create(&first) != CUBLAS_STATUS_SUCCESS) {
    std::snprintf(library->text, sizeof(library->text),
                  "cuBLASLt does not start. Products run on the own kernel, which is slow");
    return;
  }
  library->destroy(first);
  library->opened = true;
  const size_t version = library->version();
  std::snprintf(library->text, sizeof(library->text), "cuBLASLt %zu.%zu.%zu", version / 10000,
                version / 100 % 100, version % 100);
}

// Opened once per process.
const Library& OpenedLibrary(const char* path = "") { return OpenedOnce<Library, &Open>(path); }

// Of the calling thread's device, for all streams there: cuBLASLt ties a handle to a device. nullptr: no
// library.
cublasLtHandle_t HandleOfDevice() {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t>* handles = new std::map<int, cublasLtHandle_t>;
  const Library& library = OpenedLibrary();
  int device = 0;
  if (!library.opened || cudaGetDevice(&device) != cudaSuccess) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  cublasLtHandle_t& handle = (*handles)[device];
  if (handle == nullptr && library.create(&handle) != CUBLAS_STATUS_SUCCESS) handle = nullptr;
  return handle;
}

#endif  // ONEFLOW_CUBLASLT

struct Plan {
  explicit Plan(const CudaMatmul& problem) : copies(problem) {}

  MatmulCopies copies;  // and what is multiplied
#ifdef ONEFLOW_CUBLASLT
  cublasLtHandle_t handle = nullptr;  // of the device that it was made for
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algo;
  cublasLtMatmulAlgo_t algos[kMostAlgorithms];  // that may be used, by CudaAlgorithms
  bool library = false;
#endif
  CudaAlgorithms offered = {};
  bool backwards = false;                    // the own kernel, in tests
  CudaEpilogue joins = CudaEpilogue::kNone;  // what the product does itself
};

#ifdef ONEFLOW_CUBLASLT

void ReleaseDescriptions(Plan* plan) {
  const Library& lt = OpenedLibrary();
  if (plan->desc != nullptr) lt.desc_destroy(plan->desc);
  if (plan->a != nullptr) lt.layout_destroy(plan->a);
  if (plan->b != nullptr) lt.layout_destroy(plan->b);
  if (plan->d != nullptr) lt.layout_destroy(plan->d);
  plan->desc = nullptr;
  plan->a = plan->b = plan->d = nullptr;
}

// A row-major [rows, columns] matrix, as cuBLASLt sees it: [columns, rows].
cublasStatus_t Layout(const Library& lt, cudaDataType_t type, int64_t rows, int64_t columns,
                      int64_t batches, int64_t stride, cublasLtMatrixLayout_t* layout) {
  cublasStatus_t status = lt.layout_create(layout, type, columns, rows, columns);
  if (status != CUBLAS_STATUS_SUCCESS || batches == 1) return status;
  const int32_t count = static_cast<int32_t>(batches);
  status = lt.layout_set(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count));
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  return lt.layout_set(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                       sizeof(stride));
}

cudaDataType_t TypeOf(CudaMath math) {
  switch (math) {
    case CudaMath::kBF16:
      return CUDA_R_16BF;
    case CudaMath::kF16:
      return CUDA_R_16F;
    case CudaMath::kF64:
      return CUDA_R_64F;
    case CudaMath::kF32:
    case CudaMath::kTF32:
      break;
  }
  return CUDA_R_32F;
}
int BytesOf(CudaMath math) {
  const cudaDataType_t type = TypeOf(math);
  return type == CUDA_R_32F ? 4 : type == CUDA_R_64F ? 8 : 2;
}

cublasLtEpilogue_t EpilogueOf(CudaEpilogue joins) {
  switch (joins) {
    case CudaEpilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case CudaEpilogue::kBiasGelu:
      return CUBLASLT_EPILOGUE_GELU_BIAS;
    case CudaEpilogue::kBiasGeluX:
      return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case CudaEpilogue::kGeluGrad:
      return CUBLASLT_EPILOGUE_DGELU;
    case CudaEpilogue::kSumsOfA:
      return CUBLASLT_EPILOGUE_BGRADB;
    case CudaEpilogue::kSumsOfB:
      return CUBLASLT_EPILOGUE_BGRADA;
    case CudaEpilogue::kNone:
      break;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

template <typename T>
bool Set(const Library& lt, cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
         const T& value) {
  return lt.desc_set(desc, attribute, &value, sizeof(value)) == CUBLAS_STATUS_SUCCESS;
}

// Pointers are others in each call; the heuristic looks at their alignment. Sums and x have the result's type, which
// is the library's default.
bool DescribeEpilogue(const Library& lt, const CudaMatmul& g, CudaEpilogue joins,
                      cublasLtMatmulDesc_t desc) {
  if (joins == CudaEpilogue::kNone) return true;
  bool set = Set(lt, desc, CUBLASLT_MATMUL_DESC_EPILOGUE, EpilogueOf(joins));
  if (HasBias(joins) || HasSums(joins)) {
    const void* aligned = reinterpret_cast<const void*>(uintptr_t{256});
    set = set && Set(lt, desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, aligned);
  }
  if (HasX(joins)) {
    const void* aligned = reinterpret_cast<const void*>(static_cast<uintptr_t>(g.alignment));
    set = set && Set(lt, desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aligned) &&
          Set(lt, desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, g.n);
  }
  return set;
}

// The heuristics' first `wanted` that fit the workspace; how many there are. REQUIRES: the plan is described.
int Proposals(const Plan& plan, int wanted, cublasLtMatmulAlgo_t* algos) {
  const Library& lt = OpenedLibrary();
  const CudaMatmul& g = plan.copies.problem;
  cublasLtMatmulPreference_t preference = nullptr;
  if (lt.preference_create(&preference) != CUBLAS_STATUS_SUCCESS) return 0;
  const uint64_t workspace = static_cast<uint64_t>(g.workspace_bytes);
  lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                    sizeof(workspace));
  // An odd row length moves later batches off the first one's alignment.
  const uint32_t element = static_cast<uint32_t>(BytesOf(g.math));
  const auto alignment = [&](int64_t stride) {
    uint32_t bytes = static_cast<uint32_t>(g.alignment);
    while (g.batches > 1 && stride * element % bytes != 0) bytes /= 2;
    return bytes;
  };
  const uint32_t align_a = alignment(g.stride_b), align_b = alignment(g.stride_a);
  const uint32_t align_d = alignment(g.stride_d);
  lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align_a, 4);
  lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align_b, 4);
  lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align_d, 4);
  lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align_d, 4);
  cublasLtMatmulHeuristicResult_t found[kMostAlgorithms] = {};
  int count = 0;
  const cublasStatus_t status = lt.heuristic(plan.handle, plan.desc, plan.b, plan.a, plan.d, plan.d,
                                             preference, wanted, found, &count);
  lt.preference_destroy(preference);
  int taken = 0;
  for (int i = 0; i < count && status == CUBLAS_STATUS_SUCCESS; ++i) {
    // The first was always believed.
    if (i == 0 || found[i].state == CUBLAS_STATUS_SUCCESS) algos[taken++] = found[i].algo;
  }
  return taken;
}

// True if cuBLASLt has an algorithm for the plan's problem and what it joins.
bool Choose(Plan* plan) {
  const Library& lt = OpenedLibrary();
  plan->handle = HandleOfDevice();
  if (plan->handle == nullptr) return false;
  ReleaseDescriptions(plan);
  const CudaMatmul& g = plan->copies.problem;
  const cudaDataType_t type = TypeOf(g.math);
  const bool wide = g.math == CudaMath::kF64;
  const cublasComputeType_t compute = wide                        ? CUBLAS_COMPUTE_64F
                                      : g.math == CudaMath::kTF32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                  : CUBLAS_COMPUTE_32F;
  const cublasOperation_t first = g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const bool described =
      lt.desc_create(&plan->desc, compute, wide ? CUDA_R_64F : CUDA_R_32F) ==
          CUBLAS_STATUS_SUCCESS &&
      lt.desc_set(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof(first)) ==
          CUBLAS_STATUS_SUCCESS &&
      lt.desc_set(plan->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof(second)) ==
          CUBLAS_STATUS_SUCCESS &&
      Layout(lt, type, g.transpose_b ? g.n : g.k, g.transpose_b ? g.k : g.n, g.batches, g.stride_b,
             &plan->b) == CUBLAS_STATUS_SUCCESS &&
      Layout(lt, type, g.transpose_a ? g.k : g.m, g.transpose_a ? g.m : g.k, g.batches, g.stride_a,
             &plan->a) == CUBLAS_STATUS_SUCCESS &&
      Layout(lt, type, g.m, g.n, g.batches, g.stride_d, &plan->d) == CUBLAS_STATUS_SUCCESS;
  if (!described || !DescribeEpilogue(lt, g, plan->joins, plan->desc)) return false;
  return Proposals(*plan, 1, &plan->algo) == 1;
}

#endif  // ONEFLOW_CUBLASLT

// Whether a product may do it itself. Sums in f32 are rounded to 16 bits; wider results have a right to f64. Rows of x
// begin on 16 bytes.
bool MayJoin(const CudaMatmul& g, const MatmulCopies& copies) {
  if (g.epilogue == CudaEpilogue::kNone) return false;
  if (g.epilogue == CudaEpilogue::kBias) return g.math != CudaMath::kF64 && !copies.d.copied();
  return (g.math == CudaMath::kBF16 || g.math == CudaMath::kF16) && g.k > 0 && g.batches == 1 &&
         !copies.a.copied() && !copies.b.copied() && !copies.d.copied() &&
         (!HasX(g.epilogue) || g.n % 8 == 0);
}

void MatmulRelease(void* made);

CudaError MatmulPlan(const CudaMatmul* problem, void** out) {
  *out = nullptr;
  const bool joins = MayJoin(*problem, MatmulCopies(*problem));
  // What the caller has a kernel of its own for.
  const bool whole =
      problem->epilogue != CudaEpilogue::kNone && problem->epilogue != CudaEpilogue::kBias;
  if (whole && !joins) return 0;
  Plan* plan = new Plan(*problem);
  if (joins) plan->joins = problem->epilogue;
#ifdef ONEFLOW_CUBLASLT
  plan->library = problem->k > 0 && Choose(plan);
  if (!plan->library && plan->handle != nullptr && joins) {
    if (whole) {
      MatmulRelease(plan);
      return 0;
    }
    plan->joins = CudaEpilogue::kNone;
    plan->library = Choose(plan);
  }
#endif
  *out = plan;
  return 0;
}

template <typename T>
CudaError RunOwn(const Plan& plan, const CudaMatmulOperands& of, CudaStreamHandle stream) {
  const CudaMatmul& g = plan.copies.problem;
  const CudaError error = RunProduct<T>(g, plan.backwards, of, stream);
  return error != 0 || of.sums == nullptr ? error : RunOperandSums<T>(g, of, stream);
}

// Of the copies where there are some, and with what the plan joins alone.
CudaError Multiply(const Plan& plan, const CudaMatmulOperands& of, void* workspace,
                   CudaStreamHandle stream) {
  const CudaMatmul& g = plan.copies.problem;
#ifdef ONEFLOW_CUBLASLT
  if (plan.library) {
    const Library& lt = OpenedLibrary();
    const float one = 1, zero = 0;
    const double wide_one = 1, wide_zero = 0;
    const bool wide = g.math == CudaMath::kF64;
    const void* alpha = wide ? static_cast<const void*>(&wide_one) : &one;
    const void* beta = wide ? static_cast<const void*>(&wide_zero) : &zero;
    if (HasBias(plan.joins)) Set(lt, plan.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, of.bias);
    if (HasSums(plan.joins)) Set(lt, plan.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, of.sums);
    if (HasX(plan.joins)) Set(lt, plan.desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, of.x);
    const cublasStatus_t status =
        lt.matmul(plan.handle, plan.desc, alpha, of.b, plan.b, of.a, plan.a, beta, of.d, plan.d,
                  of.d, plan.d, &plan.algo, workspace, static_cast<size_t>(g.workspace_bytes),
                  static_cast<cudaStream_t>(stream));
    return status == CUBLAS_STATUS_SUCCESS ? 0 : kLibraryErrors + static_cast<CudaError>(status);
  }
#endif
  static_cast<void>(workspace);
  switch (g.math) {
    case CudaMath::kBF16:
      return RunOwn<BF16>(plan, of, stream);
    case CudaMath::kF16:
      return RunOwn<F16>(plan, of, stream);
    case CudaMath::kF64:
      return RunOwn<double>(plan, of, stream);
    case CudaMath::kF32:
    case CudaMath::kTF32:
      break;
  }
  return RunOwn<float>(plan, of, stream);
}

CudaError Matmul(void* made, const CudaMatmulOperands* operands, void* workspace,
                 CudaStreamHandle stream) {
  using Matrix = MatmulCopies::Matrix;
  const Plan& plan = *static_cast<const Plan*>(made);
  const MatmulCopies& copies = plan.copies;
  char* space = static_cast<char*>(workspace) + copies.problem.workspace_bytes;
  CudaError error = 0;
  const auto bring = [&](const Matrix& x, const void* data) -> const void* {
    if (!x.copied() || error != 0) return data;
    error =
        RunResize({x.rows, x.columns, x.copied_rows, x.copied_columns}, data, space + x.at, stream);
    return space + x.at;
  };
  CudaMatmulOperands of = *operands;
  of.a = bring(copies.a, of.a);
  of.b = bring(copies.b, of.b);
  const Matrix& x = copies.d;
  if (x.copied()) of.d = space + x.at;
  if (!HasBias(plan.joins)) of.bias = nullptr;
  if (error == 0) error = Multiply(plan, of, workspace, stream);
  if (error == 0 && x.copied()) {
    error =
        RunResize({x.copied_rows, x.copied_columns, x.rows, x.columns}, of.d, operands->d, stream);
  }
  if (error != 0 || of.bias != nullptr || operands->bias == nullptr) return error;
  CudaMatmul of_result = copies.problem;
  of_result.m = x.rows;
  of_result.n = x.columns;
  return AddBias(of_result, operands->bias, operands->d, stream);
}

void MatmulRelease(void* made) {
  Plan* plan = static_cast<Plan*>(made);
#ifdef ONEFLOW_CUBLASLT
  ReleaseDescriptions(plan);
#endif
  delete plan;
}

#ifdef ONEFLOW_CUBLASLT

// What an algorithm is, field by field. False: it cannot be told, or would not do.
bool NameOf(const cublasLtMatmulAlgo_t& algo, bool first, char (&name)[192]) {
  struct Field {
    const char* name;
    cublasLtMatmulAlgoConfigAttributes_t attribute;
    size_t bytes;
  };
  constexpr Field kFields[] = {{"id", CUBLASLT_ALGO_CONFIG_ID, 4},
                               {"tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4},
                               {"stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
                               {"splits", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},
                               {"reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
                               {"swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},
                               {"option", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4},
                               {"inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},
                               {"cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2}};
  const Library& lt = OpenedLibrary();
  size_t at = 0;
  for (const Field& field : kFields) {
    uint32_t value = 0;
    uint16_t narrow = 0;
    size_t written = 0;
    void* place = field.bytes == 2 ? static_cast<void*>(&narrow) : &value;
    if (lt.algo_get(&algo, field.attribute, place, field.bytes, &written) !=
        CUBLAS_STATUS_SUCCESS) {
      return false;
    }
    if (field.bytes == 2) value = narrow;
    // Shares in the result's type are rounded once more, and those in place may be added as they come.
    if (!first && field.attribute == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME &&
        value != CUBLASLT_REDUCTION_SCHEME_NONE &&
        value != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) {
      return false;
    }
    const int more = std::snprintf(name + at, sizeof(name) - at, "%s%s %u", at == 0 ? "" : " ",
                                   field.name, value);
    at += static_cast<size_t>(more);
    if (more < 0 || at >= sizeof(name)) return false;
  }
  return true;
}

void OfferLibrary(Plan* plan, CudaAlgorithms* offered) {
  if (!NameOf(plan->algo, true, offered->names[0]) || !TellPlace(OpenedLibrary().text, offered)) {
    return;
  }
  plan->algos[0] = plan->algo;
  offered->count = 1;
  cublasLtMatmulAlgo_t proposed[kMostAlgorithms];
  const int count = Proposals(*plan, kMostAlgorithms, proposed);
  for (int p = 0; p < count && offered->count < kMostAlgorithms; ++p) {
    char name[192];
    if (!NameOf(proposed[p], false, name) || PlaceOf(name, *offered) >= 0) continue;
    if (Offer(name, offered)) plan->algos[offered->count - 1] = proposed[p];
  }
}

#endif  // ONEFLOW_CUBLASLT

CudaError MatmulAlgorithms(void* made, CudaAlgorithms* offered) {
  Plan* plan = static_cast<Plan*>(made);
  *offered = {};
#ifdef ONEFLOW_CUBLASLT
  if (plan->library) OfferLibrary(plan, offered);
#endif
#ifndef __CUDACC__
  // Two whose bits differ, for tests of who chooses what.
  std::snprintf(offered->place, sizeof(offered->place), "software CUDA");
  Offer("forwards", offered);
  Offer("backwards", offered);
#endif
  plan->offered = *offered;
  return 0;
}

CudaError MatmulUse(void* made, const char* name) {
  Plan* plan = static_cast<Plan*>(made);
  const int place = PlaceOf(name, plan->offered);
  if (place < 0) return 1;  // cudaErrorInvalidValue
#ifdef ONEFLOW_CUBLASLT
  plan->algo = plan->algos[place];
#endif
#ifndef __CUDACC__
  plan->backwards = place == 1;
#endif
  return 0;
}

const char* MatmulLibrary([[maybe_unused]] const char* path) {
#ifdef ONEFLOW_CUBLASLT
  return OpenedLibrary(path).text;
#else
  return "built without cuBLASLt: products run on the own kernel, which is slow";
#endif
}

}  // namespace

void AddMatmul(CudaApi* api) {
  api->matmul_plan = &MatmulPlan;
  api->matmul = &Matmul;
  api->matmul_release = &MatmulRelease;
  api->matmul_algorithms = &MatmulAlgorithms;
  api->matmul_use = &MatmulUse;
  api->matmul_library = &MatmulLibrary;
}

}  // namespace oneflow::kernels
