#include <cuda_runtime.h>

#include <cstdio>

#include "base/dtype.h"
#include "kernels/cuda/nccl.h"
#include "kernels/cuda/open_library.h"

namespace oneflow::kernels {
namespace {

// NCCL's types, as its header has them since 2.4; its numbers are part of its interface.
using Comm = void*;
using Result = int;
constexpr int kSum = 0;
constexpr int kBytes = 1;  // ncclUint8
// Passed by value, as an ncclUniqueId is.
using Id = CudaCommId;
// An ncclConfig_t as it was in 2.14, which says so: a later NCCL takes what was added since at its defaults.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};
// From 2.22 on several communicators are aborted at once in a group; one by one the first may wait for a graph
// that hangs in the second.
constexpr int kJoinsFrom = 22200;

struct Library {
  Result (*version)(int*) = nullptr;
  const char* (*error_text)(Result) = nullptr;
  Result (*init_all)(Comm*, int, const int*) = nullptr;
  Result (*destroy)(Comm) = nullptr;
  Result (*abort)(Comm) = nullptr;
  Result (*group_start)() = nullptr;
  Result (*group_end)() = nullptr;
  Result (*all_reduce)(const void*, void*, size_t, int, int, Comm, cudaStream_t) = nullptr;
  Result (*reduce_scatter)(const void*, void*, size_t, int, int, Comm, cudaStream_t) = nullptr;
  Result (*all_gather)(const void*, void*, size_t, int, Comm, cudaStream_t) = nullptr;
  // Of communicators over processes:
  Result (*unique_id)(Id*) = nullptr;
  Result (*init_rank)(Comm*, int, Id, int, Config*) = nullptr;
  Result (*async_error)(Comm, Result*) = nullptr;
  Result (*send)(const void*, size_t, int, int, Comm, cudaStream_t) = nullptr;
  Result (*receive)(void*, size_t, int, int, Comm, cudaStream_t) = nullptr;
  bool found = false;
  bool joins = false;
  char text[512] = "";
};

void Open(const char* path, Library* library) {
  void* opened = OpenLibrary(path, "libnccl.so.2");
  if (opened == nullptr) {
    std::snprintf(library->text, sizeof(library->text),
                  "no NCCL (%s); sums over several GPUs go round by peer copies", dlerror());
    return;
  }
  int version = 0;
  library->found = Resolve(opened, "ncclGetVersion", &library->version) &&
                   Resolve(opened, "ncclGetErrorString", &library->error_text) &&
                   Resolve(opened, "ncclCommInitAll", &library->init_all) &&
                   Resolve(opened, "ncclCommDestroy", &library->destroy) &&
                   Resolve(opened, "ncclCommAbort", &library->abort) &&
                   Resolve(opened, "ncclGroupStart", &library->group_start) &&
                   Resolve(opened, "ncclGroupEnd", &library->group_end) &&
                   Resolve(opened, "ncclAllReduce", &library->all_reduce) &&
                   Resolve(opened, "ncclReduceScatter", &library->reduce_scatter) &&
                   Resolve(opened, "ncclAllGather", &library->all_gather) &&
                   library->version(&version) == 0;
  if (!library->found) {
    std::snprintf(library->text, sizeof(library->text),
                  "NCCL lacks a function; sums over several GPUs go round by peer copies");
    return;
  }
  library->joins =
      version >= kJoinsFrom && Resolve(opened, "ncclGetUniqueId", &library->unique_id) &&
      Resolve(opened, "ncclCommInitRankConfig", &library->init_rank) &&
      Resolve(opened, "ncclCommGetAsyncError", &library->async_error) &&
      Resolve(opened, "ncclSend", &library->send) && Resolve(opened, "ncclRecv", &library->receive);
  // 2.9 on: 10000 major + 100 minor + patch.
  std::snprintf(library->text, sizeof(library->text), "NCCL %d.%d.%d", version / 10000,
                version / 100 % 100, version % 100);
}

const Library& OpenedLibrary(const char* path = "") { return OpenedOnce<Library, &Open>(path); }

CudaError Code(Result result) { return result == 0 ? 0 : kNcclErrors + result; }

const char* NcclLibrary(const char* path, bool* found) {
  const Library& library = OpenedLibrary(path);
  *found = library.found;
  return library.text;
}

CudaError CommsCreate(int ranks, const int* devices, CudaCommHandle* comms) {
  const Library& nccl = OpenedLibrary();
  int current = 0;
  if (!nccl.found || cudaGetDevice(&current) != cudaSuccess) return kNcclErrors + 3;
  const CudaError error = Code(nccl.init_all(comms, ranks, devices));
  cudaSetDevice(current);  // where the thread was
  return error;
}
bool NcclJoins(const char** why) {
  const Library& library = OpenedLibrary();
  *why = library.joins ? "" : library.found ? "NCCL is older than 2.22" : library.text;
  return library.joins;
}
CudaError CommId(CudaCommId* id) { return Code(OpenedLibrary().unique_id(id)); }

CudaError CommsJoin(const CudaCommId* id, int ranks, int own, const int* numbers,
                    const int* devices, CudaCommHandle* comms) {
  const Library& nccl = OpenedLibrary();
  int current = 0;
  if (!nccl.joins || cudaGetDevice(&current) != cudaSuccess) return kNcclErrors + 3;
  // In a group: one thread asks for all, and each waits for all.
  Result result = nccl.group_start();
  for (int i = 0; i < own && (result == 0 || Code(result) == kNcclPending); ++i) {
    Config config;
    if (cudaSetDevice(devices[i]) != cudaSuccess) {
      result = 1;  // an error of CUDA
    } else {
      result = nccl.init_rank(&comms[i], ranks, *id, numbers[i], &config);
    }
  }
  const Result ended = nccl.group_end();
  cudaSetDevice(current);  // where the thread was
  return Code(result == 0 || Code(result) == kNcclPending ? ended : result);
}

CudaError CommState(CudaCommHandle comm) {
  Result state = 0;
  const Result result = OpenedLibrary().async_error(comm, &state);
  return Code(result != 0 ? result : state);
}
CudaError CommDestroy(CudaCommHandle comm) { return Code(OpenedLibrary().destroy(comm)); }

CudaError CommsAbort(int count, const CudaCommHandle* comms) {
  // In a group: each is told to end before any is waited for.
  const Library& nccl = OpenedLibrary();
  Result first = nccl.group_start();
  for (int i = 0; i < count; ++i) {
    const Result result = nccl.abort(comms[i]);
    if (first == 0) first = result;
  }
  const Result ended = nccl.group_end();
  return Code(first != 0 ? first : ended);
}
CudaError GroupBegin() { return Code(OpenedLibrary().group_start()); }
CudaError GroupEnd() { return Code(OpenedLibrary().group_end()); }

// An ncclDataType_t, and the bytes of an element; 0: none.
struct Type {
  int number;
  size_t bytes;
};
Type TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kI32:
      return {2, 4};
    case DType::kI64:
      return {4, 8};
    case DType::kF16:
      return {6, 2};
    case DType::kF32:
      return {7, 4};
    case DType::kF64:
      return {8, 8};
    case DType::kBF16:
      return {9, 2};
    default:
      return {0, 0};
  }
}

