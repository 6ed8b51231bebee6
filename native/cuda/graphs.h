// A program on the device: its lists captured into CUDA graphs, the numbers that change, and the ring of its reports.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "../core/replay.h"
#include "engine.h"
#include "persistent/sampler.h"
#include "steps.h"

namespace langevin {
namespace cuda {

// A graph that is ready to be launched.
class Graph {
 public:
  // Captures what `body` enqueues. What that throws comes through.
  template <class F>
  Graph(cudaStream_t stream, const F& body) {
    begin(stream);
    try {
      body();
    } catch (...) {
      abandon(stream);
      throw;
    }
    end(stream);
  }
  ~Graph() { cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  size_t nodes() const { return nodes_; }
  void launch(cudaStream_t stream) { check(cudaGraphLaunch(executable_, stream), "the launch of a graph"); }

 private:
  static void begin(cudaStream_t stream);
  static void abandon(cudaStream_t stream);
  void end(cudaStream_t stream);

  cudaGraphExec_t executable_ = nullptr;
  size_t nodes_ = 0;
};

// A command that cannot be launched.
struct CaptureFailure {
  Failure failure;
  size_t list;
  size_t command;
};

// What the host is told of a program at one point of the stream: how far it is, and the last rows of its reports.
class Mark {
 public:
  explicit Mark(size_t ringBytes) : memory_(sizeof(Progress) + ringBytes) {}

  void enqueue(cudaStream_t stream, const Progress* progress, const double* ring, size_t ringBytes);
  void wait() { passed_.wait(); }

  // To be read after `wait`.
  const Progress& progress() const { return *reinterpret_cast<const Progress*>(memory_.data()); }
  const double* ring() const { return reinterpret_cast<const double*>(memory_.data() + sizeof(Progress)); }

 private:
  PinnedBlock memory_;
  Event passed_;
};

class DeviceProgram {
 public:
  // Lays the program's tables out in device memory. Throws CudaError.
  DeviceProgram(Engine& engine, const Program& program);

  // Sets the program to the start of a replay with these values.
  void begin(const std::vector<double>& values);

  // Enqueues what comes next: `most` steps, at least 1, of the persistent sampler; or a graph, of a whole step or one list of a
  // long one. Captures it the first time, and throws CaptureFailure where that does not work. Returns how many steps then end.
  int64_t enqueue(int64_t most);

  // Enqueues a mark; it may be given back once it was waited for.
  std::unique_ptr<Mark> mark();
  void giveBack(std::unique_ptr<Mark> mark) { spare_.push_back(std::move(mark)); }
  // Waits for all that was enqueued, so that marks may go. For when an error is known already: says nothing of another one.
  void awaitAll() const { cudaStreamSynchronize(engine_.stream); }

  // What a fault's number stands for.
  const FaultSite& site(unsigned long long fault) const { return sites_[fault - 1]; }

  // How many steps the ring holds.
  static constexpr int kRows = 32;

 private:
  // Everything at a fixed place of one block.
  struct Tables {
    Progress* progress;
    double* places;
    SlotPlace* pairs;
    ReportSource* reports;
    double* ring;
  };
  struct ListNumbers {
    size_t firstPair, pairs;
  };

  std::vector<double> numberPlaces();
  void layOut(const std::vector<double>& initial);
  size_t ringBytes() const { return kRows * program_.reports.size() * sizeof(double); }
  size_t commandsInAStep() const;
  void captureList(size_t list);
  void captureEnd();
  void uploadSampler();
  void enqueueSampler(int steps);
  Graph& wholeStep();
  Graph& oneList(size_t list);
  template <class F>
  std::unique_ptr<Graph> capture(const F& body);

  Engine& engine_;
  const Program& program_;
  std::unique_ptr<DeviceBlock> block_;
  std::unique_ptr<DeviceBlock> values_;
  Tables tables_{};
  std::vector<SlotPlace> pairs_;
  std::vector<ListNumbers> numbersOfLists_;
  std::map<const double*, size_t> placeNumbers_;
  ChangingNumbers numbers_;
  std::vector<FaultSite> sites_;

  // Null where the program runs as graphs.
  const std::unique_ptr<persistent::Sampler> sampler_;
  std::unique_ptr<DeviceBlock> samplerBlock_;
  persistent::Run samplerRun_{};
  bool usesSampler_ = false;  // in the replay under way

  const bool stepIsOneGraph_;
  const bool inBranches_;
  std::unique_ptr<Graph> step_;
  size_t longest_ = 0;  // kernels in the longest chain of what was captured
  std::vector<std::unique_ptr<Graph>> lists_;
  std::optional<StepWalk> walk_;  // of the replay under way
  std::vector<std::shared_ptr<DeviceBlock>> scratch_;  // that graphs refer to
  std::vector<std::unique_ptr<Mark>> spare_;
};

}  // namespace cuda
}  // namespace langevin
