#include "plan/sharding.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>

#include "base/check.h"
#include "base/status.h"
#include "base/text.h"

namespace oneflow {
namespace {

absl::Status SyntaxError(const std::string& what, const std::string& text) {
  return MakeError(ErrorKind::kSharding, what + " in sharding '" + text +
                                             "'; write e.g. \"(S(0),B)\" with one of S(dim), B, P, "
                                             "P(max), P(min) per mesh axis");
}

// Product of the sizes of the axes that split `dim`, saturating; 0 if none does.
int64_t PartsOf(const Sharding& sharding, const std::vector<Axis>& axes, size_t dim) {
  int64_t parts = 0;
  for (size_t i = 0; i < sharding.sbps.size() && i < axes.size(); ++i) {
    if (sharding.sbps[i].kind != Sbp::kSplit || sharding.sbps[i].dim != dim) continue;
    if (parts == 0) parts = 1;
    const int64_t size = std::max<int64_t>(axes[i].size, 1);
    if (__builtin_mul_overflow(parts, size, &parts)) return std::numeric_limits<int64_t>::max();
  }
  return parts;
}

}  // namespace

Mesh Mesh::FromProto(const plan::MeshProto& proto) {
  Mesh mesh;
  for (const plan::AxisProto& axis : proto.axes()) mesh.axes.push_back({axis.name(), axis.size()});
  mesh.devices.assign(proto.devices().begin(), proto.devices().end());
  return mesh;
}

plan::MeshProto Mesh::ToProto() const {
  plan::MeshProto proto;
  for (const Axis& axis : axes) {
    plan::AxisProto* added = proto.add_axes();
    added->set_name(axis.name);
    added->set_size(axis.size);
  }
  for (int device : devices) proto.add_devices(static_cast<uint32_t>(device));
  return proto;
}

int Mesh::PpAxis() const {
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].name == "pp") return static_cast<int>(i);
  }
  return -1;
}

int Mesh::stages() const {
  const int pp = PpAxis();
  return pp < 0 ? 1 : static_cast<int>(axes[static_cast<size_t>(pp)].size);
}

std::vector<Axis> Mesh::LayoutAxes(int micro_batches) const {
  std::vector<Axis> result = {{"micro", micro_batches}};
  for (const Axis& axis : axes) {
    if (axis.name != "pp") result.push_back(axis);
  }
  return result;
}

std::vector<int> Mesh::StageDevices(int stage) const {
  // Row-major over the axes: devices whose coordinate on `pp` is `stage`, in their order.
  const int pp = PpAxis();
  if (pp < 0) return stage == 0 ? devices : std::vector<int>();
  size_t inner = 1;
  for (size_t i = static_cast<size_t>(pp) + 1; i < axes.size(); ++i) {
    inner *= static_cast<size_t>(std::max<int64_t>(axes[i].size, 1));
  }
  const size_t size = static_cast<size_t>(std::max<int64_t>(axes[static_cast<size_t>(pp)].size, 1));
  std::vector<int> result;
  for (size_t i = 0; i < devices.size(); ++i) {
    if (i / inner % size == static_cast<size_t>(stage)) result.push_back(devices[i]);
  }
  return result;
}

std::vector<int64_t> Mesh::StageCoordinates(int position) const {
  std::vector<int64_t> coordinates;
  int64_t rest = position;
  for (size_t i = axes.size(); i-- > 0;) {
    if (axes[i].name == "pp") continue;
    const int64_t size = std::max<int64_t>(axes[i].size, 1);
    coordinates.push_back(rest % size);
    rest /= size;
  }
  std::reverse(coordinates.begin(), coordinates.end());
  return coordinates;
}

std::string Mesh::ToString() const {
  std::string text;
  for (const Axis& axis : axes) {
    if (!text.empty()) text += ' ';
    text += axis.name + ":" + std::to_string(axis.size);
  }
  return text;
}

std::string Sbp::ToString() const {
  switch (kind) {
    case kSplit:
      return "S(" + std::to_string(dim) + ")";
    case kPartial:
      return reduce == kSum ? "P" : reduce == kMax ? "P(max)" : "P(min)";
    default:
      return "B";
  }
}

absl::StatusOr<Sbp> Sbp::Parse(const std::string& text) {
  if (text == "B") return B();
  if (text == "P" || text == "P(sum)") return P();
  if (text == "P(max)") return P(kMax);
  if (text == "P(min)") return P(kMin);
  const std::string_view view = text;
  if (view.size() > 3 && view.substr(0, 2) == "S(" && view.back() == ')') {
    const auto dim = ParseUnsigned(view.substr(2, view.size() - 3));
    if (dim.has_value() && *dim <= 255) return S(static_cast<int>(*dim));
  }
  return MakeError(ErrorKind::kSharding,
                   "'" + text +
                       "' is no Sbp; write S(dim) for split, B for broadcast, "
                       "P, P(max) or P(min) for partial");
}

