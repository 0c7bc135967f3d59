// Rates of the CUDA kernels on one GPU: copy, elementwise, rows, updates in bytes per second, products
// in flops. One JSON object per line. Data is random: on zeros products run up to 13 % faster.
//
//   oneflow_cuda_benchmark liboneflow_cuda.so [libcublasLt.so.13] [small]
//
// `small` runs the same calls at sizes that software CUDA can do in seconds.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/updates_problem.h"

namespace oneflow::kernels {
namespace {

constexpr int kWarmUps = 5;
constexpr int kTimed = 21;

void Check(const CudaApi* api, CudaError error, const char* what) {
  if (error == 0) return;
  std::fprintf(stderr, "%s: %s\n", what, api->error_text(error));
  std::exit(1);
}

// Device memory with random numbers in [-1, 1) of f32, or of bf16.
void* RandomBytes(const CudaApi* api, int64_t n, bool bf16) {
  // A short random block, repeated: the bits of neighbours differ, which is what power depends on.
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const int64_t width = bf16 ? 2 : 4;
  std::vector<unsigned char> block(static_cast<size_t>(int64_t{1} << 22));
  for (size_t at = 0; at + 4 <= block.size(); at += static_cast<size_t>(width)) {
    const float value = uniform(generator);
    const unsigned char* bytes = reinterpret_cast<const unsigned char*>(&value);
    for (int64_t b = 0; b < width; ++b) block[at + b] = bytes[4 - width + b];
  }
  void* data = nullptr;
  Check(api, api->allocate(&data, n * width), "allocate");
  for (int64_t at = 0; at < n * width; at += static_cast<int64_t>(block.size())) {
    const int64_t bytes = std::min<int64_t>(static_cast<int64_t>(block.size()), n * width - at);
    Check(api, api->copy(static_cast<char*>(data) + at, block.data(), bytes, nullptr), "copy");
  }
  Check(api, api->stream_synchronize(nullptr), "synchronize");
  return data;
}

struct Times {
  double median_ms, least_ms, most_ms;
};

// Runs of `work`, each of `inner` calls between two events.
Times Measure(const CudaApi* api, int inner,
              const std::function<CudaError(CudaStreamHandle)>& work) {
  CudaStreamHandle stream = nullptr;
  CudaEventHandle begin = nullptr, end = nullptr;
  Check(api, api->stream_create(&stream), "stream");
  Check(api, api->event_create(&begin, true), "event");
  Check(api, api->event_create(&end, true), "event");
  for (int i = 0; i < kWarmUps; ++i) Check(api, work(stream), "warm-up");
  std::vector<double> times;
  for (int i = 0; i < kTimed; ++i) {
    Check(api, api->event_record(begin, stream), "record");
    for (int k = 0; k < inner; ++k) Check(api, work(stream), "kernel");
    Check(api, api->event_record(end, stream), "record");
    Check(api, api->stream_synchronize(stream), "synchronize");
    float milliseconds = 0;
    Check(api, api->event_milliseconds(begin, end, &milliseconds), "time");
    times.push_back(milliseconds / inner);
  }
  api->event_destroy(begin);
  api->event_destroy(end);
  api->stream_destroy(stream);
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times.front(), times.back()};
}

void Print(const std::string& name, const Times& times, double amount, const char* unit) {
  std::printf(
      "{\"name\": \"%s\", \"median_ms\": %.5f, \"least_ms\": %.5f, \"most_ms\": %.5f, \"rate\": "
      "%.2f, \"unit\": \"%s\"}\n",
      name.c_str(), times.median_ms, times.least_ms, times.most_ms, amount / times.median_ms / 1e9,
      unit);
  std::fflush(stdout);
}

void Product(const CudaApi* api, const char* name, int64_t m, int64_t n, int64_t k, CudaMath math,
             CudaEpilogue epilogue = CudaEpilogue::kNone) {
  const bool bf16 = math == CudaMath::kBF16;
  const bool sums = HasSums(epilogue);
  CudaMatmul problem = {m, n,     k,    sums,     false, epilogue, 1, 0,
                        0, m * n, math, 32 << 20, 64,    0,        0, 0};
  void* plan = nullptr;
  if (const CudaError error = api->matmul_plan(&problem, &plan); error != 0) {
    std::fprintf(stderr, "%s: no plan: %s\n", name, api->error_text(error));
    return;
  }
  if (plan == nullptr) {
    std::fprintf(stderr, "%s: the library has no algorithm\n", name);
    return;
  }
  void* a = RandomBytes(api, m * k, bf16);
  void* b = RandomBytes(api, k * n, bf16);
  void* bias = RandomBytes(api, n, bf16);
  void* d = RandomBytes(api, m * n, bf16);
  void* workspace = nullptr;
  Check(api, api->allocate(&workspace, problem.workspace_bytes), "allocate");
  void* x = HasX(epilogue) ? RandomBytes(api, m * n, bf16) : nullptr;
  const CudaMatmulOperands operands = {
      a, b, HasBias(epilogue) ? bias : nullptr, d, sums ? bias : nullptr, x};
  const double flops =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const int inner = flops > 1e11 ? 3 : 20;
  Print(std::string(name) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
            std::to_string(k),
        Measure(api, inner,
                [&](CudaStreamHandle stream) {
                  return api->matmul(plan, &operands, workspace, stream);
                }),
        flops, "TFLOP/s");
  for (void* data : {a, b, bias, d, workspace}) api->release(data);
  if (x != nullptr) api->release(x);
  api->matmul_release(plan);
}

int Main(const char* path, const char* cublaslt, bool small) {
  const absl::StatusOr<const CudaApi*> opened = OpenCuda(path, cublaslt);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", MessageOf(opened.status()).c_str());
    return 1;
  }
  const CudaApi* api = *opened;
  Check(api, api->set_device(0), "set_device");
  CudaDeviceProperties device;
  Check(api, api->device_properties(0, &device), "properties");
  std::printf(
      "{\"device\": \"%s\", \"multiprocessors\": %d, \"driver\": %d, \"runtime\": %d, "
      "\"products\": "
      "\"%s\"}\n",
      device.name, device.multiprocessors, device.driver_version, device.runtime_version,
      api->matmul_library(cublaslt));

