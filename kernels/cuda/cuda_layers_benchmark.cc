// Rates of the CUDA kernels of the layers on one GPU, at the sizes of BERT-Large and ResNet-50: norms, losses,
// embedding, attention, convolution, pooling, sort. One JSON object per line; data is random.
//
//   oneflow_cuda_layers_benchmark liboneflow_cuda.so [libcublasLt.so.13 libcudnn.so.9] [small]
//
// `small` runs the same calls at sizes that software CUDA can do in seconds. A convolution says who served it.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "kernels/cuda/algorithm_choices.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/specs_by_hand.h"
#include "plan/fused.h"

namespace oneflow::kernels {
namespace {

// Runs of each call; calls in a run of a convolution.
struct Runs {
  int warm_ups, timed, convolutions;
};

void Stop(const char* what, const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", what, why.c_str());
  std::exit(1);
}
void Check(const CudaApi* api, CudaError error, const char* what) {
  if (error != 0) Stop(what, api->error_text(error));
}

// Memory of the device; indices are below `bound`, floats small.
class DeviceTensor {
 public:
  DeviceTensor(const CudaApi* api, const Operand& type, int64_t bound) : api_(api) {
    const int64_t bytes = NumElements(type.shape) * SizeOf(type.dtype);
    std::vector<unsigned char> data(static_cast<size_t>(bytes));
    std::mt19937 generator(7);
    if (IsFloating(type.dtype)) {
      // Sign and small exponents: numbers in (-2, 2) in every float type. Drawn for a stretch that is repeated.
      const size_t width = static_cast<size_t>(SizeOf(type.dtype));
      const size_t drawn = std::min<size_t>(data.size(), width * 1'000'003);
      for (size_t i = 0; i < drawn; ++i) {
        data[i] = static_cast<unsigned char>(generator());
        if (i % width == width - 1) data[i] = generator() % 2 == 0 ? 0x3c : 0xbc;
      }
      for (size_t i = drawn; i < data.size(); i += drawn) {
        std::copy_n(data.begin(), std::min(drawn, data.size() - i),
                    data.begin() + static_cast<int64_t>(i));
      }
    } else {
      int64_t* at = reinterpret_cast<int64_t*>(data.data());
      for (int64_t i = 0; i < NumElements(type.shape); ++i) at[i] = generator() % bound;
    }
    Check(api, api->allocate(&data_, std::max<int64_t>(1, bytes)), "allocate");
    Check(api, api->copy(data_, data.data(), bytes, nullptr), "copy");
    Check(api, api->stream_synchronize(nullptr), "synchronize");
  }
  DeviceTensor(const DeviceTensor&) = delete;
  ~DeviceTensor() { api_->release(data_); }
  void* data() const { return data_; }

 private:
  const CudaApi* api_;
  void* data_ = nullptr;
};

class Layers {
 public:
  Layers(const CudaApi* api, const Runs& runs) : api_(api), runs_(runs), table_(CudaKernels(api)) {
    void* block = nullptr;
    Check(api, api->allocate_pinned(&block, sizeof(StepBlock)), "allocate");
    block_ = static_cast<StepBlock*>(block);
    block_->Begin(0);
  }

  // `amount`: bytes or operations of one call.
  void Run(const std::string& name, const std::string& op, Attrs attrs, std::vector<Operand> inputs,
           std::vector<Operand> outputs, double amount, const char* unit, int64_t bound = 1) const {
    const KernelSpec spec = {op, std::move(attrs), std::move(inputs), std::move(outputs)};
    const absl::StatusOr<Needs> needs = table_.Describe(spec);
    if (!needs.ok()) Stop(name.c_str(), MessageOf(needs.status()));
    const absl::StatusOr<std::unique_ptr<Kernel>> kernel = table_.Make(spec);
    if (!kernel.ok()) Stop(name.c_str(), MessageOf(kernel.status()));
    std::vector<std::unique_ptr<DeviceTensor>> tensors;
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const Operand& operand : spec.inputs) {
      tensors.push_back(std::make_unique<DeviceTensor>(api_, operand, bound));
      in.push_back(tensors.back()->data());
    }
    for (const Operand& operand : spec.outputs) {
      tensors.push_back(std::make_unique<DeviceTensor>(api_, operand, bound));
      out.push_back(tensors.back()->data());
    }
    void* space = nullptr;
    Check(api_, api_->allocate(&space, std::max<int64_t>(1, needs->workspace_bytes)), "allocate");
    const KernelArgs args = {in.data(), out.data(), space, block_};
    const bool convolves = op.starts_with("conv2d");
    std::vector<double> times = Measure(**kernel, args, convolves ? runs_.convolutions : 1);
    Check(api_, api_->release(space), "release");
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    std::string served;
    if (convolves) {
      CudaConvolutionPlans plans = {};
      api_->convolution_plans(&plans);
      served.append(", \"served\": \"").append(plans.latest).append("\"");
    }
    std::printf(
        "{\"name\": \"%s\", \"median_ms\": %.5f, \"least_ms\": %.5f, \"most_ms\": %.5f, \"rate\": "
        "%.3f, \"unit\": \"%s\"%s}\n",
        name.c_str(), median, times.front(), times.back(), amount / median / 1e9, unit,
        served.c_str());
    std::fflush(stdout);
  }

