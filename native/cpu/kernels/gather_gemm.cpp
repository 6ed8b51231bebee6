// Register-tiled microkernels over classes of pixels that share their taps (window.h), so no row of zeros is multiplied.
#include "gather_gemm.h"

#include "lanes.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// A tile is tilePixels() x up to kTileVectors vectors of outputs: its accumulators and a row of weights fill the registers.
#if defined(__AVX512F__)
constexpr int kTilePixels = 12;
#elif defined(__aarch64__)
constexpr int kTilePixels = 10;
#else
constexpr int kTilePixels = 6;
#endif
constexpr int kTileVectors = 2;
constexpr int64_t kPanel = kTileVectors * kWidth;

// Consecutive source elements that meet consecutive rows of weights: the channels of one tap, or of several if the pixels
// lie without gaps.
struct Run {
  int64_t source, weight, length;
};

// The weights of a panel: row k (tap and channel) at data + k * row. `rowsY` is the number of rows of one tap y.
struct Panel {
  const float* data;
  int64_t row;
};

// What all pixels of a class have in common.
struct Reads {
  const Tap* tapsY;
  int64_t tapCountY;
  int64_t sourceRow;  // distance between source rows
  int64_t weightsY;   // rows of weights for each tap y
  const Run* runs;    // of one tap y
  int64_t runCount;
};

// Where the outputs of a tile go: vectors from column `column` on, the last with `lanes` lanes.
struct Columns {
  int64_t column;
  int vectors;
  int64_t lanes;
  const float* bias;
};

using TileFunction = void (*)(const float* const* sources, float* const* outputs, const Reads&, const Panel&,
                              const Columns&);

template <int P, int Q>
void tile(const float* const* sources, float* const* outputs, const Reads& reads, const Panel& panel,
          const Columns& columns) {
  V sum[P][Q];
  LANGEVIN_UNROLL
  for (int p = 0; p < P; p++)
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++) sum[p][q] = zero();
  for (int64_t a = 0; a < reads.tapCountY; a++) {
    const Tap tap = reads.tapsY[a];
    for (int64_t r = 0; r < reads.runCount; r++) {
      const Run run = reads.runs[r];
      const float* source[P];
      const int64_t offset = tap.offset * reads.sourceRow + run.source;
      LANGEVIN_UNROLL
      for (int p = 0; p < P; p++) source[p] = sources[p] + offset;
      const float* w = panel.data + (tap.index * reads.weightsY + run.weight) * panel.row;
      for (int64_t c = 0; c < run.length; c++, w += panel.row) {
        V weight[Q];
        LANGEVIN_UNROLL
        for (int q = 0; q < Q; q++) weight[q] = load(w + q * kWidth);
        LANGEVIN_UNROLL
        for (int p = 0; p < P; p++) {
          const V x = broadcast(source[p][c]);
          LANGEVIN_UNROLL
          for (int q = 0; q < Q; q++) sum[p][q] = fma(x, weight[q], sum[p][q]);
        }
      }
    }
  }
  if (columns.bias) {
    V bias[Q];
    LANGEVIN_UNROLL
    for (int q = 0; q < Q; q++)
      bias[q] = q == Q - 1 ? loadPartial(columns.bias + columns.column + q * kWidth, columns.lanes)
                           : load(columns.bias + columns.column + q * kWidth);
    LANGEVIN_UNROLL
    for (int p = 0; p < P; p++)
      LANGEVIN_UNROLL
      for (int q = 0; q < Q; q++) sum[p][q] += bias[q];
  }
  if (columns.lanes == kWidth) {
    LANGEVIN_UNROLL
    for (int p = 0; p < P; p++)
      LANGEVIN_UNROLL
      for (int q = 0; q < Q; q++) store(outputs[p] + columns.column + q * kWidth, sum[p][q]);
    return;
  }
  LANGEVIN_UNROLL
  for (int p = 0; p < P; p++) {
    LANGEVIN_UNROLL
    for (int q = 0; q + 1 < Q; q++) store(outputs[p] + columns.column + q * kWidth, sum[p][q]);
    storePartial(outputs[p] + columns.column + (Q - 1) * kWidth, sum[p][Q - 1], columns.lanes);
  }
}

