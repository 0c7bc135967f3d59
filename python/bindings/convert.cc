#include "python/bindings/convert.h"

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/stl.h>

#include <cstring>

#include "base/status.h"
#include "compiler/ops/op_def.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

[[noreturn]] void Fail(ErrorKind kind, const std::string& message) {
  throw StatusError(MakeError(kind, message));
}

// bfloat16 is ml_dtypes', known to NumPy once that is imported.
py::dtype Bfloat16() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::dtype> storage;
  return storage
      .call_once_and_store_result(
          [] { return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16")); })
      .get_stored();
}

constexpr int kNumpyHalf = 23;  // NPY_HALF, for which pybind11 has no name

DType DTypeOf(const py::array& array) {
  const py::dtype dtype = array.dtype();
  const char kind = dtype.kind();
  const auto size = dtype.itemsize();
  if (kind == 'f' && size == 8) return DType::kF64;
  if (kind == 'f' && size == 4) return DType::kF32;
  if (kind == 'f' && size == 2) return DType::kF16;
  if (kind == 'i' && size == 8) return DType::kI64;
  if (kind == 'i' && size == 4) return DType::kI32;
  if (kind == 'i' && size == 2) return DType::kI16;
  if (kind == 'i' && size == 1) return DType::kI8;
  if (kind == 'u' && size == 1) return DType::kU8;
  if (kind == 'b') return DType::kBool;
  if (size == 2 && dtype.equal(Bfloat16())) return DType::kBF16;
  Fail(ErrorKind::kDType,
       "NumPy dtype " + py::str(static_cast<py::object>(dtype)).cast<std::string>() +
           " has no counterpart; convert with .astype(numpy.float32) or numpy.int64");
}

py::dtype NumpyType(DType dtype) {
  using Api = py::detail::npy_api;
  switch (dtype) {
    case DType::kF64:
      return py::dtype(Api::NPY_DOUBLE_);
    case DType::kF32:
      return py::dtype(Api::NPY_FLOAT_);
    case DType::kBF16:
      return Bfloat16();
    case DType::kF16:
      return py::dtype(kNumpyHalf);
    case DType::kI64:
      return py::dtype(Api::NPY_INT64_);
    case DType::kI32:
      return py::dtype(Api::NPY_INT32_);
    case DType::kI16:
      return py::dtype(Api::NPY_INT16_);
    case DType::kI8:
      return py::dtype(Api::NPY_INT8_);
    case DType::kU8:
      return py::dtype(Api::NPY_UINT8_);
    case DType::kBool:
      return py::dtype(Api::NPY_BOOL_);
    case DType::kInvalid:
      break;
  }
  Fail(ErrorKind::kDType, "a tensor without a dtype cannot become an array");
}

Shape ShapeOf(const py::array& array) { return Shape(array.shape(), array.shape() + array.ndim()); }

template <typename T>
std::vector<T> ToList(const py::handle& value) {
  std::vector<T> list;
  for (py::handle item : py::reinterpret_borrow<py::iterable>(value))
    list.push_back(item.cast<T>());
  return list;
}

AttrValue ToAttrValue(const std::string& kind, const py::handle& value) {
  if (kind == "int") return value.cast<int64_t>();
  if (kind == "float") return value.cast<double>();
  if (kind == "bool") return value.cast<bool>();
  if (kind == "ints") return ToList<int64_t>(value);
  if (kind == "floats") return ToList<double>(value);
  if (kind == "strings") return ToList<std::string>(value);
  return value.cast<std::string>();
}

}  // namespace

DType DTypeFromName(const std::string& name) {
  std::optional<DType> dtype = ParseDType(name);
  if (!dtype) Fail(ErrorKind::kDType, "unknown dtype \"" + name + "\"");
  return *dtype;
}

py::array Contiguous(const py::array& array) {
  if ((array.flags() & py::array::c_style) != 0) return array;
  return py::module_::import("numpy").attr("ascontiguousarray")(array).cast<py::array>();
}

HostTensor LendArray(const py::array& dense) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(dense.data()));
  // Without a block that counts.
  const std::shared_ptr<std::byte> nobody;
  return {DTypeOf(dense), ShapeOf(dense), std::shared_ptr<std::byte>(nobody, bytes)};
}

HostTensor BorrowArray(const py::array& array, const std::string& dtype) {
  const py::array dense = Contiguous(array);
  HostTensor tensor;
  tensor.dtype = dtype.empty() ? DTypeOf(dense) : DTypeFromName(dtype);
  tensor.shape = ShapeOf(dense);
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(dense.data()));
  PyObject* owner = dense.ptr();
  Py_INCREF(owner);
  tensor.data = std::shared_ptr<std::byte>(bytes, [owner](std::byte*) {
    py::gil_scoped_acquire gil;
    Py_DECREF(owner);
  });
  return tensor;
}

HostTensor CopyArray(const py::array& array, const std::string& dtype) {
  const py::array dense = Contiguous(array);
  HostTensor tensor =
      HostTensor::Allocate(dtype.empty() ? DTypeOf(dense) : DTypeFromName(dtype), ShapeOf(dense));
  if (tensor.bytes() > 0) std::memcpy(tensor.data.get(), dense.data(), tensor.bytes());
  return tensor;
}

py::array ToArray(const HostTensor& tensor) {
  auto* owner = new std::shared_ptr<std::byte>(tensor.data);
  return ToArray(tensor, py::capsule(owner, [](void* pointer) {
                   delete static_cast<std::shared_ptr<std::byte>*>(pointer);
                 }));
}

py::array ToArray(const HostTensor& tensor, const py::object& owner) {
  const std::vector<py::ssize_t> shape(tensor.shape.begin(), tensor.shape.end());
  return py::array(NumpyType(tensor.dtype), shape, tensor.data.get(), owner);
}

Location ToLocation(const py::object& value) {
  if (value.is_none()) return {};
  auto parts = value.cast<py::tuple>();
  return {parts[0].cast<std::string>(), parts[1].cast<int>(), parts[2].cast<std::string>()};
}

Attrs ToAttrs(const OpDef& op, const py::dict& values) {
  Attrs attrs;
  for (const auto& [key, value] : values) {
    const auto name = key.cast<std::string>();
    const AttrDef* def = nullptr;
    for (const AttrDef& candidate : op.attrs) {
      if (candidate.name == name) def = &candidate;
    }
    if (def == nullptr) Fail(ErrorKind::kError, op.name + " has no attribute \"" + name + "\"");
    attrs.Set(name, ToAttrValue(def->kind, value));
  }
  return attrs;
}

py::object FromAttrValue(const AttrValue& value) {
  return std::visit([](const auto& item) -> py::object { return py::cast(item); }, value);
}

py::dict FromAttrs(const Attrs& attrs) {
  py::dict result;
  for (const auto& [name, value] : attrs.values()) result[py::str(name)] = FromAttrValue(value);
  return result;
}

std::map<std::string, Sbp> ToAnnotation(const std::map<std::string, std::string>& values) {
  std::map<std::string, Sbp> annotation;
  for (const auto& [axis, text] : values) annotation[axis] = ValueOrThrow(Sbp::Parse(text));
  return annotation;
}

Mesh ToMesh(const std::vector<std::pair<std::string, int64_t>>& axes,
            const std::vector<int>& devices) {
  Mesh mesh;
  for (const auto& [name, size] : axes) mesh.axes.push_back({name, size});
  mesh.devices = devices;
  return mesh;
}

}  // namespace oneflow::python
