// Session and virtual-time runs for Python. Every call that waits releases the GIL.
#include "runtime/session.h"

#include <pybind11/stl.h>

#include "base/status.h"
#include "compiler/ops/rule_of_task.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/algorithm_choices.h"
#include "kernels/cuda/cuda_kernels.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"
#include "python/bindings/transport.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

// A session and the transport that it borrows. The destructor stops threads: without the GIL.
class PySession {
 public:
  PySession(std::shared_ptr<TransportHandle> transport, double watchdog_seconds,
            double peer_seconds, const std::string& trace_path, const std::string& cuda_library,
            const std::string& cublaslt, bool cuda_graphs, std::vector<int> cuda_placement,
            const std::string& nccl, const std::string& cudnn, bool measures,
            const std::string& algorithms)
      : transport_(std::move(transport)) {
    SessionOptions options;
    options.cpu_kernels = &kernels::CpuKernels();
    if (!cuda_library.empty()) {
      options.cuda = ValueOrThrow(kernels::OpenCuda(cuda_library, cublaslt, nccl, cudnn));
      if (measures) kernels::AlgorithmChoices::OfProcess().Measure(algorithms);
    }
    options.cuda_graphs = cuda_graphs;
    options.cuda_placement = std::move(cuda_placement);
    options.transport = transport_ ? transport_->transport.get() : nullptr;
    options.watchdog_seconds = watchdog_seconds;
    options.peer_seconds = peer_seconds;
    options.trace_path = trace_path;
    options.rules = RuleOfTask;
    session_ = ValueOrThrow(Session::Create(options));
  }
  ~PySession() { Close(); }
  PySession(const PySession&) = delete;
  PySession& operator=(const PySession&) = delete;

  void Close() {
    if (!session_) return;
    py::gil_scoped_release release;
    session_.reset();
  }

  bool is_open() const { return session_ != nullptr; }

  Session& get() {
    if (!session_) throw StatusError(MakeError(ErrorKind::kError, "the session is closed"));
    return *session_;
  }

 private:
  std::shared_ptr<TransportHandle> transport_;
  std::unique_ptr<Session> session_;
};

PlanId Load(PySession& self, const plan::Plan& plan) {
  Session& session = self.get();
  py::gil_scoped_release release;
  return ValueOrThrow(session.Load(plan));
}

void WriteState(PySession& self, const std::string& name, const py::array& value,
                const std::string& dtype) {
  Session& session = self.get();
  const HostTensor tensor = BorrowArray(value, dtype);
  py::gil_scoped_release release;
  ThrowIfError(session.WriteState(name, tensor));
}

py::array ReadState(PySession& self, const std::string& name) {
  Session& session = self.get();
  HostTensor tensor;
  {
    py::gil_scoped_release release;
    tensor = ValueOrThrow(session.ReadState(name));
  }
  return ToArray(tensor);
}

void Unload(PySession& self, PlanId plan) {
  Session& session = self.get();
  py::gil_scoped_release release;
  ThrowIfError(session.Unload(plan));
}

void DropState(PySession& self, const std::string& name) {
  Session& session = self.get();
  py::gil_scoped_release release;
  ThrowIfError(session.DropState(name));
}

// The caller may reuse its arrays as soon as this returns (runtime/session.h).
InvocationId Launch(PySession& self, PlanId plan, const std::vector<py::array>& inputs) {
  Session& session = self.get();
  std::vector<HostTensor> tensors;
  for (const py::array& input : inputs) tensors.push_back(BorrowArray(input));
  py::gil_scoped_release release;
  return ValueOrThrow(session.Launch(plan, tensors));  // which die with the GIL held
}

std::vector<py::array> Fetch(PySession& self, InvocationId invocation) {
  Session& session = self.get();
  std::vector<HostTensor> outputs;
  {
    py::gil_scoped_release release;
    outputs = ValueOrThrow(session.Fetch(invocation));
  }
  std::vector<py::array> arrays;
  for (const HostTensor& output : outputs) arrays.push_back(ToArray(output));
  return arrays;
}

void Discard(PySession& self, InvocationId invocation) {
  if (self.is_open()) self.get().Discard(invocation);
}

void Wait(PySession& self) {
  Session& session = self.get();
  py::gil_scoped_release release;
  ThrowIfError(session.Wait());
}

py::list Counters(PySession& self) {
  py::list result;
  for (const DeviceCounters& counters : self.get().Counters()) {
    py::dict item;
    item["device"] = counters.device;
    if (counters.gpu >= 0) item["gpu"] = counters.gpu;
    item["flops"] = counters.flops;
    item["received_bytes"] = counters.received_bytes;
    item["state_bytes"] = counters.state_bytes;
    item["arena_bytes"] = counters.arena_bytes;
    item["firings"] = counters.firings;
    item["busy_ns"] = counters.busy_ns;
    result.append(item);
  }
  return result;
}

