// Reductions over any axes: along rows, of rows over columns, and what lies between.
//
// A reduction is a struct: what its elements and totals are, how totals come together, which term an element
// contributes, and what becomes of the total. Where that depends on an earlier pass (the mean, the largest element),
// there is a parameter for each output.
#include "move.h"
#include "pairwise.h"
#include "transcendental.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// The axes of a reduction: those that remain and those that are reduced, each merged
// with its neighbour where possible.
struct Reduction {
  int keptRank = 0, reducedRank = 0;
  int64_t keptShape[kMaxRank] = {}, keptIn[kMaxRank] = {}, keptOut[kMaxRank] = {};
  int64_t reducedShape[kMaxRank] = {}, reducedIn[kMaxRank] = {};
  bool reducedInnermost = false;

  LANGEVIN_INLINE int64_t terms() const {
    int64_t n = 1;
    for (int i = 0; i < reducedRank; i++) n *= reducedShape[i];
    return n;
  }

  // Number of outputs, over all remaining axes but the last `without`.
  LANGEVIN_INLINE int64_t outputs(int without) const {
    int64_t n = 1;
    for (int i = 0; i < keptRank - without; i++) n *= keptShape[i];
    return n;
  }

  LANGEVIN_INLINE int64_t keptOffset(const int64_t* stride, int64_t index, int without) const {
    int64_t offset = 0;
    for (int i = keptRank - without - 1; i >= 0; i--) {
      offset += index % keptShape[i] * stride[i];
      index /= keptShape[i];
    }
    return offset;
  }

  // The same with the outputs densely in their order, as parameters lie.
  Reduction toDense() const {
    Reduction r = *this;
    int64_t stride = 1;
    for (int i = keptRank - 1; i >= 0; stride *= keptShape[i--]) r.keptOut[i] = stride;
    return r;
  }

  LANGEVIN_INLINE int64_t termOffset(int64_t term) const {
    int64_t offset = 0;
    for (int i = reducedRank - 1; i > 0; i--) {
      offset += term % reducedShape[i] * reducedIn[i];
      term /= reducedShape[i];
    }
    return offset + term * reducedIn[0];
  }
};

Reduction reductionOf(const Operand& x, const Operand& y, const Ints& axes, bool keepDims) {
  bool reduced[kMaxRank] = {};
  for (int64_t k = 0; k < axes.n; k++) reduced[axes[k] < 0 ? axes[k] + x.rank : axes[k]] = true;
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {};
  x.strides(in);
  y.strides(out);
  Reduction r;
  int outAxis = 0;
  bool first = true;
  for (int i = 0; i < x.rank; i++) {
    const int64_t n = x.shape[i];
    const int64_t outStride = reduced[i] ? 0 : out[outAxis];
    if (keepDims || !reduced[i]) outAxis++;
    if (n == 1) continue;
    const bool sameKind = !first && r.reducedInnermost == reduced[i];
    if (reduced[i]) {
      const int last = r.reducedRank - 1;
      const bool merges = sameKind && r.reducedIn[last] == in[i] * n;
      if (!merges) r.reducedRank++;
      r.reducedShape[r.reducedRank - 1] = merges ? r.reducedShape[last] * n : n;
      r.reducedIn[r.reducedRank - 1] = in[i];
    } else {
      const int last = r.keptRank - 1;
      const bool merges = sameKind && r.keptIn[last] == in[i] * n && r.keptOut[last] == outStride * n;
      if (!merges) r.keptRank++;
      r.keptShape[r.keptRank - 1] = merges ? r.keptShape[last] * n : n;
      r.keptIn[r.keptRank - 1] = in[i];
      r.keptOut[r.keptRank - 1] = outStride;
    }
    r.reducedInnermost = reduced[i];
    first = false;
  }
  if (r.keptRank == 0) r.reducedInnermost = true;
  if (r.reducedRank == 0) {
    r.reducedRank = 1;
    r.reducedShape[0] = 1;
    r.reducedIn[0] = r.reducedInnermost ? 1 : 0;
  }
  return r;
}

