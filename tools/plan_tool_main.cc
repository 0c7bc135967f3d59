#include <iostream>
#include <string>
#include <vector>

#include "compiler/ops/rule_of_task.h"
#include "tools/plan_tool.h"

int main(int argc, char** argv) {
  return oneflow::PlanTool(std::vector<std::string>(argv + 1, argv + argc), std::cout, std::cerr,
                           oneflow::RuleOfTask);
}
