#include "compiler/lower/emit_reshard.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "compiler/lower/state_writes.h"
#include "compiler/parallel/sum_rounds.h"

namespace oneflow {
namespace {

// A ring's chunk: its start and its words cost little beside it, and a link's two slots of it little memory. Measured:
// between hosts 0.25 to 4 MiB are alike (docs/decisions/0035), within one fewer words are better (0039).
constexpr int64_t kPieceBytes = int64_t{4} << 20;
// Chunks in which all shares of a ring go round once: bounds the work of proofs and of starts.
constexpr int64_t kMostTurns = 64;

// Movement kernels see at least one dim.
TensorType AtLeast1D(TensorType type) {
  if (type.shape.empty()) type.shape = {1};
  return type;
}

TensorType Flat(const TensorType& type) { return {type.dtype, {NumElements(type.shape)}}; }

const char* ModeOf(Sbp::Reduce reduce) {
  return reduce == Sbp::kMax ? "max" : reduce == Sbp::kMin ? "min" : "sum";
}

void SetAttrs(plan::Task* task, const Attrs& attrs) { attrs.ToProto(task->mutable_attrs()); }

// The attrs of an `assemble` as it is built piece by piece.
struct AssembleAttrs {
  std::vector<int64_t> source_begin, destination_begin, extent, inputs;
  std::vector<std::string> modes;

  void Add(int64_t input, const Shape& from, const Shape& to, const Shape& size, std::string mode) {
    inputs.push_back(input);
    source_begin.insert(source_begin.end(), from.begin(), from.end());
    destination_begin.insert(destination_begin.end(), to.begin(), to.end());
    extent.insert(extent.end(), size.begin(), size.end());
    modes.push_back(std::move(mode));
  }
  Attrs ToAttrs(size_t rank, bool zero) const {
    return {{"rank", static_cast<int64_t>(rank)},
            {"zero", zero},
            {"src_begin", source_begin},
            {"dst_begin", destination_begin},
            {"extent", extent},
            {"piece_input", inputs},
            {"piece_mode", modes}};
  }
};

class ReshardEmitter {
 public:
  ReshardEmitter(const Node& node, Draft* draft)
      : node_(node),
        draft_(*draft),
        value_(node.inputs[0]),
        result_(node.outputs[0]),
        type_(draft->graph.value(value_).type),
        from_(draft->graph.value(value_).sharding),
        to_(draft->graph.value(result_).sharding),
        axes_(draft->decisions.axes),
        level_(draft->schedule.node(node.id).level()) {
    for (size_t a = 0; a < axes_.size(); ++a) {
      if (from_.sbps[a] == to_.sbps[a]) continue;
      absl::StrAppend(&change_, change_.empty() ? "" : ", ", from_.sbps[a].ToString(), "->",
                      to_.sbps[a].ToString(), " on ", axes_[a].name);
    }
    if (from_.stage != to_.stage) {
      absl::StrAppend(&change_, change_.empty() ? "" : ", ", "stage ", from_.stage, "->",
                      to_.stage);
    }
    if (change_.empty()) change_ = "units";
  }

  void Emit() {
    const int axis = static_cast<int>(node_.attrs.Int("axis"));
    if (axis < 0) {
      EmitExchange();
    } else if (ChangesNothing(draft_.graph, node_, axes_)) {
      ForEachLocal(to_.stage, [&](int, int device) {
        draft_.SetBuffer(result_, device, draft_.At(value_, device));
      });
    } else if (axis == 0) {
      EmitMicro();
    } else {
      const Sbp a = from_.sbps[axis];
      const Sbp b = to_.sbps[axis];
      const auto collective = CollectiveOf(a, b);
      if (!collective.has_value()) {
        EmitExchange();
        return;
      }
      const Round::Kind flat = node_.attrs.Bool("direct")            ? Round::kDirect
                               : *collective == Collective::kSum     ? Round::kSum
                               : *collective == Collective::kScatter ? Round::kScatter
                                                                     : Round::kGather;
      std::vector<Round> rounds;
      for (const std::string& text : node_.attrs.Strings("rounds"))
        rounds.push_back(ParseRound(text));
      if (rounds.empty()) rounds = {{flat, axes_[axis].size, 1}};
      EmitRounds(axis, rounds);
    }
  }

