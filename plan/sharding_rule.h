// ShardingRule: how the dims of an op relate, as an einsum-like text; the legal signatures are derived.
//
//   matmul  "m k, k n -> m n ; sum k ; multilinear"
//     one mesh axis:  S(0),B->S(0)  B,S(1)->S(1)  S(1),S(0)->P  P,B->P  B,P->P  B,B->B
//
// Grammar: tensors separated by ",", sides by "->", several outputs by "," ; dims are names, "(a b)" a dim
// made of two factors (a major), "..." leading dims shared by all (right-aligned: broadcasting); "1" a dim
// of extent 1; a tensor with no dims is written "." ; clauses after ";": "sum k", "max k", "min k" (the
// factor disappears: Partial), "whole c d" (may not be split), "linear" (P(sum) on all inputs gives P(sum)
// on all outputs), "multilinear" (P(sum) on one input, B on the others gives P(sum)).
// Per factor: an input that has it as the leading factor of dim d gets S(d); one that has it elsewhere makes
// the signature illegal; one without it gets B; an output without it is P if declared, else the factor is
// not splittable. A dim of extent 1 where the factor's extent is not 1 is broadcast: B. All-B is always
// legal and stands first. In plan/ because the verifier proves task types with it (proof 5).
// Values. Threads: any. Read next: docs/sharding.md, compiler/parallel/.
#ifndef ONEFLOW_PLAN_SHARDING_RULE_H_
#define ONEFLOW_PLAN_SHARDING_RULE_H_

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

  // The canonical shardings when layout axis i uses signatures()[choice[i]]. The units of each split factor
  // are those of the first current input that is split on it in compatible units, else the factor's extent:
  // so uneven splits are carried through reshapes. `current` may hold nullptr (unknown).
  NodeShardings Apply(const std::vector<int>& choice, const std::vector<Axis>& axes,
                      const std::vector<const Sharding*>& current, int stage) const;

  // True if the shardings are what some choice of signatures gives, units agreeing along every factor.
  // `why` gets the reason when not.
  bool IsLegal(const NodeShardings& shardings, const std::vector<Axis>& axes,
               std::string* why) const;

 private:
  // A factor: its name, extent, and where it stands.
  struct Factor {
    std::string name;
    int64_t extent = 1;
  };
  struct Dim {
    std::vector<int> factors;  // indexes in factors_, major first; empty: extent 1
    bool broadcast = false;    // extent 1 while its factor is larger
  };
  std::vector<Factor> factors_;
  std::vector<std::vector<Dim>> inputs_;
  std::vector<std::vector<Dim>> outputs_;
  std::vector<Shape> input_shapes_;
  std::vector<Shape> output_shapes_;
  std::vector<AxisSignature> signatures_;
};

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_SHARDING_RULE_H_
