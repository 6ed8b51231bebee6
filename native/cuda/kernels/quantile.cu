// quantile: elements of a given rank along the last axis, found byte by byte of their bits, without sorting.
//
// A block takes a row: it counts, for each value of a byte, the elements that agree in the bytes before, and descends to the
// value that the rank falls on. Counts are integers, so their atomic additions have no order.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kByte = 256;

// The bits of a float as a number that is ordered as floats are, and back.
__device__ __forceinline__ Word orderOf(Word bits) { return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u); }
__device__ __forceinline__ Word bitsOf(Word order) { return order ^ (order >> 31 ? 0x80000000u : 0xFFFFFFFFu); }
__device__ __forceinline__ bool isNaN(Word bits) { return (bits & 0x7FFFFFFFu) > 0x7F800000u; }

// Where a search is: the leading bytes found, and the rank among the elements that have them.
struct Search {
  Word found;
  unsigned rank;
};

// For all threads of a block: of n elements the one that `rank` others are sorted before.
__device__ float elementOf(const Word* x, unsigned n, unsigned rank, unsigned* counts, Search* shared) {
  Search search = {0, rank};
  Word known = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = static_cast<int>(threadIdx.x); i < kByte; i += static_cast<int>(kThreads)) counts[i] = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < n; i += kThreads) {
      const Word order = orderOf(x[i]);
      if ((order & known) == search.found) atomicAdd(&counts[order >> shift & 255u], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      Word byte = 0;
      while (search.rank >= counts[byte]) search.rank -= counts[byte++];
      search.found |= byte << shift;
      *shared = search;
    }
    __syncthreads();
    search = *shared;
    known |= 255u << shift;
  }
  // The next search writes to both.
  __syncthreads();
  return gpu::floatFromBits(bitsOf(search.found));
}

// Rows of x [rows, n]; y [rows / columns, columns].
__global__ void __launch_bounds__(kThreads) quantiles(const Word* x, const int64_t pitch, const unsigned n, const int64_t rows,
                                                      const double place, float* y, const int64_t columns, const int64_t yPitch) {
  GPU_SHARED(unsigned, counts, kByte);
  GPU_SHARED(Search, shared, 1);
  GPU_SHARED(unsigned, firstNaN, 1);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const Word* const from = x + row * pitch;
    if (threadIdx.x == 0) *firstNaN = n;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < n; i += kThreads)
      if (isNaN(from[i])) atomicMin(firstNaN, i);
    __syncthreads();
    const unsigned rank = static_cast<unsigned>(place);
    const double share = place - static_cast<double>(rank);
    float value;
    if (*firstNaN < n) {
      value = gpu::floatFromBits(from[*firstNaN]);
    } else {
      value = elementOf(from, n, rank, counts, shared);
      if (share > 0) {
        const double below = static_cast<double>(value), above = static_cast<double>(elementOf(from, n, rank + 1, counts, shared));
        value = static_cast<float>(below + share * (above - below));
      }
    }
    if (threadIdx.x == 0) y[row / columns * yPitch + row % columns] = value;
    __syncthreads();
  }
}

void quantile(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &x = command.inputs[0], &y = command.output;
  if (x.rows() == 0) return;
  if (x.cols() > INT32_MAX) Launch::refuse("rows of " + std::to_string(x.cols()) + " elements; on CUDA at most 2^31 - 1");
  const double place = command.attributes.f() * static_cast<double>(x.cols() - 1);
  GPU_LAUNCH(quantiles, gridFor(launch, x.rows() * kThreads), dim3(kThreads), launch.stream(), x.as<const Word>(), x.pitch,
             static_cast<unsigned>(x.cols()), x.rows(), place, y.as<float>(), y.cols(), y.pitch);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("quantile", "q:float", quantile)

}  // namespace cuda
}  // namespace langevin