 private:
  template <typename F>
  void ForEachLocal(int stage, F f) {
    const std::vector<int> devices = draft_.StageDevices(stage);
    for (size_t i = 0; i < devices.size(); ++i) {
      if (const int local = draft_.LocalIndex(devices[i]); local >= 0)
        f(static_cast<int>(i), local);
    }
  }

  TensorType LocalAt(const Sharding& sharding, int position) const {
    return AtLeast1D(LocalType(type_, sharding, axes_, draft_.Coordinates(position)));
  }

  plan::Task* Move(const std::string& op, int stage, int device, Sub sub,
                   StreamKind stream = StreamKind::kComm) {
    plan::Task* task =
        draft_.AddTask(node_, op, plan::MOVE, stage, device, stream, sub, piece_, round_);
    task->set_reshard(change_);
    return task;
  }

  void SetCost(plan::Task* task, int64_t bytes) { SetCost(task, bytes, draft_.CopyNs(bytes)); }
  void SetCost(plan::Task* task, int64_t bytes, int64_t ns) {
    task->set_bytes(bytes);
    task->set_duration_ns(ns + draft_.target.task_overhead_ns());
  }

  Buffer Output(plan::Task* task, const TensorType& local, int device, plan::Level level) {
    const Buffer buffer{false, draft_.AddRegister(task, level, device, local)};
    draft_.AddOutput(task, buffer, local);
    return buffer;
  }

  // Brings what `producer` (on local device `device`) makes to global device `destination`: its
  // output is a link register there, or a staging register and a SEND. Returns the link if the
  // destination is local.
  std::optional<Buffer> Ship(plan::Task* producer, int device, int destination, int stage,
                             const TensorType& type, const std::string& path) {
    const int local = draft_.LocalIndex(destination);
    const bool here = local >= 0;
    const Buffer buffer = Output(producer, type, here ? local : device, producer->level());
    const int64_t slots = draft_.LinkSlots(node_.id, stage, to_.stage, producer->chunks());
    draft_.links.insert(buffer.id);
    draft_.plan.mutable_registers(buffer.id)->set_slots(slots);
    const int source = static_cast<int>(draft_.plan.devices(device).id());
    const int64_t ns = draft_.TransferNs(type.bytes(), source, destination);
    SetCost(producer, type.bytes(), here ? ns : draft_.CopyNs(type.bytes()));
    if (here) return buffer;
    plan::Task* send = Send(device, destination, stage, buffer, type, type.bytes(), slots, path);
    Follow(producer, send);
    return std::nullopt;
  }

  // The sending end of a channel, of messages of so many bytes.
  plan::Task* Send(int device, int destination, int stage, Buffer buffer, const TensorType& type,
                   int64_t bytes, int64_t slots, const std::string& path) {
    plan::Task* send = draft_.AddTask(node_, "send", plan::SEND, stage, device, StreamKind::kComm,
                                      Sub::kSend, piece_, round_);
    const int source = static_cast<int>(draft_.plan.devices(device).id());
    draft_.AddInput(send, buffer, type);
    SetCost(send, bytes, draft_.OccupiedNs(bytes, source, destination));
    send->set_channel(draft_.AddChannel(ChannelName(path, source, destination), draft_.rank,
                                        draft_.RankOf(destination), bytes, slots, send->stamp()));
    return send;
  }