// Terms that are the elements themselves, and totals that are the results.
template <class T, class Combine>
struct Plain : Combine {
  typedef T Element;
  typedef T Total;
  static constexpr bool kPlain = true;
  LANGEVIN_INLINE T finish(T total, int64_t) const { return total; }
};

// What reductions have in common whose terms are made of an element, its output's parameter, and its number.
template <class T, class U, class Combine>
struct Mapped : Combine {
  typedef T Element;
  typedef U Total;
  static constexpr bool kPlain = false;
  const T* parameters = nullptr;  // by output
};

template <class T>
using Sum = Plain<T, Add<T>>;

struct Mean : Sum<float> {
  float divisor;
  explicit Mean(int64_t terms) : divisor(static_cast<float>(terms)) {}
  LANGEVIN_INLINE float finish(float total, int64_t) const { return total / divisor; }
};

// The larger of two (Sign 1) or the smaller one (Sign -1), the first of equals; NaN wins over numbers.
template <class T, int Sign>
struct Extreme {
  typedef typename LanesOf<T>::Vector Vector;
  static LANGEVIN_INLINE V identity(const float*) { return broadcast(Sign > 0 ? -__builtin_inff() : __builtin_inff()); }
  static LANGEVIN_INLINE VI identity(const int32_t*) { return broadcastInt(Sign > 0 ? INT32_MIN : INT32_MAX); }
  static LANGEVIN_INLINE Vector identity() { return identity(static_cast<const T*>(nullptr)); }

  static LANGEVIN_INLINE V choose(VI mask, V a, V b) { return select(mask, a, b); }
  static LANGEVIN_INLINE VI choose(VI mask, VI a, VI b) { return selectInt(mask, a, b); }
  static LANGEVIN_INLINE Vector partial(const T* p, int64_t n) {
    return choose(laneIndex() < broadcastInt(static_cast<int32_t>(n)), LanesOf<T>::partial(p, n), identity());
  }

  static LANGEVIN_INLINE V combine(V a, V b) {
    return select((VI)(b != b), b, Sign > 0 ? maximum(b, a) : minimum(b, a));
  }
  static LANGEVIN_INLINE VI combine(VI a, VI b) { return selectInt(Sign > 0 ? b > a : b < a, b, a); }
  static LANGEVIN_INLINE T combine(T a, T b) {
    const T other = (Sign > 0 ? b > a : b < a) ? b : a;
    return b != b ? b : other;
  }
};

template <class T, int Sign>
using ExtremeOf = Plain<T, Extreme<T, Sign>>;

// Number of the first term that is the parameter, NaN being NaN; INT32_MAX where none is.
template <class T>
struct FirstEqual : Mapped<T, int32_t, Extreme<int32_t, -1>> {
  typedef typename LanesOf<T>::Vector Lanes;
  LANGEVIN_INLINE VI term(Lanes x, Lanes parameter, VI number) const {
    const VI equal = (VI)(x == parameter) | ((VI)(x != x) & (VI)(parameter != parameter));
    return selectInt(equal, number, broadcastInt(INT32_MAX));
  }
  LANGEVIN_INLINE int32_t finish(int32_t total, int64_t) const { return total; }
};

// Sum of squared distances from the parameter, the mean.
struct Variance : Mapped<float, float, Add<float>> {
  float divisor = 1;
  LANGEVIN_INLINE V term(V x, V mean, VI) const { return (x - mean) * (x - mean); }
  LANGEVIN_INLINE float finish(float total, int64_t) const { return total / divisor; }
};

// The parameter is the largest element.
struct LogSumExp : Mapped<float, float, Add<float>> {
  LANGEVIN_INLINE V term(V x, V largest, VI) const { return exponential(x - largest); }
  LANGEVIN_INLINE float finish(float total, int64_t output) const {
    const float largest = parameters[output];
    return largest - largest == 0 ? largest + logarithm(broadcast(total))[0] : largest;
  }
};

