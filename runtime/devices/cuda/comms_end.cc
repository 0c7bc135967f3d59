#include "runtime/devices/cuda/comms_end.h"

#include <algorithm>

#include "base/status.h"

namespace oneflow {

CommsEnd::~CommsEnd() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CommsEnd::Begin() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    begun_.store(true);
  }
  changed_.notify_all();
}

absl::Status CommsEnd::Use(const std::function<absl::Status()>& calls) {
  std::lock_guard<std::mutex> lock(use_mutex_);
  if (!begun()) return calls();
  return MakeError(ErrorKind::kError, "the session has failed, no call is made any more");
}

void CommsEnd::Add(const std::vector<kernels::CudaCommHandle>& handles) {
  std::lock_guard<std::mutex> lock(mutex_);
  handles_.insert(handles_.end(), handles.begin(), handles.end());
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

bool CommsEnd::Remove(const std::vector<kernels::CudaCommHandle>& handles) {
  std::lock_guard<std::mutex> use_lock(use_mutex_);
  std::lock_guard<std::mutex> lock(mutex_);
  if (begun()) return false;
  for (const kernels::CudaCommHandle handle : handles) std::erase(handles_, handle);
  return true;
}

void CommsEnd::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return stop_ || begun(); });
  if (!begun()) return;
  lock.unlock();
  // Who is in a call sees that it has begun, and leaves.
  std::vector<kernels::CudaCommHandle> handles;
  {
    std::lock_guard<std::mutex> use_lock(use_mutex_);
    std::lock_guard<std::mutex> again(mutex_);
    handles.swap(handles_);
  }
  if (!handles.empty()) api_->comms_abort(static_cast<int>(handles.size()), handles.data());
}

}  // namespace oneflow
