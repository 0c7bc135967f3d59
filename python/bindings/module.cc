// oneflow._core: the compiler, the interpreter and the runtime as the package sees them.
#include "python/bindings/bindings.h"
#include "python/bindings/errors.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "C++ core of oneflow; the package oneflow is its public face.";
  oneflow::python::BindErrors(module);
  oneflow::python::BindGraph(module);
  oneflow::python::BindOps(module);
  oneflow::python::BindPlan(module);
  oneflow::python::BindCompile(module);
  oneflow::python::BindTransport(module);
  oneflow::python::BindSession(module);
  oneflow::python::BindRandom(module);
  oneflow::python::BindChecksums(module);
}
