// FetchRing: the outputs of invocations until somebody reads them. An unread metric never stalls a
// step: the FETCH task copies into host memory and frees its slot at once.
//
// Owned by a session. Threads: under the session's lock (movement threads write into the tensors of an
// entry that is not done). Buffers are used again once nobody holds them, so a loop that reads or
// discards its outputs allocates nothing after the first steps. Read next: runtime/session.cc.
#ifndef ONEFLOW_RUNTIME_IO_FETCH_RING_H_
#define ONEFLOW_RUNTIME_IO_FETCH_RING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "plan/plan.pb.h"
#include "runtime/io/invocation.h"

namespace oneflow {

class FetchRing {
 public:
  // `fetched[i]`: tasks here write all of output i.
  FetchRing(const plan::Plan& plan, std::vector<bool> fetched);

  // An entry for invocation `id` with a buffer for each output that is fetched here (data is
  // nullptr for the others). Stays until Release.
  FetchEntry* Open(int64_t id);
  // nullptr if the invocation is unknown or was released.
  FetchEntry* Find(int64_t id);
  // Nobody will ask for it any more: it is used again once it is done.
  void Release(FetchEntry* entry);

 private:
  const plan::Plan& plan_;  // of the program that outlives this
  const std::vector<bool> fetched_;
  std::vector<std::unique_ptr<FetchEntry>> entries_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_IO_FETCH_RING_H_
