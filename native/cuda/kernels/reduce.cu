// Reductions over any axes, and what belongs to them: sum, mean, max, min, argmax, argmin, variance, logSumExp, norm.
//
// A reduction is a struct: what a term is made of, how totals come together, and what becomes of the last one. All of them
// read x once: a total may be more than a number (the largest element with the sum of exponentials below it).
//
// Three kernels share the work, by shapes alone. Where the reduced axes are innermost, a few lanes take a short row, and a
// block a part of a long one. Else threads of a warp take neighbouring columns, so that loads are coalesced, and a block a
// part of the rows. Parts wait in scratch memory, and are reduced in turn. A thread adds up 32 terms at most; everything
// beyond is a tree.
#include "elementwise.cuh"
#include "functions.cuh"
#include "operands.cuh"
#include "sums.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kTermsOfThread = 32;
constexpr int kShortRow = 32 * kTermsOfThread;                            // at most, for a warp
constexpr int kBlockTerms = static_cast<int>(kThreads) * kTermsOfThread;  // at most, for a block
constexpr int kMostColumns = 32;                                          // side by side in a block

// Merged axes, innermost last.
struct Nest {
  int rank = 0;
  int64_t shape[kMaxRank] = {}, stride[kMaxRank] = {};

  LANGEVIN_HD int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    return n;
  }
  __device__ int64_t place(int64_t i) const {
    if (rank == 0) return 0;
    if (rank == 1) return i * stride[0];
    return i <= INT32_MAX ? placeAs(static_cast<uint32_t>(i)) : placeAs(static_cast<uint64_t>(i));
  }

 private:
  template <class Index>
  __device__ int64_t placeAs(Index i) const {
    int64_t offset = 0;
    for (int axis = rank - 1; axis > 0; axis--) {
      const Index above = i / static_cast<Index>(shape[axis]);
      offset += static_cast<int64_t>(i - above * static_cast<Index>(shape[axis])) * stride[axis];
      i = above;
    }
    return offset + static_cast<int64_t>(i) * stride[0];
  }
};

// What is reduced: the places of outputs in x and in y (whose shapes are the same), and of an output's terms in x.
struct Axes {
  Nest from, to, terms;
  bool rows;  // the reduced axes are innermost

  int64_t outputs() const { return from.size(); }
  int64_t columns() const { return rows ? 1 : from.shape[from.rank - 1]; }
};

// Appends an axis, or merges it with the last one where all of its places allow that.
void append(Nest* const* nests, const int64_t* strides, int count, int64_t size, bool adjacent) {
  const int last = nests[0]->rank - 1;
  bool merges = adjacent && last >= 0;
  for (int k = 0; k < count; k++) merges = merges && nests[k]->stride[last] == strides[k] * size;
  for (int k = 0; k < count; k++) {
    const int at = merges ? last : nests[k]->rank++;
    nests[k]->shape[at] = merges ? nests[k]->shape[at] * size : size;
    nests[k]->stride[at] = strides[k];
  }
}

Axes axesOf(const Operand& x, const Operand& y, const Ints& axes, bool keepDims) {
  bool reduced[kMaxRank] = {};
  for (int64_t k = 0; k < axes.n; k++) reduced[axes[k] < 0 ? axes[k] + x.rank : axes[k]] = true;
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {};
  x.strides(in);
  y.strides(out);
  Axes a;
  Nest *const kept[] = {&a.from, &a.to}, *const gone[] = {&a.terms};
  int outAxis = 0;
  a.rows = true;
  for (int i = 0; i < x.rank; i++) {
    const int64_t strides[] = {in[i], reduced[i] ? 0 : out[outAxis]};
    if (keepDims || !reduced[i]) outAxis++;
    if (x.shape[i] == 1) continue;
    const bool adjacent = a.rows == reduced[i];
    if (reduced[i]) append(gone, strides, 1, x.shape[i], adjacent);
    else append(kept, strides, 2, x.shape[i], adjacent);
    a.rows = reduced[i];
  }
  if (a.from.rank == 0) a.rows = true;
  // One term each: whoever walks columns finds some, and whoever walks rows finds them adjacent.
  if (a.terms.rank == 0) append(gone, in + (x.rank > 0 ? x.rank - 1 : 0), 1, 1, false);
  return a;
}

