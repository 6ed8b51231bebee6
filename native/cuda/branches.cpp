// What each command of a list waits for, and how a capture is told.
#include "branches.h"

#include <algorithm>

#include "../core/extent.h"
#include "health.h"

namespace langevin {
namespace cuda {

namespace {

// Both calls were given another argument by CUDA 13.
cudaError_t lastCaptured(cudaStream_t stream, const cudaGraphNode_t** nodes, size_t* count) {
  cudaStreamCaptureStatus status;
#if CUDART_VERSION >= 13000
  return cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, nodes, nullptr, count);
#else
  return cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, nodes, count);
#endif
}

cudaError_t updateDependencies(cudaStream_t stream, std::vector<cudaGraphNode_t>& nodes, unsigned flags) {
#if CUDART_VERSION >= 13000
  return cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nullptr, nodes.size(), flags);
#else
  return cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nodes.size(), flags);
#endif
}

std::vector<cudaGraphNode_t> capturedBy(cudaStream_t stream) {
  const cudaGraphNode_t* nodes = nullptr;
  size_t count = 0;
  check(lastCaptured(stream, &nodes, &count), "a look at the capture of a graph");
  return std::vector<cudaGraphNode_t>(nodes, nodes + count);
}

}  // namespace

Branches::Branches(cudaStream_t stream) : stream_(stream), start_(capturedBy(stream)) {}

void Branches::begin(const Command& command) {
  currentBefore_.assign(current(), false);
  currentDepth_ = 0;
  const std::vector<cudaGraphNode_t> nodes = wait(touched(command));
  depend(nodes.empty() ? start_ : nodes, true);
}

void Branches::add(const Command& command) { depend(wait(touched(command)), false); }

size_t Branches::takeLane() {
  const size_t lane = current() % kLanes;
  const size_t last = lastOfLane_[lane];
  if (last == current()) return lane;
  lastOfLane_[lane] = current();
  if (last == SIZE_MAX) return lane;
  Marks needed(current(), false);
  needed[last] = true;
  depend(wait(needed), false);
  return lane;
}

void Branches::waitForFailing() {
  Marks needed(current(), false);
  for (const size_t command : failing_)
    if (command != current()) needed[command] = true;
  depend(wait(needed), false);
}

void Branches::end() {
  depths_.push_back(currentDepth_ + 1);
  longest_ = std::max(longest_, depths_.back());
  before_.push_back(currentBefore_);
  nodes_.push_back(capturedBy(stream_));
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

void Branches::depend(std::vector<cudaGraphNode_t> nodes, bool instead) const {
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  if (nodes.empty() && !instead) return;
  check(updateDependencies(stream_, nodes, instead ? cudaStreamSetCaptureDependencies : cudaStreamAddCaptureDependencies),
        "an order in the capture of a graph");
}

}  // namespace cuda
}  // namespace langevin
