// CpuDevice: a share of the host's memory and cores.
//
// Owned by a session. Threads: as Device. Its compute thread has a team of OpenMP threads of its
// own; memory comes from mmap, so it is zero, and resident only once touched. Read next:
// runtime/threaded_executor.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CPU_H_
#define ONEFLOW_RUNTIME_DEVICES_CPU_H_

#include <memory>

#include "runtime/devices/device.h"

namespace oneflow {

// `table` outlives the device.
std::unique_ptr<Device> MakeCpuDevice(const kernels::KernelTable* table);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CPU_H_
