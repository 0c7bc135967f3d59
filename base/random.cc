#include "base/random.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/philox.h"

namespace oneflow {
namespace {

constexpr double kTwoToMinus24 = 1.0 / (1 << 24);

constexpr int64_t kPerThread = int64_t{1} << 18;  // numbers that are worth a thread: 1 ms and more

// out[i] = value(its logical index) for i in [begin, end) of the slice; `run`: how many successive
// elements of the slice are so in the logical tensor too, which the dims before `lead` cut.
template <typename Value>
void FillRange(const RandomSlice& slice, size_t lead, int64_t run, int64_t begin, int64_t end,
               float* out, Value value) {
  const Shape strides = StridesOf(slice.logical_shape);
  for (int64_t i = begin; i < end;) {
    int64_t logical = i % run;
    int64_t row = i / run;
    const int64_t last = std::min(end, i - logical + run);
    for (size_t d = slice.extent.size(); d-- > 0;) {
      logical += slice.begin[d] * strides[d];
      if (d >= lead) continue;
      logical += row % slice.extent[d] * strides[d];
      row /= slice.extent[d];
    }
    for (; i < last; ++i, ++logical) out[i] = value(static_cast<uint64_t>(logical));
  }
}

// The whole slice, by threads with a copy of `value` each.
template <typename Value>
void FillSlice(const RandomSlice& slice, float* out, const Value& value) {
  const size_t rank = slice.logical_shape.size();
  OF_CHECK(slice.begin.size() == rank && slice.extent.size() == rank) << "ranks differ";
  size_t lead = rank;
  int64_t run = 1;
  do {
    if (lead == 0) break;
    run *= slice.extent[--lead];
  } while (slice.extent[lead] == slice.logical_shape[lead]);
  const int64_t count = NumElements(slice.extent);
  const int64_t threads =
      std::clamp<int64_t>(count / kPerThread, 1, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::jthread> team;
  for (int64_t t = 1; t < threads; ++t) {
    team.emplace_back([=, &slice] {
      FillRange(slice, lead, run, count * t / threads, count * (t + 1) / threads, out, value);
    });
  }
  FillRange(slice, lead, run, 0, count / threads, out, value);
}

// The words of a stream, one block remembered: neighbours share it.
class Words {
 public:
  explicit Words(const RandomStream& stream) : key_(PhiloxKey(stream.seed, stream.key)) {}
  const std::array<uint32_t, 4>& Block(uint64_t block) {
    if (!valid_ || block != block_) words_ = PhiloxBlock(key_, 0, block);
    valid_ = true;
    block_ = block;
    return words_;
  }

 private:
  uint64_t key_;
  uint64_t block_ = 0;
  bool valid_ = false;
  std::array<uint32_t, 4> words_{};
};

}  // namespace

void FillUniform(const RandomStream& stream, const RandomSlice& slice, double low, double high,
                 float* out) {
  const float below = std::nextafter(static_cast<float>(high), static_cast<float>(low));
  FillSlice(slice, out, [=, words = Words(stream)](uint64_t index) mutable {
    const double u = (words.Block(index / 4)[index % 4] >> 8) * kTwoToMinus24;
    const float value = static_cast<float>(low + u * (high - low));
    return value < static_cast<float>(high) ? value : below;  // rounding may reach `high`
  });
}

void FillNormal(const RandomStream& stream, const RandomSlice& slice, double mean, double stddev,
                float* out) {
  FillSlice(slice, out, [=, words = Words(stream)](uint64_t index) mutable {
    // Words 0 and 1 of a block give elements 0 and 1, words 2 and 3 the others.
    const std::array<uint32_t, 4>& block = words.Block(index / 4);
    const size_t pair = index % 4 / 2 * 2;
    const double u = ((block[pair] >> 8) + 1) * kTwoToMinus24;  // in (0, 1]
    const double angle = 2 * M_PI * ((block[pair + 1] >> 8) * kTwoToMinus24);
    const double radius = std::sqrt(-2 * std::log(u));
    const double unit = radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
    return static_cast<float>(mean + stddev * unit);
  });
}

}  // namespace oneflow