constexpr int kMostPixels = 12;
constexpr int tilePixels(int vectors) { return vectors == 1 ? kMostPixels : kTilePixels; }

template <int P, int Q>
constexpr TileFunction tileOrNone() {
  if constexpr (P <= tilePixels(Q)) return tile<P, Q>;
  else return nullptr;
}

#define LANGEVIN_TILES(q)                                                                               \
  {                                                                                                     \
    tileOrNone<1, q>(), tileOrNone<2, q>(), tileOrNone<3, q>(), tileOrNone<4, q>(), tileOrNone<5, q>(), \
        tileOrNone<6, q>(), tileOrNone<7, q>(), tileOrNone<8, q>(), tileOrNone<9, q>(),                 \
        tileOrNone<10, q>(), tileOrNone<11, q>(), tileOrNone<12, q>()                                   \
  }
const TileFunction kTiles[kTileVectors][kMostPixels] = {LANGEVIN_TILES(1), LANGEVIN_TILES(2)};

// Few outputs: the channels lie in the lanes. kDotPixels x up to kDotOutputs sums, then a sum over the lanes of each.
constexpr int kDotPixels = 8;
#if defined(__AVX512F__)
constexpr int kDotOutputs = 3;
#else
constexpr int kDotOutputs = 1;
#endif

// The sum over the lanes of each of kDotPixels vectors.
LANGEVIN_SIMD void sumPixels(const V* sum, float* y) {
  if constexpr (kWidth > kDotPixels) {
    const V pairs = sumEach<kDotPixels>(sum);
    const V all = addNeighbours(pairs, pairs);
    storePartial(y, all, kDotPixels);
  } else {
    for (int p = 0; p < kDotPixels; p += kWidth) store(y + p, sumEach<kWidth>(sum + p));
  }
}

// weights [outputs, taps, channels] in rows of `depth`. Tails: channels do not fill vectors.
template <int O, bool Tails>
void dotTile(const float* const* sources, float* const* outputs, int64_t pixels, const Reads& reads, const float* weights,
             int64_t depth, const float* bias) {
  V sum[O][kDotPixels];
  LANGEVIN_UNROLL
  for (int o = 0; o < O; o++)
    LANGEVIN_UNROLL
    for (int p = 0; p < kDotPixels; p++) sum[o][p] = zero();
  for (int64_t a = 0; a < reads.tapCountY; a++) {
    const Tap tap = reads.tapsY[a];
    for (int64_t r = 0; r < reads.runCount; r++) {
      const Run run = reads.runs[r];
      const int64_t offset = tap.offset * reads.sourceRow + run.source;
      const float* source[kDotPixels];
      LANGEVIN_UNROLL
      for (int p = 0; p < kDotPixels; p++) source[p] = sources[p] + offset;
      const float* const w = weights + tap.index * reads.weightsY + run.weight;
      for (int64_t c = 0; c < run.length; c += kWidth) {
        const int64_t lanes = Tails ? least(kWidth, run.length - c) : kWidth;
        V weight[O];
        LANGEVIN_UNROLL
        for (int o = 0; o < O; o++)
          weight[o] = lanes == kWidth ? load(w + o * depth + c) : loadPartial(w + o * depth + c, lanes);
        LANGEVIN_UNROLL
        for (int p = 0; p < kDotPixels; p++) {
          const V x = lanes == kWidth ? load(source[p] + c) : loadPartial(source[p] + c, lanes);
          LANGEVIN_UNROLL
          for (int o = 0; o < O; o++) sum[o][p] = fma(x, weight[o], sum[o][p]);
        }
      }
    }
  }
  LANGEVIN_UNROLL
  for (int o = 0; o < O; o++) {
    float y[kDotPixels];
    sumPixels(sum[o], y);
    for (int64_t p = 0; p < pixels; p++) outputs[p][o] = bias ? y[p] + bias[o] : y[p];
  }
}

using DotFunction = void (*)(const float* const* sources, float* const* outputs, int64_t pixels, const Reads&,
                             const float* weights, int64_t depth, const float* bias);

template <bool Tails>
DotFunction dotTileOf(int64_t outputs) {
  if constexpr (kDotOutputs == 1) return dotTile<1, Tails>;
  else return outputs == 1 ? dotTile<1, Tails> : outputs == 2 ? dotTile<2, Tails> : dotTile<3, Tails>;
}