// A power of two near the largest magnitude, so that squares of what is divided by it stay in range. 1 where there are
// infinities or NaN, which need no help.
struct Scale : Mapped<float, float, Extreme<float, 1>> {
  LANGEVIN_INLINE V term(V x, V, VI) const { return magnitude(x); }
  LANGEVIN_INLINE float finish(float total, int64_t) const {
    if (!(total < __builtin_inff())) return 1;
    const float power = fromBits(bitsOf(broadcast(total)) & 0x7F800000)[0];
    return power > 0 ? power : 1.17549435e-38f;
  }
};

// The parameter is the scale.
struct Norm : Mapped<float, float, Add<float>> {
  LANGEVIN_INLINE V term(V x, V scale, VI) const { return (x / scale) * (x / scale); }
  LANGEVIN_INLINE float finish(float total, int64_t output) const {
    return sqrt(broadcast(total))[0] * parameters[output];
  }
};

LANGEVIN_SIMD V broadcastAs(float x) { return broadcast(x); }
LANGEVIN_SIMD VI broadcastAs(int32_t x) { return broadcastInt(x); }

// The reduced axes are innermost: every output has terms of its own.
template <class R>
void reduceRows(const Reduction& r, const typename R::Element* x, typename R::Total* y, const R& reducer,
                Context& context) {
  typedef typename R::Element Element;
  typedef typename R::Total Total;
  const int64_t terms = r.terms(), outputs = r.outputs(0), perPart = kBlocksPerSum * kTerms;
  const int64_t parts = ceilDivide(terms, perPart), inner = r.reducedShape[r.reducedRank - 1];
  const int64_t stride = r.reducedIn[r.reducedRank - 1];
  const bool adjacent = r.reducedRank == 1 && stride == 1;
  Total* const partial = parts > 1 ? reinterpret_cast<Total*>(context.scratch(outputs * parts)) : nullptr;
  // Elements [begin, begin + n) from `from` on, in `buffer` unless they are adjacent as they lie.
  const auto bring = [&](const Element* from, int64_t begin, int64_t n, Element* buffer) -> const Element* {
    if (adjacent) return from + begin;
    for (int64_t i = 0; i < n;) {
      const int64_t term = begin + i, run = least(n - i, inner - term % inner);
      const Element* const at = from + r.termOffset(term);
      for (int64_t j = 0; j < run; j++) buffer[i + j] = at[j * stride];
      i += run;
    }
    return buffer;
  };
  const auto partTotal = [&](int64_t output, int64_t part) {
    const Element* const from = x + r.keptOffset(r.keptIn, output, 0);
    const int64_t begin = part * perPart, n = least(perPart, terms - begin);
    if constexpr (R::kPlain) {
      return subtreeSum<Total, R>(n, [&](int64_t start, int64_t m, Total* buffer) {
        return bring(from, begin + start, m, buffer);
      });
    } else {
      const auto parameter = broadcastAs(reducer.parameters ? reducer.parameters[output] : Element(0));
      return subtreeSum<Total, R>(n, [&](int64_t start, int64_t m, Total* buffer) -> const Total* {
        Element brought[kTerms];
        const Element* const at = bring(from, begin + start, m, brought);
        for (int64_t i = 0; i < m; i += kWidth) {
          const VI number = broadcastInt(static_cast<int32_t>(begin + start + i)) + laneIndex();
          const auto v = i + kWidth <= m ? loadAs(at + i) : LanesOf<Element>::partial(at + i, m - i);
          storeAs(buffer + i, reducer.term(v, parameter, number));
        }
        return buffer;
      });
    }
  };
  const auto put = [&](int64_t output, Total total) {
    y[r.keptOffset(r.keptOut, output, 0)] = reducer.finish(total, output);
  };
  const int64_t perItem = most(1, kChunk / least(terms, perPart)), units = outputs * parts;
  context.parallelFor(ceilDivide(units, perItem), [&](int64_t item) {
    for (int64_t unit = item * perItem; unit < least(units, (item + 1) * perItem); unit++) {
      const Total total = partTotal(unit / parts, unit % parts);
      if (partial) partial[unit] = total;
      else put(unit, total);
    }
  });
  if (!partial) return;
  for (int64_t output = 0; output < outputs; output++) {
    foldRows<Total, R>(partial + output * parts, parts, 1);
    put(output, partial[output * parts]);
  }
}

