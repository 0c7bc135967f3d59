#include "runtime/devices/cuda/cuda_step.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plan/gpu_memory.h"
#include "plan/needs.h"

namespace oneflow {

using kernels::CudaEvent;
using kernels::CudaRegion;
using kernels::CudaStatus;
using kernels::CudaStream;
using kernels::StepBlock;

namespace {

constexpr size_t kNone = ~size_t{0};
constexpr int64_t kAlignment = 256;
int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The copy of a FEED (from the logical tensor) or a FETCH (to it).
absl::StatusOr<CudaRegion> RegionOf(const kernels::CudaApi& api, const StepWork::Firing& firing) {
  kernels::KernelSpec spec;
  const bool feeds = firing.kind == StepWork::Kind::kFeed;
  spec.op = feeds ? "a feed" : "a fetch";
  spec.inputs.resize(1);
  spec.inputs[0].dtype = firing.dtype;
  const Shape origin(firing.extent.size(), 0);
  const kernels::StridedCopy copy =
      feeds ? kernels::StridedCopy::Region(firing.dtype, firing.extent, firing.logical,
                                           firing.begin, firing.extent, origin)
            : kernels::StridedCopy::Region(firing.dtype, firing.extent, firing.extent, origin,
                                           firing.logical, firing.begin);
  return CudaRegion::Of(&api, spec, kernels::CombineMode::kCopy, copy);
}

int64_t ReportsBytes(const StepWork& work) {
  return Aligned(static_cast<int64_t>(work.devices.size() * sizeof(StepBlock)));
}

// Of the dense shard that a FETCH reads.
int64_t FetchedBytes(const StepWork::Firing& firing) {
  return NumElements(firing.extent) * SizeOf(firing.dtype);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaStep>> CudaStep::Make(std::shared_ptr<CudaContext> context,
                                                         StepWork work, bool captures) {
  std::unique_ptr<CudaStep> step(new CudaStep(std::move(context), captures));
  step->work_ = std::move(work);
  OF_RETURN_IF_ERROR(step->Prepare());
  return step;
}

CudaStep::~CudaStep() { context_->Drain(); }

absl::Status CudaStep::Prepare() {
  OF_RETURN_IF_ERROR(PrepareGpus());
  PlaceInputs();
  results_bytes_ = ReportsBytes(work_);
  for (const int64_t bytes : work_.output_bytes) {
    output_at_.push_back(results_bytes_);
    results_bytes_ += Aligned(bytes);
  }
  for (Gpu& gpu : gpus_) {
    gpu.ahead = InputsComeAhead(gpu.inputs_bytes);
    ahead_ |= gpu.ahead;
    OF_ASSIGN_OR_RETURN(gpu.inputs,
                        context_->Allocate(gpu.number, gpu.inputs_bytes * (gpu.ahead ? 2 : 1)));
    if (&gpu == &gpus_.front()) continue;
    OF_ASSIGN_OR_RETURN(gpu.reports, context_->Allocate(gpu.number, ReportsBytes(work_)));
  }
  OF_ASSIGN_OR_RETURN(results_, context_->Allocate(context_->lead(), results_bytes_));
  OF_ASSIGN_OR_RETURN(pinned_inputs_, context_->AllocatePinned(inputs_bytes_ * work_.window));
  OF_ASSIGN_OR_RETURN(pinned_results_, context_->AllocatePinned(results_bytes_ * work_.window));
  OF_RETURN_IF_ERROR(context_->Enter(context_->lead()));
  for (int64_t i = 0; i < work_.window; ++i) {
    OF_ASSIGN_OR_RETURN(over_.emplace_back(), CudaEvent::Make(&context_->api()));
  }
  graphs_.resize(static_cast<size_t>(work_.window));
  inputs_graphs_.resize(static_cast<size_t>(work_.window));
  OF_ASSIGN_OR_RETURN(start_, CudaEvent::Make(&context_->api()));
  OF_ASSIGN_OR_RETURN(begin_, CudaEvent::Make(&context_->api()));
  for (const StepWork::Lane& lane : work_.lanes) {
    OF_RETURN_IF_ERROR(context_->Enter(context_->GpuOf(lane.device)));
    OF_ASSIGN_OR_RETURN(streams_.emplace_back(), context_->StreamOf(lane.device, lane.name));
    OF_ASSIGN_OR_RETURN(ends_.emplace_back(), CudaEvent::Make(&context_->api()));
  }
  for (const WholeRing& ring : work_.rings) {
    OF_ASSIGN_OR_RETURN(comms_.emplace_back(), context_->CommsOf(ring.devices));
  }
  if (!work_.messengers.empty()) {
    OF_ASSIGN_OR_RETURN(messages_, context_->CommsOf(work_.messengers));
  }
  return PrepareFirings();
}

absl::Status CudaStep::PrepareGpus() {
  gpus_.emplace_back().number = context_->lead();
  for (const uint32_t device : work_.devices) {
    const int number = context_->GpuOf(device);
    size_t gpu = 0;
    while (gpu < gpus_.size() && gpus_[gpu].number != number) ++gpu;
    gpu_of_device_.push_back(gpu);
    if (gpu < gpus_.size()) continue;
    OF_RETURN_IF_ERROR(context_->Enter(number));
    gpus_.emplace_back().number = number;
    OF_ASSIGN_OR_RETURN(gpus_.back().brought, CudaEvent::Make(&context_->api()));
  }
  return absl::OkStatus();
}

void CudaStep::PlaceInputs() {
  shifts_.assign(work_.firings.size(), 0);
  stretches_.resize(gpus_.size());
  std::vector<std::vector<std::pair<size_t, Stretch>>> read(gpus_.size());  // with the firing
  for (size_t i = 0; i < work_.firings.size(); ++i) {
    const StepWork::Firing& firing = work_.firings[i];
    if (firing.kind != StepWork::Kind::kFeed || NumElements(firing.extent) == 0) continue;
    const int64_t element = SizeOf(firing.dtype);
    const Shape strides = StridesOf(firing.logical);
    int64_t first = 0, last = 0;
    for (size_t d = 0; d < strides.size(); ++d) {
      first += firing.begin[d] * strides[d];
      last += (firing.begin[d] + firing.extent[d] - 1) * strides[d];
    }
    read[GpuOfFiring(i)].push_back(
        {i,
         {firing.index, firing.offset + first * element, firing.offset + (last + 1) * element, 0}});
  }
  for (size_t g = 0; g < gpus_.size(); ++g) {
    const auto in_order = [](const auto& a, const auto& b) {
      return std::tie(a.second.input, a.second.begin) < std::tie(b.second.input, b.second.begin);
    };
    std::sort(read[g].begin(), read[g].end(), in_order);
    std::vector<size_t> stretch_of;
    for (const auto& [firing, stretch] : read[g]) {
      if (stretches_[g].empty() || stretches_[g].back().input != stretch.input ||
          stretches_[g].back().end < stretch.begin) {
        stretches_[g].push_back(stretch);
      }
      stretches_[g].back().end = std::max(stretches_[g].back().end, stretch.end);
      stretch_of.push_back(stretches_[g].size() - 1);
    }
    for (Stretch& stretch : stretches_[g]) {  // aligned as in the logical input
      stretch.at = gpus_[g].inputs_bytes + stretch.begin % kAlignment;
      gpus_[g].inputs_bytes = Aligned(stretch.at + stretch.end - stretch.begin);
    }
    for (size_t r = 0; r < read[g].size(); ++r) {
      const size_t firing = read[g][r].first;
      const Stretch& stretch = stretches_[g][stretch_of[r]];
      shifts_[firing] = (stretch.at - stretch.begin + work_.firings[firing].offset) /
                        SizeOf(work_.firings[firing].dtype);
    }
    gpus_[g].inputs_at = inputs_bytes_;
    inputs_bytes_ += gpus_[g].inputs_bytes;
  }
}

absl::Status CudaStep::PrepareFirings() {
  const size_t firings = work_.firings.size();
  events_.resize(firings);
  regions_.resize(firings);
  skipped_.resize(firings);
  std::vector<int64_t> detour_bytes(work_.lanes.size(), 0);
  std::vector<int64_t> crossing_bytes(work_.lanes.size(), 0);
  int64_t fetched_bytes = 0;
  std::set<std::tuple<uint32_t, int64_t, Shape, Shape>> fetched;
  for (size_t i = 0; i < firings; ++i) {
    const StepWork::Firing& firing = work_.firings[i];
    if (firing.awaited || firing.kind == StepWork::Kind::kCollective ||
        firing.kind == StepWork::Kind::kSend || firing.kind == StepWork::Kind::kReceive) {
      OF_RETURN_IF_ERROR(context_->Enter(gpus_[GpuOfFiring(i)].number));
      OF_ASSIGN_OR_RETURN(events_[i], CudaEvent::Make(&context_->api()));
    }
    if (firing.kind == StepWork::Kind::kFeed || firing.kind == StepWork::Kind::kFetch) {
      OF_ASSIGN_OR_RETURN(regions_[i], RegionOf(context_->api(), firing));
    }
    if (firing.kind == StepWork::Kind::kFetch) {  // replicas are equal: the first is enough
      skipped_[i] =
          !fetched.emplace(firing.index, firing.offset, firing.begin, firing.extent).second;
      if (GpuOfFiring(i) != 0 && !skipped_[i]) {
        shifts_[i] = fetched_bytes;
        fetched_bytes += Aligned(FetchedBytes(firing));
      }
    }
    int64_t crossing = 0;
    for (const auto* remotes : {&firing.remote_inputs, &firing.remote_outputs}) {
      for (const StepWork::Firing::Remote& remote : *remotes) {
        if (GpuOfDevice(remote.device) != GpuOfFiring(i)) crossing += Aligned(remote.bytes);
      }
    }
    crossing_bytes[firing.lane] = std::max(crossing_bytes[firing.lane], crossing);
    if (!work_.may_fail || KeepsGate(firing.op == nullptr ? "" : *firing.op)) continue;
    int64_t bytes = 0;
    for (const auto& [output, size] : firing.states) bytes += Aligned(size);
    detour_bytes[firing.lane] = std::max(detour_bytes[firing.lane], bytes);
  }
  OF_ASSIGN_OR_RETURN(fetched_, context_->Allocate(context_->lead(), fetched_bytes));
  for (size_t lane = 0; lane < work_.lanes.size(); ++lane) {
    const int gpu = context_->GpuOf(work_.lanes[lane].device);
    OF_ASSIGN_OR_RETURN(detours_.emplace_back(), context_->Allocate(gpu, detour_bytes[lane]));
    OF_ASSIGN_OR_RETURN(crossings_.emplace_back(), context_->Allocate(gpu, crossing_bytes[lane]));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::Rebind(StepWork work) {
  for (auto& graph : graphs_) graph.reset();  // they have the old addresses
  work_ = std::move(work);
  return absl::OkStatus();
}

absl::Status CudaStep::Launch(int64_t step, const std::byte* const* inputs) {
  OF_RETURN_IF_ERROR(context_->Enter(context_->lead()));
  const int64_t place = step % work_.window;
  StageInputs(place, inputs);
  if (ahead_) {
    OF_RETURN_IF_ERROR(BringAhead(place));
  } else {
    context_->Stay();
  }
  OF_RETURN_IF_ERROR(LaunchGraph(context_->stream(), &graphs_[static_cast<size_t>(place)],
                                 [&] { return Enqueue(place); }));
  warm_ = true;
  return context_->Ended(over_[static_cast<size_t>(place)].get());
}

// The step that had the place before is over, so nobody reads what lies there.
void CudaStep::StageInputs(int64_t place, const std::byte* const* inputs) {
  for (size_t g = 0; g < gpus_.size(); ++g) {
    std::byte* staged = pinned_inputs_.data() + place * inputs_bytes_ + gpus_[g].inputs_at;
    for (const Stretch& stretch : stretches_[g]) {
      context_->copies()->Copy(staged + stretch.at, inputs[stretch.input] + stretch.begin,
                               stretch.end - stretch.begin);
    }
  }
}

absl::Status CudaStep::BringAhead(int64_t place) {
  CudaStream* stream = context_->next_stream();
  // Of the first step, the block is still to be made zeros; or a number was left out, and the step before reads that
  // half.
  if (last_place_ < 0 || place % 2 == last_place_ % 2) OF_RETURN_IF_ERROR(context_->Turn());
  last_place_ = place;
  const auto bring = [&] { return BringInputs(place, true, stream); };
  // To one GPU it is one copy, which needs no graph.
  OF_RETURN_IF_ERROR(gpus_.size() == 1
                         ? bring()
                         : LaunchGraph(stream, &inputs_graphs_[static_cast<size_t>(place)], bring));
  return stream == context_->stream() ? absl::OkStatus() : context_->Turn();
}

absl::Status CudaStep::LaunchGraph(CudaStream* stream, std::unique_ptr<kernels::CudaGraph>* graph,
                                   const std::function<absl::Status()>& enqueue) {
  if (!warm_ || !captures_) return enqueue();
  if (*graph == nullptr) {
    OF_RETURN_IF_ERROR(stream->BeginCapture());
    const absl::Status enqueued = enqueue();
    absl::StatusOr<std::unique_ptr<kernels::CudaGraph>> captured = stream->EndCapture();
    const absl::Status& status = enqueued.ok() ? captured.status() : enqueued;
    if (!status.ok()) {
      // Some library's kernel cannot be captured, say. Steps are right without, only slower.
      std::fprintf(stderr, "oneflow: steps are enqueued kernel by kernel: %s\n",
                   MessageOf(status).c_str());
      captures_ = false;
      return enqueue();
    }
    *graph = *std::move(captured);
  }
  return stream->Launch(**graph);
}

// All GPUs are brought theirs at once, each on its own stream, behind what reads the same blocks: all that the
// stream has.
absl::Status CudaStep::BringInputs(int64_t place, bool ahead, CudaStream* stream) {
  const kernels::CudaApi& api = context_->api();
  const auto brings = [&](const Gpu& gpu) { return gpu.inputs_bytes > 0 && gpu.ahead == ahead; };
  if (gpus_.size() > 1) OF_RETURN_IF_ERROR(stream->Record(start_.get()));
  for (const Gpu& gpu : gpus_) {
    if (!brings(gpu)) continue;
    const bool leads = &gpu == &gpus_.front();
    OF_RETURN_IF_ERROR(context_->Enter(gpu.number));
    CudaStream* own = leads ? stream : context_->StreamOfGpu(gpu.number);
    if (!leads) OF_RETURN_IF_ERROR(own->Wait(*start_));
    const std::byte* staged = pinned_inputs_.data() + place * inputs_bytes_ + gpu.inputs_at;
    OF_RETURN_IF_ERROR(
        CudaStatus(api, api.copy(gpu.InputsOf(place), staged, gpu.inputs_bytes, own->handle()),
                   "a step's inputs"));
    if (!leads) OF_RETURN_IF_ERROR(own->Record(gpu.brought.get()));
  }
  OF_RETURN_IF_ERROR(context_->Enter(context_->lead()));
  for (const Gpu& gpu : gpus_) {
    if (gpu.brought != nullptr && brings(gpu)) OF_RETURN_IF_ERROR(stream->Wait(*gpu.brought));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::Enqueue(int64_t place) {
  CudaStream* stream = context_->stream();
  collected_.assign(gpus_.size(), kNone);
  OF_RETURN_IF_ERROR(BringInputs(place, false, stream));
  OF_RETURN_IF_ERROR(stream->Record(begin_.get()));
  for (CudaStream* lane : streams_) OF_RETURN_IF_ERROR(lane->Wait(*begin_));
  for (size_t i = 0; i < work_.firings.size(); ++i) {
    if (absl::Status status = EnqueueFiring(i, place); !status.ok()) {
      return WithContext(status, work_.names[work_.firings[i].task]);
    }
  }
  for (size_t lane = 0; lane < streams_.size(); ++lane) {
    OF_RETURN_IF_ERROR(streams_[lane]->Record(ends_[lane].get()));
    OF_RETURN_IF_ERROR(stream->Wait(*ends_[lane]));
  }
  // What other GPUs fetched is here now.
  OF_RETURN_IF_ERROR(context_->Enter(context_->lead()));
  for (size_t i = 0; i < work_.firings.size(); ++i) {
    const StepWork::Firing& firing = work_.firings[i];
    if (firing.kind != StepWork::Kind::kFetch || skipped_[i] || GpuOfFiring(i) == 0) continue;
    OF_RETURN_IF_ERROR(
        CudaStatus(context_->api(),
                   regions_[i].Run(fetched_.data() + shifts_[i],
                                   results_.data() + output_at_[firing.index] + firing.offset,
                                   stream->handle()),
                   "a fetch"));
  }
  return CudaStatus(context_->api(),
                    context_->api().copy(pinned_results_.data() + place * results_bytes_,
                                         results_.data(), results_bytes_, stream->handle()),
                    "a step's outputs");
}

absl::Status CudaStep::EnqueueFiring(size_t at, int64_t place) {
  const StepWork::Firing& firing = work_.firings[at];
  const Gpu& gpu = gpus_[GpuOfFiring(at)];
  CudaStream* stream = streams_[firing.lane];
  OF_RETURN_IF_ERROR(context_->Enter(gpu.number));
  for (const uint32_t other : firing.waits) OF_RETURN_IF_ERROR(stream->Wait(*events_[other]));
  switch (firing.kind) {
    case StepWork::Kind::kFeed:
      OF_RETURN_IF_ERROR(CudaStatus(
          context_->api(),
          regions_[at].Run(gpu.InputsOf(place), firing.outputs[0], stream->handle(), shifts_[at]),
          "a feed"));
      break;
    case StepWork::Kind::kFetch:
      OF_RETURN_IF_ERROR(Fetch(at, stream));
      break;
    case StepWork::Kind::kKernel:
      OF_RETURN_IF_ERROR(RunKernel(at, stream));
      break;
    case StepWork::Kind::kCollective:
      return Collect(at, stream);
    case StepWork::Kind::kSend:
    case StepWork::Kind::kReceive:
      return firing.last_of_call ? Carry(at) : absl::OkStatus();
  }
  return firing.awaited ? stream->Record(events_[at].get()) : absl::OkStatus();
}

absl::Status CudaStep::Fetch(size_t at, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  const kernels::CudaApi& api = context_->api();
  if (skipped_[at]) return absl::OkStatus();
  if (const size_t gpu = GpuOfFiring(at); gpu != 0) {
    const int64_t bytes = FetchedBytes(firing);
    if (bytes == 0) return absl::OkStatus();
    return CudaStatus(api,
                      api.copy_peer(fetched_.data() + shifts_[at], gpus_[0].number,
                                    firing.inputs[0], gpus_[gpu].number, bytes, stream->handle()),
                      "a fetch");
  }
  return CudaStatus(
      api,
      regions_[at].Run(firing.inputs[0], results_.data() + output_at_[firing.index] + firing.offset,
                       stream->handle()),
      "a fetch");
}

absl::Status CudaStep::Collect(size_t at, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  const WholeRing& ring = work_.rings[firing.ring];
  OF_RETURN_IF_ERROR(FollowCalls(at, stream));
  if (firing.member + 1 < ring.members.size()) return absl::OkStatus();
  const size_t first = at - firing.member;
  std::vector<void*> buffers;
  std::vector<CudaStream*> streams;
  for (size_t i = first; i <= at; ++i) {
    buffers.push_back(work_.firings[i].outputs[0]);
    streams.push_back(streams_[work_.firings[i].lane]);
  }
  OF_RETURN_IF_ERROR(comms_[firing.ring]->Run(ring, buffers, streams));
  for (size_t i = first; i <= at; ++i) {
    OF_RETURN_IF_ERROR(streams[i - first]->Record(events_[i].get()));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::FollowCalls(size_t at, CudaStream* stream) {
  if (const size_t before = collected_[GpuOfFiring(at)]; before != kNone) {
    OF_RETURN_IF_ERROR(stream->Wait(*events_[before]));
  }
  collected_[GpuOfFiring(at)] = at;
  return absl::OkStatus();
}

// On each GPU one stream has all its ends: that of the first, which waits for the others', as they do for it.
absl::Status CudaStep::Carry(size_t at) {
  std::map<size_t, size_t> first_on;  // by GPU
  std::vector<CudaComms::End> ends;
  for (size_t i = work_.firings[at].first_of_call; i <= at; ++i) {
    const StepWork::Firing& firing = work_.firings[i];
    const auto [first, is_new] = first_on.emplace(GpuOfFiring(i), i);
    CudaStream* stream = streams_[work_.firings[first->second].lane];
    if (is_new) OF_RETURN_IF_ERROR(FollowCalls(i, stream));
    if (CudaStream* own = streams_[firing.lane]; own != stream) {
      OF_RETURN_IF_ERROR(own->Record(events_[i].get()));
      OF_RETURN_IF_ERROR(stream->Wait(*events_[i]));
    }
    if (firing.bytes == 0) continue;
    const bool sends = firing.kind == StepWork::Kind::kSend;
    const kernels::CudaMessage message = {sends, static_cast<int32_t>(firing.own),
                                          static_cast<int32_t>(firing.peer), firing.bytes};
    // NCCL reads what is sent.
    void* data = sends ? const_cast<void*>(firing.inputs[0]) : firing.outputs[0];
    ends.push_back({message, data, stream});
  }
  if (!ends.empty()) OF_RETURN_IF_ERROR(messages_->Carry(ends));
  for (size_t i = work_.firings[at].first_of_call; i <= at; ++i) {
    const size_t first = first_on.at(GpuOfFiring(i));
    CudaStream* own = streams_[work_.firings[i].lane];
    if (own != streams_[work_.firings[first].lane]) {
      OF_RETURN_IF_ERROR(own->Wait(*events_[first]));
    }
    OF_RETURN_IF_ERROR(own->Record(events_[i].get()));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::RunKernel(size_t at, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  std::vector<const void*> inputs = firing.inputs;
  std::vector<void*> outputs = firing.outputs;
  OF_RETURN_IF_ERROR(BringRemote(at, &inputs, &outputs, stream));
  OF_RETURN_IF_ERROR(RunGated(at, inputs, outputs, stream));
  OF_RETURN_IF_ERROR(SendRemote(at, outputs, stream));
  return SendReport(at, stream);
}

absl::Status CudaStep::RunGated(size_t at, const std::vector<const void*>& inputs,
                                std::vector<void*> outputs, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  const kernels::CudaApi& api = context_->api();
  StepBlock* reports = ReportsOn(GpuOfFiring(at));
  kernels::KernelArgs args;
  args.inputs = inputs.data();
  args.outputs = outputs.data();
  args.workspace = firing.workspace;
  args.block = reports + firing.device;
  args.task = firing.task;
  args.micro = firing.micro;
  args.chunk = firing.chunk;
  if (!work_.may_fail || firing.states.empty()) return firing.kernel->Run(args, stream);
  const kernels::CudaGate shut = {reports, static_cast<int32_t>(work_.devices.size())};
  if (KeepsGate(*firing.op)) {
    args.gate = shut.blocks;
    args.gate_blocks = static_cast<uint32_t>(shut.count);
    return firing.kernel->Run(args, stream);
  }
  // Elsewhere first, then into the states.
  std::byte* place = detours_[firing.lane].data();
  for (const auto& [output, bytes] : firing.states) {
    outputs[output] = place;
    if (firing.updates && bytes > 0) {
      OF_RETURN_IF_ERROR(CudaStatus(
          api, api.copy(place, firing.outputs[output], bytes, stream->handle()), "a state"));
    }
    place += Aligned(bytes);
  }
  OF_RETURN_IF_ERROR(firing.kernel->Run(args, stream));
  for (const auto& [output, bytes] : firing.states) {
    if (bytes == 0) continue;
    OF_RETURN_IF_ERROR(CudaStatus(
        api,
        api.copy_gated(&shut, firing.outputs[output], outputs[output], bytes, stream->handle()),
        "a state"));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::BringRemote(size_t at, std::vector<const void*>* inputs,
                                   std::vector<void*>* outputs, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  const kernels::CudaApi& api = context_->api();
  const size_t here = GpuOfFiring(at);
  std::byte* place = crossings_[firing.lane].data();
  const auto bring = [&](const StepWork::Firing::Remote& remote, const void* from) {
    if (remote.bytes == 0) return absl::OkStatus();
    return CudaStatus(
        api,
        api.copy_peer(place, gpus_[here].number, from, gpus_[GpuOfDevice(remote.device)].number,
                      remote.bytes, stream->handle()),
        "a message");
  };
  for (const StepWork::Firing::Remote& remote : firing.remote_inputs) {
    if (GpuOfDevice(remote.device) == here) continue;
    OF_RETURN_IF_ERROR(bring(remote, firing.inputs[remote.port]));
    (*inputs)[remote.port] = place;
    place += Aligned(remote.bytes);
  }
  for (const StepWork::Firing::Remote& remote : firing.remote_outputs) {
    if (GpuOfDevice(remote.device) == here) continue;
    void* const there = firing.outputs[remote.port];
    const auto same = std::find(firing.inputs.begin(), firing.inputs.end(), there);
    if (same != firing.inputs.end()) {  // in place of an input, which has been brought
      (*outputs)[remote.port] =
          const_cast<void*>((*inputs)[static_cast<size_t>(same - firing.inputs.begin())]);
      continue;
    }
    if (!remote.whole) OF_RETURN_IF_ERROR(bring(remote, there));
    (*outputs)[remote.port] = place;
    place += Aligned(remote.bytes);
  }
  return absl::OkStatus();
}

absl::Status CudaStep::SendRemote(size_t at, const std::vector<void*>& outputs,
                                  CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  const kernels::CudaApi& api = context_->api();
  const size_t here = GpuOfFiring(at);
  for (const StepWork::Firing::Remote& remote : firing.remote_outputs) {
    const size_t there = GpuOfDevice(remote.device);
    if (there == here || remote.bytes == 0) continue;
    OF_RETURN_IF_ERROR(CudaStatus(
        api,
        api.copy_peer(firing.outputs[remote.port], gpus_[there].number, outputs[remote.port],
                      gpus_[here].number, remote.bytes, stream->handle()),
        "a message"));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::SendReport(size_t at, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  if (!work_.may_fail || !firing.may_fail) return absl::OkStatus();
  const kernels::CudaApi& api = context_->api();
  const size_t here = GpuOfFiring(at);
  for (size_t g = 0; g < gpus_.size(); ++g) {
    if (g == here) continue;
    OF_RETURN_IF_ERROR(CudaStatus(api,
                                  api.copy_peer(ReportsOn(g) + firing.device, gpus_[g].number,
                                                ReportsOn(here) + firing.device, gpus_[here].number,
                                                int64_t{sizeof(StepBlock)}, stream->handle()),
                                  "a report"));
  }
  return absl::OkStatus();
}

StepBlock* CudaStep::ReportsOn(size_t gpu) const {
  return reinterpret_cast<StepBlock*>(gpu == 0 ? results_.data() : gpus_[gpu].reports.data());
}

absl::Status CudaStep::Finish(int64_t step, std::byte* const* outputs,
                              std::vector<StepBlock>* blocks) {
  OF_RETURN_IF_ERROR(context_->Enter(context_->lead()));
  const int64_t place = step % work_.window;
  OF_RETURN_IF_ERROR(over_[static_cast<size_t>(place)]->Synchronize());
  const std::byte* results = pinned_results_.data() + place * results_bytes_;
  bool wrong = false;
  for (size_t d = 0; d < work_.devices.size(); ++d) {
    std::memcpy(&(*blocks)[d], results + d * sizeof(StepBlock), sizeof(StepBlock));
    wrong |= (*blocks)[d].error() != kernels::DataErrorCode::kNone;
  }
  for (size_t i = 0; i < output_at_.size() && !wrong; ++i) {
    if (work_.output_bytes[i] == 0 || outputs[i] == nullptr) continue;
    std::memcpy(outputs[i], results + output_at_[i], static_cast<size_t>(work_.output_bytes[i]));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::ForgetErrors() {
  for (size_t g = 0; g < gpus_.size(); ++g) {
    OF_RETURN_IF_ERROR(
        context_->Zero(gpus_[g].number, ReportsOn(g),
                       static_cast<int64_t>(work_.devices.size() * sizeof(StepBlock))));
  }
  return absl::OkStatus();
}

}  // namespace oneflow