 private:
  // `inner` calls between two events: the host is ahead of kernels that take less than their launch.
  std::vector<double> Measure(const Kernel& kernel, const KernelArgs& args, int inner) const {
    const absl::StatusOr<std::unique_ptr<CudaStream>> stream = CudaStream::Make(api_);
    if (!stream.ok()) Stop("stream", MessageOf(stream.status()));
    CudaEventHandle begin = nullptr, end = nullptr;
    Check(api_, api_->event_create(&begin, true), "event");
    Check(api_, api_->event_create(&end, true), "event");
    std::vector<double> times;
    for (int i = 0; i < runs_.warm_ups + runs_.timed; ++i) {
      Check(api_, api_->event_record(begin, (*stream)->handle()), "record");
      for (int call = 0; call < inner; ++call) {
        const absl::Status status = kernel.Run(args, stream->get());
        if (!status.ok()) Stop("kernel", MessageOf(status));
      }
      Check(api_, api_->event_record(end, (*stream)->handle()), "record");
      Check(api_, api_->stream_synchronize((*stream)->handle()), "synchronize");
      float milliseconds = 0;
      Check(api_, api_->event_milliseconds(begin, end, &milliseconds), "time");
      if (i >= runs_.warm_ups) times.push_back(milliseconds / static_cast<float>(inner));
    }
    api_->event_destroy(begin);
    api_->event_destroy(end);
    return times;
  }

