// A sampler while it is planned, and the stages of planning, each of which has a file.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "sampler.h"

namespace langevin {
namespace cuda {
namespace persistent {

// Why a program runs as graphs.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] inline void refuse(const std::string& reason) { throw Refusal(reason); }

// A size as instructions count, in int32.
inline int32_t count(int64_t n) {
  constexpr int64_t most = int64_t{1} << 30;
  if (n > most) refuse("a tensor is too large");
  return static_cast<int32_t>(n);
}

inline size_t aligned(size_t bytes) { return (bytes + 15) / 16 * 16; }

// Memory that only the step's own commands use, as one image sees it.
struct Room {
  Program::Temporary memory;
  bool known = false;    // something was written to it
  bool batched = false;  // each image has a share of it
  size_t bytes = 0;      // of a share
  size_t shared = 0;     // where it lies
  int64_t lastUse = 0;   // the last command that does something there
};

// What is known of an instruction besides itself: which room each of its views lies in; -1: none.
struct Homes {
  int result = -1;
  int inputs[kMostInputs];
  int tails[kMostTails] = {-1, -1};
  int64_t position = 0;      // of the command
  int64_t weightFloats = 0;  // from the first weight to behind the last
  bool sourceInFours = false;  // four channels of a product's source may be loaded at a time
  Operand factors[2];          // of a product
};

struct Use {
  Operand operand;
  bool batched;  // each image has a share of it
};

struct Draft {
  Draft(const Program& program, const Device& device) : program(program), device(device) {}

  const Program& program;
  const Device device;
  std::unique_ptr<Sampler> sampler = std::make_unique<Sampler>();
  std::vector<Room> rooms;
  std::vector<Homes> homes;        // of each instruction
  std::vector<Use> read, written;  // in device memory
  size_t partialBytes = 0;         // sums of a round's parts, at most
};

// Commands become instructions on one image.
void translate(Draft& d);
// Element-wise instructions that follow on a product or groupNorm, in its place or where nothing needs it any more, become
// a part of it: that saves a barrier and a pass.
void joinTails(Draft& d);
// Products are divided among warps, and their weights packed.
void cutProducts(Draft& d);
// Instructions are put into rounds: each into the first one after all that it needs. Those of a round are done at the same
// time, by different warps where they leave some idle; between rounds there is a barrier.
void order(Draft& d);
// Shared memory and registers go to rooms, sums of parts, tables, and as many weights as there is room for.
void shareOut(Draft& d);

// Whether something writes to a product's weights.
bool isWritten(const Draft& d, size_t product);

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
