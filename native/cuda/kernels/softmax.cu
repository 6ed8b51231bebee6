// softmax, logSoftmax and their gradients along one axis.
//
// All four go the same way: a term for each element, the sum of a line's terms, and the result from both; softmax subtracts
// the largest element before. A warp takes a line that is adjacent and short, a block one that is long. Where another axis
// is adjacent, neighbouring threads take neighbouring lines, so that loads are coalesced, and the rows of the block share
// their elements. The passes over a line after its first find it in a cache.
#include "elementwise.cuh"
#include "functions.cuh"
#include "reduce.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int64_t kShortLine = 1024;  // for a warp
constexpr int kMostColumns = 32;      // lines side by side in a block
constexpr int kSequence = 64;         // terms that are summed in float32, before these sums are in double

struct Softmax {
  static constexpr bool kShifted = true;  // by the largest element, so that no exponential overflows
  __device__ static float term(float x, float, float largest) { return exponential(x - largest); }
  __device__ static float ofSum(float sum) { return sum; }
  __device__ static float result(float x, float, float largest, float sum) { return exponential(x - largest) / sum; }
};

struct LogSoftmax {
  static constexpr bool kShifted = true;
  __device__ static float term(float x, float, float largest) { return exponential(x - largest); }
  __device__ static float ofSum(float sum) { return logarithm(sum); }
  __device__ static float result(float x, float, float largest, float log) { return (x - largest) - log; }
};

struct SoftmaxGradient {
  static constexpr bool kShifted = false;
  __device__ static float term(float y, float dy, float) { return y * dy; }
  __device__ static float ofSum(float sum) { return sum; }
  __device__ static float result(float y, float dy, float, float sum) { return y * (dy - sum); }
};

struct LogSoftmaxGradient {
  static constexpr bool kShifted = false;
  __device__ static float term(float, float dy, float) { return dy; }
  __device__ static float ofSum(float sum) { return sum; }
  __device__ static float result(float y, float dy, float, float sum) { return dy - exponential(y) * sum; }
};

// One of the operands: lines [outer, middle, columns] of n elements, `step` apart.
struct Along {
  float* data;
  int64_t outer, middle, step;
};

struct Lines {
  Along y, a, b;
  int64_t n, middle, columns, groups;  // groups: of `columns` adjacent lines
};

struct Line {
  float* y;
  const float *a, *b;
  int64_t stepY, stepA, stepB;
};

__device__ __forceinline__ Line lineOf(const Lines& lines, int64_t group, int64_t column) {
  const int64_t outer = group / lines.middle, middle = group - outer * lines.middle;
  const auto start = [=](const Along& x) { return x.data + outer * x.outer + middle * x.middle + column; };
  return {start(lines.y), start(lines.a), start(lines.b), lines.y.step, lines.a.step, lines.b.step};
}

__device__ __forceinline__ float larger(float a, float b) { return b > a ? b : a; }

// The largest of a thread's elements, which are `threads` apart. NaN is passed over: it comes back with the sum.
__device__ __forceinline__ float largestOf(const Line& line, int64_t n, int first, int threads) {
  float largest = -INFINITY;
  for (int64_t i = first; i < n; i += threads) largest = larger(largest, line.a[i * line.stepA]);
  return largest;
}

template <class Rule>
__device__ __forceinline__ double sumOf(const Line& line, int64_t n, int first, int threads, float largest) {
  double total = 0;
  for (int64_t begin = first; begin < n; begin += int64_t{kSequence} * threads) {
    const int64_t end = begin + int64_t{kSequence} * threads;
    float sum = 0;
    for (int64_t i = begin; i < end && i < n; i += threads)
      sum += Rule::term(line.a[i * line.stepA], line.b[i * line.stepB], largest);
    total += static_cast<double>(sum);
  }
  return total;
}

template <class Rule>
__device__ __forceinline__ void write(const Line& line, int64_t n, int first, int threads, float largest, double sum) {
  const float ofSum = Rule::ofSum(static_cast<float>(sum));
  for (int64_t i = first; i < n; i += threads)
    line.y[i * line.stepY] = Rule::result(line.a[i * line.stepA], line.b[i * line.stepB], largest, ofSum);
}

template <class Rule>
__global__ void __launch_bounds__(kThreads) shortLines(const Lines lines) {
  const int lane = static_cast<int>(threadIdx.x % 32), n = static_cast<int>(lines.n);
  for (int64_t group = firstTurn() / 32; group < lines.groups; group += turnStep() / 32) {
    const Line line = lineOf(lines, group, 0);
    const float largest = Rule::kShifted ? warpMax(largestOf(line, n, lane, 32)) : 0.0f;
    write<Rule>(line, n, lane, 32, largest, warpSum(sumOf<Rule>(line, n, lane, 32, largest)));
  }
}

