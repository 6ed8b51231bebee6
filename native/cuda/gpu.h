// The one header that CUDA kernels include: thin names for what differs between a GPU and the host.
//
// Compiled by nvcc, kernels are kernels. Compiled by an ordinary C++ compiler, a launch runs every thread of the grid in a
// plain loop, one after the other, so that the arithmetic of a kernel can be tested on a machine without a GPU. Threads
// cannot wait for each other then: shared memory, barriers, warp operations and atomics do not compile on the host.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)

#include <cuda_runtime.h>

// Launches `kernel` over `grid` blocks of `block` threads.
#define GPU_LAUNCH(kernel, grid, block, stream, ...) (kernel)<<<grid, block, 0, stream>>>(__VA_ARGS__)

namespace gpu {
using Stream = cudaStream_t;
// Why the last launch failed; null where it did not.
inline const char* launchProblem() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
}  // namespace gpu

#else

#include "host/stream.h"

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace gpu {

using Stream = cudaStream_t;
inline const char* launchProblem() { return nullptr; }

// Where the running thread is.
inline thread_local dim3 hostThread, hostBlock, hostBlockSize, hostGrid;

template <class Kernel, class... Arguments>
void runThreads(Kernel kernel, dim3 grid, dim3 block, Arguments... arguments) {
  hostGrid = grid;
  hostBlockSize = block;
  for (unsigned by = 0; by < grid.y; by++)
    for (unsigned bx = 0; bx < grid.x; bx++)
      for (unsigned ty = 0; ty < block.y; ty++)
        for (unsigned tx = 0; tx < block.x; tx++) {
          hostBlock = dim3(bx, by);
          hostThread = dim3(tx, ty);
          kernel(arguments...);
        }
}

template <class Kernel, class... Arguments>
void runOnHost(Kernel kernel, dim3 grid, dim3 block, Stream stream, Arguments... arguments) {
  langevin::cuda::host::launch(stream, {{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, 0},
                               [=] { runThreads(kernel, grid, block, arguments...); });
}

template <class...>
constexpr bool neverOnHost = false;
template <class... T>
void unsupported(T...) {
  static_assert(neverOnHost<T...>, "this host emulation runs threads one after the other: they cannot wait for each other");
}

}  // namespace gpu

#define GPU_LAUNCH(kernel, grid, block, stream, ...) gpu::runOnHost(kernel, grid, block, stream, __VA_ARGS__)
#define __global__ static
#define __device__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define threadIdx (gpu::hostThread)
#define blockIdx (gpu::hostBlock)
#define blockDim (gpu::hostBlockSize)
#define gridDim (gpu::hostGrid)
#define __shared__ static_assert(false, "shared memory needs threads that run together");
#define __syncthreads() gpu::unsupported(0)
#define __syncwarp(...) gpu::unsupported(0)

#endif
