// What gpu.h promises, as nvcc and the GPU have it: launches, and PTX instructions under names.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>

#include "shared_limits.h"

#define GPU_LAUNCH(kernel, grid, block, stream, ...) (kernel)<<<grid, block, 0, stream>>>(__VA_ARGS__)
#define GPU_LAUNCH_SHARED(kernel, grid, block, bytes, stream, ...)             \
  do {                                                                         \
    if (gpu::allowShared(reinterpret_cast<const void*>(kernel), bytes))        \
      (kernel)<<<grid, block, bytes, stream>>>(__VA_ARGS__);                   \
  } while (false)

#define GPU_UNROLL _Pragma("unroll")
#define GPU_NO_UNROLL _Pragma("unroll 1")
#define GPU_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define GPU_DYNAMIC_SHARED(name)                              \
  extern __shared__ __align__(128) unsigned char gpuDynamic[]; \
  unsigned char* const name = gpuDynamic

namespace gpu {

using Stream = cudaStream_t;

// Why the last launch failed; null where it did not.
inline const char* launchProblem() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Allows a kernel all the dynamic shared memory that the GPU has beside the kernel's own arrays: always the same, as what a
// launch allows holds for all later ones, those of graphs and of other threads among them. launchProblem tells of a failure.
inline bool allowShared(const void* kernel, size_t bytes) {
  if (bytes <= kDynamicUnasked) return true;
  static std::mutex mutex;
  static std::set<const void*> allowed;  // asking takes as long as a launch
  const std::lock_guard<std::mutex> lock(mutex);
  if (allowed.count(kernel) > 0) return true;
  int device = 0;
  int most = 0;
  cudaFuncAttributes attributes;
  const bool good = cudaGetDevice(&device) == cudaSuccess &&
                    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess &&
                    cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess &&
                    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         most - static_cast<int>(attributes.sharedSizeBytes)) == cudaSuccess;
  if (good) allowed.insert(kernel);
  return good;
}

__device__ __forceinline__ float floatFromBits(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ uint32_t bitsOfFloat(float x) { return __float_as_uint(x); }

// a * b + c, rounded once: for accumulation loops.
__device__ __forceinline__ float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }

// Correctly rounded, whatever the compiler's flags.
__device__ __forceinline__ float divide(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float squareRoot(float a) { return __fsqrt_rn(a); }

// 2^x, off by at most 2^-22 of it. Subnormal results are 0.
__device__ __forceinline__ float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats rounded to bf16 (to nearest, ties to even), the first in the low half.
__device__ __forceinline__ uint32_t packBf16(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  const auto half = [](float x) {
    const uint32_t bits = __float_as_uint(x);
    return x != x ? 0x7FFFu : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  };
  return half(low) | half(high) << 16;
#endif
}

// The same number, of which the compiler knows nothing any more: so it does not work out ahead, in registers that others need,
// what follows from it.
__device__ __forceinline__ float opaque(float x) {
  asm volatile("" : "+f"(x));
  return x;
}
__device__ __forceinline__ int opaque(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// From global memory that nobody writes meanwhile, and that is too much for the first-level cache: what else is there stays.
__device__ __forceinline__ float4 loadStreamed(const float4* p) {
  float4 x;
  asm("ld.global.L1::evict_first.v4.f32 {%0,%1,%2,%3}, [%4];"
      : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
      : "l"(__cvta_generic_to_global(p)));
  return x;
}

// Rounded to tf32 (11 bits of significand, to nearest, ties away from zero), as the bits of a float.
__device__ __forceinline__ uint32_t toTf32(float x) {
#if __CUDA_ARCH__ >= 800
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#else
  return __float_as_uint(x);
#endif
}

// Tensor-core products need sm_80: launchers refuse them by name on older GPUs, for which kernels leave them out.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kTensorCores = false;
#else
constexpr bool kTensorCores = true;
#endif

// Ends the kernel with an error.
__device__ __forceinline__ void trap() { __trap(); }

// d += a b for a warp: a [16, 16] and b [16, 8] of bf16, d [16, 8] of float32, spread over lanes as PTX's m16n8k16 says.
__device__ __forceinline__ void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  trap();
#endif
}

// d += a b for a warp: a [16, 8] and b [8, 8] of tf32, d [16, 8] of float32, spread over lanes as PTX's m16n8k8 says.
__device__ __forceinline__ void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  trap();
#endif
}

__device__ __forceinline__ uint32_t sharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Matrices of 8 rows of 16 bytes from shared memory: lane i gives the address of row i % 8 of matrix i / 8, and of each
// matrix takes the 4 bytes at column 4 (lane % 4) of row lane / 4.
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(sharedAddress(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(sharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row))
               : "memory");
}

// The same with each matrix, of 8 x 8 halves, transposed.
__device__ __forceinline__ void ldmatrixTransposed(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(sharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrixTransposed(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(sharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrixTransposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row))
               : "memory");
}

// Starts to copy 4, 8 or 16 bytes (both sides aligned to as much) from global to shared memory; zeros where `inside` is
// false, and then `from` is not read. The bytes are there after waitCopies, for other threads after a barrier beyond that.
// Before sm_80 the copy is done at once.
template <int bytes>
__device__ __forceinline__ void copyAsync(void* to, const void* from, bool inside) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
#if __CUDA_ARCH__ >= 800
  const int size = inside ? bytes : 0;
  // Sixteen bytes may pass by the first-level cache.
  if (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(size) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(sharedAddress(to)), "l"(from), "n"(bytes), "r"(size)
                 : "memory");
#else
  if (bytes == 16) *static_cast<uint4*>(to) = inside ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
  if (bytes == 8) *static_cast<uint2*>(to) = inside ? *static_cast<const uint2*>(from) : uint2{0, 0};
  if (bytes == 4) *static_cast<uint32_t*>(to) = inside ? *static_cast<const uint32_t*>(from) : 0u;
#endif
}

// Closes a group of copies: all that this thread has started since the last one.
__device__ __forceinline__ void commitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `groups` of this thread's groups, the latest, are under way.
template <int groups>
__device__ __forceinline__ void waitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
#endif
}

}  // namespace gpu
