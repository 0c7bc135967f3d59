// CudaApi: everything that the framework asks of CUDA, as a table of plain C functions.
//
// The seam between the core and liboneflow_cuda.so, which alone is compiled by nvcc: no C++ type, no
// exception and no Protobuf crosses it, so the core builds, tests and ships without a toolkit and
// opens the library only where a driver is. The same sources compiled by the host's compiler give a
// second table (kernels/cuda/soft_cuda_for_test.h) on which the tests run.
//
// Owned by the library, valid until the process ends. Threads: any, unless said; kernels for one
// stream come from one thread at a time. Invariants: functions that take a stream only enqueue; an
// error is a number whose text ErrorText gives. Versioned: a library of another version is refused.
// Read next: kernels/cuda/cuda_kernels.h, runtime/devices/cuda/cuda_device.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDA_API_H_
#define ONEFLOW_KERNELS_CUDA_CUDA_API_H_

#include <cstdint>

namespace oneflow::kernels {

struct StepBlock;      // kernels/step_block.h: standard layout, no pointers
struct CtcProblem;     // kernels/scalar/ctc.h: the same
struct CudaAttention;  // kernels/cuda/attention_problem.h: the same
struct CudaFused;      // kernels/cuda/fused_problem.h: the same
struct CudaSgd;        // kernels/cuda/updates_problem.h: the same
struct CudaAdamW;
struct CudaAdamWs;
struct CudaMatmul;  // kernels/cuda/matmul_problem.h: the same
struct CudaMatmulOperands;
struct CudaLabelled;    // kernels/cuda/labelled_rows.h: the same
struct CudaAlgorithms;  // kernels/cuda/offered_algorithms.h: the same

inline constexpr int32_t kCudaApiVersion = 19;
inline constexpr int kCudaMaxRank = 16;

using CudaStreamHandle = void*;
using CudaEventHandle = void*;
using CudaGraphHandle = void*;      // what was captured
using CudaGraphExecHandle = void*;  // the same, ready to be launched
using CudaCommHandle = void*;       // one device's part of a communicator

// 0 is success, then a cudaError_t; from kLibraryErrors on, a status of cuBLASLt, from kNcclErrors on one of
// NCCL, from kCudnnErrors on one of cuDNN.
using CudaError = int;
inline constexpr CudaError kLibraryErrors = 100'000;
inline constexpr CudaError kNcclErrors = 200'000;
inline constexpr CudaError kCudnnErrors = 300'000;
inline constexpr CudaError kNcclPending = kNcclErrors + 7;  // ncclInProgress: no error

struct CudaDeviceProperties {
  char name[256];
  char uuid[16];  // of the GPU, in all processes that see it
  int64_t memory_bytes;
  int32_t multiprocessors;
  int32_t major, minor;  // compute capability
  int32_t driver_version, runtime_version;
};

// The memory of a GPU, in bytes: what the driver says, and figures for what nobody can ask
// (kernels/cuda/memory_figures.h).
struct CudaMemory {
  int64_t total, free;
  int64_t later;         // what kernels and libraries take of it when they are first used
  int64_t communicator;  // what NCCL takes for each communicator
  int64_t granule;       // blocks are rounded up to it; 0: to nothing
};

// Dims of up to N operands that are walked together, row-major; strides in elements.
template <int N>
struct CudaNest {
  int32_t rank;
  int64_t elements;
  int64_t extent[kCudaMaxRank];
  int64_t stride[N][kCudaMaxRank];
};

// A reduction: result r begins at `kept` offset r of the input, and joins the `reduced` offsets.
struct CudaReduction {
  CudaNest<1> kept;
  CudaNest<1> reduced;
  int32_t splits;  // shares of each result, joined in order by a second kernel; 1: none
  bool columns;    // neighbouring results are neighbouring inputs
};

// Rows of `extent` elements `inner` apart; row i begins at i / inner * extent * inner + i % inner.
struct CudaRows {
  int64_t rows, extent, inner;
};

// Elements that draw by their logical indices.
struct CudaDraw {
  CudaNest<2> nest;  // operand 0 the buffer, 1 the logical tensor
  int64_t base;      // logical index of element 0
  uint64_t key;
};

struct CudaDropout {
  CudaDraw draw;
  uint32_t threshold;  // of the random word from which on an element is kept
  float scale;         // as the CPU's: rounded to f32 for all types
};

// Where the kernels of a step report wrong data: one that writes a state does nothing if one of the
// blocks, in the GPU's memory, has an error. None: it always writes.
struct CudaGate {
  const StepBlock* blocks;
  int32_t count;
};

// layer_norm and rms_norm: `n` elements a row; shares of a sum over rows.
struct CudaNorm {
  int64_t rows, n;
  double eps;
  bool has_weight, has_bias;
  int32_t splits;
};

// One group's rows [begin, end) of x [rows, c]; statistics [groups, c].
struct CudaBatchNorm {
  int64_t begin, end, c, group, samples;  // of bn_sample_sums: `samples` of `end` rows each
  double per_count;                       // 1 / rows of the whole group, or of a sample
  int32_t splits;
};
struct CudaRunningUpdate {
  int64_t c, steps;
  double momentum;
};

// Rows [begin, begin + count) of a table of `all`, and the indices that name them; shares of the
// indices in the gradient.
struct CudaEmbedding {
  int64_t begin, count, all, features, row_bytes;
  int64_t indices;
  int64_t padding;  // an index that has no gradient
  int32_t splits;
  bool wide;  // i64, else i32
};
// Operand 0 of the nest is the index, 1 is x, which stands still along the gathered dim.
struct CudaGather {
  CudaNest<2> nest;
  int64_t bound, x_stride;
  bool wide;
};
// Lines along the dim; operands as of CudaGather. Parts of what a line writes to.
struct CudaScatter {
  CudaNest<2> lines;
  int64_t length, bound;  // of a line of index, and of x
  int64_t index_stride, x_stride, elements;
  int32_t splits;
  bool wide;
};
struct CudaCumsum {
  CudaRows rows;
  bool reverse;
};
// Workspace: an i64 for each element.
struct CudaSort {
  CudaRows rows;
  bool descending;
};

// Images [n, h, w, c], results [n, p, q, k], weights [k, c / groups, r, s].
enum class CudaConvolutionPass : int32_t { kForward, kGradInput, kGradWeight };
struct CudaConvolution {
  CudaConvolutionPass pass;
  int32_t dtype;            // of all three
  int64_t workspace_bytes;  // of each call, on 64 bytes
  int64_t n, h, w, c;
  int64_t k, p, q, r, s;
  int64_t groups;
  int64_t stride[2], padding[2], dilation[2];
  int64_t parts;  // of the images, whose sums are asked for beside the result; 0: none are
  bool compiles;  // engines that a library compiles first, for a second and more each, may do it
  int64_t group_rows, group_columns;  // of a group's product
  int32_t splits;                     // shares of each sum, joined by a second kernel
  bool tiled;                         // by tiles, else a thread per result
};
// Plans made so far in this process by who serves them, those that are not released, and who serves the one that
// was made last: "cuDNN engine 42, workspace 0", "own kernel".
struct CudaConvolutionPlans {
  int64_t library, own, live;
  char latest[64];
};
// Images [n, h, w, c], results [n, p, q, c].
struct CudaPool {
  int64_t n, h, w, c, p, q;
  int64_t kernel[2], stride[2], padding[2];
};

// What all devices of a communicator do together, each in place of its buffer of so many elements of a DType.
// A share: rank r of n has the r-th of n equal stretches.
enum class CudaCollectiveKind : int32_t {
  kAllReduce,      // the sum of all buffers
  kReduceScatter,  // the own share of it; the other shares are undefined
  kAllGather,      // the shares of all
};
struct CudaCollective {
  CudaCollectiveKind kind;
  int32_t dtype;
  int64_t elements;
  int32_t ranks, rank;
};

// One end of a message in a communicator over processes; those of one pair of ranks meet in their order.
struct CudaMessage {
  bool sends;
  int32_t rank, peer;
  int64_t bytes;
};
struct CudaCommId {  // what its ranks know each other by: an ncclUniqueId
  char bytes[128];
};

// What a kernel gets: as in KernelArgs, read before the launcher returns.
struct CudaOperands {
  const void* const* in;
  void* const* out;
  void* workspace;
  StepBlock* block;  // kernels report to it
  uint32_t task;
};
template <typename Problem>
using CudaRun = CudaError (*)(const Problem*, const CudaOperands*, CudaStreamHandle);

// Launchers: found once when a kernel is made, nullptr where there is none. `dtype` is a DType's
// number.
using CudaUnary = CudaError (*)(const void* x, void* y, double value, int64_t n, CudaStreamHandle);
// `value`: the op's attribute, 0 where it has none.
using CudaBinary = CudaError (*)(const CudaNest<3>*, const void* a, const void* b, void* out,
                                 double value, CudaStreamHandle);
using CudaCast = CudaError (*)(const void* x, void* y, int64_t n, CudaStreamHandle);
using CudaCombine = CudaError (*)(const CudaNest<2>*, const void* source, void* destination,
                                  CudaStreamHandle);
using CudaReduce = CudaError (*)(const CudaReduction*, const void* in, void* out, void* workspace,
                                 CudaStreamHandle);
using CudaArgmax = CudaError (*)(const CudaRows*, const void* in, int64_t* out, CudaStreamHandle);

struct CudaApi {
  int32_t version;

