// With the plans of all ranks at hand: both ends of every channel agree, and some steps fire to the
// end.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "google/protobuf/util/message_differencer.h"
#include "plan/firings.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

// The task of a rank at its end of a channel.
struct ChannelEnd {
  const plan::Plan* plan = nullptr;
  uint32_t task = 0;
  const plan::ChannelProto* channel = nullptr;
};

std::string EndText(const ChannelEnd& end) {
  const plan::StampProto& stamp = end.channel->stamp();
  return absl::StrCat("rank ", end.plan->rank(), " (", TaskText(*end.plan, end.task), ") has rank ",
                      end.channel->source(), " -> ", end.channel->destination(), ", ",
                      end.channel->bytes(), " bytes, ", end.channel->slots(), " slots, ",
                      FiringsPerStep(*end.plan, end.task), " messages per step, stamp ",
                      stamp.slot(), "+", stamp.slot_per_micro(), "m.", stamp.position(), ".",
                      stamp.sub());
}

bool Equal(const google::protobuf::Message& a, const google::protobuf::Message& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

// channel name -> its end on every rank that has one.
std::map<std::string, std::vector<ChannelEnd>> EndsOf(const std::vector<const plan::Plan*>& plans) {
  std::map<std::string, std::vector<ChannelEnd>> ends;
  for (const plan::Plan* plan : plans) {
    for (uint32_t t = 0; t < static_cast<uint32_t>(plan->tasks_size()); ++t) {
      const plan::Task& task = plan->tasks(static_cast<int>(t));
      if (task.kind() != plan::SEND && task.kind() != plan::RECV) continue;
      const plan::ChannelProto& channel = plan->channels(static_cast<int>(task.channel()));
      ends[channel.name()].push_back({plan, t, &channel});
    }
  }
  return ends;
}

absl::Status SameJob(const plan::Plan& a, const plan::Plan& b) {
  const auto differ = [&](const std::string& what) {
    return MakeError(ErrorKind::kPlan, absl::StrCat("channels: ranks ", a.rank(), " and ", b.rank(),
                                                    " have ", "different ", what));
  };
  for (int i = 0; i < std::min(a.node_fingerprints_size(), b.node_fingerprints_size()); ++i) {
    if (a.node_fingerprints(i).hash() == b.node_fingerprints(i).hash()) continue;
    const uint32_t line = a.node_fingerprints(i).location();
    Location location;
    if (line < static_cast<uint32_t>(a.locations_size())) {
      const plan::LocationProto& place = a.locations(static_cast<int>(line));
      location = {place.file(), static_cast<int>(place.line()), place.function()};
    }
    return WithLocation(
        differ(absl::StrCat("programs; the first line that differs is ", location.Short())),
        location);
  }
  if (a.graph_fingerprint() != b.graph_fingerprint()) return differ("programs");
  if (a.world_size() != b.world_size()) return differ("numbers of ranks");
  if (a.micro_batches() != b.micro_batches()) return differ("numbers of micro-batches");
  if (!Equal(a.mesh(), b.mesh())) return differ("meshes");
  // All ranks are given the same inputs; an output may be on some only.
  if (a.inputs_size() != b.inputs_size()) return differ("numbers of inputs");
  for (int i = 0; i < a.inputs_size(); ++i) {
    if (!Equal(a.inputs(i), b.inputs(i))) {
      return differ(absl::StrCat("types of input ", i, ", ", a.inputs(i).name()));
    }
  }
  for (const plan::OutputProto& output : a.outputs()) {
    for (const plan::OutputProto& other : b.outputs()) {
      if (output.name() == other.name() && !Equal(output, other)) {
        return differ(absl::StrCat("types of output ", output.name()));
      }
    }
  }
  return absl::OkStatus();
}

// All firings of some steps of all ranks; a RECV is a post and an arrive.
class SymbolicRun {
 public:
  explicit SymbolicRun(const std::vector<const plan::Plan*>& plans) : plans_(plans) {
    uint32_t furthest = 1;
    for (const plan::Plan* plan : plans) {
      graphs_.emplace_back(*plan);
      for (const FiringEdge& edge : graphs_.back().edges())
        furthest = std::max(furthest, edge.steps);
    }
    steps_ = std::min(furthest, 3u) + 1;
    uint32_t nodes = 0;
    for (const FiringGraph& graph : graphs_) {
      base_.push_back(nodes);
      nodes += 2 * steps_ * graph.size();
    }
    out_.resize(nodes);
    waits_.assign(nodes, 0);
    for (size_t p = 0; p < plans.size(); ++p) AddRank(p);
    AddChannels();
  }

  absl::Status Run() {
    std::vector<bool> done;
    return Fires(&done) ? absl::OkStatus() : Deadlock(done);
  }

 private:
  // `to` waits for the node in whose list it stands.
  struct Hop {
    uint32_t to;
    const FiringEdge* edge;     // nullptr between the two halves of a RECV and along a channel
    const ChannelEnd* channel;  // of the waiting end
  };

  uint32_t Node(size_t p, uint32_t step, uint32_t index, bool end) const {
    return base_[p] + 2 * (step * graphs_[p].size() + index) + (end ? 1 : 0);
  }
  void Add(uint32_t from, uint32_t to, const FiringEdge* edge, const ChannelEnd* channel) {
    out_[from].push_back({to, edge, channel});
    ++waits_[to];
  }
  bool Receives(size_t p, uint32_t index) const {
    return plans_[p]->tasks(static_cast<int>(graphs_[p].TaskOf(index))).kind() == plan::RECV;
  }

  void AddRank(size_t p) {
    const FiringGraph& graph = graphs_[p];
    for (uint32_t step = 0; step < steps_; ++step) {
      for (uint32_t i = 0; i < graph.size(); ++i)
        Add(Node(p, step, i, false), Node(p, step, i, true), nullptr, nullptr);
      for (const FiringEdge& edge : graph.edges()) {
        if (uint64_t{step} + edge.steps >= steps_) continue;
        const uint32_t later = step + edge.steps;
        if (edge.kind == EdgeKind::kStream && Receives(p, edge.from) && Receives(p, edge.to)) {
          Add(Node(p, step, edge.from, false), Node(p, later, edge.to, false), &edge, nullptr);
          Add(Node(p, step, edge.from, true), Node(p, later, edge.to, true), &edge, nullptr);
        } else {
          Add(Node(p, step, edge.from, true), Node(p, later, edge.to, false), &edge, nullptr);
        }
      }
    }
  }

  // A SEND waits for the post that answers it, the arrive for the SEND.
  void AddChannels() {
    ends_ = EndsOf(plans_);
    for (const auto& [name, ends] : ends_) {
      if (ends.size() != 2) continue;
      const bool first_sends =
          ends[0].plan->tasks(static_cast<int>(ends[0].task)).kind() == plan::SEND;
      const ChannelEnd& sender = ends[first_sends ? 0 : 1];
      const ChannelEnd& receiver = ends[first_sends ? 1 : 0];
      const size_t s = RankIndex(sender.plan), r = RankIndex(receiver.plan);
      const uint32_t messages =
          std::min(graphs_[s].FiringsOf(sender.task), graphs_[r].FiringsOf(receiver.task));
      for (uint32_t step = 0; step < steps_; ++step) {
        for (uint32_t i = 0; i < messages; ++i) {
          const uint32_t from = graphs_[s].FirstIndex(sender.task) + i;
          const uint32_t to = graphs_[r].FirstIndex(receiver.task) + i;
          Add(Node(r, step, to, false), Node(s, step, from, false), nullptr, &sender);
          Add(Node(s, step, from, true), Node(r, step, to, true), nullptr, &receiver);
        }
      }
    }
  }

  size_t RankIndex(const plan::Plan* plan) const {
    return static_cast<size_t>(std::find(plans_.begin(), plans_.end(), plan) - plans_.begin());
  }

  // The rank, step and firing of a node.
  struct Where {
    size_t rank;
    uint32_t step, index;
  };
  Where Locate(uint32_t node) const {
    const size_t p =
        static_cast<size_t>(std::upper_bound(base_.begin(), base_.end(), node) - base_.begin()) - 1;
    const uint32_t inside = (node - base_[p]) / 2;
    return {p, inside / graphs_[p].size(), inside % graphs_[p].size()};
  }

  // Follows who waits for whom from any node that did not fire until one comes twice.
  absl::Status Deadlock(const std::vector<bool>& done) const {
    std::vector<std::pair<uint32_t, const Hop*>> blocked_by(out_.size(), {0, nullptr});
    uint32_t at = 0;
    for (uint32_t node = 0; node < out_.size(); ++node) {
      if (done[node]) continue;
      for (const Hop& hop : out_[node]) blocked_by[hop.to] = {node, &hop};
      at = node;
    }
    std::set<uint32_t> seen;
    while (seen.insert(at).second) at = blocked_by[at].first;
    std::vector<const Hop*> hops;
    const uint32_t start = at;
    do {
      hops.push_back(blocked_by[at].second);
      at = blocked_by[at].first;
    } while (at != start);
    std::reverse(hops.begin(), hops.end());

    std::string text = "deadlock, each waits for the one before:";
    for (const Hop* hop : hops) {
      const Where where = Locate(hop->to);
      const plan::Plan& plan = *plans_[where.rank];
      const uint32_t task = graphs_[where.rank].TaskOf(where.index);
      const std::string name =
          FiringName(plan, graphs_[where.rank].At(plan, where.index, where.step));
      if (hop->edge != nullptr) {
        absl::StrAppend(&text, "\n  rank ", plan.rank(), ": ",
                        DescribeEdge(plan, graphs_[where.rank], *hop->edge));
      } else if (hop->channel != nullptr) {
        const bool sends = plan.tasks(static_cast<int>(task)).kind() == plan::SEND;
        absl::StrAppend(&text, "\n  rank ", plan.rank(), ": ", name, " waits for a ",
                        sends ? "credit" : "message", " on channel ", hop->channel->channel->name(),
                        " (", hop->channel->channel->slots(), " slots), ",
                        LocationOfTask(plan, task).Short());
      }
    }
    std::set<std::pair<size_t, uint32_t>> credits;
    for (const Hop* hop : hops) {
      if (hop->edge != nullptr && hop->edge->kind == EdgeKind::kCredit) {
        credits.insert({Locate(hop->to).rank, hop->edge->item});
      }
    }
    for (const auto& [p, r] : credits) absl::StrAppend(&text, Opens(p, r));
    const Where first = Locate(hops[0]->to);
    return ProofError(*plans_[first.rank], "live", graphs_[first.rank].TaskOf(first.index), text);
  }

  // The least number of slots of one register with which everything fires, if any.
  std::string Opens(size_t p, uint32_t r) const {
    const plan::Register& reg = plans_[p]->registers(static_cast<int>(r));
    const int64_t most = IterationsPerStep(*plans_[p], reg.producer(), reg.level()) + 1;
    for (int64_t slots = reg.slots() + 1; slots <= std::min<int64_t>(most, reg.slots() + 8);
         ++slots) {
      plan::Plan changed = *plans_[p];
      changed.mutable_registers(static_cast<int>(r))->set_slots(static_cast<uint32_t>(slots));
      std::vector<const plan::Plan*> plans = plans_;
      plans[p] = &changed;
      std::vector<bool> done;
      if (SymbolicRun(plans).Fires(&done)) {
        return absl::StrCat("\n  ", slots, " slots of ", RegisterText(*plans_[p], r),
                            " would open it");
      }
    }
    return "";
  }

  // True if every node fires; `done` gets those that do.
  bool Fires(std::vector<bool>* done) const {
    done->assign(out_.size(), false);
    std::vector<uint32_t> waits = waits_;
    std::vector<uint32_t> ready;
    for (uint32_t node = 0; node < out_.size(); ++node) {
      if (waits[node] == 0) ready.push_back(node);
    }
    size_t fired = 0;
    for (; !ready.empty(); ++fired) {
      const uint32_t node = ready.back();
      ready.pop_back();
      (*done)[node] = true;
      for (const Hop& hop : out_[node]) {
        if (--waits[hop.to] == 0) ready.push_back(hop.to);
      }
    }
    return fired == out_.size();
  }

  const std::vector<const plan::Plan*> plans_;
  std::vector<FiringGraph> graphs_;
  std::map<std::string, std::vector<ChannelEnd>> ends_;
  std::vector<uint32_t> base_;  // first node of each rank
  uint32_t steps_ = 2;
  std::vector<std::vector<Hop>> out_;
  std::vector<uint32_t> waits_;
};

}  // namespace

