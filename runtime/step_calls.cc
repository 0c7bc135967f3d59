#include "runtime/step_calls.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "plan/firings.h"

namespace oneflow {
namespace {

absl::Status Refuse(const std::string& plan, const std::string& what) {
  return MakeError(ErrorKind::kPlan, absl::StrCat("plan ", plan, ": ", what));
}

// The user's line of the first task that sends or receives.
Location FirstMessage(const plan::Plan& plan) {
  for (int t = 0; t < plan.tasks_size(); ++t) {
    const plan::TaskKind kind = plan.tasks(t).kind();
    if (kind != plan::SEND && kind != plan::RECV) continue;
    return LocationOfTask(plan, static_cast<uint32_t>(t));
  }
  return {};
}

template <typename T>
absl::StatusOr<std::vector<T>> Tell(const T& mine, const std::string& plan,
                                    const Exchange& exchange) {
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(mine.SerializeAsString()));
  std::vector<T> all(said.size());
  for (size_t rank = 0; rank < said.size(); ++rank) {
    if (all[rank].ParseFromString(said[rank])) continue;
    return Refuse(plan, absl::StrCat("rank ", rank, " says of its calls what cannot be read"));
  }
  return all;
}

// What all ranks said, looked up.
class Matcher {
 public:
  Matcher(const Program& program, const std::vector<plan::RankParts>& ranks)
      : program_(program), plan_(program.plan()), ranks_(ranks) {}

  absl::StatusOr<StepCalls> Run(std::vector<std::vector<uint32_t>>* groups) {
    OF_RETURN_IF_ERROR(LookUpDevices());
    OF_RETURN_IF_ERROR(LookUpEnds());
    if (!ends_.empty()) OF_RETURN_IF_ERROR(CheckCallable());
    OF_RETURN_IF_ERROR(FindRings(groups));
    FindMessages();
    return std::move(calls_);
  }

 private:
  struct Place {
    uint32_t rank;
    std::string gpu;
  };
  // A channel's devices; kNobody until that end is seen.
  static constexpr uint32_t kNobody = ~0u;
  struct Ends {
    uint32_t source = kNobody;
    uint32_t destination = kNobody;
  };