  // The receiving end of a Ship from another rank.
  Buffer Receive(int source, int device, int stage, const TensorType& type, const std::string& path,
                 int chunks) {
    plan::Task* task = draft_.AddTask(node_, "recv", plan::RECV, stage, device, StreamKind::kComm,
                                      Sub::kReceive, piece_, round_);
    if (chunks > 0) draft_.SetChunks(task, chunks);
    draft_.MoveToReceiveStream(task, source);
    task->set_reshard(change_);
    const Buffer buffer = Output(task, type, device, task->level());
    const int64_t slots = draft_.LinkSlots(node_.id, stage, to_.stage, chunks);
    draft_.links.insert(buffer.id);
    draft_.plan.mutable_registers(buffer.id)->set_slots(slots);
    SetCost(task, type.bytes(),
            draft_.TransferNs(type.bytes(), source,
                              static_cast<int>(draft_.plan.devices(device).id())));
    task->set_channel(
        draft_.AddChannel(ChannelName(path, source, draft_.plan.devices(device).id()),
                          draft_.RankOf(source), draft_.rank, type.bytes(), slots,
                          draft_.schedule.Stamp(node_.id, stage, Sub::kSend, piece_, round_)));
    return buffer;
  }

  static void Follow(const plan::Task* leader, plan::Task* follower) {
    follower->set_level(leader->level());
    follower->set_chunks(leader->chunks());
    follower->set_reshard(leader->reshard());
  }

  std::string ChannelName(const std::string& path, int source, int destination) const {
    return absl::StrCat("reshard.", node_.id, "/", path,
                        round_ > 0 ? absl::StrCat(".", round_) : "", "/", source, ">", destination);
  }

  void EmitMicro() {
    const Sbp a = from_.sbps[0];
    const Sbp b = to_.sbps[0];
    ForEachLocal(to_.stage, [&](int position, int device) {
      const TensorType in = LocalAt(from_, position);
      const TensorType out = LocalAt(to_, position);
      std::string op;
      Attrs attrs;
      plan::Level level = plan::STEP;
      if (a.kind == Sbp::kPartial && b.kind == Sbp::kBroadcast) {
        op = "accumulate";
        attrs.Set("mode", std::string(ModeOf(a.reduce)));
      } else if (a.kind == Sbp::kSplit && b.kind == Sbp::kBroadcast) {
        op = "micro_concat";
        attrs.Set("dim", static_cast<int64_t>(a.dim));
        attrs.Set("parts", static_cast<int64_t>(draft_.decisions.micro_batches));
      } else if (a.kind == Sbp::kBroadcast && b.kind == Sbp::kSplit) {
        op = "micro_slice";
        attrs.Set("dim", static_cast<int64_t>(b.dim));
        attrs.Set("parts", static_cast<int64_t>(draft_.decisions.micro_batches));
        level = plan::MICRO;
      } else {
        OF_CHECK(a.kind == Sbp::kBroadcast && b.kind == Sbp::kPartial) << change_;
        op = "micro_mask";
        level = plan::MICRO;
      }
      plan::Task* task = Move(op, to_.stage, device, Sub::kCombine, StreamKind::kCompute);
      draft_.AddInput(task, draft_.At(value_, device), in);
      SetAttrs(task, attrs);
      draft_.SetBuffer(result_, device, Output(task, out, device, level));
      SetCost(task, in.bytes() + out.bytes());
    });
  }

  // A device of a round and its neighbours, as positions in the stage.
  struct Member {
    int position, device, index, next, previous, stride;
    // The position of the member with another index.
    int At(int other) const { return position + (other - index) * stride; }
  };

  std::vector<Member> LocalMembers(int axis, const Round& round) {
    std::vector<Member> members;
    int stride = static_cast<int>(round.stride);
    for (size_t a = axes_.size(); --a > static_cast<size_t>(axis);) {
      stride *= static_cast<int>(axes_[a].size);
    }
    const int n = static_cast<int>(round.size);
    ForEachLocal(to_.stage, [&](int position, int device) {
      const int index = position / stride % n;
      const int base = position - index * stride;
      members.push_back({position, device, index, base + (index + 1) % n * stride,
                         base + (index + n - 1) % n * stride, stride});
    });
    return members;
  }

