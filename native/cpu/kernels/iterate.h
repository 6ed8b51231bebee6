// How kernels walk pitched and broadcast operands in parallel: runs of adjacent elements, blocks of element-wise work.
//
// All dtypes that kernels know take four bytes, so walking moves words and leaves their meaning to the innermost loop.
#pragma once

#include "../../core/registry.h"
#include "../simd.h"
#include "counts.h"

#if defined(__clang__)
// Loops that cannot become vectors (integer division) need no word about it.
#pragma clang diagnostic ignored "-Wpass-failed"
#define LANGEVIN_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define LANGEVIN_IVDEP _Pragma("GCC ivdep")
#endif

namespace langevin {
namespace LANGEVIN_ISA {

typedef uint32_t Word __attribute__((may_alias));

// Elements that one item of parallel work handles: large against the cost of handing it out, small against the caches.
constexpr int64_t kChunk = 16384;

// Elements that are brought together for one pass of an innermost loop; a few such blocks fit into the first-level
// cache.
constexpr int64_t kBlock = 1024;

LANGEVIN_SIMD bool isWord(DType dtype) { return dtype == DType::f32 || dtype == DType::i32; }

// Whether all operands are of `dtype`; tells the context where not.
LANGEVIN_SIMD bool expectDType(const Command& command, Context& context, DType dtype) {
  bool good = !command.output.present() || command.output.dtype == dtype;
  for (int i = 0; i < command.inputCount; i++)
    good = good && (!command.inputs[i].present() || command.inputs[i].dtype == dtype);
  if (!good) context.fail(dtype == DType::f32 ? "expected float32 operands" : "expected int32 operands");
  return good;
}

// Whether all operands are of one dtype that takes a word; tells the context where not.
LANGEVIN_SIMD bool expectSameWords(const Command& command, Context& context) {
  const DType dtype = command.inputs[0].dtype;
  bool good = isWord(dtype) && (!command.output.present() || command.output.dtype == dtype);
  for (int i = 1; i < command.inputCount; i++) good = good && command.inputs[i].dtype == dtype;
  if (!good) context.fail("expected operands of one dtype, float32 or int32");
  return good;
}

// Calls f(run, start, n) for pieces that cover `count` runs of `length` elements, at most kChunk of them at a time.
template <class F>
LANGEVIN_INLINE static void forEachPiece(Context& context, int64_t count, int64_t length, const F& f) {
  if (count <= 0 || length <= 0) return;
  if (length >= kChunk) {
    const int64_t pieces = ceilDivide(length, kChunk);
    context.parallelFor(count * pieces, [=, &f](int64_t item) {
      const int64_t start = item % pieces * kChunk;
      f(item / pieces, start, least(kChunk, length - start));
    });
  } else {
    const int64_t perItem = kChunk / length;
    context.parallelFor(ceilDivide(count, perItem), [=, &f](int64_t item) {
      const int64_t end = least(count, (item + 1) * perItem);
      for (int64_t run = item * perItem; run < end; run++) f(run, 0, length);
    });
  }
}

// The output of linearCombination, and the most terms that it has.
constexpr int kMaxRunOperands = 9;

// Operands of one shape as runs of adjacent elements: run r of operand k starts at r * pitch[k].
struct Runs {
  int64_t count = 1, length = 1;
  int64_t perImage = 1;  // runs that belong to one entry of axis 0, for runs that end with it
  int64_t pitch[kMaxRunOperands] = {};
};

// The longest runs that all operands have; with `perImage`, none that spans two entries of axis 0.
LANGEVIN_SIMD Runs runsOf(const Operand* const* operands, int count, bool perImage) {
  const Operand& shape = *operands[0];
  Runs runs;
  bool dense = true;
  for (int k = 0; k < count; k++) dense = dense && operands[k]->dense();
  const int64_t images = shape.rank == 0 ? 1 : shape.shape[0];
  if (perImage && shape.rank <= 1) {
    runs.count = images;
  } else if (dense) {
    runs.count = perImage ? images : 1;
    runs.length = runs.count == 0 ? 0 : shape.size() / runs.count;
  } else {
    runs.count = shape.rows();
    runs.length = shape.cols();
    runs.perImage = images == 0 ? 1 : most(1, runs.count / images);
  }
  const bool rows = !dense && !(perImage && shape.rank <= 1);
  for (int k = 0; k < count; k++) runs.pitch[k] = rows ? operands[k]->pitch : runs.length;
  return runs;
}

// A loop nest over N strided operands, innermost axis last. Element strides; 0 where an operand is repeated.
template <int N>
struct Nest {
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[N][kMaxRank] = {};

