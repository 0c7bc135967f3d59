#include "plan/text.h"

#include <bit>
#include <limits>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "gtest/gtest.h"
#include "plan/attrs.h"
#include "plan/sharding.h"

namespace oneflow {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ::testing::HasSubstr;

std::string Bytes(const plan::Plan& plan) { return plan.SerializeAsString(); }

void ExpectRoundTrip(const plan::Plan& plan) {
  const std::string text = PrintPlan(plan);
  const auto parsed = ParsePlan(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status() << "\n" << text;
  ASSERT_EQ(Bytes(*parsed), Bytes(plan)) << text;
  ASSERT_EQ(PrintPlan(*parsed), text);
}

// A small plan with every kind of item: 2 micro-batches of a matmul, a loss that is fetched.
plan::Plan Sample() {
  plan::Plan plan;
  plan.set_name("mlp");
  plan.set_micro_batches(2);
  plan.set_rank(0);
  plan.set_world_size(2);
  plan.set_target("cpu-2x2");
  plan.set_graph_fingerprint(0x1234);
  *plan.mutable_mesh() = Mesh{{{"dp", 2}, {"pp", 1}}, {0, 1}}.ToProto();
  const std::vector<Axis> axes = {{"micro", 2}, {"dp", 2}};
  plan.add_locations();
  plan::LocationProto* location = plan.add_locations();
  location->set_file("/models/mlp.py");
  location->set_line(8);
  location->set_function("forward");
  plan::NodeFingerprint* node = plan.add_node_fingerprints();
  node->set_hash(0xfeedu);
  node->set_location(1);
  plan::DeviceProto* device = plan.add_devices();
  device->set_kind("cpu");
  device->set_threads(2);
  device->set_arena_bytes(16 << 20);
  plan::StateProto* state = plan.add_states();
  state->set_name("fc.weight");
  state->set_dtype(plan::F32);
  state->add_logical_shape(1024);
  state->add_logical_shape(7);
  *state->mutable_sharding() = Canonical({0, {Sbp::B(), Sbp::S(1)}, {}}, axes, {1024, 7}).ToProto();
  plan::StateShard* shard = state->add_shards();
  shard->add_begin(0);
  shard->add_begin(0);
  shard->add_shape(1024);
  shard->add_shape(4);
  plan::InputProto* input = plan.add_inputs();
  input->set_name("x");
  input->set_dtype(plan::F32);
  input->add_logical_shape(16);
  input->add_logical_shape(1024);
  plan::OutputProto* output = plan.add_outputs();
  output->set_name("loss");
  output->set_dtype(plan::F32);
  plan::Stream* stream = plan.add_streams();
  stream->set_name("compute");
  stream->add_items()->mutable_firing()->set_task(0);
  plan::Loop* loop = stream->add_items()->mutable_loop();
  loop->set_level(plan::MICRO);
  loop->set_count(1);
  loop->add_body()->mutable_firing()->set_task(1);
  loop->mutable_body(0)->mutable_firing()->set_micro_offset(1);
  loop->add_body()->mutable_firing()->set_task(1);
  plan::Register* reg = plan.add_registers();
  reg->set_producer(0);
  reg->add_consumers(1);
  reg->set_level(plan::MICRO);
  reg->set_slots(2);
  reg->set_bytes(16384);
  reg->set_offset(4096);
  reg->set_slot_stride(16384);
  reg->mutable_type()->set_dtype(plan::F32);
  reg->mutable_type()->add_shape(4);
  reg->mutable_type()->add_shape(1024);
  plan::Task* feed = plan.add_tasks();
  feed->set_name("x.feed");
  feed->set_op("input");
  feed->set_kind(plan::FEED);
  feed->mutable_stamp()->set_slot(1);
  plan::Task* task = plan.add_tasks();
  task->set_name("matmul.3");
  task->set_op("matmul");
  task->set_level(plan::MICRO);
  task->mutable_stamp()->set_slot(1);
  task->mutable_stamp()->set_slot_per_micro(2);
  task->mutable_stamp()->set_position(5);
  task->set_location(1);
  task->set_workspace(0);
  task->set_flops(1000);
  task->set_rule("m k, k n -> m n ; sum k ; multilinear");
  plan::Port* port = task->add_inputs();
  port->set_register_(0);
  *port->mutable_type() = reg->type();
  port->add_logical_shape(16);
  port->add_logical_shape(1024);
  *port->mutable_sharding() =
      Canonical({0, {Sbp::S(0), Sbp::S(0)}, {}}, axes, {16, 1024}).ToProto();
  port->add_begin(0);
  port->add_begin(0);
  port->set_micro_stride(8);
  task->add_outputs()->set_state(0);
  Attrs{{"transpose_a", false}, {"alpha", 0.5}, {"dims", std::vector<int64_t>{0, -1}}}.ToProto(
      task->mutable_attrs());
  task->add_aliases()->set_input(1);
  plan::AfterEdge* edge = task->add_after();
  edge->set_task(0);
  edge->set_level(plan::MICRO);
  edge->set_lag(1);
  plan::ChannelProto* channel = plan.add_channels();
  channel->set_name("reshard.7/chunk 3: 0 -> 1");
  channel->set_destination(1);
  channel->set_bytes(64);
  channel->set_slots(2);
  channel->mutable_stamp();
  return plan;
}

TEST(PlanTextTest, PrintsOneItemPerLine) {
  EXPECT_EQ(PrintPlan(Sample()),
            R"(plan mlp rank=0 world=2 micro_batches=2 target=cpu-2x2 graph=0x0000000000001234
# rank 0 of 2: 2 tasks, 1 stream, 1 register, 1 channel, 1 state
# d0 cpu: arena 16.0 MiB, state 16.0 KiB
mesh dp:2 pp:1 on [0,1]
device d0 id=0 kind=cpu threads=2 arena=16777216
state s0 fc.weight f32[1024,7] (S(1))/[0,7]
  shard d0 [0,0]+[1024,4]
input i0 x f32[16,1024]
output o0 loss f32[]
location l0 ""
location l1 "/models/mlp.py" line=8 function=forward
node n0 hash=0x000000000000feed location=l1  # mlp.py:8
stream q0 compute device=d0 { t0 micro i=0..1 { t1[i+1] t1[i] } }
register r0 f32[4,1024] device=d0 level=micro slots=2 bytes=16384 at=0x001000 stride=16384 t0 -> t1
task t0 x.feed op=input kind=feed device=d0 stream=q0 level=step stamp=1.0.0 index=0
task t1 matmul.3 op=matmul kind=compute device=d0 stream=q0 level=micro stamp=1+2m.5.0 workspace=r0 flops=1000 location=l1  # mlp.py:8
  in r0 f32[4,1024] of=[16,1024] micro:S(0)(S(0)) at=[0,0] micro=[0,8]
  out s0
  attrs {alpha=0.5, dims=[0,-1], transpose_a=false}
  rule "m k, k n -> m n ; sum k ; multilinear"
  over 0/1
  after t0/micro-1
channel c0 "reshard.7/chunk 3: 0 -> 1" from=0 to=1 bytes=64 slots=2 stamp=0.0.0
)");
  ExpectRoundTrip(Sample());
}

TEST(PlanTextTest, EmptyPlan) {
  plan::Plan plan;
  EXPECT_EQ(PrintPlan(plan), R"(plan "" rank=0 world=0 micro_batches=0
# rank 0 of 0: 0 tasks, 0 streams, 0 registers, 0 channels, 0 states
)");
  ExpectRoundTrip(plan);
  plan.mutable_mesh();
  ExpectRoundTrip(plan);
}

TEST(PlanTextTest, LongStreamsWrap) {
  plan::Plan plan;
  plan::Stream* stream = plan.add_streams();
  for (uint32_t i = 0; i < 60; ++i) stream->add_items()->mutable_firing()->set_task(i);
  plan::Loop* micro = stream->add_items()->mutable_loop();
  micro->set_level(plan::MICRO);
  micro->set_begin(1);
  micro->set_count(3);
  for (uint32_t i = 0; i < 60; ++i) micro->add_body()->mutable_firing()->set_task(i);
  plan::Loop* chunk = micro->add_body()->mutable_loop();
  chunk->set_level(plan::CHUNK);
  chunk->set_count(2);
  chunk->add_body()->mutable_firing()->set_task(7);
  const std::string text = PrintPlan(plan);
  EXPECT_THAT(text, HasSubstr("\n  micro i=1..4 {\n    t0[i] t1[i]"));
  EXPECT_THAT(text, HasSubstr("\n    chunk c=0..2 {\n      t7[i]\n    }\n  }\n}\n"));
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    EXPECT_LE(end - at, 104u) << text.substr(at, end - at);
    at = end + 1;
  }
  ExpectRoundTrip(plan);
}

TEST(PlanTextTest, ShardingsPrintTheirUnitsOnlyWhereUneven) {
  const std::vector<Axis> axes = {{"micro", 4}, {"dp", 2}, {"tp", 2}};
  plan::Plan plan = Sample();
  plan.set_micro_batches(4);
  *plan.mutable_mesh() = Mesh{{{"dp", 2}, {"tp", 2}}, {0, 1, 2, 3}}.ToProto();
  const auto line = [&](Sharding sharding, const Shape& shape) {
    plan::StateProto* state = plan.mutable_states(0);
    state->clear_logical_shape();
    for (int64_t extent : shape) state->add_logical_shape(extent);
    *state->mutable_sharding() = Canonical(std::move(sharding), axes, shape).ToProto();
    ExpectRoundTrip(plan);
    const std::string text = PrintPlan(plan);
    const size_t begin = text.find("]", text.find("state s0")) + 2;
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  EXPECT_EQ(line(Sharding::Broadcast(0, 3, 2), {4, 4}), "(B,B)");
  EXPECT_EQ(line({1, {Sbp::B(), Sbp::S(0), Sbp::S(1)}, {}}, {4, 4}), "(S(0),S(1))@1");
  EXPECT_EQ(line({0, {Sbp::S(0), Sbp::S(0), Sbp::P()}, {}}, {16, 4}), "micro:S(0)(S(0),P)");
  EXPECT_EQ(line({0, {Sbp::P(), Sbp::P(Sbp::kMax), Sbp::P(Sbp::kMin)}, {}}, {}),
            "micro:P(P(max),P(min))");
  EXPECT_EQ(line({0, {Sbp::B(), Sbp::S(0), Sbp::B()}, {}}, {7}), "(S(0),B)/[7]");
}

TEST(PlanTextTest, AttributesKeepTypeAndBits) {
  plan::Plan plan;
  plan::Task* task = plan.add_tasks();
  const auto add = [&](const std::string& name) {
    plan::AttrProto* attr = task->add_attrs();
    attr->set_name(name);
    return attr;
  };
  add("nothing");
  add("int")->set_i(std::numeric_limits<int64_t>::min());
  add("zero")->set_i(0);
  add("same")->set_f(0.0);
  add("minus")->set_f(-0.0);
  add("nan")->set_f(std::numeric_limits<double>::quiet_NaN());
  add("other nan")->set_f(std::bit_cast<double>(uint64_t{0xfff8000000000001}));
  add("inf")->set_f(-std::numeric_limits<double>::infinity());
  add("tiny")->set_f(std::numeric_limits<double>::denorm_min());
  add("big")->set_f(1e300);
  add("third")->set_f(1.0 / 3);
  add("text")->set_s("a \"b\"\n# \\ \x01 \xc3\xa9");
  add("empty")->set_s("");
  add("true")->set_b(true);
  add("false")->set_b(false);
  add("ints")->mutable_ints();
  add("floats")->mutable_floats();
  add("strings")->mutable_strings();
  plan::AttrProto* list = add("list");
  list->mutable_floats()->add_v(std::numeric_limits<double>::quiet_NaN());
  list->mutable_floats()->add_v(2);
  list = add("names");
  list->mutable_strings()->add_v("[1");
  list->mutable_strings()->add_v("");
  ExpectRoundTrip(plan);
}

// ---- any plan at all ----

// Fills every field of a message at random: a value or absent, repeated 0 to 2 times.
class RandomPlans {
 public:
  explicit RandomPlans(uint64_t seed) : random_(seed) {}

  plan::Plan Next() {
    plan::Plan plan;
    Fill(&plan, 0);
    return plan;
  }

 private:
  bool Chance(int percent) { return random_() % 100 < static_cast<uint64_t>(percent); }

  uint64_t Number() {
    switch (random_() % 6) {
      case 0:
        return 0;
      case 1:
        return random_();
      case 2:
        return ~uint64_t{0};
      case 3:
        return uint64_t{1} << 63;
      default:
        return random_() % 12;
    }
  }

  std::string String() {
    static const char* const kStrings[] = {
        "",     "a",        "matmul.3",   "with space", "#",   "\"quoted\"",
        "a\nb", "\xc3\xa9", "P->B on dp", "t0",         "-",   "true",
        "pp",   "dp",       "/a/b.py",    "micro:S(0)", "1.5", "\x7f\x01"};
    return kStrings[random_() % std::size(kStrings)];
  }

  int EnumNumber(const FieldDescriptor* field) {
    if (Chance(10)) return static_cast<int>(static_cast<uint32_t>(random_()));
    const auto* type = field->enum_type();
    return type->value(static_cast<int>(random_() % static_cast<uint64_t>(type->value_count())))
        ->number();
  }

  void Fill(Message* message, int depth) {
    const Reflection* reflection = message->GetReflection();
    const auto* descriptor = message->GetDescriptor();
    for (int f = 0; f < descriptor->field_count(); ++f) {
      const FieldDescriptor* field = descriptor->field(f);
      if (depth > 8 && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) continue;
      if (!field->is_repeated() && Chance(40)) continue;
      for (uint64_t n = field->is_repeated() ? random_() % 3 : 1; n > 0; --n)
        Set(message, reflection, field, depth);
    }
  }

  void Set(Message* message, const Reflection* reflection, const FieldDescriptor* field,
           int depth) {
    const bool add = field->is_repeated();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT64: {
        const int64_t value = static_cast<int64_t>(Number());
        add ? reflection->AddInt64(message, field, value)
            : reflection->SetInt64(message, field, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        const uint64_t value = Number();
        add ? reflection->AddUInt64(message, field, value)
            : reflection->SetUInt64(message, field, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_UINT32: {
        const uint32_t value = static_cast<uint32_t>(Number());
        add ? reflection->AddUInt32(message, field, value)
            : reflection->SetUInt32(message, field, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        const double value =
            Chance(50) ? std::bit_cast<double>(random_()) : static_cast<double>(random_() % 5);
        add ? reflection->AddDouble(message, field, value)
            : reflection->SetDouble(message, field, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        add ? reflection->AddBool(message, field, Chance(50))
            : reflection->SetBool(message, field, Chance(50));
        break;
      case FieldDescriptor::CPPTYPE_ENUM: {
        const int value = EnumNumber(field);
        add ? reflection->AddEnumValue(message, field, value)
            : reflection->SetEnumValue(message, field, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_STRING:
        add ? reflection->AddString(message, field, String())
            : reflection->SetString(message, field, String());
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Fill(add ? reflection->AddMessage(message, field)
                 : reflection->MutableMessage(message, field),
             depth + 1);
        break;
      default:
        FAIL() << field->full_name() << " has a type that this test does not know";
    }
  }

  std::mt19937_64 random_;
};

TEST(PlanTextTest, AnyMessagePrintsAndParsesBack) {
  RandomPlans plans(20240301);
  for (int trial = 0; trial < 600; ++trial) {
    SCOPED_TRACE(trial);
    ExpectRoundTrip(plans.Next());
    if (HasFatalFailure()) return;
  }
}

TEST(PlanTextTest, ParseIsTotalOnMutatedTexts) {
  RandomPlans plans(5);
  std::vector<std::string> seeds = {PrintPlan(Sample())};
  for (int i = 0; i < 20; ++i) seeds.push_back(PrintPlan(plans.Next()));
  const std::string alphabet = "0123456789-+.,:;#?[](){}=/@\"\\ \nitrsdlocqnBSPmicro";
  std::mt19937_64 random(20240302);
  int parsed = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text = seeds[random() % seeds.size()];
    for (uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % (text.size() + 1);
      const char c =
          random() % 4 == 0 ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
      switch (random() % 4) {
        case 0:
          text.insert(at, 1, c);
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        case 2:
          if (at < text.size()) text[at] = c;
          break;
        default:
          text.insert(at, text.substr(random() % (text.size() + 1), random() % 40));
          break;
      }
    }
    const auto plan = ParsePlan(text);
    if (!plan.ok()) {
      ASSERT_EQ(plan.status().message().substr(0, 16), "plan text, line ");
      continue;
    }
    ++parsed;
    const std::string printed = PrintPlan(*plan);
    const auto again = ParsePlan(printed);
    ASSERT_TRUE(again.ok()) << again.status();
    ASSERT_EQ(PrintPlan(*again), printed);
  }
  EXPECT_GT(parsed, 1000);
}

TEST(PlanTextTest, ErrorsNameLineAndColumn) {
  const auto error = [](const std::string& text) {
    const auto plan = ParsePlan(text);
    return plan.ok() ? std::string() : std::string(plan.status().message());
  };
  EXPECT_EQ(error(""), "plan text, line 1, column 1: the line 'plan NAME ...' is missing");
  EXPECT_EQ(error("# x\ndevice d0\n"),
            "plan text, line 2, column 1: the line 'plan NAME ...' must come first");
  EXPECT_EQ(error("plan p\ndevice d1\n"),
            "plan text, line 2, column 8: expected d0: ids are positions");
  EXPECT_EQ(error("plan p rank=4294967296"),
            "plan text, line 1, column 13: this number is too large");
  EXPECT_EQ(error("plan p rank=-1"), "plan text, line 1, column 13: expected a number");
  EXPECT_EQ(error("plan p rank=1 rank=1"), "plan text, line 1, column 15: key 'rank' stands twice");
  EXPECT_EQ(error("plan p speed=1"), "plan text, line 1, column 8: unknown key 'speed'");
  EXPECT_EQ(error("plan p\nplan p"), "plan text, line 2, column 1: a second 'plan' line");
  EXPECT_EQ(error("plan p\n  in r0"),
            "plan text, line 2, column 3: 'in' stands before the first task");
  EXPECT_EQ(error("plan p\nfoo"), "plan text, line 2, column 1: there is no item 'foo'");
  EXPECT_EQ(error("plan p\ntask t0 \"abc"),
            "plan text, line 2, column 9: this string does not end or has a wrong escape");
  EXPECT_EQ(error("plan p\ntask t0 \"\\xff\""),
            "plan text, line 2, column 15: this string is not UTF-8");
  EXPECT_EQ(error("plan p\ntask t0 a level=week"),
            "plan text, line 2, column 17: 'week' is no Level");
  EXPECT_EQ(error("plan p\ninput i0 x f32[1,9223372036854775808]"),
            "plan text, line 2, column 18: this number is too large");
  EXPECT_EQ(error("plan p\nstate s0 w f32[2] (S(0))\nmesh dp:2 on [0]"),
            "plan text, line 3, column 1: the mesh must stand before the first sharding");
  EXPECT_EQ(error("plan p\nstream q0 c { t0"),
            "plan text, line 2, column 17: expected one of the words of Level");
  EXPECT_EQ(error("plan p\nstream q0 c { micro i=4..2 { } }"),
            "plan text, line 2, column 26: this loop has an impossible end");
}

TEST(PlanTextTest, LoopsNestAtMost64Deep) {
  const auto nested = [](int depth) {
    std::string text = "plan p\nstream q0 c {";
    for (int i = 0; i < depth; ++i) text += " micro i=0..1 {";
    for (int i = 0; i < depth; ++i) text += " }";
    return ParsePlan(text + " }");
  };
  EXPECT_TRUE(nested(64).ok());
  EXPECT_THAT(std::string(nested(65).status().message()), HasSubstr("too deep"));
  EXPECT_FALSE(nested(1000000).ok());
}

// ---- fingerprints ----

TEST(FingerprintTest, LeavesOutWhereTheProgramLies) {
  const plan::Plan plan = Sample();
  plan::Plan moved = plan;
  moved.mutable_locations(1)->set_file("/elsewhere/mlp.py");
  moved.mutable_locations(1)->set_function("g");
  EXPECT_EQ(Fingerprint(moved), Fingerprint(plan));
  moved.mutable_locations(1)->set_line(9);
  EXPECT_NE(Fingerprint(moved), Fingerprint(plan));
}

TEST(FingerprintTest, SeesEverythingElse) {
  // No two of many plans that differ in one place agree.
  std::set<uint64_t> seen = {Fingerprint(Sample()), Fingerprint(plan::Plan())};
  const auto expect_new = [&](const plan::Plan& plan) {
    EXPECT_TRUE(seen.insert(Fingerprint(plan)).second) << PrintPlan(plan);
  };
  plan::Plan plan = Sample();
  plan.set_rank(1);
  expect_new(plan);
  plan = Sample();
  plan.mutable_tasks(1)->clear_workspace();  // absent is not register 0
  expect_new(plan);
  plan = Sample();
  plan.mutable_tasks(1)->mutable_attrs(0)->set_f(0.25);
  expect_new(plan);
  plan = Sample();
  plan.mutable_tasks(0)->set_name("x.fee");
  plan.mutable_tasks(0)->set_op("dinput");
  expect_new(plan);
  plan = Sample();
  plan.mutable_devices(0)->set_isa("avx512");
  expect_new(plan);
  plan = Sample();
  plan.mutable_registers(0)->set_offset(4160);
  expect_new(plan);
  plan = Sample();
  plan.mutable_streams(0)->mutable_items()->SwapElements(0, 1);
  expect_new(plan);
}

TEST(FingerprintTest, IsTheSameNumberForEver) {
  // Ranks of different builds compare it: a change here is a change of the plan format.
  EXPECT_EQ(Fingerprint(Sample()), 15062538346773643252u);
}

}  // namespace
}  // namespace oneflow
