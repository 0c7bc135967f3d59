// Products in bf16 by each instruction set that the machine has, against sums in double of the same
// bf16 operands.
#include "kernels/cpu/bf16_gemm.h"

#include <vector>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kPair = 2 * kBf16Rows;

std::vector<Bf16Tiles> AllOfThisMachine() {
  std::vector<Bf16Tiles> all;
  if (HostHasAvx512Bf16()) all.push_back(Avx512Bf16Tiles());
  if (HostHasAmxBf16()) all.push_back(AmxBf16Tiles());
  return all;
}

std::vector<BF16> Rounded(const std::vector<float>& values) {
  return std::vector<BF16>(values.begin(), values.end());
}

struct Strides {
  bool transpose_a, transpose_b;
};

// What the packing leaves out of a and b must not count: it is NaN around them.
void CheckProduct(const Bf16Tiles& tiles, int64_t m, int64_t n, int64_t k, Strides as,
                  int threads) {
  const std::string where = std::string(tiles.name) + " " + std::to_string(m) + "x" +
                            std::to_string(n) + "x" + std::to_string(k) +
                            (as.transpose_a ? "t" : "n") + (as.transpose_b ? "t" : "n");
  const std::vector<BF16> a = Rounded(RandomFloats(m * k, 1));
  const std::vector<BF16> b = Rounded(RandomFloats(k * n, 2));
  const GemmProblem g = {m,
                         n,
                         k,
                         as.transpose_a ? 1 : k,
                         as.transpose_a ? m : 1,
                         as.transpose_b ? 1 : n,
                         as.transpose_b ? k : 1,
                         n};
  std::vector<double> expected(m * n, 0);
  double scale = 1;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double& sum = expected[i * n + j];
      for (int64_t p = 0; p < k; ++p) {
        sum += static_cast<double>(static_cast<float>(a[i * g.a_row + p * g.a_column])) *
               static_cast<float>(b[p * g.b_row + j * g.b_column]);
      }
      scale = std::max(scale, std::abs(sum));
    }
  }
  const Bf16Gemm gemm(g, tiles, HostMicroKernels(), threads);
  const GuardedBytes space(gemm.workspace_bytes());
  const TestTensor out = TestTensor::Empty(DType::kBF16, {m, n});
  gemm.Run(a.data(), b.data(), static_cast<BF16*>(out.bytes->data()), space.data());
  // A sum in f32, rounded once to eight bits.
  std::vector<float> values;
  for (const BF16 value : out.Values<BF16>()) values.push_back(value);
  ExpectClose(values, expected, 1.0 / 256, 1e-5 * scale, where);
  EXPECT_TRUE(out.bytes->Intact() && space.Intact()) << where;
}

TEST(Bf16Gemm, EqualsSumsInDouble) {
  for (const Bf16Tiles& tiles : AllOfThisMachine()) {
    for (const int64_t m : {1, 8, 15, 16, 17, 31, 32, 33, 70}) {
      for (const int64_t n : {1, 15, 16, 17, 32, 33, 50, 64}) {
        for (const int64_t k : {1, 2, 31, 32, 33, 64, 95}) {
          for (const Strides as : {Strides{false, false}, Strides{true, false},
                                   Strides{false, true}, Strides{true, true}}) {
            CheckProduct(tiles, m, n, k, as, 1);
          }
        }
      }
    }
    // Large enough for a team, wide and tall, and for more than one block of rows.
    CheckProduct(tiles, 200, 700, 310, {false, true}, 2);
    CheckProduct(tiles, 900, 70, 700, {true, false}, 2);
    // More than one panel of columns, of strips together and of spans of terms; a where it lies, too.
    CheckProduct(tiles, 33, 1060, 3100, {false, false}, 1);
    CheckProduct(tiles, 544, 40, 3200, {false, true}, 3);
  }
}

TEST(Bf16Gemm, InfinityAndNanReachTheirRowsAndColumnsAlone) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Bf16Tiles& tiles : AllOfThisMachine()) {
    const int64_t m = 5, n = 7, k = 3;
    std::vector<BF16> a(m * k, BF16(1.0f)), b(k * n, BF16(2.0f)), c(m * n);
    a[1 * k + 2] = BF16(infinity);
    b[0 * n + 4] = BF16(std::numeric_limits<float>::quiet_NaN());
    const Bf16Gemm gemm({m, n, k, k, 1, n, 1, n}, tiles, HostMicroKernels(), 1);
    const GuardedBytes space(gemm.workspace_bytes());
    gemm.Run(a.data(), b.data(), c.data(), space.data());
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const float value = c[i * n + j];
        if (j == 4) {
          EXPECT_TRUE(std::isnan(value)) << i;
        } else {
          EXPECT_EQ(value, i == 1 ? infinity : 6.0f) << i << " " << j;
        }
      }
    }
  }
}

// Blocks of k in two calls give the bits of one.
TEST(Bf16Tiles, SumsGoOnFromWhatIsThere) {
  constexpr int64_t kBlocks = 3;
  alignas(64) uint16_t a[2 * kBlocks * kBf16Tile], b[kBlocks * kBf16Strip];
  const std::vector<float> values = RandomFloats(std::size(a) + std::size(b), 1);
  for (size_t i = 0; i < std::size(a); ++i) a[i] = BF16(values[i]).bits;
  for (size_t i = 0; i < std::size(b); ++i) b[i] = BF16(values[std::size(a) + i]).bits;
  for (const Bf16Tiles& tiles : AllOfThisMachine()) {
    for (const int64_t rows : {16, 32}) {
      for (const int64_t columns : {16, 32}) {
        alignas(64) float whole[2 * kBf16Rows * kBf16Wide] = {},
                                                cut[2 * kBf16Rows * kBf16Wide] = {};
        Bf16TileCall call;
        call.a = a;
        call.a_next = kBlocks * kBf16Tile;
        call.b = b;
        call.rows = rows;
        call.columns = columns;
        tiles.begin();
        call.sums = whole;
        call.blocks = kBlocks;
        tiles.multiply(call);
        call.sums = cut;
        call.blocks = 1;
        tiles.multiply(call);
        call.a += kBf16Tile;
        call.b += kBf16Strip;
        call.blocks = kBlocks - 1;
        call.accumulate = true;
        tiles.multiply(call);
        tiles.end();
        EXPECT_EQ(std::memcmp(whole, cut, sizeof(whole)), 0)
            << tiles.name << " " << rows << "x" << columns;
        EXPECT_NE(whole[0], 0) << tiles.name;
      }
    }
  }
}