Axes readAxes(Command& command, const Operand& reduced) {
  const Ints axes = command.attributes.ints();
  return axesOf(command.inputs[0], reduced, axes, command.attributes.b());
}

// Axes of densely packed totals of parts: [outputs, parts], or [outputs but columns, parts, columns].
Axes axesOfParts(const Axes& a, int64_t parts) {
  Axes p = a;
  int64_t stride = a.rows ? parts : 1;
  for (int i = a.from.rank - 1; i >= 0; i--) {
    p.from.stride[i] = stride;
    stride *= a.from.shape[i] * (!a.rows && i == a.from.rank - 1 ? parts : 1);
  }
  p.terms = Nest();
  p.terms.rank = 1;
  p.terms.shape[0] = parts;
  p.terms.stride[0] = a.rows ? 1 : a.columns();
  return p;
}

// ---- What is computed. `first` is the output's first element, `number` the term's place among its terms.

// A value of the other lane.
template <class T>
__device__ __forceinline__ T exchanged(T value, int distance) {
  return __shfl_xor_sync(gpu::kAllLanes, value, distance);
}

struct Sum {
  using Element = float;
  using Total = float;
  using Result = float;
  float divisor;
  __device__ static Total none() { return 0.0f; }
  __device__ static Total term(Element x, Element, int64_t) { return x; }
  __device__ static Total combine(Total a, Total b) { return a + b; }
  __device__ Result finish(Total total) const { return total / divisor; }
};

// int32 wraps.
struct SumOfWords {
  using Element = Word;
  using Total = Word;
  using Result = Word;
  __device__ static Total none() { return 0; }
  __device__ static Total term(Element x, Element, int64_t) { return x; }
  __device__ static Total combine(Total a, Total b) { return a + b; }
  __device__ static Result finish(Total total) { return total; }
};

// Elements as unsigned keys, the extreme one being the largest key, and NaN being above all.
struct Keys {
  bool isFloat, isMin;

  __device__ Word keyOf(Word bits) const {
    if (isFloat && (bits & 0x7FFFFFFFu) > 0x7F800000u) return 0xFFFFFFFFu;
    const Word order = isFloat && bits >> 31 ? ~bits : bits ^ 0x80000000u;
    return isMin ? ~order : order;
  }
  __device__ Word bitsOf(Word key) const {
    if (isFloat && key == 0xFFFFFFFFu) return 0x7FC00000u;
    const Word order = isMin ? ~key : key;
    return isFloat && !(order >> 31) ? ~order : order ^ 0x80000000u;
  }
};

struct Extreme {
  using Element = Word;
  using Total = Word;
  using Result = Word;
  Keys keys;
  __device__ static Total none() { return 0; }
  __device__ Total term(Element x, Element, int64_t) const { return keys.keyOf(x); }
  __device__ static Total combine(Total a, Total b) { return a < b ? b : a; }
  __device__ Result finish(Total total) const { return keys.bitsOf(total); }
};

// Where the first of the extreme elements is: key and number in one, lower numbers being larger. -0 and 0 are equal.
struct PlaceOfExtreme {
  using Element = Word;
  using Total = unsigned long long;
  using Result = int32_t;
  Keys keys;
  __device__ static Total none() { return 0; }
  __device__ Total term(Element x, Element, int64_t number) const {
    const Word key = keys.keyOf(keys.isFloat && x == 0x80000000u ? 0u : x);
    return static_cast<Total>(key) << 32 | static_cast<Word>(~static_cast<Word>(number));
  }
  __device__ static Total combine(Total a, Total b) { return a < b ? b : a; }
  __device__ static Result finish(Total total) { return static_cast<Result>(~static_cast<Word>(total)); }
};

// Distances from the first element and their squares, in double. The first element's own share bounds what cancels: with
// n terms, digits are lost as by a factor of n + 1 at most.
struct Deviations {
  double sum, squares;
};
__device__ __forceinline__ Deviations exchanged(Deviations d, int distance) {
  return {exchanged(d.sum, distance), exchanged(d.squares, distance)};
}

