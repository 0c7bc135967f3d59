// AsyncDevice: a device that answers later, for tests: the contract of kernels/stream.h without an
// accelerator. Its kernels are the CPU's; each stream runs what it was given on a thread of its own,
// after random delays, so events complete late and in many orders.
//
// Owned by a session. Threads: as Device; a stream has a thread from its making to its end. Memory is
// the host's: FEED, FETCH and SEND reach it directly, and only once the kernels before them are over.
// Invariant: same bits as a CPU device, whatever the delays. Delays come from a fixed seed, the
// device's id and the number of the stream. Read next: kernels/stream.h, docs/runtime.md.
#ifndef ONEFLOW_RUNTIME_DEVICES_ASYNC_H_
#define ONEFLOW_RUNTIME_DEVICES_ASYNC_H_

#include <cstdint>
#include <memory>

#include "runtime/devices/device.h"

namespace oneflow {

// `table` outlives the device; `id` is the global one.
std::unique_ptr<Device> MakeAsyncDevice(const kernels::KernelTable* table, uint32_t id);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_ASYNC_H_
