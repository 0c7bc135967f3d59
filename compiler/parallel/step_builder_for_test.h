// StepBuilder: writes small training steps for the unit tests of decide and the passes.
//
// Owned by a test. Threads: one. A failure to build is a test's bug and CHECKs. Lines: each Op call
// takes the next line of "model.py", from 1, so that tests can look for the line of an error.
// Read next: compiler/parallel/decide_test.cc.
#ifndef ONEFLOW_COMPILER_PARALLEL_STEP_BUILDER_FOR_TEST_H_
#define ONEFLOW_COMPILER_PARALLEL_STEP_BUILDER_FOR_TEST_H_

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "compiler/graph/graph.h"
#include "compiler/passes/autodiff.h"
#include "plan/sharding_rule.h"
#include "plan/target.pb.h"

namespace oneflow {

// Nodes of an op.
inline int Count(const Graph& graph, const std::string& op) {
  int count = 0;
  for (NodeId id : graph.order()) count += graph.node(id).op == op ? 1 : 0;
  return count;
}

class StepBuilder {
 public:
  using Annotation = std::map<std::string, Sbp>;

  explicit StepBuilder(const std::string& name = "step") : graph(name) {}

  ValueId Input(const std::string& name, Shape shape, const std::string& dtype = "f32") {
    return Op("input", {},
              {{"name", AttrValue(name)},
               {"dtype", AttrValue(dtype)},
               {"shape", AttrValue(std::vector<int64_t>(shape))},
               {"kind", AttrValue(std::string("batch"))}});
  }
  ValueId Scalar(const std::string& name, const std::string& dtype = "f32") {
    return Op("input", {},
              {{"name", AttrValue(name)},
               {"dtype", AttrValue(dtype)},
               {"shape", AttrValue(std::vector<int64_t>())},
               {"kind", AttrValue(std::string("scalar"))}});
  }
  // A state without an optimizer.
  ValueId Buffer(const std::string& name, Shape shape, Annotation annotation = {}) {
    OF_CHECK(graph.AddState(name, {DType::kF32, std::move(shape)}, std::move(annotation)).ok())
        << name;
    return Op("state_read", {}, {{"name", AttrValue(name)}});
  }
  ValueId Parameter(const std::string& name, Shape shape, Annotation annotation = {}) {
    const ValueId value = Buffer(name, std::move(shape), std::move(annotation));
    parameters.emplace_back(name, value);
    return value;
  }
  std::vector<ValueId> OpN(const std::string& op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    const LocationId location = graph.AddLocation({"model.py", ++line, "forward"});
    auto outputs = graph.AddNode(op, std::move(inputs), std::move(attrs), location, "", stage);
    OF_CHECK(outputs.ok()) << MessageOf(outputs.status());
    return *outputs;
  }
  ValueId Op(const std::string& op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    const std::vector<ValueId> outputs = OpN(op, std::move(inputs), std::move(attrs));
    return outputs.empty() ? -1 : outputs[0];
  }
  ValueId Linear(ValueId x, ValueId w) {
    return Op("matmul", {x, w},
              {{"transpose_a", AttrValue(false)}, {"transpose_b", AttrValue(false)}});
  }
  // The mean over all elements.
  ValueId Mean(ValueId x) {
    const Shape shape = graph.value(x).type.shape;
    std::vector<int64_t> dims;
    for (size_t d = 0; d < shape.size(); ++d) dims.push_back(static_cast<int64_t>(d));
    const ValueId sum = Op("sum", {x}, {{"dims", AttrValue(dims)}, {"keepdim", AttrValue(false)}});
    return Op("mul_scalar", {sum},
              {{"value", AttrValue(1.0 / static_cast<double>(NumElements(shape)))}});
  }
  ValueId Permute(ValueId x, std::vector<int64_t> dims) {
    return Op("permute", {x}, {{"dims", AttrValue(std::move(dims))}});
  }
  // As F.conv2d of an NCHW tensor traces: permute, conv2d on NHWC, permute.
  ValueId Conv(ValueId x, ValueId w, int64_t stride = 1) {
    const int64_t padding = graph.value(w).type.shape[2] / 2;
    const ValueId y = Op("conv2d", {Permute(x, {0, 2, 3, 1}), w},
                         {{"stride", AttrValue(std::vector<int64_t>{stride, stride})},
                          {"padding", AttrValue(std::vector<int64_t>{padding, padding})}});
    return Permute(y, {0, 3, 1, 2});
  }
  // As F.batch_norm of an NCHW tensor in training traces, running mean included.
  ValueId BatchNorm(ValueId x_nchw, const std::string& name, int64_t groups = 1) {
    const ValueId x = Permute(x_nchw, {0, 2, 3, 1});
    const Shape shape = graph.value(x).type.shape;
    const ValueId weight = Parameter(name + ".weight", {shape[3]});
    const ValueId bias = Parameter(name + ".bias", {shape[3]});
    const ValueId running = Buffer(name + ".running_mean", {shape[3]});
    const int64_t count = shape[0] / groups * shape[1] * shape[2];
    const AttrValue part(1.0 / static_cast<double>(count));
    const Attrs group{{"groups", AttrValue(groups)}};
    const std::vector<ValueId> samples = OpN("bn_sample_sums", {x}, {});
    const ValueId mean = Op("mul_scalar", {Op("bn_sum", {samples[0]}, group)}, {{"value", part}});
    const ValueId squares =
        Op("bn_join_squares", {samples[0], samples[1], mean},
           {{"groups", AttrValue(groups)}, {"count", AttrValue(shape[1] * shape[2])}});
    const ValueId variance = Op("mul_scalar", {squares}, {{"value", part}});
    const ValueId rstd = Op("rsqrt", {Op("add_scalar", {variance}, {{"value", AttrValue(1e-5)}})});
    const ValueId y = Op("bn_apply", {x, mean, rstd, weight, bias},
                         {{"groups", AttrValue(groups)}, {"count", AttrValue(count)}});
    const ValueId updated = Op("running_update", {running, mean},
                               {{"momentum", AttrValue(0.1)}, {"steps", AttrValue(groups)}});
    Op("state_write", {updated}, {{"name", AttrValue(name + ".running_mean")}});
    return Permute(y, {0, 3, 1, 2});
  }
  // The mean loss of a classifier on [n, classes].
  ValueId CrossEntropy(ValueId logits, ValueId labels) {
    return Mean(OpN("cross_entropy", {logits, labels})[0]);
  }
  void Output(const std::string& name, ValueId value) {
    Op("output", {value}, {{"name", AttrValue(name)}});
  }
  // Gradients of all parameters, SGD with momentum, and the loss as an output.
  void Train(ValueId loss) {
    stage.reset();
    Output("loss", loss);
    std::vector<ValueId> wrt;
    for (const auto& [name, value] : parameters) wrt.push_back(value);
    const auto gradients = AddGradients(&graph, loss, wrt);
    OF_CHECK(gradients.ok()) << MessageOf(gradients.status());
    const ValueId lr = Scalar("lr.0");
    const ValueId step = Scalar("step", "i64");
    for (size_t i = 0; i < parameters.size(); ++i) {
      const auto& [name, value] = parameters[i];
      const ValueId momentum = Buffer(name + ".momentum", graph.value(value).type.shape);
      const std::vector<ValueId> updated =
          OpN("sgd_update", {value, (*gradients)[i], lr, step, momentum},
              {{"momentum", AttrValue(0.9)}});
      Op("state_write", {updated[0]}, {{"name", AttrValue(name)}});
      Op("state_write", {updated[1]}, {{"name", AttrValue(name + ".momentum")}});
    }
  }

