// Rounds to bf16 what no other kernel has stored so (rounded.cuh), four elements a thread.
#include "rounded.cuh"

#include "../../core/extent.h"
#include "epilogue.cuh"
#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kAligned = 8;  // elements in 16 bytes

struct Rows {
  Pitched<const float> x;
  Pitched<gpu::Bf16> y;
  int64_t columns, runs, count;  // runs of a row, and of all rows
  bool loadsRuns, storesRuns;    // all four elements at a time
};

// Operand blockIdx.y.
__global__ void __launch_bounds__(kThreads) roundRows(const Rows a, const Rows b) {
  const Rows r = blockIdx.y == 0 ? a : b;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < r.count; i += step) {
    const int64_t row = i / r.runs, column = (i - row * r.runs) * kRun, left = r.columns - column;
    const int width = left < kRun ? static_cast<int>(left) : kRun;
    float run[kRun];
    loadRun(r.x.data + row * r.x.pitch + column, r.loadsRuns, width, run);
    gpu::Bf16* const to = r.y.data + row * r.y.pitch + column;
    if (r.storesRuns && width == kRun) {
      storeRounded(to, run);
    } else {
      GPU_UNROLL
      for (int k = 0; k < kRun; k++)
        if (k < width) storeRounded(to + k, run[k]);
    }
  }
}

// Whether four elements may be stored at a time.
bool inRuns(const Pitched<gpu::Bf16>& y) { return reinterpret_cast<uintptr_t>(y.data) % 8 == 0 && y.pitch % kRun == 0; }

Rows rowsOf(const Operand& x, Pitched<gpu::Bf16> y) {
  const int64_t runs = ceilDivide(x.cols(), kRun);
  return {inFloat32(x), y, x.cols(), runs, x.rows() * runs, areVectors(x.as<const float>(), x.pitch), inRuns(y)};
}

// Of operands that have rows: one, or the second one, too.
void enqueue(const Rows* operands, int count, Launch& launch) {
  if (count == 0) return;
  const Rows &a = operands[0], &b = operands[count - 1];
  const int64_t blocks = ceilDivide(a.count > b.count ? a.count : b.count, kThreads);
  if (blocks > 0)
    GPU_LAUNCH(roundRows, dim3(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), static_cast<unsigned>(count)),
               dim3(kThreads), launch.stream(), a, b);
}

Pitched<gpu::Bf16> scratchFor(const Operand& x, Launch& launch) {
  const int64_t pitch = ceilDivide(x.cols(), kAligned) * kAligned;
  return {static_cast<gpu::Bf16*>(launch.scratch(static_cast<size_t>(x.rows() * pitch) * sizeof(gpu::Bf16))), pitch};
}

void roundToBf16(Command& command, Launch& launch) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (x.dtype != DType::f32 || y.dtype != DType::bf16) Launch::refuse("expected float32 to bfloat16");
  const Rows rows = rowsOf(x, {y.as<gpu::Bf16>(), y.pitch});
  enqueue(&rows, 1, launch);
}

}  // namespace

void expectFactors(const Command& command, Launch& launch) {
  constexpr int factors = 2;
  expectFloat32(command, factors);
  for (int i = 0; i < factors; i++) {
    const DType dtype = command.inputs[i].dtype;
    if (dtype != DType::f32 && !(dtype == DType::bf16 && launch.precision() == Precision::bf16))
      Launch::refuse("expected float32 operands");
  }
}

InBf16 inBf16(const Operand& a, const Operand& b, Launch& launch) {
  Rows rows[2];
  int count = 0;
  const auto stored = [&](const Operand& x) -> Pitched<const gpu::Bf16> {
    if (x.dtype == DType::bf16) return {x.as<const gpu::Bf16>(), x.pitch};
    const Pitched<gpu::Bf16> y = scratchFor(x, launch);
    rows[count++] = rowsOf(x, y);
    return {y.data, y.pitch};
  };
  const InBf16 both{stored(a), stored(b)};
  enqueue(rows, count, launch);
  return both;
}

Target targetOf(const Operand& result, Launch& launch) {
  const Pitched<float> whole{result.as<float>(), result.pitch};
  const Follower* const follower = launch.follower();
  if (follower == nullptr || follower->op != "roundToBf16" || result.cols() % kRun != 0) return {whole, {}};
  const Operand& output = follower->command.output;
  const Pitched<gpu::Bf16> rounded{output.as<gpu::Bf16>(), output.pitch};
  if (!haveSameShape(output, result) || !inRuns(rounded)) return {whole, {}};
  const bool both = follower->resultNeeded;
  launch.takeFollower();
  return {both ? whole : Pitched<float>{}, rounded};
}

LANGEVIN_CUDA_KERNEL("roundToBf16", "", roundToBf16)

}  // namespace cuda
}  // namespace langevin
