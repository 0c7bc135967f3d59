#include "python/bindings/errors.h"

#include "base/status.h"
#include "comm/blame.h"

namespace oneflow::python {
namespace py = pybind11;

StatusError::StatusError(absl::Status status)
    : status_(std::move(status)), message_(MessageOf(status_)) {}

namespace {

void RaisePython(const StatusError& error) {
  const absl::Status& status = error.status();
  py::object location = py::none();
  if (std::optional<Location> place = LocationOf(status); place && place->known()) {
    location = py::make_tuple(place->file, place->line, place->function);
  }
  py::object rank = py::none();
  if (const std::optional<int> blamed = comm::BlamedRank(status)) rank = py::int_(*blamed);
  py::object exception =
      py::module_::import("oneflow.errors")
          .attr("make_error")(static_cast<int>(KindOf(status)), error.what(), location, rank);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
}

}  // namespace

void BindErrors(py::module_& /*module*/) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const StatusError& error) {
      try {
        RaisePython(error);
      } catch (py::error_already_set& failure) {
        failure.restore();
      }
    }
  });
}

}  // namespace oneflow::python
