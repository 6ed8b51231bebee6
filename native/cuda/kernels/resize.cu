// resize2d and its gradient: sums over the pixels that an output pixel sees, weighted along each axis.
//
// Position o of an axis of n elements that becomes one of m; A = -0.75 (PyTorch's and OpenCV's):
//
//   source s  = (o + 1/2) n/m - 1/2, or o (n-1)/(m-1) with corners aligned (0 where m = 1);   f = floor(s), t = s - f
//   nearest     x[floor(o n/m)]
//   bilinear    (1 - t) x[f] + t x[f+1], where s < 0 counts as 0
//   bicubic     k(t+1) x[f-1] + k(t) x[f] + k(1-t) x[f+1] + k(2-t) x[f+2]
//               with k(d) = (A+2) d^3 - (A+3) d^2 + 1 for d <= 1, A d^3 - 5A d^2 + 8A d - 4A for 1 < d <= 2
//   area        mean of x[floor(o n/m)] ... x[ceil((o+1) n/m) - 1]
//
// Positions outside of the axis are those at its ends, whose weights add up. This is native/cpu/kernels/interpolation.h:
// here a kernel tabulates the taps of each axis, and another one sums. One window at once, where the cpu may sum one axis
// after the other.
#include "../divider.h"
#include "channels.cuh"
#include "elementwise.cuh"
#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

// In the order of the enumeration in the op's record.
enum class Interpolation : int64_t { nearest, bilinear, bicubic, area };

// An axis of `from` elements that becomes one of `to`.
struct Resampling {
  Interpolation mode;
  bool alignCorners;
  int64_t from, to;
};

// Taps of one output position: the first, how many, and, where they are not all equal, the weights of four positions in a
// row, of which those outside of the axis count for its ends.
struct Source {
  int64_t first, count;
  bool even;
  int64_t start, from;
  double weights[4];

  LANGEVIN_HD int64_t position(int tap) const {
    const int64_t wanted = start + tap;
    return wanted < 0 ? 0 : wanted < from ? wanted : from - 1;
  }

  // Goes through all four, so that indexes are known to the compiler and the weights stay in registers.
  LANGEVIN_HD double weight(int64_t k) const {
    if (even) return 1.0 / static_cast<double>(count);
    double sum = 0;
    for (int tap = 0; tap < 4; tap++)
      if (weights[tap] != 0 && position(tap) == first + k) sum += weights[tap];
    return sum;
  }
};

LANGEVIN_HD Source evenTaps(int64_t first, int64_t count) { return {first, count, true, first, count, {}}; }

// A weight of 0 is no tap, so that a position is copied where it is met exactly.
LANGEVIN_HD Source weightedTaps(int64_t start, double w0, double w1, double w2, double w3, int64_t from) {
  Source source = {-1, 0, false, start, from, {w0, w1, w2, w3}};
  for (int tap = 0; tap < 4; tap++) {
    if (source.weights[tap] == 0) continue;
    if (source.first < 0) source.first = source.position(tap);
    source.count = source.position(tap) - source.first + 1;
  }
  return source;
}

LANGEVIN_HD Source tapsOf(const Resampling& r, int64_t o) {
  constexpr double a = -0.75;
  const int64_t start = o * r.from / r.to;
  if (r.mode == Interpolation::nearest) return evenTaps(start, 1);
  if (r.mode == Interpolation::area) return evenTaps(start, ((o + 1) * r.from + r.to - 1) / r.to - start);
  const double from = static_cast<double>(r.from), to = static_cast<double>(r.to);
  double s = r.alignCorners ? (r.to == 1 ? 0.0 : static_cast<double>(o * (r.from - 1)) / (to - 1))
                            : (static_cast<double>(o) + 0.5) * from / to - 0.5;
  if (r.mode == Interpolation::bilinear && s < 0) s = 0;
  int64_t whole = static_cast<int64_t>(s);
  if (static_cast<double>(whole) > s) whole--;
  const double t = s - static_cast<double>(whole);
  if (r.mode == Interpolation::bilinear) return weightedTaps(whole, 1 - t, t, 0, 0, r.from);
  const auto inner = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto outer = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return weightedTaps(whole - 1, outer(t + 1), inner(t), inner(1 - t), outer(2 - t), r.from);
}

