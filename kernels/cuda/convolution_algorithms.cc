#include "kernels/cuda/convolution_algorithms.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/library_space.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/timed_choice.h"

namespace oneflow::kernels {
namespace {

const char* NameOf(CudaConvolutionPass pass) {
  switch (pass) {
    case CudaConvolutionPass::kGradInput:
      return "gradient of images";
    case CudaConvolutionPass::kGradWeight:
      return "gradient of filters";
    case CudaConvolutionPass::kForward:
      break;
  }
  return "convolution";
}

std::string TextOf(const CudaConvolution& p) {
  return absl::StrCat(NameOf(p.pass), " type ", std::string(NameOf(static_cast<DType>(p.dtype))),
                      " images ", p.n, "x", p.h, "x", p.w, "x", p.c, " filters ", p.k, "x", p.r,
                      "x", p.s, " result ", p.p, "x", p.q, " groups ", p.groups, " stride ",
                      p.stride[0], ",", p.stride[1], " padding ", p.padding[0], ",", p.padding[1],
                      " dilation ", p.dilation[0], ",", p.dilation[1], " parts ", p.parts,
                      " workspace ", p.workspace_bytes);
}

// Where the operands of a convolution lie, which is timed: two that are read, what is written, statistics.
struct ConvolutionSpace {
  explicit ConvolutionSpace(const CudaConvolution& p) {
    const int64_t element = SizeOf(static_cast<DType>(p.dtype));
    const int64_t image = AlignedBytes(p.n * p.h * p.w * p.c * element);
    const int64_t filters = AlignedBytes(p.k * (p.c / p.groups) * p.r * p.s * element);
    const int64_t result = AlignedBytes(p.n * p.p * p.q * p.k * element);
    const bool of_input = p.pass == CudaConvolutionPass::kGradInput;
    const bool of_weight = p.pass == CudaConvolutionPass::kGradWeight;
    second = of_input ? result : image;
    out = second + (of_weight ? result : filters);
    sums = out + (of_input ? image : of_weight ? filters : result);
    squares = sums + AlignedBytes(p.parts * p.k * 4);
    workspace = squares + AlignedBytes(p.parts * p.k * 4);
    bytes = workspace + p.workspace_bytes;
    is_empty = image == 0 || filters == 0 || result == 0;
  }
  int64_t second, out, sums, squares, workspace, bytes;
  bool is_empty;
};

}  // namespace

absl::Status ChooseConvolutionAlgorithm(const CudaApi* api, const CudaConvolution& problem,
                                        const std::shared_ptr<void>& plan,
                                        AlgorithmChoices* choices) {
  if (!choices->measures()) return absl::OkStatus();
  const ConvolutionSpace space(problem);
  if (space.is_empty) return absl::OkStatus();
  CudaAlgorithms offered = {};
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->convolution_algorithms(plan.get(), &offered), "listing algorithms"));
  CallTimer timer(api, static_cast<DType>(problem.dtype), {space.out, space.bytes},
                  [&](char* memory, CudaStreamHandle stream) {
                    const void* in[] = {memory, memory + space.second};
                    void* out[] = {memory + space.out, memory + space.sums, memory + space.squares};
                    const CudaOperands operands = {in, out, memory + space.workspace, nullptr, 0};
                    return api->convolution(plan.get(), &operands, stream);
                  });
  return ChooseByTime(api, api->convolution_use, offered, TextOf(problem), plan, &timer, choices);
}

}  // namespace oneflow::kernels