// Hands out the pixels of a class as source and output addresses.
class PixelWalk {
 public:
  PixelWalk(const GatherGemm& g, const AxisClass& y, const AxisClass& x, Range images, Range rows)
      : grid_{{images.end - images.begin, rows.end - rows.begin, x.count},
              gridSteps(g.source, images.begin, y.source + rows.begin * y.sourceStep, x.source, y.sourceStep,
                        x.sourceStep),
              gridSteps(g.output, images.begin, y.first + rows.begin * y.step, x.first, y.step, x.step)},
        source_(grid_.a.start),
        output_(grid_.b.start) {
    grid_.simplify();
  }

  int64_t size() const { return grid_.size(); }

  void skipOutputs(int64_t n) { output_ += n; }

  void next(int64_t n, const float** sources, float** outputs) {
    for (int64_t p = 0; p < n; p++) {
      sources[p] = source_;
      outputs[p] = output_;
      source_ += grid_.a.steps[2];
      output_ += grid_.b.steps[2];
      if (++at_[2] == grid_.counts[2]) carry(2);
    }
  }

 private:
  void carry(int level) {
    at_[level] = 0;
    source_ -= grid_.counts[level] * grid_.a.steps[level];
    output_ -= grid_.counts[level] * grid_.b.steps[level];
    if (level == 0) return;
    source_ += grid_.a.steps[level - 1];
    output_ += grid_.b.steps[level - 1];
    if (++at_[level - 1] == grid_.counts[level - 1]) carry(level - 1);
  }

  PixelGrid grid_;
  int64_t at_[3] = {0, 0, 0};
  const float* source_;
  float* output_;
};

// Runs of each x class.
struct RunList {
  const Run* runs;
  int64_t count;
};

// Sums in lanes (dotTile) tell channels apart modulo kWidth, so there taps may only follow each other in whole vectors.
const RunList* buildRuns(const GatherGemm& g, bool lanes, Context& context) {
  int64_t taps = 0;
  for (int64_t i = 0; i < g.x.classCount; i++) taps += g.x.classes[i].tapCount;
  RunList* const lists = reinterpret_cast<RunList*>(context.scratch(g.x.classCount * sizeof(RunList) / 4));
  Run* run = reinterpret_cast<Run*>(context.scratch(most(taps, 1) * sizeof(Run) / 4));
  const bool mayMerge = !lanes || g.channels % kWidth == 0;
  for (int64_t i = 0; i < g.x.classCount; i++) {
    const AxisClass& x = g.x.classes[i];
    const Run* const first = run;
    for (int64_t t = 0; t < x.tapCount; t++) {
      const Run next = {x.taps[t].offset * g.source.pixel, x.taps[t].index * g.channels, g.channels};
      Run* const last = run - 1;
      if (mayMerge && t > 0 && next.source == last->source + last->length && next.weight == last->weight + last->length)
        last->length += next.length;
      else
        *run++ = next;
    }
    lists[i] = {first, run - first};
  }
  return lists;
}

// Copies the weights of a tap into a panel: rows of kPanel outputs, zeros beyond the last.
void packPanel(const GatherGemm& g, const float* weights, float* packed, int64_t tap, int64_t panel) {
  const int64_t depth = g.kernelY * g.kernelX * g.channels;
  const float* const w = weights + tap / g.kernelX * g.weight.tapY + tap % g.kernelX * g.weight.tapX;
  for (int64_t o = panel * kPanel; o < (panel + 1) * kPanel; o += kWidth) {
    float* const to = packed + (panel * depth + tap * g.channels) * kPanel + (o - panel * kPanel);
    const int64_t outputs = most(0, least(kWidth, g.outputs - o));
    if (g.weight.output == 1) {
      for (int64_t c = 0; c < g.channels; c++) store(to + c * kPanel, loadPartial(w + c * g.weight.channel + o, outputs));
      continue;
    }
    for (int64_t c = 0; c < g.channels; c += kWidth) {
      const int64_t channels = least(kWidth, g.channels - c);
      V block[kWidth];
      for (int i = 0; i < kWidth; i++) {
        const float* const from = w + (o + i) * g.weight.output + c;
        block[i] = i >= outputs ? zero() : channels == kWidth ? load(from) : loadPartial(from, channels);
      }
      transposeBlock(block);
      for (int64_t i = 0; i < channels; i++) store(to + (c + i) * kPanel, block[i]);
    }
  }
}