// Columns that one item reduces; also the size of its accumulators.
constexpr int64_t kColumns = 512;

// Terms of a column that are taken in sequence: fewer than pairwise summing asks for, as the tree above costs little
// here.
constexpr int64_t kColumnTerms = 256;

// totals[i] takes every row's x[i], row after row. `totals` has room for a whole vector at its end.
template <class R, class T>
LANGEVIN_SIMD void takeRows(T* totals, const T* x, int64_t rows, int64_t stride, int64_t width) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const T *const a = x + row * stride, *const b = a + stride, *const c = b + stride, *const d = c + stride;
    int64_t i = 0;
    for (; i + kWidth <= width; i += kWidth) {
      const auto sum = R::combine(R::combine(loadAs(totals + i), loadAs(a + i)), loadAs(b + i));
      storeAs(totals + i, R::combine(R::combine(sum, loadAs(c + i)), loadAs(d + i)));
    }
    if (i < width) {
      const int64_t n = width - i;
      const auto sum = R::combine(R::combine(loadAs(totals + i), R::partial(a + i, n)), R::partial(b + i, n));
      storeAs(totals + i, R::combine(R::combine(sum, R::partial(c + i, n)), R::partial(d + i, n)));
    }
  }
  for (; row < rows; row++) {
    const T* const a = x + row * stride;
    int64_t i = 0;
    for (; i + kWidth <= width; i += kWidth) storeAs(totals + i, R::combine(loadAs(totals + i), loadAs(a + i)));
    if (i < width) storeAs(totals + i, R::combine(loadAs(totals + i), R::partial(a + i, width - i)));
  }
}

// The innermost axis remains: rows of `cols` elements are reduced, column by column. Narrow rows are taken `group` at a
// time as one wide row, so that row k of a block goes to total k % group; the totals of a group are folded by halves.
template <class R>
struct ColumnTotals {
  typedef typename R::Element Element;
  typedef typename R::Total Total;
  const Reduction& r;
  const R& reducer;
  int64_t cols, stride, group;

  LANGEVIN_INLINE ColumnTotals(const Reduction& r, const R& reducer)
      : r(r), reducer(reducer), cols(r.keptShape[r.keptRank - 1]), stride(r.keptIn[r.keptRank - 1]), group(1) {
    while (group * cols < 64) group *= 2;
  }

  // Terms [begin, begin + n) of columns [from, from + width) into `totals`. `x` points at the first of these columns,
  // whose outputs are those from `output` on.
  void block(const Element* x, int64_t begin, int64_t n, int64_t width, int64_t output, Total* totals) const {
    Total wide[kColumns + kWidth];
    for (int64_t i = 0; i < group * width; i += kWidth) storeAs(wide + i, R::identity());
    const bool even = r.reducedRank == 1 && stride == 1 && (group == 1 || r.reducedIn[0] == cols);
    if constexpr (R::kPlain) {
      if (even) {
        const int64_t step = r.reducedIn[0], whole = n / group;
        takeRows<R>(wide, x + begin * step, whole, group * step, group * width);
        if (n % group) takeRows<R>(wide, x + (begin + whole * group) * step, 1, 0, n % group * width);
      } else {
        Element buffer[kColumns];
        for (int64_t i = 0; i < n; i += group) {
          const int64_t rows = least(group, n - i);
          takeRows<R>(wide, bring(x, begin + i, rows, width, buffer), 1, 0, rows * width);
        }
      }
    } else {
      Element buffer[kColumns], parameters[kColumns + kWidth];
      int32_t numbers[kColumns + kWidth];
      Total terms[kColumns + kWidth];
      for (int64_t k = 0; k < group; k++)
        for (int64_t c = 0; c < width; c++) {
          parameters[k * width + c] = reducer.parameters ? reducer.parameters[output + c] : Element(0);
          numbers[k * width + c] = static_cast<int32_t>(begin + k);
        }
      for (int64_t i = 0; i < n; i += group) {
        const int64_t rows = least(group, n - i), count = rows * width;
        const Element* const at = bring(x, begin + i, rows, width, buffer);
        for (int64_t k = 0; k < count; k += kWidth) {
          const VI number = loadInt(numbers + k) + broadcastInt(static_cast<int32_t>(i));
          const auto v = k + kWidth <= count ? loadAs(at + k) : LanesOf<Element>::partial(at + k, count - k);
          storeAs(terms + k, reducer.term(v, loadAs(parameters + k), number));
        }
        takeRows<R>(wide, static_cast<const Total*>(terms), 1, 0, count);
      }
    }
    for (int64_t half = group / 2; half > 0; half /= 2) {
      LANGEVIN_IVDEP
      for (int64_t i = 0; i < half * width; i++) wide[i] = R::combine(wide[i], wide[half * width + i]);
    }
    for (int64_t c = 0; c < width; c++) totals[c] = wide[c];
  }

