// Work along one axis: lines of elements that are taken in order, side by side with their neighbours where these are
// adjacent.
#pragma once

#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {

// The places of N operands at the elements of `shape`, which none of them is smaller than. The nest counts through all
// axes but the one along which lines run; its innermost axis is adjacent in every operand.
template <int N>
struct Lines {
  int64_t length = 1;
  int64_t step[N] = {};  // along a line
  Nest<N> nest;

  Lines(int rank, const int64_t* shape, int axis, const Operand* const (&operands)[N]) {
    int64_t strides[N][kMaxRank] = {};
    for (int k = 0; k < N; k++) operands[k]->strides(strides[k]);
    length = shape[axis];
    for (int i = 0; i < rank; i++) {
      if (i == axis) continue;
      nest.shape[nest.rank] = shape[i];
      for (int k = 0; k < N; k++) nest.stride[k][nest.rank] = strides[k][i];
      nest.rank++;
    }
    for (int k = 0; k < N; k++) step[k] = strides[k][axis];
    if (axis < rank - 1 && shape[rank - 1] > 1) {
      nest.collapse();
    } else if (axis == rank - 1) {
      nest.shape[nest.rank] = 1;
      for (int k = 0; k < N; k++) nest.stride[k][nest.rank] = 1;
      nest.rank++;
    }
  }
};

// Lines that are handled side by side, at most.
constexpr int64_t kLines = 256;

// Calls f(offset, width) for every group of `width` <= kLines adjacent lines; offset[k] is where the first begins in
// operand k. Groups are independent of each other.
template <int N, class F>
LANGEVIN_INLINE static void forEachLine(Context& context, const Lines<N>& lines, const F& f) {
  const Nest<N>& nest = lines.nest;
  const int64_t rows = nest.rows(), cols = nest.shape[nest.rank - 1], tiles = ceilDivide(cols, kLines);
  if (lines.length == 0 || rows * tiles == 0) return;
  const int64_t perItem = most(1, kChunk / (lines.length * least(cols, kLines))), groups = rows * tiles;
  context.parallelFor(ceilDivide(groups, perItem), [&](int64_t item) {
    for (int64_t group = item * perItem; group < least(groups, (item + 1) * perItem); group++) {
      const int64_t start = group % tiles * kLines;
      int64_t offset[N];
      for (int k = 0; k < N; k++) offset[k] = nest.rowOffset(k, group / tiles) + start;
      f(offset, least(kLines, cols - start));
    }
  });
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
