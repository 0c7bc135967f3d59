#include <iostream>
#include <string>
#include <vector>

#include "tools/plan_attack.h"

int main(int argc, char** argv) {
  return oneflow::PlanAttackMain(std::vector<std::string>(argv + 1, argv + argc), std::cout,
                                 std::cerr);
}
