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

  // The next one, if it uses this result of the one before it and what it writes may be written while the operands of all before
  // it are still read; null otherwise.
  const Follower* next(const Operand& result);

  // The next one, if it uses some result so far and may be done element after element with all before it, of which each works
  // so; null otherwise.
  const Follower* nextOfElements();

  // The next one, if it is of the first one's op and could run beside all before it; null otherwise.
  const Command* sibling() const;

  // The next one is done along with those before it.
  const Command& take();

  // How many were.
  size_t taken() const { return at_ - first_; }

 private:
  size_t position() const { return at_ + 1; }
  const Command& command(size_t at) const { return program_.batch->steps[at].command; }
  bool isCandidate() const;
  const Follower* follow(int input, const Operand& result);
  bool usesSomeResult() const;
  bool hasChangingNumbers(size_t at) const;
  bool isOverAfter(const Operand& result, size_t reader) const;
  bool isUsedBeside(const Program::Temporary& memory, const Operand& result, size_t reader) const;

  const Program& program_;
  const ChangingNumbers& numbers_;
  const size_t first_, end_;
  size_t at_;  // whose result is the latest
  std::optional<Follower> next_;
};

}  // namespace cuda
}  // namespace langevin
