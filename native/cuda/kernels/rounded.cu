// Rounds operands of products to bf16 (rounded.cuh), two elements a thread.
#include "rounded.cuh"

#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kAligned = 8;  // elements in 16 bytes

struct Rows {
  const float* x;
  int64_t pitch, columns, pairs, count;  // pairs of a row, and of all rows
  uint32_t* y;
};

// Operand blockIdx.y. Elements that lie beside the end of a row become zeros.
__global__ void __launch_bounds__(kThreads) roundRows(const Rows a, const Rows b) {
  const Rows r = blockIdx.y == 0 ? a : b;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < r.count; i += step) {
    const int64_t row = i / r.pairs, column = (i - row * r.pairs) * 2;
    const float* const from = r.x + row * r.pitch + column;
    r.y[i] = gpu::packBf16(column < r.columns ? from[0] : 0.0f, column + 1 < r.columns ? from[1] : 0.0f);
  }
}

Rows rowsOf(const Operand& x, Launch& launch) {
  const int64_t pairs = ceilDivide(x.cols(), kAligned) * kAligned / 2, count = x.rows() * pairs;
  void* const y = launch.scratch(static_cast<size_t>(count) * sizeof(uint32_t));
  return {x.as<const float>(), x.pitch, x.cols(), pairs, count, static_cast<uint32_t*>(y)};
}

Pitched<const gpu::Bf16> rounded(const Rows& r) { return {reinterpret_cast<const gpu::Bf16*>(r.y), 2 * r.pairs}; }

}  // namespace

InBf16 inBf16(const Operand& a, const Operand& b, Launch& launch) {
  const Rows first = rowsOf(a, launch), second = rowsOf(b, launch);
  const int64_t blocks = ceilDivide(first.count > second.count ? first.count : second.count, kThreads);
  if (blocks > 0)
    GPU_LAUNCH(roundRows, dim3(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), 2), dim3(kThreads),
               launch.stream(), first, second);
  return {rounded(first), rounded(second)};
}

}  // namespace cuda
}  // namespace langevin
