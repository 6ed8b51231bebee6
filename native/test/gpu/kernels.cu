// Runs products of many odd shapes on the first GPU, each in memory of its exact size, and compares with double precision: a
// small program for compute-sanitizer. It is linked with the sources of native/cuda/kernels.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../cuda/launch.h"
#include "../cases.h"

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

class DeviceLaunch final : public Launch {
 public:
  DeviceLaunch() : fault_(sizeof(unsigned long long)) {
    check(cudaMemset(fault_.data(), 0, sizeof(unsigned long long)), "memory");
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "the first GPU");
    multiprocessors_ = properties.multiProcessorCount;
  }
  cudaStream_t stream() const override { return nullptr; }
  int multiprocessors() const override { return multiprocessors_; }
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
  int multiprocessors_;
};

Launcher launcherNamed(const std::string& name) {
  for (const Registration* at = registrations; at != nullptr; at = at->next)
    if (name == at->name) return at->launch;
  std::fprintf(stderr, "no CUDA kernel %s\n", name.c_str());
  std::exit(2);
}

void run(const Case& c) {
  std::vector<DeviceBytes> memory;
  std::vector<Operand> operands;
  for (size_t i = 0; i < c.inputs.size(); i++) {
    operands.push_back(c.inputs[i].present() ? c.inputs[i].operand(c.dtypes[i]) : Operand());
    if (!c.inputs[i].present()) continue;
    const size_t bytes = static_cast<size_t>(c.inputs[i].extent()) * sizeof(float);
    memory.emplace_back(bytes);
    check(cudaMemcpy(memory.back().data(), operands[i].data, bytes, cudaMemcpyHostToDevice), c.label);
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
  DeviceLaunch launch;
  launcherNamed(c.kernel)(command, launch);
  check(cudaGetLastError(), c.label);
  check(cudaDeviceSynchronize(), c.label);
  check(cudaMemcpy(result.operand().data, output.data(), bytes, cudaMemcpyDeviceToHost), c.label);
  cases++;
  for (int64_t i = 0; i < result.size(); i++) {
    const double got = static_cast<double>(result.at(i)), want = c.expected[static_cast<size_t>(i)];
    if (std::fabs(got - want) <= c.tolerance) continue;
    std::printf("%s element %ld: %.9g instead of %.9g\n", c.label.c_str(), static_cast<long>(i), got, want);
    failures++;
    return;
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

int main() {
  using namespace langevin;
  Random random(7);
  Geometry padded{2, 9, 7, 5, 11, 3, 3};
  padded.top = padded.bottom = padded.left = padded.right = 1;
  Geometry strided{3, 8, 11, 17, 33, 3, 3};
  strided.sy = strided.sx = 2;
  strided.bottom = strided.right = 1;
  for (const Geometry& g : {padded, strided, Geometry{1, 5, 5, 65, 3, 1, 1}, Geometry{2, 16, 16, 64, 64, 3, 3}})
    for (const bool bias : {false, true})
      for (const Case& c : convolutionCases(g, random, bias)) cuda::run(c);
  for (const bool a : {false, true})
    for (const bool b : {false, true}) {
      cuda::run(matmulCase(37, 65, 19, a, b, a != b, random));
      cuda::run(matmulCase(129, 33, 130, a, b, false, random));
      cuda::run(batchedMatmulCase({3}, {3}, 17, 40, 9, a, b, false, random));
    }
  std::printf("%d cases, %d wrong\n", cuda::cases, cuda::failures);
  return cuda::failures == 0 ? 0 : 1;
}
