#include "kernels/cuda/attention_algorithms.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/library_space.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/timed_choice.h"

namespace oneflow::kernels {
namespace {

std::string TextOf(const CudaAttention& a) {
  return absl::StrCat("attention", a.backward ? " gradient" : "", " type ",
                      std::string(NameOf(static_cast<DType>(a.dtype))), " batch ", a.batch,
                      " queries ", a.queries, " keys ", a.keys, " heads ", a.heads, ",",
                      a.key_heads, " width ", a.width, " pitches ", a.q_pitch, ",", a.k_pitch, ",",
                      a.v_pitch, a.causal ? " causal" : "", " workspace ", a.workspace_bytes);
}

// Where the operands of a call lie, which is timed: what is read, then what is written, then the workspace.
struct AttentionPlaces {
  explicit AttentionPlaces(const CudaAttention& a) {
    const AttentionBytes sample = BytesOfSample(a);
    for (const int64_t each : sample.in) in.push_back(Place(a.batch * each));
    drawn = bytes;
    for (const int64_t each : sample.out) out.push_back(Place(a.batch * each));
    workspace = Place(a.workspace_bytes);
  }
  int64_t Place(int64_t size) {
    const int64_t at = bytes;
    bytes += AlignedBytes(size);
    return at;
  }
  std::vector<int64_t> in, out;
  int64_t drawn = 0, workspace = 0, bytes = 0;
};

}  // namespace

absl::Status ChooseAttentionAlgorithm(const CudaApi* api, const CudaAttention& problem,
                                      const std::shared_ptr<void>& plan,
                                      AlgorithmChoices* choices) {
  if (!choices->measures() || SliceBatch(problem) == 0) return absl::OkStatus();
  CudaAlgorithms offered = {};
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->attention_algorithms(plan.get(), &offered), "listing algorithms"));
  if (offered.count < 2) return absl::OkStatus();  // the own kernel alone
  const AttentionPlaces places(problem);
  CallTimer timer(api, static_cast<DType>(problem.dtype), {places.drawn, places.bytes},
                  [&](char* memory, CudaStreamHandle stream) {
                    std::vector<const void*> in;
                    std::vector<void*> out;
                    for (const int64_t at : places.in) in.push_back(memory + at);
                    for (const int64_t at : places.out) out.push_back(memory + at);
                    const CudaOperands operands = {in.data(), out.data(), memory + places.workspace,
                                                   nullptr, 0};
                    return api->attention(plan.get(), &problem, &operands, stream);
                  });
  return ChooseByTime(api, api->attention_use, offered, TextOf(problem), plan, &timer, choices);
}

}  // namespace oneflow::kernels
