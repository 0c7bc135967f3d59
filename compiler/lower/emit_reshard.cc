#include "compiler/lower/emit_reshard.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "compiler/lower/state_writes.h"

namespace oneflow {
namespace {

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
      const bool ring = (a.kind == Sbp::kPartial && b.kind != Sbp::kPartial) ||
                        (a.kind == Sbp::kSplit && b.kind == Sbp::kBroadcast);
      if (node_.attrs.Bool("direct")) {
        EmitDirect(axis);
      } else if (ring) {
        EmitRing(axis);
      } else {
        EmitExchange();
      }
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
    plan::Task* task = draft_.AddTask(node_, op, plan::MOVE, stage, device, stream, sub, piece_);
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
    plan::Task* send = draft_.AddTask(node_, "send", plan::SEND, stage, device, StreamKind::kComm,
                                      Sub::kSend, piece_);
    Follow(producer, send);
    draft_.AddInput(send, buffer, type);
    SetCost(send, type.bytes(), ns);
    send->set_channel(draft_.AddChannel(
        ChannelName(path, draft_.plan.devices(device).id(), destination), draft_.rank,
        draft_.RankOf(destination), type.bytes(), slots, send->stamp()));
    return std::nullopt;
  }

  // The receiving end of a Ship from another rank.
  Buffer Receive(int source, int device, int stage, const TensorType& type, const std::string& path,
                 int chunks) {
    plan::Task* task = draft_.AddTask(node_, "recv", plan::RECV, stage, device, StreamKind::kComm,
                                      Sub::kReceive, piece_);
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
                          draft_.schedule.Stamp(node_.id, stage, Sub::kSend, piece_)));
    return buffer;
  }

  static void Follow(const plan::Task* leader, plan::Task* follower) {
    follower->set_level(leader->level());
    follower->set_chunks(leader->chunks());
    follower->set_reshard(leader->reshard());
  }

  std::string ChannelName(const std::string& path, int source, int destination) const {
    return absl::StrCat("reshard.", node_.id, "/", path, "/", source, ">", destination);
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

  // A device of the ring and its neighbours, as positions in the stage.
  struct Member {
    int position, device, index, next, previous, stride;
    // The position of the member with another index.
    int At(int other) const { return position + (other - index) * stride; }
  };

  std::vector<Member> LocalMembers(int axis) {
    std::vector<Member> members;
    int stride = 1;
    for (size_t a = axes_.size(); --a > static_cast<size_t>(axis);) {
      stride *= static_cast<int>(axes_[a].size);
    }
    const int n = static_cast<int>(axes_[axis].size);
    ForEachLocal(to_.stage, [&](int position, int device) {
      const int index = position / stride % n;
      const int base = position - index * stride;
      members.push_back({position, device, index, base + (index + 1) % n * stride,
                         base + (index + n - 1) % n * stride, stride});
    });
    return members;
  }

  // What one member of a bucket is on a device: a stretch of the buffer that goes round.
  struct Part {
    ValueId value, result;
    TensorType local;
    int64_t begin;
  };

  // The values of the node, one after the other; a reshard of one value has one part.
  std::vector<Part> PartsAt(int position) const {
    std::vector<Part> parts;
    int64_t begin = 0;
    for (size_t i = 0; i < node_.inputs.size(); ++i) {
      const Value& value = draft_.graph.value(node_.inputs[i]);
      const TensorType local =
          LocalType(value.type, value.sharding, axes_, draft_.Coordinates(position));
      parts.push_back({node_.inputs[i], node_.outputs[i], Flat(local), begin});
      begin += NumElements(local.shape);
    }
    return parts;
  }

  // The members of a bucket leave the buffer that went round.
  void Unpack(const std::vector<Part>& parts, Buffer buffer, const TensorType& buffer_type,
              int device) {
    for (const Part& part : parts) {
      ++piece_;
      plan::Task* unpack = Move("pack", to_.stage, device, Sub::kExtract);
      draft_.AddInput(unpack, buffer, buffer_type);
      SetAttrs(unpack, {{"begin", Shape{part.begin}}, {"extent", part.local.shape}});
      draft_.SetBuffer(part.result, device, Output(unpack, part.local, device, level_));
      SetCost(unpack, part.local.bytes());
    }
    piece_ = 0;
  }

  // All parts side by side: what a device has of a sum.
  static TensorType WholeOf(const std::vector<Part>& parts) {
    TensorType whole = parts.back().local;
    whole.shape[0] += parts.back().begin;
    return whole;
  }

  // Each device brings all it has to every other, and all add in the mesh's order. Message `piece_` goes
  // to the device so many places (and one) further on, so both ends count it alike.
  void EmitDirect(int axis) {
    const int n = static_cast<int>(axes_[axis].size);
    const std::vector<int> devices = draft_.StageDevices(to_.stage);
    const std::vector<Member> members = LocalMembers(axis);
    std::map<std::pair<int, int>, Buffer> links;  // by positions of source and destination
    for (const Member& member : members) {
      const std::vector<Part> parts = PartsAt(member.position);
      for (int away = 1; away < n; ++away, ++piece_) {
        const int destination = member.At((member.index + away) % n);
        plan::Task* give = Move("assemble", to_.stage, member.device, Sub::kPack);
        AssembleAttrs pieces;
        for (size_t i = 0; i < parts.size(); ++i) {
          draft_.AddInput(give, draft_.At(parts[i].value, member.device), parts[i].local);
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
      const std::vector<Part> parts = PartsAt(member.position);
      const TensorType whole = WholeOf(parts);
      for (int away = 1; away < n; ++away, ++piece_) {
        const int source = member.At((member.index + n - away) % n);
        if (links.contains({source, member.position})) continue;
        links[{source, member.position}] =
            Receive(devices[source], member.device, to_.stage, whole, "direct", 0);
      }
      piece_ = 0;
      for (const Part& part : parts) {
        plan::Task* add = Move("assemble", to_.stage, member.device, Sub::kCombine);
        AssembleAttrs pieces;
        for (int index = 0; index < n; ++index) {
          const bool own = index == member.index;
          if (own) {
            draft_.AddInput(add, draft_.At(part.value, member.device), part.local);
          } else {
            draft_.AddInput(add, links.at({member.At(index), member.position}), whole);
          }
          pieces.Add(index, {own ? 0 : part.begin}, {0}, part.local.shape,
                     index == 0 ? "copy" : mode);
        }
        SetAttrs(add, pieces.ToAttrs(1, false));
        draft_.SetBuffer(part.result, member.device,
                         Output(add, part.local, member.device, level_));
        SetCost(add, (n - 1) * part.local.bytes());
        ++piece_;
      }
      piece_ = 0;
    }
  }

  void EmitRing(int axis) {
    const Sbp a = from_.sbps[axis];
    const Sbp b = to_.sbps[axis];
    const int n = static_cast<int>(axes_[axis].size);
    const bool gathers = a.kind == Sbp::kSplit;
    const bool reduces_all = a.kind == Sbp::kPartial && b.kind == Sbp::kBroadcast;
    const int chunks = reduces_all ? 2 * (n - 1) : n - 1;
    const std::vector<int> devices = draft_.StageDevices(to_.stage);
    const std::vector<Member> members = LocalMembers(axis);

    struct Ring {
      TensorType buffer_type;
      TensorType link_type;
      int64_t dim = 0, units = 0, unit_extent = 1;
      Buffer buffer;
      plan::Task* send = nullptr;
      std::optional<Buffer> link;  // what this member receives
    };
    std::map<int, Ring> rings;  // by position
    for (const Member& member : members) {
      Ring& ring = rings[member.position];
      const TensorType whole = LocalAt(gathers ? to_ : from_, member.position);
      const std::vector<Part> parts = PartsAt(member.position);
      if (reduces_all) {
        ring.buffer_type = WholeOf(parts);
        ring.units = ring.buffer_type.shape[0];
      } else {
        const Sharding& split = gathers ? from_ : to_;
        ring.buffer_type = whole;
        ring.dim = split.sbps[axis].dim;
        const int64_t units = split.units[ring.dim];
        ring.unit_extent = units == 0 ? 1 : type_.shape[ring.dim] / units;
        ring.units = ring.unit_extent == 0 ? 0 : whole.shape[ring.dim] / ring.unit_extent;
        OF_CHECK(ring.units * ring.unit_extent == whole.shape[ring.dim]) << change_;
      }
      Shape share = ring.buffer_type.shape;
      share[ring.dim] = DealUnits(ring.units, n, 0).count * ring.unit_extent;
      ring.link_type = {type_.dtype, {NumElements(share)}};

      // The device's own part.
      plan::Task* stage = Move("assemble", to_.stage, member.device, Sub::kStage);
      AssembleAttrs pieces;
      int64_t bytes = 0;
      for (size_t i = 0; i < parts.size(); ++i) {
        const TensorType own = reduces_all ? parts[i].local : LocalAt(from_, member.position);
        draft_.AddInput(stage, draft_.At(parts[i].value, member.device), own);
        const Shape zero(own.shape.size(), 0);
        Shape at = zero;
        at[0] = parts[i].begin;
        if (gathers) {
          at[ring.dim] = DealUnits(ring.units, n, member.index).begin * ring.unit_extent;
        }
        pieces.Add(static_cast<int64_t>(i), zero, at, own.shape, "copy");
        bytes += own.bytes();
      }
      SetAttrs(stage, pieces.ToAttrs(ring.buffer_type.shape.size(), false));
      // What nothing else reads goes round where it lies.
      if (!gathers && parts.size() == 1) draft_.may_alias[draft_.IdOf(stage)] = {plan::Alias()};
      ring.buffer = Output(stage, ring.buffer_type, member.device, level_);
      SetCost(stage, bytes);
    }
    for (const Member& member : members) {
      Ring& ring = rings[member.position];
      ring.send = Move("ring_send", to_.stage, member.device, Sub::kPack);
      draft_.SetChunks(ring.send, chunks);
      draft_.AddInput(ring.send, ring.buffer, ring.buffer_type);
      SetAttrs(ring.send,
               RingAttrs(ring.dim, ring.units, n, gathers ? member.index : member.index - 1));
      const auto link =
          Ship(ring.send, member.device, devices[member.next], to_.stage, ring.link_type, "ring");
      if (link.has_value()) rings.at(member.next).link = link;
    }
    for (const Member& member : members) {
      Ring& ring = rings[member.position];
      if (!ring.link.has_value()) {
        ring.link = Receive(devices[member.previous], member.device, to_.stage, ring.link_type,
                            "ring", chunks);
      }
      plan::Task* reduce = Move("ring_reduce", to_.stage, member.device, Sub::kCombine);
      draft_.SetChunks(reduce, chunks);
      draft_.AddInput(reduce, ring.buffer, ring.buffer_type);
      draft_.AddInput(reduce, *ring.link, ring.link_type);
      Attrs attrs = RingAttrs(ring.dim, ring.units, n, gathers ? member.index : member.index - 1);
      attrs.Set("reduce_chunks", static_cast<int64_t>(gathers ? 0 : n - 1));
      attrs.Set("mode", std::string(ModeOf(a.reduce)));
      SetAttrs(reduce, attrs);
      Buffer result = Output(reduce, ring.buffer_type, member.device, level_);
      draft_.plan.mutable_registers(result.id)->set_in_place_of(ring.buffer.id);
      *reduce->add_aliases() = plan::Alias();  // output 0 over input 0
      SetCost(reduce, ring.link_type.bytes());
      // Chunk c + 1 sends what chunk c combined.
      plan::AfterEdge* edge = ring.send->add_after();
      edge->set_task(draft_.IdOf(reduce));
      edge->set_level(plan::CHUNK);
      edge->set_lag(1);

      if (node_.inputs.size() > 1) {
        Unpack(PartsAt(member.position), result, ring.buffer_type, member.device);
        continue;
      }
      if (!reduces_all && !gathers) {  // reduce-scatter: the device's own share is the result
        plan::Task* extract = Move("pack", to_.stage, member.device, Sub::kExtract);
        draft_.AddInput(extract, result, ring.buffer_type);
        const TensorType local = LocalAt(to_, member.position);
        Shape begin(local.shape.size(), 0);
        begin[ring.dim] = DealUnits(ring.units, n, member.index).begin * ring.unit_extent;
        SetAttrs(extract, {{"begin", begin}, {"extent", local.shape}});
        result = Output(extract, local, member.device, level_);
        SetCost(extract, local.bytes());
      }
      draft_.SetBuffer(result_, member.device, result);
    }
  }

  static Attrs RingAttrs(int64_t dim, int64_t units, int n, int base) {
    return {{"dim", dim},
            {"units", units},
            {"parts", static_cast<int64_t>(n)},
            {"base", static_cast<int64_t>((base + n) % n)}};
  }

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
};

}  // namespace

void EmitReshard(const Node& node, Draft* draft) { ReshardEmitter(node, draft).Emit(); }

}  // namespace oneflow
