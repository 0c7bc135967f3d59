// The null device: no memory, no kernels. Plans run on it for their order alone: protocol overhead,
// very large plans in virtual time, and as the skeleton of a new device.
//
// Owned by a session. Threads: as Device. Outputs of an invocation are zeros; states stay zeros.
// Read next: runtime/devices/device.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_NULL_H_
#define ONEFLOW_RUNTIME_DEVICES_NULL_H_

#include <memory>

#include "runtime/devices/device.h"

namespace oneflow {

std::unique_ptr<Device> MakeNullDevice();

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_NULL_H_
