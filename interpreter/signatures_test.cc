// Every op of the table, every signature that its rule allows, by execution: the op run on shards,
// on 2 and 3 devices, and put together again equals the op run on the whole. A rule that promises
// too much fails here; one that promises too little fails compiler/ops/rules_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/status.h"
#include "compiler/ops/op_cases_for_test.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/scalar/types.h"

namespace oneflow {
namespace {

// A dense tensor; every dtype of the cases fits in a double exactly, and is rounded from one.
struct Tensor {
  TensorType type;
  std::vector<double> values;
};

Tensor Zeros(const TensorType& type) {
  return {type, std::vector<double>(static_cast<size_t>(NumElements(type.shape)), 0.0)};
}

// Calls visit(position in the whole, position in the slice) for every element of the slice.
template <typename Visit>
void ForEachInSlice(const Shape& whole, const Slice& slice, const Visit& visit) {
  const Shape strides = StridesOf(whole);
  const int64_t count = NumElements(slice.extent);
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i;
    int64_t position = 0;
    for (size_t d = whole.size(); d-- > 0; rest /= slice.extent[d]) {
      position += (slice.begin[d] + rest % slice.extent[d]) * strides[d];
    }
    visit(static_cast<size_t>(position), static_cast<size_t>(i));
  }
}

template <typename T>
void CopyOut(const std::vector<double>& values, void* bytes) {
  T* out = static_cast<T*>(bytes);
  for (size_t i = 0; i < values.size(); ++i) out[i] = static_cast<T>(values[i]);
}
template <typename T>
void CopyIn(const void* bytes, std::vector<double>* values) {
  const T* in = static_cast<const T*>(bytes);
  for (size_t i = 0; i < values->size(); ++i) (*values)[i] = static_cast<double>(in[i]);
}

// 64-byte aligned bytes of one operand.
struct Buffer {
  explicit Buffer(int64_t bytes)
      : block(static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64)), &std::free) {
    std::memset(block.get(), 0x7f, (bytes + 127) / 64 * 64);
  }
  std::unique_ptr<char, void (*)(void*)> block;
};

kernels::Operand OperandOf(const TensorType& local, const Shape& logical, const Slice& slice) {
  kernels::Operand operand;
  operand.dtype = local.dtype;
  operand.shape = local.shape;
  operand.logical_shape = logical;
  operand.begin = slice.begin;
  return operand;
}

Slice WholeOf(const Shape& shape) { return {Shape(shape.size(), 0), shape}; }

// Runs one kernel on local tensors.
std::vector<Tensor> RunLocal(const std::string& op, const Attrs& attrs,
                             const std::vector<Tensor>& inputs,
                             const std::vector<kernels::Operand>& in_operands,
                             const std::vector<kernels::Operand>& out_operands) {
  std::vector<Tensor> outputs;
  for (const kernels::Operand& operand : out_operands) {
    outputs.push_back(Zeros({operand.dtype, operand.shape}));
  }
  if (FindOp(op)->view || op == "reshard") {
    outputs[0].values = inputs[0].values;
    return outputs;
  }
  kernels::KernelSpec spec{op, attrs, in_operands, out_operands, 1};
  auto needs = kernels::CpuKernels().Describe(spec);
  EXPECT_TRUE(needs.ok()) << op << ": " << MessageOf(needs.status());
  auto kernel = kernels::CpuKernels().Make(spec);
  EXPECT_TRUE(kernel.ok()) << op << ": " << MessageOf(kernel.status());
  if (!needs.ok() || !kernel.ok()) return outputs;
  std::vector<Buffer> buffers;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Tensor& input : inputs) {
    buffers.emplace_back(input.type.bytes());
    void* bytes = buffers.back().block.get();
    switch (input.type.dtype) {
      case DType::kF32:
        CopyOut<float>(input.values, bytes);
        break;
      case DType::kBF16:
        CopyOut<kernels::BF16>(input.values, bytes);
        break;
      case DType::kI64:
        CopyOut<int64_t>(input.values, bytes);
        break;
      default:
        CopyOut<bool>(input.values, bytes);
    }
    in.push_back(bytes);
  }
  for (const Tensor& output : outputs) {
    buffers.emplace_back(output.type.bytes());
    out.push_back(buffers.back().block.get());
  }
  Buffer workspace(needs->workspace_bytes);
  kernels::KernelArgs args;
  args.inputs = in.data();
  args.outputs = out.data();
  args.workspace = workspace.block.get();
  kernels::StepBlock block;
  kernels::InlineStream stream;
  args.block = &block;
  EXPECT_TRUE((*kernel)->Run(args, &stream).ok());
  EXPECT_EQ(DescribeDataError(block), "");
  for (size_t i = 0; i < outputs.size(); ++i) {
    switch (outputs[i].type.dtype) {
      case DType::kF32:
        CopyIn<float>(out[i], &outputs[i].values);
        break;
      case DType::kI64:
        CopyIn<int64_t>(out[i], &outputs[i].values);
        break;
      default:
        CopyIn<bool>(out[i], &outputs[i].values);
    }
  }
  return outputs;
}

