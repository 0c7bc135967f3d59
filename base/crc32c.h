// CRC32C (Castagnoli), the checksum of every frame between ranks and of every stored checkpoint.
//
// Pure. Threads: any. Three ways, by what the CPU has: long bytes are folded by wide carry-less products
// (AVX-512, VPCLMULQDQ), else by its instruction (SSE 4.2) in three runs side by side, else by a table;
// all give the same numbers (crc32c_test). Read next: comm/frame.h.
#ifndef ONEFLOW_BASE_CRC32C_H_
#define ONEFLOW_BASE_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace oneflow {

// The checksum of what `crc` covers (0: nothing) followed by these bytes.
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes);

inline uint32_t Crc32c(const void* data, size_t bytes) { return ExtendCrc32c(0, data, bytes); }

// The ways of CPUs that lack the rest, for the test that compares them.
uint32_t ExtendCrc32cByRuns(uint32_t crc, const void* data, size_t bytes);
uint32_t ExtendCrc32cByTable(uint32_t crc, const void* data, size_t bytes);

}  // namespace oneflow

#endif  // ONEFLOW_BASE_CRC32C_H_
