// From the words that JavaScript sends to commands that kernels can run, checked before they are queued.
//
// Checked here: the layout of the words, that attributes fit the kernel's signature, and that every operand lies within
// its buffer. Taken on trust: that number, dtypes and shapes of the operands fit each other and the attributes, which the
// op's record has seen to (`infer` in ts/ops). Words from elsewhere could therefore crash the process; there is no way to
// send any but through ts/device/native.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "registry.h"

namespace langevin {

// The memory behind a buffer id.
struct BufferView {
  void* data = nullptr;
  size_t bytes = 0;
};

// Finds buffers; returns a view without data for an id that is not alive.
class BufferLookup {
 public:
  virtual BufferView find(double id) const = 0;

 protected:
  ~BufferLookup() = default;
};

// A command list, resolved: it needs neither the words of the caller nor the table of buffers any more.
struct Batch {
  struct Step {
    const RegisteredKernel* kernel;
    Command command;
  };
  std::vector<double> words;     // attributes point into them
  std::vector<Operand> inputs;   // commands point into them
  std::vector<Step> steps;
};

// Words that are no valid command list; `op` names the op they fail at, or "submit" where none is known.
struct MalformedCommand : std::runtime_error {
  MalformedCommand(std::string op, const std::string& problem) : std::runtime_error(problem), op(std::move(op)) {}
  std::string op;
};

// Throws MalformedCommand; then nothing of the list will run.
std::unique_ptr<Batch> decode(const double* words, size_t count, const Registry& registry, const BufferLookup& buffers);

}  // namespace langevin