// [outputs, taps, channels] for dotTile.
void packRows(const GatherGemm& g, const float* weights, float* packed) {
  for (int64_t o = 0; o < g.outputs; o++)
    for (int64_t y = 0; y < g.kernelY; y++)
      for (int64_t x = 0; x < g.kernelX; x++) {
        const float* const w = weights + y * g.weight.tapY + x * g.weight.tapX + o * g.weight.output;
        for (int64_t c = 0; c < g.channels; c++) *packed++ = w[c * g.weight.channel];
      }
}

// How the work is dealt out: groups of images, or bands of rows of single images, times groups of panels; or several whole
// products at a time. No result depends on it.
struct Split {
  int64_t imagesPerItem, imageGroups, bands, panelsPerItem, panelGroups;
  int64_t itemsPerProduct, productsPerItem;
};

constexpr double kFlopsPerItem = 1e6;       // about 10 us: large against the cost of handing an item out
constexpr double kElementsPerItem = 32768;  // read and written: what counts where few are multiplied
constexpr int64_t kMaxItems = 64;
constexpr int64_t kBigPanel = 1 << 16;  // floats, about a quarter of a second-level cache

Split splitWork(const GatherGemm& g, int64_t outputY, int64_t outputX, int64_t panels) {
  const double depth = static_cast<double>(g.kernelY * g.kernelX * g.channels);
  const double pixels = static_cast<double>(g.images) * outputY * outputX;
  const double byFlops = 2.0 * pixels * depth * g.outputs / kFlopsPerItem;
  const double byElements = (pixels * (g.channels + g.outputs) + depth * g.outputs) / kElementsPerItem;
  const double wanted = byFlops > byElements ? byFlops : byElements;
  const int64_t items = wanted > kMaxItems ? kMaxItems : most(1, static_cast<int64_t>(wanted));
  // Each item reads all of its weights: it must have pixels enough to make that worth while.
  const int64_t leastPixels = (depth * g.outputs > kBigPanel ? 8 : 2) * kTilePixels;
  const int64_t parts = most(1, least(items, g.images * outputY * outputX / leastPixels));
  Split s;
  s.imagesPerItem = ceilDivide(g.images, least(parts, g.images));
  s.imageGroups = ceilDivide(g.images, s.imagesPerItem);
  s.bands = least(outputY, most(1, parts / s.imageGroups));
  const int64_t panelGroups = least(panels, ceilDivide(items, s.imageGroups * s.bands));
  s.panelsPerItem = ceilDivide(panels, panelGroups);
  s.panelGroups = ceilDivide(panels, s.panelsPerItem);
  s.itemsPerProduct = s.imageGroups * s.bands * s.panelGroups;
  s.productsPerItem = wanted < 1 ? most(1, least(g.products, static_cast<int64_t>(1 / wanted))) : 1;
  return s;
}

int64_t outputsAlong(const Axis& axis) {
  int64_t n = 0;
  for (int64_t i = 0; i < axis.classCount; i++) n += axis.classes[i].count;
  return n;
}

Columns columnsOf(const GatherGemm& g, int64_t panel) {
  const int64_t first = panel * kPanel, count = least(kPanel, g.outputs - first);
  const int64_t vectors = ceilDivide(count, kWidth);
  return {first, static_cast<int>(vectors), count - (vectors - 1) * kWidth, g.bias};
}

void multiplyPanel(PixelWalk walk, const Reads& reads, const Panel& panel, const Columns& columns) {
  const float* sources[kMostPixels];
  float* outputs[kMostPixels];
  // Tiles of equal size rather than full ones and a remnant.
  int64_t left = walk.size();
  for (int64_t tiles = ceilDivide(left, tilePixels(columns.vectors)); tiles > 0; tiles--) {
    const int64_t pixels = ceilDivide(left, tiles);
    walk.next(pixels, sources, outputs);
    kTiles[columns.vectors - 1][pixels - 1](sources, outputs, reads, panel, columns);
    left -= pixels;
  }
}

