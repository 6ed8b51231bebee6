// cumsum and cumprod, which carry doubles from element to element (unsigned words for int32), and the gradient of cumprod.
//
// A block takes neighbouring lines and goes along them tile by tile. Within a tile, what comes before each element is
// combined by doubling distances (Hillis and Steele 1986); the tile's last total is carried on. Where lines are adjacent
// elements a tile is 256 of them; else as many lines as there are side by side, 32 at most, share a block.
#include "elementwise.cuh"
#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kMostLines = 32;

// Places of N operands along lines, and of the lines side by side; `walk` counts through all other axes.
template <int N>
struct Lines {
  int64_t length, count, groups;  // of a line; side by side; of such
  int64_t step[N], aside[N];
  Walk<N> walk;
};

template <int N>
Lines<N> linesOf(const Operand* const (&operands)[N], int64_t givenAxis) {
  Lines<N> lines{};
  lines.walk = walkOf<N>(operands);
  Walk<N>& walk = lines.walk;
  const int axis = static_cast<int>(givenAxis < 0 ? givenAxis + walk.rank : givenAxis), last = walk.rank - 1;
  lines.length = walk.shape[axis];
  lines.count = axis == last ? 1 : walk.shape[last];
  for (int k = 0; k < N; k++) {
    lines.step[k] = walk.stride[k][axis];
    lines.aside[k] = walk.stride[k][last];
  }
  walk.shape[axis] = walk.shape[last] = 1;
  walk.collapse();
  lines.groups = walk.size;
  return lines;
}

// y[i] = the total of x[0] ... x[i], or of x[i] ... x[n - 1].
template <class T, class Wide>
struct Sums {
  using Total = Wide;
  bool reverse;
  __device__ static Total none() { return 0; }
  __device__ static Total combine(Total before, Total next) { return before + next; }
  __device__ Total load(void* const (&data)[2], const int64_t (&at)[2], const int64_t (&)[2], int64_t, int64_t) const {
    return static_cast<Total>(static_cast<const T*>(data[1])[at[1]]);
  }
  __device__ void store(void* const (&data)[2], const int64_t (&at)[2], Total total) const {
    static_cast<T*>(data[0])[at[0]] = static_cast<T>(total);
  }
};

struct Products {
  using Total = double;
  static constexpr bool reverse = false;
  __device__ static Total none() { return 1; }
  __device__ static Total combine(Total before, Total next) { return before * next; }
  __device__ Total load(void* const (&data)[2], const int64_t (&at)[2], const int64_t (&)[2], int64_t, int64_t) const {
    return static_cast<double>(static_cast<const float*>(data[1])[at[1]]);
  }
  __device__ void store(void* const (&data)[2], const int64_t (&at)[2], Total total) const {
    static_cast<float*>(data[0])[at[0]] = static_cast<float>(total);
  }
};

// Of the gradient dx[i] = p[i] s[i] first p[i] = x[0] ... x[i - 1], which waits in dx. Operands are dx, x, dy.
struct ProductsBefore {
  using Total = double;
  static constexpr bool reverse = false;
  __device__ static Total none() { return 1; }
  __device__ static Total combine(Total before, Total next) { return before * next; }
  __device__ Total load(void* const (&data)[3], const int64_t (&at)[3], const int64_t (&step)[3], int64_t i, int64_t) const {
    return i == 0 ? 1.0 : static_cast<double>(static_cast<const float*>(data[1])[at[1] - step[1]]);
  }
  __device__ void store(void* const (&data)[3], const int64_t (&at)[3], Total total) const {
    static_cast<float*>(data[0])[at[0]] = static_cast<float>(total);
  }
};

