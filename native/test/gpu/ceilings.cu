// Measures the most that the first GPU does, and prints it as JSON: a copy in memory, bf16 products of mma.sync, and the
// distance of two empty kernels in a graph.
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
constexpr int kProducts = 4096;  // of each warp and accumulator
constexpr int kAccumulators = 8;
constexpr int kEmptyKernels = 1000;

__global__ void copyQuads(float4* to, const float4* from, size_t quads) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < quads; i += step) to[i] = from[i];
}

// Independent products from registers: nothing but tensor cores limits them.
__global__ void multiplyBf16(float* out, uint32_t one) {
  float d[kAccumulators][4] = {};
  const uint32_t a[4] = {one, one, one, one}, b[2] = {one, one};
  for (int i = 0; i < kProducts; i++)
#pragma unroll
    for (int k = 0; k < kAccumulators; k++) gpu::mmaBf16(d[k], a, b);
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
    run();
    check(cudaGetLastError(), "a launch");
    float least = 1e30f;
    for (int i = 0; i < kRepeats; i++) {
      check(cudaEventRecord(begin_, stream_), "an event");
      run();
      check(cudaEventRecord(end_, stream_), "an event");
      check(cudaEventSynchronize(end_), "a kernel");
      float ms;
      check(cudaEventElapsedTime(&ms, begin_, end_), "an event");
      least = ms < least ? ms : least;
    }
    return static_cast<double>(least) / 1e3;
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
  const double copy = stopwatch.best([&] {
    copyQuads<<<blocks, kThreads, 0, stream>>>(static_cast<float4*>(to), static_cast<const float4*>(from), kCopied / sizeof(float4));
  });

  double products = 0;
  if (properties.major >= 8) {
    const double seconds = stopwatch.best([&] {
      multiplyBf16<<<blocks, kThreads, 0, stream>>>(static_cast<float*>(to), 0x3F803F80u);
    });
    // m16n8k16: a multiplication and an addition for each.
    const double each = 2.0 * 16 * 8 * 16;
    products = each * kProducts * kAccumulators * (kThreads / 32) * blocks / seconds;
  }

  const cudaGraphExec_t graph = emptyKernels(stream);
  const double launches = stopwatch.best([&] { check(cudaGraphLaunch(graph, stream), "a graph"); });

  std::printf("{\"device\":\"%s\",\"multiprocessors\":%d,\"copyGbps\":%.1f,\"bf16Tflops\":%.1f,\"launchUs\":%.3f}\n",
              properties.name, properties.multiProcessorCount, 2.0 * kCopied / copy / 1e9, products / 1e12,
              launches / kEmptyKernels * 1e6);
}