template <class Rule>
__global__ void __launch_bounds__(kThreads) longLines(const Lines lines) {
  constexpr int warps = static_cast<int>(kThreads) / 32;
  GPU_SHARED(float, ofWarps, warps);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(kThreads);
  for (int64_t group = blockIdx.x; group < lines.groups; group += gridDim.x) {
    const Line line = lineOf(lines, group, 0);
    float largest = 0.0f;
    if (Rule::kShifted) {
      const float ofWarp = warpMax(largestOf(line, lines.n, thread, threads));
      if (thread % 32 == 0) ofWarps[thread / 32] = ofWarp;
      __syncthreads();
      largest = warpMax(ofWarps[thread % warps]);
    }
    // Its first barrier parts these readings of ofWarps from the next writing.
    const double sum = blockSum<kThreads>(sumOf<Rule>(line, lines.n, thread, threads, largest));
    write<Rule>(line, lines.n, thread, threads, largest, sum);
  }
}

// What `combine` makes of the values of a column's threads, for all of them. `waiting` has room for the block.
template <class T, class Combine>
__device__ __forceinline__ T acrossRows(T value, T* waiting, int width, int rows, const Combine& combine) {
  const int thread = static_cast<int>(threadIdx.x), row = thread / width;
  __syncthreads();
  waiting[thread] = value;
  __syncthreads();
  for (int half = rows / 2; half > 0; half /= 2) {
    if (row < half) waiting[thread] = combine(waiting[thread], waiting[thread + half * width]);
    __syncthreads();
  }
  return waiting[thread % width];
}

template <class Rule>
__global__ void __launch_bounds__(kThreads) adjacentLines(const Lines lines, const int width) {
  GPU_SHARED(float, ofThreads, kThreads);
  GPU_SHARED(double, sums, kThreads);
  const int thread = static_cast<int>(threadIdx.x), rows = static_cast<int>(kThreads) / width, row = thread / width;
  const int64_t tiles = (lines.columns + width - 1) / width, units = lines.groups * tiles;
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int64_t group = unit / tiles, column = (unit - group * tiles) * width + thread % width;
    // Beyond the last line a thread has no elements, but takes part in the barriers.
    const int64_t n = column < lines.columns ? lines.n : 0;
    const Line line = lineOf(lines, group, n > 0 ? column : 0);
    float largest = 0.0f;
    if (Rule::kShifted) largest = acrossRows(largestOf(line, n, row, rows), ofThreads, width, rows, larger);
    const double sum = acrossRows(sumOf<Rule>(line, n, row, rows, largest), sums, width, rows,
                                  [](double a, double b) { return a + b; });
    write<Rule>(line, n, row, rows, largest, sum);
  }
}

template <class Rule>
void alongAxis(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &y = command.output, &a = command.inputs[0], &b = command.inputs[command.inputCount - 1];
  if (y.size() == 0) return;
  const int64_t given = command.attributes.i();
  const int axis = static_cast<int>(given < 0 ? given + y.rank : given);
  const bool last = axis + 1 == y.rank, dense = y.dense() && a.dense() && b.dense();
  // The shape as [outer, n, middle, columns], the pitch between rows of columns.
  int64_t outer = 1, middle = 1, columns = 1;
  for (int i = 0; i < axis; i++) outer *= y.shape[i];
  for (int i = axis + 1; i < y.rank; i++) (i + 1 < y.rank && !dense ? middle : columns) *= y.shape[i];
  const int64_t n = y.shape[axis];
  const auto along = [&](const Operand& x) {
    const int64_t row = dense && !last ? columns : x.pitch;
    return last ? Along{x.as<float>(), x.pitch, 0, 1} : Along{x.as<float>(), n * middle * row, row, middle * row};
  };
  const Lines lines = {along(y), along(a), along(b), n, middle, columns, outer * middle};
  const dim3 block(kThreads);
  if (!last) {
    int width = 1;
    while (width < columns && width < kMostColumns) width *= 2;
    const int64_t units = lines.groups * ((columns + width - 1) / width);
    GPU_LAUNCH(adjacentLines<Rule>, gridFor(launch, units * kThreads), block, launch.stream(), lines, width);
  } else if (n <= kShortLine) {
    GPU_LAUNCH(shortLines<Rule>, gridFor(launch, lines.groups * 32), block, launch.stream(), lines);
  } else {
    GPU_LAUNCH(longLines<Rule>, gridFor(launch, lines.groups * kThreads), block, launch.stream(), lines);
  }
}

}  // namespace

LANGEVIN_CUDA_KERNEL("softmax", "axis:int", alongAxis<Softmax>)
LANGEVIN_CUDA_KERNEL("logSoftmax", "axis:int", alongAxis<LogSoftmax>)
LANGEVIN_CUDA_KERNEL("softmaxGradient", "axis:int", alongAxis<SoftmaxGradient>)
LANGEVIN_CUDA_KERNEL("logSoftmaxGradient", "axis:int", alongAxis<LogSoftmaxGradient>)

}  // namespace cuda
}  // namespace langevin
