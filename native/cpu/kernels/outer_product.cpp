// Register tiles of sums that stay in registers while their chunk's pixels pass by; only pixels inside of x are visited.
#include "outer_product.h"

#include "lanes.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// A tile is up to mostRows() rows x up to kTileVectors vectors of columns.
constexpr int kTileVectors = 2;
constexpr int64_t kPanel = kTileVectors * kWidth;
#if defined(__AVX512F__)
constexpr int kMostRows = 16, kWideRows = 12;
#elif defined(__aarch64__)
constexpr int kMostRows = 16, kWideRows = 10;
#else
constexpr int kMostRows = 12, kWideRows = 6;
#endif
constexpr int mostRows(int vectors) { return vectors == 1 ? kMostRows : kWideRows; }

// A row of sums, and the broadcast operand's element that it multiplies, relative to the pixel.
struct Row {
  int64_t element;
  float* sums;
};

// Adds a[pixel][row] * b[pixel][columns] over the grid's pixels to the rows of sums, which start at zero if `fresh`. The
// last of Q vectors has `lanes` lanes. Adjacent: row m multiplies element m after the first one's.
template <int M, int Q, bool Adjacent>
void accumulate(const PixelGrid& grid, const Row* rows, int64_t lanes, bool fresh) {
  const bool whole = lanes == kWidth;
  V sum[M][Q];
  LANGEVIN_UNROLL
  for (int m = 0; m < M; m++)
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++)
      sum[m][q] = fresh       ? zero()
                  : q < Q - 1 ? load(rows[m].sums + q * kWidth)
                              : loadPartial(rows[m].sums + q * kWidth, lanes);
  int64_t element[M];
  LANGEVIN_UNROLL
  for (int m = 0; m < M; m++) element[m] = Adjacent ? m : rows[m].element;
  const float* const start = grid.a.start + (Adjacent ? rows[0].element : 0);
  for (int64_t n = 0; n < grid.counts[0]; n++)
    for (int64_t y = 0; y < grid.counts[1]; y++) {
      const float* a = start + n * grid.a.steps[0] + y * grid.a.steps[1];
      const float* b = grid.b.start + n * grid.b.steps[0] + y * grid.b.steps[1];
      for (int64_t x = 0; x < grid.counts[2]; x++, a += grid.a.steps[2], b += grid.b.steps[2]) {
        V column[Q];
        LANGEVIN_UNROLL
        for (int q = 0; q < Q - 1; q++) column[q] = load(b + q * kWidth);
        column[Q - 1] = whole ? load(b + (Q - 1) * kWidth) : loadPartial(b + (Q - 1) * kWidth, lanes);
        LANGEVIN_UNROLL
        for (int m = 0; m < M; m++) {
          const V row = broadcast(a[element[m]]);
          LANGEVIN_UNROLL
          for (int q = 0; q < Q; q++) sum[m][q] = fma(row, column[q], sum[m][q]);
        }
      }
    }
  LANGEVIN_UNROLL
  for (int m = 0; m < M; m++)
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++)
      if (q < Q - 1) store(rows[m].sums + q * kWidth, sum[m][q]);
      else storePartial(rows[m].sums + q * kWidth, sum[m][q], lanes);
}

using TileFunction = void (*)(const PixelGrid&, const Row*, int64_t lanes, bool fresh);

template <int M, int Q, bool Adjacent>
constexpr TileFunction tileOrNone() {
  if constexpr (M <= mostRows(Q)) return accumulate<M, Q, Adjacent>;
  else return nullptr;
}

#define LANGEVIN_TILES(q, adjacent)                                                                        \
  {                                                                                                        \
    tileOrNone<1, q, adjacent>(), tileOrNone<2, q, adjacent>(), tileOrNone<3, q, adjacent>(),              \
        tileOrNone<4, q, adjacent>(), tileOrNone<5, q, adjacent>(), tileOrNone<6, q, adjacent>(),          \
        tileOrNone<7, q, adjacent>(), tileOrNone<8, q, adjacent>(), tileOrNone<9, q, adjacent>(),          \
        tileOrNone<10, q, adjacent>(), tileOrNone<11, q, adjacent>(), tileOrNone<12, q, adjacent>(),       \
        tileOrNone<13, q, adjacent>(), tileOrNone<14, q, adjacent>(), tileOrNone<15, q, adjacent>(),       \
        tileOrNone<16, q, adjacent>()                                                                      \
  }
