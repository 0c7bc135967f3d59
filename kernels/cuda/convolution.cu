// conv2d on NHWC images and its two gradients: cuDNN where that library is and has an engine
// (kernels/cuda/cudnn_convolution.h), else the kernels here, implicit products: no image is unrolled. f32, bf16
// and f16 are read as they are and added in f32.
//
//   pass          rows           columns         depth
//   forward       result pixels  filters         taps x channels
//   grad_input    image pixels   channels        taps x filters
//   grad_weight   filters        taps x channels result pixels, in shares that a second kernel joins
//
// Groups are products of their own. Two forms: tiles in shared memory (kernels/cuda/tile_product.h)
// where a group has 8 rows and columns, a thread per result else (depthwise). Operations: 2 * rows *
// columns * depth; a gradient of a strided image multiplies the zeros between its pixels too (4 times
// the operations at stride 2). Bytes: operands once per tile of the other side. Measured 6.1 TFLOP/s on
// an H100 (3x3, 128 channels, 28 x 28, f32 and bf16 alike): what is here is a fallback, a library's kernels
// with tensor cores are 50 to 90 times as fast.
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "base/dtype.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/convolution_sums.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/filter_layout.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/tile_product.h"
#include "kernels/scalar/types.h"

#ifdef __CUDACC__
#include "kernels/cuda/cudnn_convolution.h"
#include "kernels/cuda/gpu_place.h"
#endif

namespace oneflow::kernels {
namespace {

struct Quotient {
  int64_t whole, rest;
};
// 32-bit divisions where they are enough: they cost a quarter.
__device__ __forceinline__ Quotient Divide(int64_t a, int64_t b) {
  if (a <= INT32_MAX && b <= INT32_MAX) {
    const uint32_t whole = static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    return {whole, static_cast<uint32_t>(a) - static_cast<int64_t>(whole) * b};
  }
  const int64_t whole = a / b;
  return {whole, a - whole * b};
}

// Extents as in CudaConvolution, c and k of one group beside them.
struct Place : CudaConvolution {
  int64_t c_each, k_each;
  __device__ __forceinline__ explicit Place(const CudaConvolution& p)
      : CudaConvolution(p), c_each(p.c / p.groups), k_each(p.k / p.groups) {}

