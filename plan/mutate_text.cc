#include "plan/mutate_text.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/location.h"
#include "base/text.h"
#include "plan/mutate_flow.h"
#include "plan/text_format.h"

namespace oneflow {
namespace {

using text_format::IsDigit;
using text_format::IsNamePart;
using text_format::IsNameStart;

// Numbers at which sizes, loops and products go wrong.
constexpr std::string_view kNumbers[] = {"0",
                                         "1",
                                         "2",
                                         "3",
                                         "7",
                                         "63",
                                         "64",
                                         "65",
                                         "4096",
                                         "65535",
                                         "65536",
                                         "1000000",
                                         "1000000000",
                                         "2147483647",
                                         "2147483648",
                                         "4294967295",
                                         "1099511627776",
                                         "1125899906842624",
                                         "4611686018427387904",
                                         "9223372036854775807",
                                         "-1",
                                         "-64",
                                         "-2147483648",
                                         "-9223372036854775808"};
// Words that mean something somewhere.
constexpr std::string_view kWords[] = {
    "step",    "micro", "chunk", "compute", "move",    "feed",  "fetch",  "send",
    "recv",    "comm",  "f32",   "bf16",    "f16",     "i64",   "i32",    "i8",
    "u8",      "bool",  "cpu",   "null",    "cuda",    "avx2",  "avx512", "B",
    "S",       "P",     "sum",   "max",     "min",     "copy",  "true",   "false",
    "nan",     "inf",   "1.5",   "1e300",   "task",    "state", "add",    "matmul",
    "permute", "slice", "relu",  "sum_p",   "dropout", "cat",   "pack",   "assemble"};

// splitmix64
uint64_t Next(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

bool IsNumber(const std::string& token) {
  return IsDigit(token[0]) || (token[0] == '-' && token.size() > 1);
}

bool IsWordPart(char c) { return IsNameStart(c) || IsDigit(c); }

// "r12" -> ('r', 12); 0 if the token is no reference.
char ReferenceOf(std::string_view token, uint32_t* id) {
  if (token.size() < 2 || std::string_view("dsiolnqrtc").find(token[0]) == std::string_view::npos) {
    return 0;
  }
  const auto number = ParseUnsigned(token.substr(1));
  if (!number.has_value() || *number > std::numeric_limits<uint32_t>::max()) return 0;
  *id = static_cast<uint32_t>(*number);
  return token[0];
}

// Where the token that begins at `i` ends; `i` if none does.
size_t TokenEnd(std::string_view text, size_t i) {
  size_t end = i;
  if (text[i] == '-' && i + 1 < text.size() && IsDigit(text[i + 1])) ++end;
  if (IsDigit(text[end])) {
    while (end < text.size() &&
           (IsWordPart(text[end]) || (text[end] == '.' && IsDigit(text[end + 1])) ||
            ((text[end] == '-' || text[end] == '+') && text[end - 1] == 'e'))) {
      // A range "0..4" and a stamp "1+2m.5.0" are several numbers.
      if (text[end] == '.' && (text[end + 1] == '.' || text[end - 1] == '.')) break;
      ++end;
    }
    return end;
  }
  if (!IsNameStart(text[i])) return i;
  while (end < text.size() && IsNamePart(text[end]) &&
         !(text[end] == '-' && text[end + 1] == '>')) {
    ++end;
  }
  return end;
}

}  // namespace

TextMutator::TextMutator(const plan::Plan& plan, const std::string& text)
    : plan_(plan), text_(text) {
  static constexpr std::string_view kItems[] = {"plan",     "mesh",   "device",  "state",
                                                "input",    "output", "node",    "stream",
                                                "register", "task",   "channel", "location"};
  int line = 1;
  item_of_line_.push_back(0);  // lines count from 1
  for (size_t begin = 0; begin < text_.size(); ++line) {
    const size_t newline = text_.find('\n', begin);
    size_t end = newline;
    // Comments say nothing.
    for (size_t i = begin; i < end; ++i) {
      if (text_[i] == '"') {
        while (++i < end && text_[i] != '"') i += text_[i] == '\\' ? 1 : 0;
      } else if (text_[i] == '#') {
        end = i;
      }
    }
    const std::string keyword = text_.substr(begin, TokenEnd(text_, begin) - begin);
    if (std::find(std::begin(kItems), std::end(kItems), keyword) != std::end(kItems)) {
      uint32_t id = 0;
      const size_t at = begin + keyword.size() + 1;
      if (at < end) ReferenceOf(text_.substr(at, TokenEnd(text_, at) - at), &id);
      items_.push_back({keyword, id, line});
    }
    item_of_line_.push_back(items_.size() - 1);
    for (size_t i = begin; i < end;) {
      const size_t stop = TokenEnd(text_, i);
      // Keys and the words that begin a line are neither numbers, names nor enums.
      const bool is_key = text_[stop] == '=' || text_.find_first_not_of(' ', begin) == i;
      if (stop > i && !is_key) tokens_.push_back({i, stop, line});
      i = std::max(stop, i + 1);
    }
    begin = newline + 1;
  }
}

std::string TextMutator::Replacement(const std::string& token, uint64_t* random) const {
  const auto any = [&](const auto& list) {
    return std::string(list[Next(random) % std::size(list)]);
  };
  uint32_t id = 0;
  if (const char prefix = ReferenceOf(token, &id); prefix != 0 && Next(random) % 8 > 0) {
    if (Next(random) % 4 == 0) return prefix + any(kNumbers);
    return absl::StrCat(std::string(1, prefix), Next(random) % (uint64_t{id} + 20));
  }
  if (IsNumber(token)) {
    const auto number = ParseInt(token);
    if (number.has_value() && Next(random) % 2 == 0) {
      const std::array<int64_t, 8> near = {1, -1, 64, -64, 8, -8, 2, 3};
      const uint64_t how = Next(random) % (near.size() + 2);
      int64_t result = *number;
      if (how == near.size()) {
        result /= 2;
      } else if (how > near.size()) {
        if (__builtin_mul_overflow(result, 2, &result)) result = 0;
      } else if (__builtin_add_overflow(result, near[how], &result)) {
        result = 0;
      }
      return std::to_string(result);
    }
    if (Next(random) % 4 > 0) return any(kNumbers);
  } else if (Next(random) % 4 == 0) {
    return any(kWords);
  }
  // Another token of the same text.
  const Token& other = tokens_[Next(random) % tokens_.size()];
  return text_.substr(other.begin, other.end - other.begin);
}

TextMutation TextMutator::Mutate(uint64_t seed, int changes) const {
  uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
  std::set<size_t> places;
  while (static_cast<int>(places.size()) <
         std::min<int>(changes, static_cast<int>(tokens_.size()))) {
    places.insert(Next(&random) % tokens_.size());
  }
  TextMutation mutation;
  bool any_will_do = false;
  size_t copied = 0;
  for (const size_t place : places) {
    const Token& token = tokens_[place];
    TextChange change;
    change.line = token.line;
    change.before = text_.substr(token.begin, token.end - token.begin);
    do {
      change.after = Replacement(change.before, &random);
    } while (change.after == change.before);
    mutation.text.append(text_, copied, token.begin - copied);
    mutation.text += change.after;
    copied = token.end;
    const size_t begin = text_.rfind('\n', token.begin) + 1;  // npos + 1 is 0
    const size_t end = text_.find('\n', token.end);
    const std::string old_line = text_.substr(begin, end - begin);
    change.text = text_.substr(begin, token.begin - begin) + change.after +
                  text_.substr(token.end, end - token.end);
    const Item& item = items_[item_of_line_[static_cast<size_t>(token.line)]];
    change.item = absl::StrCat(item.keyword, " ", item.id);
    mutation.names.push_back(absl::StrCat("line ", token.line));
    any_will_do |= item.keyword == "plan" || item.keyword == "mesh" || item.keyword == "device";
    // A name that was changed may stand in the message as it is now.
    if (!IsNumber(change.after) && change.after.size() > 2) mutation.names.push_back(change.after);
    AddNames(item, old_line, &mutation.names);
    AddNames(item, change.text, &mutation.names);
    mutation.changes.push_back(std::move(change));
  }
  mutation.text.append(text_, copied);
  if (any_will_do) mutation.names.clear();
  return mutation;
}

void TextMutator::AddTask(uint32_t task, std::vector<std::string>* names) const {
  if (task < static_cast<uint32_t>(plan_.tasks_size())) {
    names->push_back(plan_.tasks(static_cast<int>(task)).name());
  }
  names->push_back(absl::StrCat("task ", task));
}

void TextMutator::AddRegister(uint32_t id, std::vector<std::string>* names) const {
  names->push_back(absl::StrCat("register ", id));
  if (id >= static_cast<uint32_t>(plan_.registers_size())) return;
  const plan::Register& reg = plan_.registers(static_cast<int>(id));
  AddTask(reg.producer(), names);
  for (const uint32_t consumer : reg.consumers()) AddTask(consumer, names);
}

void TextMutator::AddReference(char prefix, uint32_t id, std::vector<std::string>* names) const {
  const auto add = [&](const auto& items) {
    if (id < static_cast<uint32_t>(items.size())) {
      names->push_back(items[static_cast<int>(id)].name());
    }
  };
  switch (prefix) {
    case 't':
      return AddTask(id, names);
    case 'r':
      return AddRegister(id, names);
    case 's':
      return add(plan_.states());
    case 'i':
      names->push_back(absl::StrCat("input ", id));
      return add(plan_.inputs());
    case 'o':
      names->push_back(absl::StrCat("output ", id));
      return add(plan_.outputs());
    case 'c':
      return add(plan_.channels());
    case 'q':
      names->push_back(absl::StrCat("stream ", id));
      return add(plan_.streams());
    case 'd':
      names->push_back(absl::StrCat("device ", id));
      return;
    case 'n':
      names->push_back(absl::StrCat("node ", id));
      if (id < static_cast<uint32_t>(plan_.node_fingerprints_size())) {
        AddReference('l', plan_.node_fingerprints(static_cast<int>(id)).location(), names);
      }
      return;
    case 'l':
      if (id > 0 && id < static_cast<uint32_t>(plan_.locations_size())) {
        const plan::LocationProto& place = plan_.locations(static_cast<int>(id));
        names->push_back(Location{place.file(), static_cast<int>(place.line()), ""}.Short());
      }
      return;
    default:
      return;
  }
}

// The item itself, what its line refers to, and who stands at the other end of that.
// "mlp.py:8" of the line of a location as it stands, changed or not.
std::string ShortOf(const std::string& line) {
  const size_t quote = line.rfind('"');
  const size_t open = line.find('"');
  if (open == quote) return line;
  const std::string file = line.substr(open + 1, quote - open - 1);
  const size_t at = line.find("line=", quote);
  const size_t stop = at == std::string::npos ? at : line.find(' ', at);
  const std::string number =
      at == std::string::npos
          ? "0"
          : line.substr(at + 5, stop == std::string::npos ? stop : stop - at - 5);
  return absl::StrCat(file.substr(file.rfind('/') + 1), ":", number);
}

void TextMutator::AddNames(const Item& item, const std::string& line,
                           std::vector<std::string>* names) const {
  for (size_t i = 0; i < line.size();) {
    const size_t stop = TokenEnd(line, i);
    if (stop > i) {
      const std::string token = line.substr(i, stop - i);
      uint32_t id = 0;
      const char prefix = ReferenceOf(token, &id);
      AddReference(prefix, id, names);
    }
    i = std::max(stop, i + 1);
  }
  const auto id = item.id;
  // Lines below an item's first do not name it.
  const std::map<std::string_view, char> prefixes = {
      {"device", 'd'}, {"state", 's'},    {"node", 'n'}, {"input", 'i'},  {"output", 'o'},
      {"stream", 'q'}, {"register", 'r'}, {"task", 't'}, {"channel", 'c'}};
  if (const auto prefix = prefixes.find(item.keyword); prefix != prefixes.end()) {
    AddReference(prefix->second, id, names);
  }
  if (item.keyword == "task" && id < static_cast<uint32_t>(plan_.tasks_size())) {
    const plan::Task& task = plan_.tasks(static_cast<int>(id));
    for (const auto* ports : {&task.inputs(), &task.outputs()}) {
      for (const plan::Port& port : *ports) {
        AddReference(port.has_state() ? 's' : 'r',
                     port.has_state() ? port.state() : port.register_(), names);
      }
    }
    if (task.has_workspace()) AddRegister(task.workspace(), names);
    AddReference('q', task.stream(), names);
    if (task.kind() == plan::SEND || task.kind() == plan::RECV) {
      AddReference('c', task.channel(), names);
    }
    if (task.kind() == plan::MOVE) {
      // Members on other ranks are called alike but for the device.
      for (const std::string& name : NamesBehind(plan_, id)) {
        names->push_back(name.substr(0, name.find('@')));
      }
    }
  }
  if (item.keyword == "location") names->push_back(ShortOf(line));
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan_.tasks_size()); ++t) {
    const plan::Task& task = plan_.tasks(static_cast<int>(t));
    const auto uses = [&](const plan::Port& port) {
      return port.has_state() && port.state() == id;
    };
    const bool touches =
        (item.keyword == "stream" && task.stream() == id) ||
        (item.keyword == "state" &&
         (std::any_of(task.inputs().begin(), task.inputs().end(), uses) ||
          std::any_of(task.outputs().begin(), task.outputs().end(), uses))) ||
        (item.keyword == "input" && task.kind() == plan::FEED && task.index() == id) ||
        (item.keyword == "output" && task.kind() == plan::FETCH && task.index() == id) ||
        (item.keyword == "channel" && task.channel() == id &&
         (task.kind() == plan::SEND || task.kind() == plan::RECV));
    if (touches) AddTask(t, names);
  }
}

bool NamesChange(const std::string& message, const TextMutation& mutation) {
  if (mutation.names.empty()) return true;
  for (const std::string& name : mutation.names) {
    for (size_t at = message.find(name); at != std::string::npos; at = message.find(name, at + 1)) {
      const size_t end = at + name.size();
      const bool begins = at == 0 || !IsWordPart(message[at - 1]);
      const bool ends = end == message.size() || !IsWordPart(message[end]);
      if (begins && ends) return true;
    }
  }
  return false;
}

}  // namespace oneflow