Sharding Sharding::Broadcast(int stage, size_t axes, size_t rank) {
  return {stage, std::vector<Sbp>(axes), std::vector<int64_t>(rank, 0)};
}

Sharding Sharding::FromProto(const plan::ShardingProto& proto, size_t rank) {
  Sharding sharding;
  sharding.stage = static_cast<int>(proto.stage());
  for (const plan::SbpProto& sbp : proto.sbps()) {
    if (sbp.kind() == plan::SbpProto::S) {
      // Out of range stays out of range: no tensor has 256 dims.
      sharding.sbps.push_back(Sbp::S(static_cast<int>(std::min<uint32_t>(sbp.dim(), 255))));
    } else if (sbp.kind() == plan::SbpProto::P) {
      sharding.sbps.push_back(Sbp::P(sbp.reduce() == plan::SbpProto::MAX   ? Sbp::kMax
                                     : sbp.reduce() == plan::SbpProto::MIN ? Sbp::kMin
                                                                           : Sbp::kSum));
    } else {
      sharding.sbps.push_back(Sbp::B());
    }
  }
  sharding.units.assign(proto.units().begin(), proto.units().end());
  sharding.units.resize(rank, 0);
  return sharding;
}

plan::ShardingProto Sharding::ToProto() const {
  plan::ShardingProto proto;
  proto.set_stage(static_cast<uint32_t>(stage));
  for (const Sbp& sbp : sbps) {
    plan::SbpProto* added = proto.add_sbps();
    added->set_kind(static_cast<plan::SbpProto::Kind>(sbp.kind));
    if (sbp.kind == Sbp::kSplit) added->set_dim(sbp.dim);
    if (sbp.kind == Sbp::kPartial) {
      added->set_reduce(static_cast<plan::SbpProto::Reduce>(sbp.reduce));
    }
  }
  if (std::any_of(units.begin(), units.end(), [](int64_t u) { return u != 0; })) {
    for (int64_t u : units) proto.add_units(u);
  }
  return proto;
}

std::string Sharding::ToString(const std::vector<Axis>& axes) const {
  const auto sbp_text = [&](const Sbp& sbp) {
    std::string text = sbp.ToString();
    if (sbp.kind == Sbp::kSplit && sbp.dim < units.size() && units[sbp.dim] != 0 &&
        (axes.empty() || units[sbp.dim] != PartsOf(*this, axes, sbp.dim))) {
      text += "/" + std::to_string(units[sbp.dim]) + "u";
    }
    return text;
  };
  std::string text;
  if (!sbps.empty() && sbps[0] != Sbp::B()) text = "micro:" + sbp_text(sbps[0]) + " ";
  text += '(';
  for (size_t i = 1; i < sbps.size(); ++i) {
    if (i > 1) text += ',';
    text += sbp_text(sbps[i]);
  }
  text += ')';
  if (stage != 0) text += "@" + std::to_string(stage);
  return text;
}

absl::StatusOr<Sharding> Sharding::Parse(const std::string& text, size_t axes, size_t rank) {
  Sharding sharding;
  sharding.units.assign(rank, 0);
  std::string_view rest = text;
  const auto add = [&](std::string_view item) -> absl::Status {
    const size_t slash = item.find('/');
    OF_ASSIGN_OR_RETURN(const Sbp sbp, Sbp::Parse(std::string(item.substr(0, slash))));
    if (sbp.kind == Sbp::kSplit && sbp.dim >= rank) {
      return MakeError(ErrorKind::kSharding, "'" + std::string(item) +
                                                 "' splits a dim that a tensor of rank " +
                                                 std::to_string(rank) + " does not have");
    }
    sharding.sbps.push_back(sbp);
    if (slash == std::string_view::npos) return absl::OkStatus();
    std::string_view units_text = item.substr(slash + 1);
    if (sbp.kind != Sbp::kSplit || units_text.empty() || units_text.back() != 'u') {
      return SyntaxError("'" + std::string(item) + "' has malformed units", text);
    }
    units_text.remove_suffix(1);
    const auto units = ParseInt(units_text);
    if (!units.has_value() || *units <= 0) {
      return SyntaxError("'" + std::string(item) + "' has malformed units", text);
    }
    int64_t& slot = sharding.units[sbp.dim];
    if (slot != 0 && slot != *units) {
      return SyntaxError("two different units for dim " + std::to_string(sbp.dim), text);
    }
    slot = *units;
    return absl::OkStatus();
  };
  if (rest.substr(0, 6) == "micro:") {
    const size_t space = rest.find(' ');
    if (space == std::string_view::npos) return SyntaxError("nothing follows 'micro:'", text);
    OF_RETURN_IF_ERROR(add(rest.substr(6, space - 6)));
    rest.remove_prefix(space + 1);
  } else if (axes > 0) {
    sharding.sbps.push_back(Sbp::B());
  }
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    const auto stage = ParseUnsigned(rest.substr(at + 1));
    if (!stage.has_value() || *stage > static_cast<uint64_t>(std::numeric_limits<int>::max())) {
      return SyntaxError("the stage after '@' is no number", text);
    }
    sharding.stage = static_cast<int>(*stage);
    rest = rest.substr(0, at);
  }
  if (rest.size() < 2 || rest.front() != '(' || rest.back() != ')') {
    return SyntaxError("parentheses are missing", text);
  }
  rest = rest.substr(1, rest.size() - 2);
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    OF_RETURN_IF_ERROR(add(rest.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) return SyntaxError("nothing follows ','", text);
  }
  if (sharding.sbps.size() != axes) {
    return SyntaxError("expected one Sbp for each of " + std::to_string(axes == 0 ? 0 : axes - 1) +
                           " mesh axes, found " +
                           std::to_string(sharding.sbps.empty() ? 0 : sharding.sbps.size() - 1),
                       text);
  }
  return sharding;
}

