// First values of states: Philox4x32-10 keyed by (seed, key), counted by the logical element index.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <numbers>

#include "base/status.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

using Counter = std::array<uint32_t, 4>;

// Ten rounds of Philox4x32 (Salmon et al., SC 2011).
Counter Philox(Counter counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// Four random words for elements 4 * block .. 4 * block + 3. The key words are the seed; the key is
// half of the counter.
Counter Words(uint64_t seed, uint64_t key, uint64_t block) {
  return Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                 static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)},
                static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// 24 bits, so that every value is an f32 and 1 is never reached.
float Unit(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24F; }

HostTensor NewTensor(const Shape& shape) {
  if (!CheckedNumElements(shape)) {
    throw StatusError(
        MakeError(ErrorKind::kShape, "shape " + ToString(shape) + " is not possible"));
  }
  return HostTensor::Allocate(DType::kF32, shape);
}

py::array Uniform(uint64_t seed, uint64_t key, const Shape& shape, double low, double high) {
  const HostTensor tensor = NewTensor(shape);
  auto* values = reinterpret_cast<float*>(tensor.data.get());
  const int64_t count = NumElements(shape);
  const auto scale = static_cast<float>(high - low);
  const auto offset = static_cast<float>(low);
  for (int64_t begin = 0; begin < count; begin += 4) {
    const Counter words = Words(seed, key, static_cast<uint64_t>(begin / 4));
    for (int64_t i = 0; i < 4 && begin + i < count; ++i) {
      values[begin + i] = Unit(words[static_cast<size_t>(i)]) * scale + offset;
    }
  }
  return ToArray(tensor);
}

// Box and Muller: two words give two values.
py::array Normal(uint64_t seed, uint64_t key, const Shape& shape, double mean, double deviation) {
  const HostTensor tensor = NewTensor(shape);
  auto* values = reinterpret_cast<float*>(tensor.data.get());
  const int64_t count = NumElements(shape);
  for (int64_t begin = 0; begin < count; begin += 4) {
    const Counter words = Words(seed, key, static_cast<uint64_t>(begin / 4));
    for (int64_t i = 0; i < 4 && begin + i < count; ++i) {
      const auto pair = static_cast<size_t>(i / 2) * 2;
      const double radius =
          std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(Unit(words[pair]))));
      const double angle = 2.0 * std::numbers::pi * static_cast<double>(Unit(words[pair + 1]));
      const double value = radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
      values[begin + i] = static_cast<float>(mean + deviation * value);
    }
  }
  return ToArray(tensor);
}

}  // namespace

void BindRandom(py::module_& module) {
  module.def("philox_uniform", &Uniform, py::arg("seed"), py::arg("key"), py::arg("shape"),
             py::arg("low"), py::arg("high"), "f32 values, uniform on [low, high).");
  module.def("philox_normal", &Normal, py::arg("seed"), py::arg("key"), py::arg("shape"),
             py::arg("mean"), py::arg("std"), "f32 values, normal.");
}

}  // namespace oneflow::python