  // What a device has of one value between rounds; several of a bucket stand side by side where they travel.
  struct Part {
    TensorType local;
    int64_t begin = 0;
    Buffer buffer;
    bool own = false;  // nobody else reads the buffer: a ring may go round in it
  };
  using Parts = std::vector<Part>;

  // What a ring goes round in: its shares are units of one dim.
  struct Frame {
    TensorType type;
    int64_t dim = 0, units = 0, unit_extent = 1;
    Slice Share(int64_t parts, int64_t index) const { return Piece(parts, index, 1, 0); }
    Slice Piece(int64_t parts, int64_t index, int64_t pieces, int64_t piece) const {
      const UnitRange range = DealPiece(units, parts, index, pieces, piece);
      Slice share{Shape(type.shape.size(), 0), type.shape};
      share.begin[dim] = range.begin * unit_extent;
      share.extent[dim] = range.count * unit_extent;
      return share;
    }
  };

  // The values of the node before the first round, one after the other.
  Parts PartsAt(int position, int device) const {
    Parts parts;
    int64_t begin = 0;
    for (const ValueId input : node_.inputs) {
      const Value& value = draft_.graph.value(input);
      const TensorType local =
          LocalType(value.type, value.sharding, axes_, draft_.Coordinates(position));
      parts.push_back({Flat(local), begin, draft_.At(input, device)});
      begin += NumElements(local.shape);
    }
    return parts;
  }

  // All parts side by side: what a device has of a sum.
  static TensorType WholeOf(const Parts& parts) {
    TensorType whole = parts.back().local;
    whole.shape[0] += parts.back().begin;
    return whole;
  }

  void EmitRounds(int axis, const std::vector<Round>& rounds) {
    const Collective collective = *CollectiveOf(from_.sbps[axis], to_.sbps[axis]);
    std::map<int, Parts> held;  // by position
    ForEachLocal(to_.stage,
                 [&](int position, int device) { held[position] = PartsAt(position, device); });
    for (const Round& round : rounds) {
      if (round.kind == Round::kDirect) {
        EmitDirect(axis, round, &held);
      } else {
        EmitRing(axis, round, collective, rounds, &held);
      }
      ++round_;
    }
    round_ = 0;
    ForEachLocal(to_.stage, [&](int position, int device) {
      const Parts& parts = held.at(position);
      for (size_t i = 0; i < parts.size(); ++i)
        draft_.SetBuffer(node_.outputs[i], device, parts[i].buffer);
    });
  }

  // Each device brings all it has to every other, and all add in the mesh's order. Message `piece_` goes
  // to the device so many places (and one) further on, so both ends count it alike.
  void EmitDirect(int axis, const Round& round, std::map<int, Parts>* held) {
    const int n = static_cast<int>(round.size);
    const std::vector<int> devices = draft_.StageDevices(to_.stage);
    const std::vector<Member> members = LocalMembers(axis, round);
    std::map<std::pair<int, int>, Buffer> links;  // by positions of source and destination
    for (const Member& member : members) {
      const Parts& parts = held->at(member.position);
      for (int away = 1; away < n; ++away, ++piece_) {
        const int destination = member.At((member.index + away) % n);
        plan::Task* give = Move("assemble", to_.stage, member.device, Sub::kPack);
        AssembleAttrs pieces;
        for (size_t i = 0; i < parts.size(); ++i) {
          draft_.AddInput(give, parts[i].buffer, parts[i].local);
          pieces.Add(static_cast<int64_t>(i), {0}, {parts[i].begin}, parts[i].local.shape, "copy");
        }
        SetAttrs(give, pieces.ToAttrs(1, false));
        const auto link =
            Ship(give, member.device, devices[destination], to_.stage, WholeOf(parts), "direct");
        if (link.has_value()) links[{member.position, destination}] = *link;
      }
      piece_ = 0;
    }
    const std::string mode = ModeOf(from_.sbps[axis].reduce);
    for (const Member& member : members) {
      Parts& parts = held->at(member.position);
      const TensorType whole = WholeOf(parts);
      for (int away = 1; away < n; ++away, ++piece_) {
        const int source = member.At((member.index + n - away) % n);
        if (links.contains({source, member.position})) continue;
        links[{source, member.position}] =
            Receive(devices[source], member.device, to_.stage, whole, "direct", 0);
      }
      piece_ = 0;
      for (Part& part : parts) {
        plan::Task* add = Move("assemble", to_.stage, member.device, Sub::kCombine);
        AssembleAttrs pieces;
        for (int index = 0; index < n; ++index) {
          const bool own = index == member.index;
          if (own) {
            draft_.AddInput(add, part.buffer, part.local);
          } else {
            draft_.AddInput(add, links.at({member.At(index), member.position}), whole);
          }
          pieces.Add(index, {own ? 0 : part.begin}, {0}, part.local.shape,
                     index == 0 ? "copy" : mode);
        }
        SetAttrs(add, pieces.ToAttrs(1, false));
        part.buffer = Output(add, part.local, member.device, level_);
        SetCost(add, (n - 1) * part.local.bytes());
        ++piece_;
      }
      piece_ = 0;
    }
  }

