// Runs one command at a time: what the queue's thread needs for that, and what it learns when a command fails.
#pragma once

#include <string>

#include "../cpu/thread_pool.h"
#include "decode.h"
#include "scratch.h"

namespace langevin {

// What went wrong in queued work; an empty `op` means nothing did.
struct Failure {
  std::string op;
  std::string problem;
};

// Belongs to one thread.
class CommandRunner {
 public:
  explicit CommandRunner(int threads) : pool_(threads) {}

  int threads() const { return pool_.threads(); }

  // Leaves the step as it is, so that it can run again. Returns what went wrong.
  Failure run(const Batch::Step& step);

  // Says which element of a step's float32 output is the first that is not finite, if there is one.
  Failure searchOutput(const Batch::Step& step);

 private:
  int64_t firstSuspect(const Operand& operand);

  ThreadPool pool_;
  ScratchMemory scratch_;
};

}  // namespace langevin
