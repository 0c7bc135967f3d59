#include "kernels/spec_check.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::kernels {
namespace {

constexpr size_t kMaxKeyText = 400;

// The problem, cut where the lists of a large movement would fill the screen.
std::string ProblemText(const KernelSpec& spec) {
  std::string text = spec.Key();
  if (text.size() > kMaxKeyText) text = text.substr(0, kMaxKeyText) + "..";
  return text;
}

absl::Status Refused(const KernelSpec& spec, std::string_view what) {
  return MakeError(ErrorKind::kPlan, absl::StrCat(spec.op, ": ", std::string(what).c_str(), " (",
                                                  ProblemText(spec), ")"));
}

}  // namespace

SpecCheck& SpecCheck::Require(bool holds, std::string_view demand) {
  if (ok() && !holds) status_ = Refused(spec_, "must hold: " + std::string(demand));
  return *this;
}

SpecCheck& SpecCheck::Inputs(size_t least, size_t most) {
  const size_t count = spec_.inputs.size();
  if (ok() && (count < least || count > most)) {
    status_ = Refused(spec_, absl::StrCat("takes ", least, least == most ? "" : " or more",
                                          " inputs, has ", count));
  }
  return *this;
}

SpecCheck& SpecCheck::Outputs(size_t count) {
  if (ok() && spec_.outputs.size() != count) {
    status_ = Refused(
        spec_, absl::StrCat("makes ", count, " outputs, has room for ", spec_.outputs.size()));
  }
  return *this;
}

SpecCheck& SpecCheck::Takes(const Operand& operand, std::initializer_list<DType> dtypes) {
  if (ok() && std::find(dtypes.begin(), dtypes.end(), operand.dtype) == dtypes.end()) {
    status_ = MakeError(ErrorKind::kDType, "the cpu kernel of " + spec_.op + " does not take " +
                                               std::string(NameOf(operand.dtype)));
  }
  return *this;
}

SpecCheck& SpecCheck::SameDType() {
  const DType dtype = spec_.inputs.empty() ? out(0).dtype : in(0).dtype;
  const auto same = [&](const Operand& operand) { return operand.dtype == dtype; };
  return Require(std::all_of(spec_.inputs.begin(), spec_.inputs.end(), same) &&
                     std::all_of(spec_.outputs.begin(), spec_.outputs.end(), same),
                 "all operands have one dtype");
}

SpecCheck& SpecCheck::Same(const Operand& a, const Operand& b) {
  return Require(a.dtype == b.dtype && a.shape == b.shape, "operands of one type have one type");
}

SpecCheck& SpecCheck::Rank(const Operand& operand, size_t least, size_t most) {
  const size_t rank = operand.shape.size();
  return Require(rank >= least && rank <= most,
                 least == most ? absl::StrCat("an operand of rank ", least)
                               : absl::StrCat("an operand of rank ", least, " to ", most));
}

SpecCheck& SpecCheck::HasShape(const Operand& operand, const Shape& shape) {
  if (!ok() || operand.shape == shape) return *this;
  return Require(false,
                 absl::StrCat("an operand ", ToString(operand.shape), " is ", ToString(shape)));
}

SpecCheck& SpecCheck::Scalar(const Operand& operand, DType dtype) {
  return Require(operand.dtype == dtype && operand.shape.empty(),
                 absl::StrCat("a scalar is ", std::string(NameOf(dtype)), "[]"));
}

SpecCheck& SpecCheck::Broadcasts(const Shape& from, const Shape& to) {
  bool holds = from.size() <= to.size();
  for (size_t d = 0; holds && d < from.size(); ++d) {
    const int64_t extent = to[to.size() - from.size() + d];
    holds = from[d] == extent || from[d] == 1;
  }
  if (holds || !ok()) return *this;
  return Require(false, absl::StrCat(ToString(from), " broadcasts to ", ToString(to)));
}

SpecCheck& SpecCheck::Inside(const Shape& begin, const Shape& extent, const Shape& shape) {
  bool inside = begin.size() == shape.size() && extent.size() == shape.size();
  for (size_t d = 0; inside && d < shape.size(); ++d) {
    inside = begin[d] >= 0 && extent[d] >= 0 && extent[d] <= shape[d] &&
             begin[d] <= shape[d] - extent[d];
  }
  if (inside || !ok()) return *this;
  return Require(false, absl::StrCat("the region ", ToString(extent), " at ", ToString(begin),
                                     " is inside of ", ToString(shape)));
}

SpecCheck& SpecCheck::Placed(const Operand& operand) {
  Inside(operand.begin, operand.shape, operand.logical_shape);
  Require(CheckedNumElements(operand.logical_shape).has_value(),
          "the elements of a logical tensor can be counted");
  const size_t dim = static_cast<size_t>(operand.micro_dim);
  Require(dim < std::max<size_t>(1, operand.shape.size()), "micro-batches are cut from a dim");
  if (!ok() || operand.micro_stride == 0) return *this;
  return Require(dim < operand.shape.size() && operand.micro_stride > 0 &&
                     operand.micro_stride <= operand.logical_shape[dim],
                 "micro-batches follow each other in a dim of the tensor");
}

const AttrValue* SpecCheck::Find(const std::string& name) const {
  const auto found = spec_.attrs.values().find(name);
  return found == spec_.attrs.values().end() ? nullptr : &found->second;
}

template <typename T>
const T* SpecCheck::Get(const std::string& name, std::string_view type) {
  const AttrValue* value = Find(name);
  const T* typed = value == nullptr ? nullptr : std::get_if<T>(value);
  if (typed == nullptr) Require(false, absl::StrCat("attribute ", name, " is ", std::string(type)));
  return typed;
}

