// What goes wrong in work that was queued.
#pragma once

#include <string>

namespace langevin {

// An empty `op` means that nothing did.
struct Failure {
  std::string op;
  std::string problem;
};

}  // namespace langevin
