// Proof 6: dataflow. Every reader finds in its buffer what its port says: the elements of one logical
// value that its sharding gives to its device, with exactly the contributions combined that the
// sharding says. Kernels make contents by definition (their port is what they make; proof 5 shows that
// it is legal); movement tasks are executed symbolically (content.h), rings chunk by chunk over all
// their members. What comes from a rank whose plan is not at hand is taken to be what is expected.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "plan/attrs.h"
#include "plan/content.h"
#include "plan/firings.h"
#include "plan/proofs.h"
#include "plan/sent_pieces.h"
#include "plan/shape_of.h"
#include "plan/sharding.h"

namespace oneflow {
namespace {

const char kDataflowProof[] = "dataflow";

Shape FrameOf(const plan::Port& port) { return ShapeOf(port.type().shape()); }

// A logical value, whichever ranks hold it.
struct LogicalValue {
  std::string name;
  Shape shape;
  Sharding sharding;
  std::vector<size_t> partial;  // axes on which it has contributions
  std::optional<Sbp::Reduce> reduce;
  int64_t parts = 1;
};

class Flow {
 public:
  explicit Flow(const std::vector<const plan::Plan*>& plans)
      : plans_(plans),
        mesh_(Mesh::FromProto(plans[0]->mesh())),
        axes_(mesh_.LayoutAxes(static_cast<int>(plans[0]->micro_batches()))),
        held_(plans.size()) {
    for (int stage = 0; stage < mesh_.stages(); ++stage) {
      const std::vector<int> devices = mesh_.StageDevices(stage);
      for (size_t i = 0; i < devices.size(); ++i)
        places_[{stage, devices[i]}] = mesh_.StageCoordinates(static_cast<int>(i));
    }
    for (size_t p = 0; p < plans.size(); ++p) {
      for (uint32_t t = 0; t < static_cast<uint32_t>(plans[p]->tasks_size()); ++t) {
        const plan::Task& task = TaskAt(p, t);
        if (task.kind() == plan::SEND) {
          senders_[plans[p]->channels(static_cast<int>(task.channel())).name()] = {p, t};
          if (SendsPieces(task) && task.inputs(0).has_register_())
            ring_sends_[{p, task.inputs(0).register_()}] = t;
        } else if (task.kind() == plan::MOVE && task.op() == "ring_reduce") {
          rings_[task.stamp().position()].push_back({p, t});
        }
        if (task.kind() == plan::MOVE && task.op() == "ring_send" && task.inputs_size() == 1 &&
            task.inputs(0).has_register_()) {
          ring_sends_[{p, task.inputs(0).register_()}] = t;
        }
      }
    }
  }