  Graph graph;
  std::optional<int> stage;
  int line = 0;
  std::vector<std::pair<std::string, ValueId>> parameters;
};

// x - conv - bn - relu - conv - bn - add x - relu - mean over pixels - linear - loss, on 8x8
// images.
inline StepBuilder ResidualNet(int64_t batch, int64_t groups = 1, bool stages = false) {
  StepBuilder b;
  const ValueId images = b.Input("images", {batch, 1, 8, 8});
  const ValueId labels = b.Input("labels", {batch}, "i64");
  if (stages) b.stage = 0;
  const ValueId stem = b.Op(
      "relu",
      {b.BatchNorm(b.Conv(images, b.Parameter("stem.weight", {16, 1, 3, 3})), "stem.bn", groups)});
  const ValueId first =
      b.Op("relu",
           {b.BatchNorm(b.Conv(stem, b.Parameter("conv1.weight", {16, 16, 3, 3})), "bn1", groups)});
  if (stages) b.stage = 1;
  const ValueId second =
      b.BatchNorm(b.Conv(first, b.Parameter("conv2.weight", {16, 16, 3, 3})), "bn2", groups);
  const ValueId out = b.Op("relu", {b.Op("add", {second, stem})});
  const ValueId pooled =
      b.Op("mul_scalar",
           {b.Op("sum", {out},
                 {{"dims", AttrValue(std::vector<int64_t>{2, 3})}, {"keepdim", AttrValue(false)}})},
           {{"value", AttrValue(1.0 / 64)}});
  const ValueId logits = b.Op(
      "add", {b.Linear(pooled, b.Parameter("fc.weight", {16, 10})), b.Parameter("fc.bias", {10})});
  b.Train(b.CrossEntropy(logits, labels));
  return b;
}

// "dp:2 tp:2" over the first devices.
inline Mesh MeshOf(std::vector<Axis> axes) {
  Mesh mesh;
  int64_t devices = 1;
  for (const Axis& axis : axes) devices *= axis.size;
  mesh.axes = std::move(axes);
  for (int64_t i = 0; i < devices; ++i) mesh.devices.push_back(static_cast<int>(i));
  return mesh;
}

// The next level outwards.
inline void AddLink(const std::string& name, int group, int64_t latency_ns, int64_t bytes_per_us,
                    plan::Target* target) {
  plan::Link* link = target->add_links();
  link->set_name(name);
  link->set_group(static_cast<uint32_t>(group));
  link->set_latency_ns(latency_ns);
  link->set_bytes_per_us(bytes_per_us);
}

// CPU devices, `per_rank` of them in each process: 50 GFLOP/s, 10 GB/s memory, 4 GB/s between
// devices.
inline plan::Target CpuTarget(int devices, int per_rank) {
  plan::Target target;
  target.set_name("test");
  for (int i = 0; i < devices; ++i) {
    plan::TargetDevice* device = target.add_devices();
    device->set_kind("cpu");
    device->set_rank(static_cast<uint32_t>(i / per_rank));
    device->set_threads(1);
    device->set_flops_per_us(50'000);
    device->set_bytes_per_us(10'000);
  }
  AddLink("memory", 1, 500, 10'000, &target);
  AddLink("process", per_rank, 2'000, 4'000, &target);
  target.mutable_links(1)->set_of_processes(true);
  AddLink("network", 0, 20'000, 1'500, &target);
  target.set_cores(devices);
  target.set_task_overhead_ns(1'000);
  return target;
}

// "dp: S(0),B->S(0)" of one node on one layout axis.
inline std::string LayoutOn(const Graph& graph, const NodeShardings& shardings, NodeId id,
                            size_t axis) {
  std::string text = graph.node(id).op + " ";
  for (size_t i = 0; i < shardings.inputs.size(); ++i) {
    text += (i > 0 ? "," : "") + shardings.inputs[i].sbps[axis].ToString();
  }
  text += "->";
  for (size_t i = 0; i < shardings.outputs.size(); ++i) {
    text += (i > 0 ? "," : "") + shardings.outputs[i].sbps[axis].ToString();
  }
  return text;
}

// Gradient nodes whose forward node was removed, "relu_grad of a removed relu": a pass leaves none.
inline std::vector<std::string> StrayGradients(const Graph& graph) {
  std::vector<std::string> stray;
  for (const NodeId id : graph.order()) {
    const NodeId forward = graph.node(id).forward;
    if (forward >= 0 && graph.node(forward).removed) {
      stray.push_back(graph.node(id).op + " of a removed " + graph.node(forward).op);
    }
  }
  return stray;
}

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_STEP_BUILDER_FOR_TEST_H_
