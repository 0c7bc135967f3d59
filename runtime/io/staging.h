// Staging: where the inputs of invocations wait for the FEEDs that read them, so that the caller may
// change its arrays as soon as Launch has returned.
//
// Owned by a session, for all its plans: one plan runs at a time, with at most kWindow steps in
// flight. Threads: the session's caller (feeds only read). Buffers grow to the largest inputs seen
// and are kept: a steady loop touches no fresh memory. The first free one is taken, so a loop that
// waits for its steps stays in one. Read next: runtime/session.cc.
#ifndef ONEFLOW_RUNTIME_IO_STAGING_H_
#define ONEFLOW_RUNTIME_IO_STAGING_H_

#include <array>
#include <cstddef>
#include <vector>

#include "base/host_tensor.h"
#include "runtime/io/invocation.h"

namespace oneflow {

class Staging {
 public:
  // Copies the tensors that are `fed` into a free buffer; invocation->input_bytes says where each
  // lies. The buffer is the invocation's until its feeds are done. REQUIRES: fewer than kWindow
  // steps are in flight; feeds_left of those before says what is still read.
  void Copy(const std::vector<HostTensor>& inputs, const std::vector<bool>& fed,
            Invocation* invocation);
  // No invocation reads from a buffer any more (they may be freed).
  void ReleaseAll();
  size_t bytes() const;  // of all buffers

 private:
  struct Buffer {
    HostTensor memory;
    const Invocation* reader = nullptr;
  };
  std::array<Buffer, Invocation::kWindow> buffers_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_IO_STAGING_H_
