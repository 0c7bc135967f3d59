// CRC32C (Castagnoli), the checksum of every frame between ranks and of every stored checkpoint.
//
// Pure. Threads: any. Uses the CPU's instruction where there is one (SSE 4.2; three runs of long bytes side
// by side, 14 GB/s where one alone made 4), a table elsewhere;
// both give the same numbers (crc32c_test). Read next: comm/frame.h.
#ifndef ONEFLOW_BASE_CRC32C_H_
#define ONEFLOW_BASE_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace oneflow {

// The checksum of what `crc` covers (0: nothing) followed by these bytes.
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes);

inline uint32_t Crc32c(const void* data, size_t bytes) { return ExtendCrc32c(0, data, bytes); }

// The table's way, for CPUs without the instruction and for the test that compares the two.
uint32_t ExtendCrc32cByTable(uint32_t crc, const void* data, size_t bytes);

}  // namespace oneflow

#endif  // ONEFLOW_BASE_CRC32C_H_
