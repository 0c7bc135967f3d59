// CudnnBackend: the part of cuDNN's backend interface that we call, declared here, so that the library builds where
// cuDNN's headers are not.
//
// The numbers are those of cudnn_graph_v9.h of cuDNN 9.19.1; they are part of its interface, which has been
// stable through version 9. Where the header is at hand, cudnn_graph.cc compares them with it. Threads: any;
// a handle is used by one thread at a time. Read next: kernels/cuda/cudnn_convolution.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_BACKEND_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_BACKEND_H_

#include <cstddef>
#include <cstdint>

namespace oneflow::kernels::cudnn {

using Status = int;  // 0: success
using Handle = void*;
using Descriptor = void*;

enum DescriptorKind : int {
  kPointwise = 0,
  kConvolution = 1,
  kEngine = 2,
  kEngineConfig = 3,
  kEngineHeuristics = 4,
  kExecutionPlan = 5,
  kKnobChoice = 7,
  kConvolutionForward = 10,
  kConvolutionBackwardFilter = 11,
  kConvolutionBackwardData = 12,
  kPointwiseOperation = 13,
  kOperationGraph = 15,
  kVariantPack = 16,
  kTensor = 17,
  kMatmul = 18,
  kMatmulOperation = 19,
  kReduction = 21,
  kReductionOperation = 22,
  kReshapeOperation = 31,
  kDeviceProperties = 38,
};
enum AttributeType : int {
  kTypeHandle = 0,
  kTypeDataType = 1,
  kTypeBoolean = 2,
  kTypeInt64 = 3,
  kTypeFloat = 4,
  kTypePointer = 6,
  kTypeConvolutionMode = 7,
  kTypeHeuristicsMode = 8,
  kTypeKnob = 9,
  kTypeNumericalNote = 11,
  kTypePointwiseMode = 14,
  kTypeDescriptor = 15,
  kTypeReductionOperator = 18,
  kTypeBehaviorNote = 19,
  kTypeChar = 24,
};
enum Attribute : int {
  kPointwiseMode = 0,
  kPointwiseComputeType = 1,
  kPointwiseAxis = 9,
  kConvolutionComputeType = 100,
  kConvolutionMode = 101,
  kConvolutionDilations = 102,
  kConvolutionStrides = 103,
  kConvolutionPostPaddings = 104,
  kConvolutionPrePaddings = 105,
  kConvolutionSpatialDims = 106,
  kHeuristicsMode = 200,
  kHeuristicsGraph = 201,
  kHeuristicsResults = 202,
  kHeuristicsDevice = 204,
  kEngineConfigEngine = 300,
  kEngineConfigKnobs = 302,
  kEngineConfigWorkspaceSize = 303,
  kPlanHandle = 400,
  kPlanEngineConfig = 401,
  kPlanWorkspaceSize = 402,
  kPlanDevice = 407,
  kKnobType = 600,
  kKnobValue = 601,
  kForwardAlpha = 700,
  kForwardBeta = 701,
  kForwardConvolution = 702,
  kForwardW = 703,
  kForwardX = 704,
  kForwardY = 705,
  kBackwardDataAlpha = 706,
  kBackwardDataBeta = 707,
  kBackwardDataConvolution = 708,
  kBackwardDataW = 709,
  kBackwardDataDx = 710,
  kBackwardDataDy = 711,
  kBackwardFilterAlpha = 712,
  kBackwardFilterBeta = 713,
  kBackwardFilterConvolution = 714,
  kBackwardFilterDw = 715,
  kBackwardFilterX = 716,
  kBackwardFilterDy = 717,
  kPointwiseDescriptor = 750,
  kPointwiseX = 751,
  kPointwiseB = 752,
  kPointwiseY = 753,
  kPointwiseCondition = 758,
  kGraphHandle = 800,
  kGraphOperations = 801,
  kTensorAlignment = 900,
  kTensorDataType = 901,
  kTensorDimensions = 902,
  kTensorStrides = 903,
  kTensorId = 906,
  kTensorIsVirtual = 907,
  kTensorIsByValue = 908,
  kPackIds = 1000,
  kPackPointers = 1001,
  kPackWorkspace = 1003,
  kEngineGlobalIndex = 1301,
  kEngineNumericalNotes = 1303,
  kEngineBehaviorNotes = 1305,
  kMatmulComputeType = 1500,
  kMatmulA = 1520,
  kMatmulB = 1521,
  kMatmulC = 1522,
  kMatmulDescriptor = 1523,
  kReductionOperator = 1600,
  kReductionComputeType = 1601,
  kReductionIsDeterministic = 1602,
  kReductionX = 1610,
  kReductionY = 1611,
  kReductionDescriptor = 1612,
  kReshapeX = 2200,
  kReshapeY = 2201,
  kDeviceJson = 2702,
};
enum DataType : int { kFloat = 0, kHalf = 2, kInt32 = 4, kBfloat16 = 9, kBoolean = 11 };
enum Mode : int { kCrossCorrelation = 1 };
enum PointwiseMode : int {
  kAdd = 0,
  kMul = 1,
  kDiv = 6,
  kSub = 9,
  kExp = 13,
  kLog = 15,
  kIdentity = 21,
  kNotLess = 303,
  kIndex = 501,
  kSelect = 601,
};
enum ReductionOperator : int { kAddAll = 0, kLargest = 3 };
enum Heuristics : int { kHeuristicsFallback = 2, kHeuristicsA = 3 };
enum NumericalNote : int {
  kTensorCore = 0,
  kDownConvertInputs = 1,
  kReducedPrecisionReduction = 2,
  kFft = 3,
  kNondeterministic = 4,
  kWinograd = 5,
  kWinograd4x4 = 6,
  kWinograd6x6 = 7,
  kWinograd13x13 = 8,
  kNumericalNotes = 10,
};
enum BehaviorNote : int { kRuntimeCompilation = 0, kBehaviorNotes = 5 };

// The functions, and why there are none.
struct Library {
  size_t (*version)() = nullptr;
  const char* (*error_text)(Status) = nullptr;
  Status (*create)(Handle*) = nullptr;
  Status (*set_stream)(Handle, void* stream) = nullptr;
  Status (*descriptor_create)(int kind, Descriptor*) = nullptr;
  Status (*descriptor_destroy)(Descriptor) = nullptr;
  Status (*finalize)(Descriptor) = nullptr;
  Status (*set)(Descriptor, int attribute, int type, int64_t count, const void* values) = nullptr;
  Status (*get)(const void* descriptor, int attribute, int type, int64_t wanted, int64_t* count,
                void* values) = nullptr;
  Status (*execute)(Handle, Descriptor plan, Descriptor pack) = nullptr;
  bool found = false;
  char text[512] = "";
};

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_BACKEND_H_