TEST(Bf16Gemm, TheTeamChangesNoBit) {
  for (const Bf16Tiles& tiles : AllOfThisMachine()) {
    const int64_t m = 130, n = 600, k = 3300;  // two spans of terms
    const std::vector<BF16> a = Rounded(RandomFloats(m * k, 1));
    const std::vector<BF16> b = Rounded(RandomFloats(k * n, 2));
    std::vector<std::vector<BF16>> results;
    for (const int threads : {1, 2, 3}) {
      const Bf16Gemm gemm({m, n, k, k, 1, n, 1, n}, tiles, HostMicroKernels(), threads);
      const GuardedBytes space(gemm.workspace_bytes());
      results.emplace_back(m * n);
      gemm.Run(a.data(), b.data(), results.back().data(), space.data());
      EXPECT_EQ(std::memcmp(results.back().data(), results[0].data(), 2 * m * n), 0) << threads;
    }
  }
}

// The rows of a team of two are cut elsewhere when there are half as many, and its terms go in spans.
TEST(Bf16Gemm, PiecesChangeNoBit) {
  constexpr int64_t kLong = 2100, kHalf = 1088, kShort = 70, k = 4100;
  const std::vector<BF16> many = Rounded(RandomFloats(kLong * k, 1));
  const std::vector<BF16> few = Rounded(RandomFloats(kShort * k, 2));
  for (const Bf16Tiles& tiles : AllOfThisMachine()) {
    for (const bool rows : {true, false}) {
      const int64_t m = rows ? kLong : kShort, n = rows ? kShort : kLong;
      const auto run = [&](int64_t begin, int64_t end, BF16* out) {
        // b is transposed: both operands are lines of k.
        const Bf16Gemm gemm({rows ? end - begin : m, rows ? n : end - begin, k, k, 1, 1, k, n},
                            tiles, HostMicroKernels(), 2);
        EXPECT_LT(gemm.workspace_bytes(), 12 << 20);
        const GuardedBytes space(gemm.workspace_bytes());
        const BF16* const part = many.data() + begin * k;
        gemm.Run(rows ? part : few.data(), rows ? few.data() : part, out, space.data());
        EXPECT_TRUE(space.Intact());
      };
      std::vector<BF16> whole(m * n), halves(m * n);
      run(0, kLong, whole.data());
      run(0, kHalf, halves.data());
      run(kHalf, kLong, halves.data() + kHalf * (rows ? n : 1));
      EXPECT_EQ(std::memcmp(whole.data(), halves.data(), 2 * m * n), 0) << tiles.name << rows;
    }
  }
}

TEST(Bf16Gemm, SumsMayBeAddedTo) {
  constexpr int64_t kTerms = 96;
  constexpr int64_t kRow = 40;  // of the sums
  const std::vector<BF16> a = Rounded(RandomFloats(kPair * kTerms, 1));
  const std::vector<BF16> b = Rounded(RandomFloats(kTerms * kBf16Wide, 2));
  const Bf16Packing packing(HostMicroKernels());
  std::vector<uint16_t> packed_a(a.size()), packed_b(b.size());
  const auto bits = [](const std::vector<BF16>& x) {
    return reinterpret_cast<const uint16_t*>(x.data());
  };
  for (int64_t tile = 0; tile < 2; ++tile) {
    packing.PackRows({bits(a) + tile * kBf16Rows * kTerms, kTerms, 1}, kBf16Rows, kTerms,
                     packed_a.data() + tile * kBf16Rows * kTerms);
  }
  packing.PackStrip({bits(b), kBf16Wide, 1}, kBf16Wide, kTerms, packed_b.data());
  for (const Bf16Tiles& tiles : AllOfThisMachine()) {
    for (const bool accumulate : {false, true}) {
      const std::vector<float> before = RandomFloats(kPair * kRow, 3);
      std::vector<float> sums = before;
      Bf16TileCall call;
      call.a = packed_a.data();
      call.a_next = kBf16Rows * kTerms;
      call.b = packed_b.data();
      call.blocks = kTerms / kBf16Depth;
      tiles.begin();
      call.rows = kPair;
      call.columns = kBf16Wide;
      call.sums = sums.data();
      call.sums_row = kRow;
      call.accumulate = accumulate;
      tiles.multiply(call);
      tiles.end();
      for (int64_t i = 0; i < kPair * kRow; ++i) {
        if (i % kRow >= kBf16Wide) {
          EXPECT_EQ(sums[i], before[i]) << "behind the row";
          continue;
        }
        double expected = accumulate ? before[i] : 0;
        for (int64_t p = 0; p < kTerms; ++p) {
          expected += static_cast<double>(static_cast<float>(a[i / kRow * kTerms + p])) *
                      static_cast<float>(b[p * kBf16Wide + i % kRow]);
        }
        ASSERT_NEAR(sums[i], expected, 1e-4) << tiles.name << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