// The taps of every position of an axis, in device memory.
struct TapTable {
  int32_t* first;
  int32_t* count;
  float* weights;  // `widest` of each position
  int64_t size, widest;
};

TapTable newTable(Launch& launch, int64_t size, int64_t widest) {
  int32_t* const numbers = static_cast<int32_t*>(launch.scratch(static_cast<size_t>(size * (2 + widest)) * sizeof(int32_t)));
  return {numbers, numbers + size, reinterpret_cast<float*>(numbers + 2 * size), size, widest};
}

// An axis and what is told of it.
struct TabulatedAxis {
  Resampling resampling;
  TapTable table;
};

// Of both axes: blockIdx.y is which.
__global__ void __launch_bounds__(kThreads) tabulate(const TabulatedAxis rows, const TabulatedAxis columns) {
  const auto& [r, table] = blockIdx.y == 0 ? rows : columns;
  for (int64_t o = firstTurn(); o < table.size; o += turnStep()) {
    const Source source = tapsOf(r, o);
    table.first[o] = static_cast<int32_t>(source.first);
    table.count[o] = static_cast<int32_t>(source.count);
    for (int64_t k = 0; k < source.count; k++) table.weights[o * table.widest + k] = static_cast<float>(source.weight(k));
  }
}

// The other way round: which of the outputs see input i. One in between that does not has the weight 0.
__global__ void __launch_bounds__(kThreads) tabulateTransposed(const TabulatedAxis rows, const TabulatedAxis columns) {
  const auto& [r, table] = blockIdx.y == 0 ? rows : columns;
  for (int64_t i = firstTurn(); i < table.size; i += turnStep()) {
    int64_t first = 0, end = 0;
    for (int64_t o = 0; o < r.to; o++) {
      const Source source = tapsOf(r, o);
      const bool sees = i >= source.first && i < source.first + source.count;
      if (sees && end == 0) first = o;
      if (end > 0 || sees) table.weights[i * table.widest + o - first] = 0;
      if (!sees) continue;
      table.weights[i * table.widest + o - first] = static_cast<float>(source.weight(i - source.first));
      end = o + 1;
    }
    table.first[i] = static_cast<int32_t>(first);
    table.count[i] = static_cast<int32_t>(end > 0 ? end - first : 0);
  }
}

int64_t widest(const Resampling& r) {
  int64_t most = 0;
  for (int64_t o = 0; o < r.to; o++) {
    const int64_t count = tapsOf(r, o).count;
    most = count > most ? count : most;
  }
  return most;
}

dim3 gridOf(const TabulatedAxis& rows, const TabulatedAxis& columns, const Launch& launch) {
  return dim3(gridFor(launch, rows.table.size > columns.table.size ? rows.table.size : columns.table.size).x, 2);
}

struct Pixels {
  float* data;
  int64_t pitch;
  int height, width;
};

Pixels pixelsOf(const Operand& x) {
  return {x.as<float>(), x.pitch, countOf(x.dim(1), "rows"), countOf(x.dim(2), "columns")};
}

// Rows whose terms are added up before they come to the others.
constexpr int kRowsPerSum = 64;

// Which pixel of y a thread's channels are of.
struct Places {
  Divider runs, columns, rows;  // runs of a pixel's channels
  int count;                    // runs of all pixels
};

template <int v>
Places placesOf(const Operand& y) {
  const int runs = countOf(y.dim(3) / v, "channels");
  return {Divider(runs), Divider(countOf(y.dim(2), "columns")), Divider(countOf(y.dim(1), "rows")),
          countOf(y.size() / v, "elements of a result")};
}

