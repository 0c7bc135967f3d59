#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <vector>

#include "kernels/cuda/growing_memory.h"

namespace oneflow::kernels {
namespace {

// The numbers of the driver's errors are those of the run time.
static_assert(static_cast<int>(CUDA_ERROR_OUT_OF_MEMORY) ==
              static_cast<int>(cudaErrorMemoryAllocation));
static_assert(static_cast<int>(CUDA_ERROR_NOT_SUPPORTED) ==
              static_cast<int>(cudaErrorNotSupported));
CudaError Code(CUresult result) { return static_cast<CudaError>(result); }

struct Driver {
  PFN_cuDeviceGet_v2000 device = nullptr;
  PFN_cuDeviceGetAttribute_v2000 attribute = nullptr;
  PFN_cuMemGetAllocationGranularity_v10020 granularity = nullptr;
  PFN_cuMemAddressReserve_v10020 reserve = nullptr;
  PFN_cuMemAddressFree_v10020 free = nullptr;
  PFN_cuMemCreate_v10020 create = nullptr;
  PFN_cuMemRelease_v10020 release = nullptr;
  PFN_cuMemMap_v10020 map = nullptr;
  PFN_cuMemUnmap_v10020 unmap = nullptr;
  PFN_cuMemSetAccess_v10020 set_access = nullptr;
  bool found = false;
};

// `version`: of the driver that had the function first, in its present form.
template <typename Function>
bool Find(const char* name, unsigned version, Function* function) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, &result);
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) {
    cudaGetLastError();
    return false;
  }
  *function = reinterpret_cast<Function>(found);
  return true;
}

const Driver& TheDriver() {
  static const Driver driver = [] {
    Driver d;
    d.found = Find("cuDeviceGet", 2000, &d.device) &&
              Find("cuDeviceGetAttribute", 2000, &d.attribute) &&
              Find("cuMemGetAllocationGranularity", 10020, &d.granularity) &&
              Find("cuMemAddressReserve", 10020, &d.reserve) &&
              Find("cuMemAddressFree", 10020, &d.free) && Find("cuMemCreate", 10020, &d.create) &&
              Find("cuMemRelease", 10020, &d.release) && Find("cuMemMap", 10020, &d.map) &&
              Find("cuMemUnmap", 10020, &d.unmap) && Find("cuMemSetAccess", 10020, &d.set_access);
    return d;
  }();
  return driver;
}

bool Has(const Driver& driver, CUdevice device, CUdevice_attribute attribute) {
  int value = 0;
  return driver.attribute(&value, attribute, device) == CUDA_SUCCESS && value != 0;
}

struct Range {
  int device = 0;
  size_t reserved = 0;
  size_t mapped = 0;
  size_t granule = 0;
  CUmemAllocationProp pages = {};
  std::vector<CUmemAccessDesc> access;
};
struct Ranges {
  std::mutex mutex;
  std::map<void*, Range> by_address;
  static Ranges& Of() {
    static Ranges* ranges = new Ranges;
    return *ranges;
  }
};
CUdeviceptr Address(void* data) { return reinterpret_cast<CUdeviceptr>(data); }

