// Checks chains of element-wise commands on CUDA: the bits of plain loops, whatever is broadcast, spaced, or stored on the way.
#include <algorithm>
#include <cmath>

#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

struct Function {
  const char* name;
  int operands;
  float (*apply)(float, float);
  Words attributes;
};

const std::vector<Function> functions = {
    {"add", 2, [](float a, float b) { return a + b; }, {}},
    {"sub", 2, [](float a, float b) { return a - b; }, {}},
    {"mul", 2, [](float a, float b) { return a * b; }, {}},
    {"maximum", 2, [](float a, float b) { return a > b ? a : b; }, {}},
    {"neg", 1, [](float a, float) { return -a; }, {}},
    {"abs", 1, [](float a, float) { return std::fabs(a); }, {}},
    {"leakyRelu", 1, [](float a, float) { return a > 0 ? a : 0.3f * a; }, {0.3}},
    {"clamp", 1, [](float a, float) { return std::min(std::max(a, -0.5f), 0.75f); }, {-0.5, 0.75}},
};

// A command of a chain. Operands are inputs, or results by ~number.
struct Step {
  const Function* function;
  int operands[2];
  bool stored;
};

// A launch behind whose command others follow.
class ChainLaunch final : public Launch {
 public:
  ChainLaunch(Launch& inner, const std::vector<Follower>& followers) : inner_(inner), followers_(followers) {}

  cudaStream_t stream() const override { return inner_.stream(); }
  int multiprocessors() const override { return inner_.multiprocessors(); }
  Number number(AttributeReader& attributes) override { return inner_.number(attributes); }
  Fault fault(const char* problem) override { return inner_.fault(problem); }
  Halt halt() const override { return inner_.halt(); }
  void* scratch(size_t bytes) override { return inner_.scratch(bytes); }
  const Follower* elementFollower() const override { return taken_ < followers_.size() ? &followers_[taken_] : nullptr; }
  void takeNext() override { taken_++; }

  bool tookAll() const { return taken_ == followers_.size(); }

 private:
  Launch& inner_;
  const std::vector<Follower>& followers_;
  size_t taken_ = 0;
};

// Results lie in scratch memory, but for the last one.
void launchSteps(const std::vector<Step>& steps, const std::string& label, Command& c, Launch& launch) {
  std::vector<Operand> results, operands(2 * steps.size());
  std::vector<Command> commands(steps.size());
  std::vector<std::string> names;
  std::vector<Follower> followers;
  for (size_t i = 0; i < steps.size(); i++) {
    Operand result = c.output;
    if (i + 1 < steps.size()) {
      result.pitch = result.cols();
      // At 16 bytes or not.
      result.data = static_cast<float*>(launch.scratch((static_cast<size_t>(result.size()) + 1) * sizeof(float))) + i % 2;
    }
    results.push_back(result);
    names.push_back(steps[i].function->name);
  }
  for (size_t i = 0; i < steps.size(); i++) {
    Command& command = commands[i];
    command.inputs = &operands[2 * i];
    command.inputCount = steps[i].function->operands;
    for (int k = 0; k < command.inputCount; k++) {
      const int from = steps[i].operands[k];
      command.inputs[k] = from >= 0 ? c.inputs[from] : results[static_cast<size_t>(~from)];
    }
    command.output = results[i];
    command.attributes = AttributeReader(steps[i].function->attributes.data());
    if (i > 0) followers.push_back({names[i], command, -1, steps[i - 1].stored});
  }
  ChainLaunch chain(launch, followers);
  run(names[0], commands[0], chain);
  expect(chain.tookAll(), label, "left commands out");
}

// Where element i of a result lies in an operand that is broadcast to its shape.
int64_t broadcastPlace(int64_t i, const Shape& shape, const Shape& own) {
  int64_t place = 0, size = 1;
  for (size_t back = 1; back <= shape.size(); back++) {
    const int64_t n = shape[shape.size() - back], index = i % n;
    i /= n;
    if (back > own.size()) continue;
    if (own[own.size() - back] > 1) place += index * size;
    size *= own[own.size() - back];
  }
  return place;
}

// A shape that broadcasts to this one.
Shape narrower(const Shape& shape, Random& random) {
  Shape own = shape;
  if (random.between(0, 1) == 0) return own;
  for (int64_t& n : own)
    if (random.between(0, 1) == 0) n = n == 0 ? 0 : 1;
  own.erase(own.begin(), own.begin() + random.between(0, static_cast<int64_t>(own.size())));
  return own;
}

void checkChain(const Shape& shape, int length, Random& random) {
  Case c;
  c.label = "chain of " + std::to_string(length) + " on " + text(shape);
  c.outputShape = shape;
  std::vector<Step> steps;
  std::vector<std::vector<float>> results;
  for (int i = 0; i < length; i++) {
    Step step{&functions[static_cast<size_t>(random.between(0, static_cast<int64_t>(functions.size()) - 1))], {}, random.between(0, 1) == 0};
    for (int k = 0; k < step.function->operands; k++) {
      // The result so far, one that was stored, or an input.
      const int earlier = i < 2 ? -1 : static_cast<int>(random.between(0, i - 2));
      const bool fromMemory = earlier >= 0 && steps[static_cast<size_t>(earlier)].stored && random.between(0, 1) == 0;
      step.operands[k] = i > 0 && k == 0 && !fromMemory ? ~(i - 1) : fromMemory ? ~earlier : static_cast<int>(c.inputs.size());
      if (step.operands[k] < 0) continue;
      const Shape own = narrower(shape, random);
      c.inputs.push_back(Tensor::random(own, random));
      c.dtypes.push_back(DType::f32);
      c.pitched.push_back(own.size() > 1);
    }
    std::vector<float> result;
    for (int64_t at = 0; at < sizeOf(shape); at++) {
      float x[2] = {};
      for (int k = 0; k < step.function->operands; k++) {
        const int from = step.operands[k];
        if (from < 0) x[k] = results[static_cast<size_t>(~from)][static_cast<size_t>(at)];
        else x[k] = c.inputs[static_cast<size_t>(from)].at(broadcastPlace(at, shape, c.inputs[static_cast<size_t>(from)].shape()));
      }
      result.push_back(step.function->apply(x[0], x[1]));
    }
    results.push_back(result);
    steps.push_back(step);
  }
  c.expected.assign(results.back().begin(), results.back().end());
  const std::string label = c.label;
  check(c, [=](Command& command, Launch& launch) { launchSteps(steps, label, command, launch); });
}

void checkChains(Random& random, Effort effort) {
  const std::vector<Shape> shapes = {{2, 3, 5, 4}, {67},   {3, 7},       {},        {4, 1, 16}, {2, 3, 2, 3, 2, 3, 2, 3},
                                     {3, 0, 2},    {5, 8}, {2, 2, 3, 8}, {1, 1, 1}, {300, 1},   {2, 130, 3}};
  for (const Shape& shape : shapes)
    for (int round = 0; round < 2 * effort.rounds; round++) checkChain(shape, static_cast<int>(random.between(1, 8)), random);
  // More than all threads take at a time.
  for (int round = 0; round < effort.rounds; round++) checkChain({3, 9000, 3}, 2, random);
}

CUDA_CHECKS("chain", checkChains);

}  // namespace
}  // namespace cuda
}  // namespace langevin