  // ---- Devices, memory, streams, events (the CUDA run time) ----
  const char* (*error_text)(CudaError);
  CudaError (*device_count)(int* count);
  CudaError (*device_properties)(int device, CudaDeviceProperties*);
  // Makes the device ready if it is not, and takes its context; the calling thread stays with its own.
  CudaError (*device_memory)(int device, CudaMemory*);
  // For the calling thread: where it allocates and makes streams and events from now on, and launches
  // kernels, for which the stream must be one of that device. Copies, waits and records may go to
  // streams of any; an event is recorded on streams of its own device.
  CudaError (*set_device)(int device);
  // Lets copies of `device` reach the memory of `peer` directly where the machine can; `direct`: it can.
  // The calling thread is with `device` afterwards.
  CudaError (*enable_peer)(int device, int peer, bool* direct);
  CudaError (*allocate)(void** data, int64_t bytes);
  CudaError (*release)(void* data);
  CudaError (*allocate_pinned)(void** data, int64_t bytes);  // host memory that copies overlap from
  CudaError (*release_pinned)(void* data);
  CudaError (*stream_create)(CudaStreamHandle*);
  CudaError (*stream_destroy)(CudaStreamHandle);
  CudaError (*stream_synchronize)(CudaStreamHandle);
  CudaError (*stream_wait)(CudaStreamHandle, CudaEventHandle);
  // `done(context)` on a thread of the run time once all before it is finished; it may not call
  // this table.
  CudaError (*stream_callback)(CudaStreamHandle, void (*done)(void*), void* context);
  CudaError (*event_create)(CudaEventHandle*, bool timed);
  CudaError (*event_destroy)(CudaEventHandle);
  CudaError (*event_record)(CudaEventHandle, CudaStreamHandle);
  CudaError (*event_query)(CudaEventHandle, bool* finished);
  CudaError (*event_synchronize)(CudaEventHandle);  // the host waits; a timed event's host spins
  CudaError (*event_milliseconds)(CudaEventHandle begin, CudaEventHandle end, float*);
  // What the calling thread enqueues on the stream from now on, and on streams that wait for an event
  // of it, is not run but kept, until capture_end on the same stream; by then it has waited for all of
  // them. No call waits for the GPU meanwhile.
  CudaError (*capture_begin)(CudaStreamHandle);
  CudaError (*capture_end)(CudaStreamHandle, CudaGraphHandle*);
  CudaError (*graph_destroy)(CudaGraphHandle);
  CudaError (*graph_instantiate)(CudaGraphExecHandle*, CudaGraphHandle);
  // All of it, behind what is in the stream, with the pointers and values of the capture.
  CudaError (*graph_launch)(CudaGraphExecHandle, CudaStreamHandle);
  CudaError (*graph_exec_destroy)(CudaGraphExecHandle);
  // Between two places of the host and the stream's device; memory of the host must stay until the stream has got there.
  CudaError (*copy)(void* to, const void* from, int64_t bytes, CudaStreamHandle);
  // Between two devices, on a stream of either.
  CudaError (*copy_peer)(void* to, int to_device, const void* from, int from_device, int64_t bytes,
                         CudaStreamHandle);
  // From memory of the host, which has been read when this returns.
  CudaError (*copy_in)(void* to, const void* from, int64_t bytes, CudaStreamHandle);
  CudaError (*zero)(void* data, int64_t bytes, CudaStreamHandle);

