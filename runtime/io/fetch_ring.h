// FetchRing: the outputs of invocations until somebody reads them. An unread metric never stalls a
// step: the FETCH task copies into host memory and frees its slot at once.
//
// Owned by a session, longer than the plan while outputs are unread. Threads: under the session's
// lock (movement threads write into the tensors of an entry that is not done). Buffers are used
// again once nobody holds them, so a loop that lets go of its outputs after some steps allocates
// nothing after the first of them. Read next: runtime/session.cc.
#ifndef ONEFLOW_RUNTIME_IO_FETCH_RING_H_
#define ONEFLOW_RUNTIME_IO_FETCH_RING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "plan/plan.pb.h"
#include "runtime/io/invocation.h"

namespace oneflow {

class FetchRing {
 public:
  // `fetched[i]`: tasks here write all of output i.
  FetchRing(const plan::Plan& plan, const std::vector<bool>& fetched);

  // An entry for invocation `id` with a buffer for each output that is fetched here (data is
  // nullptr for the others). Stays until Release.
  FetchEntry* Open(int64_t id);
  // nullptr if the invocation is unknown or was released.
  FetchEntry* Find(int64_t id);
  // Nobody will ask for it any more: it is used again once it is done.
  void Release(FetchEntry* entry);
  // Those from invocation `id` on have no values for this reason.
  void Fail(int64_t id, const absl::Status& error);
  // Invocations that somebody may still ask for.
  size_t unread() const { return unread_; }

 private:
  // Entries beside the unread ones that are kept although the caller still holds their buffers: it
  // may let go of them. With more of them the caller keeps what it reads, and waiting is in vain.
  static constexpr size_t kHeld = 4;

  struct Output {
    DType dtype = DType::kInvalid;
    Shape shape;
    bool fetched = false;
  };
  const std::vector<Output> outputs_;
  std::vector<std::unique_ptr<FetchEntry>> entries_;
  size_t unread_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_IO_FETCH_RING_H_
