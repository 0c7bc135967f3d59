// First values of states, a function of (seed, key) and the logical element index.
#include "base/random.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "base/status.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

using Fill = void (*)(const RandomStream&, const RandomSlice&, double, double, float*);

template <Fill fill>
py::array Values(uint64_t seed, uint64_t key, const Shape& shape, double a, double b) {
  if (!CheckedNumElements(shape)) {
    throw StatusError(
        MakeError(ErrorKind::kShape, "shape " + ToString(shape) + " is not possible"));
  }
  const HostTensor tensor = HostTensor::Allocate(DType::kF32, shape);
  {
    py::gil_scoped_release release;
    fill({seed, key}, {shape, Shape(shape.size(), 0), shape}, a, b,
         reinterpret_cast<float*>(tensor.data.get()));
  }
  return ToArray(tensor);
}

}  // namespace

void BindRandom(py::module_& module) {
  module.def("philox_uniform", &Values<FillUniform>, py::arg("seed"), py::arg("key"),
             py::arg("shape"), py::arg("low"), py::arg("high"),
             "f32 values, uniform on [low, high).");
  module.def("philox_normal", &Values<FillNormal>, py::arg("seed"), py::arg("key"),
             py::arg("shape"), py::arg("mean"), py::arg("std"), "f32 values, normal.");
}

}  // namespace oneflow::python
