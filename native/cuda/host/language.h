// What gpu.h promises, for an ordinary C++ compiler: CUDA's words, and launches that run on the host (machine.h).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "machine.h"
#include "stream.h"
#include "warp.h"

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

// For loops on GPUs; here the compiler does as it likes.
#define GPU_UNROLL
#define GPU_NO_UNROLL

#define threadIdx (gpu::host::thisThread->index)
#define blockIdx (gpu::host::blockIndex())
#define blockDim (gpu::host::blockSize())
#define gridDim (gpu::host::gridSize())

#define GPU_HERE \
  gpu::host::Site { __FILE__, __LINE__ }

// The launching function tells template arguments that the kernel's name may be written with.
#define GPU_LAUNCH_SHARED(kernel, grid, block, bytes, stream, ...) \
  gpu::launchOnHost(#kernel, __PRETTY_FUNCTION__, kernel, grid, block, bytes, stream, __VA_ARGS__)
#define GPU_LAUNCH(kernel, grid, block, stream, ...) GPU_LAUNCH_SHARED(kernel, grid, block, 0, stream, __VA_ARGS__)

#define GPU_SHARED(type, name, count)                                                 \
  static const gpu::host::SharedArray name##Declaration(#name, sizeof(type) * (count)); \
  type* const name = static_cast<type*>(name##Declaration.memory())
#define GPU_DYNAMIC_SHARED(name) unsigned char* const name = static_cast<unsigned char*>(gpu::host::dynamicShared())

#define __syncthreads() ((void)gpu::host::waitForBlock(GPU_HERE, 0))
#define __syncthreads_count(predicate) static_cast<int>(gpu::host::waitForBlock(GPU_HERE, (predicate) ? 1 : 0))
#define __syncthreads_or(predicate) static_cast<int>(gpu::host::waitForBlock(GPU_HERE, (predicate) ? 1 : 0) != 0)
#define __syncwarp(...) gpu::host::waitForWarp(gpu::maskOrAll(__VA_ARGS__), GPU_HERE)
#define __shfl_sync(mask, value, lane) gpu::host::shuffle(mask, value, static_cast<unsigned>(lane) % 32, GPU_HERE)
#define __shfl_xor_sync(mask, value, bits) \
  gpu::host::shuffle(mask, value, (gpu::host::thisThread->lane ^ static_cast<unsigned>(bits)) % 32, GPU_HERE)
#define __shfl_down_sync(mask, value, by) gpu::host::shuffle(mask, value, gpu::laneBelow(by), GPU_HERE)
#define __shfl_up_sync(mask, value, by) gpu::host::shuffle(mask, value, gpu::laneAbove(by), GPU_HERE)
#define __ballot_sync(mask, predicate) gpu::host::ballot(mask, predicate, GPU_HERE)
#define __any_sync(mask, predicate) (gpu::host::ballot(mask, predicate, GPU_HERE) != 0)
#define __all_sync(mask, predicate) (gpu::host::ballot(mask, predicate, GPU_HERE) == (mask))

// Blocks run at the same time, so these are atomic; relaxed, so that they order nothing, as on a GPU.
template <class T, class F>
T gpuAtomically(T* p, const F& f) {
  T old, updated;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do {
    updated = f(old);
  } while (!__atomic_compare_exchange(p, &old, &updated, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T>
T atomicAdd(T* p, T value) {
  return gpuAtomically(p, [=](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMax(T* p, T value) {
  return gpuAtomically(p, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* p, T value) {
  return gpuAtomically(p, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicOr(T* p, T value) {
  return gpuAtomically(p, [=](T old) { return static_cast<T>(old | value); });
}
template <class T>
T atomicExch(T* p, T value) {
  return gpuAtomically(p, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* p, T expected, T value) {
  return gpuAtomically(p, [=](T old) { return old == expected ? value : old; });
}

template <class T>
T __ldg(const T* p) {
  return *p;
}

namespace gpu {

// Null: the kernel runs before the launch returns, and a fault of it ends the process.
using Stream = cudaStream_t;

// Why the last launch of this thread without a stream failed; null where it did not.
const char* launchProblem();

// Hands the call to the stream, where a fault of it is thrown as a std::runtime_error; or runs it at once.
void dispatch(Stream stream, host::KernelCall call);

template <class... Parameters, class... Arguments>
void launchOnHost(const char* name, const char* launcher, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                  size_t sharedBytes, Stream stream, const Arguments&... arguments) {
  const std::tuple<Parameters...> bound(arguments...);
  dispatch(stream, {name, launcher, grid, block, sharedBytes, [kernel, bound] { std::apply(kernel, bound); }});
}

inline uint32_t maskOrAll(uint32_t mask = 0xFFFFFFFFu) { return mask; }

// Shuffles by a distance give a lane its own value where there is no other.
inline unsigned laneBelow(unsigned by) {
  const unsigned lane = host::thisThread->lane;
  return lane + by < 32 ? lane + by : lane;
}
inline unsigned laneAbove(unsigned by) {
  const unsigned lane = host::thisThread->lane;
  return lane >= by ? lane - by : lane;
}

inline float floatFromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline uint32_t bitsOfFloat(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

// The product is exact in double; rounding the sum twice differs from a true fma in about one of 2^29 cases, by one bit.
inline float fma(float a, float b, float c) {
  return static_cast<float>(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
}

constexpr bool kTensorCores = true;

inline void trap(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { host::fault("stopped itself", {file, line}); }

inline float divide(float a, float b) { return a / b; }
inline float squareRoot(float a) { return std::sqrt(a); }
inline float exp2(float x) { return std::exp2(x); }

inline float opaque(float x) { return x; }
inline int opaque(int x) { return x; }
inline float4 loadStreamed(const float4* p) { return *p; }

inline uint32_t halfOf(float x) {
  const uint32_t bits = bitsOfFloat(x);
  return x != x ? 0x7FFFu : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}
inline uint32_t packBf16(float low, float high) { return halfOf(low) | halfOf(high) << 16; }

inline uint32_t toTf32(float x) {
  const uint32_t bits = bitsOfFloat(x);
  const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
  return finite ? (bits + 0x1000u) & 0xFFFFE000u : bits;
}

// The caller's place comes by itself.
inline void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
  host::multiplyBf16(d, a, b, {file, line});
}
inline void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
  host::multiplyTf32(d, a, b, {file, line});
}
template <int matrices>
void ldmatrix(uint32_t (&r)[matrices], const void* row, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  host::loadMatrices(r, matrices, false, row, {file, line});
}
template <int matrices>
void ldmatrixTransposed(uint32_t (&r)[matrices], const void* row, const char* file = __builtin_FILE(),
                        int line = __builtin_LINE()) {
  host::loadMatrices(r, matrices, true, row, {file, line});
}
template <int bytes>
void copyAsync(void* to, const void* from, bool inside, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
  host::startCopy(to, inside ? from : nullptr, bytes, {file, line});
}
inline void commitCopies() { host::closeCopyGroup(); }
template <int groups>
void waitCopies() {
  host::waitForCopies(groups);
}

}  // namespace gpu
