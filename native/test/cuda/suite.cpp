// Runs the checks of CUDA kernels on the host. Usage: suite [ROUNDS [FAMILY]]; prints how many checks there were.
#include "suite.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "../../cuda/gpu.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace langevin {
namespace cuda {

namespace {

// Constant-initialised, hence there before the constructors of kernels' and checks' files run.
const Registration* registrations = nullptr;
const CheckFamily* families = nullptr;

int checks = 0, failures = 0;

// Scratch memory between sentinels, NaN at first.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : tensor_({static_cast<int64_t>((bytes + 3) / 4)}) {}
  void* data() const { return tensor_.operand().data; }
  bool intact() const { return tensor_.sentinelsIntact(); }

 private:
  Tensor tensor_;
};

// A launch without a stream: kernels run at once.
class HostLaunch final : public Launch {
 public:
  explicit HostLaunch(Precision precision) : precision_(precision) {}
  cudaStream_t stream() const override { return nullptr; }
  // Few, so that small operands, too, are more than the GPU takes at a time.
  int multiprocessors() const override { return 3; }
  Precision precision() const override { return precision_; }
  Number number(AttributeReader& attributes) override { return Number(attributes.f()); }
  Fault fault(const char* problem) override {
    problem_ = problem;
    return Fault(&raised_, 1);
  }
  Halt halt() const override { return Halt(nullptr); }
  void* scratch(size_t bytes) override {
    scratch_.push_back(std::make_unique<Scratch>(bytes));
    return scratch_.back()->data();
  }

  const char* raised() const { return raised_ == 0 ? nullptr : problem_; }
  bool scratchIntact() const {
    for (const auto& memory : scratch_)
      if (!memory->intact()) return false;
    return true;
  }

 private:
  const Precision precision_;
  std::vector<std::unique_ptr<Scratch>> scratch_;
  const char* problem_ = nullptr;
  unsigned long long raised_ = 0;
};

Launcher launcherNamed(const std::string& name) {
  for (const Registration* at = registrations; at != nullptr; at = at->next)
    if (name == at->name) return at->launch;
  std::fprintf(stderr, "no CUDA kernel %s\n", name.c_str());
  std::exit(2);
}

// Addresses that no kernel may touch while it runs.
class Closed {
 public:
  explicit Closed(const std::vector<Tensor>& inputs, const Tensor& output) {
    for (const Tensor& input : inputs)
      if (input.present()) close(input);
    close(output);
  }
  ~Closed() {
#if defined(__SANITIZE_ADDRESS__)
    for (const auto& [from, bytes] : ranges_) __asan_unpoison_memory_region(from, bytes);
#endif
  }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;