CudaError Reserve(void** data, int64_t bytes, int device) {
  const Driver& driver = TheDriver();
  CUdevice number = 0;
  if (!driver.found) return static_cast<CudaError>(cudaErrorNotSupported);
  if (const CUresult result = driver.device(&number, device); result != CUDA_SUCCESS) {
    return Code(result);
  }
  if (!Has(driver, number, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)) {
    return static_cast<CudaError>(cudaErrorNotSupported);
  }
  Range range;
  range.device = device;
  range.pages.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  range.pages.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  // As ncclMemAlloc asks for them, so that NCCL may hand them to other processes and network cards.
  if (Has(driver, number, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED)) {
    range.pages.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  }
  if (Has(driver, number, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED)) {
    range.pages.allocFlags.gpuDirectRDMACapable = 1;
  }
  if (const CUresult result =
          driver.granularity(&range.granule, &range.pages, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
      result != CUDA_SUCCESS) {
    return Code(result);
  }
  // What cudaDeviceEnablePeerAccess opens is memory of cudaMalloc; here each that can is named.
  int devices = 0;
  cudaGetDeviceCount(&devices);
  for (int other = 0; other < devices; ++other) {
    int can = other == device ? 1 : 0;
    if (can == 0) cudaDeviceCanAccessPeer(&can, other, device);
    if (can == 0) continue;
    range.access.push_back(
        {{CU_MEM_LOCATION_TYPE_DEVICE, other}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
  }
  cudaGetLastError();
  range.reserved = (static_cast<size_t>(bytes) + range.granule - 1) / range.granule * range.granule;
  CUdeviceptr address = 0;
  if (const CUresult result = driver.reserve(&address, range.reserved, 0, 0, 0);
      result != CUDA_SUCCESS) {
    return Code(result);
  }
  *data = reinterpret_cast<void*>(address);
  std::lock_guard<std::mutex> lock(Ranges::Of().mutex);
  Ranges::Of().by_address.emplace(*data, std::move(range));
  return 0;
}

// Pages behind [range.mapped, mapped); none if it fails.
CUresult Map(const Driver& driver, void* data, const Range& range, size_t mapped) {
  const CUdeviceptr begin = Address(data) + range.mapped;
  const size_t bytes = mapped - range.mapped;
  CUmemGenericAllocationHandle pages = 0;
  CUresult result = driver.create(&pages, bytes, &range.pages, 0);
  if (result != CUDA_SUCCESS && range.pages.allocFlags.gpuDirectRDMACapable != 0) {
    CUmemAllocationProp plain =
        range.pages;  // a machine without the driver's part for network cards
    plain.allocFlags.gpuDirectRDMACapable = 0;
    result = driver.create(&pages, bytes, &plain, 0);
  }
  if (result != CUDA_SUCCESS) return result;
  result = driver.map(begin, bytes, 0, pages, 0);
  driver.release(pages);  // they go when nothing is mapped to them
  if (result != CUDA_SUCCESS) return result;
  result = driver.set_access(begin, bytes, range.access.data(), range.access.size());
  if (result != CUDA_SUCCESS) driver.unmap(begin, bytes);
  return result;
}

CudaError Grow(void* data, int64_t bytes) {
  std::lock_guard<std::mutex> lock(Ranges::Of().mutex);
  const auto found = Ranges::Of().by_address.find(data);
  if (found == Ranges::Of().by_address.end()) return static_cast<CudaError>(cudaErrorInvalidValue);
  Range& range = found->second;
  const size_t mapped =
      (static_cast<size_t>(bytes) + range.granule - 1) / range.granule * range.granule;
  if (mapped > range.reserved) return static_cast<CudaError>(cudaErrorInvalidValue);
  if (mapped <= range.mapped) return 0;
  const CUresult result = Map(TheDriver(), data, range, mapped);
  if (result == CUDA_SUCCESS) range.mapped = mapped;
  return Code(result);
}

CudaError Free(void* data) {
  const Driver& driver = TheDriver();
  std::lock_guard<std::mutex> lock(Ranges::Of().mutex);
  const auto found = Ranges::Of().by_address.find(data);
  if (found == Ranges::Of().by_address.end()) return static_cast<CudaError>(cudaErrorInvalidValue);
  const Range range = std::move(found->second);
  Ranges::Of().by_address.erase(found);
  CUresult first = CUDA_SUCCESS;
  if (range.mapped > 0) first = driver.unmap(Address(data), range.mapped);
  const CUresult freed = driver.free(Address(data), range.reserved);
  return Code(first != CUDA_SUCCESS ? first : freed);
}

}  // namespace

void AddGrowingMemory(CudaApi* api) {
  api->growing_reserve = &Reserve;
  api->growing_grow = &Grow;
  api->growing_release = &Free;
}

}  // namespace oneflow::kernels
