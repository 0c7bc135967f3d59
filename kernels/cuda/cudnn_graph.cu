#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/cudnn_operations.h"
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
OF_SAME(kMatmul, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
OF_SAME(kMatmulOperation, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
OF_SAME(kReshapeOperation, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
OF_SAME(kPointwiseAxis, CUDNN_ATTR_POINTWISE_AXIS);
OF_SAME(kPointwiseCondition, CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
OF_SAME(kTensorIsByValue, CUDNN_ATTR_TENSOR_IS_BY_VALUE);
OF_SAME(kMatmulComputeType, CUDNN_ATTR_MATMUL_COMP_TYPE);
OF_SAME(kMatmulA, CUDNN_ATTR_OPERATION_MATMUL_ADESC);
OF_SAME(kMatmulB, CUDNN_ATTR_OPERATION_MATMUL_BDESC);
OF_SAME(kMatmulC, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
OF_SAME(kMatmulDescriptor, CUDNN_ATTR_OPERATION_MATMUL_DESC);
OF_SAME(kReshapeX, CUDNN_ATTR_OPERATION_RESHAPE_XDESC);
OF_SAME(kReshapeY, CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
OF_SAME(kInt32, CUDNN_DATA_INT32);
OF_SAME(kBoolean, CUDNN_DATA_BOOLEAN);
OF_SAME(kAdd, CUDNN_POINTWISE_ADD);
OF_SAME(kDiv, CUDNN_POINTWISE_DIV);
OF_SAME(kExp, CUDNN_POINTWISE_EXP);
OF_SAME(kLog, CUDNN_POINTWISE_LOG);
OF_SAME(kNotLess, CUDNN_POINTWISE_CMP_GE);
OF_SAME(kIndex, CUDNN_POINTWISE_GEN_INDEX);
OF_SAME(kSelect, CUDNN_POINTWISE_BINARY_SELECT);
OF_SAME(kLargest, CUDNN_REDUCE_TENSOR_MAX);
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

constexpr int64_t kFirstVirtual = 7;

// cuDNN writes dims as [n, c, h, w]; the channel is the innermost in memory. `is_virtual`: it is in no memory.
Owned ChannelsLast(int64_t id, DType dtype, int64_t n, int64_t c, int64_t h, int64_t w,
                   bool is_virtual = false) {
  return Tensor({id, DataTypeOf(dtype), {n, c, h, w}, {h * w * c, 1, w * c, c}, is_virtual});
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
  operations.list.push_back(Pointwise({kIdentity}, wide, nullptr, y));
  operations.list.push_back(Pointwise({kSub}, wide, &pivots, apart));
  operations.list.push_back(Pointwise({kMul}, apart, &apart, square));
  operations.list.push_back(Reduce(kAddAll, apart, of_channels(kSums)));
  operations.list.push_back(Reduce(kAddAll, square, of_channels(kSquares)));
  return operations;
}

// What cuDNN is asked for, and how its engines have to be; nothing: it is not asked.
std::optional<EngineSearch> SearchOf(const CudaConvolution& p, const GraphPlace& place,
                                     int64_t workspace_bytes) {
  if (!OpenedLibrary().found || !IsPlain(p) || IsServedWorse(p)) return std::nullopt;
  // Only compiled engines sum beside a convolution.
  return EngineSearch{OperationsOf(p), static_cast<DType>(p.dtype), p.parts > 0, place,
                      workspace_bytes};
}

}  // namespace

const Library& OpenedLibrary(const char* path) { return OpenedOnce<Library, &Open>(path); }

std::optional<EnginePlan> PlanConvolution(const CudaConvolution& p, const GraphPlace& place,
                                          int64_t workspace_bytes, const std::string& name) {
  const std::optional<EngineSearch> search = SearchOf(p, place, workspace_bytes);
  return search.has_value() ? FirstPlan(*search, name) : std::nullopt;
}

std::vector<std::string> OfferedEngines(const CudaConvolution& p, const GraphPlace& place,
                                        int64_t workspace_bytes, size_t most) {
  const std::optional<EngineSearch> search = SearchOf(p, place, workspace_bytes);
  return search.has_value() ? EngineNames(*search, most) : std::vector<std::string>();
}

}  // namespace oneflow::kernels::cudnn
