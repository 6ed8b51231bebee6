// Runs single kernels outside of the addon, on tensors with sentinels around and between their rows.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../core/registry.h"
#include "../core/scratch.h"
#include "../cpu/thread_pool.h"
#include "tensors.h"

namespace langevin {

// Stands in for the queue, which is not linked.
float* Context::scratch(int64_t floats) { return static_cast<float*>(scratch_.take(static_cast<size_t>(floats) * 4)); }
void Context::run(int64_t items, void (*fn)(const void*, int64_t), const void* closure) { pool_.run(items, fn, closure); }
void Context::fail(const char* message) {
  std::fprintf(stderr, "%s\n", message);
  std::abort();
}

inline Kernel kernelNamed(const std::string& name) {
  for (const RegisteredKernel& kernel : Registry::get().kernels())
    if (kernel.name == name) return kernel.run;
  std::fprintf(stderr, "no kernel %s\n", name.c_str());
  std::exit(2);
}

// A device of so many threads.
class Machine {
 public:
  explicit Machine(int threads) : pool_(threads) {}

  void run(const std::string& name, const std::vector<Operand>& inputs, const Words& attributes, const Operand& output) {
    static const Operand absent;
    std::vector<Operand> operands = inputs;
    Command command;
    command.output = output;
    command.inputs = operands.data();
    command.inputCount = static_cast<int>(operands.size());
    command.attributes = AttributeReader(attributes.data());
    Context context(pool_, scratch_);
    kernelNamed(name)(command, context);
    scratch_.reset();
  }

 private:
  ThreadPool pool_;
  ScratchMemory scratch_;
};

}  // namespace langevin
