// Rounds to bf16 what no other kernel has stored so (rounded.cuh), four elements a thread.
#include "rounded.cuh"

#include "../../core/extent.h"
#include "epilogue.cuh"
#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kRunsOfThread = 4;
constexpr int64_t kAligned = 8;  // elements in 16 bytes
constexpr int kMostArrays = 24;  // of one launch, whose arguments then take 1.6 KB

struct Rows {
  Pitched<const float> x;
  Pitched<gpu::Bf16> y;
  int64_t columns, runs, count;  // runs of a row, and of all rows
  bool loadsRuns, storesRuns;    // all four elements at a time
};

struct Arrays {
  int count;
  int firstBlock[kMostArrays + 1];
  Rows rows[kMostArrays];
};

__global__ void __launch_bounds__(kThreads) roundRows(const Arrays arrays) {
  int at = 0;
  while (static_cast<int>(blockIdx.x) >= arrays.firstBlock[at + 1]) at++;
  const Rows& r = arrays.rows[at];
  const int64_t block = static_cast<int>(blockIdx.x) - arrays.firstBlock[at];
  const int64_t step = int64_t{kThreads} * (arrays.firstBlock[at + 1] - arrays.firstBlock[at]);
  for (int64_t i = block * kThreads + threadIdx.x; i < r.count; i += step) {
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

// There must be room.
void add(Arrays& arrays, const Rows& rows) {
  const int64_t blocks = ceilDivide(rows.count, kThreads * kRunsOfThread);
  arrays.rows[arrays.count] = rows;
  arrays.firstBlock[arrays.count + 1] = arrays.firstBlock[arrays.count] + static_cast<int>(blocks);
  arrays.count++;
}

void enqueue(const Arrays& arrays, Launch& launch) {
  const int blocks = arrays.firstBlock[arrays.count];
  if (blocks > 0) GPU_LAUNCH(roundRows, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), launch.stream(), arrays);
}

Pitched<gpu::Bf16> scratchFor(const Operand& x, Launch& launch) {
  const int64_t pitch = ceilDivide(x.cols(), kAligned) * kAligned;
  return {static_cast<gpu::Bf16*>(launch.scratch(static_cast<size_t>(x.rows() * pitch) * sizeof(gpu::Bf16))), pitch};
}

Rows roundingOf(const Command& command) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (x.dtype != DType::f32 || y.dtype != DType::bf16) Launch::refuse("expected float32 to bfloat16");
  return rowsOf(x, {y.as<gpu::Bf16>(), y.pitch});
}

// With it all that are behind it, as those of the weights are.
void roundToBf16(Command& command, Launch& launch) {
  Arrays arrays{};
  add(arrays, roundingOf(command));
  while (arrays.count < kMostArrays) {
    const Command* const next = launch.sibling();
    if (next == nullptr) break;
    add(arrays, roundingOf(*next));
    launch.takeNext();
  }
  enqueue(arrays, launch);
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
  Arrays arrays{};
  const auto stored = [&](const Operand& x) -> Pitched<const gpu::Bf16> {
    if (x.dtype == DType::bf16) return {x.as<const gpu::Bf16>(), x.pitch};
    const Pitched<gpu::Bf16> y = scratchFor(x, launch);
    add(arrays, rowsOf(x, y));
    return {y.data, y.pitch};
  };
  const InBf16 both{stored(a), stored(b)};
  enqueue(arrays, launch);
  return both;
}

Target targetOf(const Operand& result, Launch& launch) {
  const Pitched<float> whole{result.as<float>(), result.pitch};
  const Follower* const follower = launch.follower(result);
  if (follower == nullptr || follower->op != "roundToBf16" || result.cols() % kRun != 0) return {whole, {}};
  const Operand& output = follower->command.output;
  const Pitched<gpu::Bf16> rounded{output.as<gpu::Bf16>(), output.pitch};
  if (!haveSameShape(output, result) || !inRuns(rounded)) return {whole, {}};
  const bool both = follower->resultNeeded;
  launch.takeNext();
  return {both ? whole : Pitched<float>{}, rounded};
}

LANGEVIN_CUDA_KERNEL("roundToBf16", "", roundToBf16)

}  // namespace cuda
}  // namespace langevin
