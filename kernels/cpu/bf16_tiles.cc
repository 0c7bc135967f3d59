// What the machine has, and the choice.
#include "kernels/cpu/bf16_tiles.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

// Tile registers are large, so Linux saves them only for processes that asked (linux/Documentation/
// arch/x86/xstate.rst).
bool AskForTiles() {
  constexpr int kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;     // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

bool FindAmx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAmx = 1u << 22 | 1u << 24;  // AMX-BF16, AMX-TILE
  return HostIsa() == Isa::kAvx512 && (d & kAmx) == kAmx && AskForTiles();
}

}  // namespace

bool HostHasAvx512Bf16() {
  return HostIsa() == Isa::kAvx512 && __builtin_cpu_supports("avx512bf16");
}

bool HostHasAmxBf16() {
  static const bool has = FindAmx();
  return has;
}

const Bf16Tiles* HostBf16Tiles() {
  static const Bf16Tiles tiles = HostHasAmxBf16()      ? AmxBf16Tiles()
                                 : HostHasAvx512Bf16() ? Avx512Bf16Tiles()
                                                       : Bf16Tiles();
  return tiles.multiply != nullptr ? &tiles : nullptr;
}

}  // namespace oneflow::kernels
