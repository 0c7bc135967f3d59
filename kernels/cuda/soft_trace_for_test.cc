#include "kernels/cuda/soft_trace_for_test.h"

#include <map>
#include <mutex>
#include <thread>

namespace oneflow::kernels {
namespace {

class SoftTrace {
 public:
  static SoftTrace& Of() {
    static SoftTrace* trace = new SoftTrace;  // streams may outlive static objects
    return *trace;
  }
  void Start(bool on) {
    std::lock_guard<std::mutex> lock(mutex_);
    on_ = on;
    text_.clear();
    threads_.clear();
    numbers_.clear();
  }
  void Add(const char* call, const void* stream, bool captured, const void* object, int gpu) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!on_) return;
    const size_t thread =
        threads_.try_emplace(std::this_thread::get_id(), threads_.size()).first->second;
    text_ += std::to_string(thread) + " " + call + " " + NumberOf(stream) +
             (captured ? "* " : " ") + NumberOf(object) + " " + std::to_string(gpu) + "\n";
  }
  std::string text() {
    std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 private:
  std::string NumberOf(const void* thing) {
    if (thing == nullptr) return "-";
    return std::to_string(numbers_.try_emplace(thing, numbers_.size()).first->second);
  }

  std::mutex mutex_;
  bool on_ = false;
  std::string text_;
  std::map<std::thread::id, size_t> threads_;
  std::map<const void*, size_t> numbers_;
};

}  // namespace

void TraceSoftCall(const char* call, const void* stream, bool captured, const void* object,
                   int gpu) {
  SoftTrace::Of().Add(call, stream, captured, object, gpu);
}
void StartSoftTrace(bool on) { SoftTrace::Of().Start(on); }
std::string SoftTraceText() { return SoftTrace::Of().text(); }

}  // namespace oneflow::kernels
