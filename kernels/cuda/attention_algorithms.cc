#include "kernels/cuda/attention_algorithms.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/call_timer.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/library_space.h"
#include "kernels/cuda/offered_algorithms.h"

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
class TimedOperands {
 public:
  explicit TimedOperands(const CudaAttention& a) {
    const int64_t q = a.batch * a.queries * a.q_pitch * 2, k = a.batch * a.keys * a.k_pitch * 2;
    const int64_t v = a.batch * a.keys * a.v_pitch * 2;
    const int64_t out = a.batch * a.queries * a.heads * a.value_width * 2;
    const int64_t lse = a.batch * a.heads * a.queries * 4;
    for (const int64_t bytes : {q, k, v}) in.push_back(Place(bytes));
    if (a.backward) {
      for (const int64_t bytes : {out, lse, out}) in.push_back(Place(bytes));
    }
    drawn = bytes;
    if (a.backward) {
      for (const int64_t bytes : {q, k, v}) written.push_back(Place(bytes));
    } else {
      for (const int64_t bytes : {out, lse}) written.push_back(Place(bytes));
    }
    workspace = Place(a.workspace_bytes);
  }
  std::vector<int64_t> in, written;
  int64_t drawn = 0, workspace = 0, bytes = 0;

 private:
  int64_t Place(int64_t size) {
    const int64_t at = bytes;
    bytes += AlignedBytes(size);
    return at;
  }
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
  const std::vector<std::string> names(offered.names, offered.names + offered.count);
  const TimedOperands space(problem);
  CallTimer timer(
      api, static_cast<DType>(problem.dtype), {space.drawn, space.bytes},
      [&](char* memory, CudaStreamHandle stream) {
        std::vector<const void*> in;
        std::vector<void*> out;
        for (const int64_t at : space.in) in.push_back(memory + at);
        for (const int64_t at : space.written) out.push_back(memory + at);
        const CudaOperands operands = {in.data(), out.data(), memory + space.workspace, nullptr, 0};
        return api->attention(plan.get(), &problem, &operands, stream);
      });
  const auto time = [&](size_t i) -> absl::StatusOr<double> {
    // An engine that turns out to make no plan is none.
    if (api->attention_use(plan.get(), names[i].c_str()) != 0) {
      return std::numeric_limits<double>::infinity();
    }
    return timer.Seconds();
  };
  const auto use = [api, made = plan.get()](const std::string& name) {
    return CudaStatus(*api, api->attention_use(made, name.c_str()), "choosing attention's engine");
  };
  return choices->Choose({offered.place, TextOf(problem)}, names, time, plan, use);
}

}  // namespace oneflow::kernels