  // ---- Kernels ----
  CudaUnary (*find_unary)(const char* op, int dtype);
  CudaBinary (*find_binary)(const char* op, int dtype);
  CudaCast (*find_cast)(int from, int to);
  CudaCombine (*find_combine)(int mode, int dtype);  // mode: a CombineMode
  CudaReduce (*find_reduce)(const char* op, int in, int out);
  CudaArgmax (*find_argmax)(int dtype);
  CudaRun<CudaRows> (*find_row_map)(const char* op, int dtype);
  CudaRun<CudaLabelled> (*find_cross_entropy)(const char* op, int dtype);
  CudaRun<CtcProblem> (*find_ctc)(const char* op, int dtype);
  CudaRun<CudaNorm> (*find_norm)(const char* op, int dtype);
  CudaRun<CudaBatchNorm> (*find_batch_norm)(const char* op, int dtype);
  CudaRun<CudaRunningUpdate> (*find_running_update)(int dtype);
  CudaRun<CudaEmbedding> embedding;
  CudaRun<CudaEmbedding> (*find_embedding_grad)(int dtype);
  CudaRun<CudaGather> (*find_gather)(int element_bytes);
  CudaRun<CudaScatter> (*find_scatter_add)(int dtype);
  CudaRun<CudaCumsum> (*find_cumsum)(int dtype);
  CudaRun<CudaSort> (*find_sort)(int dtype);
  CudaRun<CudaPool> (*find_pool)(const char* op, int dtype);
  // out[i] = bits, of 1, 2, 4 or 8 bytes.
  CudaError (*fill)(void* out, uint64_t bits, int element_bytes, int64_t n, CudaStreamHandle);
  CudaError (*where)(const CudaNest<4>*, const void* condition, const void* a, const void* b,
                     void* out, int element_bytes, CudaStreamHandle);
  // Bytes into a state, unless the gate is shut.
  CudaError (*copy_gated)(const CudaGate*, void* to, const void* from, int64_t bytes,
                          CudaStreamHandle);
  CudaRun<CudaDropout> (*find_dropout)(int dtype);
  CudaRun<CudaFused> fused;
  CudaRun<CudaDraw> (*find_draw)(const char* op, int dtype);  // in[1] is the step
  CudaError (*sgd)(const CudaSgd*, const float* p, const void* g, const float* lr,
                   const int64_t* step, const float* m, float* p_out, float* m_out,
                   CudaStreamHandle);
  CudaError (*adamw)(const CudaAdamW*, const float* p, const void* g, const float* m,
                     const float* v, const float* lr, const int64_t* step, float* p_out,
                     float* m_out, float* v_out, CudaStreamHandle);
  CudaError (*adamws)(const CudaAdamWs*, const CudaOperands*, CudaStreamHandle);
  // A product: cuBLASLt where that library is, else an own kernel. `plan` is freed by matmul_release; nullptr: no
  // product does what the problem's epilogue asks for (a bias alone is added behind it then).
  CudaError (*matmul_plan)(const CudaMatmul*, void** plan);
  CudaError (*matmul)(void* plan, const CudaMatmulOperands*, void* workspace, CudaStreamHandle);
  void (*matmul_release)(void* plan);
  CudaError (*matmul_algorithms)(void* plan, CudaAlgorithms*);
  // Calls of the plan take it from now on. An error if it is none of those that matmul_algorithms has given.
  CudaError (*matmul_use)(void* plan, const char* name);
  // Opens cuBLASLt at `path`, or where the loader finds it if that is empty; before the first plan,
  // else the loader's is taken. "cuBLASLt 13.0.2", or why it is not there.
  const char* (*matmul_library)(const char* path);

