// Mesh, Sbp, Sharding: how a logical tensor lies on devices and in micro-batches, and which slice
// each device holds.
//
// Values. Threads: any. Layout axes: axis 0 is always `micro` (an axis in time; size 1 without
// accumulation), then the mesh axes in order without `pp`. A Sharding lives on one stage
// (coordinate on `pp`). Several axes on one dim nest in axis order, `micro` outermost. Units: a
// Split deals dim d out in units[d] equal units, balanced, larger shares first. Canonical: where
// units divide evenly by the product of the sizes of the axes that split the dim, units is that
// product; 0 for a dim that is not split. Read next: plan/sharding_rule.h, docs/sharding.md.
#ifndef ONEFLOW_PLAN_SHARDING_H_
#define ONEFLOW_PLAN_SHARDING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/shape.h"
#include "plan/plan.pb.h"

namespace oneflow {

// A named axis of a mesh.
struct Axis {
  std::string name;
  int64_t size = 1;
  bool operator==(const Axis&) const = default;
};

// Named axes over devices. The last axis is the nearest.
struct Mesh {
  std::vector<Axis> axes;
  std::vector<int> devices;  // global ids, row-major over axes

  static Mesh FromProto(const plan::MeshProto& proto);
  plan::MeshProto ToProto() const;
  int stages() const;  // size of `pp`, 1 without
  int PpAxis() const;  // index in axes, -1 without
  // `micro` with size micro_batches, then the axes without `pp`.
  std::vector<Axis> LayoutAxes(int micro_batches) const;
  // Devices of one stage, row-major over the axes without `pp`.
  std::vector<int> StageDevices(int stage) const;
  // Coordinates on the axes without `pp` of the i-th device of a stage.
  std::vector<int64_t> StageCoordinates(int position) const;
  std::string ToString() const;  // "dp:2 tp:2"
};

// What one mesh axis does to a tensor.
struct Sbp {
  enum Kind : uint8_t { kBroadcast = 0, kSplit = 1, kPartial = 2 };
  enum Reduce : uint8_t { kSum = 0, kMax = 1, kMin = 2 };
  Kind kind = kBroadcast;
  uint8_t dim = 0;
  Reduce reduce = kSum;

  static Sbp B() { return {}; }
  static Sbp S(int dim) { return {kSplit, static_cast<uint8_t>(dim), kSum}; }
  static Sbp P(Reduce reduce = kSum) { return {kPartial, 0, reduce}; }
  bool operator==(const Sbp&) const = default;
  auto operator<=>(const Sbp&) const = default;
  std::string ToString() const;                               // "B", "S(0)", "P", "P(max)"
  static absl::StatusOr<Sbp> Parse(const std::string& text);  // accepts "P(sum)" too
};

// A half-open slice of each dim.
struct Slice {
  Shape begin;
  Shape extent;
  bool operator==(const Slice&) const = default;
};

// One Sbp per layout axis, and the units of each split dim.
struct Sharding {
  int stage = 0;
  std::vector<Sbp> sbps;
  std::vector<int64_t> units;  // per tensor dim; 0 where not split

  // All B.
  static Sharding Broadcast(int stage, size_t axes, size_t rank);
  static Sharding FromProto(const plan::ShardingProto& proto, size_t rank);
  plan::ShardingProto ToProto() const;
  bool operator==(const Sharding&) const = default;
  // "(B,S(1))" over the mesh axes; "micro:S(0) (B,S(1))" if micro is not B; "@1" appended for stage
  // 1; Units as "S(0)/7u": where they are uneven if the axes are given, else on every split that
  // has them, so that the text alone parses back.
  std::string ToString(const std::vector<Axis>& axes = {}) const;
  // Units that the text leaves out are 0: pass the result through Canonical.
  static absl::StatusOr<Sharding> Parse(const std::string& text, size_t axes, size_t rank);
  bool IsPartial() const;
};

// The one way to write a layout: units as above (0, missing or not a divisor of the extent become
// the extent first), and B on axes of size 1, where all Sbps mean the same. Total: takes any
// sharding.
Sharding Canonical(Sharding sharding, const std::vector<Axis>& axes, const Shape& shape);

// Ok if the sharding is canonical, fits the axes and the rank, and has one kind of Partial. What it
// passes may go to SliceOf (with axes of size >= 1).
absl::Status CheckSharding(const Sharding& sharding, const std::vector<Axis>& axes,
                           const Shape& shape);

// First unit and number of units of share `index` of `parts` when `units` are dealt out balanced,
// larger shares first: 7 over 2 -> [0,4) and [4,7).
struct UnitRange {
  int64_t begin = 0;
  int64_t count = 0;
};
UnitRange DealUnits(int64_t units, int64_t parts, int64_t index);
// Piece `piece` of `pieces` of that share, dealt out in the same way.
UnitRange DealPiece(int64_t units, int64_t parts, int64_t index, int64_t pieces, int64_t piece);

// The slice of the logical tensor held at `coordinates` (one per layout axis, micro first). P and B
// axes do not cut. REQUIRES: canonical sharding, coordinates.size() == axes.size().
Slice SliceOf(const Sharding& sharding, const std::vector<Axis>& axes, const Shape& shape,
              const std::vector<int64_t>& coordinates);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_SHARDING_H_
