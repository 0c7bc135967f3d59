// ShardingRule: how the dims of an op relate, as an einsum-like text; the legal signatures are
// derived.
//
//   matmul  "m k, k n -> m n ; sum k ; multilinear"
//     one mesh axis:  S(0),B->S(0)  B,S(1)->S(1)  S(1),S(0)->P  P,B->P  B,P->P  B,B->B
//
// Grammar. Tensors are separated by ",", the sides by "->". A tensor is its dims, each a factor:
//   a        a name
//   (a b)    a dim made of two factors, a major
//   a:7      a factor whose extent the other dims do not tell
//   1        a dim of extent 1
//   3        a factor of that extent that is never split
//   ...      leading dims shared by all (right-aligned: broadcasting)
//   .        no dims
// Clauses follow, each after ";" ("..." in one means all leading dims):
//   sum k, max k, min k   the factor disappears: Partial
//   whole c d             they may not be split
//   linear                P(sum) on all inputs gives P(sum) on all outputs
//   multilinear           P(sum) on one input, B on the others gives P(sum)
//   linear 1 2, multilinear 0   as above of those inputs only, the others being B
//
// Signatures. Per factor:
// - an input that has it as the leading factor of dim d gets S(d); one that has it elsewhere makes
//   the signature illegal; one without it gets B;
// - an output without it is P if declared, else the factor is not splittable;
// - a dim of extent 1 where the factor's extent is not 1 is broadcast: B;
// - a factor of extent 1 (or 0) is not splittable and does not count when the leading one is sought.
// All-B is always legal and stands first. Nested signatures: in "(g n)" n becomes the leading factor
// once outer axes have cut g into single elements: micro on g, then dp on n (batch_norm's groups).
// They stand apart, for most axes cannot have them.
//
// In plan/ because the verifier proves task types with it (proof 5). Values. Threads: any. Total on
// arbitrary text and shapes. Read next: docs/sharding.md, compiler/parallel/.
#ifndef ONEFLOW_PLAN_SHARDING_RULE_H_
#define ONEFLOW_PLAN_SHARDING_RULE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/shape.h"
#include "plan/sharding.h"

namespace oneflow {

// What one mesh axis may do to the inputs and outputs of an op.
struct AxisSignature {
  std::vector<Sbp> inputs;
  std::vector<Sbp> outputs;
  std::string factor;  // the factor that is split; empty for all-B and the linear ones
  std::string after;  // nested only: the factors that outer axes must have cut into single elements
  bool operator==(const AxisSignature&) const = default;
  std::string ToString() const;  // "S(0),B->S(0)"
};

// The shardings of a whole node: one per input and output.
struct NodeShardings {
  std::vector<Sharding> inputs;
  std::vector<Sharding> outputs;
};

// A rule bound to the logical shapes of one node.
class BoundRule {
 public:
  // Fails if the rule does not parse, does not fit the ranks, or the extents disagree.
  static absl::StatusOr<BoundRule> Bind(const std::string& rule, const std::vector<Shape>& inputs,
                                        const std::vector<Shape>& outputs);

  // Legal on any one axis, all-B first, then factors in order of appearance, then linear ones.
  const std::vector<AxisSignature>& signatures() const { return signatures_; }
  // Legal on an axis only as `after` says; number signatures().size() + i in a choice.
  const std::vector<AxisSignature>& nested_signatures() const { return nested_; }
  // The signature with this number in a choice.
  const AxisSignature& signature(int number) const;

  // True if the axes may choose so together: nested signatures stand where they may, and no value
  // mixes two kinds of Partial. `why` (may be null) gets the reason when not. Always true for
  // signatures() of a rule with one kind of Partial.
  bool IsLegalChoice(const std::vector<int>& choice, const std::vector<Axis>& axes,
                     std::string* why = nullptr) const;

  // The canonical shardings when layout axis i uses signature(choice[i]). The units of each split
  // factor are those of the first current input whose split on it is uneven and falls on the
  // factor's elements, else the factor's extent: so uneven splits are carried through reshapes, and
  // even ones stay even however many axes share the factor. `current` may be short or hold nullptr
  // (unknown). REQUIRES: IsLegalChoice.
  NodeShardings Apply(const std::vector<int>& choice, const std::vector<Axis>& axes,
                      const std::vector<const Sharding*>& current, int stage) const;

  // True if the shardings are canonical, on one stage, and what some legal choice gives, units
  // agreeing along every factor. `why` (may be null) gets the reason when not.
  bool IsLegal(const NodeShardings& shardings, const std::vector<Axis>& axes,
               std::string* why = nullptr) const;

 private:
  struct Factor {
    std::string name;
    int64_t extent = 1;
    bool whole = false;
    std::optional<Sbp::Reduce> reduce;  // what an output without it becomes
  };
  struct Dim {
    std::vector<int>
        factors;  // indexes in factors_, major first, extents != 1; empty: extent 1 or broadcast
  };
  using Tensor = std::vector<Dim>;

  friend class RuleBinder;  // sharding_rule.cc: fills the fields below

  void DeriveSignatures(const std::vector<std::vector<int>>& linear);
  std::optional<AxisSignature> SplitSignature(int factor) const;
  int FactorOf(int number) const { return signature_factors_[static_cast<size_t>(number)]; }
  // Product of the sizes of the axes before `end` that split the factor, saturating.
  int64_t PartsOf(int factor, const std::vector<int>& choice, const std::vector<Axis>& axes,
                  size_t end) const;
  // Units of the split factors (0 if not split): the factor's own, without what stands before it in
  // a dim.
  std::vector<int64_t> UnitsOfFactors(const std::vector<int>& choice, const std::vector<Axis>& axes,
                                      const std::vector<const Sharding*>& current) const;
  // Units of a dim whose factors are dealt out in `units`; 0 if none is split.
  int64_t UnitsOfDim(const Dim& dim, const std::vector<int64_t>& units) const;
  // True if the shardings, whose Sbps are what the choice gives, cut every factor alike.
  bool UnitsAgree(const NodeShardings& shardings, const std::vector<int>& choice,
                  const std::vector<Axis>& axes, std::string* why) const;

  std::string text_;
  std::vector<Factor> factors_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  std::vector<Shape> input_shapes_;
  std::vector<Shape> output_shapes_;
  std::vector<AxisSignature> signatures_;
  std::vector<AxisSignature> nested_;
  std::vector<int> signature_factors_;  // by number in a choice; -1 for all-B and the linear ones
  std::vector<std::vector<int>> nested_after_;  // factors of nested_[i].after
};

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_SHARDING_RULE_H_