struct Variance {
  using Element = float;
  using Total = Deviations;
  using Result = float;
  double terms, divisor;
  __device__ static Total none() { return {0, 0}; }
  __device__ static Total term(Element x, Element first, int64_t) {
    const double d = static_cast<double>(x) - static_cast<double>(first);
    return {d, d * d};
  }
  __device__ static Total combine(Total a, Total b) { return {a.sum + b.sum, a.squares + b.squares}; }
  __device__ Result finish(Total total) const {
    const double about = total.squares - total.sum * (total.sum / terms);
    return static_cast<Result>((about < 0 ? 0 : about) / divisor);
  }
};

// The largest element, and the sum of e^(x - largest).
struct Exponentials {
  float largest, sum;
};
__device__ __forceinline__ Exponentials exchanged(Exponentials e, int distance) {
  return {exchanged(e.largest, distance), exchanged(e.sum, distance)};
}

struct LogSumExp {
  using Element = float;
  using Total = Exponentials;
  using Result = float;
  __device__ static Total none() { return {-INFINITY, 0.0f}; }
  __device__ static Total term(Element x, Element, int64_t) { return {x, 1.0f}; }
  __device__ static Total combine(Total a, Total b) {
    const bool up = a.largest < b.largest || b.largest != b.largest;
    const Total above = up ? b : a, below = up ? a : b;
    // Equal ones may be infinite.
    const float share = above.largest == below.largest ? 1.0f : exponential(below.largest - above.largest);
    return {above.largest, above.sum + below.sum * share};
  }
  __device__ static Result finish(Total t) {
    return t.largest - t.largest == 0 ? t.largest + logarithm(t.sum) : t.largest;
  }
};

// Squares of float32 stay in the range of double.
struct Norm {
  using Element = float;
  using Total = double;
  using Result = float;
  __device__ static Total none() { return 0; }
  __device__ static Total term(Element x, Element, int64_t) { return static_cast<double>(x) * static_cast<double>(x); }
  __device__ static Total combine(Total a, Total b) { return a + b; }
  __device__ static Result finish(Total total) { return static_cast<Result>(sqrt(total)); }
};

// ---- How.

// One pass: terms are made of elements, or are totals of parts; results are finished, or are totals of parts in turn.
template <class R, bool merges>
struct Pass {
  using Total = typename R::Total;
  using Element = typename R::Element;
  R r;
  Axes axes;
  const void* x;
  typename R::Result* y;
  Total* totals;  // of parts; null where there is one
  int64_t outputs, terms, each, parts;
  bool quads;  // four terms may be loaded at once

  // The terms of one output.
  struct Line {
    const void* start;
    Element first;
  };
  __device__ Line line(int64_t output) const {
    const int64_t place = axes.from.place(output);
    if constexpr (merges) return {static_cast<const Total*>(x) + place, Element(0)};
    const Element* const start = static_cast<const Element*>(x) + place;
    return {start, terms > 0 ? *start : Element(0)};
  }
  __device__ Total term(const Line& line, int64_t number) const {
    const int64_t place = axes.terms.place(number);
    if constexpr (merges) return static_cast<const Total*>(line.start)[place];
    return r.term(static_cast<const Element*>(line.start)[place], line.first, number);
  }
  // Takes term 0 .. 3 from `number` on, as many as there are before `end`.
  __device__ void takeFour(const Line& line, int64_t number, int64_t end, Total (&sums)[kQuad]) const {
    if constexpr (!merges) {
      if (quads && number + kQuad <= end) {
        const QuadOf<Element> four = loadQuad<Element>(line.start, 1, number);
        GPU_UNROLL
        for (int i = 0; i < kQuad; i++) sums[i] = r.combine(sums[i], r.term(four.v[i], line.first, number + i));
        return;
      }
    }
    GPU_UNROLL
    for (int i = 0; i < kQuad; i++)
      if (number + i < end) sums[i] = r.combine(sums[i], term(line, number + i));
  }
  __device__ void put(int64_t output, Total total) const { y[axes.to.place(output)] = r.finish(total); }
};

