// Checks the persistent sampler: programs of a few commands, planned and run as the executor does, on tensor cores and by fma,
// with weights in shared memory and without, for one step and for two. In a second one, shared memory still holds what the first
// one left there, which hides missing barriers.
#include <cstring>

#include "../../cuda/persistent/sampler.h"
#include "sketch.h"
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

constexpr size_t kSharedBytes = 227 << 10;
constexpr int kMultiprocessors = 132;

void runSampler(const Program& program, const persistent::Device& device, int steps, Launch& launch) {
  const persistent::Decision decision = persistent::planPersistent(program, device);
  if (decision.sampler == nullptr) Launch::refuse(decision.refusal);
  const persistent::Sampler& s = *decision.sampler;
  Progress progress{};
  char* const memory = static_cast<char*>(launch.scratch(persistent::bytesOf(s)));
  const persistent::Run run = persistent::placeAt(memory, s, &progress, std::memcpy);
  persistent::enqueuePacking(launch.stream(), run);
  persistent::enqueueSteps(launch.stream(), run, s, steps);
  persistent::enqueueCountSteps(launch.stream(), &progress, steps, 0, nullptr, 0, nullptr);
  expect(progress.steps == steps && progress.lists == steps, "persistent", "counts its steps");
}

// With as many weights in shared memory as fit, one step, two images a block; or with none, two steps, an image a block.
enum class Weights { resident, streamed };

void run(const Program& program, persistent::Products products, Weights weights, Launch& launch) {
  persistent::Device device = {kSharedBytes, products, weights == Weights::resident ? 1 : kMultiprocessors};
  if (weights == Weights::streamed) {
    const persistent::Decision all = persistent::planPersistent(program, device);
    if (all.sampler != nullptr && !all.sampler->residents.empty())
      device.sharedBytes = static_cast<size_t>(all.sampler->residents[0].shared);
    const persistent::Decision none = persistent::planPersistent(program, device);
    expect(none.sampler != nullptr && none.sampler->residentWeights == 0, "persistent", "streams all weights");
    expect(none.sampler != nullptr && none.sampler->products == products, "persistent", "multiplies as it is told");
  }
  const persistent::Decision decision = persistent::planPersistent(program, device);
  if (decision.sampler != nullptr) {
    const bool two = weights == Weights::resident && products != persistent::Products::fma && decision.sampler->images > 1;
    expect(decision.sampler->together == (two ? 2 : 1), "persistent", "has another number of images a block");
  }
  runSampler(program, device, weights == Weights::resident ? 1 : 2, launch);
}

using persistent::Products;

std::string nameOf(Products products) {
  switch (products) {
    case Products::fma: return "fma ";
    case Products::tf32x3: return "3 tf32 ";
    case Products::tf32: return "tf32 ";
    default: return "bf16 ";
  }
}

void checkAlone(Case c, Products products, Weights weights) {
  c.label = "persistent " + nameOf(products) + c.label;
  check(c, [&](Command& command, Launch& launch) {
    Sketch sketch;
    sketch.add(c.kernel.c_str(), inputsOf(command), command.output, command.attributes);
    run(sketch.finish(), products, weights, launch);
  });
}

void checkChain(const Case& product, Products products, Weights weights) {
  Case c = chainOf(product);
  c.label = "persistent " + nameOf(products) + c.label;
  check(c, [&](Command& command, Launch& launch) {
    Sketch sketch;
    sketchChain(sketch, c, command, launch);
    run(sketch.finish(), products, weights, launch);
  });
}

// Operands that rounding leaves as they are: so the results are those of float32.
void checkRounded(const Geometry& g, Products products, float (*rounded)(float), Random& random) {
  const auto [forward, backward, weightGradient] = convolutionCases(g, random, true, rounded);
  checkAlone(forward, products, Weights::resident);
  checkAlone(backward, products, Weights::streamed);
}

