// Which rings may be in place, and which may receive what they gather where it belongs (plan/rings.h, RingPlace): those
// alone whose bytes nobody touches at the same time, in any order that the plans of all ranks leave open. That order is
// found here from every edge of all plans and from every message; what touches a buffer, from what a ring is.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compiler/compile.h"
#include "compiler/parallel/step_builder_for_test.h"
#include "plan/attrs.h"
#include "plan/firing_graph.h"
#include "plan/rings.h"
#include "plan/sent_pieces.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

std::vector<plan::Plan> CompileAll(std::vector<Axis> axes, int per_rank, int64_t width,
                                   int micro_batches) {
  StepBuilder step;
  const ValueId x = step.Input("x", {48, width});
  const ValueId labels = step.Input("labels", {48}, "i64");
  const ValueId hidden = step.Op("relu", {step.Linear(x, step.Parameter("w", {width, width}))});
  step.Train(step.CrossEntropy(step.Linear(hidden, step.Parameter("v", {width, width})), labels));
  CompileOptions options;
  options.micro_batches = micro_batches;
  options.mesh = MeshOf(std::move(axes));
  const int devices = static_cast<int>(options.mesh.devices.size());
  plan::Target target = CpuTarget(devices, per_rank);
  options.world_size = devices / per_rank;
  std::vector<plan::Plan> plans;
  for (options.rank = 0; options.rank < options.world_size; ++options.rank) {
    const absl::StatusOr<Compiled> compiled = CompileComplete(
        step.graph, &target, options, false, [](const KernelQuery& query, const plan::Plan&) {
          plan::KernelRow row;
          row.set_key(query.key);
          return absl::StatusOr<plan::KernelRow>(row);
        });
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    if (!compiled.ok()) return {};
    plans.push_back(*compiled->plan);
  }
  return plans;
}

// The beginnings and ends of all firings of all ranks in some steps, and what comes before what.
class AllRanks {
 public:
  AllRanks(const std::vector<plan::Plan>& plans, uint32_t steps) : plans_(plans), steps_(steps) {
    uint32_t nodes = 0;
    for (const plan::Plan& plan : plans) {
      graphs_.emplace_back(plan);
      first_.push_back(nodes);
      nodes += 2 * steps * graphs_.back().size();
    }
    after_.resize(nodes);
    for (size_t r = 0; r < plans.size(); ++r) AddRank(r);
    AddMessages();
  }

  uint32_t Begin(size_t rank, uint32_t task, int64_t ordinal) const {
    const int64_t per_step = FiringsPerStep(plans_[rank], task);
    return Node(rank, static_cast<uint32_t>(ordinal / per_step),
                graphs_[rank].FirstIndex(task) + static_cast<uint32_t>(ordinal % per_step));
  }
  uint32_t End(size_t rank, uint32_t task, int64_t ordinal) const {
    return Begin(rank, task, ordinal) + 1;
  }
  // All that comes after a node.
  const std::vector<bool>& After(uint32_t node) {
    std::vector<bool>& reached = reached_[node];
    if (!reached.empty()) return reached;
    reached.resize(after_.size());
    std::vector<uint32_t> open = {node};
    while (!open.empty()) {
      const uint32_t at = open.back();
      open.pop_back();
      for (const uint32_t next : after_[at]) {
        if (reached[next]) continue;
        reached[next] = true;
        open.push_back(next);
      }
    }
    return reached;
  }
  uint32_t steps() const { return steps_; }

