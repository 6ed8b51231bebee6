// softmax, logSoftmax and their gradients: lines along the last axis one by one, lines along another axis side by side.
//
// All four go the same way: a term for each element, the sum of the terms, and the result from both. The terms wait in the
// output.
#include "pairwise.h"
#include "strip.h"
#include "transcendental.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

struct Softmax {
  static constexpr bool kShifted = true;  // by the largest element, so that no exponential overflows
  static LANGEVIN_INLINE V term(V x, V, V max) { return exponential(x - max); }
  static LANGEVIN_INLINE V ofSum(V sum) { return sum; }
  static LANGEVIN_INLINE V result(V term, V, V, V, V sum) { return term / sum; }
};

struct LogSoftmax {
  static constexpr bool kShifted = true;
  static LANGEVIN_INLINE V term(V x, V, V max) { return exponential(x - max); }
  static LANGEVIN_INLINE V ofSum(V sum) { return logarithm(sum); }
  static LANGEVIN_INLINE V result(V, V x, V, V max, V log) { return (x - max) - log; }
};

struct SoftmaxGradient {
  static constexpr bool kShifted = false;
  static LANGEVIN_INLINE V term(V y, V dy, V) { return y * dy; }
  static LANGEVIN_INLINE V ofSum(V sum) { return sum; }
  static LANGEVIN_INLINE V result(V, V y, V dy, V, V sum) { return y * (dy - sum); }
};

struct LogSoftmaxGradient {
  static constexpr bool kShifted = false;
  static LANGEVIN_INLINE V term(V, V dy, V) { return dy; }
  static LANGEVIN_INLINE V ofSum(V sum) { return sum; }
  static LANGEVIN_INLINE V result(V, V y, V dy, V, V sum) { return dy - exponential(y) * sum; }
};

// Largest of n elements; maximum() passes over a NaN in its first operand.
LANGEVIN_SIMD float largest(const float* x, int64_t n) {
  V max = broadcast(-__builtin_inff());
  for (int64_t i = 0; i + kWidth <= n; i += kWidth) max = maximum(load(x + i), max);
  float result = -__builtin_inff();
  for (int i = 0; i < kWidth; i++) result = max[i] > result ? max[i] : result;
  for (int64_t i = n - n % kWidth; i < n; i++) result = x[i] > result ? x[i] : result;
  return result;
}

// One line of n adjacent elements.
template <class Rule>
LANGEVIN_SIMD void line(float* y, const float* a, const float* b, int64_t n) {
  const V max = Rule::kShifted ? broadcast(largest(a, n)) : zero();
  const double sum = longSum(n, [&](int64_t start, int64_t m, float*) {
    forEachVector(m, [&](int64_t i, auto lanes) {
      const V term = Rule::term(loadLanes(a + start + i, lanes), loadLanes(b + start + i, lanes), max);
      storeLanes(y + start + i, term, lanes);
    });
    return y + start;
  });
  const V ofSum = Rule::ofSum(broadcast(static_cast<float>(sum)));
  forEachVector(n, [&](int64_t i, auto lanes) {
    const V va = loadLanes(a + i, lanes), vb = loadLanes(b + i, lanes);
    storeLanes(y + i, Rule::result(loadLanes(y + i, lanes), va, vb, max, ofSum), lanes);
  });
}

// Lines that are walked side by side: what the accumulators of one piece of work hold.
constexpr int64_t kSide = 256;
// Terms that are summed in sequence before the sum is added in double.
constexpr int64_t kSequence = 128;

// Where an operand's element i of the lines begins, and how far the next element lies.
struct Along {
  float* start;
  int64_t step;
};

