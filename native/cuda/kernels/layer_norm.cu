// layerNorm and its gradients: mean and variance over the trailing axes, with `center` off about 0 (RMS norm).
//
// A cell is what is normalised together: `pieces` rows of the last axis. A warp takes a cell that is short, a block one that
// is long, and passes over it for the mean, for the moments about it, and for the result; after the first time it lies in a
// cache. The mean is a sum of two floats, the second of which is the mean of what remains when the first is subtracted.
//
// The gradients of weight and bias are sums over cells: blocks of neighbouring columns and 256 cells, whose sums are then
// added up (sums.cuh).
#include "elementwise.cuh"
#include "gemm.cuh"
#include "reduce.cuh"
#include "sums.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kShortCell = 1024;  // for a warp
constexpr int kSequence = 64;     // terms that are summed in float32, before these sums are in double
constexpr int kColumns = 32, kRows = static_cast<int>(kThreads) / kColumns, kCellsOfPart = kRows * 32;

// Beyond these, squares of float32 may have overflowed or lost digits to underflow.
constexpr double kLeastSquares = 1e-30, kMostSquares = 1e30;

struct Cells {
  int64_t count;
  int pieces, width, size;  // of one cell
  Divider byWidth;
  bool center;
  double epsilon;
};

// Elements of cells, or of a weight, which has one cell: from row to row, and from cell to cell.
struct Elements {
  const float* data;
  int64_t pitch, cell;
};

__device__ __forceinline__ int64_t placeOf(const Cells& cells, const Elements& e, int i) {
  if (e.pitch == cells.width || cells.pieces == 1) return i;
  int column;
  const int piece = cells.byWidth.divide(i, column);
  return piece * e.pitch + column;
}

// Element i of a cell.
struct Cell {
  const Cells& cells;
  const Elements& elements;
  const float* start;
  __device__ __forceinline__ Cell(const Cells& cells, const Elements& elements, int64_t cell)
      : cells(cells), elements(elements), start(elements.data + cell * elements.cell) {}
  __device__ __forceinline__ float operator()(int i) const { return start[placeOf(cells, elements, i)]; }
};

// `absent` where there is no weight.
__device__ __forceinline__ float weightAt(const Cells& cells, const Elements& weight, float absent, int i) {
  return weight.data == nullptr ? absent : weight.data[placeOf(cells, weight, i)];
}

// The threads that share a cell.
struct Warp {
  static constexpr int threads = 32;
  __device__ static int index() { return static_cast<int>(threadIdx.x % 32); }
  __device__ static int64_t first() { return firstTurn() / 32; }
  __device__ static int64_t step() { return turnStep() / 32; }
  __device__ static double sum(double value) { return warpSum(value); }
};
struct Block {
  static constexpr int threads = static_cast<int>(kThreads);
  __device__ static int index() { return static_cast<int>(threadIdx.x); }
  __device__ static int64_t first() { return blockIdx.x; }
  __device__ static int64_t step() { return gridDim.x; }
  __device__ static double sum(double value) { return blockSum<threads>(value); }
};

struct Pair {
  double first, second;
};

// Sums over a cell of what add(i, first, second) adds to both.
template <class Team, class Add>
__device__ __forceinline__ Pair sumCell(int size, const Add& add) {
  Pair total = {0, 0};
  for (int begin = Team::index(); begin < size; begin += kSequence * Team::threads) {
    float first = 0, second = 0;
    for (int i = begin; i < size && i - begin < kSequence * Team::threads; i += Team::threads) add(i, first, second);
    total.first += static_cast<double>(first);
    total.second += static_cast<double>(second);
  }
  return {Team::sum(total.first), Team::sum(total.second)};
}

struct Moments {
  float high, rest;  // the mean is their sum
  double scale;      // 1 / sqrt(variance + epsilon)
  __device__ __forceinline__ float deviation(float x) const { return (x - high) - rest; }
};

