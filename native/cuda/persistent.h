// The persistent sampler: a program whose network fits one multiprocessor runs many steps in one kernel, an image a block.
//
// `planPersistent` (persistent.cpp) reads a loaded program and either says why it must run as graphs or writes it as a short
// list of instructions on the data of one image. The kernel (kernels/persistent.cu) is their interpreter: all threads of a
// block work on one instruction, with a barrier after each. What only the commands of a step use lies in shared memory,
// one image's share of it; so do the weights that are read most often, as far as there is room, and the others are read from
// the caches. Everything else stays where the commands say. Blocks share nothing that they write, so that an image does not
// depend on the batch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/program.h"
#include "launch.h"
#include "steps.h"

namespace langevin {
namespace cuda {
namespace persistent {

constexpr int kThreads = 256;  // of a block
constexpr int kAxes = 3;       // within an image
constexpr int kMostInputs = 9;  // linearCombination: coefficients and 8 tensors
constexpr int kMostTails = 2;
constexpr int kTile = 4;  // a thread adds up so many pixels times so many channels

// An operand as one image sees it.
struct View {
  void* device = nullptr;  // of image 0, in device memory; or
  int32_t shared = -1;     // where it lies in shared memory, in bytes
  int32_t image = 0;       // elements from one image to the next, in device memory
  int32_t stride[kAxes] = {};
  bool present() const { return device != nullptr || shared >= 0; }
};

enum class Operation : int32_t {
  copy, relu, silu, sigmoid, tanh, toFloat,  // of one operand
  add, sub, mul, div,                        // of two
  fill, fillIntegers, randn, embedding, row, maxPool, product, ddpmStep, linearCombination,
};

// A number of a step: fixed, or one of the list's slots.
struct StepNumber {
  double value = 0;
  int32_t slot = -1;
};

// Which elements a product adds up: of a window's taps, all channels. Along an axis, output o and tap k meet source element
// o stride - padding + k dilation; where the product is transposed, source element s and tap k meet output o just so.
struct Window {
  int32_t kernel[2] = {1, 1}, stride[2] = {1, 1}, padding[2] = {}, dilation[2] = {1, 1};
  int32_t source[2] = {1, 1};  // height and width
  bool transposed = false;
};

// sum over taps and source channels; weights at tap, source channel and output channel.
struct Weights {
  int32_t channels = 0;  // of the source
  int32_t perTap = 0, perSource = 0, perOutput = 0;
  int32_t parts = 1;     // of the source channels, which different threads add up, `adjacent` ones at a time
  int32_t adjacent = 1;  // 1 or kTile
  bool vectors = false;  // four elements of each row may be loaded at a time
};

// What follows on a product, element by element, before it is stored.
struct Tail {
  Operation operation = Operation::copy;
  View other;            // the second operand
  bool reversed = false;  // the product is the second one
};

struct Instruction {
  Operation operation;
  int32_t size[kAxes] = {1, 1, 1};  // of the result: height, width, channels
  View result;
  View inputs[kMostInputs];
  int32_t inputCount = 0;
  Window window;
  Weights weights;
  Tail tails[kMostTails];
  int32_t tailCount = 0;
  int32_t rows = 0, perRow = 0;  // of a table, and elements from one to the next
  uint64_t seed = 0;
  uint32_t draw = 0;
  StepNumber number, image, step;  // number: of fill, or the row
};

// Weights that blocks copy into shared memory first.
struct Resident {
  const float* from;
  int32_t floats;
  int32_t shared;
};

// What the kernel gets.
struct Run {
  const Instruction* instructions;
  const Resident* residents;
  int32_t instructionCount, residentCount;
  int32_t partials;  // where sums of parts lie in shared memory, in bytes
  int32_t slots;     // of the list
  Progress* progress;
};

// A program in this form. `sharedBytes` is what a block takes.
struct Sampler {
  std::vector<Instruction> instructions;
  std::vector<Resident> residents;
  int images = 0;
  int partials = 0;
  int slots = 0;
  size_t sharedBytes = 0;
  int64_t weights = 0, residentWeights = 0;  // of products; of them, those in shared memory
};

// Either a sampler, or why the program runs as graphs.
struct Decision {
  std::unique_ptr<Sampler> sampler;
  std::string refusal;
};

// For blocks with so much shared memory. LANGEVIN_PERSISTENT=off in the environment leaves all programs to graphs, for
// comparison.
Decision planPersistent(const Program& program, size_t sharedBytes);

// The decision in words.
std::string describe(const Decision& decision);

// Whether the numbers of all these steps lie where they must. A graph tells which do not.
bool acceptsNumbers(const Sampler& sampler, const std::vector<double>& values);

// Runs `steps` steps from where the program is. Nothing happens after a fault.
void enqueueSteps(cudaStream_t stream, const Run& run, int images, int steps, size_t sharedBytes);
// Counts them, and leaves the last step's numbers in their places.
void enqueueCountSteps(cudaStream_t stream, Progress* progress, int steps, int slots, const SlotPlace* pairs, int pairCount,
                       double* places);

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