  // The buffer of a member's ring. Of a sum the elements in a row. Flat, what a split cuts is the value itself; by
  // level it is seen as [outer dims, groups, places, the rest], so that each round cuts one dim.
  Frame FrameOf(int axis, const Round& round, Collective collective, bool by_level, int position,
                const Parts& parts) const {
    const bool gathers = round.kind == Round::kGather;
    Frame frame;
    if (collective == Collective::kSum) {
      // A gathering brings back what was scattered: the values of the node.
      frame.type = WholeOf(
          gathers ? PartsAt(position, draft_.LocalIndex(draft_.StageDevices(to_.stage)[position]))
                  : parts);
      frame.units = frame.type.shape[0];
      return frame;
    }
    const Sharding& split = gathers ? from_ : to_;
    const int64_t dim = split.sbps[axis].dim;
    const TensorType whole = LocalAt(collective == Collective::kGather ? to_ : from_, position);
    if (!by_level) {
      frame.type = whole;
      frame.dim = dim;
      const int64_t units = split.units[dim];
      frame.unit_extent = units == 0 ? 1 : type_.shape[dim] / units;
      frame.units = frame.unit_extent == 0 ? 0 : whole.shape[dim] / frame.unit_extent;
      OF_CHECK(frame.units * frame.unit_extent == whole.shape[dim]) << change_;
      return frame;
    }
    const auto begin = whole.shape.begin();
    const int64_t n = axes_[axis].size;
    const bool within = round.stride == 1;  // among the places of a group
    const int64_t group = within ? round.size : round.stride;
    OF_CHECK(whole.shape[dim] % n == 0) << change_;
    frame.type = {type_.dtype,
                  {NumElements(Shape(begin, begin + dim)), n / group, within ? group : 1,
                   NumElements(Shape(begin + dim, whole.shape.end())) / n}};
    frame.dim = within ? 2 : 1;
    frame.units = round.size;
    return frame;
  }

  // The buffer that a member's ring goes round in: what it has, in its place.
  Buffer StageRing(const Frame& frame, const Round& round, const Member& member, bool in_a_row,
                   const Parts& parts) {
    const bool gathers = round.kind == Round::kGather;
    if (!gathers && parts.size() == 1 && parts[0].own) return parts[0].buffer;
    plan::Task* stage = Move("assemble", to_.stage, member.device, Sub::kStage);
    AssembleAttrs pieces;
    int64_t bytes = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      Slice place{Shape(frame.type.shape.size(), 0), frame.type.shape};
      if (gathers) {
        place = frame.Share(round.size, member.index);
      } else if (in_a_row) {
        place = {{parts[i].begin}, parts[i].local.shape};
      }
      const TensorType own{type_.dtype, place.extent};
      draft_.AddInput(stage, parts[i].buffer, own);
      pieces.Add(static_cast<int64_t>(i), Shape(place.begin.size(), 0), place.begin, place.extent,
                 "copy");
      bytes += own.bytes();
    }
    SetAttrs(stage, pieces.ToAttrs(frame.type.shape.size(), false));
    // What nothing else reads goes round where it lies.
    if (!gathers && parts.size() == 1) draft_.may_alias[draft_.IdOf(stage)] = {plan::Alias()};
    const Buffer buffer = Output(stage, frame.type, member.device, level_);
    SetCost(stage, bytes);
    return buffer;
  }

