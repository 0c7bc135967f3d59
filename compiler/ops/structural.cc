// What a graph is made of besides computation: inputs, states, outputs, constants, reshards.
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/input_kind.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

absl::StatusOr<Shapes> ShapeFromAttrs(const OpContext& op) {
  const Shape& shape = op.attrs.Ints("shape");
  for (int64_t extent : shape) {
    if (extent < 0) {
      return MakeError(ErrorKind::kShape,
                       absl::StrCat("shape ", ToString(shape), " has a negative extent"));
    }
  }
  return Shapes{shape};
}

absl::StatusOr<Shapes> NoOutputs(const OpContext&) { return Shapes{}; }

// Only Graph knows the type of a state: it answers before this is asked.
absl::StatusOr<Shapes> ShapeOfState(const OpContext&) {
  return MakeError(ErrorKind::kError, "state_read: states are read within a graph only");
}

std::string AnySplitOfOutput(const OpContext& op) {
  return absl::StrCat("-> ", FactorNames(op.outputs[0].shape.size()));
}

std::string AnySplitOfInput(const OpContext& op) {
  return absl::StrCat(FactorNames(op.inputs[0].shape.size()), " ->");
}

OpDef Input() {
  return OpDef("input")
      .Doc("A tensor that is given to each step.")
      .Out("value", "dtype", "shape as the attribute says")
      .Attr("name", "string", std::nullopt, "name of the input, unique in the graph")
      .Attr("dtype", "dtype", std::nullopt, "element type")
      .Attr("shape", "ints", std::nullopt, "logical shape")
      .Enum("kind", InputKindNames(), NameOf(InputKind::kBatch),
            "batch: dim 0 is cut by dp and accumulate; whole: by dp alone; scalar: not at all")
      .Shape(ShapeFromAttrs)
      .Sharding(AnySplitOfOutput)
      .NotDifferentiable("it is an input of the step")
      .Cost(NoCost())
      .Structural();
}

OpDef StateRead() {
  return OpDef("state_read")
      .Doc("The value of a state at the beginning of the step.")
      .Type("T", AnyDType())
      .Out("value", "T", "dtype and shape of the state")
      .Attr("name", "string", std::nullopt, "name of the state")
      .Shape(ShapeOfState)
      .Sharding(AnySplitOfOutput)
      .NotDifferentiable("it is a state of the session")
      .Cost(NoCost())
      .Structural();
}

OpDef StateWrite() {
  return OpDef("state_write")
      .Doc("Gives a state its value for the next step. At most once per state.")
      .In("value", AnyDType(), "dtype and shape of the state")
      .Attr("name", "string", std::nullopt, "name of the state")
      .Shape(NoOutputs)
      .Sharding(AnySplitOfInput)
      .NotDifferentiable("it has no output")
      .Cost(NoCost())
      .Structural();
}

OpDef Output() {
  return OpDef("output")
      .Doc("Returns a value from the step under a name.")
      .In("value", AnyDType(), "any shape")
      .Attr("name", "string", std::nullopt, "name of the output, unique in the graph")
      .Shape(NoOutputs)
      .Sharding(AnySplitOfInput)
      .NotDifferentiable("it has no output")
      .Cost(NoCost())
      .Structural();
}

OpDef Constant() {
  return OpDef("constant")
      .Doc("A tensor filled with one number.")
      .Out("y", "dtype", "shape as the attribute says, every element `value`")
      .Attr("value", "float", std::nullopt, "the number, converted to dtype")
      .Attr("dtype", "dtype", std::nullopt, "element type")
      .Attr("shape", "ints", std::nullopt, "shape")
      .Shape(ShapeFromAttrs)
      .Sharding(AnySplitOfOutput)
      .NotDifferentiable("it depends on nothing")
      .Cost(FlopsPerElement(0))
      .Localize(LocalShapeOfOutput());
}

OpDef Reshard() {
  return OpDef("reshard")
      .Doc(
          "A change of layout: the same logical tensor, cut in another way; several tensors of one "
          "dtype travel together. Made by the compiler.")
      .Type("T", AnyDType())
      .VariadicIn("x", "T", "any shape")
      .VariadicOut("y", "T", "as x, one for each")
      .Attr("axis", "int", int64_t{-1}, "layout axis on which it changes; -1: a general exchange")
      .Attr("change", "string", "", "for readers: \"P->B on dp\"")
      .Attr("direct", "bool", false, "a sum of few devices that goes round no ring")
      .Attr("group", "int", int64_t{0},
            "by level of links: so many consecutive places of the axis first; 0: flat")
      .Attr("rounds", "strings", std::vector<std::string>(),
            "then, one after the other: \"scatter 8/1\"")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        Shapes shapes;
        for (const TensorType& input : op.inputs) shapes.push_back(input.shape);
        return shapes;
      })
      .Sharding("... -> ... ; linear")
      .Grad(Grads({PassGradient}))
      .Cost(FlopsPerElement(0))
      .Structural();
}

}  // namespace

std::vector<OpDef> StructuralOps() {
  return {Input(), StateRead(), StateWrite(), Output(), Constant(), Reshard()};
}

}  // namespace oneflow