CudaError Collective(const CudaCollective* problem, void* buffer, CudaCommHandle comm,
                     CudaStreamHandle handle) {
  cudaStream_t stream = static_cast<cudaStream_t>(handle);
  const Library& nccl = OpenedLibrary();
  const Type type = TypeOf(static_cast<DType>(problem->dtype));
  if (type.bytes == 0) return kNcclErrors + 4;  // an invalid argument
  const size_t elements = static_cast<size_t>(problem->elements);
  const size_t share = elements / static_cast<size_t>(problem->ranks);
  char* own = static_cast<char*>(buffer) + static_cast<size_t>(problem->rank) * share * type.bytes;
  switch (problem->kind) {
    case CudaCollectiveKind::kAllReduce:
      return Code(nccl.all_reduce(buffer, buffer, elements, type.number, kSum, comm, stream));
    case CudaCollectiveKind::kReduceScatter:
      return Code(nccl.reduce_scatter(buffer, own, share, type.number, kSum, comm, stream));
    case CudaCollectiveKind::kAllGather:
      return Code(nccl.all_gather(own, buffer, share, type.number, comm, stream));
  }
  return kNcclErrors + 4;
}

CudaError Message(const CudaMessage* message, void* data, CudaCommHandle comm,
                  CudaStreamHandle handle) {
  cudaStream_t stream = static_cast<cudaStream_t>(handle);
  const Library& nccl = OpenedLibrary();
  const size_t bytes = static_cast<size_t>(message->bytes);
  return Code(message->sends ? nccl.send(data, bytes, kBytes, message->peer, comm, stream)
                             : nccl.receive(data, bytes, kBytes, message->peer, comm, stream));
}

}  // namespace

const char* NcclErrorText(int status) {
  const Library& nccl = OpenedLibrary();
  return nccl.found ? nccl.error_text(status) : nccl.text;
}

void AddNccl(CudaApi* api) {
  api->nccl_library = &NcclLibrary;
  api->comms_create = &CommsCreate;
  api->nccl_joins = &NcclJoins;
  api->comm_id = &CommId;
  api->comms_join = &CommsJoin;
  api->comm_state = &CommState;
  api->comm_destroy = &CommDestroy;
  api->comms_abort = &CommsAbort;
  api->group_begin = &GroupBegin;
  api->collective = &Collective;
  api->message = &Message;
  api->group_end = &GroupEnd;
}

}  // namespace oneflow::kernels
