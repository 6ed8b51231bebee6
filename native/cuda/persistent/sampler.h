// The persistent sampler: where a network fits one multiprocessor, one kernel runs many steps of it, one or two images a block.
//
// `planPersistent` (plan.cpp) reads a loaded program and either says why it must run as graphs or writes it as a short
// list of instructions on the data of one image. The kernel (../kernels/persistent.cu) is their interpreter: all threads of a
// block work on one instruction, or on several that do not need each other, with a barrier where one does. What only the
// commands of a step use lies in shared memory, one image's share of it. Everything else stays where the commands say. Images
// share nothing that is written, so that none depends on the batch; where there are more of them than multiprocessors, two run
// in a block, side by side, and hide each other's latencies.
//
// Products run on tensor cores where a GPU has them (`Pieces`). Their weights are packed once a replay, in the order in which
// warps take them; the last of one product's are in registers, those that are read most often lie in shared memory as far as
// there is room, and the others come from the second-level cache, a few steps ahead of their use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../core/program.h"
#include "../divider.h"
#include "../launch.h"
#include "../steps.h"

namespace langevin {
namespace cuda {
namespace persistent {

constexpr int kThreads = 256;   // that work on an image
constexpr int kAxes = 3;        // within an image
constexpr int kMostInputs = 9;  // linearCombination: coefficients and 8 tensors
constexpr int kMostTails = 2;
constexpr int kTile = 4;  // by fma, a thread adds up so many pixels times so many channels
constexpr int kWarps = kThreads / 32;
// On tensor cores, a step adds the products of so many source channels to so many channels of 8 or 16 pixels.
constexpr int kBlock = 16;
constexpr int kBlockWeights = kBlock * kBlock;  // of a step
constexpr int kColumns = 8;                     // pixels that a tensor core takes at a time

// What multiplies: float32 cores by fma; tensor cores with each float32 as the sum of two tf32 numbers, whose three larger
// products keep float32's accuracy; or tensor cores with operands rounded to tf32 or bf16. Sums and what is stored are float32.
enum class Products : int32_t { fma, tf32x3, tf32, bf16 };

// An operand as one image sees it.
struct View {
  void* device = nullptr;  // of image 0, in device memory; or
  int32_t shared = -1;     // where it lies in shared memory, in bytes
  int32_t image = 0;       // elements from one image to the next, in device memory
  int32_t stride[kAxes] = {};
  bool present() const { return device != nullptr || shared >= 0; }
};

enum class Operation : int32_t {
  copy, relu, silu, sigmoid, tanh, gelu, toFloat,  // of one operand
  add, sub, mul, div,                              // of two
  fill, fillIntegers, randn, embedding, row, maxPool, product, groupNorm, ddpmStep, linearCombination,
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

// 16 bytes that a lane reads of a step's weights: four of float32, or eight of bf16.
LANGEVIN_HD constexpr int vectorsOf(Products products) { return products == Products::bf16 ? 1 : 2; }
// Words of 4 bytes that a step's weights take.
LANGEVIN_HD constexpr int wordsOf(Products products) { return vectorsOf(products) * 32 * 4; }

// Of how many steps a warp keeps weights in registers, where a block runs so many images together: what ptxas leaves free.
LANGEVIN_HD constexpr int bankStepsOf(Products products, int together) {
  if (products == Products::fma) return 0;
  if (products == Products::bf16) return together == 1 ? 18 : 8;
  return together == 1 ? 16 : 0;
}

// Where output position o and tap k meet the source; negative where they do not.
LANGEVIN_HD int sourceOf(const Window& w, int axis, int o, int k) {
  int at = o * w.stride[axis] - w.padding[axis] + k * w.dilation[axis];
  if (w.transposed) {
    const int distance = o + w.padding[axis] - k * w.dilation[axis];
    at = distance / w.stride[axis];
    if (distance < 0 || at * w.stride[axis] != distance) return -1;
  }
  return at < w.source[axis] ? at : -1;
}

// How a product runs on tensor cores: y[channel, pixel] = sum of weights[channel, k] x[k, pixel] over k = (tap, source channel),
// in steps of kBlock k. A warp takes a unit: kBlock channels, a group of pixels, and a part of the steps. All that threads would
// have to divide or to look for is in tables in shared memory:
//
//   int16 position[tile][pixel]    256 row + column of the result; -1 beyond the last
//   int16 meeting[]                a tap that meets a group of pixels; source pixel[pixel] = row width + column, -1 for padding
//   Unit units[]                   in the order in which warps take them
//   Finish finishes[turn][warp]    which sums of tiles are finished by whom
struct Unit {
  int32_t weights;   // of its block: words into the packed weights, or bytes into shared memory
  int32_t meeting;   // the first one: words from the first position
  int16_t at;        // the first step: from the meeting's on; where they go on from tap to tap, from the group's on
  int16_t count;     // of steps
  int16_t sums;      // where those of its first tile go
  int16_t resident;  // whether weights are in shared memory
};

struct Finish {
  int16_t block;  // negative: nothing to do
  int16_t tile;
  int16_t sums;  // of the first part
  int16_t unused;
};

struct Pieces {
  int32_t blocks = 0;  // of channels
  int32_t groups = 0;  // of pixels
  int32_t tiles = 1;   // of kColumns pixels in a group, 1 or 2
  int32_t parts = 1;
  int32_t perPart = 0;  // sums of tiles
  int32_t taps = 0;
  int32_t chunks = 0;     // of kBlock source channels; 0: steps go on from tap to tap, all of which are in the table
  int32_t steps = 0;      // of all taps
  int32_t positions = 0;  // bytes into shared memory, as are the next two
  int32_t units = 0;
  int32_t finishes = 0;
  int32_t turns = 0;
  int32_t packed = 0;    // words into the packed weights: [block][step][vector][lane][4]
  bool vectors = false;  // four source channels may be loaded at a time
  bool banked = false;   // weights of each warp's last steps are in its registers

