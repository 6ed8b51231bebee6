// Programs for the persistent sampler's checks.
#pragma once

#include <memory>
#include <vector>

#include "../../core/program.h"
#include "../../cuda/launch.h"
#include "../cases.h"

namespace langevin {
namespace cuda {

// A program of one list, put together command by command.
class Sketch {
 public:
  Sketch() { program_.batch = std::make_unique<Batch>(); }

  void add(const char* op, std::vector<Operand> inputs, const Operand& output, AttributeReader attributes = {}) {
    inputs_.push_back(std::move(inputs));
    kernels_.push_back({op, "", {}});
    Batch::Step step{};
    step.command.inputs = inputs_.back().data();
    step.command.inputCount = static_cast<int>(inputs_.back().size());
    step.command.output = output;
    step.command.attributes = attributes;
    program_.batch->steps.push_back(step);
  }

  // Of commands first to last.
  void addTemporary(const Operand& x, int64_t first, int64_t last) {
    program_.temporaries.push_back({static_cast<const char*>(x.data), x.size() * 4, first, last});
  }

  const Program& finish() {
    for (size_t i = 0; i < kernels_.size(); i++) program_.batch->steps[i].kernel = &kernels_[i];
    program_.lists = {{0, kernels_.size(), {}}};
    program_.instructions = {{Program::Instruction::Kind::list}};
    return program_;
  }

 private:
  Program program_;
  std::vector<std::vector<Operand>> inputs_;
  std::vector<RegisteredKernel> kernels_;
};

inline std::vector<Operand> inputsOf(const Command& command) { return {command.inputs, command.inputs + command.inputCount}; }

inline Operand temporaryLike(const Operand& y, Launch& launch) {
  Operand x = y;
  x.pitch = y.cols();
  x.data = launch.scratch(static_cast<size_t>(x.size()) * sizeof(float));
  return x;
}

// The largest of each pixel's neighbourhood.
inline std::vector<double> pooled(const std::vector<double>& x, const Shape& shape) {
  std::vector<double> y(x.size(), 0.0);
  const Geometry g = {shape[0], shape[1], shape[2], shape[3], shape[3], 3, 3, 1, 1, 1, 1, 1, 1};
  eachMeeting(g, [&](int64_t xp, int64_t yp, int64_t) {
    for (int64_t i = 0; i < g.i; i++) y[yp * g.i + i] = std::fmax(y[yp * g.i + i], x[xp * g.i + i]);
  });
  return y;
}

// The largest neighbour of relu(c + c), squared: what stays within the product, what takes another room, what is an instruction
// of its own, and what needs the results of other threads.
inline Case chainOf(Case c) {
  c.label = "chain of " + c.label;
  for (double& y : c.expected) y = y > 0 ? 4 * y * y : 0;
  c.expected = pooled(c.expected, c.outputShape);
  c.tolerance *= 100;  // of sums up to about 20
  return c;
}

// The commands of that, for operands of the product.
inline void sketchChain(Sketch& sketch, const Case& c, Command& command, Launch& launch) {
  static const Words window = join({ints({3, 3}), ints({1, 1}), ints({1, 1, 1, 1})});
  const Operand product = temporaryLike(command.output, launch), sum = temporaryLike(command.output, launch),
                square = temporaryLike(command.output, launch), twice = temporaryLike(command.output, launch);
  sketch.add(c.kernel.c_str(), inputsOf(command), product, command.attributes);
  sketch.add("relu", {product}, sum);
  sketch.add("add", {sum, sum}, twice);
  sketch.add("mul", {twice, twice}, square);
  sketch.add("maxPool2d", {square}, command.output, AttributeReader(window.data()));
  sketch.addTemporary(product, 0, 1);
  sketch.addTemporary(sum, 1, 2);
  sketch.addTemporary(twice, 2, 3);
  sketch.addTemporary(square, 3, 4);
}

}  // namespace cuda
}  // namespace langevin
