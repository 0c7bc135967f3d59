// Asks cuDNN, without a GPU, whether it has an engine for the graph that a convolution is given to it as, within the
// workspace that a plan gives it.
//
//   oneflow_cudnn_graphs LIBRARY bf16|f16 conv2d|conv2d_sums n h w c k r s stride padding [groups]
//
// One JSON object: whether it has one, which, its workspace, what there was, and the names of all that may be measured. cuDNN takes a description of a device
// in place of one (DEVICEPROP_JSON_REPRESENTATION, since 9.8); a graph is asked in a process of its own, for some that
// are not supported end it. libcuda.so.1 of kernels/cuda/no_driver_for_test.cc stands for the driver's, which engines
// that are compiled load their code into. Read next: kernels/cuda/cudnn_graph.h, tools/cudnn_graphs.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cuda/convolution_problem.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/whole_operand.h"

namespace oneflow::kernels {
namespace {

// An H100: the limits that the driver of one tells.
constexpr char kH100[] =
    R"({"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,)"
    R"("multiProcessorCount":132,"warpSize":32,"maxThreadsPerBlock":1024,)"
    R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,)"
    R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
    R"("maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,)"
    R"("totalGlobalMem":85024112640,"smClockRateKHz":1980000,"memClockRateKHz":2619000,)"
    R"("memoryBusWidth":5120,)"
    R"("l2CacheSize":52428800,"cudaDeviceId":0,"deviceVer":900,"driverVer":13000,)"
    R"("deviceName":"NVIDIA H100 80GB HBM3"})";

KernelSpec SpecOf(DType dtype, const std::string& op, const std::vector<int64_t>& v) {
  const int64_t n = v[0], h = v[1], w = v[2], c = v[3], k = v[4], r = v[5], s = v[6];
  const int64_t stride = v[7], padding = v[8], groups = v.size() > 9 ? v[9] : 1;
  const int64_t p = (h + 2 * padding - r) / stride + 1, q = (w + 2 * padding - s) / stride + 1;
  KernelSpec spec;
  spec.op = op;
  spec.attrs = {{"stride", stride}, {"padding", padding}, {"dilation", int64_t{1}}};
  spec.inputs = {WholeOperand(dtype, {n, h, w, c}), WholeOperand(dtype, {k, c / groups, r, s})};
  spec.outputs = {WholeOperand(dtype, {n, p, q, k})};
  if (op == "conv2d_sums") spec.outputs.resize(3, WholeOperand(DType::kF32, {1, k}));
  return spec;
}

int Ask(const char* library, const KernelSpec& spec) {
  const cudnn::Library& opened = cudnn::OpenedLibrary(library);
  if (!opened.found) {
    std::fprintf(stderr, "%s\n", opened.text);
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  cudnn::Owned device(cudnn::kDeviceProperties);
  device.Set(cudnn::kDeviceJson, cudnn::kTypeChar, kH100, static_cast<int64_t>(std::strlen(kH100)))
      .Finalize();
  if (!device.ok()) {
    std::fprintf(stderr, "%s takes no description of a device\n", opened.text);
    return 2;
  }
  const CudaConvolution problem = ConvolutionOf(spec);
  const int64_t room = EngineRoom(problem);
  const auto plan = cudnn::PlanConvolution(problem, {nullptr, device.get()}, room);
  const std::vector<std::string> names =
      cudnn::OfferedEngines(problem, {nullptr, device.get()}, room, kMostAlgorithms);
  std::string offered;
  for (const std::string& name : names) offered += (offered.empty() ? "\"" : ", \"") + name + "\"";
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  std::printf(
      "{\"library\": \"%s\", \"found\": %s, \"engine\": %lld, \"workspace\": %lld, \"room\": %lld, "
      "\"seconds\": %.2f, \"name\": \"%s\", \"offered\": [%s]}\n",
      opened.text, plan.has_value() ? "true" : "false",
      static_cast<long long>(plan.has_value() ? plan->engine : -1),
      static_cast<long long>(plan.has_value() ? plan->workspace_bytes : -1),
      static_cast<long long>(room), taken.count(), plan.has_value() ? plan->name.c_str() : "",
      offered.c_str());
  return 0;
}

int Main(int argc, char** argv) {
  if (argc < 13 || argc > 14) {
    std::fprintf(stderr, "LIBRARY bf16|f16 OP n h w c k r s stride padding [groups]\n");
    return 2;
  }
  std::vector<int64_t> numbers;
  for (int i = 4; i < argc; ++i) numbers.push_back(std::atoll(argv[i]));
  const DType dtype = std::strcmp(argv[2], "f16") == 0 ? DType::kF16 : DType::kBF16;
  return Ask(argv[1], SpecOf(dtype, argv[3], numbers));
}

}  // namespace
}  // namespace oneflow::kernels

int main(int argc, char** argv) { return oneflow::kernels::Main(argc, argv); }