  // `rows` rows of `width` columns from term `begin` on, in `buffer` unless one row is adjacent as it lies.
  LANGEVIN_INLINE const Element* bring(const Element* x, int64_t begin, int64_t rows, int64_t width,
                                       Element* buffer) const {
    if (rows == 1 && stride == 1) return x + r.termOffset(begin);
    for (int64_t k = 0; k < rows; k++) {
      const Element* const row = x + r.termOffset(begin + k);
      for (int64_t c = 0; c < width; c++) buffer[k * width + c] = row[c * stride];
    }
    return buffer;
  }
};

template <class R>
void reduceColumns(const Reduction& r, const typename R::Element* x, typename R::Total* y, const R& reducer,
                   Context& context) {
  typedef typename R::Total Total;
  const ColumnTotals<R> columns(r, reducer);
  const int64_t terms = r.terms(), cols = columns.cols, outer = r.outputs(1), tiles = ceilDivide(cols, kColumns);
  int64_t blocks = 1;  // a subtree of them is a part; narrow rows need several to be worth an item
  while (blocks * cols < 128) blocks *= 2;
  const int64_t perPart = blocks * kColumnTerms, parts = ceilDivide(terms, perPart);
  const int64_t outStride = r.keptOut[r.keptRank - 1];
  Total* const partial = parts > 1 ? reinterpret_cast<Total*>(context.scratch(outer * parts * cols)) : nullptr;
  const auto put = [&](int64_t o, int64_t from, int64_t width, const Total* total) {
    Total* const to = y + r.keptOffset(r.keptOut, o, 1) + from * outStride;
    for (int64_t c = 0; c < width; c++) to[c * outStride] = reducer.finish(total[c], o * cols + from + c);
  };
  const int64_t perItem = most(1, 2 * kChunk / (least(terms, perPart) * least(cols, kColumns)));
  const int64_t units = outer * parts * tiles;
  context.parallelFor(ceilDivide(units, perItem), [&](int64_t item) {
    for (int64_t unit = item * perItem; unit < least(units, (item + 1) * perItem); unit++) {
      const int64_t tile = unit % tiles, part = unit / tiles % parts, o = unit / tiles / parts;
      const int64_t from = tile * kColumns, width = least(kColumns, cols - from);
      const auto* const at = x + r.keptOffset(r.keptIn, o, 1) + from * columns.stride;
      const int64_t n = least(perPart, terms - part * perPart), count = ceilDivide(n, kColumnTerms);
      Total rows[kColumns];  // several blocks only of narrow rows: blocks * cols < 256
      for (int64_t b = 0; b < count; b++)
        columns.block(at, part * perPart + b * kColumnTerms, least(kColumnTerms, n - b * kColumnTerms), width,
                      o * cols + from, rows + b * width);
      foldRows<Total, R>(rows, count, width);
      if (!partial) put(o, from, width, rows);
      else
        for (int64_t c = 0; c < width; c++) partial[(o * parts + part) * cols + from + c] = rows[c];
    }
  });
  if (!partial) return;
  const int64_t outerPerItem = most(1, kChunk / (parts * cols));
  context.parallelFor(ceilDivide(outer, outerPerItem), [&](int64_t item) {
    for (int64_t o = item * outerPerItem; o < least(outer, (item + 1) * outerPerItem); o++) {
      foldRows<Total, R>(partial + o * parts * cols, parts, cols);
      put(o, 0, cols, partial + o * parts * cols);
    }
  });
}