 private:
  uint32_t Node(size_t rank, uint32_t step, uint32_t index) const {
    return first_[rank] + 2 * (step * graphs_[rank].size() + index);
  }
  // A RECV begins with its post and ends when the message is there.
  void AddRank(size_t r) {
    const FiringGraph& graph = graphs_[r];
    const auto receives = [&](uint32_t index) {
      return plans_[r].tasks(static_cast<int>(graph.TaskOf(index))).kind() == plan::RECV;
    };
    for (uint32_t step = 0; step < steps_; ++step) {
      for (uint32_t i = 0; i < graph.size(); ++i)
        after_[Node(r, step, i)].push_back(Node(r, step, i) + 1);
      for (const FiringEdge& edge : graph.edges()) {
        if (step + edge.steps >= steps_) continue;
        const uint32_t from = Node(r, step, edge.from), to = Node(r, step + edge.steps, edge.to);
        if (edge.kind == EdgeKind::kStream && receives(edge.from) && receives(edge.to)) {
          after_[from].push_back(to);
          after_[from + 1].push_back(to + 1);
        } else {
          after_[from + 1].push_back(to);
        }
      }
    }
  }
  void AddMessages() {
    std::map<std::string, std::pair<size_t, uint32_t>> ends[2];  // of sources, of destinations
    for (size_t r = 0; r < plans_.size(); ++r) {
      for (uint32_t t = 0; t < static_cast<uint32_t>(plans_[r].tasks_size()); ++t) {
        const plan::Task& task = plans_[r].tasks(static_cast<int>(t));
        if (task.kind() != plan::SEND && task.kind() != plan::RECV) continue;
        const std::string& name = plans_[r].channels(static_cast<int>(task.channel())).name();
        ends[task.kind() == plan::RECV][name] = {r, t};
      }
    }
    for (const auto& [name, source] : ends[0]) {
      const auto [r, send] = source;
      const auto [q, receive] = ends[1].at(name);
      for (int64_t n = 0; n < steps_ * FiringsPerStep(plans_[r], send); ++n) {
        after_[Begin(q, receive, n)].push_back(Begin(r, send, n));  // a slot is posted
        after_[End(r, send, n)].push_back(End(q, receive, n));
      }
    }
  }

  const std::vector<plan::Plan>& plans_;
  const uint32_t steps_;
  std::vector<FiringGraph> graphs_;
  std::vector<uint32_t> first_;
  std::vector<std::vector<uint32_t>> after_;
  std::map<uint32_t, std::vector<bool>> reached_;
};

// A firing touches bytes of a device.
struct Access {
  uint32_t device;
  int64_t begin, end;
  bool writes;
  uint32_t begins, ends;  // nodes
  std::string who;
};

// By chunk: where in each member's buffer its piece is.
SentPieces PiecesOf(const plan::Plan& plan, const RingPlace& place) {
  return *ReceivedPiecesOf(plan.tasks(static_cast<int>(place.reduce)));
}

// How rings do without copies.
enum class Way {
  kSummed,   // members sum their share out of all buffers into all
  kLanding,  // the ring goes round; what a rank gathers is received into its buffer
};

