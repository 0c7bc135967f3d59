// Asks cuDNN, without a GPU, whether it has an engine for the graph that a convolution or attention is given to it as,
// within the workspace that a plan gives it.
//
//   oneflow_cudnn_graphs LIBRARY bf16|f16 conv2d|conv2d_sums n h w c k r s stride padding [groups]
//   oneflow_cudnn_graphs LIBRARY bf16|f16 attention|attention_grad batch queries keys heads key_heads width causal packed
//
// One JSON object: whether it has one, which, its workspace, what there was, and the names of all that may be measured; of
// attention also how many samples it does at a time (0: as a plan has it none), and what it takes for one. cuDNN takes
// a description of a device in place of one (DEVICEPROP_JSON_REPRESENTATION, since 9.8); a graph is asked in a process of
// its own, for some that are not supported end it. libcuda.so.1 of kernels/cuda/no_driver_for_test.cc stands for the driver's, which engines
// that are compiled load their code into. Read next: kernels/cuda/cudnn_graph.h, tools/cudnn_graphs.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/attention_spec.h"
#include "kernels/cuda/convolution_problem.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cudnn_attention_graph.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/specs_by_hand.h"

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

// What cuDNN says of a graph.
struct Answer {
  std::optional<cudnn::EnginePlan> plan;
  std::vector<std::string> names;
  int64_t room = 0;
  std::string more;  // of the JSON object
};
using Question = std::function<Answer(const cudnn::GraphPlace& place)>;

Answer AskConvolution(const KernelSpec& spec, const cudnn::GraphPlace& place) {
  const CudaConvolution problem = ConvolutionOf(spec);
  const int64_t room = EngineRoom(problem);
  return {cudnn::PlanConvolution(problem, place, room),
          cudnn::OfferedEngines(problem, place, room, kMostAlgorithms), room, ""};
}

// As a plan has it; where its workspace has no room, one sample in as much as it wants.
Answer AskAttention(const KernelSpec& spec, bool packed, const cudnn::GraphPlace& place) {
  CudaAttention a = AttentionOf(spec);
  if (packed) a.q_pitch = a.k_pitch = a.v_pitch = (a.heads + 2 * a.key_heads) * a.width;
  const int64_t slice = SliceBatch(a), planned = a.workspace_bytes;
  a.batch = slice == 0 ? 1 : slice;
  const int64_t room = slice == 0 ? int64_t{1} << 40 : EngineRoom(a);
  Answer answer;
  answer.plan = cudnn::PlanAttention(a, place, room);
  answer.names = cudnn::OfferedForAttention(a, place, room, kMostAlgorithms);
  answer.room = room;
  answer.more =
      ", \"slice\": " + std::to_string(slice) + ", \"planned\": " + std::to_string(planned) +
      ", \"expected\": " + std::to_string(a.backward ? a.batch * SampleEngineBytes(a) : 0);
  return answer;
}

int Ask(const char* library, const Question& question) {
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
  const Answer answer = question({nullptr, device.get()});
  const auto& plan = answer.plan;
  std::string offered;
  for (const std::string& name : answer.names) {
    offered += (offered.empty() ? "\"" : ", \"") + name + "\"";
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  std::printf(
      "{\"library\": \"%s\", \"found\": %s, \"engine\": %lld, \"workspace\": %lld, \"room\": %lld, "
      "\"seconds\": %.2f, \"name\": \"%s\", \"offered\": [%s]%s}\n",
      opened.text, plan.has_value() ? "true" : "false",
      static_cast<long long>(plan.has_value() ? plan->engine : -1),
      static_cast<long long>(plan.has_value() ? plan->workspace_bytes : -1),
      static_cast<long long>(answer.room), taken.count(),
      plan.has_value() ? plan->name.c_str() : "", offered.c_str(), answer.more.c_str());
  return 0;
}

int Usage() {
  std::fprintf(stderr,
               "LIBRARY bf16|f16 conv2d|conv2d_sums n h w c k r s stride padding [groups]\n"
               "LIBRARY bf16|f16 attention|attention_grad batch queries keys heads key_heads width "
               "causal packed\n");
  return 2;
}

int Main(int argc, char** argv) {
  if (argc < 4) return Usage();
  const std::string op = argv[3];
  std::vector<int64_t> numbers;
  for (int i = 4; i < argc; ++i) numbers.push_back(std::atoll(argv[i]));
  const DType dtype = std::strcmp(argv[2], "f16") == 0 ? DType::kF16 : DType::kBF16;
  if (op == "attention" || op == "attention_grad") {
    if (numbers.size() != 8) return Usage();
    const auto& n = numbers;
    const KernelSpec spec =
        AttentionSpec(op, {n[0], n[1], n[2], n[3], n[4], n[5], n[6] != 0, dtype});
    return Ask(argv[1], [&](const cudnn::GraphPlace& place) {
      return AskAttention(spec, numbers[7] != 0, place);
    });
  }
  if (numbers.size() < 9 || numbers.size() > 10) return Usage();
  const KernelSpec spec = SpecOf(dtype, op, numbers);
  return Ask(argv[1], [&](const cudnn::GraphPlace& place) { return AskConvolution(spec, place); });
}

}  // namespace
}  // namespace oneflow::kernels

int main(int argc, char** argv) { return oneflow::kernels::Main(argc, argv); }
