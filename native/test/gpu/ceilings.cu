// Measures the most that the first GPU does, and prints it as JSON: a copy in memory, float32 by fma, products of mma.sync in tf32
// and bf16, and the distance of two empty kernels in a graph.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../../cuda/intrinsics.h"

namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

constexpr size_t kCopied = size_t{1} << 28;  // bytes of each array: beyond any cache
constexpr int kThreads = 256;
constexpr int kRepeats = 20;
constexpr int kSums = 4096;  // of each warp and accumulator
constexpr int kAccumulators = 8;
constexpr int kEmptyKernels = 1000;
constexpr double kWarmUp = 0.5;  // seconds, until clocks have risen

__global__ void copyQuads(float4* to, const float4* from, size_t quads) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < quads; i += step) to[i] = from[i];
}

// A multiplication and an addition for each fma, and m16n8k8 or m16n8k16 of them for an instruction of a warp.
struct Fma {
  static constexpr double kOperations = 2.0 * 32 * 4;
  static __device__ void add(float (&d)[4], uint32_t one) {
    const float x = gpu::floatFromBits(one);
    for (float& sum : d) sum = fmaf(sum, x, x);
  }
};
struct Tf32 {
  static constexpr double kOperations = 2.0 * 16 * 8 * 8;
  static __device__ void add(float (&d)[4], uint32_t one) {
    const uint32_t a[4] = {one, one, one, one}, b[2] = {one, one};
    gpu::mmaTf32(d, a, b);
  }
};
struct Bf16 {
  static constexpr double kOperations = 2.0 * 16 * 8 * 16;
  static __device__ void add(float (&d)[4], uint32_t one) {
    const uint32_t a[4] = {one, one, one, one}, b[2] = {one, one};
    gpu::mmaBf16(d, a, b);
  }
};

// Independent sums in registers: nothing but the units that compute limits them.
template <class Unit>
__global__ void compute(float* out, uint32_t one) {
  float d[kAccumulators][4] = {};
  for (int i = 0; i < kSums; i++)
#pragma unroll
    for (int k = 0; k < kAccumulators; k++) Unit::add(d[k], one);
  float sum = 0;
  for (int k = 0; k < kAccumulators; k++) sum += d[k][0] + d[k][1] + d[k][2] + d[k][3];
  out[size_t{blockIdx.x} * blockDim.x + threadIdx.x] = sum;
}

__global__ void doNothing() {}

class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    check(cudaEventCreate(&begin_), "an event");
    check(cudaEventCreate(&end_), "an event");
  }
  // Seconds of the fastest of some runs.
  template <class F>
  double best(const F& run) {
    double least = once(run);
    for (int i = 0; i < kRepeats; i++) {
      const double seconds = once(run);
      least = seconds < least ? seconds : least;
    }
    return least;
  }

  template <class F>
  double once(const F& run) {
    check(cudaEventRecord(begin_, stream_), "an event");
    run();
    check(cudaGetLastError(), "a launch");
    check(cudaEventRecord(end_, stream_), "an event");
    check(cudaEventSynchronize(end_), "a kernel");
    float ms;
    check(cudaEventElapsedTime(&ms, begin_, end_), "an event");
    return static_cast<double>(ms) / 1e3;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_, end_;
};

cudaGraphExec_t emptyKernels(cudaStream_t stream) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "a capture");
  for (int i = 0; i < kEmptyKernels; i++) doNothing<<<1, 32, 0, stream>>>();
  check(cudaStreamEndCapture(stream, &graph), "a capture");
  check(cudaGraphInstantiateWithFlags(&executable, graph, 0), "a graph");
  return executable;
}

}  // namespace

int main() {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "the first GPU");
  const int blocks = properties.multiProcessorCount * 8;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "a stream");
  Stopwatch stopwatch(stream);

  void *from, *to;
  check(cudaMalloc(&from, kCopied), "memory");
  check(cudaMalloc(&to, kCopied), "memory");
  check(cudaMemset(from, 1, kCopied), "memory");
  const auto run = [&](auto unit) {
    compute<decltype(unit)><<<blocks, kThreads, 0, stream>>>(static_cast<float*>(to), 0x3F803F80u);
  };
  const auto rate = [&](auto unit) {
    const double each = unit.kOperations * kSums * kAccumulators * (kThreads / 32) * blocks;
    return each / stopwatch.best([&] { run(unit); });
  };
  const bool tensorCores = properties.major >= 8;
  for (double spent = 0; spent < kWarmUp;) spent += stopwatch.once([&] { tensorCores ? run(Bf16{}) : run(Fma{}); });

  const double copy = stopwatch.best([&] {
    copyQuads<<<blocks, kThreads, 0, stream>>>(static_cast<float4*>(to), static_cast<const float4*>(from), kCopied / sizeof(float4));
  });

  const cudaGraphExec_t graph = emptyKernels(stream);
  const double launches = stopwatch.best([&] { check(cudaGraphLaunch(graph, stream), "a graph"); });

  std::printf("{\"device\":\"%s\",\"multiprocessors\":%d,\"copyGbps\":%.1f,\"float32Tflops\":%.2f,\"tf32Tflops\":%.1f,"
              "\"bf16Tflops\":%.1f,\"launchUs\":%.3f}\n",
              properties.name, properties.multiProcessorCount, 2.0 * kCopied / copy / 1e9, rate(Fma{}) / 1e12,
              tensorCores ? rate(Tf32{}) / 1e12 : 0, tensorCores ? rate(Bf16{}) / 1e12 : 0, launches / kEmptyKernels * 1e6);
}
