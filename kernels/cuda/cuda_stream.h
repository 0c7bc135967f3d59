// CudaStream, CudaEvent and CudaGraph: kernels/stream.h on the CUDA table, and capture.
//
// Made by a CUDA device, owned by whoever runs a plan. Threads: as Stream and Event; the thread that
// uses a stream has made the device its own (CudaApi::set_device). Invariant: nothing waits but
// Drain and Synchronize. Read next: kernels/cuda/cuda_api.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDA_STREAM_H_
#define ONEFLOW_KERNELS_CUDA_CUDA_STREAM_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/stream.h"

namespace oneflow::kernels {

// "what: text"; OK for 0.
absl::Status CudaStatus(const CudaApi& api, CudaError error, const char* what);

class CudaEvent final : public Event {
 public:
  static absl::StatusOr<std::unique_ptr<CudaEvent>> Make(const CudaApi* api);
  ~CudaEvent() override;
  // True as well if the device is lost: nothing more will come of it.
  bool Done() const override;
  // The host waits until all that stood before the last Record is over.
  absl::Status Synchronize() const;
  CudaEventHandle handle() const { return handle_; }

 private:
  CudaEvent(const CudaApi* api, CudaEventHandle handle) : api_(api), handle_(handle) {}
  const CudaApi* const api_;
  const CudaEventHandle handle_;
};

// A captured stretch of work, ready to be launched again and again.
class CudaGraph {
 public:
  CudaGraph(const CudaApi* api, CudaGraphExecHandle handle) : api_(api), handle_(handle) {}
  // REQUIRES: what was launched is over.
  ~CudaGraph();
  CudaGraphExecHandle handle() const { return handle_; }

 private:
  const CudaApi* const api_;
  const CudaGraphExecHandle handle_;
};

class CudaStream final : public Stream {
 public:
  static absl::StatusOr<std::unique_ptr<CudaStream>> Make(const CudaApi* api);
  ~CudaStream() override;
  absl::Status Record(Event* event) override;
  absl::Status Wait(const Event& event) override;
  absl::Status OnComplete(void (*function)(void*), void* argument) override;
  void Drain() override;
  // What is enqueued from now on is kept, not run, until EndCapture; streams that wait for an event of
  // this one take part, and this one waits for them before the end.
  absl::Status BeginCapture();
  absl::StatusOr<std::unique_ptr<CudaGraph>> EndCapture();
  absl::Status Launch(const CudaGraph& graph);

  CudaStreamHandle handle() const { return handle_; }

 private:
  CudaStream(const CudaApi* api, CudaStreamHandle handle) : api_(api), handle_(handle) {}
  const CudaApi* const api_;
  const CudaStreamHandle handle_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDA_STREAM_H_
