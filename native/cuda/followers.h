// Which commands of a program may be done in one pass with the one before them, seen from what memory they touch.
#pragma once

#include <optional>

#include "../core/program.h"
#include "engine.h"

namespace langevin {
namespace cuda {

// Those that follow on one command of a list.
class Followers {
 public:
  // The command stands at `at` of the program's batch, its list ends before `end`.
  Followers(const Program& program, const ChangingNumbers& numbers, size_t at, size_t end);

  // The next one, if it uses the result so far and what it writes may be written while the operands of all before it are still
  // read; null otherwise.
  const Follower* next() const { return next_ ? &*next_ : nullptr; }

  // It is done along with those before it.
  void take();

  // How many were.
  size_t taken() const { return at_ - first_; }

 private:
  void look();
  bool hasChangingNumbers(size_t at) const;
  bool isOverAfter(const Operand& result, size_t reader) const;
  bool isUsedBeside(const Program::Temporary& memory, const Operand& result, size_t reader) const;

  const Program& program_;
  const ChangingNumbers& numbers_;
  const size_t first_, end_;
  size_t at_;  // whose result the next one may use
  std::optional<Follower> next_;
};

}  // namespace cuda
}  // namespace langevin