// One pass: x, which has elements, to the outputs at y.
template <class R>
void pass(const Reduction& r, const typename R::Element* x, typename R::Total* y, const R& reducer, Context& context) {
  if (r.reducedInnermost) reduceRows(r, x, y, reducer, context);
  else reduceColumns(r, x, y, reducer, context);
}

// A pass whose results are the parameters of the next one.
template <class R>
typename R::Total* parametersOf(const Reduction& r, const typename R::Element* x, const R& reducer, Context& context) {
  auto* const results = reinterpret_cast<typename R::Total*>(context.scratch(r.outputs(0)));
  pass(r.toDense(), x, results, reducer, context);
  return results;
}

// Writes the result of no terms, where there are none; tells whether there is anything to do.
template <class T>
bool hasTerms(const Operand& x, const Operand& y, T nothing) {
  if (x.size() > 0) return true;
  for (int64_t row = 0; row < y.rows(); row++)
    for (int64_t c = 0; c < y.cols(); c++) y.as<T>()[row * y.pitch + c] = nothing;
  return false;
}

// Axes and keepDims as all reductions but argmax have them.
Reduction readReduction(Command& command, const Operand& reduced) {
  const Ints axes = command.attributes.ints();
  return reductionOf(command.inputs[0], reduced, axes, command.attributes.b());
}

template <class T>
void sumOf(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (hasTerms(x, y, T(0))) pass(readReduction(command, y), x.as<T>(), y.as<T>(), Sum<T>{}, context);
}

void sum(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  if (command.output.dtype == DType::f32) sumOf<float>(command, context);
  else sumOf<uint32_t>(command, context);
}

void mean(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!expectDType(command, context, DType::f32) || !hasTerms(x, y, __builtin_nanf(""))) return;
  const Reduction r = readReduction(command, y);
  pass(r, x.as<float>(), y.as<float>(), Mean(r.terms()), context);
}

template <int Sign>
void extreme(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!expectSameWords(command, context) || x.size() == 0) return;
  const Reduction r = readReduction(command, y);
  if (y.dtype == DType::f32) pass(r, x.as<float>(), y.as<float>(), ExtremeOf<float, Sign>{}, context);
  else pass(r, x.as<int32_t>(), y.as<int32_t>(), ExtremeOf<int32_t, Sign>{}, context);
}

// The number of the first extreme term of every output.
template <class T, int Sign>
void firstExtreme(const Reduction& r, const T* x, int32_t* y, Context& context) {
  FirstEqual<T> first;
  first.parameters = parametersOf(r, x, ExtremeOf<T, Sign>{}, context);
  pass(r, x, y, first, context);
}

template <int Sign>
void placeOfExtreme(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!isWord(x.dtype) || y.dtype != DType::i32) {
    context.fail("expected float32 or int32 to int32");
    return;
  }
  if (x.size() == 0) return;
  Ints axes;
  axes.n = 1;
  axes.v[0] = command.attributes.i();
  const Reduction r = reductionOf(x, y, axes, command.attributes.b());
  if (x.dtype == DType::f32) firstExtreme<float, Sign>(r, x.as<float>(), y.as<int32_t>(), context);
  else firstExtreme<int32_t, Sign>(r, x.as<int32_t>(), y.as<int32_t>(), context);
}