 private:
  void close(const Tensor& tensor) {
    const char* const data = static_cast<const char*>(tensor.operand().data);
    const size_t margin = static_cast<size_t>(kMargin) * sizeof(float);
    const size_t bytes = static_cast<size_t>(tensor.extent()) * sizeof(float);
    ranges_.push_back({data - margin, margin});
    ranges_.push_back({data + bytes, margin});
#if defined(__SANITIZE_ADDRESS__)
    for (size_t i = ranges_.size() - 2; i < ranges_.size(); i++)
      __asan_poison_memory_region(ranges_[i].first, ranges_[i].second);
#endif
  }
  std::vector<std::pair<const char*, size_t>> ranges_;
};

Tensor run(const Case& c, const std::function<void(Command&, Launch&)>& launcher, Precision precision, int64_t inputGap,
           int64_t outputGap) {
  std::vector<Tensor> inputs;
  std::vector<Operand> operands;
  for (size_t i = 0; i < c.inputs.size(); i++) {
    inputs.push_back(c.pitched[i] && c.inputs[i].present() ? c.inputs[i].withGap(inputGap) : c.inputs[i]);
    operands.push_back(inputs[i].present() ? inputs[i].operand(c.dtypes[i]) : Operand());
  }
  Tensor output(c.outputShape, outputGap);
  Command command;
  command.output = output.operand();
  command.inputs = operands.data();
  command.inputCount = static_cast<int>(operands.size());
  command.attributes = AttributeReader(c.attributes.data());
  HostLaunch launch(precision);
  {
    const Closed closed(inputs, output);
    try {
      launcher(command, launch);
    } catch (const std::runtime_error& error) {
      expect(false, c.label, error.what());
    }
  }
  const char* const problem = gpu::launchProblem();
  expect(problem == nullptr, c.label, problem);
  expect(launch.raised() == nullptr, c.label, launch.raised());
  expect(output.sentinelsIntact(), c.label, "wrote outside of the output's rows");
  expect(launch.scratchIntact(), c.label, "wrote outside of its scratch memory");
  for (size_t i = 0; i < inputs.size(); i++)
    expect(!inputs[i].present() || (inputs[i].sentinelsIntact() && inputs[i].sameBits(c.inputs[i])), c.label, "wrote to an input");
  return output;
}

void compare(const Case& c, const Tensor& y) {
  for (int64_t i = 0; i < y.size(); i++) {
    const double got = static_cast<double>(y.at(i)), want = c.expected[static_cast<size_t>(i)];
    if (std::isnan(want) ? std::isnan(got) : got == want || std::fabs(got - want) <= c.tolerance) continue;
    std::printf("%s element %ld: %.9g instead of %.9g\n", c.label.c_str(), static_cast<long>(i), got, want);
    return expect(false, c.label, "wrong value");
  }
  expect(true, c.label, "");
}

}  // namespace

CheckFamily::CheckFamily(const char* name, void (*run)(Random&, Effort)) : name(name), run(run), next(families) {
  families = this;
}

Registration::Registration(const char* name, const char* signature, Launcher launch)
    : name(name), signature(signature), launch(launch), next(registrations) {
  registrations = this;
}

void Launch::refuse(const std::string& problem) { throw std::runtime_error(problem); }

void expect(bool good, const std::string& label, const char* what) {
  checks++;
  if (good) return;
  if (failures++ < 40) std::printf("FAILED %s: %s\n", label.c_str(), what);
}

void check(const Case& c, const std::function<void(Command&, Launch&)>& launcher, Precision precision) {
  gpu::host::setSchedule({0, 1});
  const Tensor plain = run(c, launcher, precision, 0, 0);
  compare(c, plain);
  gpu::host::setSchedule({2, 2});
  expect(run(c, launcher, precision, 0, 0).sameBits(plain), c.label, "the schedule changes bits");
  // Gaps that leave rows at multiples of 16 bytes, or not.
  gpu::host::setSchedule({3, 2});
  expect(run(c, launcher, precision, 3, 5).sameBits(plain), c.label, "odd pitches change bits");
  gpu::host::setSchedule({4, 2});
  expect(run(c, launcher, precision, 16, 4).sameBits(plain), c.label, "pitches change bits");
}

void run(const std::string& kernel, Command& command, Launch& launch) { launcherNamed(kernel)(command, launch); }

void check(const Case& c, Precision precision) {
  const Launcher launcher = launcherNamed(c.kernel);
  check(c, [=](Command& command, Launch& launch) { launcher(command, launch); }, precision);
}

}  // namespace cuda
}  // namespace langevin

int main(int count, char** arguments) {
  using namespace langevin::cuda;
  const Effort effort{count > 1 ? std::atoi(arguments[1]) : 1};
  const std::string only = count > 2 ? arguments[2] : "";
  for (const CheckFamily* family = families; family != nullptr; family = family->next) {
    if (!only.empty() && only != family->name) continue;
    const auto start = std::chrono::steady_clock::now();
    const int before = checks;
    langevin::Random random(static_cast<uint64_t>(effort.rounds));
    family->run(random, effort);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%s: %d checks, %.1f s\n", family->name, checks - before, seconds);
  }
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 && checks > 0 ? 0 : 1;
}