const TileFunction kTiles[kTileVectors][2][16] = {{LANGEVIN_TILES(1, false), LANGEVIN_TILES(1, true)},
                                                  {LANGEVIN_TILES(2, false), LANGEVIN_TILES(2, true)}};

// The sums as a matrix: rows (tap, row channel) x columns. The operand with the row channels is broadcast, the other one
// fills vectors.
struct Layout {
  bool swapped;      // rows are dy's channels rather than x's: where dy has too few to fill vectors
  bool mixed;        // tiles span taps: where x has too few channels to fill a tile
  int64_t taps, rowChannels, columns;
  int64_t rowTiles;  // of one tap, or of all if mixed
  int64_t panels;
};

constexpr int64_t kFewChannels = 6;

Layout layoutOf(const OuterProduct& g) {
  Layout l;
  l.taps = g.y.kernel * g.x.kernel;
  l.swapped = ceilDivide(g.outputs, kWidth) * g.inputs > ceilDivide(g.inputs, kWidth) * g.outputs;
  l.rowChannels = l.swapped ? g.outputs : g.inputs;
  l.columns = l.swapped ? g.inputs : g.outputs;
  l.mixed = !l.swapped && l.taps > 1 && g.inputs < kFewChannels;
  l.rowTiles = ceilDivide(l.mixed ? l.taps * g.inputs : l.rowChannels, mostRows(l.columns <= kWidth ? 1 : 2));
  l.panels = ceilDivide(l.columns, kPanel);
  return l;
}

// Groups of images, or bands of output rows of single images. By shape alone: the sums' bits depend on it.
struct Chunks {
  int64_t count, imagesPerGroup, bands;
};

constexpr int64_t kChunkPixels = 1024;
constexpr int64_t kMostChunks = 64;
constexpr int64_t kMostPartialSums = 1 << 22;  // 16 MiB

Chunks chunksOf(const OuterProduct& g, const Layout& l) {
  const int64_t pixels = g.images * g.y.narrow * g.x.narrow;
  const int64_t sums = most(1, l.taps * l.rowChannels * l.columns);
  const int64_t wanted = least(least(ceilDivide(pixels, kChunkPixels), kMostChunks), most(1, kMostPartialSums / sums));
  Chunks c;
  c.imagesPerGroup = most(1, ceilDivide(g.images, most(1, least(wanted, g.images))));
  const int64_t groups = most(1, ceilDivide(g.images, c.imagesPerGroup));
  c.bands = c.imagesPerGroup > 1 ? 1 : most(1, least(g.y.narrow, ceilDivide(wanted, groups)));
  c.count = groups * c.bands;
  return c;
}

struct ChunkPixels {
  Range images, rows;
};

ChunkPixels pixelsOf(const OuterProduct& g, const Chunks& c, int64_t chunk) {
  const int64_t group = chunk / c.bands, band = chunk % c.bands;
  return {{group * c.imagesPerGroup, least(g.images, (group + 1) * c.imagesPerGroup)},
          {g.y.narrow * band / c.bands, g.y.narrow * (band + 1) / c.bands}};
}

struct PanelColumns {
  int64_t first;
  int vectors;
  int64_t lanes;
};

PanelColumns columnsOf(const Layout& l, int64_t panel) {
  const int64_t first = panel * kPanel, count = least(kPanel, l.columns - first);
  const int64_t vectors = ceilDivide(count, kWidth);
  return {first, static_cast<int>(vectors), count - (vectors - 1) * kWidth};
}

// Rows of sums of one chunk.
struct Sums {
  float* data;
  int64_t row;
};

void clear(float* sums, const PanelColumns& columns) {
  __builtin_memset(sums, 0, ((columns.vectors - 1) * kWidth + columns.lanes) * sizeof(float));
}

