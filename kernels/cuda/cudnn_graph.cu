#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/open_library.h"

#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
#endif

namespace oneflow::kernels::cudnn {
namespace {

#if __has_include(<cudnn_graph.h>)
#define OF_SAME(ours, theirs) static_assert(static_cast<int>(ours) == theirs)
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
OF_SAME(kPointwise, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
OF_SAME(kPointwiseOperation, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
OF_SAME(kReduction, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
OF_SAME(kReductionOperation, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
OF_SAME(kDeviceProperties, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
OF_SAME(kTypeBoolean, CUDNN_TYPE_BOOLEAN);
OF_SAME(kTypePointwiseMode, CUDNN_TYPE_POINTWISE_MODE);
OF_SAME(kTypeReductionOperator, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE);
OF_SAME(kTypeChar, CUDNN_TYPE_CHAR);
OF_SAME(kPointwiseMode, CUDNN_ATTR_POINTWISE_MODE);
OF_SAME(kPointwiseComputeType, CUDNN_ATTR_POINTWISE_MATH_PREC);
OF_SAME(kHeuristicsDevice, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
OF_SAME(kEngineConfigWorkspaceSize, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE);
OF_SAME(kPlanDevice, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
OF_SAME(kPointwiseDescriptor, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
OF_SAME(kPointwiseX, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
OF_SAME(kPointwiseB, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
OF_SAME(kPointwiseY, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
OF_SAME(kTensorIsVirtual, CUDNN_ATTR_TENSOR_IS_VIRTUAL);
OF_SAME(kReductionOperator, CUDNN_ATTR_REDUCTION_OPERATOR);
OF_SAME(kReductionComputeType, CUDNN_ATTR_REDUCTION_COMP_TYPE);
OF_SAME(kReductionIsDeterministic, CUDNN_ATTR_REDUCTION_IS_DETERMINISTIC);
OF_SAME(kReductionX, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
OF_SAME(kReductionY, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
OF_SAME(kReductionDescriptor, CUDNN_ATTR_OPERATION_REDUCTION_DESC);
OF_SAME(kDeviceJson, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION);
OF_SAME(kMul, CUDNN_POINTWISE_MUL);
OF_SAME(kSub, CUDNN_POINTWISE_SUB);
OF_SAME(kIdentity, CUDNN_POINTWISE_IDENTITY);
OF_SAME(kAddAll, CUDNN_REDUCE_TENSOR_ADD);
OF_SAME(kKnobChoice, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
OF_SAME(kTypeKnob, CUDNN_TYPE_KNOB_TYPE);
OF_SAME(kEngineConfigKnobs, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES);
OF_SAME(kKnobType, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE);
OF_SAME(kKnobValue, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
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

// ---- The problem ----

constexpr int64_t kAlignment = 16;  // of buffers, whose first elements lie on 64 bytes
constexpr int64_t kFirstVirtual = 7;

int DataTypeOf(DType dtype) {
  return dtype == DType::kBF16 ? kBfloat16 : dtype == DType::kF16 ? kHalf : kFloat;
}

// cuDNN writes dims as [n, c, h, w]; the channel is the innermost in memory. `is_virtual`: it is in no memory.
Owned ChannelsLast(int64_t id, DType dtype, int64_t n, int64_t c, int64_t h, int64_t w,
                   bool is_virtual = false) {
  const int64_t dims[4] = {n, c, h, w};
  const int64_t strides[4] = {h * w * c, 1, w * c, c};
  Owned tensor(kTensor);
  tensor.Set(kTensorDataType, kTypeDataType, DataTypeOf(dtype))
      .Set(kTensorDimensions, kTypeInt64, dims, 4)
      .Set(kTensorStrides, kTypeInt64, strides, 4)
      .Set(kTensorId, kTypeInt64, id)
      .Set(kTensorAlignment, kTypeInt64, kAlignment);
  if (is_virtual) tensor.Set(kTensorIsVirtual, kTypeBoolean, true);
  tensor.Finalize();
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
  DescriptorKind kind;
  int convolution, x, w, y, alpha, beta;
};
PassAttributes AttributesOf(CudaConvolutionPass pass) {
  switch (pass) {
    case CudaConvolutionPass::kGradInput:
      return {kConvolutionBackwardData, kBackwardDataConvolution, kBackwardDataDx,  kBackwardDataW,
              kBackwardDataDy,          kBackwardDataAlpha,       kBackwardDataBeta};
    case CudaConvolutionPass::kGradWeight:
      return {kConvolutionBackwardFilter, kBackwardFilterConvolution, kBackwardFilterX,
              kBackwardFilterDw,          kBackwardFilterDy,          kBackwardFilterAlpha,
              kBackwardFilterBeta};
    case CudaConvolutionPass::kForward:
      break;
  }
  return {kConvolutionForward, kForwardConvolution, kForwardX,   kForwardW,
          kForwardY,           kForwardAlpha,       kForwardBeta};
}

// ---- Operations ----

Owned Convolution(const CudaConvolution& p, const Owned& x, const Owned& w, const Owned& y) {
  Owned convolution(kConvolution);
  convolution.Set(kConvolutionSpatialDims, kTypeInt64, int64_t{2})
      .Set(kConvolutionComputeType, kTypeDataType, static_cast<int>(kFloat))
      .Set(kConvolutionMode, kTypeConvolutionMode, static_cast<int>(kCrossCorrelation))
      .Set(kConvolutionPrePaddings, kTypeInt64, p.padding, 2)
      .Set(kConvolutionPostPaddings, kTypeInt64, p.padding, 2)
      .Set(kConvolutionDilations, kTypeInt64, p.dilation, 2)
      .Set(kConvolutionStrides, kTypeInt64, p.stride, 2)
      .Finalize();
  const PassAttributes names = AttributesOf(p.pass);
  Owned operation(names.kind);
  operation.Set(names.convolution, convolution)
      .Set(names.x, x)
      .Set(names.w, w)
      .Set(names.y, y)
      .Set(names.alpha, kTypeFloat, 1.0f)
      .Set(names.beta, kTypeFloat, 0.0f)
      .Finalize();
  return operation;
}

// y = mode(x, b), in f32.
Owned Pointwise(PointwiseMode mode, const Owned& x, const Owned* b, const Owned& y) {
  Owned pointwise(kPointwise);
  pointwise.Set(kPointwiseMode, kTypePointwiseMode, static_cast<int>(mode))
      .Set(kPointwiseComputeType, kTypeDataType, static_cast<int>(kFloat))
      .Finalize();
  Owned operation(kPointwiseOperation);
  operation.Set(kPointwiseDescriptor, pointwise).Set(kPointwiseX, x);
  if (b != nullptr) operation.Set(kPointwiseB, *b);
  operation.Set(kPointwiseY, y).Finalize();
  return operation;
}

// Sums over the dims that y has not, with the same bits in every run. The note NONDETERMINISTIC does not say which
// engines have them: the attribute does.
Owned Sum(const Owned& x, const Owned& y) {
  Owned reduction(kReduction);
  reduction.Set(kReductionOperator, kTypeReductionOperator, static_cast<int>(kAddAll))
      .Set(kReductionComputeType, kTypeDataType, static_cast<int>(kFloat))
      .Set(kReductionIsDeterministic, kTypeBoolean, true)
      .Finalize();
  Owned operation(kReductionOperation);
  operation.Set(kReductionDescriptor, reduction).Set(kReductionX, x).Set(kReductionY, y).Finalize();
  return operation;
}

// What is asked for, and the tensors that it reads and writes.
struct Operations {
  std::vector<Owned> list;
  bool ok() const {
    return std::all_of(list.begin(), list.end(), [](const Owned& one) { return one.ok(); });
  }
};

Operations OperationsOf(const CudaConvolution& p) {
  const DType dtype = static_cast<DType>(p.dtype);
  const Owned x = ChannelsLast(kX, dtype, p.n, p.c, p.h, p.w);
  const Owned w = ChannelsLast(kW, dtype, p.k, p.c / p.groups, p.r, p.s);
  const Owned y = ChannelsLast(kY, dtype, p.n, p.k, p.p, p.q);
  Operations operations;
  if (p.parts == 0) {
    operations.list.push_back(Convolution(p, x, w, y));
    return operations;
  }
  // The result before it is rounded, less the pivots, and the squares of that: in no memory.
  const auto passing = [&](int64_t id) {
    return ChannelsLast(id, DType::kF32, p.n, p.k, p.p, p.q, /*is_virtual=*/true);
  };
  const auto of_channels = [&](int64_t id) { return ChannelsLast(id, DType::kF32, 1, p.k, 1, 1); };
  const Owned wide = passing(kFirstVirtual), apart = passing(kFirstVirtual + 1),
              square = passing(kFirstVirtual + 2);
  const Owned pivots = of_channels(kPivots);
  operations.list.push_back(Convolution(p, x, w, wide));
  operations.list.push_back(Pointwise(kIdentity, wide, nullptr, y));
  operations.list.push_back(Pointwise(kSub, wide, &pivots, apart));
  operations.list.push_back(Pointwise(kMul, apart, &apart, square));
  operations.list.push_back(Sum(apart, of_channels(kSums)));
  operations.list.push_back(Sum(square, of_channels(kSquares)));
  return operations;
}

// ---- Engines ----

// By what cuDNN says of it: the same bits in every run, sums in f32 of products of the operands themselves.
bool IsExact(const Owned& engine, DType dtype) {
  int notes[kNumericalNotes] = {};
  const int64_t count =
      engine.Get(kEngineNumericalNotes, kTypeNumericalNote, notes, kNumericalNotes);
  for (int64_t i = 0; i < count; ++i) {
    switch (notes[i]) {
      case kNondeterministic:
      case kDownConvertInputs:
      case kReducedPrecisionReduction:
      case kFft:
      case kWinograd:
      case kWinograd4x4:
      case kWinograd6x6:
      case kWinograd13x13:
        return false;
      case kTensorCore:
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
  int notes[kBehaviorNotes] = {};
  const int64_t count = engine.Get(kEngineBehaviorNotes, kTypeBehaviorNote, notes, kBehaviorNotes);
  return std::find(notes, notes + count, static_cast<int>(kRuntimeCompilation)) != notes + count;
}

// A graph whose engines fail to compile is given up after so many.
constexpr int kMostCompiled = 4;

// Engines with their settings, the best first.
std::vector<Owned> ConfigsOf(const Owned& graph, Heuristics mode, const GraphPlace& place) {
  std::vector<Owned> configs;
  Owned heuristics(kEngineHeuristics);
  heuristics.Set(kHeuristicsGraph, graph)
      .Set(kHeuristicsMode, kTypeHeuristicsMode, static_cast<int>(mode));
  if (place.device != nullptr) heuristics.Set(kHeuristicsDevice, kTypeDescriptor, place.device);
  heuristics.Finalize();
  if (!heuristics.ok()) return configs;
  constexpr int64_t kMost = 64;
  std::vector<Descriptor> places;
  for (int64_t i = 0; i < kMost; ++i) {
    configs.emplace_back(kEngineConfig);
    places.push_back(configs.back().get());
  }
  const int64_t count = heuristics.Get(kHeuristicsResults, kTypeDescriptor, places.data(), kMost);
  while (static_cast<int64_t>(configs.size()) > count) configs.pop_back();
  return configs;
}

// "engine 62 14=3 27=1": its number, and its settings.
std::string NameOf(const Owned& engine, const Owned& config) {
  constexpr int64_t kMost = 64;
  int64_t number = -1;
  engine.Get(kEngineGlobalIndex, kTypeInt64, &number, 1);
  std::string name = "engine " + std::to_string(number);
  std::vector<Owned> knobs;
  std::vector<Descriptor> places;
  for (int64_t i = 0; i < kMost; ++i) {
    knobs.emplace_back(kKnobChoice);
    places.push_back(knobs.back().get());
  }
  const int64_t count = config.Get(kEngineConfigKnobs, kTypeDescriptor, places.data(), kMost);
  for (int64_t i = 0; i < count; ++i) {
    int type = -1;
    int64_t value = -1;
    knobs[static_cast<size_t>(i)].Get(kKnobType, kTypeKnob, &type, 1);
    knobs[static_cast<size_t>(i)].Get(kKnobValue, kTypeInt64, &value, 1);
    name += " " + std::to_string(type) + "=" + std::to_string(value);
  }
  return name;
}

// visit(engine, config) of those that are exact, in the order of the heuristics, until it says that it is enough.
template <typename Visit>
void ForEachExact(const CudaConvolution& p, const GraphPlace& place, const Visit& visit) {
  if (!OpenedLibrary().found || !IsPlain(p) || IsServedWorse(p)) return;
  const Operations operations = OperationsOf(p);
  if (!operations.ok()) return;
  std::vector<Descriptor> list;
  for (const Owned& operation : operations.list) list.push_back(operation.get());
  Owned graph(kOperationGraph);
  graph.Set(kGraphOperations, kTypeDescriptor, list.data(), static_cast<int64_t>(list.size()));
  if (place.handle != nullptr) graph.Set(kGraphHandle, kTypeHandle, place.handle);
  graph.Finalize();
  if (!graph.ok()) return;
  bool proposed = false;
  for (const Heuristics mode : {kHeuristicsA, kHeuristicsFallback}) {
    // What only the second has may be slower than our own kernels: for where the first knows nothing.
    if (proposed) return;
    for (Owned& config : ConfigsOf(graph, mode, place)) {
      Owned engine(kEngine);
      Descriptor found = engine.get();
      if (config.Get(kEngineConfigEngine, kTypeDescriptor, &found, 1) != 1) continue;
      // Only compiled engines sum beside a convolution.
      if (!IsExact(engine, static_cast<DType>(p.dtype)) ||
          IsCompiledLater(engine) != (p.parts > 0)) {
        continue;
      }
      proposed = true;
      if (visit(engine, config)) return;
    }
  }
}

// Before it is made of a plan, which is compiled for a second each where there are sums.
bool Fits(const Owned& config, int64_t workspace_bytes) {
  int64_t bytes = -1;
  return config.Get(kEngineConfigWorkspaceSize, kTypeInt64, &bytes, 1) != 1 ||
         bytes <= workspace_bytes;
}

}  // namespace

const Library& OpenedLibrary(const char* path) { return OpenedOnce<Library, &Open>(path); }

std::optional<EnginePlan> PlanConvolution(const CudaConvolution& p, const GraphPlace& place,
                                          int64_t workspace_bytes, const std::string& name) {
  std::optional<EnginePlan> made;
  int attempts = 0;
  ForEachExact(p, place, [&](const Owned& engine, Owned& config) {
    const std::string own = NameOf(engine, config);
    if (!name.empty() && own != name) return false;
    if (p.parts > 0) {
      if (!Fits(config, workspace_bytes)) return false;
      if (++attempts > kMostCompiled) return true;
    }
    Owned plan(kExecutionPlan);
    if (place.handle != nullptr) plan.Set(kPlanHandle, kTypeHandle, place.handle);
    if (place.device != nullptr) plan.Set(kPlanDevice, kTypeDescriptor, place.device);
    plan.Set(kPlanEngineConfig, config).Finalize();
    int64_t bytes = -1, number = 0;
    if (!plan.ok() || plan.Get(kPlanWorkspaceSize, kTypeInt64, &bytes, 1) != 1 ||
        bytes > workspace_bytes) {
      return false;
    }
    engine.Get(kEngineGlobalIndex, kTypeInt64, &number, 1);
    made.emplace(EnginePlan{std::move(plan), std::move(config), number, bytes, own});
    return true;
  });
  return made;
}

std::vector<std::string> OfferedEngines(const CudaConvolution& p, const GraphPlace& place,
                                        int64_t workspace_bytes, size_t most) {
  std::vector<std::string> names;
  ForEachExact(p, place, [&](const Owned& engine, const Owned& config) {
    if (names.size() >= most) return true;
    if (!Fits(config, workspace_bytes)) return false;
    std::string name = NameOf(engine, config);
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
    return false;
  });
  return names;
}

}  // namespace oneflow::kernels::cudnn