// What is unordered if each ring goes so; empty: nothing. Its whole sums are made, or put into the place of what comes,
// so many chunks early (negative: late). `rings`: how many members there are.
std::string Unordered(const std::vector<plan::Plan>& plans, Way way, int64_t early, int* rings) {
  AllRanks order(plans, 3);
  std::vector<Access> accesses;
  size_t of_rings = 0;  // the first so many
  const auto touch = [&](size_t toucher, uint32_t task, int64_t ordinal, size_t rank,
                         uint32_t reg_id, int64_t iteration, int64_t at, int64_t bytes,
                         bool writes) {
    const plan::Register& reg = plans[rank].registers(static_cast<int>(reg_id));
    const int64_t slot = reg.offset() + iteration % reg.slots() * reg.slot_stride();
    accesses.push_back(
        {plans[rank].devices(static_cast<int>(reg.device())).id(), slot + at, slot + at + bytes,
         writes, order.Begin(toucher, task, ordinal), order.End(toucher, task, ordinal),
         plans[toucher].tasks(static_cast<int>(task)).name() + " " + std::to_string(ordinal)});
  };
  using Member = std::pair<size_t, size_t>;  // rank, place
  std::vector<std::vector<RingPlace>> places;
  std::map<std::string, Member> behind;           // by channel: the member that it leads to
  std::map<std::string, Member> before;           // and the one that it comes from
  std::set<std::pair<size_t, uint32_t>> of_ring;  // tasks that touch their buffers by pieces
  const auto channel_of = [&](size_t r, uint32_t task) {
    const uint32_t channel = plans[r].tasks(static_cast<int>(task)).channel();
    return plans[r].channels(static_cast<int>(channel)).name();
  };
  for (size_t r = 0; r < plans.size(); ++r) {
    places.push_back(RingPlacesOf(plans[r]));
    *rings += static_cast<int>(places[r].size());
    for (size_t i = 0; i < places[r].size(); ++i) {
      const RingPlace& place = places[r][i];
      for (const uint32_t task : {place.reduce, place.send, place.ship}) of_ring.insert({r, task});
      if (place.receive != WholeRing::kNoTask) behind[channel_of(r, place.receive)] = {r, i};
      if (place.ship != WholeRing::kNoTask) before[channel_of(r, place.ship)] = {r, i};
    }
  }
  const auto buffer_of = [&](Member member) {
    const RingPlace& place = places[member.first][member.second];
    const plan::Task& reduce = plans[member.first].tasks(static_cast<int>(place.reduce));
    return reduce.inputs(0).register_();
  };
  // All members, from this one on.
  const auto ring_of = [&](Member first) {
    std::vector<Member> ring;
    Member at = first;
    do {
      ring.push_back(at);
      const RingPlace& place = places[at.first][at.second];
      at = place.next >= 0 ? Member(at.first, static_cast<size_t>(place.next))
                           : behind.at(channel_of(at.first, place.ship));
    } while (at != first && ring.size() < 100);
    return ring;
  };
  for (size_t r = 0; r < plans.size(); ++r) {
    for (size_t i = 0; i < places[r].size(); ++i) {
      const RingPlace& place = places[r][i];
      const std::vector<Member> ring = ring_of({r, i});
      if (static_cast<int64_t>(ring.size()) != place.members) return "a ring is not closed";
      const SentPieces pieces = PiecesOf(plans[r], place);
      const auto chunks = static_cast<int64_t>(pieces.offsets.size());
      if (way == Way::kLanding) {
        const auto [next, j] = ring[1];
        const RingPlace& takes = places[next][j];
        const SentPieces sent = PiecesOf(plans[next], takes);  // as the next member takes them
        for (int64_t n = 0; n < order.steps() * FiringsPerStep(plans[r], place.reduce); ++n) {
          const auto chunk = static_cast<size_t>(n % chunks);
          const bool lands = place.receive != WholeRing::kNoTask && place.Gathers(n % chunks);
          if (!lands) {
            touch(r, place.reduce, n, r, buffer_of({r, i}), n / chunks, pieces.offsets[chunk],
                  pieces.bytes, true);
          } else {
            // From when the one before begins to send it until it is here.
            const auto [from, k] = before.at(channel_of(r, place.receive));
            const auto put = static_cast<size_t>((n + chunks - early) % chunks);
            touch(r, place.receive, n, r, buffer_of({r, i}), n / chunks, pieces.offsets[put],
                  pieces.bytes, true);
            accesses.back().begins = order.Begin(from, places[from][k].ship, n);
          }
          // Of a message that is lent too, a source is read before the message is there.
          touch(r, place.ship != WholeRing::kNoTask ? place.ship : place.send, n, r,
                buffer_of({r, i}), n / chunks, sent.offsets[chunk], sent.bytes, false);
        }
        continue;
      }
      for (int64_t n = 0; n < order.steps() * FiringsPerStep(plans[r], place.reduce); ++n) {
        if (!place.Sums(n % chunks + early)) continue;
        // The piece that belongs to this chunk without being early.
        const int64_t at = pieces.offsets[static_cast<size_t>(n % chunks + early)];
        for (const auto& [far, j] : ring) {
          touch(r, place.reduce, n, far, buffer_of({far, j}), n / chunks, at, pieces.bytes, true);
        }
      }
    }
  }
  of_rings = accesses.size();
  for (size_t r = 0; r < plans.size(); ++r) {
    for (uint32_t id = 0; id < static_cast<uint32_t>(plans[r].registers_size()); ++id) {
      const plan::Register& reg = plans[r].registers(static_cast<int>(id));
      std::set<uint32_t> tasks(reg.consumers().begin(), reg.consumers().end());
      tasks.insert(reg.producer());
      for (const uint32_t t : tasks) {
        if (of_ring.contains({r, t}) && reg.level() != plan::CHUNK) continue;  // counted by pieces
        const int64_t per_step = FiringsPerStep(plans[r], t);
        const int64_t inner = per_step / IterationsPerStep(plans[r], t, reg.level());
        for (int64_t n = 0; n < order.steps() * per_step; ++n) {
          touch(r, t, n, r, id, n / inner, 0, reg.bytes(), t == reg.producer());
        }
      }
    }
  }
  for (size_t i = 0; i < of_rings; ++i) {
    const Access& a = accesses[i];
    for (size_t j = i + 1; j < accesses.size(); ++j) {
      const Access& b = accesses[j];
      if (a.device != b.device || a.end <= b.begin || b.end <= a.begin || !(a.writes || b.writes) ||
          a.begins == b.begins) {
        continue;
      }
      if (order.After(a.ends)[b.begins] || order.After(b.ends)[a.begins]) continue;
      return a.who + " and " + b.who + " may touch bytes " +
             std::to_string(std::max(a.begin, b.begin)) + " of device " + std::to_string(a.device) +
             " at the same time";
    }
  }
  return "";
}