  const CudaApi* const api_;
  const Runs runs_;
  const KernelTable table_;
  StepBlock* block_ = nullptr;
};

struct Sizes {
  int64_t tokens = 32768, width = 1024, words = 30528;  // BERT-Large
  int64_t images = 64, side = 28, channels = 128;       // ResNet-50's second stage
  int64_t line = 4096;
  int64_t most = 1 << 20;  // sides of ResNet-50's convolutions are cut to this
  int64_t thinner = 1;     // and channels divided by this
};

void MeasureNorms(const Layers& layers, const Sizes& sizes, DType t) {
  const int64_t tokens = sizes.tokens, width = sizes.width;
  const DType f32 = DType::kF32;
  const std::string size =
      " " + std::string(NameOf(t)) + " " + std::to_string(tokens) + "x" + std::to_string(width);
  const double bytes = static_cast<double>(tokens * width * SizeOf(t));
  const Attrs dims = {{"dims", int64_t{1}}};
  const Operand x = WholeOperand(t, {tokens, width}), row = WholeOperand(t, {width}),
                stats = WholeOperand(f32, {tokens});
  layers.Run("layer_norm" + size, "layer_norm", dims, {x, row, row}, {x, stats, stats}, 2 * bytes,
             "TB/s");
  layers.Run("layer_norm_grad" + size, "layer_norm_grad", dims, {x, x, stats, stats, row}, {x},
             3 * bytes, "TB/s");
  layers.Run("layer_norm_weight_grad" + size, "layer_norm_weight_grad", dims, {x, x, stats, stats},
             {row, row}, 2 * bytes, "TB/s");
  layers.Run("layer_norm_grads" + size, "layer_norm_grads", dims, {x, x, stats, stats, row},
             {x, row, row}, 3 * bytes, "TB/s");
}

void MeasureImages(const Layers& layers, const Sizes& sizes, DType t) {
  const int64_t n = sizes.images, side = sizes.side, c = sizes.channels;
  const std::string type = " " + std::string(NameOf(t)) + " " + std::to_string(n) + "x" +
                           std::to_string(side) + "x" + std::to_string(side) + "x" +
                           std::to_string(c);
  const Operand x = WholeOperand(t, {n, side, side, c}), w = WholeOperand(t, {c, c, 3, 3});
  const Operand stats = WholeOperand(DType::kF32, {1, c}),
                channels = WholeOperand(DType::kF32, {c});
  const double pixels = static_cast<double>(n * side * side);
  const double bytes = pixels * static_cast<double>(c * SizeOf(t));
  const double flops = 2 * pixels * static_cast<double>(c * c * 9);
  const Attrs window = {{"stride", int64_t{1}}, {"padding", int64_t{1}}, {"dilation", int64_t{1}}};
  layers.Run("conv2d 3x3" + type, "conv2d", window, {x, w}, {x}, flops, "TFLOP/s");
  layers.Run("conv2d_grad_input 3x3" + type, "conv2d_grad_input", window, {x, w}, {x}, flops,
             "TFLOP/s");
  layers.Run("conv2d_grad_weight 3x3" + type, "conv2d_grad_weight", window, {x, x}, {w}, flops,
             "TFLOP/s");
  layers.Run("bn_sum" + type, "bn_sum", {}, {x}, {stats}, bytes, "TB/s");
  const Operand samples = WholeOperand(DType::kF32, {n, c});
  layers.Run("bn_sample_sums" + type, "bn_sample_sums", {}, {x}, {samples, samples}, bytes, "TB/s");
  layers.Run("bn_grad_sums" + type, "bn_grad_sums", {}, {x, x, stats, stats}, {stats, stats},
             2 * bytes, "TB/s");
  layers.Run("bn_apply" + type, "bn_apply", {}, {x, stats, stats, channels, channels}, {x},
             2 * bytes, "TB/s");
  Attrs block;
  const FusedStep steps[] = {{"bn_apply", FusedRole::kBatchNorm, 1, false, 0, t},
                             {"add", FusedRole::kBinary, 5, false, 0, t},
                             {"relu", FusedRole::kUnary, 0, false, 0, t}};
  SetFusedSteps({std::begin(steps), std::end(steps)}, &block);
  layers.Run("fused bn_apply add relu" + type, "fused", block,
             {x, stats, stats, channels, channels, x}, {x}, 3 * bytes, "TB/s");
  layers.Run("bn_grad_input" + type, "bn_grad_input", {{"count", pixels}},
             {x, x, stats, stats, channels, stats, stats}, {x}, 3 * bytes, "TB/s");
  const Attrs pool = {{"kernel", int64_t{3}}, {"stride", int64_t{2}}, {"padding", int64_t{1}}};
  const Operand half = WholeOperand(t, {n, side / 2, side / 2, c});
  layers.Run("max_pool2d" + type, "max_pool2d", pool, {x}, {half}, 1.25 * bytes, "TB/s");
  layers.Run("max_pool2d_grad" + type, "max_pool2d_grad", pool, {x, half, half}, {x}, 2.5 * bytes,
             "TB/s");
}

// Convolutions of ResNet-50: image side, channels, filters, window, stride.
struct Window {
  int64_t side, c, k, r, stride;
};
constexpr Window kWindows[] = {{224, 3, 64, 7, 2},   {56, 64, 256, 1, 1},    {56, 256, 64, 1, 1},
                               {56, 128, 128, 3, 2}, {14, 1024, 2048, 1, 2}, {7, 512, 512, 3, 1}};

void MeasureConvolutions(const Layers& layers, const Sizes& sizes, DType t) {
  for (const Window& full : kWindows) {
    const int64_t side = std::min(full.side, sizes.most), padding = full.r / 2;
    const int64_t c = full.c > 3 ? full.c / sizes.thinner : full.c, k = full.k / sizes.thinner;
    const int64_t out = (side + 2 * padding - full.r) / full.stride + 1;
    const auto text = [](int64_t number) { return std::to_string(number); };
    const std::string name = " " + text(full.r) + "x" + text(full.r) + " stride " +
                             text(full.stride) + " " + text(c) + "-" + text(k) + " " +
                             std::string(NameOf(t)) + " " + text(sizes.images) + "x" + text(side) +
                             "x" + text(side);
    const Operand x = WholeOperand(t, {sizes.images, side, side, c}),
                  w = WholeOperand(t, {k, c, full.r, full.r});
    const Operand y = WholeOperand(t, {sizes.images, out, out, k});
    const double flops = 2.0 * static_cast<double>(sizes.images * out * out * c * k) *
                         static_cast<double>(full.r * full.r);
    const Attrs window = {{"stride", full.stride}, {"padding", padding}, {"dilation", int64_t{1}}};
    layers.Run("conv2d" + name, "conv2d", window, {x, w}, {y}, flops, "TFLOP/s");
    if (SizeOf(t) == 2) {
      const Operand sums = WholeOperand(DType::kF32, {1, k});
      AlgorithmChoices::OfProcess().Measure("");  // so that cuDNN may compile engines that sum
      layers.Run("conv2d_sums" + name, "conv2d_sums", window, {x, w}, {y, sums, sums}, flops,
                 "TFLOP/s");
      AlgorithmChoices::OfProcess().StopMeasuring();
    }
    if (full.c > 3) {  // an image has no gradient
      layers.Run("conv2d_grad_input" + name, "conv2d_grad_input", window, {y, w}, {x}, flops,
                 "TFLOP/s");
    }
    layers.Run("conv2d_grad_weight" + name, "conv2d_grad_weight", window, {x, y}, {w}, flops,
               "TFLOP/s");
  }
}

// As it is, with dropout (and a mask of keys, which PyTorch's fast kernels do not take) and causal.
void MeasureAttention(const Layers& layers, const Sizes& sizes, DType t, int64_t tokens) {
  const int64_t batch = std::max<int64_t>(1, sizes.tokens / 2 / tokens), width = 64;
  const int64_t heads = sizes.width / width;
  const std::string name = " " + std::string(NameOf(t)) + " s" + std::to_string(tokens);
  const Operand x = WholeOperand(t, {batch, tokens, heads, width});
  const Operand rows = WholeOperand(DType::kF32, {batch, heads, tokens});
  const Operand step = WholeOperand(DType::kI64, {}),
                mask = WholeOperand(DType::kF32, {batch, 1, 1, tokens});
  const double pairs = static_cast<double>(batch * heads * tokens * tokens);
  for (const char* kind : {"", " dropout", " dropout masked", " causal"}) {
    const std::string what = kind;
    Attrs attrs = {{"scale", 0.125}, {"causal", what == " causal"}};
    std::vector<Operand> forward = {x, x, x}, backward = {x, x, x, x, rows, x};
    if (what.starts_with(" dropout")) {
      attrs.Set("p", 0.1);
      attrs.Set("seed", int64_t{1});
      attrs.Set("key", std::string("attention"));
      for (std::vector<Operand>* inputs : {&forward, &backward}) {
        inputs->push_back(step);
        if (what == " dropout masked") inputs->push_back(mask);
      }
    }
    const double seen = what == " causal" ? pairs / 2 : pairs;
    layers.Run("attention" + name + kind, "attention", attrs, forward, {x, rows},
               seen * static_cast<double>(4 * width), "TFLOP/s");
    layers.Run("attention_grad" + name + kind, "attention_grad", attrs, backward, {x, x, x},
               seen * static_cast<double>(10 * width), "TFLOP/s");
  }
}

// Scores of BERT-Large and of GPT-2, and the latter with rows of a multiple of 16 bytes, as plans have them.
void MeasureLosses(const Layers& layers, const Sizes& sizes, DType t) {
  struct Scores {
    int64_t rows, columns, classes;
  };
  const int64_t words = sizes.tokens < 1000 ? 50 : 50'257;
  for (const Scores& scores : {Scores{sizes.tokens / 4, sizes.words - 6, sizes.words - 6},
                               Scores{sizes.tokens / 2, words, words},
                               Scores{sizes.tokens / 2, (words + 7) / 8 * 8, words}}) {
    const std::string name = " " + std::string(NameOf(t)) + " " + std::to_string(scores.rows) +
                             "x" + std::to_string(scores.columns);
    const Operand x = WholeOperand(t, {scores.rows, scores.columns});
    const Operand labels = WholeOperand(DType::kI64, {scores.rows}),
                  row = WholeOperand(DType::kF32, {scores.rows});
    const Attrs attrs = {{"classes", scores.classes}};
    const double bytes = static_cast<double>(scores.rows * scores.classes * SizeOf(t));
    layers.Run("cross_entropy" + name, "cross_entropy", attrs, {x, labels}, {row, row}, bytes,
               "TB/s", scores.classes);
    layers.Run("cross_entropy_grad" + name, "cross_entropy_grad", attrs, {x, labels, row, row}, {x},
               2 * bytes, "TB/s", scores.classes);
  }
}

int Main(const char* path, const char* cublaslt, const char* cudnn, const Sizes& sizes,
         const Runs& runs) {
  const absl::StatusOr<const CudaApi*> opened = OpenCuda(path, cublaslt, "", cudnn);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", MessageOf(opened.status()).c_str());
    return 1;
  }
  const CudaApi* api = *opened;
  Check(api, api->set_device(0), "set_device");
  const Layers layers(api, runs);
  for (const DType t : {DType::kF32, DType::kBF16}) {
    MeasureNorms(layers, sizes, t);
    if (t == DType::kBF16) MeasureLosses(layers, sizes, t);
    MeasureImages(layers, sizes, t);
    for (const int64_t s : {int64_t{128}, int64_t{512}}) {
      if (s <= sizes.tokens) MeasureAttention(layers, sizes, t, s);
    }
    const double row_bytes = static_cast<double>(sizes.width * SizeOf(t));
    const Operand table = WholeOperand(t, {sizes.words, sizes.width});
    const Operand index = WholeOperand(DType::kI64, {sizes.tokens});
    const Operand rows = WholeOperand(t, {sizes.tokens, sizes.width});
    const std::string name = " " + std::string(NameOf(t)) + " " + std::to_string(sizes.tokens) +
                             " of " + std::to_string(sizes.words) + "x" +
                             std::to_string(sizes.width);
    layers.Run("embedding" + name, "embedding", {}, {table, index}, {rows},
               2 * row_bytes * static_cast<double>(sizes.tokens), "TB/s", sizes.words);
    layers.Run("embedding_grad" + name, "embedding_grad", {{"rows", sizes.words}}, {rows, index},
               {table}, row_bytes * static_cast<double>(sizes.tokens + sizes.words), "TB/s",
               sizes.words);
  }
  MeasureConvolutions(layers, sizes, DType::kF16);
  MeasureConvolutions(layers, sizes, DType::kBF16);
  const Shape square = {sizes.line, sizes.line};
  const Operand lines = WholeOperand(DType::kF32, square);
  const double bytes = 4.0 * static_cast<double>(sizes.line * sizes.line);
  const std::string name = " f32 " + std::to_string(sizes.line) + "x" + std::to_string(sizes.line);
  layers.Run("cumsum" + name, "cumsum", {{"dim", int64_t{1}}}, {lines}, {lines}, 2 * bytes, "TB/s");
  layers.Run("sort" + name, "sort", {{"dim", int64_t{1}}}, {lines},
             {lines, WholeOperand(DType::kI64, square)}, 4 * bytes, "TB/s");
  return 0;
}

}  // namespace
}  // namespace oneflow::kernels

int main(int argc, char** argv) {
  const bool small = argc > 2 && std::string(argv[argc - 1]) == "small";
  const int paths = argc - (small ? 2 : 1);
  if (paths != 1 && paths != 3) {
    std::fprintf(stderr,
                 "usage: oneflow_cuda_layers_benchmark liboneflow_cuda.so [libcublasLt.so.13 "
                 "libcudnn.so.9] [small]\n");
    return 2;
  }
  const char* cublaslt = paths == 3 ? argv[2] : "";
  const char* cudnn = paths == 3 ? argv[3] : "";
  using oneflow::kernels::Runs;
  using oneflow::kernels::Sizes;
  const Sizes few = {128, 64, 96, 1, 6, 16, 70, 8, 32};
  return oneflow::kernels::Main(argv[1], cublaslt, cudnn, small ? few : Sizes(),
                                small ? Runs{0, 1, 1} : Runs{3, 11, 10});
}
