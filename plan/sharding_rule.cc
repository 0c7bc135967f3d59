#include "plan/sharding_rule.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/text.h"
#include "plan/sharding_rule_text.h"

namespace oneflow {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();
constexpr size_t kMaxRuleRank = 64;
constexpr size_t kMaxCombinations = 4096;

std::string Join(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i > 0 ? separator : "") + parts[i];
  return text;
}

std::string SbpsText(const std::vector<Sbp>& sbps) {
  std::vector<std::string> parts;
  for (const Sbp& sbp : sbps) parts.push_back(sbp.ToString());
  return Join(parts, ",");
}

// parts * the size of one more axis, saturating: sizes may come from an untrusted plan.
int64_t Times(int64_t parts, int64_t size) {
  int64_t product = 0;
  return __builtin_mul_overflow(parts, std::max<int64_t>(size, 1), &product) ? kMaxInt : product;
}

void Explain(std::string* why, const std::string& text) {
  if (why != nullptr) *why = text;
}

}  // namespace

// Turns a parsed rule and shapes into a BoundRule: names factors, solves their extents, reads
// clauses.
class RuleBinder {
 public:
  RuleBinder(const std::string& text, const std::vector<Shape>& inputs,
             const std::vector<Shape>& outputs) {
    rule_.text_ = text;
    rule_.input_shapes_ = inputs;
    rule_.output_shapes_ = outputs;
  }

  absl::StatusOr<BoundRule> Bind() {
    OF_ASSIGN_OR_RETURN(const RuleText text, ParseRuleText(rule_.text_));
    OF_RETURN_IF_ERROR(AddSide(text.inputs, rule_.input_shapes_, "input", &rule_.inputs_));
    OF_RETURN_IF_ERROR(AddSide(text.outputs, rule_.output_shapes_, "output", &rule_.outputs_));
    const std::vector<Place> places = Places();
    OF_RETURN_IF_ERROR(SolveExtents(places));
    OF_RETURN_IF_ERROR(CheckDims(places));
    std::vector<std::vector<int>> linear;
    for (const Clause& clause : text.clauses) OF_RETURN_IF_ERROR(Read(clause, &linear));
    rule_.DeriveSignatures(linear);
    return std::move(rule_);
  }

 private:
  using Dim = BoundRule::Dim;
  using Tensor = BoundRule::Tensor;

  absl::Status Error(const std::string& what) const {
    std::vector<std::string> in;
    std::vector<std::string> out;
    for (const Shape& shape : rule_.input_shapes_) in.push_back(ToString(shape));
    for (const Shape& shape : rule_.output_shapes_) out.push_back(ToString(shape));
    return MakeError(ErrorKind::kSharding, "sharding rule '" + rule_.text_ + "' on shapes " +
                                               Join(in, ", ") + " -> " + Join(out, ", ") + ": " +
                                               what);
  }

  int FactorNamed(const std::string& name) {
    const auto [found, added] = by_name_.emplace(name, static_cast<int>(rule_.factors_.size()));
    if (added) {
      rule_.factors_.push_back({name, 0, false, std::nullopt});
      extents_.emplace_back();
    }
    return found->second;
  }

  absl::Status AddSide(const std::vector<std::vector<DimText>>& texts,
                       const std::vector<Shape>& shapes, const std::string& side,
                       std::vector<Tensor>* tensors) {
    if (texts.size() != shapes.size()) {
      return Error("it has " + std::to_string(texts.size()) + " " + side + "s, the node has " +
                   std::to_string(shapes.size()));
    }
    for (size_t t = 0; t < texts.size(); ++t) {
      const std::string name = side + " " + std::to_string(t);
      const size_t rank = shapes[t].size();
      size_t ellipses = 0;
      for (const DimText& dim : texts[t]) ellipses += dim.ellipsis ? 1 : 0;
      if (ellipses > 1) return Error(name + " has two '...'");
      const size_t named = texts[t].size() - ellipses;
      if (rank > kMaxRuleRank || rank < named || (ellipses == 0 && rank != named)) {
        return Error(name + " has rank " + std::to_string(rank) + ", which the rule does not fit");
      }
      if (!CheckedNumElements(shapes[t]).has_value())
        return Error(name + " has an impossible shape");
      Tensor tensor;
      for (const DimText& dim : texts[t]) {
        if (dim.ellipsis) {
          for (size_t left = rank - named; left > 0; --left) {
            // Named from the right, for leading dims are aligned there.
            tensor.push_back({{FactorNamed("..." + std::to_string(left))}});
          }
          continue;
        }
        OF_RETURN_IF_ERROR(AddDim(dim, name, &tensor));
      }
      tensors->push_back(std::move(tensor));
    }
    return absl::OkStatus();
  }

