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
    size_t attributes;  // position of the first attribute's word
  };
  std::vector<double> words;     // attributes point into them
  std::vector<Operand> inputs;   // commands point into them
  std::vector<Step> steps;
};

// Words that are no valid command list or program; `op` names the op they fail at, or the call where none is known.
struct MalformedCommand : std::runtime_error {
  MalformedCommand(std::string op, const std::string& problem) : std::runtime_error(problem), op(std::move(op)) {}
  std::string op;
};

// Reads words one after the other and throws MalformedCommand, in the name of `op`, for what does not fit.
class WordReader {
 public:
  WordReader(const char* op, const double* words, const double* end, const BufferLookup& buffers)
      : op_(op), at_(words), end_(end), buffers_(buffers) {}

  bool atEnd() const { return at_ == end_; }
  const double* position() const { return at_; }

  double word();
  // A whole number from 0 to `limit`.
  int64_t integer(double limit, const char* what);
  // An absent operand has no data. `index` is left out of errors where it is negative.
  Operand operand(const char* role, int index);
  // The attributes of a kernel, which must be the last words.
  void attributes(const std::vector<Attribute>& kinds);

 private:
  void signedInteger();
  void checkExtent(const Operand& operand, int64_t offset, BufferView buffer, const char* role, int index) const;
  [[noreturn]] void fail(const char* role, int index, const std::string& problem) const;

  const char* const op_;
  const double* at_;
  const double* const end_;
  const BufferLookup& buffers_;
};

constexpr double kExact = 9007199254740992.0;  // 2^53: integers up to here are exact in a word

// A number as errors show it.
std::string show(double x);

// Throws MalformedCommand; then nothing of the list will run. `call` is who asks: its name stands in errors of no op.
std::unique_ptr<Batch> decode(const char* call, const double* words, size_t count, const Kernels& kernels,
                              const BufferLookup& buffers);

}  // namespace langevin