// `lanes` lanes take an output, side by side in a warp.
template <class R, bool merges>
__global__ void __launch_bounds__(kThreads) reduceShortRows(const Pass<R, merges> p, const int lanes) {
  const int lane = static_cast<int>(threadIdx.x % 32), perWarp = 32 / lanes;
  const int64_t warps = turnStep() / 32;
  for (int64_t first = firstTurn() / 32 * perWarp; first < p.outputs; first += warps * perWarp) {
    const int64_t output = first + lane / lanes;
    typename R::Total total = R::none();
    if (output < p.outputs) {
      const auto line = p.line(output);
      for (int64_t number = lane % lanes; number < p.terms; number += lanes) total = p.r.combine(total, p.term(line, number));
    }
    for (int distance = lanes / 2; distance > 0; distance /= 2) total = p.r.combine(total, exchanged(total, distance));
    if (output < p.outputs && lane % lanes == 0) p.put(output, total);
  }
}

// A block takes a part of a row.
template <class R, bool merges>
__global__ void __launch_bounds__(kThreads) reduceLongRows(const Pass<R, merges> p) {
  constexpr int warps = static_cast<int>(kThreads) / 32;
  using Total = typename R::Total;
  GPU_SHARED(Total, ofWarps, warps);
  for (int64_t unit = blockIdx.x; unit < p.outputs * p.parts; unit += gridDim.x) {
    const int64_t output = unit / p.parts, begin = (unit - output * p.parts) * p.each;
    const int64_t end = begin + p.each < p.terms ? begin + p.each : p.terms;
    const auto line = p.line(output);
    Total sums[kQuad] = {R::none(), R::none(), R::none(), R::none()};
    for (int64_t number = begin + kQuad * static_cast<int64_t>(threadIdx.x); number < end; number += kQuad * kThreads)
      p.takeFour(line, number, end, sums);
    Total total = p.r.combine(p.r.combine(sums[0], sums[1]), p.r.combine(sums[2], sums[3]));
    GPU_UNROLL
    for (int distance = 16; distance > 0; distance /= 2) total = p.r.combine(total, exchanged(total, distance));
    if (threadIdx.x % 32 == 0) ofWarps[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int warp = 1; warp < warps; warp++) total = p.r.combine(total, ofWarps[warp]);
      if (p.totals == nullptr) p.put(output, total);
      else p.totals[unit] = total;
    }
    __syncthreads();
  }
}

// Sums, as `R` has them, the totals of a block's threads that share a column of `width`; of use to the first row of threads.
template <class R>
__device__ __forceinline__ typename R::Total foldThreads(const R& r, typename R::Total total, typename R::Total* waiting,
                                                         int width) {
  const int thread = static_cast<int>(threadIdx.x), row = thread / width;
  for (int half = static_cast<int>(kThreads) / width / 2; half > 0; half /= 2) {
    waiting[thread] = total;
    __syncthreads();
    if (row < half) total = r.combine(total, waiting[thread + half * width]);
    __syncthreads();
  }
  return total;
}

// A block takes a part of the rows of `width` columns, which neighbouring threads walk down side by side: blocks are (tile of
// columns, part, what lies outside).
template <class R, bool merges>
__global__ void __launch_bounds__(kThreads) reduceColumns(const Pass<R, merges> p, const int width) {
  using Total = typename R::Total;
  GPU_SHARED(Total, waiting, kThreads);
  const int row = static_cast<int>(threadIdx.x) / width, rows = static_cast<int>(kThreads) / width;
  const int64_t columns = p.axes.from.shape[p.axes.from.rank - 1];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * width + threadIdx.x % width;
  for (int64_t first = blockIdx.z * columns; first < p.outputs; first += gridDim.z * columns)
    for (int64_t part = blockIdx.y; part < p.parts; part += gridDim.y) {
      const int64_t begin = part * p.each, end = begin + p.each < p.terms ? begin + p.each : p.terms;
      Total total = R::none();
      if (column < columns) {
        const auto line = p.line(first + column);
        for (int64_t number = begin + row; number < end; number += rows) total = p.r.combine(total, p.term(line, number));
      }
      total = foldThreads(p.r, total, waiting, width);
      if (row > 0 || column >= columns) continue;
      if (p.totals == nullptr) p.put(first + column, total);
      else p.totals[first * p.parts + part * columns + column] = total;
    }
}

