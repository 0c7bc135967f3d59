#include "kernels/cuda/product_algorithms.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/library_space.h"
#include "kernels/cuda/matmul_copies.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

constexpr int kRuns = 8;  // between two events

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

int64_t BytesOf(CudaMath math) {
  if (math == CudaMath::kF64) return 8;
  return math == CudaMath::kBF16 || math == CudaMath::kF16 ? 2 : 4;
}

template <typename T>
void Draw(std::vector<char>* bytes) {
  uint32_t state = 12345;
  for (size_t at = 0; at + sizeof(T) <= bytes->size(); at += sizeof(T)) {
    state = state * 1664525u + 1013904223u;
    const T value = T(static_cast<float>(state >> 8) / 8388608.0f - 1);
    std::memcpy(bytes->data() + at, &value, sizeof(value));
  }
}

// Where a product is timed.
class ProductTimer {
 public:
  ProductTimer(const CudaApi* api, const CudaMatmul& problem, void* plan)
      : api_(api), g_(problem), plan_(plan) {}
  ProductTimer(const ProductTimer&) = delete;
  ~ProductTimer() {
    if (stream_ != nullptr) api_->stream_synchronize(stream_);
    if (end_ != nullptr) api_->event_destroy(end_);
    if (begin_ != nullptr) api_->event_destroy(begin_);
    if (stream_ != nullptr) api_->stream_destroy(stream_);
    if (data_ != nullptr) api_->release(data_);
  }

  // Of the algorithm that the plan has.
  absl::StatusOr<double> Seconds() {
    if (data_ == nullptr) OF_RETURN_IF_ERROR(Prepare());
    float milliseconds = 0;
    CudaError error = Run();  // the first of an algorithm may load it
    if (error == 0) error = api_->event_record(begin_, stream_);
    for (int i = 0; i < kRuns && error == 0; ++i) error = Run();
    if (error == 0) error = api_->event_record(end_, stream_);
    if (error == 0) error = api_->event_synchronize(end_);
    if (error == 0) error = api_->event_milliseconds(begin_, end_, &milliseconds);
    OF_RETURN_IF_ERROR(CudaStatus(*api_, error, "timing a product"));
    return milliseconds / 1e3 / kRuns;
  }

 private:
  absl::Status Prepare() {
    const int64_t element = BytesOf(g_.math), last = g_.batches - 1;
    b_ = AlignedBytes((last * g_.stride_a + g_.m * g_.k) * element);
    bias_ = b_ + AlignedBytes((last * g_.stride_b + g_.k * g_.n) * element);
    sums_ = bias_ + AlignedBytes(g_.n * element);
    x_ = sums_ + AlignedBytes(std::max(g_.m, g_.n) * element);
    d_ = x_ + (HasX(g_.epilogue) ? AlignedBytes(g_.m * g_.n * element) : 0);
    workspace_ = d_ + AlignedBytes((last * g_.stride_d + g_.m * g_.n) * element);
    const int64_t all =
        workspace_ + g_.workspace_bytes + MatmulCopies(g_).bytes() + 2 * kLibraryAlignment;
    void* data = nullptr;
    CudaError error = api_->allocate(&data, all);
    if (error == 0) {
      data_ = data;
      error = api_->stream_create(&stream_);
    }
    if (error == 0) error = api_->event_create(&begin_, true);
    if (error == 0) error = api_->event_create(&end_, true);
    std::vector<char> drawn(static_cast<size_t>(std::min<int64_t>(d_, int64_t{1} << 20)));
    switch (g_.math) {
      case CudaMath::kBF16:
        Draw<BF16>(&drawn);
        break;
      case CudaMath::kF16:
        Draw<F16>(&drawn);
        break;
      case CudaMath::kF64:
        Draw<double>(&drawn);
        break;
      case CudaMath::kF32:
      case CudaMath::kTF32:
        Draw<float>(&drawn);
        break;
    }
    const int64_t part = static_cast<int64_t>(drawn.size());
    for (int64_t at = 0; at < d_ && error == 0; at += part) {
      error = api_->copy_in(At(at), drawn.data(), std::min(part, d_ - at), stream_);
    }
    return CudaStatus(*api_, error, "memory to time a product in");
  }
  CudaError Run() {
    CudaMatmulOperands operands = {At(0), At(b_), nullptr, At(d_), nullptr, nullptr};
    if (HasBias(g_.epilogue)) operands.bias = At(bias_);
    if (HasSums(g_.epilogue)) operands.sums = At(sums_);
    if (HasX(g_.epilogue)) operands.x = At(x_);
    return api_->matmul(plan_, &operands, At(workspace_), stream_);
  }
  char* At(int64_t offset) { return AlignedSpace(data_) + offset; }

  const CudaApi* const api_;
  const CudaMatmul g_;
  void* const plan_;
  void* data_ = nullptr;
  int64_t b_ = 0, bias_ = 0, sums_ = 0, x_ = 0, d_ = 0, workspace_ = 0;
  CudaStreamHandle stream_ = nullptr;
  CudaEventHandle begin_ = nullptr, end_ = nullptr;
};

}  // namespace

absl::Status ChooseProductAlgorithm(const CudaApi* api, const CudaMatmul& problem,
                                    const std::shared_ptr<void>& plan, AlgorithmChoices* choices) {
  if (!choices->measures()) return absl::OkStatus();
  CudaAlgorithms offered = {};
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->matmul_algorithms(plan.get(), &offered), "listing algorithms"));
  const std::vector<std::string> names(offered.names, offered.names + offered.count);
  ProductTimer timer(api, problem, plan.get());
  const auto time = [&](size_t i) -> absl::StatusOr<double> {
    OF_RETURN_IF_ERROR(
        CudaStatus(*api, api->matmul_use(plan.get(), names[i].c_str()), "choosing an algorithm"));
    return timer.Seconds();
  };
  const auto use = [api, made = plan.get()](const std::string& name) {
    return CudaStatus(*api, api->matmul_use(made, name.c_str()), "choosing a product's algorithm");
  };
  return choices->Choose({offered.place, TextOf(problem)}, names, time, plan, use);
}

}  // namespace oneflow::kernels