  // Buffers far larger than the cache.
  const int64_t n = int64_t{1} << (small ? 14 : 28);
  const double bytes = 4.0 * static_cast<double>(n);
  float* x = static_cast<float*>(RandomBytes(api, n, false));
  float* y = static_cast<float*>(RandomBytes(api, n, false));
  float* z = static_cast<float*>(RandomBytes(api, n, false));
  float* w = static_cast<float*>(RandomBytes(api, n, false));
  Print("copy", Measure(api, 3, [&](CudaStreamHandle s) { return api->copy(y, x, 4 * n, s); }),
        2 * bytes, "TB/s");
  const int f32 = static_cast<int>(DType::kF32);
  for (const char* op : {"relu", "exp", "tanh"}) {
    const CudaUnary run = api->find_unary(op, f32);
    Print(op, Measure(api, 3, [&](CudaStreamHandle s) { return run(x, y, 0, n, s); }), 2 * bytes,
          "TB/s");
  }
  const auto binary = [&](const char* op, const char* name, CudaNest<3> nest, double moved) {
    const CudaBinary run = api->find_binary(op, f32);
    Print(name, Measure(api, 3, [&](CudaStreamHandle s) { return run(&nest, x, y, z, 0, s); }),
          moved, "TB/s");
  };
  CudaNest<3> dense = {1, n, {n}, {{1}, {1}, {1}}};
  binary("add", "add", dense, 3 * bytes);
  binary("relu_grad", "relu_grad", dense, 3 * bytes);
  CudaNest<3> bias = {2, n, {n / 4096, 4096}, {{4096, 1}, {0, 1}, {4096, 1}}};
  binary("add", "add a bias of 4096", bias, 2 * bytes);

  void* shares = nullptr;
  Check(api, api->allocate(&shares, 64 << 20), "allocate");
  const CudaReduce sum = api->find_reduce("sum", f32, f32);
  const int64_t rows = n / 4096;
  CudaReduction over_columns = {{1, rows, {rows}, {{4096}}}, {1, 4096, {4096}, {{1}}}, 1, false};
  Print("sum over rows of 4096",
        Measure(api, 3, [&](CudaStreamHandle s) { return sum(&over_columns, x, z, shares, s); }),
        bytes, "TB/s");
  CudaReduction over_rows = {{1, 4096, {4096}, {{1}}}, {1, rows, {rows}, {{4096}}}, 32, true};
  Print("sum over columns (bias gradient, " + std::to_string(rows) + " x 4096)",
        Measure(api, 3, [&](CudaStreamHandle s) { return sum(&over_rows, x, z, shares, s); }),
        bytes, "TB/s");
  const CudaRows softmax_rows = {rows, 4096, 1};
  const CudaRun<CudaRows> softmax = api->find_row_map("softmax", f32);
  const void* const softmax_in[] = {x};
  void* const softmax_out[] = {y};
  const CudaOperands softmax_operands = {softmax_in, softmax_out, nullptr, nullptr, 0};
  Print("softmax of 4096",
        Measure(api, 3,
                [&](CudaStreamHandle s) { return softmax(&softmax_rows, &softmax_operands, s); }),
        2 * bytes, "TB/s");
  CudaNest<2> transpose = {2, n, {4096, rows}, {{1, 4096}, {rows, 1}}};
  const CudaCombine permute = api->find_combine(0, f32);
  const std::string lines = std::to_string(rows);
  Print("permute [" + lines + ",4096] to [4096," + lines + "]",
        Measure(api, 3, [&](CudaStreamHandle s) { return permute(&transpose, x, y, s); }),
        2 * bytes, "TB/s");