  LANGEVIN_INLINE int64_t rows() const {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; i++) n *= shape[i];
    return n;
  }

  // Where row `row` (all axes but the last, in row-major order) of operand k starts.
  LANGEVIN_INLINE int64_t rowOffset(int k, int64_t row) const {
    int64_t offset = 0;
    for (int i = rank - 2; i > 0; i--) {
      offset += row % shape[i] * stride[k][i];
      row /= shape[i];
    }
    return rank >= 2 ? offset + row * stride[k][0] : 0;
  }

  // Drops axes of size 1 and merges neighbours that every operand walks as one. Leaves at least one axis.
  LANGEVIN_INLINE void collapse() {
    int last = -1;
    for (int i = 0; i < rank; i++) {
      if (shape[i] == 1) continue;
      bool merges = last >= 0;
      for (int k = 0; k < N; k++) merges = merges && stride[k][last < 0 ? 0 : last] == stride[k][i] * shape[i];
      if (!merges) last++;
      shape[last] = merges ? shape[last] * shape[i] : shape[i];
      for (int k = 0; k < N; k++) stride[k][last] = stride[k][i];
    }
    if (last < 0) {
      last = 0;
      shape[0] = 1;
      for (int k = 0; k < N; k++) stride[k][0] = 1;
    }
    rank = last + 1;
  }
};

// Strides with which `x` is walked when broadcast to `rank` axes.
LANGEVIN_SIMD void broadcastStrides(const Operand& x, int rank, int64_t out[kMaxRank]) {
  int64_t own[kMaxRank] = {};
  x.strides(own);
  const int lead = rank - x.rank;
  for (int i = 0; i < rank; i++) out[i] = i < lead || x.shape[i - lead] == 1 ? 0 : own[i - lead];
}

// Copies `rows` rows of `cols` words; a column stride of 0 or more repeats or picks.
LANGEVIN_SIMD void gather(Word* y, const Word* x, int64_t rows, int64_t cols, int64_t rowStride, int64_t stride) {
  for (int64_t r = 0; r < rows; r++) {
    const Word* const row = x + r * rowStride;
    if (stride == 1) {
      LANGEVIN_IVDEP
      for (int64_t c = 0; c < cols; c++) y[c] = row[c];
    } else if (stride == 0) {
      const Word value = *row;
      for (int64_t c = 0; c < cols; c++) y[c] = value;
    } else {
      for (int64_t c = 0; c < cols; c++) y[c] = row[c * stride];
    }
    y += cols;
  }
}

LANGEVIN_SIMD void scatter(Word* y, const Word* x, int64_t rows, int64_t cols, int64_t rowStride, int64_t stride) {
  for (int64_t r = 0; r < rows; r++) {
    Word* const row = y + r * rowStride;
    for (int64_t c = 0; c < cols; c++) row[c * stride] = x[r * cols + c];
  }
}

// Element-wise work on n adjacent words of the output and of every input. Refers to a callable that outlives it, so that
// walking is compiled once for all of them.
class Block {
 public:
  template <class F>
  LANGEVIN_INLINE Block(const F& f)
      : closure_(&f), run_([](const void* closure, Word* y, const Word* const* x, int64_t n) {
          (*static_cast<const F*>(closure))(y, x, n);
        }) {}

  LANGEVIN_INLINE void operator()(Word* y, const Word* const* x, int64_t n) const { run_(closure_, y, x, n); }

 private:
  const void* closure_;
  void (*run_)(const void* closure, Word* y, const Word* const* x, int64_t n);
};

// One item's view of a nest: hands the inputs to `block` as adjacent words. Operand 0 of the nest is the output; an
// operand that is not adjacent as it lies goes through a buffer, which is kept as long as a repeated operand repeats.
template <int N>
struct BlockWalker {
  const Nest<N + 1>& nest;
  Word* y;
  const Word* const* x;
  Block block;
  const Word* held[N] = {};
  Word buffer[N + 1][kBlock];