int powerOfTwoFrom(int64_t n, int most) {
  int power = 1;
  while (power < n && power < most) power *= 2;
  return power;
}

// Whether a block may load four of a row's elements at once.
bool inQuads(const Axes& a, const void* x) {
  bool good = a.terms.rank == 1 && a.terms.stride[0] == 1 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
  for (int i = 0; i < a.from.rank; i++) good = good && a.from.stride[i] % kQuad == 0;
  return good;
}

// Enqueues y = the reduction of x.
template <class R, bool merges = false>
void reduce(const R& r, const Axes& axes, const void* x, typename R::Result* y, Launch& launch) {
  using Total = typename R::Total;
  Pass<R, merges> p{r, axes, x, y, nullptr, axes.outputs(), axes.terms.size(), 0, 1, false};
  if (p.outputs == 0) return;
  const dim3 block(kThreads);
  if (axes.rows && p.terms <= kShortRow) {
    const int lanes = powerOfTwoFrom(p.terms, 32);
    GPU_LAUNCH((reduceShortRows<R, merges>), gridFor(launch, p.outputs * lanes), block, launch.stream(), p, lanes);
    return;
  }
  const int width = axes.rows ? 1 : powerOfTwoFrom(axes.columns(), kMostColumns);
  p.each = kBlockTerms / width;
  p.parts = p.terms <= p.each ? 1 : ceilDivide(p.terms, p.each);
  if (p.parts > 1) p.totals = static_cast<Total*>(launch.scratch(static_cast<size_t>(p.outputs * p.parts) * sizeof(Total)));
  if (axes.rows) {
    p.quads = !merges && inQuads(axes, x);
    GPU_LAUNCH((reduceLongRows<R, merges>), gridFor(launch, p.outputs * p.parts * kThreads), block, launch.stream(), p);
  } else {
    const auto blocks = [](int64_t n) { return static_cast<unsigned>(n < kMostBlocks ? n : kMostBlocks); };
    const dim3 grid(static_cast<unsigned>(ceilDivide(axes.columns(), width)), blocks(p.parts), blocks(p.outputs / axes.columns()));
    GPU_LAUNCH((reduceColumns<R, merges>), grid, block, launch.stream(), p, width);
  }
  if (p.parts > 1) reduce<R, true>(r, axesOfParts(axes, p.parts), p.totals, y, launch);
}

void sum(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  const Axes axes = readAxes(command, y);
  if (y.dtype == DType::f32) reduce(Sum{1.0f}, axes, x.data, y.as<float>(), launch);
  else reduce(SumOfWords{}, axes, x.data, y.as<Word>(), launch);
}

void mean(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Axes axes = readAxes(command, command.output);
  reduce(Sum{static_cast<float>(axes.terms.size())}, axes, command.inputs[0].data, command.output.as<float>(), launch);
}

template <bool isMin>
void extreme(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  reduce(Extreme{{x.dtype == DType::f32, isMin}}, readAxes(command, y), x.data, y.as<Word>(), launch);
}

template <bool isMin>
void placeOfExtreme(Command& command, Launch& launch) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!isWord(x.dtype) || y.dtype != DType::i32) Launch::refuse("expected float32 or int32 to int32");
  Ints axes;
  axes.n = 1;
  axes.v[0] = command.attributes.i();
  const Axes a = axesOf(x, y, axes, command.attributes.b());
  reduce(PlaceOfExtreme{{x.dtype == DType::f32, isMin}}, a, x.data, y.as<int32_t>(), launch);
}

struct Zero {
  __device__ float operator()() const { return 0.0f; }
};

