// Runs products and attention of many odd shapes on the first GPU, in float32, tf32 and bf16, and small programs in the persistent
// sampler, each in memory of its exact size, and compares with double precision: a small program for compute-sanitizer. It is linked with
// sources of native/cuda/kernels and native/cuda/persistent. Ends with 1 where a result is wrong or a kernel fails, with 2 where
// there is no GPU to run them on.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../cuda/launch.h"
#include "../../cuda/persistent/sampler.h"
#include "../../cuda/runtime.h"
#include "../attention_cases.h"
#include "../cases.h"
#include "../cuda/sketch.h"

namespace langevin {
namespace cuda {

namespace {

const Registration* registrations = nullptr;  // constant-initialised, hence there before kernels' files register
int failures = 0, cases = 0;

void check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what.c_str(), cudaGetErrorString(error));
  std::exit(1);
}

cudaStream_t newStream() {
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  return stream;
}

// Where all work goes.
cudaStream_t onlyStream() {
  static const cudaStream_t stream = newStream();
  return stream;
}

void wait(const std::string& what) { check(cudaStreamSynchronize(onlyStream()), what); }

void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, const std::string& what) {
  check(cudaMemcpyAsync(to, from, bytes, kind, onlyStream()), what);
  wait(what);
}

// Memory of exactly so many bytes, so that memcheck sees what is beyond.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t bytes) { check(cudaMalloc(&data_, bytes == 0 ? 1 : bytes), "memory"); }
  DeviceBytes(DeviceBytes&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  ~DeviceBytes() { cudaFree(data_); }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

cudaDeviceProp firstGpu() {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, 0);
  if (error == cudaSuccess) return properties;
  std::fprintf(stderr, "the first GPU: %s\n", cudaGetErrorString(error));
  std::exit(2);
}

const cudaDeviceProp& theGpu() {
  static const cudaDeviceProp properties = firstGpu();
  return properties;
}

class DeviceLaunch final : public Launch {
 public:
  explicit DeviceLaunch(Precision precision) : fault_(sizeof(unsigned long long)), precision_(precision) {
    const unsigned long long none = 0;
    copy(fault_.data(), &none, sizeof none, cudaMemcpyHostToDevice, "memory");
  }
  cudaStream_t stream() const override { return onlyStream(); }
  int multiprocessors() const override { return theGpu().multiProcessorCount; }
  Precision precision() const override { return precision_; }
  Number number(AttributeReader& attributes) override { return Number(attributes.f()); }
  Fault fault(const char*) override { return Fault(static_cast<unsigned long long*>(fault_.data()), 1); }
  Halt halt() const override { return Halt(nullptr); }
  void* scratch(size_t bytes) override {
    scratch_.emplace_back(bytes);
    return scratch_.back().data();
  }

 private:
  DeviceBytes fault_;
  std::vector<DeviceBytes> scratch_;
  Precision precision_;
};

Launcher launcherNamed(const std::string& name) {
  for (const Registration* at = registrations; at != nullptr; at = at->next)
    if (name == at->name) return at->launch;
  std::fprintf(stderr, "no CUDA kernel %s\n", name.c_str());
  std::exit(2);
}

using Runner = std::function<void(Command&, Launch&)>;

// Runs what stands for a case, and compares.
void run(const Case& c, const Runner& launcher, Precision precision) {
  std::vector<DeviceBytes> memory;
  std::vector<Operand> operands;
  for (size_t i = 0; i < c.inputs.size(); i++) {
    operands.push_back(c.inputs[i].present() ? c.inputs[i].operand(c.dtypes[i]) : Operand());
    if (!c.inputs[i].present()) continue;
    const size_t bytes = static_cast<size_t>(c.inputs[i].extent()) * sizeof(float);
    memory.emplace_back(bytes);
    copy(memory.back().data(), operands[i].data, bytes, cudaMemcpyHostToDevice, c.label);
    operands[i].data = memory.back().data();
  }
  const Tensor result(c.outputShape);
  const size_t bytes = static_cast<size_t>(result.extent()) * sizeof(float);
  const DeviceBytes output(bytes);
  Command command;
  command.output = result.operand();
  command.output.data = output.data();
  command.inputs = operands.data();
  command.inputCount = static_cast<int>(operands.size());
  command.attributes = AttributeReader(c.attributes.data());
  DeviceLaunch launch(precision);
  launcher(command, launch);
  check(cudaGetLastError(), c.label);
  wait(c.label);
  copy(result.operand().data, output.data(), bytes, cudaMemcpyDeviceToHost, c.label);
  cases++;
  for (int64_t i = 0; i < result.size(); i++) {
    const double got = static_cast<double>(result.at(i)), want = c.expected[static_cast<size_t>(i)];
    if (std::fabs(got - want) <= c.tolerance) continue;
    std::printf("%s element %ld: %.9g instead of %.9g\n", c.label.c_str(), static_cast<long>(i), got, want);
    failures++;
    return;
  }
}

void run(const Case& c, Precision precision = Precision::float32) { run(c, launcherNamed(c.kernel), precision); }

void upload(void* to, const void* from, size_t bytes) { copy(to, from, bytes, cudaMemcpyHostToDevice, "the sampler"); }

