// What differs between devices: their kernels, their memory, and how the queue's work is carried out.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "allocator.h"
#include "decode.h"
#include "failure.h"

namespace langevin {

struct Program;
class Replay;

// `kernels`, `threads`, `memory` and `describe` are for the owner's thread. All else is for the queue's thread, or for the owner's while
// nothing is queued. Work may end later than the call that asks for it, as long as everything happens in that order; what
// goes wrong in it may then come out of a later call.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const Kernels& kernels() const = 0;
  virtual int threads() const = 0;
  virtual MemorySource& memory() = 0;

  // How the program is carried out, in words; nothing where there is only one way.
  virtual std::string describe(const Program&) const { return {}; }

  // Runs a command, or `count` that are joined part by part. Leaves the steps as they are, so that they can run again.
  virtual Failure run(const Batch::Step* steps, size_t count) = 0;

  // Says which element of a step's float32 output is the first that is not finite, if there is one.
  virtual Failure searchOutput(const Batch::Step& step) = 0;

  // Runs until something ends it: the last step, a failure, `Replay::stop` or, as soon as may be, `dropped`. Where somebody
  // waits for the replay's end, that is reached on return; elsewhere its failure may come out of a later call.
  virtual Failure replay(const std::shared_ptr<Replay>& replay, bool awaited, const std::atomic<bool>& dropped) = 0;

  // `source` may change after the call.
  virtual Failure write(void* target, const void* source, size_t bytes) = 0;
  // Ends when `target` is filled, or by a failure.
  virtual Failure read(void* target, const void* source, size_t bytes) = 0;

  // Waits until all work is done.
  virtual Failure finish() = 0;
  // Whether `finish` need not wait. From any of the two threads.
  virtual bool finished() = 0;
};

}  // namespace langevin