// And then s[i] = dy[i] + x[i + 1] s[i + 1]: a line through what lies behind, whose compositions are lines.
struct SlopesBehind {
  struct Total {
    double factor, term;
  };
  static constexpr bool reverse = true;
  __device__ static Total none() { return {1, 0}; }
  __device__ static Total combine(Total before, Total next) {
    return {next.factor * before.factor, next.term + next.factor * before.term};
  }
  __device__ Total load(void* const (&data)[3], const int64_t (&at)[3], const int64_t (&step)[3], int64_t i, int64_t n) const {
    const double factor = i + 1 == n ? 0.0 : static_cast<double>(static_cast<const float*>(data[1])[at[1] + step[1]]);
    return {factor, static_cast<double>(static_cast<const float*>(data[2])[at[2]])};
  }
  __device__ void store(void* const (&data)[3], const int64_t (&at)[3], Total total) const {
    float& y = static_cast<float*>(data[0])[at[0]];
    y = static_cast<float>(static_cast<double>(y) * total.term);
  }
};

// Blocks are (tile of lines side by side, group of lines).
template <class Scan, int N>
__global__ void __launch_bounds__(kThreads) scan(const Scan s, const Lines<N> lines, const int width) {
  using Total = typename Scan::Total;
  GPU_SHARED(Total, totals, kThreads);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % width, row = thread / width;
  const int rows = static_cast<int>(kThreads) / width;
  const int64_t line = static_cast<int64_t>(blockIdx.x) * width + lane;
  for (int64_t group = blockIdx.y; group < lines.groups; group += gridDim.y) {
    int64_t start[N];
    lines.walk.locate(group, start);
    Total carried = Scan::none();
    for (int64_t first = 0; first < lines.length; first += rows) {
      const int64_t along = first + row, i = s.reverse ? lines.length - 1 - along : along;
      const bool inside = along < lines.length && line < lines.count;
      int64_t at[N];
      for (int k = 0; k < N; k++) at[k] = start[k] + line * lines.aside[k] + i * lines.step[k];
      Total total = inside ? s.load(lines.walk.data, at, lines.step, i, lines.length) : Scan::none();
      for (int distance = 1; distance < rows; distance *= 2) {
        totals[thread] = total;
        __syncthreads();
        if (row >= distance) total = s.combine(totals[thread - distance * width], total);
        __syncthreads();
      }
      total = s.combine(carried, total);
      if (inside) s.store(lines.walk.data, at, total);
      totals[thread] = total;
      __syncthreads();
      carried = totals[(rows - 1) * width + lane];
      __syncthreads();
    }
  }
}

template <int N, class Scan>
void enqueue(const Scan& s, const Lines<N>& lines, Launch& launch) {
  if (lines.length * lines.count * lines.groups == 0) return;
  int width = 1;
  while (width < lines.count && width < kMostLines) width *= 2;
  const int64_t tiles = ceilDivide(lines.count, width);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(lines.groups < kMostBlocks ? lines.groups : kMostBlocks));
  GPU_LAUNCH((scan<Scan, N>), grid, dim3(kThreads), launch.stream(), s, lines, width);
}

Lines<2> readLines(Command& command) {
  const Operand* const operands[] = {&command.output, &command.inputs[0]};
  return linesOf<2>(operands, command.attributes.i());
}

void cumsum(Command& command, Launch& launch) {
  expectSameWords(command);
  const Lines<2> lines = readLines(command);
  const bool reverse = command.attributes.b();
  if (command.output.dtype == DType::f32) enqueue<2>(Sums<float, double>{reverse}, lines, launch);
  else enqueue<2>(Sums<Word, Word>{reverse}, lines, launch);
}

void cumprod(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  enqueue<2>(Products{}, readLines(command), launch);
}

void cumprodGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand* const operands[] = {&command.output, &command.inputs[0], &command.inputs[1]};
  const Lines<3> lines = linesOf<3>(operands, command.attributes.i());
  enqueue<3>(ProductsBefore{}, lines, launch);
  enqueue<3>(SlopesBehind{}, lines, launch);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("cumsum", "axis:int,reverse:bool", cumsum)
LANGEVIN_CUDA_KERNEL("cumprod", "axis:int", cumprod)
LANGEVIN_CUDA_KERNEL("cumprodGradient", "axis:int", cumprodGradient)

}  // namespace cuda
}  // namespace langevin
