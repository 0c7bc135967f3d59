#include "plan/rings.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/shape.h"
#include "plan/attrs.h"
#include "plan/firings.h"
#include "plan/sent_pieces.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

// What a ring task says of its ring; `base` differs between members.
struct Terms {
  int64_t dim = 0, units = 0, parts = 0, base = 0, pieces = 1;
  int64_t reduce_chunks = 0;
  std::string mode;
};

template <typename T>
bool Read(const Attrs& attrs, const std::string& name, T* value) {
  const T* held = attrs.Find<T>(name);
  if (held != nullptr) *value = *held;
  return held != nullptr;
}

class Finder {
 public:
  explicit Finder(const plan::Plan& plan) : plan_(plan) {
    for (int t = 0; t < plan.tasks_size(); ++t) {
      const plan::Task& task = plan.tasks(t);
      if (task.kind() == plan::SEND && SendsPieces(task) && IsRegister(task, 1, 0)) {
        ships_[task.inputs(0).register_()].push_back(static_cast<uint32_t>(t));
      }
      if (task.kind() != plan::MOVE) continue;
      if (task.op() == "ring_send" && IsRegister(task, 1, 1)) {
        sends_[task.inputs(0).register_()].push_back(static_cast<uint32_t>(t));
      } else if (task.op() == "ring_reduce" && IsRegister(task, 2, 1)) {
        reduces_.push_back(static_cast<uint32_t>(t));
      }
    }
  }

  std::vector<WholeRing> Run() {
    std::vector<WholeRing> rings;
    std::set<uint32_t> seen;
    for (const uint32_t first : reduces_) {
      if (seen.contains(first)) continue;
      std::vector<uint32_t> reduces;  // against the direction of the chunks
      uint32_t at = first;
      while (seen.insert(at).second) {
        reduces.push_back(at);
        const std::optional<uint32_t> before = ReduceBefore(at);
        if (!before.has_value()) break;
        at = *before;
      }
      // Back where it began: all members are here.
      if (ReduceBefore(reduces.back()) != std::optional<uint32_t>(first)) continue;
      std::reverse(reduces.begin(), reduces.end());
      if (std::optional<WholeRing> ring = RingOf(reduces); ring.has_value()) {
        rings.push_back(*std::move(ring));
      }
    }
    return rings;
  }

  std::vector<RingPart> Parts() const {
    std::vector<RingPart> parts;
    std::vector<uint32_t> feeders;
    for (const uint32_t reduce : reduces_) {
      uint32_t feeder = 0;
      std::optional<RingPart> part = PartOf(reduce, &feeder);
      if (!part.has_value()) continue;
      parts.push_back(*std::move(part));
      feeders.push_back(feeder);
    }
    for (RingPart& part : parts) {
      for (size_t i = 0; i < parts.size() && part.to.empty(); ++i) {
        if (feeders[i] == part.ring.members[0].send) part.next = static_cast<int>(i);
      }
    }
    return parts;
  }

  std::vector<RingPlace> Places() const {
    std::vector<RingPlace> places;
    for (const uint32_t reduce : reduces_) {
      if (std::optional<RingPlace> place = PlaceOf(reduce); place.has_value()) {
        places.push_back(*std::move(place));
      }
    }
    // One without its neighbour of this rank is none, and then the one before it.
    for (size_t before = places.size() + 1; places.size() < before;) {
      before = places.size();
      Link(&places);
      std::set<int> led;
      for (const RingPlace& place : places) led.insert(place.next);
      std::vector<RingPlace> kept;
      for (size_t i = 0; i < places.size(); ++i) {
        const bool leads = places[i].ship != WholeRing::kNoTask || places[i].next >= 0;
        const bool is_led =
            places[i].receive != WholeRing::kNoTask || led.contains(static_cast<int>(i));
        if (leads && is_led) kept.push_back(std::move(places[i]));
      }
      places = std::move(kept);
    }
    return places;
  }