void multiplyDots(const PixelWalk& walk, const Reads& reads, const Panel& panel, const GatherGemm& g) {
  const float* sources[kDotPixels];
  float* outputs[kDotPixels];
  for (int64_t o = 0; o < g.outputs; o += kDotOutputs) {
    const int64_t count = least(kDotOutputs, g.outputs - o);
    const DotFunction tile = g.channels % kWidth == 0 ? dotTileOf<false>(count) : dotTileOf<true>(count);
    PixelWalk rest = walk;
    rest.skipOutputs(o);
    for (int64_t left = walk.size(); left > 0; left -= kDotPixels) {
      const int64_t pixels = least(left, kDotPixels);
      rest.next(pixels, sources, outputs);
      for (int64_t p = pixels; p < kDotPixels; p++) sources[p] = sources[0];
      tile(sources, outputs, pixels, reads, panel.data + o * panel.row, panel.row, g.bias ? g.bias + o : nullptr);
    }
  }
}

// Weights as the tiles read them, of one product after the other.
struct PreparedWeights {
  const float* data;
  int64_t product, panel, row;
};

constexpr int64_t kPackedFloats = 1 << 22;       // 16 MiB: so many are packed before they are multiplied, or one product's
constexpr int64_t kPackedFloatsPerItem = 1 << 16;

// Packs the weights of products [first, first + count) into memory for them.
void packWeights(const GatherGemm& g, bool dots, int64_t first, int64_t count, float* packed, int64_t packedProduct,
                 Context& context) {
  const int64_t taps = g.kernelY * g.kernelX, panels = ceilDivide(g.outputs, kPanel);
  const int64_t pieces = count * (dots ? 1 : taps * panels);
  const int64_t piecesPerItem = most(1, kPackedFloatsPerItem / most(1, dots ? packedProduct : g.channels * kPanel));
  context.parallelFor(ceilDivide(pieces, piecesPerItem), [&](int64_t item) {
    for (int64_t piece = item * piecesPerItem; piece < least(pieces, (item + 1) * piecesPerItem); piece++) {
      const int64_t product = dots ? piece : piece / (taps * panels);
      const float* const from = g.weight.data + (g.offsets ? g.offsets[first + product].weight : 0);
      float* const to = packed + product * packedProduct;
      if (dots) packRows(g, from, to);
      else packPanel(g, from, to, piece / panels % taps, piece % panels);
    }
  });
}

// Where an item's outputs lie among the rows and columns of the op's output, for what follows on complete parts of it.
class Finish {
 public:
  Finish(const GatherGemm& g, int64_t outputY, int64_t outputX, const Split& split, Context& context)
      : outputs_(g.outputs), outputY_(outputY), outputX_(outputX), bands_(split.bands > 1), context_(context) {
    wanted_ = context.finishesParts(bands_ ? outputX : outputY * outputX, split.panelGroups == 1);
  }

  // Rows of a class are complete, in these images and panels. Nothing to do where items are whole images.
  void rows(int64_t product, Range images, const AxisClass& y, Range rows, Range panels) const {
    if (!wanted_ || !bands_) return;
    for (int64_t image = images.begin; image < images.end; image++) {
      if (y.step == 1) finish(product, image, y.first + rows.begin, rows.end - rows.begin, panels);
      else for (int64_t r = rows.begin; r < rows.end; r++) finish(product, image, y.first + r * y.step, 1, panels);
    }
  }

  // An item is complete.
  void item(int64_t product, Range images, Range panels) const {
    if (wanted_ && !bands_) finish(product, images.begin, 0, (images.end - images.begin) * outputY_, panels);
  }

 private:
  void finish(int64_t product, int64_t image, int64_t y, int64_t count, Range panels) const {
    const int64_t column = panels.begin * kPanel;
    // Several products have one image each.
    context_.finish(((product + image) * outputY_ + y) * outputX_, count * outputX_, column,
                    least(outputs_, panels.end * kPanel) - column);
  }

  const int64_t outputs_, outputY_, outputX_;
  const bool bands_;
  Context& context_;
  bool wanted_;
};