TEST(RingPlacesTest, WhatIsInPlaceIsOrderedByTheRingItself) {
  const struct {
    std::vector<Axis> axes;
    int per_rank;
    int64_t width;  // of weights that go round in pieces, or in whole shares
    int micro;
  } cases[] = {{{{"dp", 2}}, 1, 2048, 1}, {{{"dp", 2}}, 1, 48, 2},   {{{"dp", 3}}, 1, 3072, 1},
               {{{"dp", 4}}, 1, 3072, 2}, {{{"dp", 4}}, 2, 3072, 1}, {{{"dp", 6}}, 3, 3072, 1},
               {{{"dp", 4}}, 4, 3072, 2}};
  for (const auto& c : cases) {
    const std::string name =
        c.axes[0].name + ":" + std::to_string(c.axes[0].size) + " width " + std::to_string(c.width);
    const std::vector<plan::Plan> plans = CompileAll(c.axes, c.per_rank, c.width, c.micro);
    int rings = 0;
    EXPECT_EQ(Unordered(plans, Way::kSummed, 0, &rings), "") << name;
    if (rings == 0) {
      EXPECT_EQ(c.width, 48) << name;  // too small for a ring
      continue;
    }
    EXPECT_GE(rings, 2 * c.axes[0].size) << name;
    // With the first share not all members go round yet; with the last one some may be through. (A share earlier or later
    // credits of links often happen to order it.)
    const RingPlace place = RingPlacesOf(plans[0])[0];
    const auto chunks = static_cast<int64_t>(PiecesOf(plans[0], place).offsets.size());
    const int64_t last = chunks - place.pieces_per_share;
    EXPECT_NE(Unordered(plans, Way::kSummed, place.sums_from - last, &rings), "") << name;
    if (place.members > 2) {
      EXPECT_NE(Unordered(plans, Way::kSummed, place.sums_from, &rings), "") << name;
    }
  }
}

TEST(RingPlacesTest, WhatIsGatheredMayLandWhereItBelongs) {
  const struct {
    std::vector<Axis> axes;
    int per_rank;
    int micro;
  } cases[] = {{{{"dp", 2}}, 1, 1},
               {{{"dp", 3}}, 1, 1},
               {{{"dp", 4}}, 1, 2},
               {{{"dp", 4}}, 2, 1},
               {{{"dp", 6}}, 3, 1}};
  for (const auto& c : cases) {
    const std::string name =
        c.axes[0].name + ":" + std::to_string(c.axes[0].size) + " of " + std::to_string(c.per_rank);
    const std::vector<plan::Plan> plans = CompileAll(c.axes, c.per_rank, 3072, c.micro);
    int rings = 0;
    EXPECT_EQ(Unordered(plans, Way::kLanding, 0, &rings), "") << name;
    EXPECT_GE(rings, 2 * c.axes[0].size) << name;
    // Another piece's bytes are in use.
    const RingPlace place = RingPlacesOf(plans[0])[0];
    EXPECT_NE(Unordered(plans, Way::kLanding, 1, &rings), "") << name;
    EXPECT_NE(Unordered(plans, Way::kLanding, place.pieces_per_share, &rings), "") << name;
  }
}

TEST(RingPlacesTest, MembersKnowTheirEndsAndTheSamePieces) {
  const std::vector<plan::Plan> plans = CompileAll({{"dp", 3}}, 1, 3072, 1);
  for (const plan::Plan& plan : plans) {
    const std::vector<RingPlace> places = RingPlacesOf(plan);
    ASSERT_EQ(places.size(), 2u);
    for (const RingPlace& place : places) {
      EXPECT_EQ(plan.tasks(static_cast<int>(place.ship)).kind(), plan::SEND);
      EXPECT_EQ(plan.tasks(static_cast<int>(place.receive)).kind(), plan::RECV);
      EXPECT_EQ(place.send, WholeRing::kNoTask);
      EXPECT_EQ(place.next, -1);
      EXPECT_EQ(place.members, 3);
      // Shares of 12 MiB in three pieces: round twice, once as parts.
      EXPECT_EQ(PiecesOf(plan, place).offsets.size(), 12u);
      EXPECT_EQ(PiecesOf(plan, place).bytes, 4 << 20);
      EXPECT_FALSE(place.Sums(2) || place.Sums(6));
      EXPECT_TRUE(place.Sums(3) && place.Sums(5));
    }
    for (const std::vector<size_t>& stretch : RingStretchesOf(places)) {
      EXPECT_EQ(stretch.size(), 1u);
    }
  }
}