// Everything about one call on the whole tensors.
struct Call {
  OpCase op_case;
  Attrs attrs;
  std::vector<TensorType> output_types;
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
};

// Positive values of 3 decimal places: log and pow are defined, eq has hits, sums stay near exact.
Call WholeCall(const OpCase& op_case, std::mt19937* random) {
  Call call{op_case, op_case.attrs, {}, {}, {}};
  const OpDef& def = *FindOp(op_case.op);
  auto types = InferOutputs(def, op_case.inputs, &call.attrs);
  EXPECT_TRUE(types.ok()) << op_case.op << ": " << MessageOf(types.status());
  call.output_types = *types;
  // Columns behind the classes are no labels.
  const int64_t classes = call.attrs.Has("classes") ? call.attrs.Int("classes") : 0;
  const uint32_t labels = classes == 0 ? 6 : static_cast<uint32_t>(classes);
  for (const TensorType& type : op_case.inputs) {
    Tensor tensor = Zeros(type);
    for (double& value : tensor.values) {
      const uint32_t number = (*random)();
      value = type.dtype == DType::kBool  ? number % 2
              : type.dtype == DType::kI64 ? number % labels
                                          : 0.125 + static_cast<double>(number % 16) / 8;
    }
    call.inputs.push_back(std::move(tensor));
  }
  std::vector<kernels::Operand> in;
  std::vector<kernels::Operand> out;
  for (const TensorType& type : op_case.inputs) {
    in.push_back(OperandOf(type, type.shape, WholeOf(type.shape)));
  }
  for (const TensorType& type : call.output_types) {
    out.push_back(OperandOf(type, type.shape, WholeOf(type.shape)));
  }
  if (op_case.op == "max_pool2d_grad") {
    // The second input is the pooled first.
    call.inputs[1] = RunLocal("max_pool2d", call.attrs, {call.inputs[0]}, {in[0]}, {in[1]})[0];
  }
  call.outputs = RunLocal(op_case.op, call.attrs, call.inputs, in, out);
  return call;
}

// What the device at `coordinates` holds of a tensor. Of a sum each device but the last holds a
// random part.
Tensor ShardOf(const Tensor& whole, const Sharding& sharding, const std::vector<Axis>& axes,
               const std::vector<int64_t>& coordinates, const std::vector<Tensor>& parts) {
  const Slice slice = SliceOf(sharding, axes, whole.type.shape, coordinates);
  Tensor shard = Zeros({whole.type.dtype, slice.extent});
  const Tensor* source = &whole;
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    if (sharding.sbps[axis].kind == Sbp::kPartial) {
      source = &parts[static_cast<size_t>(coordinates[axis])];
    }
  }
  ForEachInSlice(whole.type.shape, slice,
                 [&](size_t from, size_t to) { shard.values[to] = source->values[from]; });
  return shard;
}

std::vector<Tensor> SplitIntoParts(const Tensor& whole, int64_t count, std::mt19937* random) {
  std::vector<Tensor> parts(static_cast<size_t>(count), Zeros(whole.type));
  for (size_t i = 0; i < whole.values.size(); ++i) {
    double rest = whole.values[i];
    for (int64_t part = 0; part + 1 < count; ++part) {
      const double share = static_cast<double>((*random)() % 9) / 4 - 1;
      parts[static_cast<size_t>(part)].values[i] = share;
      rest -= share;
    }
    parts.back().values[i] = rest;
  }
  return parts;
}

void Combine(const Tensor& shard, const Sharding& sharding, const std::vector<Axis>& axes,
             const std::vector<int64_t>& coordinates, Tensor* whole, std::vector<int>* writes) {
  const Slice slice = SliceOf(sharding, axes, whole->type.shape, coordinates);
  const Sbp* partial = nullptr;
  for (const Sbp& sbp : sharding.sbps) {
    if (sbp.kind == Sbp::kPartial) partial = &sbp;
  }
  ForEachInSlice(whole->type.shape, slice, [&](size_t to, size_t from) {
    double& value = whole->values[to];
    const double mine = shard.values[from];
    const bool first = (*writes)[to]++ == 0;
    if (first) {
      value = mine;
    } else if (partial == nullptr) {
      // Replicas hold equal bits.
      EXPECT_TRUE(value == mine || (std::isnan(value) && std::isnan(mine)));
    } else {
      value = partial->reduce == Sbp::kSum ? value + mine : std::max(value, mine);
    }
  });
}

