// OpDef: everything the framework knows of an op, said once: schema, doc, shape, sharding rule,
// gradient, cost. Kernels of the same name stand in kernels/; Python signature, docstring and stub
// come from here.
//
// The table is const, made once per process by Ops() from the family files listed in op_table.cc;
// no registration by static initialisers. Threads: any. How to add one: docs/adding_an_op.md. Read
// next: compiler/ops/op_table.h, compiler/ops/unary.cc.
#ifndef ONEFLOW_COMPILER_OPS_OP_DEF_H_
#define ONEFLOW_COMPILER_OPS_OP_DEF_H_

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/ops/tensor_type.h"
#include "plan/attrs.h"

namespace oneflow {

class GradBuilder;

// What shape, rule and cost functions see of a node.
struct OpContext {
  const Attrs& attrs;
  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;  // empty while shapes are inferred
};

using DTypeSet = std::vector<DType>;
DTypeSet AnyFloat();     // f32 f64 bf16 f16
DTypeSet SingleFloat();  // f32: what has a kernel for it alone
DTypeSet FullFloat();    // f32 f64: where a narrow result would lose what it is for
DTypeSet AnyInt();       // i64 i32 i16 i8 u8
DTypeSet AnyNumber();    // floats and ints
DTypeSet AnyDType();

// A type variable of an op: what is declared with it has one element type in a call.
struct TypeDef {
  std::string name;
  DTypeSet dtypes;
  // Given by another variable, as the f32 statistics of a bf16 tensor are; else null.
  std::string source;
  DType (*derive)(DType) = nullptr;
};

// The element type of an input or output: a variable "T" that the op has declared, one dtype, any of
// a set (inputs), or what an attribute of kind dtype says, by its name (outputs). Each converts, so
// that a definition reads .In("a", "T", ..), .In("index", DType::kI64, ..).
struct ArgType {
  ArgType(const char* name) : name(name) {}
  ArgType(DType dtype) : dtypes({dtype}) {}
  ArgType(DTypeSet dtypes) : dtypes(std::move(dtypes)) {}
  std::string name;
  DTypeSet dtypes;
};

// One input or output of the schema.
struct ArgDef {
  std::string name;
  std::string type;  // the variable or attribute; empty if `dtypes` says it
  DTypeSet dtypes;   // of an output that an attribute types: empty
  std::string doc;
  bool variadic = false;  // the last input or output only: one or more tensors
  bool optional = false;  // trailing inputs only
};

// One attribute. `kind`: "int", "float", "string", "bool", "ints", "floats", "strings", "dtype" (a
// string), "enum" (a string, one of `words`).
struct AttrDef {
  std::string name;
  std::string kind;
  std::optional<AttrValue> default_value;  // without one it is required
  std::string doc;
  std::vector<std::string> words = {};
};

// Work of one node on local shapes.
struct OpCost {
  int64_t flops = 0;
  int64_t bytes = 0;  // read + written
};

// Shapes of the outputs; their dtypes follow from the schema.
using Shapes = std::vector<Shape>;
using ShapeFn = std::function<absl::StatusOr<Shapes>(const OpContext&)>;
using RuleFn = std::function<std::string(const OpContext&)>;
using GradFn = std::function<absl::Status(GradBuilder&)>;
using CostFn = std::function<OpCost(const OpContext&)>;
// Rewrites attributes that hold logical extents (a reshape's target, a slice's end) for a local
// shard.
using LocalizeFn = std::function<Attrs(const Attrs&, const std::vector<TensorType>& local_inputs,
                                       const std::vector<TensorType>& local_outputs)>;

class OpDef {
 public:
  explicit OpDef(std::string name) : name(std::move(name)) {}
  // Builders, in the order in which a reader wants the facts.
  OpDef& Doc(std::string text) {
    doc = std::move(text);
    return *this;
  }
  // A type variable, before what is declared with it.
  OpDef& Type(std::string variable, DTypeSet dtypes);
  // One that `source`, declared before, determines.
  OpDef& Type(std::string variable, std::string source, DType (*derive)(DType));
  OpDef& In(std::string arg, ArgType type, std::string text);
  OpDef& OptionalIn(std::string arg, ArgType type, std::string text);
  OpDef& VariadicIn(std::string arg, ArgType type, std::string text);
  OpDef& Out(std::string arg, ArgType type, std::string text);
  OpDef& VariadicOut(std::string arg, ArgType type, std::string text);
  OpDef& Attr(std::string attr, std::string kind, std::optional<AttrValue> def, std::string text);
  // An attribute that is one of a few words; C++ reads it as an enum (compiler/ops/input_kind.h).
  OpDef& Enum(std::string attr, std::vector<std::string> words, std::optional<std::string> def,
              std::string text);
  OpDef& Shape(ShapeFn fn) {
    shape = std::move(fn);
    return *this;
  }
  OpDef& Sharding(std::string rule);
  OpDef& Sharding(RuleFn fn) {
    rule = std::move(fn);
    return *this;
  }
  OpDef& Grad(GradFn fn) {
    grad = std::move(fn);
    return *this;
  }
  OpDef& NotDifferentiable(std::string why) {
    not_differentiable = std::move(why);
    return *this;
  }
  OpDef& Cost(CostFn fn) {
    cost = std::move(fn);
    return *this;
  }
  OpDef& Localize(LocalizeFn fn) {
    localize = std::move(fn);
    return *this;
  }
  OpDef& View() {
    view = true;
    return *this;
  }  // output 0 is input 0's bytes: no kernel
  OpDef& StopsGradient() {
    stops_gradient = true;
    return *this;
  }  // nothing behind it depends on its input, as autodiff sees it
  OpDef& NeedsSlice() {
    needs_slice = true;
    return *this;
  }  // its kernel needs where its shard begins
  OpDef& MayFail() {
    may_fail = true;
    return *this;
  }  // its kernel reports what is wrong in the data: states are written behind it
  OpDef& Structural() {
    structural = true;
    return *this;
  }  // input, state_read, ..: no kernel
  OpDef& Internal() {
    internal = true;
    return *this;
  }  // made by a pass: nobody calls it

