#include "kernels/cuda/call_timer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/library_space.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

constexpr int kRuns = 8;  // between two events

template <typename T>
void Draw(std::vector<char>* bytes) {
  uint32_t state = 12345;
  for (size_t at = 0; at + sizeof(T) <= bytes->size(); at += sizeof(T)) {
    state = state * 1664525u + 1013904223u;
    const T value = T(static_cast<float>(state >> 8) / 8388608.0f - 1);
    std::memcpy(bytes->data() + at, &value, sizeof(value));
  }
}
void DrawAs(DType dtype, std::vector<char>* bytes) {
  if (dtype == DType::kBF16) return Draw<BF16>(bytes);
  if (dtype == DType::kF16) return Draw<F16>(bytes);
  if (dtype == DType::kF64) return Draw<double>(bytes);
  Draw<float>(bytes);
}

}  // namespace

CallTimer::~CallTimer() {
  if (stream_ != nullptr) api_->stream_synchronize(stream_);
  if (end_ != nullptr) api_->event_destroy(end_);
  if (begin_ != nullptr) api_->event_destroy(begin_);
  if (stream_ != nullptr) api_->stream_destroy(stream_);
  if (data_ != nullptr) api_->release(data_);
}

absl::StatusOr<double> CallTimer::Seconds() {
  if (data_ == nullptr) OF_RETURN_IF_ERROR(Prepare());
  float milliseconds = 0;
  CudaError error = Run();  // the first of an algorithm may load it
  if (error == 0) error = api_->event_record(begin_, stream_);
  for (int i = 0; i < kRuns && error == 0; ++i) error = Run();
  if (error == 0) error = api_->event_record(end_, stream_);
  if (error == 0) error = api_->event_synchronize(end_);
  if (error == 0) error = api_->event_milliseconds(begin_, end_, &milliseconds);
  OF_RETURN_IF_ERROR(CudaStatus(*api_, error, "timing an algorithm"));
  return milliseconds / 1e3 / kRuns;
}

absl::Status CallTimer::Prepare() {
  void* data = nullptr;
  CudaError error = api_->allocate(&data, memory_.bytes + kLibraryAlignment);
  if (error == 0) {
    data_ = data;
    error = api_->stream_create(&stream_);
  }
  if (error == 0) error = api_->event_create(&begin_, true);
  if (error == 0) error = api_->event_create(&end_, true);
  std::vector<char> drawn(static_cast<size_t>(std::min<int64_t>(memory_.drawn, int64_t{1} << 20)));
  DrawAs(dtype_, &drawn);
  const int64_t part = static_cast<int64_t>(drawn.size());
  for (int64_t at = 0; at < memory_.drawn && error == 0; at += part) {
    error = api_->copy_in(AlignedSpace(data_) + at, drawn.data(),
                          std::min(part, memory_.drawn - at), stream_);
  }
  return CudaStatus(*api_, error, "memory to time an algorithm in");
}

CudaError CallTimer::Run() { return call_(AlignedSpace(data_), stream_); }

}  // namespace oneflow::kernels