template <int v>
__global__ void __launch_bounds__(kThreads) sumWindows(const Pixels y, const Pixels x, const TapTable rows, const TapTable columns,
                                                       const Places places, const bool exact) {
  for (int64_t i = firstTurn(); i < places.count; i += turnStep()) {
    int run, ox, oy;
    const int pixel = places.runs.divide(static_cast<int>(i), run);
    const int image = places.rows.divide(places.columns.divide(pixel, ox), oy);
    const int rowCount = rows.count[oy], columnCount = columns.count[ox];
    const int64_t corner = (static_cast<int64_t>(image) * x.height + rows.first[oy]) * x.width + columns.first[ox];
    const float* const from = x.data + corner * x.pitch + run * v;
    float* const to = y.data + pixel * y.pitch + run * v;
    if (exact) {  // the pixel that it sees alone, with all its bits
      store(to, load<v>(from));
      continue;
    }
    Channels<v> total{};
    for (int begin = 0; begin < rowCount; begin += kRowsPerSum) {
      Channels<v> sum{};
      for (int r = begin; r < rowCount && r < begin + kRowsPerSum; r++) {
        Channels<v> line{};
        for (int k = 0; k < columnCount; k++) {
          const float weight = columns.weights[ox * columns.widest + k];
          const Channels<v> seen = load<v>(from + (static_cast<int64_t>(r) * x.width + k) * x.pitch);
          GPU_UNROLL
          for (int c = 0; c < v; c++) line[c] = line[c] + weight * seen[c];
        }
        GPU_UNROLL
        for (int c = 0; c < v; c++) sum[c] = sum[c] + rows.weights[oy * rows.widest + r] * line[c];
      }
      GPU_UNROLL
      for (int c = 0; c < v; c++) total[c] = total[c] + sum[c];
    }
    store(to, total);
  }
}

// y from x by the taps that both tables tell.
void sumAll(const Operand& x, const Operand& y, const TapTable& rows, const TapTable& columns, bool exact, Launch& launch) {
  const auto suits = [](const Operand& map) { return aligned16(map.data) && map.pitch % 4 == 0 && map.cols() % 4 == 0; };
  const auto sum = [&](auto v) {
    const Places places = placesOf<v>(y);
    GPU_LAUNCH((sumWindows<v>), gridFor(launch, places.count), dim3(kThreads), launch.stream(), pixelsOf(y), pixelsOf(x), rows,
               columns, places, exact);
  };
  if (suits(x) && suits(y)) sum(std::integral_constant<int, 4>{});
  else sum(std::integral_constant<int, 1>{});
}

struct Mode {
  Interpolation mode;
  bool alignCorners;
};

Mode readMode(AttributeReader& attributes) {
  attributes.ints();  // the size is that of the output
  const Interpolation mode = static_cast<Interpolation>(attributes.i());
  return {mode, attributes.b()};
}

void resize2d(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const Mode mode = readMode(command.attributes);
  const auto axis = [&](int at) -> TabulatedAxis {
    const Resampling r = {mode.mode, mode.alignCorners, x.dim(at), y.dim(at)};
    return {r, newTable(launch, r.to, widest(r))};
  };
  const TabulatedAxis rows = axis(1), columns = axis(2);
  GPU_LAUNCH(tabulate, gridOf(rows, columns, launch), dim3(kThreads), launch.stream(), rows, columns);
  sumAll(x, y, rows.table, columns.table, mode.mode == Interpolation::nearest, launch);
}

void resize2dGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &dy = command.inputs[0], &dx = command.output;
  if (dx.size() == 0) return;
  const Mode mode = readMode(command.attributes);
  // A row of a table holds all outputs, because weights of 0 may lie behind the last one that an input is seen by.
  const auto axis = [&](int at) -> TabulatedAxis {
    const Resampling r = {mode.mode, mode.alignCorners, dx.dim(at), dy.dim(at)};
    return {r, newTable(launch, r.from, r.to)};
  };
  const TabulatedAxis rows = axis(1), columns = axis(2);
  GPU_LAUNCH(tabulateTransposed, gridOf(rows, columns, launch), dim3(kThreads), launch.stream(), rows, columns);
  sumAll(dy, dx, rows.table, columns.table, false, launch);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("resize2d", "size:ints,mode:nearest|bilinear|bicubic|area,alignCorners:bool", resize2d)
LANGEVIN_CUDA_KERNEL("resize2dGradient", "size:ints,mode:nearest|bilinear|bicubic|area,alignCorners:bool", resize2dGradient)

}  // namespace cuda
}  // namespace langevin