  absl::Status Prove() {
    for (size_t p = 0; p < plans_.size(); ++p) {
      for (uint32_t t = 0; t < static_cast<uint32_t>(plans_[p]->tasks_size()); ++t) {
        const plan::Task& task = TaskAt(p, t);
        for (const int64_t micro : Micros(task)) {
          if (task.kind() == plan::COMPUTE || task.kind() == plan::FETCH) {
            for (int i = 0; i < task.inputs_size(); ++i) OF_RETURN_IF_ERROR(Reads(p, t, i, micro));
          } else if (task.kind() == plan::MOVE && task.outputs_size() == 1 &&
                     task.outputs(0).has_state()) {
            OF_RETURN_IF_ERROR(WritesState(p, t, micro));
          }
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  using TaskId = std::pair<size_t, uint32_t>;  // (plan, task)
  using ContentOr = absl::StatusOr<const Content*>;

  const plan::Task& TaskAt(size_t p, uint32_t t) const {
    return plans_[p]->tasks(static_cast<int>(t));
  }
  const plan::Register& Reg(size_t p, uint32_t r) const {
    return plans_[p]->registers(static_cast<int>(r));
  }
  absl::Status Wrong(size_t p, uint32_t t, const std::string& message) const {
    return ProofError(*plans_[p], kDataflowProof, t,
                      absl::StrCat(TaskText(*plans_[p], t), ": ", message));
  }

  // The first, the second and the last micro-batch stand for all: slices move evenly.
  std::vector<int64_t> Micros(const plan::Task& task) const {
    const int64_t count = InMicroLoop(task) ? plans_[0]->micro_batches() : 1;
    std::vector<int64_t> micros = {0};
    if (count > 1) micros.push_back(1);
    if (count > 2) micros.push_back(count - 1);
    return micros;
  }

  std::optional<std::vector<int64_t>> Coordinates(size_t p, int stage, uint32_t device,
                                                  int64_t micro) const {
    const auto place =
        places_.find({stage, static_cast<int>(plans_[p]->devices(static_cast<int>(device)).id())});
    if (place == places_.end()) return std::nullopt;
    std::vector<int64_t> coordinates = {micro};
    coordinates.insert(coordinates.end(), place->second.begin(), place->second.end());
    return coordinates;
  }

  static int64_t PartOf(const LogicalValue& value, const std::vector<Axis>& axes,
                        const std::vector<int64_t>& coordinates) {
    int64_t part = 0;
    for (size_t a : value.partial) part = part * axes[a].size + coordinates[a];
    return part;
  }

  // The number of a value; its shards agree wherever they are made. `name` gives its text.
  template <typename Name>
  absl::StatusOr<int> ValueOf(size_t p, uint32_t t, const std::string& key, const Name& name,
                              const Shape& shape, const Sharding& sharding) {
    const auto [it, inserted] = value_ids_.try_emplace(key, static_cast<int>(values_.size()));
    if (!inserted) {
      const LogicalValue& known = values_[static_cast<size_t>(it->second)];
      if (known.shape == shape && known.sharding == sharding) return it->second;
      return Wrong(p, t,
                   absl::StrCat("makes ", name(), " as ", sharding.ToString(), " of ",
                                ToString(shape), ", another device as ", known.sharding.ToString(),
                                " of ", ToString(known.shape)));
    }
    LogicalValue value{name(), shape, sharding, {}, std::nullopt, 1};
    for (size_t a = 0; a < axes_.size(); ++a) {
      if (sharding.sbps[a].kind != Sbp::kPartial) continue;
      value.partial.push_back(a);
      value.reduce = sharding.sbps[a].reduce;
      value.parts *= axes_[a].size;
    }
    values_.push_back(std::move(value));
    return it->second;
  }

  // What a device holds of a value when it has been made.
  absl::StatusOr<Content> Made(size_t p, uint32_t t, int value, const Shape& frame, int64_t micro) {
    const LogicalValue& made = values_[static_cast<size_t>(value)];
    const std::optional<std::vector<int64_t>> at =
        Coordinates(p, made.sharding.stage, TaskAt(p, t).device(), micro);
    if (!at.has_value()) return Wrong(p, t, absl::StrCat(made.name, " lies on another stage"));
    const Slice slice = SliceOf(made.sharding, axes_, made.shape, *at);
    Cell cell;
    cell.value = value;
    cell.nest = NestOf(slice, made.shape);
    cell.parts = Parts(made.parts);
    cell.parts.Add(PartOf(made, axes_, *at));
    return Content::Whole(frame, std::move(cell));
  }

  static Nest NestOf(const Slice& slice, const Shape& shape) {
    const Shape strides = StridesOf(shape);
    int64_t base = 0;
    for (size_t d = 0; d < shape.size(); ++d) base += slice.begin[d] * strides[d];
    return Nest::Of(base, slice.extent, strides);
  }

  // For messages: what a port is on.
  std::string SourceText(size_t p, const plan::Port& port) const {
    if (!port.has_state()) return RegisterText(*plans_[p], port.register_());
    return absl::StrCat("state ", plans_[p]->states(static_cast<int>(port.state())).name());
  }

  // What port `i` of a task sees in a micro-batch, in the port's frame: what its register holds if
  // that has this frame, as most have, else `*made`, which is made here.
  ContentOr Seen(size_t p, uint32_t t, int i, int64_t micro, Content* made) {
    const plan::Port& port = TaskAt(p, t).inputs(i);
    if (!port.has_state()) {
      OF_ASSIGN_OR_RETURN(const Content* held, Held(p, port, micro));
      const auto& frame = port.type().shape();
      if (std::equal(held->frame.begin(), held->frame.end(), frame.begin(), frame.end()))
        return held;
    }
    OF_ASSIGN_OR_RETURN(*made, Input(p, t, i, micro));
    return made;
  }

  // The same as a content of its own.
  absl::StatusOr<Content> Input(size_t p, uint32_t t, int i, int64_t micro) {
    const plan::Port& port = TaskAt(p, t).inputs(i);
    Content content;
    if (port.has_state()) {
      const plan::StateProto& state = plans_[p]->states(static_cast<int>(port.state()));
      const Shape shape = ShapeOf(state.logical_shape());
      OF_ASSIGN_OR_RETURN(
          const int value,
          ValueOf(
              p, t, absl::StrCat("s", state.name()), [&] { return SourceText(p, port); }, shape,
              Canonical(Sharding::FromProto(state.sharding(), shape.size()), axes_, shape)));
      OF_ASSIGN_OR_RETURN(content, Made(p, t, value, FrameOf(port), 0));
    } else {
      OF_ASSIGN_OR_RETURN(const Content* held, Held(p, port, micro));
      content = *held;
    }
    const Shape frame = FrameOf(port);
    const bool foreign = std::any_of(content.cells.begin(), content.cells.end(),
                                     [](const Cell& cell) { return cell.value == Cell::kForeign; });
    const bool fits = NumElements(content.frame) == NumElements(frame);
    std::optional<Content> framed = Reframed(std::move(content), frame);
    if (framed.has_value()) return *std::move(framed);
    // Pieces of other ranks that are no boxes under this view (a ring's shares of other dims): what it
    // reads is taken to be what is expected, as those pieces are.
    if (foreign && fits) return Foreign(frame);
    return Wrong(p, t, absl::StrCat("cannot see ", SourceText(p, port), " as ", ToString(frame)));
  }

  // What the register of a port holds after its producer has filled it in a micro-batch.
  ContentOr Held(size_t p, const plan::Port& port, int64_t micro) {
    const uint32_t r = port.register_();
    if (Reg(p, r).level() == plan::STEP) micro = 0;
    std::unordered_map<int64_t, Content>& held = held_[p];  // only looked up
    const int64_t key = int64_t{r} * plans_[0]->micro_batches() + micro;
    if (const auto it = held.find(key); it != held.end()) return &it->second;
    const uint32_t t = Reg(p, r).producer();
    OF_ASSIGN_OR_RETURN(Content content, Produce(p, t, r, micro));
    return &held.insert_or_assign(key, std::move(content)).first->second;
  }

  absl::StatusOr<Content> Produce(size_t p, uint32_t t, uint32_t r, int64_t micro) {
    const plan::Task& task = TaskAt(p, t);
    int output = 0;
    while (output < task.outputs_size() &&
           (task.outputs(output).has_state() || task.outputs(output).register_() != r)) {
      ++output;
    }
    if (output == task.outputs_size()) return Wrong(p, t, "its workspace is read as a result");
    const plan::Port& port = task.outputs(output);
    if (task.kind() == plan::RECV) return Received(p, t, FrameOf(port), micro);
    if (task.kind() == plan::MOVE) return Moved(p, t, micro);
    const Shape shape = ShapeOf(port.logical_shape());
    const Sharding sharding = Sharding::FromProto(port.sharding(), shape.size());
    if (sharding.sbps.size() != axes_.size()) return Wrong(p, t, "its output has no sharding");
    OF_ASSIGN_OR_RETURN(
        const int value,
        ValueOf(
            p, t, absl::StrCat(task.stamp().position(), ".", task.op(), ".", output),
            [&] { return absl::StrCat("output ", output, " of ", task.name()); }, shape, sharding));
    return Made(p, t, value, FrameOf(port), InMicroLoop(task) ? micro : 0);
  }

  static Content Foreign(const Shape& frame) {
    Cell cell;
    cell.value = Cell::kForeign;
    return Content::Whole(frame, std::move(cell));
  }

  absl::StatusOr<Content> Received(size_t p, uint32_t t, const Shape& frame, int64_t micro) {
    const auto sender =
        senders_.find(plans_[p]->channels(static_cast<int>(TaskAt(p, t).channel())).name());
    if (sender == senders_.end()) return Foreign(frame);
    const auto [from, send] = sender->second;
    if (SendsPieces(TaskAt(from, send))) return Wrong(p, t, "receives pieces, and is no ring's");
    OF_ASSIGN_OR_RETURN(Content content, Input(from, send, 0, micro));
    std::optional<Content> framed = Reframed(std::move(content), frame);
    if (!framed.has_value()) return Wrong(p, t, "receives another shape than is sent");
    return *std::move(framed);
  }

  // Movement tasks.
  absl::StatusOr<Content> Moved(size_t p, uint32_t t, int64_t micro) {
    const plan::Task& task = TaskAt(p, t);
    const Attrs attrs = Attrs::FromProto(task.attrs());
    if (task.outputs_size() != 1) return Wrong(p, t, "a movement has one output");
    if (task.op() == "assemble") return Assembled(p, t, attrs, micro);
    if (task.op() == "ring_reduce") return RoundTheRing(p, t, micro);
    if (task.inputs_size() != 1) return Wrong(p, t, "reads something else than one buffer");
    if (task.op() == "pack") return Packed(p, t, attrs, micro);
    if (task.op() == "accumulate") return Accumulated(p, t, attrs);
    if (task.op() == "micro_slice" || task.op() == "micro_concat") {
      const int64_t* dim = attrs.Find<int64_t>("dim");
      const int64_t* parts = attrs.Find<int64_t>("parts");
      const Shape in = FrameOf(task.inputs(0)), out = FrameOf(task.outputs(0));
      const bool slices = task.op() == "micro_slice";
      const Shape& whole = slices ? in : out;
      Shape part = slices ? out : in;
      const auto micros = static_cast<int64_t>(plans_[0]->micro_batches());
      if (dim == nullptr || parts == nullptr || *parts != micros || in.size() != out.size() ||
          *dim < 0 || *dim >= static_cast<int64_t>(in.size())) {
        return Wrong(p, t, "does not say which dim holds the micro-batches");
      }
      const auto d = static_cast<size_t>(*dim);
      if (part[d] * micros != whole[d]) return Wrong(p, t, "its parts do not fill the whole");
      return slices ? MicroSliced(p, t, d, micro) : MicroConcatenated(p, t, d);
    }
    if (task.op() == "micro_mask") {
      if (micro == 0) return Input(p, t, 0, 0);
      return Content::Whole(FrameOf(task.outputs(0)), Cell());
    }
    return Wrong(p, t, absl::StrCat("`", task.op(), "` is no movement of docs/architecture.md"));
  }

  static bool Inside(const Shape& begin, const Shape& extent, const Shape& frame) {
    if (begin.size() != frame.size() || extent.size() != frame.size()) return false;
    for (size_t d = 0; d < frame.size(); ++d) {
      if (begin[d] < 0 || extent[d] < 0 || begin[d] > frame[d] - extent[d]) return false;
    }
    return true;
  }

  absl::StatusOr<Content> Packed(size_t p, uint32_t t, const Attrs& attrs, int64_t micro) {
    const auto* begin = attrs.Find<std::vector<int64_t>>("begin");
    const auto* extent = attrs.Find<std::vector<int64_t>>("extent");
    Content made;
    OF_ASSIGN_OR_RETURN(const Content* in, Seen(p, t, 0, micro, &made));
    if (begin == nullptr || extent == nullptr || !Inside(*begin, *extent, in->frame))
      return Wrong(p, t, "packs no region of its input");
    std::optional<Content> region = Extract(*in, {*begin, *extent});
    if (region.has_value()) region = Reframed(*std::move(region), FrameOf(TaskAt(p, t).outputs(0)));
    if (!region.has_value()) return Wrong(p, t, "packs another region than its output holds");
    return *std::move(region);
  }

  absl::StatusOr<Content> Assembled(size_t p, uint32_t t, const Attrs& attrs, int64_t micro) {
    const plan::Task& task = TaskAt(p, t);
    const auto* rank = attrs.Find<int64_t>("rank");
    const auto* inputs = attrs.Find<std::vector<int64_t>>("piece_input");
    const auto* modes = attrs.Find<std::vector<std::string>>("piece_mode");
    const auto* from = attrs.Find<std::vector<int64_t>>("src_begin");
    const auto* to = attrs.Find<std::vector<int64_t>>("dst_begin");
    const auto* extents = attrs.Find<std::vector<int64_t>>("extent");
    const bool* zero = attrs.Find<bool>("zero");
    const Shape frame = FrameOf(task.outputs(0));
    const size_t pieces = inputs == nullptr ? 0 : inputs->size();
    if (rank == nullptr || modes == nullptr || from == nullptr || to == nullptr ||
        extents == nullptr || inputs == nullptr || zero == nullptr || modes->size() != pieces ||
        *rank != static_cast<int64_t>(frame.size()) || from->size() != pieces * frame.size() ||
        to->size() != from->size() || extents->size() != from->size()) {
      return Wrong(p, t, "does not say which pieces it is made of");
    }
    Content content{frame, {}};
    if (*zero) content = Content::Whole(frame, Cell());
    for (size_t i = 0; i < pieces; ++i) {
      const auto row = [&](const std::vector<int64_t>& list) {
        return Shape(list.begin() + static_cast<int64_t>(i * frame.size()),
                     list.begin() + static_cast<int64_t>((i + 1) * frame.size()));
      };
      const std::optional<Combine> mode = ParseCombine((*modes)[i]);
      if ((*inputs)[i] < 0 || (*inputs)[i] >= task.inputs_size() || !mode.has_value())
        return Wrong(p, t, absl::StrCat("piece ", i, " has no such input or mode"));
      Content made;
      OF_ASSIGN_OR_RETURN(const Content* in,
                          Seen(p, t, static_cast<int>((*inputs)[i]), micro, &made));
      if (!Inside(row(*from), row(*extents), in->frame) || !Inside(row(*to), row(*extents), frame))
        return Wrong(p, t, absl::StrCat("piece ", i, " lies outside its buffers"));
      const std::optional<Content> piece = Extract(*in, {row(*from), row(*extents)});
      const std::string wrong = piece.has_value() ? WriteTo(*piece, row(*to), *mode, &content)
                                                  : "is no box of what lies there";
      if (!wrong.empty()) return Wrong(p, t, absl::StrCat("piece ", i, " ", wrong));
    }
    return content;
  }

  // Empty text: done; else what is wrong, with the values that do not belong together.
  std::string WriteTo(const Content& source, const Shape& begin, Combine mode,
                      Content* target) const {
    const std::string wrong = Write(
        source, begin, mode,
        [this](int value) { return values_[static_cast<size_t>(value)].reduce; }, target);
    if (wrong.empty() || mode == Combine::kCopy) return wrong;
    std::map<int, std::string> met;
    for (const Content* content : {&source, static_cast<const Content*>(target)}) {
      for (const Cell& cell : content->cells) {
        if (cell.known()) met[cell.value] = values_[static_cast<size_t>(cell.value)].name;
      }
    }
    if (met.size() < 2) return wrong;
    return absl::StrCat(wrong, ": ",
                        absl::StrJoin(met, " and ", [](std::string* out, const auto& each) {
                          absl::StrAppend(out, each.second);
                        }));
  }

  absl::StatusOr<Content> Accumulated(size_t p, uint32_t t, const Attrs& attrs) {
    const auto* text = attrs.Find<std::string>("mode");
    const std::optional<Combine> mode = text == nullptr ? std::nullopt : ParseCombine(*text);
    if (!mode.has_value() || *mode == Combine::kCopy)
      return Wrong(p, t, "does not say how it combines micro-batches");
    OF_ASSIGN_OR_RETURN(Content sum, Input(p, t, 0, 0));
    for (int64_t micro = 1; micro < plans_[0]->micro_batches(); ++micro) {
      OF_ASSIGN_OR_RETURN(const Content next, Input(p, t, 0, micro));
      const std::string wrong = WriteTo(next, Shape(sum.frame.size(), 0), *mode, &sum);
      if (!wrong.empty()) return Wrong(p, t, wrong);
    }
    return sum;
  }

  absl::StatusOr<Content> MicroSliced(size_t p, uint32_t t, size_t dim, int64_t micro) {
    const Shape out = FrameOf(TaskAt(p, t).outputs(0));
    Content made;
    OF_ASSIGN_OR_RETURN(const Content* in, Seen(p, t, 0, 0, &made));
    Slice region{Shape(out.size(), 0), out};
    region.begin[dim] = micro * out[dim];
    if (!Inside(region.begin, region.extent, in->frame))
      return Wrong(p, t, "slices beyond its input");
    std::optional<Content> part = Extract(*in, region);
    if (!part.has_value()) return Wrong(p, t, "slices no box of what lies there");
    return *std::move(part);
  }

  absl::StatusOr<Content> MicroConcatenated(size_t p, uint32_t t, size_t dim) {
    const Shape in = FrameOf(TaskAt(p, t).inputs(0)), out = FrameOf(TaskAt(p, t).outputs(0));
    Content whole{out, {}};
    for (int64_t micro = 0; micro < plans_[0]->micro_batches(); ++micro) {
      OF_ASSIGN_OR_RETURN(const Content part, Input(p, t, 0, micro));
      Shape begin(out.size(), 0);
      begin[dim] = micro * in[dim];
      if (!Inside(begin, in, out)) return Wrong(p, t, "concatenates beyond its output");
      const std::string wrong = WriteTo(part, begin, Combine::kCopy, &whole);
      if (!wrong.empty()) return Wrong(p, t, wrong);
    }
    return whole;
  }

  // A ring task's shares of its buffer, each in pieces.
  struct Shares {
    std::vector<Slice> boxes;  // of all pieces, share by share
    int64_t base = 0, pieces = 1;
    // The piece of a chunk, of the share so many before the one that is sent.
    size_t Index(int64_t chunk, int64_t back) const {
      const int64_t parts = static_cast<int64_t>(boxes.size()) / pieces;
      const int64_t share = ((base - back - chunk / pieces) % parts + parts) % parts;
      return static_cast<size_t>(share * pieces + chunk % pieces);
    }
  };
  absl::StatusOr<Shares> SharesOf(size_t p, uint32_t t, const Attrs& attrs) const {
    const int64_t* dim = attrs.Find<int64_t>("dim");
    const int64_t* units = attrs.Find<int64_t>("units");
    const int64_t* parts = attrs.Find<int64_t>("parts");
    const int64_t* base = attrs.Find<int64_t>("base");
    const int64_t one = 1;  // where nothing is said
    const int64_t* pieces = attrs.Has("pieces") ? attrs.Find<int64_t>("pieces") : &one;
    const Shape frame = FrameOf(TaskAt(p, t).inputs(0));
    if (dim == nullptr || units == nullptr || parts == nullptr || base == nullptr || *dim < 0 ||
        *dim >= static_cast<int64_t>(frame.size()) || *parts < 1 || *parts > kMaxParts ||
        *units < 0 || *base < 0 || *base >= *parts || pieces == nullptr || *pieces < 1 ||
        *pieces > kMaxParts / *parts) {
      return Wrong(p, t, "does not say how the ring deals out its buffer");
    }
    const int64_t extent = frame[static_cast<size_t>(*dim)];
    const int64_t count = *units > 0 ? *units : extent;
    if (count > 0 && extent % count != 0) return Wrong(p, t, "deals out parts of units");
    Shares shares;
    shares.base = *base;
    shares.pieces = *pieces;
    for (int64_t i = 0; i < *parts * *pieces; ++i) {
      const UnitRange range = DealPiece(count, *parts, i / *pieces, *pieces, i % *pieces);
      const int64_t unit = count > 0 ? extent / count : 0;
      Slice box{Shape(frame.size(), 0), frame};
      box.begin[static_cast<size_t>(*dim)] = range.begin * unit;
      box.extent[static_cast<size_t>(*dim)] = range.count * unit;
      shares.boxes.push_back(std::move(box));
    }
    return shares;
  }

  struct Member {
    TaskId reduce;
    Shares receives, sends;
    int64_t reduce_chunks = 0;
    Combine mode = Combine::kSum;
    std::optional<TaskId>
        from;  // the sender (a ring_send, or a SEND of pieces) whose chunks it gets; none: not here
    std::optional<TaskId> send;
    std::vector<Content> shares;  // of the buffer, each in its own frame
  };

  // The sender behind the link that a ring_reduce reads.
  absl::StatusOr<std::optional<TaskId>> LinkSource(size_t p, uint32_t t) const {
    const plan::Port& link = TaskAt(p, t).inputs(1);
    if (link.has_state()) return Wrong(p, t, "gets its chunks from a state");
    TaskId from = {p, Reg(p, link.register_()).producer()};
    if (TaskAt(p, from.second).kind() == plan::RECV) {
      const auto sender = senders_.find(
          plans_[p]->channels(static_cast<int>(TaskAt(p, from.second).channel())).name());
      if (sender == senders_.end()) return std::optional<TaskId>();
      const plan::Task& send = TaskAt(sender->second.first, sender->second.second);
      if (SendsPieces(send)) return std::optional<TaskId>(sender->second);
      const plan::Port& sent = send.inputs(0);
      if (sent.has_state()) return Wrong(p, t, "gets its chunks from a state");
      from = {sender->second.first, Reg(sender->second.first, sent.register_()).producer()};
    }
    if (TaskAt(from.first, from.second).op() != "ring_send")
      return Wrong(p, t, "gets its chunks from no ring_send");
    return std::optional<TaskId>(from);
  }

  absl::StatusOr<Member> MemberOf(size_t p, uint32_t t, int64_t micro) {
    const plan::Task& task = TaskAt(p, t);
    const Attrs attrs = Attrs::FromProto(task.attrs());
    const int64_t* reduce_chunks = attrs.Find<int64_t>("reduce_chunks");
    const auto* text = attrs.Find<std::string>("mode");
    const std::optional<Combine> mode = text == nullptr ? std::nullopt : ParseCombine(*text);
    if (task.inputs_size() != 2 || task.inputs(0).has_state() || reduce_chunks == nullptr ||
        !mode.has_value() || task.level() != plan::CHUNK) {
      return Wrong(p, t, "does not say what goes round the ring");
    }
    Member member;
    member.reduce = {p, t};
    member.reduce_chunks = *reduce_chunks;
    member.mode = *mode;
    OF_ASSIGN_OR_RETURN(member.receives, SharesOf(p, t, attrs));
    OF_ASSIGN_OR_RETURN(member.from, LinkSource(p, t));
    if (const auto send = ring_sends_.find({p, task.inputs(0).register_()});
        send != ring_sends_.end()) {
      member.send = {p, send->second};
      OF_ASSIGN_OR_RETURN(
          member.sends,
          SharesOf(p, send->second, Attrs::FromProto(TaskAt(p, send->second).attrs())));
      if (member.sends.boxes != member.receives.boxes ||
          member.sends.pieces != member.receives.pieces)
        return Wrong(p, send->second, "deals out other shares than its ring_reduce");
    }
    Content made;
    OF_ASSIGN_OR_RETURN(const Content* buffer, Seen(p, t, 0, micro, &made));
    for (const Slice& box : member.receives.boxes) {
      std::optional<Content> share = Extract(*buffer, box);
      if (!share.has_value()) return Wrong(p, t, "a share is no box of what lies there");
      member.shares.push_back(*std::move(share));
    }
    return member;
  }

  // All rings at one place of the schedule, chunk by chunk: first all send, then all receive.
  absl::Status RunRings(uint32_t position, int64_t micro) {
    std::vector<Member> members;
    std::map<TaskId, size_t> sender;  // -> member
    int64_t chunks = 0;
    for (const auto& [p, t] : rings_.at(position)) {
      OF_ASSIGN_OR_RETURN(Member member, MemberOf(p, t, micro));
      if (member.send.has_value()) sender[*member.send] = members.size();
      chunks = std::max<int64_t>(chunks, TaskAt(p, t).chunks());
      members.push_back(std::move(member));
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      std::vector<std::optional<Content>> sent(members.size());
      for (size_t m = 0; m < members.size(); ++m) {
        if (members[m].send.has_value())
          sent[m] = members[m].shares[members[m].sends.Index(chunk, 0)];
      }
      for (Member& member : members) {
        const auto& [p, t] = member.reduce;
        if (chunk >= TaskAt(p, t).chunks()) continue;
        const size_t index = member.receives.Index(chunk, 1);
        Content* share = &member.shares[index];
        Content piece = Foreign(share->frame);
        if (member.from.has_value()) {
          const auto from = sender.find(*member.from);
          if (from == sender.end() || !sent[from->second].has_value())
            return Wrong(p, t, "gets its chunks from another collective");
          std::optional<Content> framed = Reframed(*sent[from->second], share->frame);
          if (!framed.has_value())
            return Wrong(p, t, absl::StrCat("chunk ", chunk, " is a share of another size"));
          piece = *std::move(framed);
        }
        const Combine mode = chunk < member.reduce_chunks ? member.mode : Combine::kCopy;
        const std::string wrong = WriteTo(piece, Shape(share->frame.size(), 0), mode, share);
        if (!wrong.empty()) return Wrong(p, t, absl::StrCat("chunk ", chunk, " ", wrong));
      }
    }
    for (Member& member : members) {
      const auto& [p, t] = member.reduce;
      Content result{FrameOf(TaskAt(p, t).inputs(0)), {}};
      for (size_t i = 0; i < member.shares.size(); ++i) {
        for (Cell& cell : member.shares[i].cells) {
          for (size_t d = 0; d < result.frame.size(); ++d)
            cell.box.begin[d] += member.receives.boxes[i].begin[d];
          result.cells.push_back(std::move(cell));
        }
      }
      ring_results_[{p, t, micro}] = std::move(result);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Content> RoundTheRing(size_t p, uint32_t t, int64_t micro) {
    const std::tuple<size_t, uint32_t, int64_t> key = {p, t, micro};
    const uint32_t position = TaskAt(p, t).stamp().position();
    if (!ring_results_.contains(key)) {
      if (!running_.insert({position, micro}).second) return Wrong(p, t, "reads its own result");
      OF_RETURN_IF_ERROR(RunRings(position, micro));
    }
    std::optional<Content> result =
        Reframed(ring_results_.at(key), FrameOf(TaskAt(p, t).outputs(0)));
    if (!result.has_value()) return Wrong(p, t, "leaves a buffer of another shape");
    return *std::move(result);
  }

  // Readers.
  absl::Status Reads(size_t p, uint32_t t, int i, int64_t micro) {
    const plan::Port& port = TaskAt(p, t).inputs(i);
    if (port.sharding().sbps().empty()) return absl::OkStatus();
    const Shape shape = ShapeOf(port.logical_shape());
    Content made;
    OF_ASSIGN_OR_RETURN(const Content* content, Seen(p, t, i, micro, &made));
    const auto what = [&] { return absl::StrCat("reads ", SourceText(p, port)); };
    return Expect(p, t, what, *content, shape, Sharding::FromProto(port.sharding(), shape.size()),
                  micro);
  }

  absl::Status WritesState(size_t p, uint32_t t, int64_t micro) {
    const plan::StateProto& state =
        plans_[p]->states(static_cast<int>(TaskAt(p, t).outputs(0).state()));
    const Shape shape = ShapeOf(state.logical_shape());
    OF_ASSIGN_OR_RETURN(const Content content, Moved(p, t, micro));
    const auto what = [&] { return absl::StrCat("writes state ", state.name()); };
    return Expect(p, t, what, content, shape, Sharding::FromProto(state.sharding(), shape.size()),
                  micro);
  }

  // True if `content` is what a device holds of one value of `shape` under `sharding`. `what` gives
  // the text of what the task does with it: only a failure asks for it.
  template <typename What>
  absl::Status Expect(size_t p, uint32_t t, const What& what, const Content& content,
                      const Shape& shape, const Sharding& sharding, int64_t micro) const {
    const std::optional<std::vector<int64_t>> at =
        Coordinates(p, sharding.stage, TaskAt(p, t).device(), micro);
    if (!at.has_value()) return Wrong(p, t, absl::StrCat(what(), " of another stage"));
    const Slice slice = SliceOf(sharding, axes_, shape, *at);
    if (NumElements(slice.extent) == 0) return absl::OkStatus();
    const auto as = [&] { return absl::StrCat(what(), " as ", sharding.ToString()); };
    if (!content.Covered()) return Wrong(p, t, absl::StrCat(as(), ", of which a part is not made"));
    const Nest expected = NestOf(slice, shape);
    std::optional<int> seen;
    for (const Cell& cell : content.cells) {
      if (cell.value == Cell::kForeign) continue;
      const bool masked = Masked(sharding, cell, *at);
      if (masked != (cell.value == Cell::kZero)) {
        return Wrong(
            p, t,
            absl::StrCat(as(), masked ? ", but it is not zero here" : ", but it is zero here"));
      }
      if (masked) continue;
      const LogicalValue& value = values_[static_cast<size_t>(cell.value)];
      const auto source = [&] { return absl::StrCat(as(), ", but it holds ", value.name, " "); };
      if (seen.value_or(cell.value) != cell.value) {
        const std::string& other = values_[static_cast<size_t>(*seen)].name;
        return Wrong(p, t, absl::StrCat(source(), "beside ", other));
      }
      seen = cell.value;
      if (NumElements(value.shape) != NumElements(shape) ||
          !HoldsItsPiece(cell, content.frame, expected)) {
        return Wrong(p, t, absl::StrCat(source(), "at another place"));
      }
      OF_RETURN_IF_ERROR(Combined(p, t, source, value, cell.parts, sharding, *at));
    }
    return absl::OkStatus();
  }

  // True if a cell of a frame has those elements of the frame's nest that belong to its place.
  static bool HoldsItsPiece(const Cell& cell, const Shape& frame, const Nest& nest) {
    if (cell.box.extent == frame) return cell.offset == 0 && cell.nest == nest;
    Cell whole;
    whole.box = {Shape(frame.size(), 0), frame};
    whole.value = cell.value;
    whole.nest = nest;
    const std::optional<Cell> piece = content_internal::CutCell(whole, cell.box);
    return piece.has_value() && piece->SameElements(cell);
  }

  // True if a Partial reader sees zeros here: the value stands at coordinate 0 of the axes on which
  // it was whole.
  bool Masked(const Sharding& sharding, const Cell& cell, const std::vector<int64_t>& at) const {
    for (size_t a = 0; a < axes_.size(); ++a) {
      if (sharding.sbps[a].kind != Sbp::kPartial || at[a] == 0) continue;
      const bool whole =
          cell.known() &&
          values_[static_cast<size_t>(cell.value)].sharding.sbps[a].kind != Sbp::kPartial;
      if (whole || cell.value == Cell::kZero) return true;
    }
    return false;
  }

  template <typename Source>
  absl::Status Combined(size_t p, uint32_t t, const Source& source, const LogicalValue& value,
                        const Parts& parts, const Sharding& sharding,
                        const std::vector<int64_t>& at) const {
    std::vector<int64_t> numbers = {
        0};  // of the contributions that a whole or Partial reader needs
    for (const size_t a : value.partial) {
      const bool stays = sharding.sbps[a].kind == Sbp::kPartial;
      if (stays && sharding.sbps[a].reduce != *value.reduce) {
        return Wrong(p, t,
                     absl::StrCat(source(), "as ", value.sharding.ToString(),
                                  ", which combines in another way"));
      }
      std::vector<int64_t> next;
      for (const int64_t number : numbers) {
        for (int64_t c = stays ? at[a] : 0; c < (stays ? at[a] + 1 : axes_[a].size); ++c)
          next.push_back(number * axes_[a].size + c);
      }
      numbers = std::move(next);
    }
    Parts wanted(value.parts);
    for (const int64_t number : numbers) wanted.Add(number);
    if (parts == wanted) return absl::OkStatus();
    return Wrong(p, t,
                 absl::StrCat(source(), "as ", value.sharding.ToString(), " with ", parts.count(),
                              " of its ", value.parts, " contributions combined, not the ",
                              wanted.count(), " that are due"));
  }

  static constexpr int64_t kMaxParts = int64_t{1} << 20;

  const std::vector<const plan::Plan*> plans_;
  const Mesh mesh_;
  const std::vector<Axis> axes_;
  std::map<std::pair<int, int>, std::vector<int64_t>> places_;  // (stage, device) -> coordinates
  std::map<std::string, TaskId> senders_;                       // by channel
  std::map<uint32_t, std::vector<TaskId>> rings_;               // ring_reduce tasks by position
  std::map<std::pair<size_t, uint32_t>, uint32_t>
      ring_sends_;  // (plan, buffer) -> the task that sends its pieces
  std::unordered_map<std::string, int> value_ids_;  // only looked up
  std::vector<LogicalValue> values_;
  // By plan; then by register x micro-batches + micro-batch.
  std::vector<std::unordered_map<int64_t, Content>> held_;  // only looked up
  std::map<std::tuple<size_t, uint32_t, int64_t>, Content> ring_results_;
  std::set<std::pair<uint32_t, int64_t>> running_;
};

}  // namespace

absl::Status ProveFlow(const std::vector<const plan::Plan*>& plans) {
  return plans.empty() ? absl::OkStatus() : Flow(plans).Prove();
}

}  // namespace oneflow
