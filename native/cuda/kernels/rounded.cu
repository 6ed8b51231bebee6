// Rounds operands of products to bf16 (rounded.cuh), two elements a thread.
#include "rounded.cuh"

#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kAligned = 8;  // elements in 16 bytes

// Pairs that lie beside the end of a row get a zero.
__global__ void __launch_bounds__(kThreads)
    roundRows(const float* x, const int64_t pitch, const int64_t columns, const int64_t pairs, const int64_t count, uint32_t* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const int64_t row = i / pairs, column = (i - row * pairs) * 2;
    const float* const from = x + row * pitch + column;
    y[i] = gpu::packBf16(column < columns ? from[0] : 0.0f, column + 1 < columns ? from[1] : 0.0f);
  }
}

}  // namespace

Pitched<const gpu::Bf16> inBf16(const Operand& x, Launch& launch) {
  const int64_t pitch = ceilDivide(x.cols(), kAligned) * kAligned, pairs = pitch / 2, count = x.rows() * pairs;
  uint32_t* const y = static_cast<uint32_t*>(launch.scratch(static_cast<size_t>(count) * sizeof(uint32_t)));
  const int64_t blocks = ceilDivide(count, kThreads);
  if (count > 0)
    GPU_LAUNCH(roundRows, dim3(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks)), dim3(kThreads),
               launch.stream(), x.as<const float>(), x.pitch, x.cols(), pairs, count, y);
  return {reinterpret_cast<const gpu::Bf16*>(y), pitch};
}

}  // namespace cuda
}  // namespace langevin