// `width` <= kSide neighbouring lines of n elements.
template <class Rule>
LANGEVIN_SIMD void lines(const Along& y, const Along& a, const Along& b, int64_t n, int64_t width) {
  float max[kSide], sums[kSide];
  double totals[kSide] = {};
  if (Rule::kShifted) {
    for (int64_t c = 0; c < width; c++) max[c] = -__builtin_inff();
    for (int64_t i = 0; i < n; i++)
      forEachVector(width, [&](int64_t c, auto lanes) {
        storeLanes(max + c, maximum(loadLanes(a.start + i * a.step + c, lanes), loadLanes(max + c, lanes)), lanes);
      });
  }
  const auto shift = [&](int64_t c, auto lanes) { return Rule::kShifted ? loadLanes(max + c, lanes) : zero(); };
  for (int64_t begin = 0; begin < n; begin += kSequence) {
    for (int64_t c = 0; c < width; c++) sums[c] = 0;
    for (int64_t i = begin; i < least(n, begin + kSequence); i++)
      forEachVector(width, [&](int64_t c, auto lanes) {
        const V va = loadLanes(a.start + i * a.step + c, lanes), vb = loadLanes(b.start + i * b.step + c, lanes);
        const V term = Rule::term(va, vb, shift(c, lanes));
        storeLanes(y.start + i * y.step + c, term, lanes);
        storeLanes(sums + c, loadLanes(sums + c, lanes) + term, lanes);
      });
    for (int64_t c = 0; c < width; c++) totals[c] += static_cast<double>(sums[c]);
  }
  for (int64_t c = 0; c < width; c++) sums[c] = static_cast<float>(totals[c]);
  forEachVector(width, [&](int64_t c, auto lanes) {
    storeLanes(sums + c, Rule::ofSum(loadLanes(sums + c, lanes)), lanes);
  });
  for (int64_t i = 0; i < n; i++)
    forEachVector(width, [&](int64_t c, auto lanes) {
      const V va = loadLanes(a.start + i * a.step + c, lanes), vb = loadLanes(b.start + i * b.step + c, lanes);
      float* const to = y.start + i * y.step + c;
      storeLanes(to, Rule::result(loadLanes(to, lanes), va, vb, shift(c, lanes), loadLanes(sums + c, lanes)), lanes);
    });
}

template <class Rule>
void alongAxis(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &y = command.output, &a = command.inputs[0], &b = command.inputs[command.inputCount - 1];
  if (y.size() == 0) return;
  const int64_t given = command.attributes.i();
  const int axis = static_cast<int>(given < 0 ? given + y.rank : given);
  // The shape as [outer, n, middle, cols], the pitch between rows of cols.
  int64_t outer = 1, middle = 1, cols = 1;
  const int64_t n = y.shape[axis];
  for (int i = 0; i < axis; i++) outer *= y.shape[i];
  for (int i = axis + 1; i < y.rank; i++) (i + 1 < y.rank ? middle : cols) *= y.shape[i];
  if (axis + 1 == y.rank) {
    const int64_t perItem = most(1, kChunk / n);
    context.parallelFor(ceilDivide(outer, perItem), [&](int64_t item) {
      for (int64_t o = item * perItem; o < least(outer, (item + 1) * perItem); o++)
        line<Rule>(y.as<float>() + o * y.pitch, a.as<const float>() + o * a.pitch, b.as<const float>() + o * b.pitch, n);
    });
    return;
  }
  const bool dense = y.dense() && a.dense() && b.dense();
  if (dense) {
    cols *= middle;
    middle = 1;
  }
  const int64_t tiles = ceilDivide(cols, kSide), pieces = outer * middle * tiles;
  const int64_t perItem = most(1, kChunk / (n * least(cols, kSide)));
  context.parallelFor(ceilDivide(pieces, perItem), [&](int64_t item) {
    for (int64_t piece = item * perItem; piece < least(pieces, (item + 1) * perItem); piece++) {
      const int64_t from = piece % tiles * kSide, group = piece / tiles;
      const int64_t row = group / middle * n * middle + group % middle;
      const auto along = [&](const Operand& x) {
        const int64_t pitch = dense ? cols : x.pitch;
        return Along{x.as<float>() + row * pitch + from, middle * pitch};
      };
      lines<Rule>(along(y), along(a), along(b), n, least(kSide, cols - from));
    }
  });
}

LANGEVIN_KERNEL("softmax", "axis:int", alongAxis<Softmax>)
LANGEVIN_KERNEL("logSoftmax", "axis:int", alongAxis<LogSoftmax>)
LANGEVIN_KERNEL("softmaxGradient", "axis:int", alongAxis<SoftmaxGradient>)
LANGEVIN_KERNEL("logSoftmaxGradient", "axis:int", alongAxis<LogSoftmaxGradient>)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