  absl::Status LookUpDevices() {
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      for (const plan::DevicePlace& device : ranks_[rank].devices()) {
        if (places_.emplace(device.device(), Place{rank, device.gpu()}).second) continue;
        return Refuse(plan_.name(),
                      absl::StrCat("ranks ", places_.at(device.device()).rank, " and ", rank,
                                   " both have device ", device.device()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status LookUpEnds() {
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      for (const plan::ChannelEnd& end : ranks_[rank].ends()) {
        Ends& ends = ends_[end.name()];
        uint32_t& device = end.sends() ? ends.source : ends.destination;
        const auto place = places_.find(end.device());
        if (device != kNobody || place == places_.end() || place->second.rank != rank) {
          return Refuse(plan_.name(), absl::StrCat("rank ", rank, " has an end of channel \"",
                                                   end.name(), "\" that is not its own"));
        }
        device = end.device();
      }
    }
    for (const auto& [name, ends] : ends_) {
      if (ends.source != kNobody && ends.destination != kNobody) continue;
      return Refuse(plan_.name(), absl::StrCat("channel \"", name, "\" has one end"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckCallable() const {
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      if (ranks_[rank].lack().empty()) continue;
      return MakeError(
          ErrorKind::kError,
          absl::StrCat("a cuda mesh over several processes needs NCCL on every rank, and "
                       "rank ",
                       rank, " has none: ", ranks_[rank].lack(),
                       "; pip install nvidia-nccl-cu13, ONEFLOW_NCCL names another"),
          FirstMessage(plan_));
    }
    std::map<std::string, uint32_t> first;  // by GPU
    for (const auto& [device, place] : places_) {
      const uint32_t other = first.emplace(place.gpu, device).first->second;
      if (places_.at(other).rank == place.rank) continue;
      return MakeError(
          ErrorKind::kError,
          absl::StrCat(
              "device ", other, " of rank ", places_.at(other).rank, " and device ", device,
              " of rank ", place.rank,
              " lie on one GPU, which NCCL gives to one process; start at most one process "
              "a GPU, or say gpus=[...] in the mesh"),
          FirstMessage(plan_));
    }
    return absl::OkStatus();
  }

  using PartId = std::pair<uint32_t, int>;  // rank, position

  const plan::RingPartProto& Part(const PartId& id) const {
    return ranks_[id.first].parts(id.second);
  }

  absl::Status FindRings(std::vector<std::vector<uint32_t>>* groups) {
    std::map<std::string, PartId> fed_by;  // by channel
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      for (int i = 0; i < ranks_[rank].parts_size(); ++i) {
        const std::string& from = ranks_[rank].parts(i).from();
        if (!from.empty()) fed_by.emplace(from, PartId{rank, i});
      }
    }
    std::set<std::vector<uint32_t>> found;
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      for (int i = 0; i < ranks_[rank].parts_size(); ++i) {
        if (ranks_[rank].parts(i).share() != 0) continue;
        AddRing(Follow({rank, i}, fed_by), &found);
      }
    }
    groups->assign(found.begin(), found.end());
    return absl::OkStatus();
  }

  // All parts from the one that owns share 0 on; empty if they are no ring.
  std::vector<PartId> Follow(const PartId& first,
                             const std::map<std::string, PartId>& fed_by) const {
    std::vector<PartId> members = {first};
    const plan::RingPartProto& model = Part(first);
    if (model.shares() < 2 || model.shares() > places_.size()) return {};
    while (true) {
      const plan::RingPartProto& last = Part(members.back());
      PartId next = {members.back().first, last.next()};
      if (!last.to().empty()) {
        const auto there = fed_by.find(last.to());
        if (there == fed_by.end()) return {};
        next = there->second;
      }
      if (next.second < 0 || next.second >= ranks_[next.first].parts_size()) return {};
      const plan::RingPartProto& part = Part(next);
      const auto place = places_.find(part.device());
      if (part.what() != model.what() || part.shares() != model.shares() || !part.callable() ||
          part.share() != members.size() % model.shares() || place == places_.end() ||
          place->second.rank != next.first) {
        return {};
      }
      if (part.share() == 0) {
        const bool closed = next == first && members.size() == model.shares();
        return closed ? members : std::vector<PartId>();
      }
      members.push_back(next);
    }
  }

  void AddRing(const std::vector<PartId>& members, std::set<std::vector<uint32_t>>* groups) {
    std::vector<uint32_t> devices;
    std::set<std::string> gpus;
    std::set<uint32_t> ranks;
    for (const PartId& id : members) {
      devices.push_back(Part(id).device());
      gpus.insert(places_.at(devices.back()).gpu);
      ranks.insert(id.first);
    }
    // A GPU that two members share goes round by messages, a ring of one rank is found by itself.
    if (gpus.size() < devices.size() || ranks.size() < 2) return;
    groups->insert(devices);
    WholeRing ring;
    for (const PartId& id : members) {
      if (id.first != plan_.rank()) continue;
      const WholeRing& part = Parts()[static_cast<size_t>(id.second)].ring;
      if (ring.members.empty())
        ring = part;
      else
        ring.members.push_back(part.members[0]);
    }
    if (ring.members.empty()) return;
    ring.devices = devices;
    calls_.rings.push_back(std::move(ring));
  }

  const std::vector<RingPart>& Parts() {
    if (parts_.empty()) parts_ = RingPartsOf(plan_);
    return parts_;
  }

  void FindMessages() {
    if (ends_.empty()) return;
    std::map<std::string, uint32_t> number;  // by GPU
    for (const auto& [device, place] : places_) {
      const auto next = static_cast<uint32_t>(calls_.messengers.size());
      const auto [found, is_new] = number.emplace(place.gpu, next);
      if (is_new) calls_.messengers.push_back(device);
      calls_.messenger_of[device] = found->second;
    }
    for (const auto& [name, ends] : ends_) {
      const bool sends = places_.at(ends.source).rank == plan_.rank();
      calls_.peers[name] = sends ? ends.destination : ends.source;
    }
  }

  const Program& program_;
  const plan::Plan& plan_;
  const std::vector<plan::RankParts>& ranks_;
  std::map<uint32_t, Place> places_;  // by device
  std::map<std::string, Ends> ends_;  // by channel
  std::vector<RingPart> parts_;       // of this rank
  StepCalls calls_;
};

}  // namespace

plan::RankParts PartsOf(const Program& program) {
  const plan::Plan& plan = program.plan();
  plan::RankParts mine;
  mine.set_lack(program.device(0)->lack_of_calls());
  for (int d = 0; d < plan.devices_size(); ++d) {
    plan::DevicePlace* place = mine.add_devices();
    place->set_device(plan.devices(d).id());
    place->set_gpu(program.device(static_cast<uint32_t>(d))->place());
    if (place->gpu().empty() && mine.lack().empty()) mine.set_lack("a GPU has no name");
  }
  for (const RingPart& part : RingPartsOf(plan)) {
    const WholeRing::Member& member = part.ring.members[0];
    plan::RingPartProto* proto = mine.add_parts();
    proto->set_what(NameOf(part.ring, plan));
    proto->set_shares(static_cast<uint32_t>(part.shares));
    proto->set_share(member.share);
    proto->set_device(plan.devices(static_cast<int>(member.device)).id());
    proto->set_from(part.from);
    proto->set_to(part.to);
    proto->set_next(part.next);
    proto->set_callable(program.device(0)->HasCallFor(part.ring));
  }
  for (const Program::Task& task : program.tasks()) {
    const plan::TaskKind kind = task.proto->kind();
    if (kind != plan::SEND && kind != plan::RECV) continue;
    plan::ChannelEnd* end = mine.add_ends();
    end->set_name(plan.channels(static_cast<int>(task.proto->channel())).name());
    end->set_device(plan.devices(static_cast<int>(task.proto->device())).id());
    end->set_sends(kind == plan::SEND);
  }
  return mine;
}

absl::StatusOr<StepCalls> MatchParts(const Program& program,
                                     const std::vector<plan::RankParts>& ranks,
                                     std::vector<std::vector<uint32_t>>* groups) {
  return Matcher(program, ranks).Run(groups);
}

plan::RankOrder OrderOf(const Program& program, const StepCalls& calls) {
  const plan::Plan& plan = program.plan();
  plan::RankOrder order;
  const absl::StatusOr<StepWork> work = StepWorkOf(program, calls);
  if (!work.ok()) {
    order.set_error(MessageOf(work.status()));
    return order;
  }
  std::map<std::string, uint32_t> place;
  const auto add = [&](const std::string& name, const std::set<uint32_t>& ranks) {
    const auto [found, is_new] = place.emplace(name, static_cast<uint32_t>(order.calls_size()));
    if (is_new) {
      plan::StepCall* call = order.add_calls();
      call->set_name(name);
      for (const uint32_t rank : ranks) call->add_ranks(rank);
    }
    order.add_order(found->second);
  };
  uint32_t in_group = 0;
  Stamp last = {-1};  // the place of the message before
  for (const StepWork::Firing& firing : work->firings) {
    if (firing.kind == StepWork::Kind::kCollective) {
      const WholeRing& ring = calls.rings[firing.ring];
      // The last member makes the call for all of this rank.
      if (!IsShared(ring) || firing.member + 1 < ring.members.size()) continue;
      std::set<uint32_t> ranks = {plan.rank()};
      for (const WholeRing::Member& member : ring.members) {
        for (const uint32_t task : {member.ship, member.receive}) {
          if (task == WholeRing::kNoTask) continue;
          const plan::ChannelProto& channel =
              plan.channels(static_cast<int>(plan.tasks(static_cast<int>(task)).channel()));
          ranks.insert({channel.source(), channel.destination()});
        }
      }
      add(CallName(ring, plan), ranks);
      order.add_groups(1);
    } else if (firing.kind == StepWork::Kind::kSend || firing.kind == StepWork::Kind::kReceive) {
      const plan::ChannelProto& channel =
          plan.channels(static_cast<int>(plan.tasks(static_cast<int>(firing.task)).channel()));
      order.set_messages(true);
      add(absl::StrCat("a message of ", firing.bytes, " bytes on channel \"", channel.name(), "\""),
          {channel.source(), channel.destination()});
      const auto number = static_cast<size_t>(&firing - work->firings.data());
      const Stamp stamp = BeginStampOf(plan, {firing.task, 0, firing.micro, firing.chunk});
      if (firing.first_of_call == number && last == PlaceOf(stamp)) {
        plan::CallBreak* begins = order.add_breaks();
        begins->mutable_stamp()->Add(stamp.begin(), stamp.end());
        begins->set_channel(channel.name());
      }
      last = PlaceOf(stamp);
      ++in_group;
      if (!firing.last_of_call) continue;
      order.add_groups(in_group);
      in_group = 0;
    }
  }
  return order;
}

namespace {

// All ranks run through their steps, call by call.
class Walk {
 public:
  Walk(const std::string& plan, const std::vector<plan::RankOrder>& ranks)
      : plan_(plan), ranks_(ranks), calls_(ranks.size()), at_(ranks.size(), 0) {}

  absl::Status Run() {
    OF_RETURN_IF_ERROR(LookUp());
    std::vector<uint32_t> look;  // ranks whose next call may have all its ranks now
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) look.push_back(rank);
    while (!look.empty()) {
      const std::set<uint32_t> those = MeetingOf(look.back());
      look.pop_back();
      for (const uint32_t rank : those) ++at_[rank];
      look.insert(look.end(), those.begin(), those.end());
    }
    std::string stuck;
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      if (Head(rank) == nullptr) continue;
      absl::StrAppend(&stuck, "\n  rank ", rank, ", call ", at_[rank],
                      " of its step: ", absl::StrJoin(*Head(rank), " with "));
    }
    if (stuck.empty()) return absl::OkStatus();
    return Refuse(plan_,
                  absl::StrCat("the ranks make their calls in orders that never meet:", stuck));
  }

 private:
  using Call = std::vector<std::string>;  // what it is of, each by name

  absl::Status LookUp() {
    std::map<std::string, std::set<uint32_t>> named;
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      const plan::RankOrder& said = ranks_[rank];
      // Who makes a call: those that have it in their order. A ring's neighbours are all in it, so a rank
      // that lacks it is told by them.
      for (const plan::StepCall& call : said.calls()) {
        makers_[call.name()].insert(rank);
        named[call.name()].insert(call.ranks().begin(), call.ranks().end());
      }
      std::vector<uint32_t> groups(said.groups().begin(), said.groups().end());
      if (groups.empty()) groups.assign(static_cast<size_t>(said.order_size()), 1);
      int next = 0;
      for (const uint32_t group : groups) {
        if (group == 0 || group > static_cast<uint32_t>(said.order_size() - next)) {
          return Refuse(plan_, absl::StrCat("rank ", rank, " has groups of calls that it lacks"));
        }
        Call& call = calls_[rank].emplace_back();
        for (uint32_t i = 0; i < group; ++i) {
          const uint32_t position = said.order(next++);
          if (position >= static_cast<uint32_t>(said.calls_size())) {
            return Refuse(plan_,
                          absl::StrCat("rank ", rank, " makes a call that it does not name"));
          }
          call.push_back(said.calls(static_cast<int>(position)).name());
        }
      }
      if (next < said.order_size()) {
        return Refuse(plan_, absl::StrCat("rank ", rank, " has calls that are of no group"));
      }
    }
    for (const auto& [name, those] : makers_) {
      if (those == named.at(name) && those.size() > 1) continue;
      return Refuse(plan_,
                    absl::StrCat(name, " is a call of ranks ", absl::StrJoin(named.at(name), ","),
                                 ", but ranks ", absl::StrJoin(those, ","),
                                 " make it; compile the plan again on all ranks"));
    }
    return absl::OkStatus();
  }

  const Call* Head(uint32_t rank) const {
    return at_[rank] < calls_[rank].size() ? &calls_[rank][at_[rank]] : nullptr;
  }

  // What of the rank's next call is for the other too.
  Call Between(uint32_t rank, uint32_t other) const {
    Call shared;
    if (Head(rank) == nullptr) return shared;
    for (const std::string& name : *Head(rank)) {
      if (makers_.at(name).contains(other)) shared.push_back(name);
    }
    return shared;
  }

  // The ranks whose next calls are for each other, from this one on; none while one of them is not there.
  std::set<uint32_t> MeetingOf(uint32_t first) const {
    std::set<uint32_t> those;
    std::vector<uint32_t> look = {first};
    while (!look.empty()) {
      const uint32_t rank = look.back();
      look.pop_back();
      if (Head(rank) == nullptr) return {};
      if (!those.insert(rank).second) continue;
      for (const std::string& name : *Head(rank)) {
        for (const uint32_t other : makers_.at(name)) {
          if (other == rank) continue;
          if (Between(rank, other) != Between(other, rank)) return {};
          look.push_back(other);
        }
      }
    }
    return those;
  }

  const std::string& plan_;
  const std::vector<plan::RankOrder>& ranks_;
  std::map<std::string, std::set<uint32_t>> makers_;
  std::vector<std::vector<Call>> calls_;  // by rank
  std::vector<size_t> at_;
};

}  // namespace

absl::Status CheckOrders(const std::string& plan, const std::vector<plan::RankOrder>& ranks) {
  return Walk(plan, ranks).Run();
}

absl::StatusOr<StepCalls> AgreeOnCalls(const Program& program, const Exchange& exchange) {
  const std::string& plan = program.plan().name();
  OF_ASSIGN_OR_RETURN(const std::vector<plan::RankParts> parts,
                      Tell(PartsOf(program), plan, exchange));
  std::vector<std::vector<uint32_t>> groups;
  OF_ASSIGN_OR_RETURN(StepCalls calls, MatchParts(program, parts, &groups));
  const std::vector<WholeRing> own = OwnRings(program);
  calls.rings.insert(calls.rings.begin(), own.begin(), own.end());
  OF_ASSIGN_OR_RETURN(std::vector<plan::RankOrder> orders,
                      Tell(OrderOf(program, calls), plan, exchange));
  const auto has_none = [](const plan::RankOrder& order) { return !order.error().empty(); };
  if (std::any_of(orders.begin(), orders.end(), has_none)) {
    // On some rank something stands between two chunks of a ring: then they all go chunk by chunk.
    calls.rings.clear();
    groups.clear();
    OF_ASSIGN_OR_RETURN(orders, Tell(OrderOf(program, calls), plan, exchange));
  }
  for (uint32_t rank = 0; rank < orders.size(); ++rank) {
    if (!has_none(orders[rank])) continue;
    return Refuse(plan, absl::StrCat("rank ", rank, ": ", orders[rank].error()));
  }
  // A group ends where one has to on any rank.
  for (uint32_t rank = 0; rank < orders.size(); ++rank) {
    for (const plan::CallBreak& each : orders[rank].breaks()) {
      Stamp stamp = {};
      if (static_cast<size_t>(each.stamp_size()) != stamp.size()) {
        return Refuse(plan, absl::StrCat("rank ", rank, " ends a group nowhere"));
      }
      std::copy(each.stamp().begin(), each.stamp().end(), stamp.begin());
      calls.breaks.emplace(stamp, each.channel());
    }
  }
  if (!calls.breaks.empty()) {
    OF_ASSIGN_OR_RETURN(orders, Tell(OrderOf(program, calls), plan, exchange));
  }
  // All ranks decide alike, from what all have said.
  if (!CheckOrders(plan, orders).ok()) {
    calls.groups = false;
    for (plan::RankOrder& order : orders) order.clear_groups();
    OF_RETURN_IF_ERROR(CheckOrders(plan, orders));
  }
  const auto has_messages = [](const plan::RankOrder& order) { return order.messages(); };
  if (std::any_of(orders.begin(), orders.end(), has_messages)) {
    groups.push_back(calls.messengers);
  } else {
    calls.messengers.clear();
  }
  OF_RETURN_IF_ERROR(program.device(0)->Join(groups, exchange));
  return calls;
}

}  // namespace oneflow