// Item `item` of one product, whose operands g and w point to.
void multiplyItem(const GatherGemm& g, const PreparedWeights& w, bool dots, const RunList* runs, const Split& split,
                  int64_t panels, int64_t product, int64_t item, const Finish& finish) {
  const int64_t panelGroup = item % split.panelGroups, band = item / split.panelGroups % split.bands;
  const int64_t group = item / split.panelGroups / split.bands;
  const Range images = {group * split.imagesPerItem, least(g.images, (group + 1) * split.imagesPerItem)};
  const int64_t firstPanel = panelGroup * split.panelsPerItem;
  const int64_t endPanel = least(panels, firstPanel + split.panelsPerItem);
  for (int64_t cy = 0; cy < g.y.classCount; cy++) {
    const AxisClass& y = g.y.classes[cy];
    const Range rows = {y.count * band / split.bands, y.count * (band + 1) / split.bands};
    if (rows.begin == rows.end) continue;
    for (int64_t cx = 0; cx < g.x.classCount; cx++) {
      const Reads reads = {y.taps, y.tapCount, g.source.row, g.kernelX * g.channels, runs[cx].runs, runs[cx].count};
      const PixelWalk walk(g, y, g.x.classes[cx], images, rows);
      for (int64_t panel = firstPanel; panel < endPanel; panel++) {
        const Panel weights = {w.data + panel * w.panel, w.row};
        if (dots) multiplyDots(walk, reads, weights, g);
        else multiplyPanel(walk, reads, weights, columnsOf(g, panel));
      }
    }
    finish.rows(product, images, y, rows, {firstPanel, endPanel});
  }
  finish.item(product, images, {firstPanel, endPanel});
}

}  // namespace

void gatherGemm(const GatherGemm& g, Context& context) {
  const int64_t outputY = outputsAlong(g.y), outputX = outputsAlong(g.x);
  if (g.images * outputY * outputX * g.outputs * g.products == 0) return;
  const int64_t depth = g.kernelY * g.kernelX * g.channels;
  const bool dots = g.outputs <= kWidth / 4 && g.channels >= kWidth / 2;
  const RunList* const runs = buildRuns(g, dots, context);

  const int64_t panels = dots ? 1 : ceilDivide(g.outputs, kPanel);
  // Weights can be read where they lie if they form rows of whole vectors; far apart, these are only worth it for few pixels.
  const bool nearby = g.weight.channel <= 128 || g.images * outputY * outputX < 2 * kMostPixels;
  const bool inPlace = !dots && g.weight.output == 1 && g.outputs % kWidth == 0 && nearby &&
                       g.weight.tapX == g.channels * g.weight.channel && g.weight.tapY == g.kernelX * g.weight.tapX;
  const int64_t packedProduct = dots ? depth * g.outputs : panels * depth * kPanel;
  const int64_t productsAtOnce = inPlace ? g.products : least(g.products, most(1, kPackedFloats / most(1, packedProduct)));
  float* const packed = inPlace ? nullptr : context.scratch(most(1, productsAtOnce * packedProduct));
  const PreparedWeights weights = inPlace ? PreparedWeights{g.weight.data, 0, kPanel, g.weight.channel}
                                          : PreparedWeights{packed, packedProduct, depth * kPanel, dots ? depth : kPanel};

  const Split split = splitWork(g, outputY, outputX, panels);
  const Finish finish(g, outputY, outputX, split, context);
  for (int64_t first = 0; first < g.products; first += productsAtOnce) {
    const int64_t count = least(productsAtOnce, g.products - first);
    if (!inPlace) packWeights(g, dots, first, count, packed, packedProduct, context);
    context.parallelFor(ceilDivide(count, split.productsPerItem) * split.itemsPerProduct, [&](int64_t item) {
      const int64_t begin = item / split.itemsPerProduct * split.productsPerItem;
      for (int64_t product = begin; product < least(count, begin + split.productsPerItem); product++) {
        GatherGemm one = g;
        PreparedWeights w = weights;
        w.data += product * weights.product;
        if (g.offsets) {
          const ProductOffsets& offsets = g.offsets[first + product];
          one.source.data += offsets.source;
          one.output.data += offsets.output;
          if (inPlace) w.data += offsets.weight;
        }
        multiplyItem(one, w, dots, runs, split, panels, first + product, item % split.itemsPerProduct, finish);
      }
    });
  }
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