  // What tap `tap` of result pixel `pixel` reads: the pixel of the image, -1 in the padding.
  __device__ __forceinline__ int64_t Read(int64_t pixel, int64_t tap) const {
    const Quotient line = Divide(pixel, q);
    const Quotient image = Divide(line.whole, this->p);
    const Quotient at = Divide(tap, s);
    const int64_t y = image.rest * stride[0] - padding[0] + at.whole * dilation[0];
    const int64_t x = line.rest * stride[1] - padding[1] + at.rest * dilation[1];
    if (y < 0 || y >= h || x < 0 || x >= w) return -1;
    return (image.whole * h + y) * w + x;
  }
  // The result pixel that reads image pixel `pixel` through `tap`, -1 if none does.
  __device__ __forceinline__ int64_t ReadBy(int64_t pixel, int64_t tap) const {
    const Quotient line = Divide(pixel, w);
    const Quotient image = Divide(line.whole, h);
    const Quotient at = Divide(tap, s);
    const int64_t down = image.rest + padding[0] - at.whole * dilation[0];
    const int64_t right = line.rest + padding[1] - at.rest * dilation[1];
    if (down < 0 || right < 0) return -1;
    const Quotient i = Divide(down, stride[0]);
    const Quotient j = Divide(right, stride[1]);
    if (i.rest != 0 || j.rest != 0 || i.whole >= this->p || j.whole >= q) return -1;
    return (image.whole * this->p + i.whole) * q + j.whole;
  }
  __device__ __forceinline__ int64_t Weight(int64_t g, int64_t filter, int64_t channel,
                                            int64_t tap) const {
    return ((g * k_each + filter) * c_each + channel) * r * s + tap;
  }
};

// A pass as a product of one group: A(g, row, k), B(g, k, column), and where a result stands.
template <typename T>
struct Forward : Place {
  static constexpr bool kDeepA = true, kDeepB = true;
  const T* x;
  const T* weight;
  __device__ __forceinline__ Forward(const CudaConvolution& p, const T* a, const T* b)
      : Place(p), x(a), weight(b) {}
  __device__ __forceinline__ int64_t rows() const { return n * p * q; }
  __device__ __forceinline__ int64_t columns() const { return k_each; }
  __device__ __forceinline__ int64_t depth() const { return r * s * c_each; }
  __device__ __forceinline__ float A(int64_t g, int64_t row, int64_t k_at) const {
    const Quotient at = Divide(k_at, c_each);
    const int64_t pixel = Read(row, at.whole);
    return pixel < 0 ? 0.0f : static_cast<float>(x[pixel * c + g * c_each + at.rest]);
  }
  __device__ __forceinline__ float B(int64_t g, int64_t k_at, int64_t column) const {
    const Quotient at = Divide(k_at, c_each);
    return static_cast<float>(weight[Weight(g, column, at.rest, at.whole)]);
  }
  __device__ __forceinline__ int64_t At(int64_t g, int64_t row, int64_t column) const {
    return row * k + g * k_each + column;
  }
};

template <typename T>
struct GradInput : Place {
  static constexpr bool kDeepA = true, kDeepB = false;
  const T* dy;
  const T* weight;
  __device__ __forceinline__ GradInput(const CudaConvolution& p, const T* a, const T* b)
      : Place(p), dy(a), weight(b) {}
  __device__ __forceinline__ int64_t rows() const { return n * h * w; }
  __device__ __forceinline__ int64_t columns() const { return c_each; }
  __device__ __forceinline__ int64_t depth() const { return r * s * k_each; }
  __device__ __forceinline__ float A(int64_t g, int64_t row, int64_t k_at) const {
    const Quotient at = Divide(k_at, k_each);
    const int64_t pixel = ReadBy(row, at.whole);
    return pixel < 0 ? 0.0f : static_cast<float>(dy[pixel * k + g * k_each + at.rest]);
  }
  __device__ __forceinline__ float B(int64_t g, int64_t k_at, int64_t column) const {
    const Quotient at = Divide(k_at, k_each);
    return static_cast<float>(weight[Weight(g, at.rest, column, at.whole)]);
  }
  __device__ __forceinline__ int64_t At(int64_t g, int64_t row, int64_t column) const {
    return row * c + g * c_each + column;
  }
};

template <typename T>
struct GradWeight : Place {
  static constexpr bool kDeepA = false, kDeepB = false;
  const T* x;
  const T* dy;
  __device__ __forceinline__ GradWeight(const CudaConvolution& p, const T* a, const T* b)
      : Place(p), x(a), dy(b) {}
  __device__ __forceinline__ int64_t rows() const { return k_each; }
  __device__ __forceinline__ int64_t columns() const { return r * s * c_each; }
  __device__ __forceinline__ int64_t depth() const { return n * p * q; }
  __device__ __forceinline__ float A(int64_t g, int64_t row, int64_t k_at) const {
    return static_cast<float>(dy[k_at * k + g * k_each + row]);
  }
  __device__ __forceinline__ float B(int64_t g, int64_t k_at, int64_t column) const {
    const Quotient at = Divide(column, c_each);
    const int64_t pixel = Read(k_at, at.whole);
    return pixel < 0 ? 0.0f : static_cast<float>(x[pixel * c + g * c_each + at.rest]);
  }
  __device__ __forceinline__ int64_t At(int64_t g, int64_t row, int64_t column) const {
    const Quotient at = Divide(column, c_each);
    return Weight(g, row, at.rest, at.whole);
  }
};

template <typename Pass, typename T>
__global__ void TiledKernel(CudaConvolution p, const T* a, const T* b, T* out, float* shares) {
  __shared__ TileSpace space;
  const Pass pass(p, a, b);
  const int64_t row_tiles = (pass.rows() + kTile - 1) / kTile;
  const int64_t column_tiles = (pass.columns() + kTile - 1) / kTile;
  const int64_t tiles = row_tiles * column_tiles * p.groups;
  for (int64_t item = blockIdx.x; item < tiles * p.splits; item += gridDim.x) {
    const int64_t column = item % column_tiles * kTile;
    const int64_t row = item / column_tiles % row_tiles * kTile;
    const int64_t g = item / (column_tiles * row_tiles) % p.groups;
    const int64_t share = item / tiles;
    TileSums sums;
    AddProduct<Pass::kDeepA, Pass::kDeepB>(
        &sums, &space, pass.depth() * share / p.splits, pass.depth() * (share + 1) / p.splits,
        [&](int i, int64_t k) { return row + i < pass.rows() ? pass.A(g, row + i, k) : 0.0f; },
        [&](int64_t k, int j) {
          return column + j < pass.columns() ? pass.B(g, k, column + j) : 0.0f;
        });
    sums.ForEach([&](int i, int j, const float* sum) {
      if (row + i >= pass.rows() || column + j >= pass.columns()) return;
      if (p.splits == 1) {
        out[pass.At(g, row + i, column + j)] = T(*sum);
      } else {
        shares[((share * p.groups + g) * pass.rows() + row + i) * pass.columns() + column + j] =
            *sum;
      }
    });
  }
}

// A thread per share of a result.
template <typename Pass, typename T>
__global__ void DirectKernel(CudaConvolution p, const T* a, const T* b, T* out, float* shares) {
  const Pass pass(p, a, b);
  const int64_t results = p.groups * pass.rows() * pass.columns();
  for (int64_t item = FirstItem(); item < results * p.splits; item += ItemStride()) {
    // Neighbours are channels, of one group after the other.
    const int64_t share = item / results;
    const int64_t column = item % pass.columns();
    const int64_t g = item % results / pass.columns() % p.groups;
    const int64_t row = item % results / pass.columns() / p.groups;
    const int64_t end = pass.depth() * (share + 1) / p.splits;
    float total = 0;
    for (int64_t k = pass.depth() * share / p.splits; k < end; ++k) {
      total = MultiplyAdd(pass.A(g, row, k), pass.B(g, k, column), total);
    }
    if (p.splits == 1) {
      out[pass.At(g, row, column)] = T(total);
    } else {
      shares[((share * p.groups + g) * pass.rows() + row) * pass.columns() + column] = total;
    }
  }
}

template <typename Pass, typename T>
__global__ void JoinKernel(CudaConvolution p, const float* shares, T* out) {
  const Pass pass(p, nullptr, nullptr);
  const int64_t results = p.groups * pass.rows() * pass.columns();
  for (int64_t i = FirstItem(); i < results; i += ItemStride()) {
    float total = shares[i];
    for (int64_t share = 1; share < p.splits; ++share) total += shares[share * results + i];
    const int64_t row = i / pass.columns() % pass.rows();
    out[pass.At(i / pass.columns() / pass.rows(), row, i % pass.columns())] = T(total);
  }
}

template <template <typename> typename Pass, typename T>
CudaError ConvolvePass(const CudaConvolution* p, const CudaOperands* o, CudaStreamHandle stream) {
  const T* a = static_cast<const T*>(o->in[0]);
  const T* b = static_cast<const T*>(o->in[1]);
  T* out = static_cast<T*>(o->out[0]);
  float* shares = static_cast<float*>(o->workspace);
  const int64_t results = p->groups * p->group_rows * p->group_columns;
  CudaError error = 0;
  if (p->tiled) {
    const int64_t tiles = p->groups * ((p->group_rows + kTile - 1) / kTile) *
                          ((p->group_columns + kTile - 1) / kTile) * p->splits;
    error = LaunchBlocks(&TiledKernel<Pass<T>, T>, std::min<int64_t>(tiles, 1 << 20), kTileThreads,
                         stream, *p, a, b, out, shares);
  } else {
    error = Launch(&DirectKernel<Pass<T>, T>, BlocksFor(results * p->splits), kThreads, stream, *p,
                   a, b, out, shares);
  }
  if (error != 0 || p->splits == 1) return error;
  return Launch(&JoinKernel<Pass<T>, T>, BlocksFor(results), kThreads, stream, *p,
                static_cast<const float*>(shares), out);
}

template <typename T>
CudaError Convolve(const CudaConvolution* p, const CudaOperands* o, CudaStreamHandle stream) {
  switch (p->pass) {
    case CudaConvolutionPass::kGradInput:
      return ConvolvePass<GradInput, T>(p, o, stream);
    case CudaConvolutionPass::kGradWeight:
      return ConvolvePass<GradWeight, T>(p, o, stream);
    case CudaConvolutionPass::kForward:
      break;
  }
  return ConvolvePass<Forward, T>(p, o, stream);
}

CudaRun<CudaConvolution> OwnKernel(int dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
      return &Convolve<float>;
    case DType::kBF16:
      return &Convolve<BF16>;
    case DType::kF16:
      return &Convolve<F16>;
    default:
      return nullptr;
  }
}

// ---- Plans ----

struct Plan {
  CudaConvolution problem;
  CudaRun<CudaConvolution> own;
#ifdef __CUDACC__
  std::shared_ptr<CudnnConvolution> library;  // nullptr: the own kernel
  bool makes_sums = false;
  int device = 0;                                              // that it was made for
  std::shared_ptr<CudnnConvolution> engines[kMostAlgorithms];  // of those offered that were used
#endif
  CudaAlgorithms offered = {};
  int32_t shares = 1;  // of the own kernel, in tests
};

// Of all plans of this process.
struct Plans {
  std::mutex mutex;
  CudaConvolutionPlans counts = {};
};
Plans& AllPlans() {
  static Plans* plans = new Plans;
  return *plans;
}

#ifdef __CUDACC__
CudaConvolution WithoutSums(CudaConvolution problem) {
  problem.parts = 0;
  return problem;
}
#endif

CudaError ConvolutionPlan(const CudaConvolution* problem, void** out) {
  *out = nullptr;
  const CudaRun<CudaConvolution> own = OwnKernel(problem->dtype);
  if (own == nullptr) return 0;
  auto plan = std::make_unique<Plan>();
  plan->problem = *problem;
  plan->own = own;
  plan->shares = problem->splits;
  bool by_library = false;
  char who[sizeof(CudaConvolutionPlans::latest)] = "own kernel";
#ifdef __CUDACC__
  const int64_t room = EngineRoom(*problem);
  if (room >= 0 && problem->compiles && MakesStatistics(*problem)) {
    plan->library = CudnnConvolution::Shared(*problem, room);
    plan->makes_sums = plan->library != nullptr;
  }
  if (room >= 0 && plan->library == nullptr) {
    plan->library = CudnnConvolution::Make(WithoutSums(*problem), room);
  }
  cudaGetDevice(&plan->device);
  by_library = plan->library != nullptr;
  if (by_library) {
    std::snprintf(who, sizeof(who), "cuDNN engine %lld%s, workspace %lld",
                  static_cast<long long>(plan->library->engine()),
                  plan->makes_sums ? " with sums" : "",
                  static_cast<long long>(plan->library->workspace_bytes()));
  }
#endif
  *out = plan.release();
  Plans& plans = AllPlans();
  std::lock_guard<std::mutex> lock(plans.mutex);
  ++(by_library ? plans.counts.library : plans.counts.own);
  ++plans.counts.live;
  std::memcpy(plans.counts.latest, who, sizeof(who));
  return 0;
}

#ifdef __CUDACC__

// `w`: the filters as the library reads them.
CudaError RunWithSums(const Plan& plan, const CudaOperands& o, const void* w, char* statistics,
                      void* engine_space, CudaStreamHandle stream) {
  const CudaConvolution& p = plan.problem;
  const auto of_channels = [&](int i) {
    return reinterpret_cast<float*>(statistics + i * ChannelBytes(p));
  };
  float *pivots = of_channels(0), *sums = of_channels(1), *squares = of_channels(2);
  if (const CudaError error = ChannelPivots(p, o.in[0], o.in[1], pivots, stream); error != 0) {
    return error;
  }
  if (const CudaError error =
          plan.library->Run({o.in[0], w, o.out[0], pivots, sums, squares}, engine_space, stream);
      error != 0) {
    return error;
  }
  return PivotedSums(p, pivots, sums, squares, static_cast<float*>(o.out[1]),
                     static_cast<float*>(o.out[2]), stream);
}

CudaError RunLibrary(const Plan& plan, const CudaOperands& o, CudaStreamHandle stream) {
  const CudaConvolution& p = plan.problem;
  char* space = AlignedSpace(o.workspace);
  char* const statistics = space + FilterBytes(p);
  void* engine_space = statistics + StatisticBytes(p);
  void* filters = space;
  const bool turned = FilterBytes(p) > 0;
  switch (p.pass) {
    case CudaConvolutionPass::kForward:
    case CudaConvolutionPass::kGradInput: {
      const bool forward = p.pass == CudaConvolutionPass::kForward;
      const void* w = turned ? filters : o.in[1];
      const CudaError error = turned ? FiltersChannelsLast(p, o.in[1], filters, stream) : 0;
      if (error != 0) return error;
      if (plan.makes_sums) return RunWithSums(plan, o, w, statistics, engine_space, stream);
      return plan.library->Run({forward ? o.in[0] : o.out[0], w, forward ? o.out[0] : o.in[0]},
                               engine_space, stream);
    }
    case CudaConvolutionPass::kGradWeight:
      break;
  }
  const CudaError error =
      plan.library->Run({o.in[0], turned ? filters : o.out[0], o.in[1]}, engine_space, stream);
  if (error != 0 || !turned) return error;
  return FiltersChannelsFirst(p, filters, o.out[0], stream);
}

#endif

CudaError RunPlan(const void* made, const CudaOperands* operands, CudaStreamHandle stream) {
  const Plan& plan = *static_cast<const Plan*>(made);
#ifdef __CUDACC__
  if (plan.library != nullptr) return RunLibrary(plan, *operands, stream);
#endif
  return plan.own(&plan.problem, operands, stream);
}

#ifdef __CUDACC__

// Those beside which there are sums are compiled when they are first used, for a second each: fewer of them.
constexpr size_t kMostWithSums = 4;

void OfferLibrary(Plan* plan, CudaAlgorithms* offered) {
  bool found = false;
  if (!TellPlace(CudnnLibrary("", &found), offered)) return;
  if (!Offer(plan->library->name().c_str(), offered)) return;
  plan->engines[0] = plan->library;
  const size_t most = plan->makes_sums ? kMostWithSums : size_t{kMostAlgorithms};
  const CudaConvolution problem = plan->makes_sums ? plan->problem : WithoutSums(plan->problem);
  for (const std::string& name :
       CudnnConvolution::Offered(problem, EngineRoom(plan->problem), most)) {
    if (offered->count == static_cast<int32_t>(most)) break;
    if (name != plan->library->name()) Offer(name.c_str(), offered);
  }
}

// The i-th of those offered, on the GPU that the plan was made for, whichever the calling thread is with.
bool UseEngine(Plan* plan, int i) {
  std::shared_ptr<CudnnConvolution>& engine = plan->engines[i];
  if (engine == nullptr) {
    const OnGpu there(plan->device);
    if (!there.ok()) return false;
    engine = CudnnConvolution::Shared(plan->makes_sums ? plan->problem : WithoutSums(plan->problem),
                                      EngineRoom(plan->problem), plan->offered.names[i]);
  }
  if (engine == nullptr) return false;
  plan->library = engine;
  return true;
}

#endif  // __CUDACC__

CudaError ConvolutionAlgorithms(void* made, CudaAlgorithms* offered) {
  Plan* plan = static_cast<Plan*>(made);
  *offered = {};
#ifdef __CUDACC__
  if (plan->library != nullptr) OfferLibrary(plan, offered);
#else
  // Two whose bits differ where there are shares, for tests of who chooses what.
  std::snprintf(offered->place, sizeof(offered->place), "software CUDA");
  Offer("in shares", offered);
  Offer("in one", offered);
#endif
  plan->offered = *offered;
  return 0;
}

CudaError ConvolutionUse(void* made, const char* name) {
  Plan* plan = static_cast<Plan*>(made);
  constexpr CudaError kNone = 1;  // cudaErrorInvalidValue
  const int place = PlaceOf(name, plan->offered);
  if (place < 0) return kNone;
#ifdef __CUDACC__
  return UseEngine(plan, place) ? 0 : kNone;
#else
  plan->problem.splits = place == 0 ? plan->shares : 1;
  return 0;
#endif
}

bool MakesSums([[maybe_unused]] const void* made) {
#ifdef __CUDACC__
  return static_cast<const Plan*>(made)->makes_sums;
#else
  return false;
#endif
}

void ReleasePlan(void* made) {
  Plans& plans = AllPlans();
  {
    std::lock_guard<std::mutex> lock(plans.mutex);
    --plans.counts.live;
  }
  delete static_cast<Plan*>(made);
}

const char* ConvolutionLibrary([[maybe_unused]] const char* path, bool* found) {
#ifdef __CUDACC__
  return CudnnLibrary(path, found);
#else
  *found = false;
  return "software CUDA has no cuDNN: convolutions run on the own kernels";
#endif
}

void CountPlans(CudaConvolutionPlans* counts) {
  Plans& plans = AllPlans();
  std::lock_guard<std::mutex> lock(plans.mutex);
  *counts = plans.counts;
}

}  // namespace

void AddConvolution(CudaApi* api) {
  api->convolution_plan = &ConvolutionPlan;
  api->convolution = &RunPlan;
  api->convolution_algorithms = &ConvolutionAlgorithms;
  api->convolution_use = &ConvolutionUse;
  api->convolution_makes_sums = &MakesSums;
  api->convolution_release = &ReleasePlan;
  api->convolution_library = &ConvolutionLibrary;
  api->convolution_plans = &CountPlans;
}

}  // namespace oneflow::kernels
