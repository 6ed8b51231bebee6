// Sums over warps and blocks in an order that is fixed: all threads get the same bits, from run to run.
#pragma once

#include "../gpu.h"

namespace langevin {
namespace cuda {

// Over the 32 lanes; T is float or double.
template <class T>
__device__ __forceinline__ T warpSum(T value) {
GPU_UNROLL
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(gpu::kAllLanes, value, distance);
  return value;
}

template <class T>
__device__ __forceinline__ T warpMax(T value) {
GPU_UNROLL
  for (int distance = 16; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(gpu::kAllLanes, value, distance);
    value = value < other || other != other ? other : value;  // a NaN wins
  }
  return value;
}

// Over a block of `threads` threads along x. Starts with a barrier, so that it may follow itself.
template <int threads, class T>
__device__ T blockSum(T value) {
  static_assert(threads % 32 == 0 && threads <= 1024, "a block has 1 to 32 whole warps");
  constexpr int warps = threads / 32;
  GPU_SHARED(T, partial, warps);
  value = warpSum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x % 32);
  return warpSum(lane < warps ? partial[lane] : T(0));
}

// Adds up, for each of `columns` columns, `rows` rows of shared memory; the sums are in row 0 afterwards. For all threads of
// the block; starts and ends with a barrier.
__device__ __forceinline__ void foldRows(float* values, int rows, int columns) {
  __syncthreads();
  for (int left = rows; left > 1;) {
    const int half = (left + 1) / 2;
    for (int i = static_cast<int>(threadIdx.x); i < (left - half) * columns; i += static_cast<int>(blockDim.x))
      values[i] += values[half * columns + i];
    __syncthreads();
    left = half;
  }
}

}  // namespace cuda
}  // namespace langevin
