// Conversions between Python and C++ values: NumPy arrays <-> HostTensor, dicts <-> Attrs, tuples
// -> Location.
//
// Functions. Threads: the GIL is held. bf16 travels as uint16 (NumPy has no bfloat16), with the
// dtype named beside it. Read next: python/bindings/errors.h.
#ifndef ONEFLOW_PYTHON_BINDINGS_CONVERT_H_
#define ONEFLOW_PYTHON_BINDINGS_CONVERT_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <map>
#include <string>

#include "base/host_tensor.h"
#include "base/location.h"
#include "plan/attrs.h"
#include "plan/sharding.h"

namespace oneflow {
class OpDef;
}

namespace oneflow::python {

// Shares the array's memory when it is C-contiguous. The tensor keeps the array and may die on any
// thread, but not under a lock that a thread with the GIL waits for. Throws DTypeError for an element
// type that we do not have.
HostTensor BorrowArray(const pybind11::array& array, const std::string& dtype = "");
// The same of a C-contiguous array that outlives the tensor, which keeps nothing.
HostTensor LendArray(const pybind11::array& dense);
// The array itself, or a C-contiguous copy.
pybind11::array Contiguous(const pybind11::array& array);
// A tensor with bytes of its own, free to go to other threads.
HostTensor CopyArray(const pybind11::array& array, const std::string& dtype = "");
// An array that keeps the tensor's bytes alive, or `owner`, which holds them; no copy.
pybind11::array ToArray(const HostTensor& tensor);
pybind11::array ToArray(const HostTensor& tensor, const pybind11::object& owner);

DType DTypeFromName(const std::string& name);

// (file, line, function) or None.
Location ToLocation(const pybind11::object& value);

// Attributes for an op of the table: Python values become the kinds that the schema asks for.
Attrs ToAttrs(const OpDef& op, const pybind11::dict& values);
pybind11::dict FromAttrs(const Attrs& attrs);
pybind11::object FromAttrValue(const AttrValue& value);

// {"tp": "S(0)"} -> Sbps.
std::map<std::string, Sbp> ToAnnotation(const std::map<std::string, std::string>& values);

// [("dp", 2), ("tp", 2)] and the global device ids, row-major.
Mesh ToMesh(const std::vector<std::pair<std::string, int64_t>>& axes,
            const std::vector<int>& devices);

}  // namespace oneflow::python

#endif  // ONEFLOW_PYTHON_BINDINGS_CONVERT_H_