int64_t SpecCheck::InRange(const std::string& name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return value;
  if (ok()) {
    Require(false,
            absl::StrCat("attribute ", name, " is from ", least, " to ", most, ", not ", value));
  }
  return least;
}

int64_t SpecCheck::Int(const std::string& name, int64_t least, int64_t most) {
  const int64_t* value = Get<int64_t>(name, "an int");
  return value == nullptr ? least : InRange(name, *value, least, most);
}

int64_t SpecCheck::IntOr(const std::string& name, int64_t otherwise, int64_t least, int64_t most) {
  return Find(name) == nullptr ? otherwise : Int(name, least, most);
}

double SpecCheck::Number(const std::string& name) {
  const AttrValue* value = Find(name);
  if (value != nullptr && std::holds_alternative<int64_t>(*value)) {
    return static_cast<double>(std::get<int64_t>(*value));
  }
  const double* number = Get<double>(name, "a number");
  return number == nullptr ? 0 : *number;
}

double SpecCheck::NumberOr(const std::string& name, double otherwise) {
  return Find(name) == nullptr ? otherwise : Number(name);
}

bool SpecCheck::BoolOr(const std::string& name, bool otherwise) {
  if (Find(name) == nullptr) return otherwise;
  const bool* value = Get<bool>(name, "true or false");
  return value == nullptr ? otherwise : *value;
}

std::string SpecCheck::Text(const std::string& name) {
  const std::string* value = Get<std::string>(name, "a string");
  return value == nullptr ? "" : *value;
}

std::string SpecCheck::TextOr(const std::string& name, const std::string& otherwise) {
  return Find(name) == nullptr ? otherwise : Text(name);
}

std::vector<int64_t> SpecCheck::Ints(const std::string& name) {
  const auto* value = Get<std::vector<int64_t>>(name, "a list of ints");
  return value == nullptr ? std::vector<int64_t>() : *value;
}

std::vector<std::string> SpecCheck::Texts(const std::string& name) {
  const auto* value = Get<std::vector<std::string>>(name, "a list of strings");
  return value == nullptr ? std::vector<std::string>() : *value;
}

std::array<int64_t, 2> SpecCheck::Pair(const std::string& name, int64_t least, int64_t most) {
  const AttrValue* value = Find(name);
  if (value != nullptr && std::holds_alternative<int64_t>(*value)) {
    const int64_t both = Int(name, least, most);
    return {both, both};
  }
  const std::vector<int64_t> values = Ints(name);
  Require(values.size() == 1 || values.size() == 2,
          absl::StrCat("attribute ", name, " has one or two ints"));
  if (!ok()) return {least, least};
  return {InRange(name, values.front(), least, most), InRange(name, values.back(), least, most)};
}

size_t SpecCheck::WrappedDim(int64_t dim, const Operand& operand) {
  const int64_t rank = std::max<int64_t>(1, static_cast<int64_t>(operand.shape.size()));
  if (dim < -rank || dim >= rank) {
    if (ok()) Require(false, absl::StrCat("dim ", dim, " is one of ", ToString(operand.shape)));
    return 0;
  }
  return static_cast<size_t>(dim < 0 ? dim + rank : dim);
}

size_t SpecCheck::Dim(const std::string& name, const Operand& operand) {
  return WrappedDim(Int(name, -int64_t{kMaxRank}, kMaxRank), operand);
}

SpecCheck& SpecCheck::IntOrText(const std::string& name) {
  const AttrValue* value = Find(name);
  return Require(value != nullptr && (std::holds_alternative<int64_t>(*value) ||
                                      std::holds_alternative<std::string>(*value)),
                 absl::StrCat("attribute ", name, " is an int or a string"));
}

const Operand& SpecCheck::in(size_t i) const {
  static const Operand kNone;
  return i < spec_.inputs.size() ? spec_.inputs[i] : kNone;
}

const Operand& SpecCheck::out(size_t i) const {
  static const Operand kNone;
  return i < spec_.outputs.size() ? spec_.outputs[i] : kNone;
}

absl::Status CheckOperands(const KernelSpec& spec) {
  if (spec.threads < 1 || spec.threads > kMaxTeam) {
    return Refused(spec, absl::StrCat("a team has 1 to ", kMaxTeam, " threads"));
  }
  const auto check = [&](const Operand& operand) -> absl::Status {
    if (SizeOf(operand.dtype) == 0) return Refused(spec, "an operand has no dtype");
    if (operand.shape.size() > kMaxRank) {
      return Refused(spec, absl::StrCat("an operand has more than ", kMaxRank, " dims"));
    }
    // The product without its zeros, so that a product over any of the dims can be trusted.
    Shape extents = operand.shape;
    std::replace(extents.begin(), extents.end(), int64_t{0}, int64_t{1});
    const std::optional<int64_t> elements = CheckedNumElements(extents);
    if (!elements.has_value() || *elements > kMaxOperandBytes / SizeOf(operand.dtype)) {
      return Refused(spec, "an operand has an impossible shape");
    }
    if (operand.begin.size() != operand.shape.size() ||
        operand.logical_shape.size() != operand.shape.size()) {
      return Refused(spec, "an operand has another rank than its logical tensor");
    }
    return absl::OkStatus();
  };
  for (const Operand& operand : spec.inputs) OF_RETURN_IF_ERROR(check(operand));
  for (const Operand& operand : spec.outputs) OF_RETURN_IF_ERROR(check(operand));
  return absl::OkStatus();
}

}  // namespace oneflow::kernels