template <class Team>
__device__ Moments momentsOf(const Cells& cells, const Cell& x) {
  const double n = cells.size;
  Moments m = {0, 0, 0};
  if (cells.center)
    m.high = static_cast<float>(sumCell<Team>(cells.size, [&](int i, float& sum, float&) { sum += x(i); }).first / n);
  const Pair about = sumCell<Team>(cells.size, [&](int i, float& rest, float& squares) {
    const float d = x(i) - m.high;
    rest += d;
    squares += d * d;
  });
  const double mean = cells.center ? about.first / n : 0;
  m.rest = static_cast<float>(mean);
  double squares = about.second - about.first * mean;
  if (!(about.second > kLeastSquares && about.second < kMostSquares)) {
    double exact = 0;
    for (int i = Team::index(); i < cells.size; i += Team::threads) {
      const double d = static_cast<double>(x(i)) - (static_cast<double>(m.high) + mean);
      exact += d * d;
    }
    squares = Team::sum(exact);
  }
  m.scale = 1 / sqrt((squares < 0 ? 0 : squares) / n + cells.epsilon);
  return m;
}

template <class Team>
__global__ void __launch_bounds__(kThreads) normalise(const Cells cells, const Elements x, const Elements weight,
                                                      const Elements bias, const Elements y) {
  for (int64_t cell = Team::first(); cell < cells.count; cell += Team::step()) {
    const Cell values(cells, x, cell);
    const Moments m = momentsOf<Team>(cells, values);
    const float scale = static_cast<float>(m.scale);
    float* const to = const_cast<float*>(y.data) + cell * y.cell;
    for (int i = Team::index(); i < cells.size; i += Team::threads)
      to[placeOf(cells, y, i)] =
          m.deviation(values(i)) * scale * weightAt(cells, weight, 1.0f, i) + weightAt(cells, bias, 0.0f, i);
  }
}

// With g = dy weight and z = s (x - mean), dx = s (g - mean(g) - z mean(g z)). Leaves the moments of each cell.
template <class Team>
__global__ void __launch_bounds__(kThreads) differentiate(const Cells cells, const Elements x, const Elements dy,
                                                          const Elements weight, float* dx, Moments* moments) {
  for (int64_t cell = Team::first(); cell < cells.count; cell += Team::step()) {
    const Cell values(cells, x, cell), slopes(cells, dy, cell);
    const Moments m = momentsOf<Team>(cells, values);
    if (Team::index() == 0) moments[cell] = m;
    const Pair sums = sumCell<Team>(cells.size, [&](int i, float& gradients, float& products) {
      const float g = slopes(i) * weightAt(cells, weight, 1.0f, i);
      gradients += g;
      products += g * m.deviation(values(i));
    });
    const double n = cells.size;
    const float scale = static_cast<float>(m.scale);
    const float ofNormalised = static_cast<float>(-m.scale * (m.scale * sums.second / n));
    const float shift = cells.center ? static_cast<float>(-m.scale * sums.first / n) : 0.0f;
    for (int i = Team::index(); i < cells.size; i += Team::threads) {
      const float g = slopes(i) * weightAt(cells, weight, 1.0f, i);
      dx[cell * cells.size + i] = (g * scale + shift) + m.deviation(values(i)) * scale * ofNormalised;
    }
  }
}

// [dweight, dbias] of a part of the cells, to shares [parts, 2, size]: the sums of dy z and of dy.
__global__ void __launch_bounds__(kThreads) shareOut(const Cells cells, const Elements x, const Elements dy,
                                                     const Moments* moments, const int64_t parts, float* shares) {
  GPU_SHARED(float, ofWeight, kThreads);
  GPU_SHARED(float, ofBias, kThreads);
  const int thread = static_cast<int>(threadIdx.x), row = thread / kColumns, tiles = (cells.size + kColumns - 1) / kColumns;
  for (int64_t unit = blockIdx.x; unit < parts * tiles; unit += gridDim.x) {
    const int64_t part = unit / tiles;
    const int i = static_cast<int>(unit - part * tiles) * kColumns + thread % kColumns;
    float weight = 0, bias = 0;
    if (i < cells.size) {
      const int64_t atX = placeOf(cells, x, i), atSlope = placeOf(cells, dy, i), begin = part * kCellsOfPart;
      for (int64_t cell = begin + row; cell < begin + kCellsOfPart && cell < cells.count; cell += kRows) {
        const Moments m = moments[cell];
        const float slope = dy.data[cell * dy.cell + atSlope];
        weight += slope * (m.deviation(x.data[cell * x.cell + atX]) * static_cast<float>(m.scale));
        bias += slope;
      }
    }
    ofWeight[thread] = weight;
    ofBias[thread] = bias;
    foldRows(ofWeight, kRows, kColumns);
    foldRows(ofBias, kRows, kColumns);
    if (row == 0 && i < cells.size) {
      float* const to = shares + part * 2 * cells.size;
      to[i] = ofWeight[thread];
      to[cells.size + i] = ofBias[thread];
    }
    __syncthreads();
  }
}

