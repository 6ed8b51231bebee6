// The one header that CUDA kernels include: everything they ask of a GPU, under names that also mean something on the host.
//
// Compiled by nvcc, kernels are kernels (intrinsics.h). Compiled by an ordinary C++ compiler, a launch runs every CUDA thread
// of a block as a fiber (host/), with barriers, warp operations, shared memory, asynchronous copies and tensor-core products,
// and finds what a GPU would punish: divergent barriers, overruns of shared memory, copies that nobody waited for.
//
//   GPU_LAUNCH(kernel, grid, block, stream, ...)               kernels with template arguments go in parentheses
//   GPU_LAUNCH_SHARED(kernel, grid, block, bytes, stream, ...) with so much dynamic shared memory
//   GPU_SHARED(type, name, count)                              an array in shared memory; its content is undefined; a kernel's
//                                                              arrays take 16 KiB at most
//   GPU_DYNAMIC_SHARED(name)                                   the block's dynamic shared memory, aligned to 128 bytes
//   GPU_UNROLL                                                 before a loop: unrolls it, so that arrays stay in registers
//   GPU_NO_UNROLL                                              before a loop: leaves it, where unrolling costs registers
//
// CUDA's own: threadIdx and company; __syncthreads, __syncthreads_count, __syncthreads_or, __syncwarp; __shfl_sync,
// __shfl_xor_sync, __shfl_down_sync, __shfl_up_sync; __ballot_sync, __any_sync, __all_sync; atomicAdd, atomicMax, atomicMin,
// atomicOr, atomicExch, atomicCAS; __ldg; float2, float4, uint2, uint4. The rest lies in namespace gpu. Where lanes meet, a
// block must have whole warps of 32 threads.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#include "intrinsics.h"
#else
#include "host/language.h"
#endif

namespace gpu {

constexpr unsigned kWarp = 32;
constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

// The top half of a float32: 8 bits of significand.
struct Bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float toFloat(Bf16 x) { return floatFromBits(static_cast<uint32_t>(x.bits) << 16); }

}  // namespace gpu
