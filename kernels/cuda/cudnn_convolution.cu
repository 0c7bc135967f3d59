#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cudnn_backend.h"
#include "kernels/cuda/cudnn_convolution.h"
#include "kernels/cuda/open_library.h"

#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
#endif

namespace oneflow::kernels {
namespace {

using cudnn::Descriptor;
using cudnn::Handle;
using cudnn::Library;
using cudnn::Status;

#if __has_include(<cudnn_graph.h>)
#define OF_SAME(ours, theirs) static_assert(static_cast<int>(cudnn::ours) == theirs)
OF_SAME(kConvolution, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
OF_SAME(kEngine, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
OF_SAME(kEngineConfig, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
OF_SAME(kEngineHeuristics, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
OF_SAME(kExecutionPlan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
OF_SAME(kConvolutionForward, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
OF_SAME(kConvolutionBackwardFilter, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
OF_SAME(kConvolutionBackwardData, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
OF_SAME(kOperationGraph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
OF_SAME(kVariantPack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
OF_SAME(kTensor, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
OF_SAME(kTypeHandle, CUDNN_TYPE_HANDLE);
OF_SAME(kTypeDataType, CUDNN_TYPE_DATA_TYPE);
OF_SAME(kTypeInt64, CUDNN_TYPE_INT64);
OF_SAME(kTypeFloat, CUDNN_TYPE_FLOAT);
OF_SAME(kTypePointer, CUDNN_TYPE_VOID_PTR);
OF_SAME(kTypeConvolutionMode, CUDNN_TYPE_CONVOLUTION_MODE);
OF_SAME(kTypeHeuristicsMode, CUDNN_TYPE_HEUR_MODE);
OF_SAME(kTypeNumericalNote, CUDNN_TYPE_NUMERICAL_NOTE);
OF_SAME(kTypeDescriptor, CUDNN_TYPE_BACKEND_DESCRIPTOR);
OF_SAME(kTypeBehaviorNote, CUDNN_TYPE_BEHAVIOR_NOTE);
OF_SAME(kConvolutionComputeType, CUDNN_ATTR_CONVOLUTION_COMP_TYPE);
OF_SAME(kConvolutionMode, CUDNN_ATTR_CONVOLUTION_CONV_MODE);
OF_SAME(kConvolutionDilations, CUDNN_ATTR_CONVOLUTION_DILATIONS);
OF_SAME(kConvolutionStrides, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
OF_SAME(kConvolutionPostPaddings, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
OF_SAME(kConvolutionPrePaddings, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
OF_SAME(kConvolutionSpatialDims, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
OF_SAME(kHeuristicsMode, CUDNN_ATTR_ENGINEHEUR_MODE);
OF_SAME(kHeuristicsGraph, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
OF_SAME(kHeuristicsResults, CUDNN_ATTR_ENGINEHEUR_RESULTS);
OF_SAME(kEngineConfigEngine, CUDNN_ATTR_ENGINECFG_ENGINE);
OF_SAME(kPlanHandle, CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
OF_SAME(kPlanEngineConfig, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
OF_SAME(kPlanWorkspaceSize, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
OF_SAME(kForwardAlpha, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA);
OF_SAME(kForwardBeta, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA);
OF_SAME(kForwardConvolution, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
OF_SAME(kForwardW, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W);
OF_SAME(kForwardX, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X);
OF_SAME(kForwardY, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
OF_SAME(kBackwardDataAlpha, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA);
OF_SAME(kBackwardDataBeta, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA);
OF_SAME(kBackwardDataConvolution, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC);
OF_SAME(kBackwardDataW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W);
OF_SAME(kBackwardDataDx, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX);
OF_SAME(kBackwardDataDy, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY);
OF_SAME(kBackwardFilterAlpha, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA);
OF_SAME(kBackwardFilterBeta, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA);
OF_SAME(kBackwardFilterConvolution, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC);
OF_SAME(kBackwardFilterDw, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW);
OF_SAME(kBackwardFilterX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X);
OF_SAME(kBackwardFilterDy, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY);
OF_SAME(kGraphHandle, CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
OF_SAME(kGraphOperations, CUDNN_ATTR_OPERATIONGRAPH_OPS);
OF_SAME(kTensorAlignment, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
OF_SAME(kTensorDataType, CUDNN_ATTR_TENSOR_DATA_TYPE);
OF_SAME(kTensorDimensions, CUDNN_ATTR_TENSOR_DIMENSIONS);
OF_SAME(kTensorStrides, CUDNN_ATTR_TENSOR_STRIDES);
OF_SAME(kTensorId, CUDNN_ATTR_TENSOR_UNIQUE_ID);
OF_SAME(kPackIds, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
OF_SAME(kPackPointers, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
OF_SAME(kPackWorkspace, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
OF_SAME(kEngineGlobalIndex, CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
OF_SAME(kEngineNumericalNotes, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE);
OF_SAME(kEngineBehaviorNotes, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE);
OF_SAME(kFloat, CUDNN_DATA_FLOAT);
OF_SAME(kHalf, CUDNN_DATA_HALF);
OF_SAME(kBfloat16, CUDNN_DATA_BFLOAT16);
OF_SAME(kCrossCorrelation, CUDNN_CROSS_CORRELATION);
OF_SAME(kHeuristicsFallback, CUDNN_HEUR_MODE_FALLBACK);
OF_SAME(kHeuristicsA, CUDNN_HEUR_MODE_A);
OF_SAME(kTensorCore, CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
OF_SAME(kDownConvertInputs, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
OF_SAME(kReducedPrecisionReduction, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION);
OF_SAME(kFft, CUDNN_NUMERICAL_NOTE_FFT);
OF_SAME(kNondeterministic, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
OF_SAME(kWinograd, CUDNN_NUMERICAL_NOTE_WINOGRAD);
OF_SAME(kWinograd4x4, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4);
OF_SAME(kWinograd6x6, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6);
OF_SAME(kWinograd13x13, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13);
OF_SAME(kRuntimeCompilation, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
#undef OF_SAME
#endif

// cuDNN ends the process where it finds no cuBLASLt. What matmul.cu has opened from a path is found here by its name.
bool HasCublasLt() { return OpenLibrary("", "libcublasLt.so.13") != nullptr; }

void Open(const char* path, Library* library) {
  if (!HasCublasLt()) {
    std::snprintf(library->text, sizeof(library->text),
                  "cuDNN needs cuBLASLt, which is not there. Convolutions run on the own kernels, "
                  "which are slow");
    return;
  }
  void* opened = OpenLibrary(path, "libcudnn.so.9");
  if (opened == nullptr) {
    std::snprintf(
        library->text, sizeof(library->text),
        "no cuDNN (%s); pip install nvidia-cudnn-cu13. Convolutions run on the own kernels, "
        "which are slow",
        dlerror());
    return;
  }
  const bool all = Resolve(opened, "cudnnGetVersion", &library->version) &&
                   Resolve(opened, "cudnnGetErrorString", &library->error_text) &&
                   Resolve(opened, "cudnnCreate", &library->create) &&
                   Resolve(opened, "cudnnSetStream", &library->set_stream) &&
                   Resolve(opened, "cudnnBackendCreateDescriptor", &library->descriptor_create) &&
                   Resolve(opened, "cudnnBackendDestroyDescriptor", &library->descriptor_destroy) &&
                   Resolve(opened, "cudnnBackendFinalize", &library->finalize) &&
                   Resolve(opened, "cudnnBackendSetAttribute", &library->set) &&
                   Resolve(opened, "cudnnBackendGetAttribute", &library->get) &&
                   Resolve(opened, "cudnnBackendExecute", &library->execute);
  const size_t version = all ? library->version() : 0;
  // The numbers of cudnn_backend.h are those of version 9.
  library->found = version / 10000 == 9;
  if (!library->found) {
    std::snprintf(library->text, sizeof(library->text),
                  "cuDNN lacks a function or is not of version 9. Convolutions run on the own "
                  "kernels, which are slow");
    return;
  }
  std::snprintf(library->text, sizeof(library->text), "cuDNN %zu.%zu.%zu", version / 10000,
                version / 100 % 100, version % 100);
}

const Library& OpenedLibrary(const char* path = "") { return OpenedOnce<Library, &Open>(path); }

// A device's, for all its streams: which of them is set before each call.
struct DeviceHandle {
  Handle handle = nullptr;
  std::mutex mutex;
};

// Of the calling thread's device; nullptr: no library, or it does not start.
DeviceHandle* HandleOfDevice() {
  static std::mutex mutex;
  static std::map<int, DeviceHandle>* handles = new std::map<int, DeviceHandle>;
  const Library& library = OpenedLibrary();
  int device = 0;
  if (!library.found || cudaGetDevice(&device) != cudaSuccess) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  DeviceHandle& found = (*handles)[device];
  if (found.handle == nullptr && library.create(&found.handle) != 0) found.handle = nullptr;
  return found.handle == nullptr ? nullptr : &found;
}

// A descriptor that is destroyed with this; the first error of what is set is kept.
class Owned {
 public:
  explicit Owned(cudnn::DescriptorKind kind)
      : status_(OpenedLibrary().descriptor_create(kind, &descriptor_)) {
    if (status_ != 0) descriptor_ = nullptr;
  }
  Owned(Owned&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, nullptr)), status_(other.status_) {}
  Owned(const Owned&) = delete;
  ~Owned() {
    if (descriptor_ != nullptr) OpenedLibrary().descriptor_destroy(descriptor_);
  }
  template <typename T>
  Owned& Set(int attribute, int type, const T* values, int64_t count) {
    if (status_ == 0) status_ = OpenedLibrary().set(descriptor_, attribute, type, count, values);
    return *this;
  }
  template <typename T>
  Owned& Set(int attribute, int type, const T& value) {
    return Set(attribute, type, &value, 1);
  }
  Owned& Set(int attribute, const Owned& other) {
    return Set(attribute, cudnn::kTypeDescriptor, other.descriptor_);
  }
  Owned& Finalize() {
    if (status_ == 0) status_ = OpenedLibrary().finalize(descriptor_);
    return *this;
  }
  // Up to `wanted` values; how many there were.
  template <typename T>
  int64_t Get(int attribute, int type, T* values, int64_t wanted) const {
    int64_t count = 0;
    const Status status = OpenedLibrary().get(descriptor_, attribute, type, wanted, &count, values);
    return status == 0 ? std::min(count, wanted) : 0;
  }
  bool ok() const { return status_ == 0; }
  Status status() const { return status_; }
  Descriptor get() const { return descriptor_; }
  Descriptor Release() { return std::exchange(descriptor_, nullptr); }

 private:
  Descriptor descriptor_ = nullptr;
  Status status_ = 0;
};

// ---- The problem ----

constexpr int64_t kX = 1, kW = 2, kY = 3;  // ids of the tensors
constexpr int64_t kAlignment = 16;         // of buffers, whose first elements lie on 64 bytes

int DataTypeOf(DType dtype) {
  return dtype == DType::kBF16  ? cudnn::kBfloat16
         : dtype == DType::kF16 ? cudnn::kHalf
                                : cudnn::kFloat;
}

// cuDNN writes dims as [n, c, h, w]; the channel is the innermost in memory.
Owned ChannelsLast(int64_t id, DType dtype, int64_t n, int64_t c, int64_t h, int64_t w) {
  const int64_t dims[4] = {n, c, h, w};
  const int64_t strides[4] = {h * w * c, 1, w * c, c};
  Owned tensor(cudnn::kTensor);
  tensor.Set(cudnn::kTensorDataType, cudnn::kTypeDataType, DataTypeOf(dtype))
      .Set(cudnn::kTensorDimensions, cudnn::kTypeInt64, dims, 4)
      .Set(cudnn::kTensorStrides, cudnn::kTypeInt64, strides, 4)
      .Set(cudnn::kTensorId, cudnn::kTypeInt64, id)
      .Set(cudnn::kTensorAlignment, cudnn::kTypeInt64, kAlignment)
      .Finalize();
  return tensor;
}

// A plan may be anything: what is asked of cuDNN is a convolution that is one.
bool IsPlain(const CudaConvolution& p) {
  const auto fits = [](int64_t extent, int64_t kernel, int64_t result, int64_t stride,
                       int64_t padding, int64_t dilation) {
    const int64_t window = dilation * (kernel - 1) + 1;
    return stride > 0 && dilation > 0 && padding >= 0 && window <= extent + 2 * padding &&
           (extent + 2 * padding - window) / stride + 1 == result;
  };
  return IsForLibrary(p) && fits(p.h, p.r, p.p, p.stride[0], p.padding[0], p.dilation[0]) &&
         fits(p.w, p.s, p.q, p.stride[1], p.padding[1], p.dilation[1]);
}

// Where cuDNN 9.19 is known to be worse than the own kernels, of one channel a group. In 16 bits gradients of several
// filters a channel take it 10 to 20 times as long (measured on an H100); and in f16 the gradient of the filters is
// added in f16, which its notes do not say: 10 % off over 50,000 pixels.
bool IsServedWorse(const CudaConvolution& p) {
  const DType dtype = static_cast<DType>(p.dtype);
  if (p.c != p.groups || dtype == DType::kF32 || p.pass == CudaConvolutionPass::kForward) {
    return false;
  }
  return p.k != p.groups || (dtype == DType::kF16 && p.pass == CudaConvolutionPass::kGradWeight);
}

// What the attributes of a pass are called.
struct PassAttributes {
  cudnn::DescriptorKind kind;
  int convolution, x, w, y, alpha, beta;
};
PassAttributes AttributesOf(CudaConvolutionPass pass) {
  switch (pass) {
    case CudaConvolutionPass::kGradInput:
      return {cudnn::kConvolutionBackwardData, cudnn::kBackwardDataConvolution,
              cudnn::kBackwardDataDx,          cudnn::kBackwardDataW,
              cudnn::kBackwardDataDy,          cudnn::kBackwardDataAlpha,
              cudnn::kBackwardDataBeta};
    case CudaConvolutionPass::kGradWeight:
      return {cudnn::kConvolutionBackwardFilter, cudnn::kBackwardFilterConvolution,
              cudnn::kBackwardFilterX,           cudnn::kBackwardFilterDw,
              cudnn::kBackwardFilterDy,          cudnn::kBackwardFilterAlpha,
              cudnn::kBackwardFilterBeta};
    case CudaConvolutionPass::kForward:
      break;
  }
  return {cudnn::kConvolutionForward, cudnn::kForwardConvolution, cudnn::kForwardX,
          cudnn::kForwardW,           cudnn::kForwardY,           cudnn::kForwardAlpha,
          cudnn::kForwardBeta};
}

// ---- Engines ----

// By what cuDNN says of it: the same bits in every run, sums in f32 of products of the operands themselves.
bool IsExact(const Owned& engine, DType dtype) {
  int notes[cudnn::kNumericalNotes] = {};
  const int64_t count = engine.Get(cudnn::kEngineNumericalNotes, cudnn::kTypeNumericalNote, notes,
                                   cudnn::kNumericalNotes);
  for (int64_t i = 0; i < count; ++i) {
    switch (notes[i]) {
      case cudnn::kNondeterministic:
      case cudnn::kDownConvertInputs:
      case cudnn::kReducedPrecisionReduction:
      case cudnn::kFft:
      case cudnn::kWinograd:
      case cudnn::kWinograd4x4:
      case cudnn::kWinograd6x6:
      case cudnn::kWinograd13x13:
        return false;
      case cudnn::kTensorCore:
        if (dtype == DType::kF32) return false;  // TF32
        break;
      default:
        break;
    }
  }
  return true;
}
// Made by a compiler at run time, which takes a second each.
bool IsCompiledLater(const Owned& engine) {
  int notes[cudnn::kBehaviorNotes] = {};
  const int64_t count = engine.Get(cudnn::kEngineBehaviorNotes, cudnn::kTypeBehaviorNote, notes,
                                   cudnn::kBehaviorNotes);
  return std::find(notes, notes + count, static_cast<int>(cudnn::kRuntimeCompilation)) !=
         notes + count;
}

// Engines with their settings, the best first.
std::vector<Owned> ConfigsOf(const Owned& graph, cudnn::Heuristics mode) {
  std::vector<Owned> configs;
  Owned heuristics(cudnn::kEngineHeuristics);
  heuristics.Set(cudnn::kHeuristicsGraph, graph)
      .Set(cudnn::kHeuristicsMode, cudnn::kTypeHeuristicsMode, static_cast<int>(mode))
      .Finalize();
  if (!heuristics.ok()) return configs;
  constexpr int64_t kMost = 64;
  std::vector<Descriptor> places;
  for (int64_t i = 0; i < kMost; ++i) {
    configs.emplace_back(cudnn::kEngineConfig);
    places.push_back(configs.back().get());
  }
  const int64_t count =
      heuristics.Get(cudnn::kHeuristicsResults, cudnn::kTypeDescriptor, places.data(), kMost);
  while (static_cast<int64_t>(configs.size()) > count) configs.pop_back();
  return configs;
}

CudaError Code(Status status) { return status == 0 ? 0 : kCudnnErrors + status; }

}  // namespace

std::unique_ptr<CudnnConvolution> CudnnConvolution::Make(const CudaConvolution& p,
                                                         int64_t workspace_bytes) {
  DeviceHandle* device = IsPlain(p) && !IsServedWorse(p) ? HandleOfDevice() : nullptr;
  if (device == nullptr) return nullptr;
  std::lock_guard<std::mutex> lock(device->mutex);
  const DType dtype = static_cast<DType>(p.dtype);
  const Owned x = ChannelsLast(kX, dtype, p.n, p.c, p.h, p.w);
  const Owned w = ChannelsLast(kW, dtype, p.k, p.c / p.groups, p.r, p.s);
  const Owned y = ChannelsLast(kY, dtype, p.n, p.k, p.p, p.q);
  Owned convolution(cudnn::kConvolution);
  convolution.Set(cudnn::kConvolutionSpatialDims, cudnn::kTypeInt64, int64_t{2})
      .Set(cudnn::kConvolutionComputeType, cudnn::kTypeDataType, static_cast<int>(cudnn::kFloat))
      .Set(cudnn::kConvolutionMode, cudnn::kTypeConvolutionMode,
           static_cast<int>(cudnn::kCrossCorrelation))
      .Set(cudnn::kConvolutionPrePaddings, cudnn::kTypeInt64, p.padding, 2)
      .Set(cudnn::kConvolutionPostPaddings, cudnn::kTypeInt64, p.padding, 2)
      .Set(cudnn::kConvolutionDilations, cudnn::kTypeInt64, p.dilation, 2)
      .Set(cudnn::kConvolutionStrides, cudnn::kTypeInt64, p.stride, 2)
      .Finalize();
  const PassAttributes names = AttributesOf(p.pass);
  Owned operation(names.kind);
  operation.Set(names.convolution, convolution)
      .Set(names.x, x)
      .Set(names.w, w)
      .Set(names.y, y)
      .Set(names.alpha, cudnn::kTypeFloat, 1.0f)
      .Set(names.beta, cudnn::kTypeFloat, 0.0f)
      .Finalize();
  Owned graph(cudnn::kOperationGraph);
  graph.Set(cudnn::kGraphOperations, operation)
      .Set(cudnn::kGraphHandle, cudnn::kTypeHandle, device->handle)
      .Finalize();
  if (!graph.ok()) return nullptr;
  bool proposed = false;
  for (const cudnn::Heuristics mode : {cudnn::kHeuristicsA, cudnn::kHeuristicsFallback}) {
    // What only the second has may be slower than our own kernels: for where the first knows nothing.
    if (proposed) break;
    for (Owned& config : ConfigsOf(graph, mode)) {
      Owned engine(cudnn::kEngine);
      Descriptor place = engine.get();
      if (config.Get(cudnn::kEngineConfigEngine, cudnn::kTypeDescriptor, &place, 1) != 1) continue;
      if (!IsExact(engine, dtype) || IsCompiledLater(engine)) continue;
      proposed = true;
      Owned plan(cudnn::kExecutionPlan);
      plan.Set(cudnn::kPlanHandle, cudnn::kTypeHandle, device->handle)
          .Set(cudnn::kPlanEngineConfig, config)
          .Finalize();
      int64_t bytes = -1;
      if (!plan.ok() || plan.Get(cudnn::kPlanWorkspaceSize, cudnn::kTypeInt64, &bytes, 1) != 1 ||
          bytes > workspace_bytes) {
        continue;
      }
      std::unique_ptr<CudnnConvolution> made(new CudnnConvolution);
      engine.Get(cudnn::kEngineGlobalIndex, cudnn::kTypeInt64, &made->engine_, 1);
      made->handle_ = device;
      made->plan_ = plan.Release();
      made->config_ = config.Release();
      made->workspace_bytes_ = bytes;
      return made;
    }
  }
  return nullptr;
}

CudnnConvolution::~CudnnConvolution() {
  OpenedLibrary().descriptor_destroy(plan_);
  OpenedLibrary().descriptor_destroy(config_);
}

CudaError CudnnConvolution::Run(const void* x, const void* w, const void* y, void* workspace,
                                CudaStreamHandle stream) const {
  const Library& library = OpenedLibrary();
  DeviceHandle* device = static_cast<DeviceHandle*>(handle_);
  const int64_t ids[3] = {kX, kW, kY};
  const void* places[3] = {x, w, y};
  Owned pack(cudnn::kVariantPack);
  pack.Set(cudnn::kPackIds, cudnn::kTypeInt64, ids, 3)
      .Set(cudnn::kPackPointers, cudnn::kTypePointer, places, 3)
      .Set(cudnn::kPackWorkspace, cudnn::kTypePointer, workspace)
      .Finalize();
  if (!pack.ok()) return Code(pack.status());
  std::lock_guard<std::mutex> lock(device->mutex);
  if (const Status status = library.set_stream(device->handle, stream); status != 0) {
    return Code(status);
  }
  return Code(library.execute(device->handle, plan_, pack.get()));
}

const char* CudnnLibrary(const char* path, bool* found) {
  const Library& library = OpenedLibrary(path);
  *found = library.found;
  return library.text;
}

const char* CudnnErrorText(int status) {
  const Library& library = OpenedLibrary();
  return library.found ? library.error_text(status) : library.text;
}

}  // namespace oneflow::kernels