  absl::Status AddDim(const DimText& text, const std::string& tensor_name, Tensor* tensor) {
    Dim dim;
    for (const FactorText& factor : text.factors) {
      if (factor.name.empty() && *factor.extent == 1) continue;
      // A literal is a factor of its own, under a name that nobody can write.
      const std::string name = factor.name.empty() ? std::to_string(*factor.extent) + "#" +
                                                         std::to_string(rule_.factors_.size())
                                                   : factor.name;
      const int index = FactorNamed(name);
      if (factor.name.empty()) rule_.factors_[static_cast<size_t>(index)].whole = true;
      if (factor.extent.has_value()) {
        std::optional<int64_t>& known = extents_[static_cast<size_t>(index)];
        if (known.has_value() && *known != *factor.extent) {
          return Error("factor " + name + " is given two extents");
        }
        known = factor.extent;
      }
      for (const Dim& other : *tensor) {
        if (std::find(other.factors.begin(), other.factors.end(), index) != other.factors.end()) {
          return Error("factor " + name + " stands twice in " + tensor_name);
        }
      }
      if (std::find(dim.factors.begin(), dim.factors.end(), index) != dim.factors.end()) {
        return Error("factor " + name + " stands twice in " + tensor_name);
      }
      dim.factors.push_back(index);
    }
    tensor->push_back(std::move(dim));
    return absl::OkStatus();
  }

  // One dim of the rule and where it stands.
  struct Place {
    Dim* dim;
    int64_t extent;
    bool output;
    size_t tensor;
    size_t index;
    std::string ToString() const {
      return (output ? "output " : "input ") + std::to_string(tensor) + ", dim " +
             std::to_string(index);
    }
  };

  std::vector<Place> Places() {
    std::vector<Place> places;
    for (const bool output : {false, true}) {
      std::vector<Tensor>& tensors = output ? rule_.outputs_ : rule_.inputs_;
      const std::vector<Shape>& shapes = output ? rule_.output_shapes_ : rule_.input_shapes_;
      for (size_t t = 0; t < tensors.size(); ++t) {
        for (size_t d = 0; d < tensors[t].size(); ++d) {
          places.push_back({&tensors[t][d], shapes[t][d], output, t, d});
        }
      }
    }
    return places;
  }

  std::string NameOf(int factor) const { return rule_.factors_[static_cast<size_t>(factor)].name; }
  std::optional<int64_t>& Extent(int factor) { return extents_[static_cast<size_t>(factor)]; }