  BlockWalker(const Nest<N + 1>& nest, Word* y, const Word* const* x, Block block)
      : nest(nest), y(y), x(x), block(block) {}

  // A piece of one row: elements [start, start + n).
  void piece(int64_t row, int64_t start, int64_t n) {
    const int inner = nest.rank - 1;
    const Word* from[N];
    int64_t stride[N];
    bool direct = nest.stride[0][inner] == 1;
    for (int k = 0; k < N; k++) {
      stride[k] = nest.stride[k + 1][inner];
      from[k] = x[k] + nest.rowOffset(k + 1, row) + start * stride[k];
      direct = direct && stride[k] == 1;
    }
    Word* to = y + nest.rowOffset(0, row) + start * nest.stride[0][inner];
    if (direct) {
      block(to, from, n);
      return;
    }
    for (int64_t done = 0; done < n; done += kBlock) {
      const int64_t m = least(kBlock, n - done);
      const Word* in[N];
      for (int k = 0; k < N; k++) {
        in[k] = stride[k] == 1 ? from[k] + done : buffer[k + 1];
        if (stride[k] == 1) continue;
        const Word* const at = from[k] + done * stride[k];
        if (stride[k] == 0 && held[k] == at) continue;
        gather(buffer[k + 1], at, 1, stride[k] == 0 ? kBlock : m, 0, stride[k]);
        held[k] = stride[k] == 0 ? at : nullptr;
      }
      const bool adjacent = nest.stride[0][inner] == 1;
      block(adjacent ? to + done : buffer[0], in, m);
      if (!adjacent) scatter(to + done * nest.stride[0][inner], buffer[0], 1, m, 0, nest.stride[0][inner]);
    }
  }

