// The ranks of a job: connect and exchange small values.
#include "python/bindings/transport.h"

#include <pybind11/stl.h>

#include <chrono>
#include <optional>

#include "base/status.h"
#include "comm/rendezvous.h"
#include "python/bindings/bindings.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;

namespace {

comm::PathChoice PathOf(const std::string& name) {
  using comm::PathChoice;
  for (PathChoice choice :
       {PathChoice::kTcp, PathChoice::kAuto, PathChoice::kShared, PathChoice::kRdma}) {
    if (name == comm::NameOf(choice)) return choice;
  }
  throw py::value_error("no such path between ranks: " + name);
}

}  // namespace

void BindTransport(py::module_& module) {
  py::class_<TransportHandle, std::shared_ptr<TransportHandle>>(module, "Transport")
      .def_property_readonly("rank",
                             [](const TransportHandle& handle) { return handle.transport->rank(); })
      .def_property_readonly(
          "world_size",
          [](const TransportHandle& handle) { return handle.transport->world_size(); })
      .def("all_gather",
           [](TransportHandle& handle, const py::bytes& value) {
             const std::string bytes = value;
             absl::StatusOr<std::vector<std::string>> gathered;
             {
               py::gil_scoped_release release;
               gathered = handle.transport->AllGather(bytes);
             }
             py::list result;
             for (const std::string& item : ValueOrThrow(std::move(gathered))) {
               result.append(py::bytes(item));
             }
             return result;
           })
      .def("abort",
           [](TransportHandle& handle, const std::string& cause) {
             py::gil_scoped_release release;
             handle.transport->Abort(MakeError(ErrorKind::kError, cause));
           })
      .def("ask_to_stop",
           [](TransportHandle& handle) {
             py::gil_scoped_release release;
             handle.transport->AskToStop();
           })
      .def("pass_boundary",
           [](TransportHandle& handle, double seconds) -> std::optional<bool> {
             const auto limit = std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds));
             py::gil_scoped_release release;
             const comm::Boundary boundary = handle.transport->PassBoundary(limit);
             if (boundary == comm::Boundary::kNotDecided) return std::nullopt;
             return boundary == comm::Boundary::kStop;
           })
      .def_property_readonly(
          "paths", [](const TransportHandle& handle) { return handle.transport->paths(); })
      .def_property_readonly(
          "bytes_received",
          [](const TransportHandle& handle) { return handle.transport->bytes_received(); })
      .def_property_readonly("bytes_sent", [](const TransportHandle& handle) {
        return handle.transport->bytes_sent();
      });

  module.def(
      "connect",
      [](int rank, int world_size, const std::string& address, const py::bytes& secret,
         const std::string& job, uint64_t epoch, int listener, double timeout_seconds,
         double collective_seconds, const std::string& path) {
        comm::RendezvousOptions options;
        options.rank = rank;
        options.world_size = world_size;
        options.address = address;
        options.secret = secret;
        options.job = job;
        options.epoch = epoch;
        options.listener = listener;
        options.timeout_seconds = timeout_seconds;
        options.collective_seconds = collective_seconds;
        const size_t colon = path.find(':');
        options.path = PathOf(path.substr(0, colon));
        if (colon != std::string::npos) options.rdma.device = path.substr(colon + 1);
        auto handle = std::make_shared<TransportHandle>();
        {
          py::gil_scoped_release release;
          handle->transport = ValueOrThrow(comm::Connect(options));
        }
        return handle;
      },
      py::arg("rank"), py::arg("world_size"), py::arg("address"), py::arg("secret"), py::arg("job"),
      py::arg("epoch"), py::arg("listener"), py::arg("timeout_seconds"),
      py::arg("collective_seconds"), py::arg("path"),
      "Finds the other ranks of the job; blocks until all are there.");
}

}  // namespace oneflow::python