void ExpectSameAsWhole(const Call& call, const BoundRule& rule, const std::vector<int>& choice,
                       const std::vector<Axis>& axes, std::mt19937* random) {
  const OpDef& def = *FindOp(call.op_case.op);
  const NodeShardings shardings =
      rule.Apply(choice, axes, std::vector<const Sharding*>(call.inputs.size(), nullptr), 0);
  std::string name = call.op_case.op + " " + call.attrs.ToString();
  int64_t places = 1;
  for (size_t i = 0; i < axes.size(); ++i) {
    places *= axes[i].size;
    name += " " + axes[i].name + "=" + rule.signature(choice[i]).ToString();
  }
  SCOPED_TRACE(name);
  std::vector<std::vector<Tensor>> parts;
  for (const Tensor& input : call.inputs)
    parts.push_back(SplitIntoParts(input, axes.back().size, random));
  std::vector<Tensor> results;
  std::vector<std::vector<int>> writes;
  for (const TensorType& type : call.output_types) {
    results.push_back(Zeros(type));
    writes.emplace_back(results.back().values.size(), 0);
  }
  for (int64_t place = 0; place < places; ++place) {
    std::vector<int64_t> coordinates(axes.size());
    int64_t rest = place;
    for (size_t i = axes.size(); i-- > 0; rest /= axes[i].size)
      coordinates[i] = rest % axes[i].size;
    std::vector<Tensor> inputs;
    std::vector<TensorType> in_types;
    std::vector<TensorType> out_types;
    std::vector<kernels::Operand> in;
    std::vector<kernels::Operand> out;
    bool empty = false;
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      const Sharding& sharding = shardings.inputs[i];
      inputs.push_back(ShardOf(call.inputs[i], sharding, axes, coordinates, parts[i]));
      in_types.push_back(inputs.back().type);
      const Shape& logical = call.inputs[i].type.shape;
      in.push_back(
          OperandOf(in_types.back(), logical, SliceOf(sharding, axes, logical, coordinates)));
    }
    for (size_t i = 0; i < call.output_types.size(); ++i) {
      const TensorType& type = call.output_types[i];
      const Slice slice = SliceOf(shardings.outputs[i], axes, type.shape, coordinates);
      out_types.push_back({type.dtype, slice.extent});
      out.push_back(OperandOf(out_types.back(), type.shape, slice));
      empty = empty || NumElements(slice.extent) == 0;
    }
    if (empty) continue;
    const Attrs attrs = def.localize ? def.localize(call.attrs, in_types, out_types) : call.attrs;
    const std::vector<Tensor> outputs = RunLocal(call.op_case.op, attrs, inputs, in, out);
    for (size_t i = 0; i < outputs.size(); ++i) {
      Combine(outputs[i], shardings.outputs[i], axes, coordinates, &results[i], &writes[i]);
    }
  }
  for (size_t i = 0; i < results.size(); ++i) {
    for (size_t e = 0; e < results[i].values.size(); ++e) {
      const double want = call.outputs[i].values[e];
      const double got = results[i].values[e];
      ASSERT_GT(writes[i][e], 0) << "element " << e << " of output " << i << " was made nowhere";
      // At a singular point parts of a sum may be inf - inf.
      if (!std::isfinite(want) && !std::isfinite(got)) continue;
      ASSERT_LE(std::abs(got - want), 2e-4 * std::abs(want) + 2e-4)
          << "output " << i << ", element " << e << ": " << got << " instead of " << want;
    }
  }
}

TEST(SignaturesTest, EveryDerivedSignatureEqualsTheWhole) {
  std::mt19937 random(7);
  std::map<std::string, int> executed;
  for (const OpCase& op_case : OpCases()) {
    const OpDef& def = *FindOp(op_case.op);
    if ((def.structural && op_case.op != "reshard") || op_case.inputs.empty()) continue;
    const Call call = WholeCall(op_case, &random);
    std::vector<Shape> inputs;
    std::vector<Shape> outputs;
    for (const TensorType& type : op_case.inputs) inputs.push_back(type.shape);
    for (const TensorType& type : call.output_types) outputs.push_back(type.shape);
    auto rule =
        BoundRule::Bind(def.rule({call.attrs, op_case.inputs, call.output_types}), inputs, outputs);
    ASSERT_TRUE(rule.ok()) << op_case.op << ": " << MessageOf(rule.status());
    const int count = static_cast<int>(rule->signatures().size());
    for (int64_t size : {2, 3}) {
      const std::vector<Axis> axes = {{"micro", 1}, {"dp", size}};
      for (int i = 0; i < count; ++i) {
        ExpectSameAsWhole(call, *rule, {0, i}, axes, &random);
        ++executed[op_case.op];
      }
    }
    // Nested signatures behind the split that opens them.
    const std::vector<Axis> nested_axes = {{"micro", 2}, {"dp", 2}};
    for (int outer = 0; outer < count; ++outer) {
      for (int inner = 0; inner < static_cast<int>(rule->nested_signatures().size()); ++inner) {
        const std::vector<int> choice = {outer, count + inner};
        if (!rule->IsLegalChoice(choice, nested_axes)) continue;
        ExpectSameAsWhole(call, *rule, choice, nested_axes, &random);
      }
    }
  }
  for (const OpDef& op : Ops()) {
    if (op.structural || op.name == "constant") continue;
    EXPECT_GE(executed[op.name], 2) << op.name;
  }
}

}  // namespace
}  // namespace oneflow
