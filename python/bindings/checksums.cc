// CRC32C of bytes that Python holds: of a whole buffer, or of its pieces of equal size.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/crc32c.h"
#include "python/bindings/bindings.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

// The bytes of a contiguous buffer; the caller keeps the info, and with it the memory.
struct Bytes {
  const char* data;
  size_t count;
};

Bytes BytesOf(const py::buffer_info& info) {
  if (info.ndim != 1 || (info.size > 1 && info.strides[0] != info.itemsize)) {
    throw py::value_error("a checksum takes contiguous bytes: a buffer of one dim");
  }
  return {static_cast<const char*>(info.ptr), static_cast<size_t>(info.size * info.itemsize)};
}

uint32_t Checksum(const py::buffer& buffer, uint32_t crc) {
  const py::buffer_info info = buffer.request();
  const Bytes bytes = BytesOf(info);
  py::gil_scoped_release release;
  return ExtendCrc32c(crc, bytes.data, bytes.count);
}

std::vector<uint32_t> Checksums(const py::buffer& buffer, size_t piece) {
  if (piece == 0) throw py::value_error("pieces of 0 bytes have no end");
  const py::buffer_info info = buffer.request();
  const Bytes bytes = BytesOf(info);
  std::vector<uint32_t> result;
  py::gil_scoped_release release;
  for (size_t begin = 0; begin < bytes.count; begin += piece) {
    result.push_back(Crc32c(bytes.data + begin, std::min(piece, bytes.count - begin)));
  }
  return result;
}

}  // namespace

void BindChecksums(py::module_& module) {
  module.def("crc32c", &Checksum, py::arg("bytes"), py::arg("crc") = 0,
             "The CRC32C of what `crc` covers followed by these bytes.");
  module.def("crc32c_pieces", &Checksums, py::arg("bytes"), py::arg("piece"),
             "The CRC32C of each piece of so many bytes; the last one may be shorter.");
}

}  // namespace oneflow::python
