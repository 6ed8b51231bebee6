// What each command of a list waits for, and how a capture is told.
#include "branches.h"

#include <algorithm>

#include "../core/extent.h"
#include "health.h"

namespace langevin {
namespace cuda {

namespace {

// What the next node of a capture would wait for, and the graph so far.
struct Captured {
  std::vector<cudaGraphNode_t> last;
  size_t kernels;
};

// Both calls were given another argument by CUDA 13.
Captured capturedBy(cudaStream_t stream) {
  cudaStreamCaptureStatus status;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* nodes = nullptr;
  size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph, &nodes, nullptr, &count);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, &graph, &nodes, &count);
#endif
  check(error, "a look at the capture of a graph");
  Captured captured{std::vector<cudaGraphNode_t>(nodes, nodes + count), 0};
  check(cudaGraphGetNodes(graph, nullptr, &captured.kernels), "a look at the capture of a graph");
  return captured;
}

cudaError_t updateDependencies(cudaStream_t stream, std::vector<cudaGraphNode_t>& nodes, unsigned flags) {
#if CUDART_VERSION >= 13000
  return cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nullptr, nodes.size(), flags);
#else
  return cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nodes.size(), flags);
#endif
}

}  // namespace

Branches::Branches(cudaStream_t stream) : stream_(stream), start_(capturedBy(stream).last) {}

void Branches::begin(const Command& command) {
  currentBefore_.assign(current(), false);
  currentDepth_ = 0;
  kernelsBefore_ = capturedBy(stream_).kernels;
  const std::vector<cudaGraphNode_t> nodes = wait(touched(command));
  depend(nodes.empty() ? start_ : nodes, true);
}

void Branches::add(const Command& command) { depend(wait(touched(command)), false); }

size_t Branches::takeLane() {
  if (usersOfLanes_.empty() || usersOfLanes_.back() != current()) {
    if (usersOfLanes_.size() >= kLanes) waitFor({usersOfLanes_[usersOfLanes_.size() - kLanes]});
    usersOfLanes_.push_back(current());
  }
  return usersOfLanes_.size() % kLanes;
}

void Branches::mayFail() {
  waitFor(failing_);
  waitFor(halting_);
  failing_.push_back(current());
}

void Branches::halts() {
  waitFor(failing_);
  halting_.push_back(current());
}

void Branches::waitFor(const std::vector<size_t>& commands) {
  Marks needed(current(), false);
  for (const size_t command : commands)
    if (command != current()) needed[command] = true;
  depend(wait(needed), false);
}

void Branches::end() {
  Captured captured = capturedBy(stream_);
  depths_.push_back(currentDepth_ + captured.kernels - kernelsBefore_);
  longest_ = std::max(longest_, depths_.back());
  before_.push_back(currentBefore_);
  nodes_.push_back(std::move(captured.last));
}

void Branches::join() {
  currentBefore_.assign(current(), false);
  const std::vector<cudaGraphNode_t> nodes = wait(Marks(current(), true));
  depend(nodes.empty() ? start_ : nodes, true);
}

Branches::Marks Branches::touched(const Command& command) {
  Marks needed(current(), false);
  // A command without an output overwrites some of its inputs.
  const bool inPlace = !command.output.present();
  for (int i = 0; i < command.inputCount; i++)
    if (command.inputs[i].present()) note(command.inputs[i], inPlace, needed);
  if (!inPlace) note(command.output, true, needed);
  return needed;
}

void Branches::note(const Operand& operand, bool writes, Marks& needed) {
  const char* const data = addressOf(operand);
  const int64_t bytes = extentOf(operand);
  for (const Access& access : accesses_)
    if (access.command != current() && (writes || access.writes) && overlap(access.data, access.bytes, data, bytes))
      needed[access.command] = true;
  accesses_.push_back({data, bytes, current(), writes});
}

std::vector<cudaGraphNode_t> Branches::wait(const Marks& needed) {
  std::vector<cudaGraphNode_t> nodes;
  for (size_t i = needed.size(); i-- > 0;) {
    if (!needed[i] || currentBefore_[i]) continue;
    nodes.insert(nodes.end(), nodes_[i].begin(), nodes_[i].end());
    for (size_t j = 0; j < before_[i].size(); j++)
      if (before_[i][j]) currentBefore_[j] = true;
    currentBefore_[i] = true;
    currentDepth_ = std::max(currentDepth_, depths_[i]);
  }
  return nodes;
}

// `instead` of what the capture would wait for, or besides.
void Branches::depend(const std::vector<cudaGraphNode_t>& nodes, bool instead) const {
  std::vector<cudaGraphNode_t> known = instead ? std::vector<cudaGraphNode_t>() : capturedBy(stream_).last, fresh;
  for (const cudaGraphNode_t node : nodes) {
    if (std::find(known.begin(), known.end(), node) != known.end()) continue;
    known.push_back(node);
    fresh.push_back(node);
  }
  if (fresh.empty() && !instead) return;
  check(updateDependencies(stream_, fresh, instead ? cudaStreamSetCaptureDependencies : cudaStreamAddCaptureDependencies),
        "an order in the capture of a graph");
}

}  // namespace cuda
}  // namespace langevin
