// Copies between any two strided places of one shape; transposes in tiles.
#pragma once

#include "iterate.h"
#include "lanes.h"

namespace langevin {
namespace LANGEVIN_ISA {

LANGEVIN_SIMD void copyWords(Word* y, const Word* x, int64_t n) {
  int32_t* const to = reinterpret_cast<int32_t*>(y);
  const int32_t* const from = reinterpret_cast<const int32_t*>(x);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) storeInt(to + i, loadInt(from + i));
  if (i < n) storePartialInt(to + i, loadPartialInt(from + i, n - i), n - i);
}

// Writes zeros to every element.
static inline void clear(Context& context, const Operand& y) {
  const Operand* const operands[1] = {&y};
  const Runs runs = runsOf(operands, 1, false);
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    __builtin_memset(y.as<Word>() + run * runs.pitch[0] + start, 0, static_cast<size_t>(n) * sizeof(Word));
  });
}

// Side of the square that a transposition reads along one axis and writes along the other.
constexpr int64_t kTile = 32;

// to[i + j * toStride] = from[i * fromStride + j] for i < n, j < m; the words move as floats, whose bits nothing
// touches.
LANGEVIN_SIMD void transposeTile(Word* to, int64_t toStride, const Word* from, int64_t fromStride, int64_t n,
                                 int64_t m) {
  float* const y = reinterpret_cast<float*>(to);
  const float* const x = reinterpret_cast<const float*>(from);
  for (int64_t i = 0; i < n; i += kWidth)
    for (int64_t j = 0; j < m; j += kWidth) {
      const int64_t rows = least(kWidth, n - i), cols = least(kWidth, m - j);
      V v[kWidth];
      if (rows == kWidth && cols == kWidth) {
        LANGEVIN_UNROLL
        for (int k = 0; k < kWidth; k++) v[k] = load(x + (i + k) * fromStride + j);
        transposeBlock(v);
        LANGEVIN_UNROLL
        for (int k = 0; k < kWidth; k++) store(y + (j + k) * toStride + i, v[k]);
      } else {
        for (int k = 0; k < kWidth; k++) v[k] = k < rows ? loadPartial(x + (i + k) * fromStride + j, cols) : zero();
        transposeBlock(v);
        for (int k = 0; k < cols; k++) storePartial(y + (j + k) * toStride + i, v[k], rows);
      }
    }
}

// The element at index (i, j, ...) of `to` becomes that of `from`, over `shape`. Strides in elements; 0 in `from`
// repeats.
static inline void move(Context& context, int rank, const int64_t* shape, Word* to, const int64_t* toStride,
                        const Word* from, const int64_t* fromStride) {
  Nest<2> nest;
  nest.rank = rank;
  for (int i = 0; i < rank; i++) {
    nest.shape[i] = shape[i];
    nest.stride[0][i] = shape[i] == 1 ? 0 : toStride[i];
    nest.stride[1][i] = shape[i] == 1 ? 0 : fromStride[i];
  }
  nest.collapse();
  const int inner = nest.rank - 1;
  int along = -1;  // the axis along which the source is adjacent, where that is not the innermost
  if (nest.stride[0][inner] == 1 && nest.stride[1][inner] > 1)
    for (int i = 0; i < inner; i++)
      if (nest.stride[1][i] == 1) along = i;
  if (along < 0) {
    const int64_t toStep = nest.stride[0][inner], fromStep = nest.stride[1][inner];
    forEachPiece(context, nest.rows(), nest.shape[inner], [&, toStep, fromStep](int64_t row, int64_t start, int64_t n) {
      Word* const y = to + nest.rowOffset(0, row) + start * toStep;
      const Word* const x = from + nest.rowOffset(1, row) + start * fromStep;
      if (toStep == 1 && fromStep == 1) {
        copyWords(y, x, n);
      } else if (toStep == 1 && fromStep == -1) {
        LANGEVIN_IVDEP
        for (int64_t i = 0; i < n; i++) y[i] = x[-i];
      } else {
        for (int64_t i = 0; i < n; i++) y[i * toStep] = x[i * fromStep];
      }
    });
    return;
  }
  // Tiles of the two axes; all others count through.
  Nest<2> outer;
  for (int i = 0; i < inner; i++) {
    if (i == along) continue;
    outer.shape[outer.rank] = nest.shape[i];
    for (int k = 0; k < 2; k++) outer.stride[k][outer.rank] = nest.stride[k][i];
    outer.rank++;
  }
  outer.rank++;  // a last axis of size 1, so that every index is a row
  outer.shape[outer.rank - 1] = 1;
  const int64_t n = nest.shape[inner], m = nest.shape[along], fromStep = nest.stride[1][inner];
  const int64_t toStep = nest.stride[0][along], across = ceilDivide(m, kTile), tiles = ceilDivide(n, kTile) * across;
  forEachPiece(context, outer.rows(), tiles * kTile * kTile, [&](int64_t row, int64_t start, int64_t count) {
    Word* const y = to + outer.rowOffset(0, row);
    const Word* const x = from + outer.rowOffset(1, row);
    for (int64_t tile = start / (kTile * kTile); tile < (start + count) / (kTile * kTile); tile++) {
      const int64_t i = tile / across * kTile, j = tile % across * kTile;
      transposeTile(y + i + j * toStep, toStep, x + i * fromStep + j, fromStep, least(kTile, n - i),
                    least(kTile, m - j));
    }
  });
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
