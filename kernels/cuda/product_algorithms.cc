#include "kernels/cuda/product_algorithms.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/library_space.h"
#include "kernels/cuda/matmul_copies.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/timed_choice.h"

namespace oneflow::kernels {
namespace {

const char* TextOf(CudaEpilogue epilogue) {
  switch (epilogue) {
    case CudaEpilogue::kBias:
      return " bias";
    case CudaEpilogue::kBiasGelu:
      return " bias gelu";
    case CudaEpilogue::kBiasGeluX:
      return " bias gelu x";
    case CudaEpilogue::kGeluGrad:
      return " gelu grad";
    case CudaEpilogue::kSumsOfA:
      return " sums a";
    case CudaEpilogue::kSumsOfB:
      return " sums b";
    case CudaEpilogue::kNone:
      break;
  }
  return "";
}

std::string TextOf(const CudaMatmul& g) {
  return absl::StrCat("product ", g.m, "x", g.n, "x", g.k, " type ", static_cast<int>(g.math),
                      g.transpose_a ? " ta" : "", g.transpose_b ? " tb" : "", TextOf(g.epilogue),
                      " batches ", g.batches, " strides ", g.stride_a, ",", g.stride_b, ",",
                      g.stride_d, " padded ", g.padded_m, ",", g.padded_n, ",", g.padded_k,
                      " workspace ", g.workspace_bytes, " aligned ", g.alignment);
}

DType DTypeOf(CudaMath math) {
  switch (math) {
    case CudaMath::kBF16:
      return DType::kBF16;
    case CudaMath::kF16:
      return DType::kF16;
    case CudaMath::kF64:
      return DType::kF64;
    case CudaMath::kF32:
    case CudaMath::kTF32:
      break;
  }
  return DType::kF32;
}

// Where the operands of a product lie, which is timed.
struct ProductSpace {
  explicit ProductSpace(const CudaMatmul& g) {
    const int64_t element = SizeOf(DTypeOf(g.math)), last = g.batches - 1;
    b = AlignedBytes((last * g.stride_a + g.m * g.k) * element);
    bias = b + AlignedBytes((last * g.stride_b + g.k * g.n) * element);
    sums = bias + AlignedBytes(g.n * element);
    x = sums + AlignedBytes(std::max(g.m, g.n) * element);
    d = x + (HasX(g.epilogue) ? AlignedBytes(g.m * g.n * element) : 0);
    workspace = d + AlignedBytes((last * g.stride_d + g.m * g.n) * element);
    bytes = workspace + g.workspace_bytes + MatmulCopies(g).bytes() + kLibraryAlignment;
  }
  CudaMatmulOperands OperandsAt(char* memory, CudaEpilogue epilogue) const {
    CudaMatmulOperands operands = {memory, memory + b, nullptr, memory + d, nullptr, nullptr};
    if (HasBias(epilogue)) operands.bias = memory + bias;
    if (HasSums(epilogue)) operands.sums = memory + sums;
    if (HasX(epilogue)) operands.x = memory + x;
    return operands;
  }
  int64_t b, bias, sums, x, d, workspace, bytes;
};

}  // namespace

absl::Status ChooseProductAlgorithm(const CudaApi* api, const CudaMatmul& problem,
                                    const std::shared_ptr<void>& plan, AlgorithmChoices* choices) {
  if (!choices->measures()) return absl::OkStatus();
  CudaAlgorithms offered = {};
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->matmul_algorithms(plan.get(), &offered), "listing algorithms"));
  const ProductSpace space(problem);
  CallTimer timer(api, DTypeOf(problem.math), {space.d, space.bytes},
                  [&](char* memory, CudaStreamHandle stream) {
                    const CudaMatmulOperands operands = space.OperandsAt(memory, problem.epilogue);
                    return api->matmul(plan.get(), &operands, memory + space.workspace, stream);
                  });
  return ChooseByTime(api, api->matmul_use, offered, TextOf(problem), plan, &timer, choices);
}

}  // namespace oneflow::kernels
