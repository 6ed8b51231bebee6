// Products of small matrices on one thread, for kernels that keep what they multiply in the caches.
#pragma once

#include "../simd.h"
#include "counts.h"

namespace langevin {
namespace LANGEVIN_ISA {

// Columns that a register tile is wide.
constexpr int64_t kPanelColumns = 2 * kWidth;

// Rows of adjacent elements, `pitch` apart.
struct ConstRows {
  const float* data;
  int64_t pitch;
};
struct Rows {
  float* data;
  int64_t pitch;
};

// The left factor: element (i, k) at data + i * row + k * term.
struct LeftFactor {
  const float* data;
  int64_t row, term;
};

// The right factor in panels of kPanelColumns columns, each of `terms` adjacent rows; beyond its last column lie zeros.
struct Panels {
  const float* data;
  int64_t terms;

  // The same columns from row `first` on.
  LANGEVIN_INLINE Panels fromTerm(int64_t first) const { return {data + first * kPanelColumns, terms}; }
  // The columns from `first`, a multiple of kPanelColumns, on.
  LANGEVIN_INLINE Panels fromColumn(int64_t first) const { return {data + first * terms, terms}; }
};

// Floats that panels of a [terms, columns] factor take.
static LANGEVIN_INLINE int64_t panelFloats(int64_t terms, int64_t columns) {
  return ceilDivide(columns, kPanelColumns) * kPanelColumns * terms;
}

// Packs x [terms, columns], or its transpose where x is [columns, terms].
void packPanels(const ConstRows& x, int64_t terms, int64_t columns, float* panels);
void packTransposedPanels(const ConstRows& x, int64_t terms, int64_t columns, float* panels);

// y = a b of `rows` x `columns`, or y += a b: every element one chain of fused multiply-adds over `terms` terms, from zero
// or from what it was.
void multiply(const LeftFactor& a, const Panels& b, int64_t terms, const Rows& y, int64_t rows, int64_t columns);
void multiplyAdd(const LeftFactor& a, const Panels& b, int64_t terms, const Rows& y, int64_t rows, int64_t columns);

}  // namespace LANGEVIN_ISA
}  // namespace langevin
