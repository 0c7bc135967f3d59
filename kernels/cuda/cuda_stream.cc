#include "kernels/cuda/cuda_stream.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::kernels {

absl::Status CudaStatus(const CudaApi& api, CudaError error, const char* what) {
  if (error == 0) return absl::OkStatus();
  return MakeError(error == 2 ? ErrorKind::kOutOfMemory : ErrorKind::kError,
                   absl::StrCat("CUDA error ", error, " (", api.error_text(error), ") in ", what));
}

absl::StatusOr<std::unique_ptr<CudaEvent>> CudaEvent::Make(const CudaApi* api) {
  CudaEventHandle handle = nullptr;
  OF_RETURN_IF_ERROR(CudaStatus(*api, api->event_create(&handle, /*timed=*/false), "event_create"));
  return std::unique_ptr<CudaEvent>(new CudaEvent(api, handle));
}

CudaEvent::~CudaEvent() { api_->event_destroy(handle_); }

bool CudaEvent::Done() const {
  bool finished = false;
  return api_->event_query(handle_, &finished) != 0 || finished;
}

absl::Status CudaEvent::Synchronize() const {
  return CudaStatus(*api_, api_->event_synchronize(handle_), "event_synchronize");
}

CudaGraph::~CudaGraph() { api_->graph_exec_destroy(handle_); }

absl::StatusOr<std::unique_ptr<CudaStream>> CudaStream::Make(const CudaApi* api) {
  CudaStreamHandle handle = nullptr;
  OF_RETURN_IF_ERROR(CudaStatus(*api, api->stream_create(&handle), "stream_create"));
  return std::unique_ptr<CudaStream>(new CudaStream(api, handle));
}

CudaStream::~CudaStream() { api_->stream_destroy(handle_); }

absl::Status CudaStream::Record(Event* event) {
  return CudaStatus(*api_, api_->event_record(static_cast<CudaEvent*>(event)->handle(), handle_),
                    "event_record");
}

absl::Status CudaStream::Wait(const Event& event) {
  return CudaStatus(*api_,
                    api_->stream_wait(handle_, static_cast<const CudaEvent&>(event).handle()),
                    "stream_wait");
}

absl::Status CudaStream::OnComplete(void (*function)(void*), void* argument) {
  return CudaStatus(*api_, api_->stream_callback(handle_, function, argument), "stream_callback");
}

void CudaStream::Drain() { api_->stream_synchronize(handle_); }

absl::Status CudaStream::BeginCapture() {
  return CudaStatus(*api_, api_->capture_begin(handle_), "capture_begin");
}

absl::StatusOr<std::unique_ptr<CudaGraph>> CudaStream::EndCapture() {
  CudaGraphHandle graph = nullptr;
  OF_RETURN_IF_ERROR(CudaStatus(*api_, api_->capture_end(handle_, &graph), "capture_end"));
  CudaGraphExecHandle exec = nullptr;
  const CudaError error = api_->graph_instantiate(&exec, graph);
  api_->graph_destroy(graph);
  OF_RETURN_IF_ERROR(CudaStatus(*api_, error, "graph_instantiate"));
  return std::make_unique<CudaGraph>(api_, exec);
}

absl::Status CudaStream::Launch(const CudaGraph& graph) {
  return CudaStatus(*api_, api_->graph_launch(graph.handle(), handle_), "graph_launch");
}

}  // namespace oneflow::kernels