bool Sharding::IsPartial() const {
  return std::any_of(sbps.begin(), sbps.end(),
                     [](const Sbp& sbp) { return sbp.kind == Sbp::kPartial; });
}

Sharding Canonical(Sharding sharding, const std::vector<Axis>& axes, const Shape& shape) {
  for (size_t i = 0; i < sharding.sbps.size() && i < axes.size(); ++i) {
    if (axes[i].size == 1) sharding.sbps[i] = Sbp::B();
  }
  sharding.units.resize(shape.size(), 0);
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t& units = sharding.units[d];
    const int64_t parts = PartsOf(sharding, axes, d);
    if (parts == 0) {
      units = 0;
      continue;
    }
    if (units <= 0 || shape[d] % units != 0) units = shape[d];
    if (units % parts == 0) units = parts;
  }
  return sharding;
}

absl::Status CheckSharding(const Sharding& sharding, const std::vector<Axis>& axes,
                           const Shape& shape) {
  const auto error = [&](const std::string& what) {
    return MakeError(ErrorKind::kSharding, "sharding " + sharding.ToString() + " of a tensor " +
                                               oneflow::ToString(shape) + ": " + what);
  };
  if (sharding.sbps.size() != axes.size()) {
    return error("has " + std::to_string(sharding.sbps.size()) + " Sbps for " +
                 std::to_string(axes.size()) + " layout axes");
  }
  std::optional<Sbp> partial;
  for (const Sbp& sbp : sharding.sbps) {
    if (sbp.kind == Sbp::kSplit && sbp.dim >= shape.size()) {
      return error("splits dim " + std::to_string(sbp.dim) + ", which does not exist");
    }
    if (sbp.kind != Sbp::kPartial) continue;
    if (partial.has_value() && *partial != sbp) return error("mixes two kinds of Partial");
    partial = sbp;
  }
  const Sharding canonical = Canonical(sharding, axes, shape);
  if (canonical != sharding) return error("is not canonical, expected " + canonical.ToString());
  return absl::OkStatus();
}

UnitRange DealUnits(int64_t units, int64_t parts, int64_t index) {
  OF_CHECK(parts > 0 && index >= 0 && index < parts)
      << "share " << index << " of " << parts << " does not exist";
  const int64_t small = units / parts;
  const int64_t larger = units % parts;  // so many shares hold one unit more
  return {small * index + std::min(index, larger), small + (index < larger ? 1 : 0)};
}

UnitRange DealPiece(int64_t units, int64_t parts, int64_t index, int64_t pieces, int64_t piece) {
  const UnitRange share = DealUnits(units, parts, index);
  const UnitRange range = DealUnits(share.count, pieces, piece);
  return {share.begin + range.begin, range.count};
}

Slice SliceOf(const Sharding& sharding, const std::vector<Axis>& axes, const Shape& shape,
              const std::vector<int64_t>& coordinates) {
  OF_CHECK(sharding.sbps.size() == axes.size() && coordinates.size() == axes.size())
      << "sharding " << sharding.ToString() << ", " << axes.size() << " axes, "
      << coordinates.size() << " coordinates";
  Slice slice = {Shape(shape.size(), 0), shape};
  // In units while axes deal them out; an axis deals what the axes before it left to this share.
  std::vector<UnitRange> dealt(shape.size());
  std::vector<bool> split(shape.size(), false);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (sharding.sbps[i].kind != Sbp::kSplit) continue;
    const size_t d = sharding.sbps[i].dim;
    OF_CHECK(d < shape.size() && d < sharding.units.size()) << sharding.ToString();
    if (!split[d]) dealt[d] = {0, sharding.units[d]};
    split[d] = true;
    const UnitRange share = DealUnits(dealt[d].count, axes[i].size, coordinates[i]);
    dealt[d] = {dealt[d].begin + share.begin, share.count};
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!split[d]) continue;
    OF_CHECK(sharding.units[d] > 0 && shape[d] % sharding.units[d] == 0)
        << sharding.ToString() << " does not fit " << ToString(shape);
    const int64_t unit = shape[d] / sharding.units[d];
    slice.begin[d] = dealt[d].begin * unit;
    slice.extent[d] = dealt[d].count * unit;
  }
  return slice;
}

}  // namespace oneflow