Cells cellsOf(const Operand& x, AttributeReader& attributes) {
  Cells cells;
  const int64_t axes = attributes.i();
  int64_t pieces = 1;
  for (int64_t i = x.rank - axes; i + 1 < x.rank; i++) pieces *= x.shape[i];
  cells.epsilon = attributes.f();
  cells.center = attributes.b();
  cells.size = countOf(pieces * x.cols(), "elements of a cell");
  cells.pieces = static_cast<int>(pieces);
  cells.width = static_cast<int>(x.cols());
  cells.byWidth = Divider(cells.width > 0 ? cells.width : 1);
  cells.count = x.size() == 0 ? 0 : x.rows() / pieces;
  return cells;
}

Elements elementsOf(const Cells& cells, const Operand& x) { return {x.as<const float>(), x.pitch, cells.pieces * x.pitch}; }

// A weight or bias, or none.
Elements optional(const Cells& cells, const Command& command, int input) {
  return command.has(input) ? elementsOf(cells, command.inputs[input]) : Elements{nullptr, 0, 0};
}

void layerNorm(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand& x = command.inputs[0];
  const Cells cells = cellsOf(x, command.attributes);
  if (cells.count == 0) return;
  const Elements from = elementsOf(cells, x), to = elementsOf(cells, command.output);
  const Elements weight = optional(cells, command, 1), bias = optional(cells, command, 2);
  const dim3 block(kThreads);
  if (cells.size <= kShortCell)
    GPU_LAUNCH(normalise<Warp>, gridFor(launch, cells.count * 32), block, launch.stream(), cells, from, weight, bias, to);
  else
    GPU_LAUNCH(normalise<Block>, gridFor(launch, cells.count * kThreads), block, launch.stream(), cells, from, weight, bias,
               to);
}

// One flat output: dx, then dweight and dbias.
void layerNormGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &x = command.inputs[0], &dy = command.inputs[1];
  const Cells cells = cellsOf(x, command.attributes);
  float *const dx = command.output.as<float>(), *const dweight = dx + x.size();
  const int64_t parts = ceilDivide(cells.count, kCellsOfPart), columns = int64_t{2} * cells.size;
  if (columns == 0) return;
  if (parts == 0) return sumRows(nullptr, 0, columns, 1.0f, dweight, launch);
  const Elements from = elementsOf(cells, x), slopes = elementsOf(cells, dy), weight = optional(cells, command, 2);
  Moments* const moments = static_cast<Moments*>(launch.scratch(static_cast<size_t>(cells.count) * sizeof(Moments)));
  const dim3 block(kThreads);
  if (cells.size <= kShortCell)
    GPU_LAUNCH(differentiate<Warp>, gridFor(launch, cells.count * 32), block, launch.stream(), cells, from, slopes, weight, dx,
               moments);
  else
    GPU_LAUNCH(differentiate<Block>, gridFor(launch, cells.count * kThreads), block, launch.stream(), cells, from, slopes,
               weight, dx, moments);
  float* const shares =
      parts == 1 ? dweight : static_cast<float*>(launch.scratch(static_cast<size_t>(parts * columns) * sizeof(float)));
  GPU_LAUNCH(shareOut, gridFor(launch, parts * ceilDivide(cells.size, kColumns) * kThreads), block, launch.stream(), cells, from,
             slopes, moments, parts, shares);
  if (parts > 1) sumRows(shares, parts, columns, 1.0f, dweight, launch);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("layerNorm", "axes:int,epsilon:float,center:bool", layerNorm)
LANGEVIN_CUDA_KERNEL("layerNormGradient", "axes:int,epsilon:float,center:bool", layerNormGradient)

}  // namespace cuda
}  // namespace langevin
