#include <gtest/gtest.h>

#include <map>
#include <random>

#include "compiler/lower/emit_reshard.h"

namespace oneflow {
namespace {

std::vector<int64_t> CoordinatesOf(const Mesh& mesh, int position) {
  std::vector<int64_t> coordinates = {0};
  for (int64_t c : mesh.StageCoordinates(position)) coordinates.push_back(c);
  return coordinates;
}

// Calls f(index) for every index of a region.
template <typename F>
void ForEachIndex(const Shape& extent, F f) {
  if (NumElements(extent) == 0) return;
  Shape index(extent.size(), 0);
  while (true) {
    f(index);
    size_t d = extent.size();
    while (d-- > 0) {
      if (++index[d] < extent[d]) break;
      index[d] = 0;
    }
    if (d == static_cast<size_t>(-1)) return;
  }
}

using Element = std::map<int, int>;  // contributions: P-coordinate group -> times

// What a device holds: for every logical index the set of partial contributions that its value
// sums. A non-partial holder has the whole sum: contribution -1 stands for all.
class Judge {
 public:
  Judge(const Shape& shape, const Sharding& from, const Sharding& to, const Mesh& mesh,
        const std::vector<Axis>& axes)
      : shape_(shape), from_(from), to_(to), mesh_(mesh), axes_(axes) {}

  // The partial coordinates of a source device as one number over the axes that `to` reduces.
  int ContributionOf(const std::vector<int64_t>& coordinates) const {
    int number = 0;
    for (size_t a = 1; a < axes_.size(); ++a) {
      if (from_.sbps[a].kind == Sbp::kPartial) {
        number = number * static_cast<int>(axes_[a].size) + static_cast<int>(coordinates[a]);
      }
    }
    return number;
  }

  // For each destination: every element of its slice must get each contribution of the axes that
  // are reduced exactly once, from a device that holds that element.
  void Check(int destination) const {
    const std::vector<int64_t> at = CoordinatesOf(mesh_, destination);
    const Slice wanted = SliceOf(to_, axes_, shape_, at);
    std::map<Shape, Element> got;
    std::map<Shape, int> copies;
    for (const ExchangePiece& piece : PlanExchange(shape_, from_, to_, mesh_, axes_, destination)) {
      const std::vector<int64_t> source = CoordinatesOf(mesh_, piece.source);
      const Slice held = SliceOf(from_, axes_, shape_, source);
      ForEachIndex(piece.extent, [&](const Shape& i) {
        Shape logical(i.size()), local(i.size());
        for (size_t d = 0; d < i.size(); ++d) {
          ASSERT_LE(piece.source_begin[d] + i[d] + 1, held.extent[d]);
          ASSERT_LE(piece.destination_begin[d] + i[d] + 1, wanted.extent[d]);
          logical[d] = held.begin[d] + piece.source_begin[d] + i[d];
          local[d] = piece.destination_begin[d] + i[d];
          ASSERT_EQ(logical[d], wanted.begin[d] + local[d]) << "a piece lands elsewhere";
        }
        ++got[local][ContributionOf(source)];
        if (!piece.combines) ++copies[local];
      });
    }
    int expected = 1;
    bool zero = false;
    for (size_t a = 1; a < axes_.size(); ++a) {
      const bool in = from_.sbps[a].kind == Sbp::kPartial;
      const bool out = to_.sbps[a].kind == Sbp::kPartial;
      if (in && !out) expected *= static_cast<int>(axes_[a].size);
      if (!in && out && at[a] != 0) zero = true;
    }
    if (zero) {
      EXPECT_TRUE(got.empty());
      return;
    }
    ForEachIndex(wanted.extent, [&](const Shape& i) {
      ASSERT_EQ(got[i].size(), static_cast<size_t>(expected));
      for (const auto& [contribution, times] : got[i]) ASSERT_EQ(times, 1);
      ASSERT_EQ(copies[i], 1) << "the first piece of an element copies, the others combine";
    });
  }

 private:
  const Shape shape_;
  const Sharding from_, to_;
  const Mesh mesh_;
  const std::vector<Axis> axes_;
};

TEST(PlanExchangeTest, EveryElementGetsEveryContributionOnce) {
  std::mt19937 random(7);
  const auto pick = [&random](int n) { return static_cast<int>(random() % n); };
  int partial = 0, uneven = 0;
  for (int round = 0; round < 600; ++round) {
    Mesh mesh;
    const int rank = 1 + pick(3);
    int devices = 1;
    for (int a = 0; a < 1 + pick(2); ++a) {
      mesh.axes.push_back({"a" + std::to_string(a), 1 + pick(3)});
      devices *= static_cast<int>(mesh.axes.back().size);
    }
    for (int d = 0; d < devices; ++d) mesh.devices.push_back(d);
    const std::vector<Axis> axes = mesh.LayoutAxes(1);
    Shape shape;
    for (int d = 0; d < rank; ++d) shape.push_back(1 + pick(6));
    const auto any = [&] {
      Sharding sharding = Sharding::Broadcast(0, axes.size(), rank);
      for (size_t a = 1; a < axes.size(); ++a) {
        const int kind = pick(4);
        if (kind == 0) sharding.sbps[a] = Sbp::P();
        if (kind >= 2) sharding.sbps[a] = Sbp::S(pick(rank));
      }
      return Canonical(sharding, axes, shape);
    };
    const Sharding from = any(), to = any();
    partial += from.IsPartial();
    for (int64_t u : from.units) uneven += u > 0 && u % 2 == 1;
    const Judge judge(shape, from, to, mesh, axes);
    for (int d = 0; d < devices; ++d) judge.Check(d);
    if (HasFatalFailure()) {
      FAIL() << mesh.ToString() << " " << ToString(shape) << " " << from.ToString() << " -> "
             << to.ToString();
    }
  }
  EXPECT_GT(partial, 100);
  EXPECT_GT(uneven, 100);
}

}  // namespace
}  // namespace oneflow
