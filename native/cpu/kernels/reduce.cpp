// sum and mean over any axes: sums along rows, sums of rows over columns, and what lies between.
#include "pairwise.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// The axes of a reduction: those that remain and those that are summed, each merged with its neighbour where possible.
struct Reduction {
  int keptRank = 0, summedRank = 0;
  int64_t keptShape[kMaxRank] = {}, keptIn[kMaxRank] = {}, keptOut[kMaxRank] = {};
  int64_t summedShape[kMaxRank] = {}, summedIn[kMaxRank] = {};
  bool summedInnermost = false;

  LANGEVIN_INLINE int64_t terms() const {
    int64_t n = 1;
    for (int i = 0; i < summedRank; i++) n *= summedShape[i];
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

  LANGEVIN_INLINE int64_t termOffset(int64_t term) const {
    int64_t offset = 0;
    for (int i = summedRank - 1; i > 0; i--) {
      offset += term % summedShape[i] * summedIn[i];
      term /= summedShape[i];
    }
    return offset + term * summedIn[0];
  }
};

Reduction reductionOf(const Operand& x, const Operand& y, const Ints& axes, bool keepDims) {
  bool summed[kMaxRank] = {};
  for (int64_t k = 0; k < axes.n; k++) summed[axes[k] < 0 ? axes[k] + x.rank : axes[k]] = true;
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {};
  x.strides(in);
  y.strides(out);
  Reduction r;
  int outAxis = 0;
  bool first = true;
  for (int i = 0; i < x.rank; i++) {
    const int64_t n = x.shape[i];
    const int64_t outStride = summed[i] ? 0 : out[outAxis];
    if (keepDims || !summed[i]) outAxis++;
    if (n == 1) continue;
    const bool sameKind = !first && r.summedInnermost == summed[i];
    if (summed[i]) {
      const int last = r.summedRank - 1;
      const bool merges = sameKind && r.summedIn[last] == in[i] * n;
      if (!merges) r.summedRank++;
      r.summedShape[r.summedRank - 1] = merges ? r.summedShape[last] * n : n;
      r.summedIn[r.summedRank - 1] = in[i];
    } else {
      const int last = r.keptRank - 1;
      const bool merges = sameKind && r.keptIn[last] == in[i] * n && r.keptOut[last] == outStride * n;
      if (!merges) r.keptRank++;
      r.keptShape[r.keptRank - 1] = merges ? r.keptShape[last] * n : n;
      r.keptIn[r.keptRank - 1] = in[i];
      r.keptOut[r.keptRank - 1] = outStride;
    }
    r.summedInnermost = summed[i];
    first = false;
  }
  if (r.keptRank == 0) r.summedInnermost = true;
  if (r.summedRank == 0) {
    r.summedRank = 1;
    r.summedShape[0] = 1;
    r.summedIn[0] = r.summedInnermost ? 1 : 0;
  }
  return r;
}

LANGEVIN_SIMD float quotient(float sum, float divisor) { return sum / divisor; }
LANGEVIN_SIMD uint32_t quotient(uint32_t sum, float) { return sum; }  // int32 has no mean

// The summed axes are innermost: every output is a sum of its own.
template <class T>
void sumRows(const Reduction& r, const T* x, T* y, bool mean, Context& context) {
  const int64_t terms = r.terms(), outputs = r.outputs(0), perPart = kBlocksPerSum * kTerms;
  const int64_t parts = ceilDivide(terms, perPart), inner = r.summedShape[r.summedRank - 1];
  const int64_t stride = r.summedIn[r.summedRank - 1];
  const bool adjacent = r.summedRank == 1 && stride == 1;
  const float divisor = static_cast<float>(terms);
  T* const partial = parts > 1 ? reinterpret_cast<T*>(context.scratch(outputs * parts)) : nullptr;
  const auto partSum = [&](int64_t output, int64_t part) {
    const T* const from = x + r.keptOffset(r.keptIn, output, 0);
    const int64_t begin = part * perPart;
    return subtreeSum<T>(least(perPart, terms - begin), [&](int64_t start, int64_t n, T* buffer) -> const T* {
      if (adjacent) return from + begin + start;
      for (int64_t i = 0; i < n;) {
        const int64_t term = begin + start + i, run = least(n - i, inner - term % inner);
        const T* const at = from + r.termOffset(term);
        for (int64_t j = 0; j < run; j++) buffer[i + j] = at[j * stride];
        i += run;
      }
      return buffer;
    });
  };
  const auto put = [&](int64_t output, T sum) {
    y[r.keptOffset(r.keptOut, output, 0)] = mean ? quotient(sum, divisor) : sum;
  };
  const int64_t perItem = most(1, kChunk / least(terms, perPart)), units = outputs * parts;
  context.parallelFor(ceilDivide(units, perItem), [&](int64_t item) {
    for (int64_t unit = item * perItem; unit < least(units, (item + 1) * perItem); unit++) {
      const T sum = partSum(unit / parts, unit % parts);
      if (partial) partial[unit] = sum;
      else put(unit, sum);
    }
  });
  if (!partial) return;
  for (int64_t output = 0; output < outputs; output++) {
    foldRows(partial + output * parts, parts, 1);
    put(output, partial[output * parts]);
  }
}

// Columns that one item sums; also the size of its accumulators.
constexpr int64_t kColumns = 512;

// Terms of a column that are summed in sequence: fewer than pairwise summing asks for, as the tree above costs little
// here.
constexpr int64_t kColumnTerms = 256;

// sums[i] += every row's x[i], row after row. `sums` has room for a whole vector at its end.
template <class T>
LANGEVIN_SIMD void addRows(T* sums, const T* x, int64_t rows, int64_t stride, int64_t width) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const T *const a = x + row * stride, *const b = a + stride, *const c = b + stride, *const d = c + stride;
    int64_t i = 0;
    for (; i + kWidth <= width; i += kWidth)
      storeAs(sums + i, (((loadAs(sums + i) + loadAs(a + i)) + loadAs(b + i)) + loadAs(c + i)) + loadAs(d + i));
    if (i < width) {
      const int64_t n = width - i;
      auto sum = (loadAs(sums + i) + SumOf<T>::partial(a + i, n)) + SumOf<T>::partial(b + i, n);
      storeAs(sums + i, (sum + SumOf<T>::partial(c + i, n)) + SumOf<T>::partial(d + i, n));
    }
  }
  for (; row < rows; row++) {
    const T* const a = x + row * stride;
    int64_t i = 0;
    for (; i + kWidth <= width; i += kWidth) storeAs(sums + i, loadAs(sums + i) + loadAs(a + i));
    if (i < width) storeAs(sums + i, loadAs(sums + i) + SumOf<T>::partial(a + i, width - i));
  }
}