  // A convolution: cuDNN where that library is and has an engine for it, else an own kernel. `plan` is freed by
  // convolution_release; nullptr: no kernel takes the type.
  CudaError (*convolution_plan)(const CudaConvolution*, void** plan);
  CudaError (*convolution)(const void* plan, const CudaOperands*, CudaStreamHandle);
  // What it may be done by, as matmul_algorithms and matmul_use say it of a product; own kernels are no choice.
  CudaError (*convolution_algorithms)(void* plan, CudaAlgorithms*);
  CudaError (*convolution_use)(void* plan, const char* name);
  // Whether it makes the sums too, as outputs 1 and 2; else bn_sample_sums makes them of the result.
  bool (*convolution_makes_sums)(const void* plan);
  void (*convolution_release)(void* plan);
  // Opens cuDNN at `path`, or where the loader finds it if that is empty; before the first plan, else the loader's
  // is taken. "cuDNN 9.19.0", or why it is not there.
  const char* (*convolution_library)(const char* path, bool* found);
  void (*convolution_plans)(CudaConvolutionPlans*);

  // Attention: an own kernel, until attention_use gives it another. `plan` is freed by attention_release; nullptr: no kernel
  // takes the type. A call's problem differs from the plan's in what a micro-batch changes.
  CudaError (*attention_plan)(const CudaAttention*, void** plan);
  CudaError (*attention)(const void* plan, const CudaAttention* now, const CudaOperands*,
                         CudaStreamHandle);
  // What it may be done by, as matmul_algorithms and matmul_use say it of a product: the own kernel, then engines of
  // cuDNN, which are compiled where they are used.
  CudaError (*attention_algorithms)(void* plan, CudaAlgorithms*);
  CudaError (*attention_use)(void* plan, const char* name);
  void (*attention_release)(void* plan);