 private:
  const plan::Task& Task(uint32_t t) const { return plan_.tasks(static_cast<int>(t)); }
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }

  // So many ports, all of them typed registers.
  static bool IsRegister(const plan::Task& task, int inputs, int outputs) {
    if (task.inputs_size() != inputs || task.outputs_size() != outputs) return false;
    const auto good = [](const plan::Port& port) {
      return port.source_case() == plan::Port::kRegister && port.has_type();
    };
    return std::all_of(task.inputs().begin(), task.inputs().end(), good) &&
           std::all_of(task.outputs().begin(), task.outputs().end(), good);
  }

  // The only send on the buffer of a reduce.
  std::optional<uint32_t> SendOf(uint32_t reduce) const { return OnlyOne(sends_, reduce); }
  std::optional<uint32_t> OnlyOne(const std::map<uint32_t, std::vector<uint32_t>>& by_buffer,
                                  uint32_t reduce) const {
    const auto found = by_buffer.find(Task(reduce).inputs(0).register_());
    if (found == by_buffer.end() || found->second.size() != 1) return std::nullopt;
    return found->second.front();
  }
  // The reduce of the member whose chunks this one gets.
  std::optional<uint32_t> ReduceBefore(uint32_t reduce) const {
    const uint32_t send = Reg(Task(reduce).inputs(1).register_()).producer();
    if (Task(send).op() != "ring_send" || !IsRegister(Task(send), 1, 1)) return std::nullopt;
    for (const uint32_t reader : Reg(Task(send).inputs(0).register_()).consumers()) {
      if (reader != send && Task(reader).op() == "ring_reduce" && IsRegister(Task(reader), 2, 1) &&
          SendOf(reader) == std::optional<uint32_t>(send)) {
        return reader;
      }
    }
    return std::nullopt;
  }

  static std::optional<Terms> TermsOf(const plan::Task& task, bool reduces) {
    const Attrs attrs = Attrs::FromProto(task.attrs());
    Terms terms;
    if (!Read(attrs, "dim", &terms.dim) || !Read(attrs, "units", &terms.units) ||
        !Read(attrs, "parts", &terms.parts) || !Read(attrs, "base", &terms.base)) {
      return std::nullopt;
    }
    if (attrs.Has("pieces") && (!Read(attrs, "pieces", &terms.pieces) || terms.pieces < 1)) {
      return std::nullopt;
    }
    if (reduces && (!Read(attrs, "reduce_chunks", &terms.reduce_chunks) ||
                    !Read(attrs, "mode", &terms.mode))) {
      return std::nullopt;
    }
    return terms;
  }

  // What all chunks of a ring of n do together; `reduce_chunks` and `chunks` count pieces.
  static std::optional<RingKind> KindOf(const Terms& terms, int64_t n, int64_t chunks) {
    if (terms.pieces > std::numeric_limits<uint32_t>::max() || n < 2) return std::nullopt;
    const int64_t turn = (n - 1) * terms.pieces;  // the chunks in which each share goes round once
    if (chunks == 2 * turn && terms.reduce_chunks == turn) return RingKind::kAllReduce;
    if (chunks == turn && terms.reduce_chunks == turn) return RingKind::kReduceScatter;
    if (chunks == turn && terms.reduce_chunks == 0) return RingKind::kAllGather;
    return std::nullopt;
  }

  // Nobody but the ring reads the buffer or the link, and the result is the buffer.
  bool Closed(uint32_t send, uint32_t reduce) const {
    const plan::Task& reducer = Task(reduce);
    const plan::Register& buffer = Reg(reducer.inputs(0).register_());
    const plan::Register& link = Reg(reducer.inputs(1).register_());
    const plan::Register& result = Reg(reducer.outputs(0).register_());
    std::set<uint32_t> readers(buffer.consumers().begin(), buffer.consumers().end());
    return readers == std::set<uint32_t>{send, reduce} && link.consumers_size() == 1 &&
           result.has_in_place_of() && result.in_place_of() == reducer.inputs(0).register_() &&
           buffer.device() == reducer.device() && result.device() == reducer.device();
  }

  std::optional<WholeRing> RingOf(const std::vector<uint32_t>& reduces) const {
    const auto n = static_cast<int64_t>(reduces.size());
    const plan::Task& model = Task(reduces.front());
    const std::optional<Terms> terms = TermsOf(model, true);
    if (!terms.has_value() || n < 2 || terms->parts != n) return std::nullopt;
    WholeRing ring;
    ring.mode = terms->mode;
    const std::optional<RingKind> kind = KindOf(*terms, n, model.chunks());
    if (!kind.has_value()) return std::nullopt;
    ring.kind = *kind;
    ring.dtype = static_cast<DType>(model.inputs(0).type().dtype());
    const Shape shape = ShapeOf(model.inputs(0).type().shape());
    ring.elements = NumElements(shape);
    ring.members.resize(reduces.size());
    std::set<int64_t> owners;
    std::set<uint32_t> devices;
    for (const uint32_t reduce : reduces) {
      const uint32_t send = *SendOf(reduce);
      const std::optional<Terms> mine = TermsOf(Task(reduce), true);
      const std::optional<Terms> sends = TermsOf(Task(send), false);
      if (!mine.has_value() || !sends.has_value()) return std::nullopt;
      for (const Terms* other : {&*mine, &*sends}) {
        if (other->dim != terms->dim || other->units != terms->units ||
            other->parts != terms->parts || other->pieces != terms->pieces ||
            other->base != mine->base) {
          return std::nullopt;
        }
      }
      const Shape here = ShapeOf(Task(reduce).inputs(0).type().shape());
      if (mine->reduce_chunks != terms->reduce_chunks || mine->mode != terms->mode ||
          here != shape ||
          Task(reduce).inputs(0).type().dtype() != model.inputs(0).type().dtype() ||
          Task(reduce).chunks() != model.chunks() || Task(send).chunks() != model.chunks() ||
          Task(reduce).level() != plan::CHUNK || Task(send).level() != plan::CHUNK ||
          Task(send).device() != Task(reduce).device() ||
          Task(send).stream() != Task(reduce).stream() ||
          Task(reduce).stamp().position() != model.stamp().position() ||
          Task(reduce).stamp().slot() != model.stamp().slot() ||
          Task(reduce).stamp().slot_per_micro() != model.stamp().slot_per_micro() ||
          !Closed(send, reduce) || !devices.insert(Task(reduce).device()).second) {
        return std::nullopt;
      }
      // The share that a member ends with: it begins with the one before it, or with its own.
      const int64_t own = ring.kind == RingKind::kAllGather ? mine->base : (mine->base + 1) % n;
      if (own < 0 || own >= n || !owners.insert(own).second) return std::nullopt;
      ring.members[static_cast<size_t>(own)] = {Task(reduce).device(), send, reduce,
                                                static_cast<uint32_t>(own)};
    }
    // Chunks go from each to the next.
    for (size_t i = 0; i < ring.members.size(); ++i) {
      const uint32_t next = ring.members[(i + 1) % ring.members.size()].reduce;
      if (Reg(Task(next).inputs(1).register_()).producer() != ring.members[i].send) {
        return std::nullopt;
      }
    }
    for (const WholeRing::Member& member : ring.members) {
      ring.devices.push_back(plan_.devices(static_cast<int>(member.device)).id());
    }
    const auto dim = static_cast<size_t>(terms->dim);
    if (dim >= shape.size()) return std::nullopt;
    ring.even = IsEven(*terms, shape, n);
    return ring;
  }

  // Share i of n is the i-th of n equal stretches.
  static bool IsEven(const Terms& terms, const Shape& shape, int64_t n) {
    const auto dim = static_cast<size_t>(terms.dim);
    const int64_t units = terms.units > 0 ? terms.units : shape[dim];
    const int64_t outer =
        NumElements(Shape(shape.begin(), shape.begin() + static_cast<int64_t>(dim)));
    return outer == 1 && units > 0 && units % n == 0 && shape[dim] % units == 0;
  }

  // True if a task carries each chunk of a link to or from another rank, and does nothing else.
  bool Carries(uint32_t t, plan::TaskKind kind, uint32_t link, const plan::Task& model) const {
    const plan::Task& task = Task(t);
    const auto& ports = kind == plan::SEND ? task.inputs() : task.outputs();
    return task.kind() == kind && task.level() == plan::CHUNK && task.chunks() == model.chunks() &&
           task.device() == model.device() && ports.size() == 1 &&
           ports[0].source_case() == plan::Port::kRegister && ports[0].register_() == link &&
           Reg(link).consumers_size() == 1 && task.stamp().position() == model.stamp().position() &&
           task.stamp().slot() == model.stamp().slot() &&
           task.stamp().slot_per_micro() == model.stamp().slot_per_micro();
  }

  // What both tasks of a member say alike of its ring; none if they are none.
  std::optional<Terms> MemberTerms(uint32_t send, uint32_t reduce) const {
    const plan::Task &sender = Task(send), &reducer = Task(reduce);
    const std::optional<Terms> terms = TermsOf(reducer, true);
    const std::optional<Terms> sends = TermsOf(sender, false);
    if (!terms.has_value() || !sends.has_value() || sends->dim != terms->dim ||
        sends->units != terms->units || sends->parts != terms->parts ||
        sends->pieces != terms->pieces || sends->base != terms->base || terms->parts < 2 ||
        sender.chunks() != reducer.chunks() || sender.level() != plan::CHUNK ||
        reducer.level() != plan::CHUNK || sender.device() != reducer.device() ||
        sender.stream() != reducer.stream() || !Closed(send, reduce)) {
      return std::nullopt;
    }
    return terms;
  }

  // The same conditions as RingOf's, of one member whose neighbours may be of other ranks. `feeder`: the send
  // that its chunks come from, or the RECV.
  std::optional<RingPart> PartOf(uint32_t reduce, uint32_t* feeder) const {
    const plan::Task& reducer = Task(reduce);
    const std::optional<uint32_t> found = SendOf(reduce);
    if (!found.has_value()) return std::nullopt;
    const plan::Task& sender = Task(*found);
    const std::optional<Terms> terms = MemberTerms(*found, reduce);
    if (!terms.has_value()) return std::nullopt;
    RingPart part;
    part.shares = terms->parts;
    const int64_t n = part.shares;
    WholeRing& ring = part.ring;
    ring.mode = terms->mode;
    const std::optional<RingKind> kind = KindOf(*terms, n, reducer.chunks());
    if (!kind.has_value()) return std::nullopt;
    ring.kind = *kind;
    const plan::TensorTypeProto& type = reducer.inputs(0).type();
    ring.dtype = static_cast<DType>(type.dtype());
    const Shape shape = ShapeOf(type.shape());
    if (terms->dim < 0 || static_cast<size_t>(terms->dim) >= shape.size()) return std::nullopt;
    ring.elements = NumElements(shape);
    ring.even = IsEven(*terms, shape, n);
    const int64_t own = ring.kind == RingKind::kAllGather ? terms->base : (terms->base + 1) % n;
    if (own < 0 || own >= n) return std::nullopt;
    WholeRing::Member member = {reducer.device(), *found, reduce, static_cast<uint32_t>(own)};
    const uint32_t in = reducer.inputs(1).register_();
    const uint32_t out = sender.outputs(0).register_();
    *feeder = Reg(in).producer();
    if (Carries(*feeder, plan::RECV, in, reducer)) {
      member.receive = *feeder;
      part.from = Channel(*feeder);
    } else if (Task(*feeder).op() != "ring_send") {
      return std::nullopt;
    }
    if (Reg(out).consumers_size() != 1) return std::nullopt;
    if (const uint32_t reader = Reg(out).consumers(0); Carries(reader, plan::SEND, out, sender)) {
      member.ship = reader;
      part.to = Channel(reader);
    } else if (Task(reader).op() != "ring_reduce") {
      return std::nullopt;
    }
    ring.members.push_back(member);
    return part;
  }

  std::optional<RingPlace> PlaceOf(uint32_t reduce) const {
    const plan::Task& reducer = Task(reduce);
    RingPlace place;
    place.reduce = reduce;
    const std::optional<uint32_t> ship = OnlyOne(ships_, reduce);
    const std::optional<uint32_t> sender = ship.has_value() ? ship : SendOf(reduce);
    if (!sender.has_value()) return std::nullopt;
    const std::optional<Terms> terms = MemberTerms(*sender, reduce);
    if (!terms.has_value() ||
        KindOf(*terms, terms->parts, reducer.chunks()) != RingKind::kAllReduce) {
      return std::nullopt;
    }
    const plan::Register& buffer = Reg(reducer.inputs(0).register_());
    // One way round for each filling.
    if (FiringsPerStep(plan_, reduce) !=
        IterationsPerStep(plan_, reduce, buffer.level()) * reducer.chunks()) {
      return std::nullopt;
    }
    if (!OverWhenFilled(buffer)) return std::nullopt;
    absl::StatusOr<SentPieces> pieces = ReceivedPiecesOf(reducer);
    const uint32_t link = reducer.inputs(1).register_();
    if (!pieces.ok() || pieces->bytes != Reg(link).bytes()) return std::nullopt;
    place.members = terms->parts;
    place.pieces_per_share = terms->pieces;
    place.sums_from = terms->reduce_chunks - terms->pieces;
    (ship.has_value() ? place.ship : place.send) = *sender;
    if (Carries(Reg(link).producer(), plan::RECV, link, reducer)) {
      place.receive = Reg(link).producer();
    }
    return place;
  }
  uint64_t BufferBytes(const RingPlace& place) const {
    return Reg(Task(place.reduce).inputs(0).register_()).bytes();
  }
  // Which of them follow each other here.
  void Link(std::vector<RingPlace>* places) const {
    std::map<uint32_t, int> by_send;
    for (size_t i = 0; i < places->size(); ++i) {
      (*places)[i].next = -1;
      if ((*places)[i].send != WholeRing::kNoTask) by_send[(*places)[i].send] = static_cast<int>(i);
    }
    for (size_t i = 0; i < places->size(); ++i) {
      const plan::Port& link = Task((*places)[i].reduce).inputs(1);
      const auto before = by_send.find(Reg(link.register_()).producer());
      if (before == by_send.end() || Reg(link.register_()).consumers_size() != 1) continue;
      RingPlace& leads = (*places)[static_cast<size_t>(before->second)];
      if (leads.members == (*places)[i].members &&
          leads.pieces_per_share == (*places)[i].pieces_per_share &&
          BufferBytes(leads) == BufferBytes((*places)[i])) {
        leads.next = static_cast<int>(i);
      }
    }
  }
  // Whoever touched the bytes of a register before it was filled was read by what fills it, and by nobody else.
  bool OverWhenFilled(const plan::Register& last) const {
    for (const plan::Register* reg = &last; reg->has_in_place_of();) {
      const plan::Register& before = Reg(reg->in_place_of());
      if (before.consumers_size() != 1 || before.consumers(0) != reg->producer()) return false;
      reg = &before;
    }
    return true;
  }

  const std::string& Channel(uint32_t t) const {
    return plan_.channels(static_cast<int>(Task(t).channel())).name();
  }

  const plan::Plan& plan_;
  std::map<uint32_t, std::vector<uint32_t>> sends_;  // by buffer: those that pack
  std::map<uint32_t, std::vector<uint32_t>> ships_;  // and SENDs of pieces
  std::vector<uint32_t> reduces_;
};

}  // namespace

std::vector<WholeRing> RingsOf(const plan::Plan& plan) { return Finder(plan).Run(); }
std::vector<RingPart> RingPartsOf(const plan::Plan& plan) { return Finder(plan).Parts(); }
std::vector<RingPlace> RingPlacesOf(const plan::Plan& plan) { return Finder(plan).Places(); }

std::vector<std::vector<size_t>> RingStretchesOf(const std::vector<RingPlace>& places) {
  std::vector<std::vector<size_t>> stretches;
  std::vector<bool> seen(places.size());
  const auto follow = [&](size_t first) {
    std::vector<size_t>& stretch = stretches.emplace_back();
    for (int at = static_cast<int>(first); at >= 0 && !seen[static_cast<size_t>(at)];
         at = places[static_cast<size_t>(at)].next) {
      seen[static_cast<size_t>(at)] = true;
      stretch.push_back(static_cast<size_t>(at));
    }
  };
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].receive != WholeRing::kNoTask) follow(i);
  }
  for (size_t i = 0; i < places.size(); ++i) {
    if (!seen[i]) follow(i);
  }
  return stretches;
}

}  // namespace oneflow