TEST(RingPlacesTest, MembersOfARankFollowEachOther) {
  for (const int per_rank : {2, 4}) {
    for (const plan::Plan& plan : CompileAll({{"dp", 4}}, per_rank, 3072, 1)) {
      const std::vector<RingPlace> places = RingPlacesOf(plan);
      EXPECT_EQ(static_cast<int>(places.size()), 2 * per_rank);
      const std::vector<std::vector<size_t>> stretches = RingStretchesOf(places);
      EXPECT_EQ(stretches.size(), 2u);
      for (const std::vector<size_t>& stretch : stretches) {
        ASSERT_EQ(static_cast<int>(stretch.size()), per_rank);
        for (size_t i = 0; i + 1 < stretch.size(); ++i) {
          EXPECT_EQ(places[stretch[i]].next, static_cast<int>(stretch[i + 1]));
          EXPECT_EQ(plan.tasks(static_cast<int>(places[stretch[i]].send)).op(), "ring_send");
        }
        const RingPlace &first = places[stretch.front()], &last = places[stretch.back()];
        EXPECT_EQ(first.receive != WholeRing::kNoTask, per_rank == 2);
        EXPECT_EQ(last.ship != WholeRing::kNoTask, per_rank == 2);
        EXPECT_EQ(last.next, per_rank == 2 ? -1 : static_cast<int>(stretch.front()));
      }
    }
  }
}

// A plan of one member, changed.
TEST(RingPlacesTest, WhatIsNoAllReduceOfItsOwnHasNone) {
  const std::vector<plan::Plan> plans = CompileAll({{"dp", 2}}, 1, 2048, 1);
  const auto places_after = [&](const std::function<void(plan::Plan*, const RingPlace&)>& change) {
    plan::Plan plan = plans[0];
    for (const RingPlace& place : RingPlacesOf(plans[0])) change(&plan, place);
    return RingPlacesOf(plan).size();
  };
  const auto set = [](plan::Task* task, const std::string& name, int64_t value) {
    Attrs attrs = Attrs::FromProto(task->attrs());
    attrs.Set(name, value);
    task->clear_attrs();
    attrs.ToProto(task->mutable_attrs());
  };
  const auto reduce = [](plan::Plan* plan, const RingPlace& place) {
    return plan->mutable_tasks(static_cast<int>(place.reduce));
  };
  EXPECT_EQ(places_after([](plan::Plan*, const RingPlace&) {}), 2u);
  // One that only scatters.
  EXPECT_EQ(places_after([&](plan::Plan* plan, const RingPlace& place) {
              for (const uint32_t t : {place.reduce, place.ship, place.receive}) {
                plan->mutable_tasks(static_cast<int>(t))->set_chunks(2);
              }
            }),
            0u);
  // One that only gathers, twice.
  EXPECT_EQ(places_after([&](plan::Plan* plan, const RingPlace& place) {
              set(reduce(plan, place), "reduce_chunks", 0);
            }),
            0u);
  // A sender that is one share off.
  EXPECT_EQ(places_after([&](plan::Plan* plan, const RingPlace& place) {
              plan::Task* send = plan->mutable_tasks(static_cast<int>(place.ship));
              set(send, "base", 1 - Attrs::FromProto(send->attrs()).Int("base"));
            }),
            0u);
  // Somebody else reads what goes round.
  EXPECT_EQ(places_after([&](plan::Plan* plan, const RingPlace& place) {
              plan->mutable_registers(static_cast<int>(reduce(plan, place)->inputs(0).register_()))
                  ->add_consumers(0);
            }),
            0u);
  // Somebody else has read what it went over, and may not have done so yet.
  EXPECT_EQ(places_after([&](plan::Plan* plan, const RingPlace& place) {
              plan::Register* buffer = plan->mutable_registers(
                  static_cast<int>(reduce(plan, place)->inputs(0).register_()));
              const uint32_t stage = buffer->producer();
              const uint32_t before = plan->tasks(static_cast<int>(stage)).inputs(0).register_();
              buffer->set_in_place_of(before);
              plan->mutable_registers(static_cast<int>(before))->add_consumers(place.reduce);
            }),
            0u);
}

}  // namespace
}  // namespace oneflow