// The innermost axis remains: rows of `cols` elements are summed, column by column. Narrow rows are taken `group` at a
// time as one wide row, so that row k of a block goes to sum k % group; the sums of a group are folded by halves.
template <class T>
struct ColumnSums {
  const Reduction& r;
  int64_t cols, stride, group;

  LANGEVIN_INLINE explicit ColumnSums(const Reduction& r)
      : r(r), cols(r.keptShape[r.keptRank - 1]), stride(r.keptIn[r.keptRank - 1]), group(1) {
    while (group * cols < 64) group *= 2;
  }

  // Terms [begin, begin + n) of columns [from, from + width) into `sums`.
  void block(const T* x, int64_t begin, int64_t n, int64_t width, T* sums) const {
    T wide[kColumns + kWidth] = {};
    const bool even = r.summedRank == 1 && stride == 1 && (group == 1 || r.summedIn[0] == cols);
    if (even) {
      const int64_t step = r.summedIn[0], whole = n / group;
      addRows(wide, x + begin * step, whole, group * step, group * width);
      if (n % group) addRows(wide, x + (begin + whole * group) * step, 1, 0, n % group * width);
    } else {
      T buffer[kColumns];
      for (int64_t i = 0; i < n; i += group) {
        const int64_t rows = least(group, n - i);
        for (int64_t k = 0; k < rows; k++) {
          const T* const row = x + r.termOffset(begin + i + k);
          if (group == 1 && stride == 1) addRows(wide, row, 1, 0, width);
          else
            for (int64_t c = 0; c < width; c++) buffer[k * width + c] = row[c * stride];
        }
        if (group != 1 || stride != 1) addRows(wide, static_cast<const T*>(buffer), 1, 0, rows * width);
      }
    }
    for (int64_t half = group / 2; half > 0; half /= 2) {
      LANGEVIN_IVDEP
      for (int64_t i = 0; i < half * width; i++) wide[i] += wide[half * width + i];
    }
    for (int64_t c = 0; c < width; c++) sums[c] = wide[c];
  }
};