  // `rows` short rows that are neighbours along the innermost axis but one; together they fit into a block.
  void shortRows(int64_t row, int64_t rows, int64_t mostRows) {
    const int inner = nest.rank - 1;
    const int64_t cols = nest.shape[inner];
    const Word* in[N];
    for (int k = 0; k < N; k++) {
      const int64_t stride = nest.stride[k + 1][inner], rowStride = nest.stride[k + 1][inner - 1];
      const Word* const from = x[k] + nest.rowOffset(k + 1, row);
      const bool adjacent = stride == 1 && rowStride == cols;
      in[k] = adjacent ? from : buffer[k + 1];
      if (adjacent || (rowStride == 0 && held[k] == from)) continue;
      gather(buffer[k + 1], from, rowStride == 0 ? mostRows : rows, cols, rowStride, stride);
      held[k] = rowStride == 0 ? from : nullptr;
    }
    const int64_t stride = nest.stride[0][inner], rowStride = nest.stride[0][inner - 1];
    Word* const to = y + nest.rowOffset(0, row);
    const bool adjacent = stride == 1 && rowStride == cols;
    block(adjacent ? to : buffer[0], in, rows * cols);
    if (!adjacent) scatter(to, buffer[0], rows, cols, rowStride, stride);
  }
};

// Rows shorter than this are taken several at a time.
constexpr int64_t kShortRow = 256;

// Calls block(y, x, n) with pointers to n adjacent words of the output and of every input, over the whole nest.
template <int N>
static void forEachBlock(Context& context, const Nest<N + 1>& nest, Word* y, const Word* const* x, Block block) {
  const int64_t cols = nest.shape[nest.rank - 1], rows = nest.rows();
  if (cols <= 0 || rows <= 0) return;
  if (nest.rank == 1 || cols >= kShortRow) {
    const bool split = cols >= kChunk;
    const int64_t pieces = split ? ceilDivide(cols, kChunk) : 1, perItem = split ? 1 : kChunk / cols;
    context.parallelFor(ceilDivide(rows, perItem) * pieces, [&, pieces, perItem, rows, cols](int64_t item) {
      BlockWalker<N> walker(nest, y, x, block);
      const int64_t start = item % pieces * kChunk, first = item / pieces * perItem;
      const int64_t end = least(rows, first + perItem);
      for (int64_t row = first; row < end; row++)
        walker.piece(row, start, pieces == 1 ? cols : least(kChunk, cols - start));
    });
    return;
  }
  const int64_t axis = nest.shape[nest.rank - 2], mostRows = least(axis, kBlock / cols), perItem = kChunk / cols;
  context.parallelFor(ceilDivide(rows, perItem), [&, axis, mostRows, perItem, rows](int64_t item) {
    BlockWalker<N> walker(nest, y, x, block);
    const int64_t end = least(rows, (item + 1) * perItem);
    for (int64_t row = item * perItem; row < end;) {
      const int64_t n = least(mostRows, least(end - row, axis - row % axis));
      walker.shortRows(row, n, mostRows);
      row += n;
    }
  });
}

// Calls block(y, x, n) over the whole output, the inputs broadcast to its shape.
template <int N>
static void elementwise(Context& context, const Operand& output, const Operand* const (&inputs)[N], Block block) {
  Nest<N + 1> nest;
  nest.rank = output.rank;
  for (int i = 0; i < output.rank; i++) nest.shape[i] = output.shape[i];
  output.strides(nest.stride[0]);
  const Word* x[N];
  for (int k = 0; k < N; k++) {
    broadcastStrides(*inputs[k], output.rank, nest.stride[k + 1]);
    x[k] = inputs[k]->template as<const Word>();
  }
  nest.collapse();
  forEachBlock<N>(context, nest, output.as<Word>(), x, block);
}

// Applies f to vectors of float32 lanes; the tail runs the same operations on part of a vector.
template <class F>
LANGEVIN_INLINE static void mapFloats(const F& f, Word* y, const Word* const* x, int64_t n) {
  float* const out = reinterpret_cast<float*>(y);
  const float* const a = reinterpret_cast<const float*>(x[0]);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(out + i, f(load(a + i)));
  if (i < n) storePartial(out + i, f(loadPartial(a + i, n - i)), n - i);
}

template <class F>
LANGEVIN_INLINE static void mapFloatPairs(const F& f, Word* y, const Word* const* x, int64_t n) {
  float* const out = reinterpret_cast<float*>(y);
  const float* const a = reinterpret_cast<const float*>(x[0]);
  const float* const b = reinterpret_cast<const float*>(x[1]);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(out + i, f(load(a + i), load(b + i)));
  if (i < n) storePartial(out + i, f(loadPartial(a + i, n - i), loadPartial(b + i, n - i)), n - i);
}

// y = f(x) for vectors of float32 lanes over whole operands.
template <class F>
static void applyToFloats(Command& command, Context& context, const F& f) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const inputs[1] = {&command.inputs[0]};
  elementwise(context, command.output, inputs,
              [&f](Word* y, const Word* const* x, int64_t n) { mapFloats(f, y, x, n); });
}

// y = f(a, b), broadcast to the output.
template <class F>
static void applyToFloatPairs(Command& command, Context& context, const F& f) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const inputs[2] = {&command.inputs[0], &command.inputs[1]};
  elementwise(context, command.output, inputs,
              [&f](Word* y, const Word* const* x, int64_t n) { mapFloatPairs(f, y, x, n); });
}

// The same for functions without attributes, as kernels.
template <class F>
static void ofOne(Command& command, Context& context) {
  applyToFloats(command, context, F{});
}
template <class F>
static void ofTwo(Command& command, Context& context) {
  applyToFloatPairs(command, context, F{});
}

// The same for float32, or for int32 as unsigned words.
template <class F>
static void ofTwoWords(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand* const inputs[2] = {&command.inputs[0], &command.inputs[1]};
  if (command.output.dtype == DType::f32) {
    elementwise(context, command.output, inputs,
                [](Word* y, const Word* const* x, int64_t n) { mapFloatPairs(F{}, y, x, n); });
  } else {
    elementwise(context, command.output, inputs, [](Word* y, const Word* const* x, int64_t n) {
      const Word *const a = x[0], *const b = x[1];
      LANGEVIN_IVDEP
      for (int64_t i = 0; i < n; i++) y[i] = F{}(a[i], b[i]);
    });
  }
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