  int64_t* step = nullptr;
  float* lr = nullptr;
  Check(api, api->allocate(reinterpret_cast<void**>(&step), 8), "allocate");
  Check(api, api->allocate(reinterpret_cast<void**>(&lr), 4), "allocate");
  const int64_t later = 3;  // at step 0 the momentum is not read
  Check(api, api->copy_in(step, &later, 8, nullptr), "copy");
  Check(api, api->zero(lr, 4, nullptr), "zero");
  CudaDropout dropout = {{{1, n, {n}, {{1}, {1}}}, 0, 42}, 1u << 29, 1.25f};
  const CudaRun<CudaDropout> drop = api->find_dropout(f32);
  const void* const drop_in[] = {x, step};
  const CudaOperands drop_operands = {drop_in, softmax_out, nullptr, nullptr, 0};
  Print("dropout",
        Measure(api, 3, [&](CudaStreamHandle s) { return drop(&dropout, &drop_operands, s); }),
        2 * bytes, "TB/s");
  CudaSgd sgd = {n, 0.9f, 0.01f, 1, false, true, f32, {}};
  Print("sgd with momentum",
        Measure(api, 3,
                [&](CudaStreamHandle s) { return api->sgd(&sgd, x, y, lr, step, z, x, z, s); }),
        5 * bytes, "TB/s");
  CudaAdamW adamw = {n, 0.9, 0.999, 1e-8, 0.01, f32, {}};
  Print("adamw",
        Measure(api, 3,
                [&](CudaStreamHandle s) {
                  return api->adamw(&adamw, x, y, z, w, lr, step, x, z, w, s);
                }),
        7 * bytes, "TB/s");
  adamw.g_dtype = static_cast<int32_t>(DType::kBF16);
  Print("adamw, bf16 gradient",
        Measure(api, 3,
                [&](CudaStreamHandle s) {
                  return api->adamw(&adamw, x, y, z, w, lr, step, x, z, w, s);
                }),
        6.5 * bytes, "TB/s");
  for (void* data :
       {static_cast<void*>(x), static_cast<void*>(y), static_cast<void*>(z), static_cast<void*>(w),
        shares, static_cast<void*>(step), static_cast<void*>(lr)}) {
    api->release(data);
  }

  const std::vector<int64_t> sides =
      small ? std::vector<int64_t>{32} : std::vector<int64_t>{1024, 4096, 8192};
  for (const int64_t size : sides) {
    Product(api, "matmul f32", size, size, size, CudaMath::kF32);
    Product(api, "matmul tf32", size, size, size, CudaMath::kTF32);
    Product(api, "matmul bf16", size, size, size, CudaMath::kBF16);
    Product(api, "linear bf16", size, size, size, CudaMath::kBF16, CudaEpilogue::kBias);
    Product(api, "linear_gelu bf16", size, size, size, CudaMath::kBF16, CudaEpilogue::kBiasGeluX);
    Product(api, "matmul_gelu_grad bf16", size, size, size, CudaMath::kBF16,
            CudaEpilogue::kGeluGrad);
    Product(api, "matmul_sums bf16", size, size, size, CudaMath::kBF16, CudaEpilogue::kSumsOfB);
  }
  return 0;
}

}  // namespace
}  // namespace oneflow::kernels

int main(int argc, char** argv) {
  const bool small = argc > 2 && std::string(argv[argc - 1]) == "small";
  if (small) --argc;
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr,
                 "usage: oneflow_cuda_benchmark liboneflow_cuda.so [libcublasLt.so.13] [small]\n");
    return 2;
  }
  return oneflow::kernels::Main(argv[1], argc == 3 ? argv[2] : "", small);
}