  std::string name;
  std::string doc;
  std::vector<TypeDef> types;
  std::vector<ArgDef> inputs;
  std::vector<ArgDef> outputs;
  std::vector<AttrDef> attrs;
  ShapeFn shape;
  RuleFn rule;
  GradFn grad;                     // empty: not differentiable, see below
  std::string not_differentiable;  // why, for the error message
  CostFn cost;
  LocalizeFn localize;
  bool view = false;
  bool stops_gradient = false;
  bool needs_slice = false;
  bool may_fail = false;
  bool structural = false;
  bool internal = false;

 private:
  ArgDef Arg(std::string arg, ArgType type, std::string text) const;
};

// The type variable of that name; nullptr if the op declares none.
const TypeDef* FindType(const OpDef& op, const std::string& name);

// What a gradient function uses: reads the forward node, adds nodes, sets the inputs' gradients.
class GradBuilder {
 public:
  virtual ~GradBuilder() = default;
  virtual int input_count()
      const = 0;  // of the forward node: optional ones that are absent do not count
  virtual ValueId in(int i) const = 0;
  virtual ValueId out(int i) const = 0;
  // Gradient of output i; -1 if nothing depends on it.
  virtual ValueId dout(int i) const = 0;
  virtual const TensorType& type(ValueId value) const = 0;
  virtual const Attrs& attrs() const = 0;
  virtual bool NeedsGrad(int input) const = 0;
  // Adds a node with one output, with the forward node's location, scope and stage.
  virtual ValueId Op(const std::string& op, std::vector<ValueId> inputs, Attrs attrs = {}) = 0;
  virtual std::vector<ValueId> OpN(const std::string& op, std::vector<ValueId> inputs,
                                   Attrs attrs = {}) = 0;
  virtual void SetGrad(int input, ValueId gradient) = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_OP_DEF_H_
