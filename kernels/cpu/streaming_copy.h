// StreamingCopy: copies bytes that nobody reads soon, or somebody on another core: past the caches, which keep what is
// in use, and without reading what is written over first.
//
// Pure. Threads: any; the bytes are there for others when it returns (a fence orders streaming stores). Read next:
// kernels/cpu/combine.cc.
#ifndef ONEFLOW_KERNELS_CPU_STREAMING_COPY_H_
#define ONEFLOW_KERNELS_CPU_STREAMING_COPY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace oneflow::kernels {

// As std::memcpy.
inline void StreamingCopy(std::byte* to, const std::byte* from, size_t bytes) {
#ifdef __SSE2__
  constexpr size_t kLine = 64;
  const size_t before = (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine;
  if (bytes >= before + kLine) {
    std::memcpy(to, from, before);
    to += before;
    from += before;
    bytes -= before;
    for (; bytes >= kLine; bytes -= kLine, to += kLine, from += kLine) {
      const auto* source = reinterpret_cast<const __m128i*>(from);
      auto* target = reinterpret_cast<__m128i*>(to);
      const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1),
                    c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
      _mm_stream_si128(target, a);
      _mm_stream_si128(target + 1, b);
      _mm_stream_si128(target + 2, c);
      _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
  }
#endif
  std::memcpy(to, from, bytes);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_STREAMING_COPY_H_
