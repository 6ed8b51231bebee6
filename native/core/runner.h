// Runs one command at a time, or some that are joined: what the queue's thread needs for that, and what it learns when a command fails.
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

// How many steps, this one included, run part by part with it.
size_t groupLength(const Batch::Step* step, const Batch::Step* end);

// Belongs to one thread.
class CommandRunner {
 public:
  explicit CommandRunner(int threads) : pool_(threads) {}

  int threads() const { return pool_.threads(); }

  // Runs a command, or `count` that are joined part by part. Leaves the steps as they are, so that they can run again. Returns
  // what went wrong.
  Failure run(const Batch::Step* steps, size_t count);

  // Says which element of a step's float32 output is the first that is not finite, if there is one.
  Failure searchOutput(const Batch::Step& step);

 private:
  int64_t firstSuspect(const Operand& operand);

  ThreadPool pool_;
  ScratchMemory scratch_;
};

}  // namespace langevin