  // ---- Collectives: NCCL, where that library is ----
  // Opens it at `path`, or where the loader finds it if that is empty; once per process. "NCCL 2.28.9", or
  // why it is not there.
  const char* (*nccl_library)(const char* path, bool* found);
  // A communicator of these devices of this process: by rank, one handle each. Waits for all of them.
  CudaError (*comms_create)(int ranks, const int* devices, CudaCommHandle* comms);
  // True if communicators over processes can be made too; else `why` says what is missing.
  bool (*nccl_joins)(const char** why);
  // Over processes: one makes the id, all join with it, each with its `own` devices under their numbers. Waits for
  // nobody: handles take calls once comm_state says that all have joined.
  CudaError (*comm_id)(CudaCommId*);
  CudaError (*comms_join)(const CudaCommId*, int ranks, int own, const int* numbers,
                          const int* devices, CudaCommHandle* comms);
  CudaError (*comm_state)(CudaCommHandle);    // of what was asked of it last: 0 done, kNcclPending
  CudaError (*comm_destroy)(CudaCommHandle);  // REQUIRES: no graph has a call of it
  // What still runs on any of these ends at once; then the same, but waits for such graphs to go.
  CudaError (*comms_abort)(int count, const CudaCommHandle* comms);
  // One rank's part, on a stream of its device. Those of one thread stand between group_begin and
  // group_end, which enqueues them; all ranks make the same calls in the same order.
  CudaError (*group_begin)();
  CudaError (*collective)(const CudaCollective*, void* buffer, CudaCommHandle, CudaStreamHandle);
  CudaError (*message)(const CudaMessage*, void* data, CudaCommHandle, CudaStreamHandle);
  CudaError (*group_end)();  // kNcclPending: what was called is enqueued when comm_state is 0

  // ---- Memory that grows where it lies (the driver's virtual memory) ----
  // Addresses for so many bytes on the device, behind which there is nothing yet; 801: it has no such memory. Then
  // the first `bytes` of them are memory, and stay so with what they hold. Devices that can reach the device's
  // memory reach it. Released as a whole.
  CudaError (*growing_reserve)(void** data, int64_t bytes, int device);
  CudaError (*growing_grow)(void* data, int64_t bytes);
  CudaError (*growing_release)(void* data);
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDA_API_H_