// One tile whose rows are channels of one tap.
void tapTile(const OuterProduct& g, const Layout& l, const ChunkPixels& pixels, int64_t tap, int64_t rowTile,
             const PanelColumns& columns, const Sums& sums) {
  const int64_t ky = tap / g.x.kernel, kx = tap % g.x.kernel;
  const Range inside = insideRange(g.y, ky), x = insideRange(g.x, kx);
  const Range y = {most(inside.begin, pixels.rows.begin), least(inside.end, pixels.rows.end)};
  const int64_t begin = l.rowChannels * rowTile / l.rowTiles, end = l.rowChannels * (rowTile + 1) / l.rowTiles;
  Row rows[kMostRows];
  for (int64_t r = begin; r < end; r++)
    rows[r - begin] = {r, sums.data + (tap * l.rowChannels + r) * sums.row + columns.first};
  if (y.begin >= y.end || x.begin >= x.end || pixels.images.begin >= pixels.images.end) {
    for (int64_t r = begin; r < end; r++) clear(rows[r - begin].sums, columns);
    return;
  }
  const GridSteps source =
      gridSteps(g.source, pixels.images.begin, y.begin * g.y.stride - g.y.padding + ky * g.y.dilation,
                x.begin * g.x.stride - g.x.padding + kx * g.x.dilation, g.y.stride, g.x.stride);
  const GridSteps gradient = gridSteps(g.gradient, pixels.images.begin, y.begin, x.begin, 1, 1);
  PixelGrid grid = {{pixels.images.end - pixels.images.begin, y.end - y.begin, x.end - x.begin},
                    l.swapped ? gradient : source,
                    l.swapped ? source : gradient};
  grid.b.start += columns.first;
  grid.simplify();
  kTiles[columns.vectors - 1][1][end - begin - 1](grid, rows, columns.lanes, true);
}

// One tile whose rows are (tap, channel) pairs, class by class of pixels that read the same taps.
void mixedTile(const OuterProduct& g, const Layout& l, const Axis& yAxis, const Axis& xAxis, const ChunkPixels& pixels,
               int64_t rowTile, const PanelColumns& columns, const Sums& sums) {
  const int64_t total = l.taps * g.inputs;
  const int64_t begin = total * rowTile / l.rowTiles, end = total * (rowTile + 1) / l.rowTiles;
  for (int64_t r = begin; r < end; r++) clear(sums.data + r * sums.row + columns.first, columns);
  for (int64_t cy = 0; cy < yAxis.classCount; cy++) {
    const AxisClass& y = yAxis.classes[cy];
    const int64_t first = most(0, pixels.rows.begin - y.first), last = least(y.count, pixels.rows.end - y.first);
    if (first >= last) continue;
    for (int64_t cx = 0; cx < xAxis.classCount; cx++) {
      const AxisClass& x = xAxis.classes[cx];
      Row rows[kMostRows];
      int64_t n = 0;
      for (int64_t a = 0; a < y.tapCount; a++)
        for (int64_t b = 0; b < x.tapCount; b++)
          for (int64_t i = 0; i < g.inputs; i++) {
            const int64_t r = (y.taps[a].index * g.x.kernel + x.taps[b].index) * g.inputs + i;
            if (r < begin || r >= end) continue;
            rows[n++] = {y.taps[a].offset * g.source.row + x.taps[b].offset * g.source.pixel + i,
                         sums.data + r * sums.row + columns.first};
          }
      if (n == 0) continue;
      PixelGrid grid = {
          {pixels.images.end - pixels.images.begin, last - first, x.count},
          gridSteps(g.source, pixels.images.begin, y.source + first * y.sourceStep, x.source, y.sourceStep, x.sourceStep),
          gridSteps(g.gradient, pixels.images.begin, y.first + first, x.first, 1, 1)};
      grid.b.start += columns.first;
      grid.simplify();
      kTiles[columns.vectors - 1][0][n - 1](grid, rows, columns.lanes, false);
    }
  }
}