  absl::Status SolveExtents(const std::vector<Place>& places) {
    // A factor that stands alone has the extent of its dims; 1 only if no dim says more
    // (broadcasting).
    std::vector<int> ones;
    for (const Place& place : places) {
      if (place.dim->factors.size() != 1) continue;
      const int factor = place.dim->factors[0];
      if (place.extent == 1) {
        ones.push_back(factor);
        continue;
      }
      if (Extent(factor).value_or(place.extent) != place.extent) {
        return Error("factor " + NameOf(factor) + " is " + std::to_string(*Extent(factor)) +
                     " elsewhere but " + std::to_string(place.extent) + " in " + place.ToString());
      }
      Extent(factor) = place.extent;
    }
    for (int factor : ones) Extent(factor) = Extent(factor).value_or(1);
    // In "(a b)" one unknown factor follows from the others. A dim of extent 1 may be broadcast, so
    // it speaks only when no other dim did.
    for (const bool trust_ones : {false, true}) {
      for (bool progress = true; progress;) {
        progress = false;
        for (const Place& place : places) {
          if (place.extent == 1 && !trust_ones) continue;
          OF_ASSIGN_OR_RETURN(const bool solved, SolveOne(place));
          progress |= solved;
        }
      }
    }
    for (size_t i = 0; i < extents_.size(); ++i) {
      if (!extents_[i].has_value()) {
        return Error("the extent of factor " + rule_.factors_[i].name +
                     " does not follow from the shapes; write '" + rule_.factors_[i].name +
                     ":<extent>' in the rule");
      }
      rule_.factors_[i].extent = *extents_[i];
    }
    return absl::OkStatus();
  }

  // Finds the only unknown factor of a dim; false if there is none or more than one.
  absl::StatusOr<bool> SolveOne(const Place& place) {
    int unknown = -1;
    int64_t product = 1;
    for (int factor : place.dim->factors) {
      if (!Extent(factor).has_value()) {
        if (unknown >= 0) return false;
        unknown = factor;
      } else if (__builtin_mul_overflow(product, *Extent(factor), &product)) {
        return Error("the extents in " + place.ToString() + " overflow");
      }
    }
    if (unknown < 0 || product == 0) return false;
    if (place.extent % product != 0) {
      return Error(place.ToString() + ": extent " + std::to_string(place.extent) +
                   " is no multiple of " + std::to_string(product) + ", so factor " +
                   NameOf(unknown) + " has no extent");
    }
    Extent(unknown) = place.extent / product;
    return true;
  }

  absl::Status CheckDims(const std::vector<Place>& places) {
    for (const Place& place : places) {
      std::vector<int>& factors = place.dim->factors;
      int64_t product = 1;
      for (int factor : factors) {
        if (__builtin_mul_overflow(product, *Extent(factor), &product)) {
          return Error("the extents in " + place.ToString() + " overflow");
        }
      }
      if (product != place.extent && place.extent != 1) {
        return Error(place.ToString() + ": the factors make " + std::to_string(product) +
                     ", the extent is " + std::to_string(place.extent));
      }
      // Broadcast dims and factors of extent 1 cut nothing.
      if (product != place.extent) factors.clear();
      std::erase_if(factors, [&](int factor) { return *Extent(factor) == 1; });
    }
    return absl::OkStatus();
  }