  void EmitRing(int axis, const Round& round, Collective collective,
                const std::vector<Round>& rounds, std::map<int, Parts>* held) {
    const int n = static_cast<int>(round.size);
    const bool gathers = round.kind == Round::kGather;
    const std::vector<int> devices = draft_.StageDevices(to_.stage);
    const std::vector<Member> members = LocalMembers(axis, round);

    struct Ring {
      Frame frame;
      int pieces = 1;  // that a share travels in
      int chunks = 1;
      Attrs attrs;
      TensorType link_type;
      Buffer buffer;
      plan::Task* send = nullptr;
      std::optional<Buffer> link;  // what this member receives
    };
    std::map<int, Ring> rings;  // by position
    for (const Member& member : members) {
      Ring& ring = rings[member.position];
      const Parts& parts = held->at(member.position);
      ring.frame = FrameOf(axis, round, collective, rounds.size() > 1, member.position, parts);
      ring.pieces = PiecesOf(ring.frame, n, devices[member.position]);
      ring.chunks = (round.kind == Round::kSum ? 2 : 1) * (n - 1) * ring.pieces;
      ring.attrs = RingAttrs(ring.frame, n, ring.pieces, gathers ? member.index : member.index - 1);
      ring.link_type = Flat({type_.dtype, ring.frame.Piece(n, 0, ring.pieces, 0).extent});
      ring.buffer = StageRing(ring.frame, round, member, collective == Collective::kSum, parts);
    }
    for (const Member& member : members) {
      Ring& ring = rings[member.position];
      const int next = devices[member.next];
      if (draft_.LocalIndex(next) < 0 && SendsFromPlace(ring.frame, n, ring.pieces, next)) {
        ring.send = Send(member.device, next, to_.stage, ring.buffer, ring.frame.type,
                         ring.link_type.bytes(),
                         draft_.LinkSlots(node_.id, to_.stage, to_.stage, ring.chunks), "ring");
        ring.send->set_reshard(change_);
        draft_.SetChunks(ring.send, ring.chunks);
      } else {
        ring.send = Move("ring_send", to_.stage, member.device, Sub::kPack);
        draft_.SetChunks(ring.send, ring.chunks);
        draft_.AddInput(ring.send, ring.buffer, ring.frame.type);
        const auto link = Ship(ring.send, member.device, next, to_.stage, ring.link_type, "ring");
        if (link.has_value()) rings.at(member.next).link = link;
      }
      SetAttrs(ring.send, ring.attrs);
    }
    for (const Member& member : members) {
      Ring& ring = rings[member.position];
      if (!ring.link.has_value()) {
        ring.link = Receive(devices[member.previous], member.device, to_.stage, ring.link_type,
                            "ring", ring.chunks);
      }
      plan::Task* reduce = Move("ring_reduce", to_.stage, member.device, Sub::kCombine);
      draft_.SetChunks(reduce, ring.chunks);
      draft_.AddInput(reduce, ring.buffer, ring.frame.type);
      draft_.AddInput(reduce, *ring.link, ring.link_type);
      Attrs attrs = ring.attrs;
      attrs.Set("reduce_chunks", static_cast<int64_t>(gathers ? 0 : (n - 1) * ring.pieces));
      attrs.Set("mode", std::string(ModeOf(from_.sbps[axis].reduce)));
      SetAttrs(reduce, attrs);
      const Buffer result = Output(reduce, ring.frame.type, member.device, level_);
      draft_.plan.mutable_registers(result.id)->set_in_place_of(ring.buffer.id);
      *reduce->add_aliases() = plan::Alias();  // output 0 over input 0
      SetCost(reduce, ring.link_type.bytes());
      // A share is sent, piece by piece, when it has been combined.
      plan::AfterEdge* edge = ring.send->add_after();
      edge->set_task(draft_.IdOf(reduce));
      edge->set_level(plan::CHUNK);
      edge->set_lag(ring.pieces);
      held->at(member.position) = AfterRing(round, collective, ring.frame, result, member);
    }
  }