template <class T>
void sumColumns(const Reduction& r, const T* x, T* y, bool mean, Context& context) {
  const ColumnSums<T> sums(r);
  const int64_t terms = r.terms(), cols = sums.cols, outer = r.outputs(1), tiles = ceilDivide(cols, kColumns);
  int64_t blocks = 1;  // a subtree of them is a part; narrow rows need several to be worth an item
  while (blocks * cols < 128) blocks *= 2;
  const int64_t perPart = blocks * kColumnTerms, parts = ceilDivide(terms, perPart);
  const int64_t outStride = r.keptOut[r.keptRank - 1];
  const float divisor = static_cast<float>(terms);
  T* const partial = parts > 1 ? reinterpret_cast<T*>(context.scratch(outer * parts * cols)) : nullptr;
  const auto put = [&](int64_t o, int64_t from, int64_t width, const T* sum) {
    T* const to = y + r.keptOffset(r.keptOut, o, 1) + from * outStride;
    for (int64_t c = 0; c < width; c++) to[c * outStride] = mean ? quotient(sum[c], divisor) : sum[c];
  };
  const int64_t perItem = most(1, 2 * kChunk / (least(terms, perPart) * least(cols, kColumns)));
  const int64_t units = outer * parts * tiles;
  context.parallelFor(ceilDivide(units, perItem), [&](int64_t item) {
    for (int64_t unit = item * perItem; unit < least(units, (item + 1) * perItem); unit++) {
      const int64_t tile = unit % tiles, part = unit / tiles % parts, o = unit / tiles / parts;
      const int64_t from = tile * kColumns, width = least(kColumns, cols - from);
      const T* const at = x + r.keptOffset(r.keptIn, o, 1) + from * sums.stride;
      const int64_t n = least(perPart, terms - part * perPart), count = ceilDivide(n, kColumnTerms);
      T rows[kColumns];  // several blocks only of narrow rows: blocks * cols < 256
      for (int64_t b = 0; b < count; b++)
        sums.block(at, part * perPart + b * kColumnTerms, least(kColumnTerms, n - b * kColumnTerms), width,
                   rows + b * width);
      foldRows(rows, count, width);
      if (!partial) put(o, from, width, rows);
      else
        for (int64_t c = 0; c < width; c++) partial[(o * parts + part) * cols + from + c] = rows[c];
    }
  });
  if (!partial) return;
  const int64_t outerPerItem = most(1, kChunk / (parts * cols));
  context.parallelFor(ceilDivide(outer, outerPerItem), [&](int64_t item) {
    for (int64_t o = item * outerPerItem; o < least(outer, (item + 1) * outerPerItem); o++) {
      foldRows(partial + o * parts * cols, parts, cols);
      put(o, 0, cols, partial + o * parts * cols);
    }
  });
}

template <class T>
void reduce(Command& command, Context& context, bool mean) {
  const Ints axes = command.attributes.ints();
  const bool keepDims = command.attributes.b();
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const Reduction r = reductionOf(x, y, axes, keepDims);
  if (x.size() == 0) {  // the sum of no terms, and its mean
    const T nothing = mean ? quotient(T(0), 0.0f) : T(0);
    for (int64_t row = 0; row < y.rows(); row++)
      for (int64_t c = 0; c < y.cols(); c++) y.as<T>()[row * y.pitch + c] = nothing;
    return;
  }
  if (r.summedInnermost) sumRows(r, x.as<T>(), y.as<T>(), mean, context);
  else sumColumns(r, x.as<T>(), y.as<T>(), mean, context);
}

void sum(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  if (command.output.dtype == DType::f32) reduce<float>(command, context, false);
  else reduce<uint32_t>(command, context, false);
}

void mean(Command& command, Context& context) {
  if (expectDType(command, context, DType::f32)) reduce<float>(command, context, true);
}

LANGEVIN_KERNEL("sum", "axes:ints,keepDims:bool", sum)
LANGEVIN_KERNEL("mean", "axes:ints,keepDims:bool", mean)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
