// Programs: command lists that were checked once, and the order in which they run. How often is a replay's matter.
//
// What is checked is what decode.h says, and also that slots lie on attributes of one word, that reports are scalars, and
// that loops are closed. A program holds addresses: it must not run once one of its buffers was released.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "decode.h"
#include "precision.h"

namespace langevin {

struct Program {
  // A number that is given before each run of a list.
  struct Slot {
    bool integer = false;  // some place needs a whole number
    std::vector<double*> places;
  };

  struct List {
    size_t begin, end;  // of the commands
    std::vector<Slot> slots;
  };

  // A step as a line of instructions. Loops that run nothing are left out.
  struct Instruction {
    enum class Kind : uint8_t { list, enter, leave };
    Kind kind;
    size_t target = 0;  // of a list: its number; of enter: the place of its leave; of leave: what follows its enter
    size_t depth = 0;   // of enter and leave: loops around this one
    int64_t times = 0;  // of enter
    double values = 0;  // of enter: how many one round takes
  };

  // Memory that only the step's own commands use, and none before it was written: from one command to another, both ends
  // included, counted as in `batch`. Its content does not matter after the step.
  struct Temporary {
    const char* data;
    int64_t bytes;
    int64_t start, end;
  };

  std::unique_ptr<Batch> batch;  // the commands of all lists, one after the other
  std::vector<List> lists;
  std::vector<Instruction> instructions;
  std::vector<Operand> reports;
  std::vector<Temporary> temporaries;
  std::vector<double> buffers;  // numbers of all those that operands name
  size_t depth = 0;             // of nested loops
  double valuesPerStep = 0;
  bool checkFinite = false;
  Precision precision = Precision::float32;
  // Of the graph that a backend made of a step, for those who ask: its kernels, and those in its longest chain.
  mutable std::atomic<int> graphKernels{0}, longestChain{0};
  // What a backend has made of the program, on the queue's thread.
  std::shared_ptr<void> compiled;

  // Throws MalformedCommand, in the name of `call`, where `steps` steps do not take so many values, or not such.
  void checkValues(const char* call, const double* values, size_t count, int64_t steps) const;
};

// Goes through the runs of lists in a step, and then again from its start.
class StepWalk {
 public:
  // `onlyValues`: may leave out runs that take no values.
  explicit StepWalk(const Program& program, bool onlyValues = false)
      : program_(program), onlyValues_(onlyValues), rounds_(program.depth) {}

  // The next list; null once at the end of each step.
  const Program::List* next();
  size_t number() const { return number_; }  // of that list

 private:
  const Program& program_;
  const bool onlyValues_;
  std::vector<int64_t> rounds_;  // that are still to come, this one included; by depth
  size_t at_ = 0;
  size_t number_ = 0;
};

// Throws MalformedCommand where an array is not as long as it must be.
void expectNumbers(const char* call, const char* array, size_t count, double perStep, int64_t steps);

// The layout of both arrays is described in ts/device/native/encode.ts. Throws MalformedCommand.
std::unique_ptr<Program> decodeProgram(const double* words, size_t count, const double* layout, size_t layoutCount,
                                       const Kernels& kernels, const BufferLookup& buffers);

}  // namespace langevin