py::dict Holdings(PySession& self) {
  const Session::Holdings holdings = self.get().holdings();
  py::dict result;
  result["plans"] = holdings.plans;
  result["states"] = holdings.states;
  result["message_room"] = holdings.message_room;
  result["channels"] = holdings.channels;
  result["fetch_rings"] = holdings.fetch_rings;
  result["rings_in_place"] = holdings.rings_in_place;
  result["rings_landing"] = holdings.rings_landing;
  result["staging_bytes"] = holdings.staging_bytes;
  return result;
}

// Plans of all ranks, verified and with their kernels made once, for many seeds.
class PyVirtualRuntime {
 public:
  PyVirtualRuntime(std::vector<plan::Plan> plans, bool with_kernels, bool verify)
      : plans_(std::move(plans)) {
    std::vector<const plan::Plan*> pointers;
    for (const plan::Plan& plan : plans_) pointers.push_back(&plan);
    VirtualRuntime::Setup setup;
    setup.cpu_kernels = with_kernels ? &kernels::CpuKernels() : nullptr;
    setup.verify = verify;
    setup.rules = RuleOfTask;
    py::gil_scoped_release release;
    runtime_ = ValueOrThrow(VirtualRuntime::Create(pointers, setup));
  }

  py::dict Run(const std::map<std::string, py::array>& states,
               const std::vector<std::vector<py::array>>& inputs, uint64_t seed, double jitter) {
    std::vector<std::pair<std::string, HostTensor>> values;
    for (const auto& [name, array] : states) values.emplace_back(name, CopyArray(array));
    std::vector<std::vector<HostTensor>> feeds;
    for (const std::vector<py::array>& step : inputs) {
      feeds.emplace_back();
      for (const py::array& input : step) feeds.back().push_back(CopyArray(input));
    }
    VirtualOptions options;
    options.seed = seed;
    options.jitter = jitter;
    options.steps = static_cast<int>(inputs.size());
    VirtualRun run;
    {
      py::gil_scoped_release release;
      run = ValueOrThrow(runtime_->Run(values, feeds, options));
    }
    py::list outputs;
    for (const std::vector<HostTensor>& step : run.outputs) {
      py::dict named;
      for (size_t i = 0; i < step.size(); ++i) {
        named[py::str(run.output_names[i])] = ToArray(step[i]);
      }
      outputs.append(named);
    }
    py::dict final_states;
    for (const auto& [name, tensor] : run.states) final_states[py::str(name)] = ToArray(tensor);
    py::dict result;
    result["outputs"] = outputs;
    result["states"] = final_states;
    result["event_order_hash"] = run.event_order_hash;
    result["virtual_ns"] = run.virtual_ns;
    result["firings"] = run.firings;
    return result;
  }

 private:
  std::vector<plan::Plan> plans_;
  std::unique_ptr<VirtualRuntime> runtime_;
};

}  // namespace

void BindSession(py::module_& module) {
  py::class_<PySession>(module, "Session", "Owns everything alive (runtime/session.h).")
      .def(py::init<std::shared_ptr<TransportHandle>, double, double, std::string, std::string,
                    std::string, bool, std::vector<int>, std::string, std::string, bool,
                    std::string>(),
           py::arg("transport"), py::arg("watchdog_seconds"), py::arg("peer_seconds"),
           py::arg("trace_path"), py::arg("cuda_library") = "", py::arg("cublaslt") = "",
           py::arg("cuda_graphs") = true, py::arg("cuda_placement") = std::vector<int>(),
           py::arg("nccl") = "", py::arg("cudnn") = "", py::arg("measures") = false,
           py::arg("algorithms") = "")
      .def("close", &PySession::Close)
      .def("load", &Load, py::arg("plan"))
      .def("unload", &Unload, py::arg("plan"))
      .def("drop_state", &DropState, py::arg("name"))
      .def("holdings", &Holdings)
      .def("write_state", &WriteState, py::arg("name"), py::arg("value"), py::arg("dtype") = "")
      .def("read_state", &ReadState, py::arg("name"))
      .def("has_state",
           [](PySession& self, const std::string& name) { return self.get().HasState(name); })
      .def("state_version",
           [](PySession& self, const std::string& name) { return self.get().StateVersion(name); })
      .def("launch", &Launch, py::arg("plan"), py::arg("inputs"))
      .def("fetch", &Fetch, py::arg("invocation"))
      .def("take_undone_from", [](PySession& self) { return self.get().TakeUndoneFrom(); })
      .def("discard", &Discard, py::arg("invocation"))
      .def("wait", &Wait)
      .def("counters", &Counters)
      .def("__str__", [](PySession& self) { return self.get().DebugString(); });
  py::class_<PyVirtualRuntime>(
      module, "VirtualRuntime",
      "The plans of all ranks in one thread, in virtual time (runtime/virtual_runtime.h).")
      .def(py::init<std::vector<plan::Plan>, bool, bool>(), py::arg("plans"),
           py::arg("with_kernels") = true, py::arg("verify") = true)
      .def("run", &PyVirtualRuntime::Run, py::arg("states"), py::arg("inputs"), py::arg("seed"),
           py::arg("jitter") = 1.0,
           "Runs len(inputs) steps from a seed; inputs[step][input]. Returns a dict: outputs (per "
           "step, by name), states, event_order_hash, virtual_ns, firings.");
}

}  // namespace oneflow::python
