// The order of a list's commands in a graph: each one after those whose memory it needs, beside all others.
//
// A list says in which order its commands run; what they compute asks for less. While a list is captured, every command
// is made to depend on those before it that wrote what it reads or writes, or read what it writes. So gradients of weights run
// beside those of activations, and small kernels, each of which leaves most of a GPU idle, share it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/command.h"
#include "runtime.h"

namespace langevin {
namespace cuda {

class Branches {
 public:
  // Kernels of this many commands may have working memory at a time.
  static constexpr size_t kLanes = 2;

  // The stream is being captured; commands follow on what it holds so far.
  explicit Branches(cudaStream_t stream);

  // The next command, with its operands. Throws CudaError, as all others do.
  void begin(const Command& command);
  // The command also does the work of this one.
  void add(const Command& command);
  // The command uses working memory; returns of which lane.
  size_t takeLane();
  // The command may raise a fault. It waits for those before it that may, so that the first one is heard, and for those that a fault
  // halts: they must not see one of a command behind them.
  void mayFail();
  // A fault of a command before this one halts it.
  void halts();
  // All of it is enqueued.
  void end();

  // What follows waits for everything.
  void join();

  // Kernels in the longest chain.
  size_t longest() const { return longest_; }

 private:
  struct Access {
    const char* data;
    int64_t bytes;
    size_t command;
    bool writes;
  };
  using Marks = std::vector<bool>;  // by command

  size_t current() const { return nodes_.size(); }
  Marks touched(const Command& command);
  void note(const Operand& operand, bool writes, Marks& needed);
  // The last nodes of the marked commands, without those that others of them wait for; the current one then waits for them.
  std::vector<cudaGraphNode_t> wait(const Marks& needed);
  void waitFor(const std::vector<size_t>& commands);
  void depend(const std::vector<cudaGraphNode_t>& nodes, bool instead) const;

  const cudaStream_t stream_;
  const std::vector<cudaGraphNode_t> start_;
  std::vector<Access> accesses_;
  std::vector<std::vector<cudaGraphNode_t>> nodes_;  // the last ones of each command that ended
  std::vector<Marks> before_;                        // which ones come before each command
  std::vector<size_t> depths_;  // kernels in the longest chain that ends with each command
  Marks currentBefore_;
  size_t currentDepth_ = 0;
  size_t kernelsBefore_ = 0;  // in the graph
  size_t longest_ = 0;
  std::vector<size_t> failing_, halting_;
  std::vector<size_t> usersOfLanes_;  // commands, in their order; the lanes take turns
};

}  // namespace cuda
}  // namespace langevin
