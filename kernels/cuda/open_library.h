// OpenLibrary and Resolve: NVIDIA's libraries (cuBLASLt, cuDNN, NCCL) are opened by name, so that the package links none
// of them and whatever copy is there will do.
//
// Functions of the host. Threads: any. What is opened stays open. Read next: kernels/cuda/matmul.cu,
// kernels/cuda/nccl.cu.
#ifndef ONEFLOW_KERNELS_CUDA_OPEN_LIBRARY_H_
#define ONEFLOW_KERNELS_CUDA_OPEN_LIBRARY_H_

#include <dlfcn.h>

#include <mutex>

namespace oneflow::kernels {

// The file at `path` if that is not empty, else, or where it cannot be opened, what the loader finds as `name`;
// nullptr: neither, and dlerror() says why.
inline void* OpenLibrary(const char* path, const char* name) {
  void* opened = *path != 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  return opened != nullptr ? opened : dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

// False if the library has no such function.
template <typename F>
bool Resolve(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  return *function != nullptr;
}

// The process's only Library, filled by kOpen(path, &library) at the first call, whose path it is.
template <typename Library, void (*kOpen)(const char*, Library*)>
const Library& OpenedOnce(const char* path) {
  static Library library;
  static std::once_flag once;
  std::call_once(once, [path] { kOpen(path, &library); });
  return library;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_OPEN_LIBRARY_H_
