// The functions that fill the module oneflow._core, one per file of this folder.
//
// Called once at import. Threads: the importing one, which holds the GIL. Read next: python/bindings/module.cc,
// docs/architecture.md.
#ifndef ONEFLOW_PYTHON_BINDINGS_BINDINGS_H_
#define ONEFLOW_PYTHON_BINDINGS_BINDINGS_H_

#include <pybind11/pybind11.h>

namespace oneflow::python {

void BindGraph(pybind11::module_& module);
void BindOps(pybind11::module_& module);
void BindPlan(pybind11::module_& module);
void BindCompile(pybind11::module_& module);
void BindTransport(pybind11::module_& module);
void BindSession(pybind11::module_& module);
void BindRandom(pybind11::module_& module);
void BindChecksums(pybind11::module_& module);

}  // namespace oneflow::python

#endif  // ONEFLOW_PYTHON_BINDINGS_BINDINGS_H_
