// Changes of a plan's text: any number, name or enum becomes another one, as an attacker, a bad disk
// or a slip of the hand would have it. To show that what verifies is safe to run.
//
// Pure and reproducible from a seed. Threads: any. Unlike plan/mutate.h nothing is known of the
// change but where it stands: it may break the plan, change it legally or mean nothing. Read next:
// tools/plan_attack.h.
#ifndef ONEFLOW_PLAN_MUTATE_TEXT_H_
#define ONEFLOW_PLAN_MUTATE_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.pb.h"

namespace oneflow {

// One token that was changed.
struct TextChange {
  int line = 0;  // from 1
  std::string before;
  std::string after;
  std::string text;  // of the line, after the change
  // "t5 matmul.3": the item to which the line belongs.
  std::string item;
};

// A changed text and what was changed.
struct TextMutation {
  std::string text;
  std::vector<TextChange> changes;
  // A refusal must hold one of them as a whole word; empty where the change belongs to the plan as
  // a whole (its first line, the mesh, a device), and any refusal will do.
  std::vector<std::string> names;
};

// Makes mutations of one plan.
class TextMutator {
 public:
  // REQUIRES: `text` is PrintPlan(plan).
  TextMutator(const plan::Plan& plan, const std::string& text);

  // `changes` tokens, each at another place.
  TextMutation Mutate(uint64_t seed, int changes) const;

 private:
  // A number, a name or a word: characters [begin, end) of the text.
  struct Token {
    size_t begin = 0;
    size_t end = 0;
    int line = 0;
  };
  // A line that begins an item, with those that belong to it.
  struct Item {
    std::string keyword;  // "task"
    uint32_t id = 0;
    int first_line = 0;
  };

  std::string Replacement(const std::string& token, uint64_t* random) const;
  void AddNames(const Item& item, const std::string& line, std::vector<std::string>* names) const;
  void AddReference(char prefix, uint32_t id, std::vector<std::string>* names) const;
  void AddTask(uint32_t task, std::vector<std::string>* names) const;
  void AddRegister(uint32_t id, std::vector<std::string>* names) const;

  const plan::Plan& plan_;
  const std::string text_;
  std::vector<Token> tokens_;
  std::vector<Item> items_;
  std::vector<size_t> item_of_line_;  // by line; items_.size() before the first
};

// True if a name of the mutation stands in the message as a whole word, or none is asked for.
bool NamesChange(const std::string& message, const TextMutation& mutation);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_MUTATE_TEXT_H_
