// Runs the CUDA kernel of the fused DDPM step on arrays from a file: on the host when compiled by a C++ compiler, on the
// GPU when compiled by nvcc (`nvcc --fmad=false -x cu`). Usage: ddpm_step_host INPUT OUTPUT
//
// INPUT, little-endian: int64 images, elements, steps, hasZ, seed (bits), draw, image, step; then x, epsilon [images x elements] float32,
// t [images] int32, coefficients [steps x 3] float32, z [images x elements] float32 where hasZ. OUTPUT: [images x elements] float32.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "../cuda/kernels/ddpm_step.cuh"

using langevin::cuda::DdpmStep;
using langevin::cuda::runDdpmStep;

static void demand(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "ddpm_step_host: %s\n", what);
  std::exit(1);
}

template <class T>
static std::vector<T> readArray(std::ifstream& file, int64_t n) {
  std::vector<T> array(static_cast<size_t>(n));
  file.read(reinterpret_cast<char*>(array.data()), static_cast<std::streamsize>(n * sizeof(T)));
  demand(file.good(), "the input file is too short");
  return array;
}

#if defined(__CUDACC__)
template <class T>
static T* onDevice(const std::vector<T>& host) {
  T* device = nullptr;
  demand(cudaMalloc(&device, host.size() * sizeof(T)) == cudaSuccess, "cudaMalloc failed");
  demand(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess, "copy failed");
  return device;
}
template <class T>
static void fetch(std::vector<T>& host, const T* device) {
  demand(cudaMemcpy(host.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess, "the step failed");
}
#else
template <class T>
static T* onDevice(std::vector<T>& host) {
  return host.data();
}
template <class T>
static void fetch(std::vector<T>&, const T*) {}
#endif

int main(int count, char** arguments) {
  demand(count == 3, "usage: ddpm_step_host INPUT OUTPUT");
  std::ifstream file(arguments[1], std::ios::binary);
  const std::vector<int64_t> head = readArray<int64_t>(file, 8);
  const int64_t size = head[0] * head[1];
  std::vector<float> x = readArray<float>(file, size), epsilon = readArray<float>(file, size);
  std::vector<int32_t> t = readArray<int32_t>(file, head[0]);
  std::vector<float> coefficients = readArray<float>(file, 3 * head[2]);
  std::vector<float> z = readArray<float>(file, head[3] ? size : 0);
  std::vector<float> output(static_cast<size_t>(size), __builtin_nanf(""));

  DdpmStep step{};
  step.output = onDevice(output);
  step.x = onDevice(x);
  step.epsilon = onDevice(epsilon);
  step.t = onDevice(t);
  step.coefficients = onDevice(coefficients);
  step.z = head[3] ? onDevice(z) : nullptr;
  step.images = head[0];
  step.elements = head[1];
  step.steps = static_cast<int32_t>(head[2]);
  step.seed = static_cast<uint64_t>(head[4]);
  step.draw = static_cast<uint32_t>(head[5]);
  step.image = static_cast<uint32_t>(head[6]);
  step.step = static_cast<uint32_t>(head[7]);
  const char* problem = runDdpmStep(step, gpu::Stream{});
  demand(problem == nullptr, problem == nullptr ? "" : problem);
  fetch(output, step.output);

  std::ofstream result(arguments[2], std::ios::binary);
  result.write(reinterpret_cast<const char*>(output.data()), static_cast<std::streamsize>(size * sizeof(float)));
  result.close();
  demand(result.good(), "the output file was not written");
  return 0;
}
