// libcuda.so.1 where there is no driver: it says that it is one of CUDA 13, takes code as if it loaded it, and has no
// device. With it cuDNN compiles the engines that it compiles at run time, and tells how they went
// (kernels/cuda/cudnn_graphs_main.cc); without it it has none of them.
//
// Built as a library of its own in a folder of its own, so that it hides no real driver. The functions are those that
// cuDNN 9.19 and 9.28 and NVRTC 13 look up; their arguments are C's, so what is not read is not declared. Threads: any.
#include <cstdint>
#include <cstring>

namespace {

constexpr int kDone = 0;
constexpr int kNoDriver = 34;  // CUDA_ERROR_STUB_LIBRARY
int code;                      // its place stands for all that is loaded

int Refuse() { return kNoDriver; }
int Take() { return kDone; }
int Load(void** loaded) {
  *loaded = &code;
  return kDone;
}
int TwoBlocks(int* blocks) {
  *blocks = 2;
  return kDone;
}

using Function = int (*)();
template <typename F>
Function As(F* function) {
  return reinterpret_cast<Function>(function);
}

}  // namespace

#define OF_DRIVER extern "C" __attribute__((visibility("default"))) int

OF_DRIVER cuInit(unsigned) { return kDone; }
OF_DRIVER cuDriverGetVersion(int* version) {
  *version = 13000;
  return kDone;
}
OF_DRIVER cuGetErrorString(int, const char** text) {
  *text = "there is no driver";
  return kDone;
}
OF_DRIVER cuGetErrorName(int, const char** text) { return cuGetErrorString(0, text); }

#define OF_LOADS(name) \
  OF_DRIVER name(void** loaded) { return Load(loaded); }
OF_LOADS(cuLibraryLoadData)
OF_LOADS(cuLibraryLoadFromFile)
OF_LOADS(cuLibraryGetKernel)
OF_LOADS(cuKernelGetFunction)
OF_LOADS(cuModuleLoadData)
OF_LOADS(cuModuleLoadDataEx)
OF_LOADS(cuModuleGetFunction)

#define OF_TAKES(name) \
  OF_DRIVER name() { return Take(); }
OF_TAKES(cuLibraryUnload)
OF_TAKES(cuModuleUnload)
OF_TAKES(cuKernelSetAttribute)
OF_TAKES(cuKernelGetAttribute)
OF_TAKES(cuFuncSetAttribute)
OF_TAKES(cuLinkDestroy)

#define OF_COUNTS(name) \
  OF_DRIVER name(int* blocks) { return TwoBlocks(blocks); }
OF_COUNTS(cuOccupancyMaxActiveBlocksPerMultiprocessor)
OF_COUNTS(cuOccupancyMaxActiveClusters)
OF_COUNTS(cuOccupancyMaxPotentialClusterSize)

#define OF_REFUSES(name) \
  OF_DRIVER name() { return Refuse(); }
OF_REFUSES(cuCtxGetCurrent)
OF_REFUSES(cuCtxSetCurrent)
OF_REFUSES(cuCtxPushCurrent)
OF_REFUSES(cuCtxPopCurrent)
OF_REFUSES(cuCtxGetLimit)
OF_REFUSES(cuDeviceGet)
OF_REFUSES(cuDeviceGetCount)
OF_REFUSES(cuDeviceGetAttribute)
OF_REFUSES(cuDevicePrimaryCtxRetain)
OF_REFUSES(cuGetExportTable)
OF_REFUSES(cuLaunchKernel)
OF_REFUSES(cuLaunchKernelEx)
OF_REFUSES(cuLaunchCooperativeKernel)
OF_REFUSES(cuLinkCreate)
OF_REFUSES(cuLinkAddData)
OF_REFUSES(cuLinkComplete)
OF_REFUSES(cuMemGetInfo_v2)
OF_REFUSES(cuPointerGetAttribute)
OF_REFUSES(cuStreamGetCtx)
OF_REFUSES(cuTensorMapEncodeTiled)
OF_REFUSES(cuTensorMapEncodeIm2col)

// By name, as the run time asks.
OF_DRIVER cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  Function found = &Refuse;
  const auto is = [name](const char* wanted) { return std::strcmp(name, wanted) == 0; };
  if (is("cuInit")) found = As(&cuInit);
  if (is("cuDriverGetVersion")) found = As(&cuDriverGetVersion);
  if (is("cuGetErrorString") || is("cuGetErrorName")) found = As(&cuGetErrorString);
  if (std::strncmp(name, "cuGetProcAddress", 16) == 0) found = As(&cuGetProcAddress_v2);
  if (std::strncmp(name, "cuLibraryLoad", 13) == 0 || is("cuLibraryGetKernel") ||
      std::strncmp(name, "cuModuleLoad", 12) == 0 || is("cuModuleGetFunction") ||
      is("cuKernelGetFunction")) {
    found = As(&Load);
  }
  if (std::strncmp(name, "cuOccupancyMax", 14) == 0) found = As(&TwoBlocks);
  if (is("cuKernelSetAttribute") || is("cuFuncSetAttribute") || is("cuLibraryUnload"))
    found = &Take;
  *function = reinterpret_cast<void*>(found);
  if (status != nullptr) *status = 0;
  return kDone;
}
OF_DRIVER cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
