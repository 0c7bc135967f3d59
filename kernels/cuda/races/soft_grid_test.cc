// The threads of a block without a GPU: barriers and meetings of a warp order them, in every order that is drawn; under
// ThreadSanitizer a barrier that is missing is a data race, whatever came out.
#include <cstdlib>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/soft_grid_for_test.h"
#include "kernels/cuda/tensor_core.h"

namespace oneflow::kernels {
namespace {

constexpr int kWidth = 2 * kWarp;

// What the threads of a block do with their number, and what is between its steps.
enum class Between { kNothing, kBarrier, kWarpBarrier };

void Synchronise(Between between) {
  if (between == Between::kBarrier) __syncthreads();
  if (between == Between::kWarpBarrier) WarpBarrier();
}

// out[block, t] = the number of the thread `shift` further, round the `group` that t is in, which it writes into
// shared memory; twice, so that the second round writes over what the first has read.
void Rotate(int* out, int group, int shift, Between written, Between read) {
  __shared__ int shared[kWidth];
  const int t = static_cast<int>(threadIdx.x);
  const int begin = t / group * group;
  int value = t;
  for (int round = 0; round < 2; ++round) {
    shared[t] = value;
    Synchronise(written);
    value = shared[begin + (t - begin + shift) % group];
    Synchronise(read);
  }
  out[static_cast<int>(blockIdx.x) * kWidth + t] = value;
}

std::vector<int> Rotated(int blocks, int group, Between written, Between read, uint64_t seed) {
  std::vector<int> out(static_cast<size_t>(blocks * kWidth));
  RunSoftGrid(
      blocks, kWidth, /*barriers=*/true, [&] { Rotate(out.data(), group, 3, written, read); },
      seed);
  return out;
}

std::vector<int> Expected(int blocks, int group) {
  std::vector<int> out;
  for (int i = 0; i < blocks * kWidth; ++i) {
    const int t = i % kWidth, begin = t / group * group;
    out.push_back(begin + (t - begin + 6) % group);
  }
  return out;
}

TEST(SoftGrid, BarriersOrderABlock) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(Rotated(3, kWidth, Between::kBarrier, Between::kBarrier, seed), Expected(3, kWidth));
  }
}

TEST(SoftGrid, MeetingsOrderAWarp) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(Rotated(3, kWarp, Between::kWarpBarrier, Between::kWarpBarrier, seed),
              Expected(3, kWarp));
    EXPECT_EQ(Rotated(3, kWarp, Between::kBarrier, Between::kWarpBarrier, seed),
              Expected(3, kWarp));
  }
}

TEST(SoftGrid, LanesExchangeWhatTheyBring) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<float> out(kWidth);
    RunSoftGrid(
        1, kWidth, /*barriers=*/true,
        [&] {
          const float mine = static_cast<float>(threadIdx.x);
          out[threadIdx.x] = ShuffleXor(mine, 16) + ShuffleXor(mine, 1);
        },
        seed);
    for (int t = 0; t < kWidth; ++t) EXPECT_EQ(out[static_cast<size_t>(t)], (t ^ 16) + (t ^ 1));
  }
}

// Threads that leave before a barrier are not waited for.
TEST(SoftGrid, BlocksOfSeveralSizesFollowEachOther) {
  for (const int threads : {kWidth, 7, kWarp, kWidth}) {
    std::vector<int> out(static_cast<size_t>(threads), -1), seen = out;
    RunSoftGrid(
        2, threads, /*barriers=*/true,
        [&] {
          if (threadIdx.x % 2 == 1) return;
          out[threadIdx.x] = 0;
          __syncthreads();
          seen[threadIdx.x] = out[threadIdx.x / 4 * 2];
        },
        5);
    for (int t = 0; t < threads; ++t) EXPECT_EQ(seen[static_cast<size_t>(t)], t % 2 == 0 ? 0 : -1);
  }
}

#ifdef __SANITIZE_THREAD__

// In a process of its own, which the sanitizer ends with 66 where it has seen a race.
struct Case {
  const char* name;
  int group;
  Between written, read;
};
class MissingBarrier : public testing::TestWithParam<Case> {};

TEST_P(MissingBarrier, IsADataRaceInEveryOrder) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Case& c = GetParam();
  for (uint64_t seed = 0; seed < 2; ++seed) {
    EXPECT_EXIT(
        {
          Rotated(1, c.group, c.written, c.read, seed);
          std::exit(0);
        },
        testing::ExitedWithCode(66), "data race")
        << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(
    SoftGrid, MissingBarrier,
    testing::Values(
        Case{"behind_writes", kWidth, Between::kNothing, Between::kBarrier},
        Case{"behind_reads", kWidth, Between::kBarrier, Between::kNothing},
        Case{"behind_writes_of_a_warp", kWarp, Between::kNothing, Between::kWarpBarrier},
        Case{"behind_reads_of_a_warp", kWarp, Between::kWarpBarrier, Between::kNothing},
        Case{"a_warps_between_two_warps", kWidth, Between::kWarpBarrier, Between::kBarrier}),
    [](const auto& info) { return std::string(info.param.name); });

#endif

}  // namespace
}  // namespace oneflow::kernels
