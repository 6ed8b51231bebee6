// Programs for the persistent sampler's checks.
#pragma once

#include <memory>
#include <vector>

#include "../../core/program.h"

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

}  // namespace cuda
}  // namespace langevin