  // What a member has when its ring has gone round.
  Parts AfterRing(const Round& round, Collective collective, const Frame& frame, Buffer result,
                  const Member& member) {
    if (round.kind == Round::kScatter) {  // the device's own share
      plan::Task* extract = Move("pack", to_.stage, member.device, Sub::kExtract);
      draft_.AddInput(extract, result, frame.type);
      const Slice share = frame.Share(round.size, member.index);
      SetAttrs(extract, {{"begin", share.begin}, {"extent", share.extent}});
      const TensorType local{type_.dtype, share.extent};
      const Buffer buffer = Output(extract, local, member.device, level_);
      SetCost(extract, local.bytes());
      return {{local, 0, buffer, true}};
    }
    const bool leaves = collective == Collective::kSum && node_.inputs.size() > 1 &&
                        (round.kind == Round::kGather ||
                         frame.type == WholeOf(PartsAt(member.position, member.device)));
    if (!leaves) return {{frame.type, 0, result, true}};
    // The members of a bucket leave the buffer that went round.
    Parts parts = PartsAt(member.position, member.device);
    for (Part& part : parts) {
      ++piece_;
      plan::Task* unpack = Move("pack", to_.stage, member.device, Sub::kExtract);
      draft_.AddInput(unpack, result, frame.type);
      SetAttrs(unpack, {{"begin", Shape{part.begin}}, {"extent", part.local.shape}});
      part.buffer = Output(unpack, part.local, member.device, level_);
      SetCost(unpack, part.local.bytes());
    }
    piece_ = 0;
    return parts;
  }

  static Attrs RingAttrs(const Frame& frame, int n, int pieces, int base) {
    Attrs attrs = {{"dim", frame.dim},
                   {"units", frame.units},
                   {"parts", static_cast<int64_t>(n)},
                   {"base", static_cast<int64_t>((base + n) % n)}};
    if (pieces > 1) attrs.Set("pieces", static_cast<int64_t>(pieces));
    return attrs;
  }

  // In how many pieces the shares of a ring travel. A GPU has its shares whole: it does a ring in one call, or each
  // piece in a call.
  int PiecesOf(const Frame& frame, int n, int device) const {
    if (IsGpu(device)) return 1;
    const TensorType share{frame.type.dtype, frame.Share(n, n - 1).extent};  // a smallest one
    const int64_t most = std::clamp<int64_t>(
        std::min({share.bytes() / kPieceBytes, kMostTurns / (n - 1), frame.units / n}), 1,
        kMostTurns);
    // Equal ones, which are sent from where they lie, if so many or half of them can be.
    for (int64_t pieces = most; frame.units % n == 0 && 2 * pieces > most; --pieces) {
      if (frame.units / n % pieces == 0) return static_cast<int>(pieces);
    }
    return static_cast<int>(most);
  }

  // True if the pieces of a ring are sent from where they lie (plan/sent_pieces.h). What GPUs send to each other are
  // rings for NCCL (plan/rings.h), or registers.
  bool SendsFromPlace(const Frame& frame, int n, int pieces, int device) const {
    const auto dim = frame.type.shape.begin() + frame.dim;
    return !IsGpu(device) && frame.units > 0 && frame.units % (int64_t{n} * pieces) == 0 &&
           NumElements(Shape(frame.type.shape.begin(), dim)) == 1;
  }