// Twice the largest neighbour, by two chains that do not need each other: their instructions share rounds.
void checkRounds(Case c, Products products) {
  c.label = "persistent " + nameOf(products) + "two of " + c.label;
  c.expected = pooled(c.expected, c.outputShape);
  for (double& y : c.expected) y *= 2;
  c.tolerance *= 2;
  const Words window = join({ints({3, 3}), ints({1, 1}), ints({1, 1, 1, 1})});
  check(c, [&](Command& command, Launch& launch) {
    std::vector<Operand> operands;
    for (int i = 0; i < 6; i++) operands.push_back(temporaryLike(command.output, launch));
    Sketch sketch;
    for (int i = 0; i < 2; i++) sketch.add(c.kernel.c_str(), inputsOf(command), operands[i], command.attributes);
    for (int i = 0; i < 2; i++) sketch.add("relu", {operands[i]}, operands[2 + i]);
    for (int i = 0; i < 2; i++)
      sketch.add("maxPool2d", {operands[2 + i]}, operands[4 + i], AttributeReader(window.data()));
    sketch.add("add", {operands[4], operands[5]}, command.output);
    for (int i = 0; i < 6; i++) sketch.addTemporary(operands[i], i, i < 4 ? i + 2 : 6);
    const Program& program = sketch.finish();
    const persistent::Decision decision = persistent::planPersistent(program, {kSharedBytes, products, kMultiprocessors});
    int rounds = 0;
    if (decision.sampler != nullptr)
      for (const persistent::Instruction& in : decision.sampler->instructions) rounds += in.waits;
    expect(rounds == 4, c.label, "takes another number of rounds than four");
    run(program, products, Weights::resident, launch);
  });
}

// What groupNorm gives, and silu of it: joined, and over a mean that is large beside what varies about it.
void checkGroupNorm(const Shape& shape, int64_t groups, Random& random) {
  Tensor x = Tensor::random(shape, random);
  const int64_t channels = shape[3], perGroup = channels / groups, pixels = shape[1] * shape[2];
  for (int64_t i = 0; i < x.size(); i++) x.at(i) += static_cast<float>(100 * (i % channels / perGroup));
  const Tensor weight = Tensor::random({channels}, random), bias = Tensor::random({channels}, random);
  const double epsilon = 1e-5;
  Case c = {"persistent groupNorm " + text(shape), "groupNorm", {x, weight, bias}, {DType::f32, DType::f32, DType::f32},
            {true, false, false}, {double(groups), epsilon}, shape, std::vector<double>(static_cast<size_t>(x.size())), 1e-5};
  for (int64_t image = 0; image < shape[0]; image++)
    for (int64_t group = 0; group < groups; group++) {
      const auto at = [&](int64_t i) { return (image * pixels + i / perGroup) * channels + group * perGroup + i % perGroup; };
      const int64_t count = pixels * perGroup;
      double mean = 0, squares = 0;
      for (int64_t i = 0; i < count; i++) mean += double(x.at(at(i))) / double(count);
      for (int64_t i = 0; i < count; i++) squares += (double(x.at(at(i))) - mean) * (double(x.at(at(i))) - mean);
      for (int64_t i = 0; i < count; i++) {
        const int64_t channel = group * perGroup + i % perGroup;
        const double z = (double(x.at(at(i))) - mean) / std::sqrt(squares / double(count) + epsilon);
        const double u = z * double(weight.at(channel)) + double(bias.at(channel));
        c.expected[at(i)] = u / (1 + std::exp(-u));
      }
    }
  check(c, [&](Command& command, Launch& launch) {
    const Operand normal = temporaryLike(command.output, launch);
    Sketch sketch;
    sketch.add("groupNorm", inputsOf(command), normal, command.attributes);
    sketch.add("silu", {normal}, command.output);
    sketch.addTemporary(normal, 0, 1);
    const persistent::Decision decision =
        persistent::planPersistent(sketch.finish(), {kSharedBytes, Products::tf32x3, kMultiprocessors});
    expect(decision.sampler != nullptr && decision.sampler->instructions.size() == 1, c.label, "does not take silu in");
    run(sketch.finish(), Products::fma, Weights::resident, launch);
  });
}