// dx[place of each output] = dy[output]; `at` says where the outputs' terms lie in dx.
__global__ void __launch_bounds__(kThreads) putGradients(const Axes at, const int64_t outputs, const int32_t* places,
                                                         const float* dy, float* dx) {
  for (int64_t output = firstTurn(); output < outputs; output += turnStep())
    dx[at.from.place(output) + at.terms.place(places[output])] = dy[at.to.place(output)];
}

void extremeGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &x = command.inputs[0], &dy = command.inputs[1], &dx = command.output;
  if (x.size() == 0) return;
  const Ints reduced = command.attributes.ints();
  const bool keepDims = command.attributes.b(), isMin = command.attributes.i() == 1;
  const Axes at = axesOf(dx, dy, reduced, keepDims);
  // Places are counted over all reduced axes, and found densely in the order of outputs.
  Axes axes = axesOf(x, dy, reduced, keepDims);
  int64_t stride = 1;
  for (int i = axes.to.rank - 1; i >= 0; stride *= axes.to.shape[i--]) axes.to.stride[i] = stride;
  const int64_t outputs = axes.outputs();
  int32_t* const places = static_cast<int32_t*>(launch.scratch(static_cast<size_t>(outputs) * sizeof(int32_t)));
  reduce(PlaceOfExtreme{{true, isMin}}, axes, x.data, places, launch);
  const Operand* const all[] = {&dx};
  map<float>(launch, walkOf<1>(all), Zero{});
  GPU_LAUNCH(putGradients, gridFor(launch, outputs), dim3(kThreads), launch.stream(), at, outputs, places, dy.as<const float>(),
             dx.as<float>());
}

void variance(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Axes axes = readAxes(command, command.output);
  const int64_t terms = axes.terms.size(), freedom = terms - command.attributes.i();
  const Variance r{static_cast<double>(terms), static_cast<double>(freedom < 0 ? 0 : freedom)};
  reduce(r, axes, command.inputs[0].data, command.output.as<float>(), launch);
}

template <class R>
void reduceFloats(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  reduce(R{}, readAxes(command, command.output), command.inputs[0].data, command.output.as<float>(), launch);
}

struct NormGradient {
  __device__ float operator()(float x, float y, float dy) const { return y == 0.0f ? 0.0f : dy * (x / y); }
};

void normGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  mapInputs<float, float, float, float>(command, launch, NormGradient{});
}

}  // namespace

void sumRows(const float* x, int64_t rows, int64_t columns, float divisor, float* y, Launch& launch) {
  Axes axes;
  axes.rows = columns == 1;
  Nest* const nests[] = {&axes.from, &axes.to};
  const int64_t adjacent[] = {1, 1};
  if (columns != 1) append(nests, adjacent, 2, columns, false);
  axes.terms.rank = 1;
  axes.terms.shape[0] = rows;
  axes.terms.stride[0] = columns;
  reduce(Sum{divisor}, axes, x, y, launch);
}

LANGEVIN_CUDA_KERNEL("sum", "axes:ints,keepDims:bool", sum)
LANGEVIN_CUDA_KERNEL("mean", "axes:ints,keepDims:bool", mean)
LANGEVIN_CUDA_KERNEL("max", "axes:ints,keepDims:bool", extreme<false>)
LANGEVIN_CUDA_KERNEL("min", "axes:ints,keepDims:bool", extreme<true>)
LANGEVIN_CUDA_KERNEL("argmax", "axis:int,keepDims:bool", placeOfExtreme<false>)
LANGEVIN_CUDA_KERNEL("argmin", "axis:int,keepDims:bool", placeOfExtreme<true>)
LANGEVIN_CUDA_KERNEL("extremeGradient", "axes:ints,keepDims:bool,of:max|min", extremeGradient)
LANGEVIN_CUDA_KERNEL("variance", "axes:ints,keepDims:bool,correction:int", variance)
LANGEVIN_CUDA_KERNEL("logSumExp", "axes:ints,keepDims:bool", reduceFloats<LogSumExp>)
LANGEVIN_CUDA_KERNEL("norm", "axes:ints,keepDims:bool", reduceFloats<Norm>)
LANGEVIN_CUDA_KERNEL("normGradient", "", normGradient)

}  // namespace cuda
}  // namespace langevin