  bool IsGpu(int device) const { return draft_.target.devices(device).kind() == "cuda"; }

  void EmitExchange() {
    const std::vector<int> sources = draft_.StageDevices(from_.stage);
    const std::vector<int> destinations = draft_.StageDevices(to_.stage);
    const std::string mode = ModeOfPartial();
    for (size_t d = 0; d < destinations.size(); ++d) {
      const int destination = destinations[d];
      const int local = draft_.LocalIndex(destination);
      const std::vector<ExchangePiece> pieces =
          PlanExchange(type_.shape, from_, to_, draft_.decisions.mesh, axes_, static_cast<int>(d));
      std::vector<std::pair<Buffer, TensorType>> inputs;
      AssembleAttrs attrs;
      for (size_t i = 0; i < pieces.size(); ++i) {
        const ExchangePiece& piece = pieces[i];
        ++piece_;  // counted on every rank, whether it takes part or not
        const int source = sources[piece.source];
        const int source_local = draft_.LocalIndex(source);
        if (local < 0 && source_local < 0) continue;
        const std::string path = absl::StrCat("piece", i);
        const TensorType packed = AtLeast1D({type_.dtype, piece.extent});
        const Shape zero(packed.shape.size(), 0);
        const Shape at = piece.destination_begin.empty() ? zero : piece.destination_begin;
        const std::string piece_mode = piece.combines ? mode : "copy";
        if (source == destination) {
          attrs.Add(static_cast<int64_t>(inputs.size()),
                    piece.source_begin.empty() ? zero : piece.source_begin, at, packed.shape,
                    piece_mode);
          inputs.emplace_back(draft_.At(value_, local), LocalAt(from_, piece.source));
          continue;
        }
        std::optional<Buffer> link;
        if (source_local >= 0) {
          plan::Task* pack = Move("pack", from_.stage, source_local, Sub::kPack);
          draft_.AddInput(pack, draft_.At(value_, source_local), LocalAt(from_, piece.source));
          SetAttrs(pack, {{"begin", piece.source_begin.empty() ? zero : piece.source_begin},
                          {"extent", packed.shape}});
          link = Ship(pack, source_local, destination, from_.stage, packed, path);
        } else {
          link = Receive(source, local, from_.stage, packed, path, 0);
        }
        if (local >= 0) {
          attrs.Add(static_cast<int64_t>(inputs.size()), zero, at, packed.shape, piece_mode);
          inputs.emplace_back(*link, packed);
        }
      }
      if (local < 0) continue;
      plan::Task* assemble = Move("assemble", to_.stage, local, Sub::kCombine);
      for (const auto& [buffer, type] : inputs) draft_.AddInput(assemble, buffer, type);
      const TensorType out = LocalAt(to_, static_cast<int>(d));
      SetAttrs(assemble, attrs.ToAttrs(out.shape.size(), /*zero=*/inputs.empty()));
      draft_.SetBuffer(result_, local, Output(assemble, out, local, level_));
      SetCost(assemble, out.bytes());
    }
  }

  std::string ModeOfPartial() const {
    for (const Sbp& sbp : from_.sbps) {
      if (sbp.kind == Sbp::kPartial) return ModeOf(sbp.reduce);
    }
    return "sum";
  }

  const Node& node_;
  Draft& draft_;
  const ValueId value_;
  const ValueId result_;
  const TensorType type_;
  const Sharding from_;
  const Sharding to_;
  const std::vector<Axis> axes_;
  const plan::Level level_;
  std::string change_;
  uint32_t piece_ = 0;  // of an exchange
  uint32_t round_ = 0;  // of a movement in several
};

}  // namespace

void EmitReshard(const Node& node, Draft* draft) { ReshardEmitter(node, draft).Emit(); }

}  // namespace oneflow