void checkPool(Random& random) {
  const Tensor x = Tensor::random({3, 7, 6, 5}, random);
  Case c = {"persistent maxPool2d", "maxPool2d", {x}, {DType::f32}, {true},
            join({ints({3, 2}), ints({2, 2}), ints({1, 1, 0, 0})}), {3, 4, 3, 5}, std::vector<double>(3 * 4 * 3 * 5, -2.0)};
  eachMeeting({3, 7, 6, 5, 5, 3, 2, 2, 2, 1, 1, 0, 0}, [&](int64_t xp, int64_t yp, int64_t) {
    for (int64_t i = 0; i < 5; i++)
      c.expected[yp * 5 + i] = std::fmax(c.expected[yp * 5 + i], static_cast<double>(x.at(xp * 5 + i)));
  });
  checkAlone(c, Products::fma, Weights::resident);
}

void expectRefused(const char* label, Sketch& sketch, size_t sharedBytes, const char* reason) {
  const persistent::Device device = {sharedBytes, Products::tf32x3, kMultiprocessors};
  const std::string found = persistent::planPersistent(sketch.finish(), device).refusal;
  if (found != reason) std::printf("# %s\n", found.c_str());
  expect(found == reason, label, "is refused for another reason, or not");
}

void checkRefusals(Random& random) {
  const Tensor x = Tensor::random({2, 3, 3, 4}, random), y = Tensor::random({2, 3, 3, 4}, random);
  const Operand from = x.operand(), to = y.operand();
  Sketch unknown;
  unknown.add("softmax", {from}, to);
  expectRefused("an op without an instruction", unknown, kSharedBytes, "it has no instruction for softmax");
  Sketch mixing;
  Operand flipped = to;  // image 0 of it is image 1 of the other
  flipped.data = to.as<float>() + 36;
  mixing.add("relu", {flipped}, to);
  expectRefused("images that mix", mixing, kSharedBytes, "an image may need what another one writes");
  Sketch large;
  large.add("relu", {from}, to);
  large.add("relu", {to}, from);
  large.addTemporary(to, 0, 1);
  expectRefused("a small device", large, 100, "an image takes 144 bytes of shared memory, and a block has 100");
}

void checkPersistent(Random& random, Effort effort) {
  std::vector<Geometry> geometries = {{2, 4, 4, 8, 12, 3, 3, 1, 1, 1, 1, 1, 1},     // in vectors
                                      {3, 5, 7, 3, 5, 3, 2, 2, 1, 1, 0, 0, 1},       // odd
                                      {1, 2, 2, 64, 16, 2, 2, 2, 2},                 // few outputs of long sums
                                      {2, 6, 5, 9, 7, 3, 3, 1, 2, 2, 2, 2, 1, 2, 2},  // dilated
                                      {2, 2, 2, 64, 32, 3, 3, 1, 1, 1, 1, 1, 1},     // begins in registers
                                      {1, 4, 4, 32, 48, 3, 3, 1, 1, 1, 1, 1, 1},     // in parts, of two tiles
                                      {2, 6, 6, 16, 32, 2, 2, 2, 2}};                // taps of some pixels only
  for (int round = 1; round < effort.rounds; round++) {
    const Geometry g = {random.between(1, 3), random.between(1, 9), random.between(1, 9), random.between(1, 20),
                        random.between(1, 20), random.between(1, 3), random.between(1, 3), random.between(1, 2),
                        random.between(1, 2), random.between(0, 1), random.between(0, 1), random.between(0, 1),
                        random.between(0, 1)};
    if (g.valid()) geometries.push_back(g);
  }
  for (const Geometry& g : geometries) {
    const auto [forward, backward, weightGradient] = convolutionCases(g, random, true);
    for (const Products products : {Products::fma, Products::tf32x3}) {
      checkAlone(forward, products, Weights::resident);
      checkAlone(backward, products, Weights::streamed);
      checkChain(forward, products, Weights::streamed);
      checkChain(backward, products, Weights::resident);
      checkRounds(forward, products);
    }
    checkRounded(g, Products::tf32, inTf32, random);
    checkRounded(g, Products::bf16, inBf16, random);
  }
  checkGroupNorm({2, 4, 3, 8}, 2, random);
  checkGroupNorm({1, 3, 5, 30}, 10, random);
  checkPool(random);
  checkRefusals(random);
}

CUDA_CHECKS("persistent", checkPersistent);

}  // namespace
}  // namespace cuda
}  // namespace langevin