// Two steps of the case's chain in the persistent sampler, with one image a block or two.
void runInSampler(const Case& product, persistent::Products products, int multiprocessors) {
  const Case c = chainOf(product);
  run(c, [&](Command& command, Launch& launch) {
    Sketch sketch;
    sketchChain(sketch, c, command, launch);
    const persistent::Device device = {theGpu().sharedMemPerBlockOptin, products, multiprocessors};
    const persistent::Decision decision = persistent::planPersistent(sketch.finish(), device);
    if (decision.sampler == nullptr) Launch::refuse(c.label + ": " + decision.refusal);
    const persistent::Sampler& s = *decision.sampler;
    auto* const progress = static_cast<Progress*>(launch.scratch(sizeof(Progress)));
    const Progress none{};
    upload(progress, &none, sizeof none);
    const persistent::Run placed =
        persistent::placeAt(static_cast<char*>(launch.scratch(persistent::bytesOf(s))), s, progress, upload);
    persistent::enqueuePacking(launch.stream(), placed);
    persistent::enqueueSteps(launch.stream(), placed, s, 2);
    wait(c.label);  // before what it points to goes
  }, Precision::float32);
}

// Tensor cores cut sums off where float32 cores round: in n/8 of them, each as large as half of the last one (1.5 sqrt(n) for an
// extreme element of values in [-1, 1]) on average, 0.75 * 2^-24 of it is lost, 0.07 n sqrt(n) 2^-24 in all. For the 576 terms that
// are added up here at most, that is 1.2 times what `toleranceFor` grants, and twice as much where hardware adds four at a time.
constexpr double kTruncation = 4;

void runProduct(Case c, Precision precision) {
  if (precision != Precision::float32) c.tolerance *= kTruncation;
  run(c, precision);
}

// Operands that the precision leaves as they are, so that sums are those of float32.
void runProducts(Precision precision, float (*stored)(float), Random& random) {
  Geometry padded{2, 9, 7, 5, 11, 3, 3};
  padded.top = padded.bottom = padded.left = padded.right = 1;
  Geometry strided{3, 8, 11, 17, 33, 3, 3};
  strided.sy = strided.sx = 2;
  strided.bottom = strided.right = 1;
  for (const Geometry& g : {padded, strided, Geometry{1, 5, 5, 65, 3, 1, 1}, Geometry{2, 16, 16, 64, 64, 3, 3}})
    for (const bool bias : {false, true})
      for (const Case& c : convolutionCases(g, random, bias, stored)) runProduct(c, precision);
  for (const bool a : {false, true})
    for (const bool b : {false, true}) {
      runProduct(matmulCase(37, 65, 19, a, b, a != b, random, stored), precision);
      runProduct(matmulCase(129, 33, 130, a, b, false, random, stored), precision);
      runProduct(batchedMatmulCase({3}, {3}, 17, 40, 9, a, b, false, random, stored), precision);
    }
}

void runAttention(Precision precision, Random& random) {
  for (const Form& f : {Form{2, 9, 13, 2, 8, 8}, Form{1, 65, 70, 1, 5, 3}, Form{1, 131, 70, 1, 24, 40, true},
                        Form{1, 7, 66, 1, 64, 128, false, Masked::added}, Form{2, 66, 5, 2, 4, 4, true, Masked::choosing}})
    for (const Case& c : attentionCases(f, precision, Data(f, random))) run(c, precision);
}

void runSamplers(Random& random) {
  using persistent::Products;
  for (const Geometry& g : {Geometry{2, 4, 4, 8, 12, 3, 3, 1, 1, 1, 1, 1, 1}, Geometry{3, 5, 7, 3, 5, 3, 2, 2, 1, 1, 0, 0, 1},
                            Geometry{2, 2, 2, 64, 32, 3, 3, 1, 1, 1, 1, 1, 1}})
    for (const int multiprocessors : {1, 132}) {
      runInSampler(convolutionCases(g, random, true)[0], Products::tf32x3, multiprocessors);
      runInSampler(convolutionCases(g, random, true, inTf32)[0], Products::tf32, multiprocessors);
      runInSampler(convolutionCases(g, random, true, inBf16)[0], Products::bf16, multiprocessors);
    }
}

}  // namespace

Registration::Registration(const char* name, const char* signature, Launcher launch)
    : name(name), signature(signature), launch(launch), next(registrations) {
  registrations = this;
}

void Launch::refuse(const std::string& problem) { throw std::runtime_error(problem); }

}  // namespace cuda
}  // namespace langevin

int main() try {
  using namespace langevin;
  using namespace langevin::cuda;
  const bool tensorCores = theGpu().major >= 8;
  Random random(7);
  runProducts(Precision::float32, asItIs, random);
  runAttention(Precision::float32, random);
  if (tensorCores) {
    runProducts(Precision::tf32, inTf32, random);
    runAttention(Precision::tf32, random);
    runProducts(Precision::bf16, inBf16, random);
    runAttention(Precision::bf16, random);
    runSamplers(random);
  }
  std::printf("%d cases, %d wrong\n", cases, failures);
  return failures == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::printf("%s\n", error.what());
  return 1;
}
