// What a launcher gets from the executor, and the check that it took every number that changes as such.
#include "engine.h"

#include "followers.h"

namespace langevin {
namespace cuda {

namespace {

class CommandLaunch final : public Launch {
 public:
  CommandLaunch(Engine& engine, const std::string& op, const LaunchContext& context)
      : engine_(engine), op_(op), context_(context) {}

  cudaStream_t stream() const override { return engine_.stream; }
  int multiprocessors() const override { return engine_.multiprocessors; }
  int sharedBytes() const override { return static_cast<int>(engine_.sharedBytes); }

  Number number(AttributeReader& attributes) override {
    const double* const word = attributes.position();
    const double value = attributes.f();
    if (context_.numbers == nullptr) return Number(value);
    const auto found = context_.numbers->places.find(word);
    if (found == context_.numbers->places.end()) return Number(value);
    changing_++;
    return Number(found->second);
  }

  Fault fault(const char* problem) override {
    std::vector<FaultSite>& sites = *context_.sites;
    size_t at = 0;
    while (at < sites.size() && (sites[at].failure.op != op_ || sites[at].failure.problem != problem)) at++;
    if (context_.haltsOnFault) at = sites.size();  // each command of a program has a site of its own
    if (at == sites.size()) sites.push_back({{op_, problem}});
    if (context_.branches != nullptr) context_.branches->mayFail();
    return Fault(context_.fault, at + 1);
  }

  Halt halt() const override {
    if (context_.branches != nullptr) context_.branches->halts();
    return Halt(context_.haltsOnFault ? context_.fault : nullptr);
  }

  void* scratch(size_t bytes) override {
    Scratch& scratch = engine_.scratch[context_.branches == nullptr ? 0 : context_.branches->takeLane()];
    if (!usesScratch_) scratch.reset();
    usesScratch_ = true;
    return scratch.take(bytes);
  }

  Precision precision() const override { return context_.precision; }

  const Follower* follower(const Operand& result) const override {
    return context_.followers == nullptr ? nullptr : context_.followers->next(result);
  }
  const Follower* elementFollower() const override {
    return context_.followers == nullptr ? nullptr : context_.followers->nextOfElements();
  }
  const Command* sibling() const override {
    return context_.followers == nullptr ? nullptr : context_.followers->sibling();
  }
  void takeNext() override {
    const Command& command = context_.followers->take();
    if (context_.branches != nullptr) context_.branches->add(command);
  }

  size_t changing() const { return changing_; }

 private:
  Engine& engine_;
  const std::string& op_;
  const LaunchContext& context_;
  size_t changing_ = 0;  // numbers that were taken as such
  bool usesScratch_ = false;
};

}  // namespace

size_t ChangingNumbers::within(const double* begin, const double* end) const {
  size_t n = 0;
  for (const auto& place : places) n += place.first >= begin && place.first < end;
  return n;
}

void Engine::launch(const Batch::Step& step, const double* attributesEnd, const LaunchContext& context) {
  Command command = step.command;  // a launcher reads its attributes away
  CommandLaunch launch(*this, step.kernel->name, context);
  const double* const attributes = command.attributes.position();
  if (context.branches != nullptr) context.branches->begin(command);
  step.kernel->launch(command, launch);
  check(cudaGetLastError(), "the launch");
  if (context.branches != nullptr) context.branches->end();
  if (context.numbers != nullptr && context.numbers->within(attributes, attributesEnd) != launch.changing())
    Launch::refuse("a number of it changes from step to step that the CUDA kernel takes as fixed");
}

}  // namespace cuda
}  // namespace langevin
