// Register tiles: the left factor's elements are broadcast, the right one's rows fill vectors.
#include "tile_product.h"

#include "lanes.h"
#include "strip.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// Rows of a tile: its sums, a row of the panel and a broadcast element fill the registers.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#elif defined(__aarch64__)
constexpr int kTileRows = 10;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileVectors = 2;

// P rows x Q vectors, the last of `lanes` lanes. Fresh: from zero rather than from what y holds.
template <int P, int Q, bool Fresh>
void tile(const LeftFactor& a, const float* panel, int64_t terms, const Rows& y, int64_t lanes) {
  V sum[P][Q];
  LANGEVIN_UNROLL
  for (int p = 0; p < P; p++)
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++) {
      const float* const from = y.data + p * y.pitch + q * kWidth;
      sum[p][q] = Fresh ? zero() : q < Q - 1 ? load(from) : loadLanes(from, lanes);
    }
  const float* left[P];
  LANGEVIN_UNROLL
  for (int p = 0; p < P; p++) left[p] = a.data + p * a.row;
  for (int64_t k = 0; k < terms; k++, panel += kPanelColumns) {
    V right[Q];
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++) right[q] = load(panel + q * kWidth);
    LANGEVIN_UNROLL
    for (int p = 0; p < P; p++) {
      const V x = broadcast(left[p][k * a.term]);
      LANGEVIN_UNROLL
      for (int q = 0; q < Q; q++) sum[p][q] = fma(x, right[q], sum[p][q]);
    }
  }
  LANGEVIN_UNROLL
  for (int p = 0; p < P; p++)
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++) {
      float* const to = y.data + p * y.pitch + q * kWidth;
      if (q < Q - 1) store(to, sum[p][q]);
      else storeLanes(to, sum[p][q], lanes);
    }
}

using TileFunction = void (*)(const LeftFactor&, const float* panel, int64_t terms, const Rows&, int64_t lanes);

template <int P, int Q, bool Fresh>
constexpr TileFunction tileOrNone() {
  if constexpr (P <= kTileRows) return tile<P, Q, Fresh>;
  else return nullptr;
}

#define LANGEVIN_TILES(q, fresh)                                                                    \
  {                                                                                                 \
    tileOrNone<1, q, fresh>(), tileOrNone<2, q, fresh>(), tileOrNone<3, q, fresh>(),                \
        tileOrNone<4, q, fresh>(), tileOrNone<5, q, fresh>(), tileOrNone<6, q, fresh>(),            \
        tileOrNone<7, q, fresh>(), tileOrNone<8, q, fresh>(), tileOrNone<9, q, fresh>(),            \
        tileOrNone<10, q, fresh>(), tileOrNone<11, q, fresh>(), tileOrNone<12, q, fresh>()          \
  }
const TileFunction kTiles[2][kTileVectors][12] = {{LANGEVIN_TILES(1, false), LANGEVIN_TILES(2, false)},
                                                  {LANGEVIN_TILES(1, true), LANGEVIN_TILES(2, true)}};

// Panel by panel, which stays in the first-level cache as the rows pass by.
void multiplyTiles(const LeftFactor& a, const Panels& b, int64_t terms, const Rows& y, int64_t rows, int64_t columns,
                   bool fresh) {
  for (int64_t column = 0; column < columns; column += kPanelColumns) {
    const int64_t count = least(kPanelColumns, columns - column), vectors = ceilDivide(count, kWidth);
    const float* const panel = b.fromColumn(column).data;
    // Tiles of equal size rather than full ones and a remnant.
    for (int64_t tiles = ceilDivide(rows, kTileRows), row = 0; tiles > 0; tiles--) {
      const int64_t height = ceilDivide(rows - row, tiles);
      const LeftFactor left = {a.data + row * a.row, a.row, a.term};
      const Rows target = {y.data + row * y.pitch + column, y.pitch};
      kTiles[fresh][vectors - 1][height - 1](left, panel, terms, target, count - (vectors - 1) * kWidth);
      row += height;
    }
  }
}

}  // namespace

void packPanels(const ConstRows& x, int64_t terms, int64_t columns, float* panels) {
  for (int64_t column = 0; column < columns; column += kPanelColumns)
    for (int64_t k = 0; k < terms; k++, panels += kPanelColumns)
      for (int64_t c = 0; c < kPanelColumns; c += kWidth) {
        const int64_t lanes = most(0, least(kWidth, columns - column - c));
        store(panels + c, lanes == 0 ? zero() : loadLanes(x.data + k * x.pitch + column + c, lanes));
      }
}

void packTransposedPanels(const ConstRows& x, int64_t terms, int64_t columns, float* panels) {
  for (int64_t column = 0; column < columns; column += kPanelColumns, panels += terms * kPanelColumns)
    for (int64_t c = 0; c < kPanelColumns; c += kWidth)
      for (int64_t k = 0; k < terms; k += kWidth) {
        const int64_t lanes = least(kWidth, terms - k);
        V block[kWidth];
        for (int i = 0; i < kWidth; i++)
          block[i] = column + c + i < columns ? loadLanes(x.data + (column + c + i) * x.pitch + k, lanes) : zero();
        transposeBlock(block);
        for (int64_t i = 0; i < lanes; i++) store(panels + (k + i) * kPanelColumns + c, block[i]);
      }
}

void multiply(const LeftFactor& a, const Panels& b, int64_t terms, const Rows& y, int64_t rows, int64_t columns) {
  multiplyTiles(a, b, terms, y, rows, columns, true);
}

void multiplyAdd(const LeftFactor& a, const Panels& b, int64_t terms, const Rows& y, int64_t rows, int64_t columns) {
  multiplyTiles(a, b, terms, y, rows, columns, false);
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