  absl::Status Read(const Clause& clause, std::vector<std::vector<int>>* linear) {
    if (clause.name == "linear" || clause.name == "multilinear") return ReadLinear(clause, linear);
    const bool whole = clause.name == "whole";
    std::optional<Sbp::Reduce> reduce;
    if (clause.name == "sum") reduce = Sbp::kSum;
    if (clause.name == "max") reduce = Sbp::kMax;
    if (clause.name == "min") reduce = Sbp::kMin;
    if (!whole && !reduce.has_value()) return Error("there is no clause '" + clause.name + "'");
    if (clause.arguments.empty()) return Error("'" + clause.name + "' names no factor");
    for (const std::string& argument : clause.arguments) {
      bool found = false;
      for (BoundRule::Factor& factor : rule_.factors_) {
        const bool leading = factor.name.compare(0, 3, "...") == 0;
        if (factor.name != argument && !(argument == "..." && leading)) continue;
        found = true;
        if (whole) factor.whole = true;
        if (!reduce.has_value()) continue;
        if (factor.reduce.has_value() && factor.reduce != reduce) {
          return Error("factor " + factor.name + " disappears in two ways");
        }
        factor.reduce = reduce;
      }
      // No leading dims at all is fine: the rule speaks of any number.
      if (!found && argument != "...") {
        return Error("'" + clause.name + " " + argument + "': no tensor has that factor");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadLinear(const Clause& clause, std::vector<std::vector<int>>* linear) {
    std::vector<int> inputs;
    for (const std::string& argument : clause.arguments) {
      const auto index = ParseUnsigned(argument);
      if (!index.has_value() || *index >= rule_.inputs_.size()) {
        return Error("'" + clause.name + " " + argument + "': there is no such input");
      }
      inputs.push_back(static_cast<int>(*index));
    }
    if (clause.arguments.empty()) {
      for (size_t i = 0; i < rule_.inputs_.size(); ++i) inputs.push_back(static_cast<int>(i));
    }
    if (clause.name == "linear") {
      if (!inputs.empty()) linear->push_back(inputs);
      return absl::OkStatus();
    }
    for (int input : inputs) linear->push_back({input});
    return absl::OkStatus();
  }

  BoundRule rule_;
  std::map<std::string, int> by_name_;
  std::vector<std::optional<int64_t>> extents_;
};

std::string AxisSignature::ToString() const { return SbpsText(inputs) + "->" + SbpsText(outputs); }

absl::StatusOr<BoundRule> BoundRule::Bind(const std::string& rule, const std::vector<Shape>& inputs,
                                          const std::vector<Shape>& outputs) {
  return RuleBinder(rule, inputs, outputs).Bind();
}

const AxisSignature& BoundRule::signature(int number) const {
  const size_t index = static_cast<size_t>(number);
  OF_CHECK(number >= 0 && index < signatures_.size() + nested_.size())
      << "signature " << number << " of rule '" << text_ << "'";
  return index < signatures_.size() ? signatures_[index] : nested_[index - signatures_.size()];
}

std::optional<AxisSignature> BoundRule::SplitSignature(int factor) const {
  const Factor& split = factors_[static_cast<size_t>(factor)];
  AxisSignature signature;
  signature.factor = split.name;
  std::vector<int> before;
  // The Sbp of one tensor; nullopt if the tensor does not have the factor.
  const auto place = [&](const Tensor& tensor) -> std::optional<Sbp> {
    for (size_t d = 0; d < tensor.size(); ++d) {
      const std::vector<int>& factors = tensor[d].factors;
      const auto found = std::find(factors.begin(), factors.end(), factor);
      if (found == factors.end()) continue;
      before.insert(before.end(), factors.begin(), found);
      return Sbp::S(static_cast<int>(d));
    }
    return std::nullopt;
  };
  for (const Tensor& tensor : inputs_) {
    signature.inputs.push_back(place(tensor).value_or(Sbp::B()));
  }
  for (const Tensor& tensor : outputs_) {
    const std::optional<Sbp> sbp = place(tensor);
    if (!sbp.has_value() && !split.reduce.has_value()) return std::nullopt;
    signature.outputs.push_back(sbp.has_value() ? *sbp : Sbp::P(*split.reduce));
  }
  std::sort(before.begin(), before.end());
  before.erase(std::unique(before.begin(), before.end()), before.end());
  std::vector<std::string> names;
  for (int other : before) {
    const Factor& cut = factors_[static_cast<size_t>(other)];
    if (cut.whole || cut.extent < 2) return std::nullopt;
    names.push_back(cut.name);
  }
  signature.after = Join(names, " ");
  return signature;
}

void BoundRule::DeriveSignatures(const std::vector<std::vector<int>>& linear) {
  const auto add = [&](AxisSignature signature, int factor) {
    for (const AxisSignature& other : signatures_) {
      if (other.inputs == signature.inputs && other.outputs == signature.outputs) return;
    }
    signatures_.push_back(std::move(signature));
    signature_factors_.push_back(factor);
  };
  add({std::vector<Sbp>(inputs_.size()), std::vector<Sbp>(outputs_.size()), "", ""}, -1);
  std::vector<std::pair<int, AxisSignature>> nested;
  for (int f = 0; f < static_cast<int>(factors_.size()); ++f) {
    const Factor& factor = factors_[static_cast<size_t>(f)];
    if (factor.whole || factor.extent < 2) continue;
    std::optional<AxisSignature> signature = SplitSignature(f);
    if (!signature.has_value()) continue;
    if (signature->after.empty()) {
      add(*std::move(signature), f);
    } else {
      nested.emplace_back(f, *std::move(signature));
    }
  }
  for (const std::vector<int>& partial : linear) {
    AxisSignature signature{std::vector<Sbp>(inputs_.size()),
                            std::vector<Sbp>(outputs_.size(), Sbp::P()), "", ""};
    for (int input : partial) signature.inputs[static_cast<size_t>(input)] = Sbp::P();
    add(std::move(signature), -1);
  }
  for (auto& [f, signature] : nested) {
    std::vector<int> after;
    for (const std::vector<Tensor>* side : {&inputs_, &outputs_}) {
      for (const Tensor& tensor : *side) {
        for (const Dim& dim : tensor) {
          const auto found = std::find(dim.factors.begin(), dim.factors.end(), f);
          if (found != dim.factors.end()) after.insert(after.end(), dim.factors.begin(), found);
        }
      }
    }
    std::sort(after.begin(), after.end());
    after.erase(std::unique(after.begin(), after.end()), after.end());
    nested_.push_back(std::move(signature));
    nested_after_.push_back(std::move(after));
    signature_factors_.push_back(f);
  }
}

int64_t BoundRule::PartsOf(int factor, const std::vector<int>& choice,
                           const std::vector<Axis>& axes, size_t end) const {
  int64_t parts = 1;
  for (size_t i = 0; i < end; ++i) {
    if (FactorOf(choice[i]) == factor) parts = Times(parts, axes[i].size);
  }
  return parts;
}

bool BoundRule::IsLegalChoice(const std::vector<int>& choice, const std::vector<Axis>& axes,
                              std::string* why) const {
  if (choice.size() != axes.size()) {
    Explain(why, std::to_string(choice.size()) + " choices for " + std::to_string(axes.size()) +
                     " axes");
    return false;
  }
  for (size_t i = 0; i < choice.size(); ++i) {
    const size_t number = static_cast<size_t>(choice[i]);
    if (choice[i] < 0 || number >= signatures_.size() + nested_.size()) {
      Explain(why, "there is no signature " + std::to_string(choice[i]));
      return false;
    }
  }
  for (size_t i = 0; i < choice.size(); ++i) {
    const size_t number = static_cast<size_t>(choice[i]);
    if (number < signatures_.size() || axes[i].size == 1) continue;
    for (int outer : nested_after_[number - signatures_.size()]) {
      const Factor& factor = factors_[static_cast<size_t>(outer)];
      if (PartsOf(outer, choice, axes, i) == factor.extent &&
          PartsOf(outer, choice, axes, axes.size()) == factor.extent) {
        continue;
      }
      Explain(why, "axis " + axes[i].name + " splits " + signature(choice[i]).factor +
                       ", which stands behind " + factor.name + " in a dim: outer axes must cut " +
                       factor.name + " into its " + std::to_string(factor.extent) +
                       " elements first");
      return false;
    }
  }
  const auto mixes = [&](bool outputs, size_t count) {
    for (size_t t = 0; t < count; ++t) {
      std::optional<Sbp> partial;
      for (size_t i = 0; i < choice.size(); ++i) {
        const AxisSignature& chosen = signature(choice[i]);
        const Sbp& sbp = outputs ? chosen.outputs[t] : chosen.inputs[t];
        if (sbp.kind != Sbp::kPartial || axes[i].size == 1) continue;
        if (partial.has_value() && *partial != sbp) return true;
        partial = sbp;
      }
    }
    return false;
  };
  if (mixes(false, inputs_.size()) || mixes(true, outputs_.size())) {
    Explain(why, "two kinds of Partial meet in one value");
    return false;
  }
  return true;
}

std::vector<int64_t> BoundRule::UnitsOfFactors(const std::vector<int>& choice,
                                               const std::vector<Axis>& axes,
                                               const std::vector<const Sharding*>& current) const {
  std::vector<int64_t> units(factors_.size(), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int f = FactorOf(choice[i]);
    if (f < 0 || axes[i].size == 1) continue;
    units[static_cast<size_t>(f)] = factors_[static_cast<size_t>(f)].extent;
  }
  std::vector<bool> carried(factors_.size(), false);
  for (size_t t = 0; t < inputs_.size() && t < current.size(); ++t) {
    if (current[t] == nullptr) continue;
    const Sharding& sharding = *current[t];
    for (size_t d = 0; d < inputs_[t].size() && d < sharding.units.size(); ++d) {
      int64_t parts = 1;
      for (size_t i = 0; i < sharding.sbps.size() && i < axes.size(); ++i) {
        if (sharding.sbps[i] == Sbp::S(static_cast<int>(d))) parts = Times(parts, axes[i].size);
      }
      // Even splits need no carrying: they come out even again from the factor's extent.
      if (sharding.units[d] <= 0 || sharding.units[d] % parts == 0) continue;
      int64_t outer = 1;  // elements of the factors before f, which are cut into single ones
      for (int f : inputs_[t][d].factors) {
        const size_t index = static_cast<size_t>(f);
        if (units[index] == 0) break;
        const int64_t extent = factors_[index].extent;
        if (PartsOf(f, choice, axes, axes.size()) != extent) {
          const int64_t own = sharding.units[d] % outer == 0 ? sharding.units[d] / outer : 0;
          if (!carried[index] && own > 0 && extent % own == 0) {
            units[index] = own;
            carried[index] = true;
          }
          break;
        }
        outer *= extent;
      }
    }
  }
  return units;
}

int64_t BoundRule::UnitsOfDim(const Dim& dim, const std::vector<int64_t>& units) const {
  int64_t product = 1;
  bool split = false;
  for (int f : dim.factors) {
    const size_t index = static_cast<size_t>(f);
    if (units[index] == 0) break;
    product *= units[index];
    split = true;
    if (units[index] != factors_[index].extent) break;
  }
  return split ? product : 0;
}

NodeShardings BoundRule::Apply(const std::vector<int>& choice, const std::vector<Axis>& axes,
                               const std::vector<const Sharding*>& current, int stage) const {
  std::string why;
  OF_CHECK(IsLegalChoice(choice, axes, &why)) << "rule '" << text_ << "': " << why;
  const std::vector<int64_t> units = UnitsOfFactors(choice, axes, current);
  const auto make = [&](bool output, size_t t) {
    const Tensor& tensor = output ? outputs_[t] : inputs_[t];
    Sharding sharding = Sharding::Broadcast(stage, axes.size(), tensor.size());
    for (size_t i = 0; i < axes.size(); ++i) {
      const AxisSignature& chosen = signature(choice[i]);
      sharding.sbps[i] = output ? chosen.outputs[t] : chosen.inputs[t];
    }
    for (size_t d = 0; d < tensor.size(); ++d) sharding.units[d] = UnitsOfDim(tensor[d], units);
    return Canonical(std::move(sharding), axes, output ? output_shapes_[t] : input_shapes_[t]);
  };
  NodeShardings result;
  for (size_t t = 0; t < inputs_.size(); ++t) result.inputs.push_back(make(false, t));
  for (size_t t = 0; t < outputs_.size(); ++t) result.outputs.push_back(make(true, t));
  return result;
}

bool BoundRule::UnitsAgree(const NodeShardings& shardings, const std::vector<int>& choice,
                           const std::vector<Axis>& axes, std::string* why) const {
  std::vector<int64_t> agreed(factors_.size(), 0);
  const auto tensor_agrees = [&](const Tensor& tensor, const Sharding& sharding) {
    for (size_t d = 0; d < tensor.size(); ++d) {
      // Factors before the last split one are cut into single elements (IsLegalChoice).
      int last = -1;
      int64_t outer = 1;
      for (int f : tensor[d].factors) {
        if (PartsOf(f, choice, axes, axes.size()) == 1) break;
        if (last >= 0) outer *= factors_[static_cast<size_t>(last)].extent;
        last = f;
      }
      if (last < 0) continue;
      const Factor& factor = factors_[static_cast<size_t>(last)];
      const int64_t units = sharding.units[d];
      const int64_t own = units > 0 && units % outer == 0 ? units / outer : 0;
      if (own == 0 || factor.extent % own != 0) {
        Explain(why, "factor " + factor.name + " of extent " + std::to_string(factor.extent) +
                         " cannot be dealt out in the units of " + sharding.ToString());
        return false;
      }
      int64_t& known = agreed[static_cast<size_t>(last)];
      if (known != 0 && known != own) {
        Explain(why, "factor " + factor.name + " is dealt out in " + std::to_string(known) +
                         " units in one tensor and in " + std::to_string(own) + " in another");
        return false;
      }
      known = own;
    }
    return true;
  };
  for (size_t t = 0; t < inputs_.size(); ++t) {
    if (!tensor_agrees(inputs_[t], shardings.inputs[t])) return false;
  }
  for (size_t t = 0; t < outputs_.size(); ++t) {
    if (!tensor_agrees(outputs_[t], shardings.outputs[t])) return false;
  }
  return true;
}

bool BoundRule::IsLegal(const NodeShardings& shardings, const std::vector<Axis>& axes,
                        std::string* why) const {
  if (shardings.inputs.size() != inputs_.size() || shardings.outputs.size() != outputs_.size()) {
    Explain(why, "the number of tensors differs from rule '" + text_ + "'");
    return false;
  }
  std::optional<int> stage;
  const auto fits = [&](const Sharding& sharding, const Shape& shape) {
    if (const absl::Status status = CheckSharding(sharding, axes, shape); !status.ok()) {
      Explain(why, MessageOf(status));
      return false;
    }
    if (stage.has_value() && *stage != sharding.stage) {
      Explain(why, "its tensors live on two stages");
      return false;
    }
    stage = sharding.stage;
    return true;
  };
  for (size_t t = 0; t < inputs_.size(); ++t) {
    if (!fits(shardings.inputs[t], input_shapes_[t])) return false;
  }
  for (size_t t = 0; t < outputs_.size(); ++t) {
    if (!fits(shardings.outputs[t], output_shapes_[t])) return false;
  }
  // The signatures that give what each axis shows; nearly always one.
  const int numbers = static_cast<int>(signatures_.size() + nested_.size());
  std::vector<std::vector<int>> candidates(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisSignature shown;
    for (const Sharding& sharding : shardings.inputs) shown.inputs.push_back(sharding.sbps[i]);
    for (const Sharding& sharding : shardings.outputs) shown.outputs.push_back(sharding.sbps[i]);
    for (int number = 0; number < numbers; ++number) {
      const AxisSignature& legal = signature(number);
      if (legal.inputs == shown.inputs && legal.outputs == shown.outputs) {
        candidates[i].push_back(number);
      }
    }
    if (candidates[i].empty()) {
      std::vector<std::string> list;
      for (const AxisSignature& legal : signatures_) list.push_back(legal.ToString());
      for (const AxisSignature& legal : nested_) {
        list.push_back(legal.ToString() + " after " + legal.after);
      }
      Explain(why, "on axis " + axes[i].name + " it has " + shown.ToString() + ", legal are " +
                       Join(list, "  "));
      return false;
    }
  }
  std::vector<size_t> at(axes.size(), 0);
  for (size_t tried = 0; tried < kMaxCombinations; ++tried) {
    std::vector<int> choice;
    for (size_t i = 0; i < axes.size(); ++i) choice.push_back(candidates[i][at[i]]);
    if (IsLegalChoice(choice, axes, why) && UnitsAgree(shardings, choice, axes, why)) return true;
    size_t i = axes.size();
    while (i > 0 && ++at[i - 1] == candidates[i - 1].size()) at[--i] = 0;
    if (i == 0) return false;
  }
  Explain(why, "too many signatures look alike");
  return false;
}

}  // namespace oneflow
