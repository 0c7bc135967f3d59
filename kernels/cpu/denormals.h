// FlushDenormals: while one lives, its thread takes denormal floats for zero and gives zero where a
// result would be one; then the mode that the caller had is back.
//
// On the stack of a thread that computes: FunctionKernel::Run and each part of ForEachPart have one, so
// every CPU kernel does, whoever runs it, and the bits are the same in all threads. Invariants: the
// caller's arithmetic (NumPy's, say, in a thread that runs a short kernel) never sees our mode, nor the
// exception flags that we raise; one inside another does nothing. Costs 5 to 10 ns. What only moves
// bits (copies, casts between bf16 and f32) keeps denormals, and f16's are exact: in float they are
// none. Why: docs/decisions/0010-denormals.md. Read next: kernels/cpu/parallel.h.
#ifndef ONEFLOW_KERNELS_CPU_DENORMALS_H_
#define ONEFLOW_KERNELS_CPU_DENORMALS_H_

#include <cstdint>

namespace oneflow::kernels {

class FlushDenormals {
 public:
  FlushDenormals() : before_(Mode()) {
    if ((before_ & kFlush) != kFlush) SetMode(before_ | kFlush);
  }
  ~FlushDenormals() {
    if ((before_ & kFlush) != kFlush) SetMode(before_);
  }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  // The compiler knows nothing of modes: "memory" keeps what is computed from buffers between the two.
#if defined(__x86_64__)
  using Word = uint32_t;
  static constexpr Word kFlush = 0x8040;  // MXCSR: results (FTZ) and operands (DAZ)
  static Word Mode() {
    Word mode;
    asm volatile("stmxcsr %0" : "=m"(mode) : : "memory");
    return mode;
  }
  static void SetMode(Word mode) { asm volatile("ldmxcsr %0" : : "m"(mode) : "memory"); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kFlush = Word{1} << 24;  // FPCR.FZ: both
  static Word Mode() {
    Word mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
    return mode;
  }
  static void SetMode(Word mode) { asm volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else  // no such mode: denormals stay
  using Word = uint32_t;
  static constexpr Word kFlush = 0;
  static Word Mode() { return 0; }
  static void SetMode(Word) {}
#endif

  const Word before_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_DENORMALS_H_