  LANGEVIN_HD int32_t unitCount() const { return blocks * groups * parts; }
};

// Where weights come from that are packed.
struct Packing {
  const float* from;
  int32_t taps, channels, outputs;
  int32_t perTap, perSource, perOutput;
  int32_t steps, blocks;
  int32_t packed;
};

// sum over taps and source channels; weights at tap, source channel and output channel.
struct Weights {
  int32_t channels = 0;  // of the source
  int32_t perTap = 0, perSource = 0, perOutput = 0;
  Divider perChannel;    // by channels
  // By fma:
  int32_t parts = 1;     // of the source channels, which different threads add up, `adjacent` ones at a time
  int32_t adjacent = 1;  // 1 or kTile
  bool vectors = false;  // four elements of each row may be loaded at a time
};

// What follows on a product or groupNorm, element by element, before it is stored.
struct Tail {
  Operation operation = Operation::copy;
  View other;            // the second operand
  bool reversed = false;  // the product is the second one
};

struct Instruction {
  Operation operation;
  int32_t size[kAxes] = {1, 1, 1};  // of the result: height, width, channels
  Divider perRow, perPixel;         // by width and channels
  View result;
  View inputs[kMostInputs];
  int32_t inputCount = 0;
  bool waits = true;      // for those before it: it begins a round
  int32_t firstWarp = 0;  // where it begins: instructions of a round are done by different warps
  int32_t partials = 0;   // where its sums of parts lie, in bytes from those of the round on
  Window window;
  Weights weights;
  Pieces pieces;
  Tail tails[kMostTails];
  int32_t tailCount = 0;
  int32_t rows = 0, rowStride = 0;  // of a table, and elements from one to the next
  int32_t groups = 0;               // of channels, weights.channels each
  uint64_t seed = 0;
  uint32_t draw = 0;
  StepNumber number, image, step;  // number: of fill, the row, or what is added to a variance
};

// Weights that blocks copy into shared memory first: from where they are, or from among the packed ones.
struct Resident {
  const float* from;  // null: packed
  int32_t packed;
  int32_t words;
  int32_t shared;
};

// What the kernel gets.
struct Run {
  const Instruction* instructions;
  const Resident* residents;
  const Packing* packings;
  const int16_t* tables;
  float* packed;
  Products products;
  int32_t instructionCount, residentCount, packingCount, tableCount;
  int32_t images;
  int32_t perImage;      // bytes of shared memory that belong to an image
  int32_t partials;      // where sums of parts lie there, in bytes
  int32_t tablesShared;  // where the tables lie in shared memory, in bytes
  int32_t banked;        // the instruction whose weights are in registers; -1: none
  int32_t slots;         // of the list
  Progress* progress;
};

// A program in this form. `sharedBytes` is what a block takes.
struct Sampler {
  Products products = Products::fma;
  std::vector<Instruction> instructions;
  std::vector<Resident> residents;
  std::vector<Packing> packings;
  std::vector<int16_t> tables;
  int64_t packedWords = 0;
  int images = 0;
  int together = 1;  // in a block
  int perImage = 0;
  int partials = 0;
  int tablesShared = 0;
  int banked = -1;
  int slots = 0;
  size_t sharedBytes = 0;
  int64_t weights = 0, residentWeights = 0, bankedWeights = 0;  // of products; of them, in shared memory, and in registers
};

// Either a sampler, or why the program runs as graphs.
struct Decision {
  std::unique_ptr<Sampler> sampler;
  std::string refusal;
};

// What the sampler may use of a GPU.
struct Device {
  size_t sharedBytes;  // that a block may have
  Products products;   // the most that is wished for; fma where weights cannot be packed
  int multiprocessors;
};

// For a program of this precision. GPUs whose tensor cores take tf32 give a block at least 99 KiB; those before them, 64 KiB.
Device deviceWith(size_t sharedBytes, int multiprocessors, Precision precision);

// LANGEVIN_PERSISTENT=off in the environment leaves all programs to graphs, for comparison.
Decision planPersistent(const Program& program, const Device& device);

// The decision in words.
std::string describe(const Decision& decision);

// Whether the numbers of all these steps lie where they must. A graph tells which do not.
bool acceptsNumbers(const Sampler& sampler, const std::vector<double>& values);

// A sampler in device memory: `memory` of so many bytes holds all that a run points to.
size_t bytesOf(const Sampler& sampler);
// `upload(to, from, bytes)` copies into the memory.
Run placeAt(char* memory, const Sampler& sampler, Progress* progress,
            const std::function<void(void* to, const void* from, size_t bytes)>& upload);

// Packs the weights as they are now.
void enqueuePacking(cudaStream_t stream, const Run& run);
// Runs `steps` steps from where the program is. Nothing happens after a fault.
void enqueueSteps(cudaStream_t stream, const Run& run, const Sampler& sampler, int steps);
// Counts them, and leaves the last step's numbers in their places.
void enqueueCountSteps(cudaStream_t stream, Progress* progress, int steps, int slots, const SlotPlace* pairs, int pairCount,
                       double* places);

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