absl::Status ProveChannelsAgree(const std::vector<const plan::Plan*>& plans) {
  std::set<uint32_t> ranks;
  for (const plan::Plan* plan : plans) {
    OF_RETURN_IF_ERROR(SameJob(*plans[0], *plan));
    if (!ranks.insert(plan->rank()).second) {
      return MakeError(ErrorKind::kPlan,
                       absl::StrCat("channels: rank ", plan->rank(), " has two plans"));
    }
  }
  if (!plans.empty() && ranks.size() != plans[0]->world_size()) {
    return MakeError(ErrorKind::kPlan, absl::StrCat("channels: ", ranks.size(), " plans for ",
                                                    plans[0]->world_size(), " ranks"));
  }
  for (const auto& [name, ends] : EndsOf(plans)) {
    const Location location = LocationOfTask(*ends[0].plan, ends[0].task);
    if (ends.size() != 2) {
      return MakeError(
          ErrorKind::kPlan,
          absl::StrCat("channels: ", name, " has ", ends.size(), " ends: ", EndText(ends[0])),
          location);
    }
    const plan::Task& a = ends[0].plan->tasks(static_cast<int>(ends[0].task));
    const plan::Task& b = ends[1].plan->tasks(static_cast<int>(ends[1].task));
    if (!Equal(*ends[0].channel, *ends[1].channel) || a.level() != b.level() ||
        a.chunks() != b.chunks() || InMicroLoop(a) != InMicroLoop(b) || a.kind() == b.kind()) {
      return MakeError(ErrorKind::kPlan,
                       absl::StrCat("channels: the ends of ", name, " differ: ", EndText(ends[0]),
                                    "; ", EndText(ends[1])),
                       location);
    }
  }
  return absl::OkStatus();
}

absl::Status ProveFires(const std::vector<const plan::Plan*>& plans) {
  return SymbolicRun(plans).Run();
}

}  // namespace oneflow