void extremeGradient(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &dy = command.inputs[1], &dx = command.output;
  if (!expectDType(command, context, DType::f32) || x.size() == 0) return;
  const Ints axes = command.attributes.ints();
  const bool keepDims = command.attributes.b(), isMax = command.attributes.i() == 0;
  const Reduction from = reductionOf(x, dy, axes, keepDims), to = reductionOf(dx, dy, axes, keepDims);
  const int64_t outputs = from.outputs(0);
  int32_t* const places = reinterpret_cast<int32_t*>(context.scratch(outputs));
  if (isMax) firstExtreme<float, 1>(from.toDense(), x.as<float>(), places, context);
  else firstExtreme<float, -1>(from.toDense(), x.as<float>(), places, context);
  clear(context, dx);
  forEachPiece(context, 1, outputs, [&](int64_t, int64_t start, int64_t n) {
    for (int64_t output = start; output < start + n; output++)
      dx.as<float>()[to.keptOffset(to.keptIn, output, 0) + to.termOffset(places[output])] =
          dy.as<float>()[to.keptOffset(to.keptOut, output, 0)];
  });
}

void variance(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!expectDType(command, context, DType::f32) || !hasTerms(x, y, __builtin_nanf(""))) return;
  const Reduction r = readReduction(command, y);
  Variance deviations;
  deviations.divisor = static_cast<float>(most(0, r.terms() - command.attributes.i()));
  deviations.parameters = parametersOf(r, x.as<float>(), Mean(r.terms()), context);
  pass(r, x.as<float>(), y.as<float>(), deviations, context);
}

void logSumExp(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!expectDType(command, context, DType::f32) || !hasTerms(x, y, -__builtin_inff())) return;
  const Reduction r = readReduction(command, y);
  LogSumExp powers;
  powers.parameters = parametersOf(r, x.as<float>(), ExtremeOf<float, 1>{}, context);
  pass(r, x.as<float>(), y.as<float>(), powers, context);
}

void norm(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!expectDType(command, context, DType::f32) || !hasTerms(x, y, 0.0f)) return;
  const Reduction r = readReduction(command, y);
  Norm squares;
  squares.parameters = parametersOf(r, x.as<float>(), Scale{}, context);
  pass(r, x.as<float>(), y.as<float>(), squares, context);
}

void normGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const inputs[3] = {&command.inputs[0], &command.inputs[1], &command.inputs[2]};
  elementwise(context, command.output, inputs, [](Word* out, const Word* const* in, int64_t n) {
    const auto at = [&](int k) { return reinterpret_cast<const float*>(in[k]); };
    const auto slope = [](V x, V y, V dy) { return select((VI)(y == zero()), zero(), dy * (x / y)); };
    float* const dx = reinterpret_cast<float*>(out);
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) store(dx + i, slope(load(at(0) + i), load(at(1) + i), load(at(2) + i)));
    if (i < n) {
      const int64_t m = n - i;
      storePartial(dx + i, slope(loadPartial(at(0) + i, m), loadPartial(at(1) + i, m), loadPartial(at(2) + i, m)), m);
    }
  });
}

LANGEVIN_KERNEL("sum", "axes:ints,keepDims:bool", sum)
LANGEVIN_KERNEL("mean", "axes:ints,keepDims:bool", mean)
LANGEVIN_KERNEL("max", "axes:ints,keepDims:bool", extreme<1>)
LANGEVIN_KERNEL("min", "axes:ints,keepDims:bool", extreme<-1>)
LANGEVIN_KERNEL("extremeGradient", "axes:ints,keepDims:bool,of:max|min", extremeGradient)
LANGEVIN_KERNEL("argmax", "axis:int,keepDims:bool", placeOfExtreme<1>)
LANGEVIN_KERNEL("argmin", "axis:int,keepDims:bool", placeOfExtreme<-1>)
LANGEVIN_KERNEL("variance", "axes:ints,keepDims:bool,correction:int", variance)
LANGEVIN_KERNEL("logSumExp", "axes:ints,keepDims:bool", logSumExp)
LANGEVIN_KERNEL("norm", "axes:ints,keepDims:bool", norm)
LANGEVIN_KERNEL("normGradient", "", normGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
