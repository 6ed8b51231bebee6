// How programs are laid out in device memory and captured.
#include "graphs.h"

#include <cstdlib>
#include <stdexcept>

#include "followers.h"

namespace langevin {
namespace cuda {

namespace {

// A step of more commands is not unrolled into one graph: each list gets its own.
constexpr size_t kMostCommands = 4096;

constexpr size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

// Whether commands that do not need each other run beside each other. LANGEVIN_GRAPHS=serial in the environment lets each wait for
// the one before it, for comparison.
bool runsInBranches() {
  const char* const given = std::getenv("LANGEVIN_GRAPHS");
  const std::string wish = given == nullptr ? "branched" : given;
  if (wish != "branched" && wish != "serial")
    throw std::runtime_error("LANGEVIN_GRAPHS is \"" + wish + "\", expected \"branched\" or \"serial\"");
  return wish == "branched";
}

}  // namespace

void Graph::begin(cudaStream_t stream) {
  // Relaxed, because kernels may need more scratch memory, and other threads may allocate.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "the capture of a graph");
}

void Graph::abandon(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void Graph::end(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph), "the capture of a graph");
  cudaGraphGetNodes(graph, nullptr, &nodes_);
  const cudaError_t error = cudaGraphInstantiateWithFlags(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "the instantiation of a graph");
}

void Mark::enqueue(cudaStream_t stream, const Progress* progress, const double* ring, size_t ringBytes) {
  check(cudaMemcpyAsync(memory_.data(), progress, sizeof(Progress), cudaMemcpyDeviceToHost, stream), "a copy of reports");
  if (ringBytes > 0)
    check(cudaMemcpyAsync(memory_.data() + sizeof(Progress), ring, ringBytes, cudaMemcpyDeviceToHost, stream),
          "a copy of reports");
  passed_.record(stream);
}

DeviceProgram::DeviceProgram(Engine& engine, const Program& program)
    : engine_(engine),
      program_(program),
      sampler_(persistent::planPersistent(
                   program, persistent::deviceWith(engine.sharedBytes, engine.multiprocessors, program.precision))
                   .sampler),
      stepIsOneGraph_(commandsInAStep() <= kMostCommands),
      inBranches_(runsInBranches()),
      lists_(program.lists.size()) {
  layOut(numberPlaces());
  if (sampler_ != nullptr) uploadSampler();
}

void DeviceProgram::uploadSampler() {
  samplerBlock_ = std::make_unique<DeviceBlock>(persistent::bytesOf(*sampler_));
  samplerRun_ = persistent::placeAt(samplerBlock_->data(), *sampler_, tables_.progress,
                                    [&](void* to, const void* from, size_t bytes) { engine_.staging.upload(to, from, bytes); });
}

void DeviceProgram::enqueueSampler(int steps) {
  persistent::enqueueSteps(engine_.stream, samplerRun_, *sampler_, steps);
  check(cudaGetLastError(), "the launch of the persistent sampler");
  const ListNumbers& numbers = numbersOfLists_.front();
  persistent::enqueueCountSteps(engine_.stream, tables_.progress, steps, sampler_->slots, tables_.pairs + numbers.firstPair,
                                static_cast<int>(numbers.pairs), tables_.places);
  check(cudaGetLastError(), "the launch");
}

// Gives every attribute that a slot changes a number, in the order of lists; returns the values that they have now.
std::vector<double> DeviceProgram::numberPlaces() {
  std::vector<double> initial;
  for (const Program::List& list : program_.lists) {
    const size_t first = pairs_.size();
    for (size_t slot = 0; slot < list.slots.size(); slot++)
      for (const double* place : list.slots[slot].places) {
        const auto [found, fresh] = placeNumbers_.emplace(place, initial.size());
        if (fresh) initial.push_back(*place);
        pairs_.push_back({static_cast<int32_t>(slot), static_cast<int32_t>(found->second)});
      }
    numbersOfLists_.push_back({first, pairs_.size() - first});
  }
  return initial;
}

void DeviceProgram::layOut(const std::vector<double>& initial) {
  std::vector<ReportSource> reports;
  for (const Operand& report : program_.reports) reports.push_back({report.data, static_cast<int32_t>(report.dtype)});
  const size_t sizes[] = {sizeof(Progress), initial.size() * sizeof(double), pairs_.size() * sizeof(SlotPlace),
                          reports.size() * sizeof(ReportSource), ringBytes()};
  size_t starts[5], total = 0;
  for (int i = 0; i < 5; i++) {
    starts[i] = total;
    total += aligned(sizes[i]);
  }
  block_ = std::make_unique<DeviceBlock>(total);
  char* const base = block_->data();
  tables_ = {reinterpret_cast<Progress*>(base + starts[0]), reinterpret_cast<double*>(base + starts[1]),
             reinterpret_cast<SlotPlace*>(base + starts[2]), reinterpret_cast<ReportSource*>(base + starts[3]),
             reinterpret_cast<double*>(base + starts[4])};
  engine_.staging.upload(tables_.places, initial.data(), sizes[1]);
  engine_.staging.upload(tables_.pairs, pairs_.data(), sizes[2]);
  engine_.staging.upload(tables_.reports, reports.data(), sizes[3]);
  for (const auto& [word, number] : placeNumbers_) numbers_.places.emplace(word, tables_.places + number);
}

size_t DeviceProgram::commandsInAStep() const {
  StepWalk walk(program_);
  size_t commands = 0;
  while (const Program::List* const list = walk.next()) {
    commands += list->end - list->begin + 1;
    if (commands > kMostCommands) break;
  }
  return commands;
}

void DeviceProgram::begin(const std::vector<double>& values) {
  const size_t bytes = values.size() * sizeof(double);
  if (bytes > 0 && (values_ == nullptr || values_->bytes() < bytes)) values_ = std::make_unique<DeviceBlock>(2 * bytes);
  if (bytes > 0) engine_.staging.upload(values_->data(), values.data(), bytes);
  const Progress start{0, 0, 0, 0, bytes > 0 ? reinterpret_cast<const double*>(values_->data()) : nullptr};
  engine_.staging.upload(tables_.progress, &start, sizeof start);
  walk_.emplace(program_);
  usesSampler_ = sampler_ != nullptr && persistent::acceptsNumbers(*sampler_, values);
  if (!usesSampler_) return;
  persistent::enqueuePacking(engine_.stream, samplerRun_);
  check(cudaGetLastError(), "the launch of the packing of weights");
}

void DeviceProgram::captureList(size_t number) {
  const Program::List& list = program_.lists[number];
  const ListNumbers& numbers = numbersOfLists_[number];
  enqueueBeginList(engine_.stream, tables_.progress, static_cast<int>(list.slots.size()), tables_.pairs + numbers.firstPair,
                   static_cast<int>(numbers.pairs), tables_.places);
  check(cudaGetLastError(), "the launch");
  const Batch& batch = *program_.batch;
  std::optional<Branches> branches;
  if (inBranches_) branches.emplace(engine_.stream);
  LaunchContext context{&numbers_, &tables_.progress->fault, true, &sites_, program_.precision};
  context.branches = branches ? &*branches : nullptr;
  for (size_t at = list.begin; at < list.end; at++) {
    Followers followers(program_, numbers_, at, list.end);
    context.followers = &followers;
    const size_t sitesBefore = sites_.size();
    const size_t end = at + 1 < batch.steps.size() ? batch.steps[at + 1].attributes : batch.words.size();
    const std::string& op = batch.steps[at].kernel->name;
    try {
      engine_.launch(batch.steps[at], batch.words.data() + end, context);
    } catch (const CudaError& error) {
      throw CaptureFailure{engine_.health.failure(error, op), number, at - list.begin};
    } catch (const std::exception& error) {
      throw CaptureFailure{{op, error.what()}, number, at - list.begin};
    }
    for (size_t i = sitesBefore; i < sites_.size(); i++) {
      sites_[i].list = number;
      sites_[i].command = at - list.begin;
    }
    at += followers.taken();
  }
  if (!branches) return;
  branches->join();
  longest_ += 1 + branches->longest();
}

void DeviceProgram::captureEnd() {
  enqueueEndStep(engine_.stream, tables_.progress, tables_.reports, static_cast<int>(program_.reports.size()), tables_.ring,
                 kRows);
  check(cudaGetLastError(), "the launch");
}

template <class F>
std::unique_ptr<Graph> DeviceProgram::capture(const F& body) {
  auto graph = std::make_unique<Graph>(engine_.stream, body);
  for (const Scratch& scratch : engine_.scratch)
    for (const auto& block : scratch.blocks()) scratch_.push_back(block);
  return graph;
}

Graph& DeviceProgram::wholeStep() {
  if (step_ != nullptr) return *step_;
  longest_ = 1;  // what ends the step
  step_ = capture([&] {
    StepWalk walk(program_);
    while (walk.next() != nullptr) captureList(walk.number());
    captureEnd();
  });
  program_.graphKernels = static_cast<int>(step_->nodes());
  program_.longestChain = static_cast<int>(inBranches_ ? longest_ : step_->nodes());
  return *step_;
}

Graph& DeviceProgram::oneList(size_t list) {
  if (lists_[list] == nullptr) lists_[list] = capture([&] { captureList(list); });
  return *lists_[list];
}

int64_t DeviceProgram::enqueue(int64_t most) {
  if (usesSampler_) {
    enqueueSampler(static_cast<int>(most));
    return most;
  }
  if (stepIsOneGraph_) {
    wholeStep().launch(engine_.stream);
    return 1;
  }
  if (walk_->next() != nullptr) {
    oneList(walk_->number()).launch(engine_.stream);
    return 0;
  }
  captureEnd();
  return 1;
}

std::unique_ptr<Mark> DeviceProgram::mark() {
  std::unique_ptr<Mark> mark;
  if (spare_.empty()) {
    mark = std::make_unique<Mark>(ringBytes());
  } else {
    mark = std::move(spare_.back());
    spare_.pop_back();
  }
  mark->enqueue(engine_.stream, tables_.progress, tables_.ring, ringBytes());
  return mark;
}

}  // namespace cuda
}  // namespace langevin
