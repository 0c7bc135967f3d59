// TransportHandle: the process's transport as Python holds it; sessions borrow it.
//
// Owned by Python (one per process, made by oneflow.environment). Outlives the sessions that use
// it: they keep a reference. Threads: any that holds the GIL. Read next: comm/rendezvous.h.
#ifndef ONEFLOW_PYTHON_BINDINGS_TRANSPORT_H_
#define ONEFLOW_PYTHON_BINDINGS_TRANSPORT_H_

#include <memory>

#include "comm/transport.h"

namespace oneflow::python {

// A connected transport.
struct TransportHandle {
  std::unique_ptr<comm::Transport> transport;
};

}  // namespace oneflow::python

#endif  // ONEFLOW_PYTHON_BINDINGS_TRANSPORT_H_