// Adds the chunks' sums in rows [begin, end) as a binary tree into the first chunk's and writes them to the output.
void combine(const OuterProduct& g, const Layout& l, float* partial, int64_t chunks, int64_t stride, int64_t begin,
             int64_t end) {
  for (int64_t step = 1; step < chunks; step *= 2)
    for (int64_t c = 0; c + step < chunks; c += 2 * step) {
      float* const to = partial + c * stride;
      const float* const from = partial + (c + step) * stride;
      int64_t i = begin * l.columns;
      for (; i + kWidth <= end * l.columns; i += kWidth) store(to + i, load(to + i) + load(from + i));
      for (; i < end * l.columns; i++) to[i] += from[i];
    }
  for (int64_t r = begin; r < end; r++) {
    const float* const from = partial + r * l.columns;
    const int64_t tap = r / l.rowChannels, channel = r % l.rowChannels;
    if (l.swapped) {
      const float bias = g.bias ? g.bias[channel] : 0;
      for (int64_t c = 0; c < l.columns; c++) {
        float* const to = g.output + (tap * g.inputs + c) * g.outputRow + channel;
        *to = g.bias ? from[c] + bias : from[c];
      }
    } else {
      float* const to = g.output + r * g.outputRow;
      for (int64_t c = 0; c < l.columns; c++) to[c] = g.bias ? from[c] + g.bias[c] : from[c];
    }
  }
}

constexpr double kFlopsPerItem = 1e6;  // about 10 us: large against the cost of handing an item out

}  // namespace

void outerProduct(const OuterProduct& g, Context& context) {
  const Layout l = layoutOf(g);
  const int64_t totalRows = l.taps * l.rowChannels;
  if (totalRows * l.columns == 0) return;
  const Chunks chunks = chunksOf(g, l);
  Axis y = {}, x = {};
  if (l.mixed) {
    y = convolutionAxis(g.y, context);
    x = convolutionAxis(g.x, context);
  }
  const bool direct = chunks.count == 1 && !l.swapped && !g.bias;
  const int64_t stride = ceilDivide(totalRows * l.columns, 16) * 16;
  float* const partial = direct ? nullptr : context.scratch(chunks.count * stride);

  const int64_t tilesPerTap = l.rowTiles * l.panels, tiles = l.mixed ? tilesPerTap : l.taps * tilesPerTap;
  const double pixels = static_cast<double>(g.images) * g.y.narrow * g.x.narrow;
  const double flopsPerTile = 2.0 * pixels * totalRows * l.columns / (static_cast<double>(chunks.count) * tiles);
  const double tilesWanted = kFlopsPerItem / (flopsPerTile + 1);
  const int64_t tilesPerItem = tilesWanted >= tiles ? tiles : most(1, static_cast<int64_t>(tilesWanted));
  const int64_t itemsPerChunk = ceilDivide(tiles, tilesPerItem);
  context.parallelFor(chunks.count * itemsPerChunk, [&](int64_t item) {
    const int64_t chunk = item / itemsPerChunk, first = item % itemsPerChunk * tilesPerItem;
    const ChunkPixels inChunk = pixelsOf(g, chunks, chunk);
    const Sums sums = direct ? Sums{g.output, g.outputRow} : Sums{partial + chunk * stride, l.columns};
    for (int64_t tile = first; tile < least(tiles, first + tilesPerItem); tile++) {
      const int64_t rowTile = tile % l.rowTiles, panel = tile / l.rowTiles % l.panels, tap = tile / tilesPerTap;
      if (l.mixed) mixedTile(g, l, y, x, inChunk, rowTile, columnsOf(l, panel), sums);
      else tapTile(g, l, inChunk, tap, rowTile, columnsOf(l, panel), sums);
    }
  });
  if (direct) return;
  const int64_t rowsPerItem = most(1, (1 << 16) / (chunks.count * l.columns));
  context.parallelFor(ceilDivide(totalRows, rowsPerItem), [&](int64_t item) {
    combine(g, l, partial, chunks.count, stride, item * rowsPerItem, least(totalRows, (item + 1) * rowsPerItem));
  });
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
