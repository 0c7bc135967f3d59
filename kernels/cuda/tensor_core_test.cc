// Fragments of tensor cores as software CUDA does them: products against f64, loads in every order, copies
// that arrive late, warps that meet by themselves. That a GPU does the same is what the conformance tests of
// the kernels show there.
#include "kernels/cuda/tensor_core.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "kernels/cuda/soft_grid_for_test.h"

namespace oneflow::kernels {
namespace {

constexpr int kDepth = 32, kRow = TileRow(kDepth);

// A matrix [rows, columns] in a tile, or its transpose.
template <typename T>
void Put(T* tile, const std::vector<double>& matrix, int rows, int columns, bool transposed) {
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const double value = matrix[static_cast<size_t>(r * columns + c)];
      tile[transposed ? c * kRow + r : r * kRow + c] = T(static_cast<float>(value));
    }
  }
}

// 16 x 32 by 32 x 16 by one warp, operands stored by rows or by columns.
template <typename T>
std::vector<float> Multiply(const std::vector<double>& a, const std::vector<double>& b,
                            bool a_by_columns, bool b_by_columns) {
  std::vector<T> left(kRow * kDepth), right(kRow * kDepth);
  Put(left.data(), a, 16, kDepth, a_by_columns);
  Put(right.data(), b, kDepth, 16, b_by_columns);
  std::vector<float> result(16 * 16);
  RunSoftGrid(
      1, kWarp, true,
      [&] {
        float sums[2][4] = {};
        for (int k = 0; k < kDepth; k += 16) {
          uint32_t l[4], r[4];
          if (a_by_columns) {
            LoadTransposed(l, LeftColumn(left.data() + k * kRow, kRow));
          } else {
            LoadFragments(l, LeftRow(left.data() + k, kRow));
          }
          if (b_by_columns) {
            LoadFragments(r, RightColumn(right.data() + k, kRow));
          } else {
            LoadTransposed(r, RightRow(right.data() + k * kRow, kRow));
          }
          MultiplyFragments<T>(sums[0], l, r[0], r[1]);
          MultiplyFragments<T>(sums[1], l, r[2], r[3]);
        }
        for (int n = 0; n < 2; ++n) {
          for (int i = 0; i < 4; ++i) {
            const int row = Lane() / 4 + i / 2 * 8, column = n * 8 + Lane() % 4 * 2 + i % 2;
            result[static_cast<size_t>(row * 16 + column)] = sums[n][i];
          }
        }
      },
      5);
  return result;
}

TEST(TensorCore, MultipliesFragmentsOfEitherOrder) {
  std::mt19937 random(3);
  std::vector<double> a(16 * kDepth), b(kDepth * 16);
  for (double& value : a) value = static_cast<double>(random() % 255) - 127;
  for (double& value : b) value = static_cast<double>(random() % 15) - 7;
  std::vector<float> wanted(16 * 16);  // whole numbers: the sums are exact
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      double sum = 0;
      for (int k = 0; k < kDepth; ++k) {
        sum += a[static_cast<size_t>(i * kDepth + k)] * b[static_cast<size_t>(k * 16 + j)];
      }
      wanted[static_cast<size_t>(i * 16 + j)] = static_cast<float>(sum);
    }
  }
  for (const bool a_by_columns : {false, true}) {
    for (const bool b_by_columns : {false, true}) {
      EXPECT_EQ(Multiply<BF16>(a, b, a_by_columns, b_by_columns), wanted);
      EXPECT_EQ(Multiply<F16>(a, b, a_by_columns, b_by_columns), wanted);
    }
  }
}

// What a block's shared memory holds where nobody wrote, and copies that nobody waits for.
TEST(TensorCore, CopiesArriveWhenTheyAreWaitedFor) {
  const std::array<uint32_t, 4> source = {1, 2, 3, 4};
  std::vector<uint32_t> seen;
  RunSoftGrid(
      1, 1, true,
      [&] {
        uint32_t* const shared = reinterpret_cast<uint32_t*>(SharedSpace<32>());
        CopyAsync16(shared, source.data(), true);
        CommitCopies();
        CopyAsync16(shared + 4, source.data(), false);
        CopyAsync8(shared + 6, source.data() + 2, true);
        CommitCopies();
        seen.push_back(shared[0]);
        WaitForCopies<1>();
        for (int i : {0, 3, 4}) seen.push_back(shared[i]);
        WaitForCopies<0>();
        for (int i : {4, 5, 6}) seen.push_back(shared[i]);
      },
      0);
  const uint32_t none = 0xffffffff;
  EXPECT_EQ(seen, (std::vector<uint32_t>{none, 1, 4, none, 0, 0, 3}));
}

// Warps of a block that meet a different number of times before all threads do.
TEST(TensorCore, WarpsMeetByThemselves) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    std::vector<uint32_t> sums(3 * kWarp), all(3 * kWarp);
    RunSoftGrid(
        1, 3 * kWarp, true,
        [&] {
          const uint32_t warp = threadIdx.x / kWarp;
          uint32_t sum = threadIdx.x;
          for (uint32_t turn = 0; turn <= warp; ++turn) {
            for (int lanes = 1; lanes < kWarp; lanes *= 2) sum += ShuffleXor(sum, lanes);
          }
          sums[threadIdx.x] = sum;
          __syncthreads();
          for (const uint32_t other : sums) all[threadIdx.x] += other;
        },
        seed);
    // 0 + ... + 31 in the first warp; each further turn is 32 times that.
    const uint32_t first = 496, second = (496 + 32 * 32) * 32, third = (496 + 32 * 64) * 32 * 32;
    for (uint32_t t = 0; t < 3 * kWarp; ++t) {
      EXPECT_EQ(sums[t], t < 32 ? first : t < 64 ? second : third) << t;
      EXPECT_EQ(all[t], 32 * (first + second + third)) << t;
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
