#include "runtime/spinning.h"

#include <sched.h>

namespace oneflow {

int CoresOfRank(int world_size, bool looking_suffices) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  // Fails only on a machine of more than 1,024 processors; none counted means none looks.
  const int cores = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
  return world_size <= 1 ? cores : cores / world_size - (looking_suffices ? 0 : 1);
}

}  // namespace oneflow
