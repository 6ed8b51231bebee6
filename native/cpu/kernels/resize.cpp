// resize2d and its gradient: sums over the pixels that an output pixel sees, weighted along each axis, the same for all
// channels.
//
// Small windows are summed at once. Large ones (averages over areas, gradients of large enlargements) one axis after the
// other, through an image that is no larger than the larger side: so the work is shared out even where few pixels come
// out, and sums stay short. Images of few channels, too: half of their sums are then over whole rows of pixels.
#include "interpolation.h"
#include "move.h"
#include "strip.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// Channels that are handled together, at most.
constexpr int64_t kChannels = 256;

// Calls f(row, begin, end, channel, n) for stretches of pixels that cover the rows of all images of y, `taps` terms each,
// and groups of n <= kChannels channels.
template <class F>
LANGEVIN_INLINE void forEachStretch(Context& context, const Operand& y, int64_t taps, const F& f) {
  const int64_t width = y.dim(2), channels = y.dim(3), groups = ceilDivide(channels, kChannels);
  const int64_t rows = y.dim(0) * y.dim(1) * groups;
  const int64_t atOnce = most(1, kChunk / (least(channels, kChannels) * taps));
  const int64_t pieces = ceilDivide(width, atOnce), perItem = most(1, atOnce / width);
  context.parallelFor(ceilDivide(rows, perItem) * pieces, [&](int64_t item) {
    const int64_t begin = item % pieces * atOnce, first = item / pieces * perItem;
    for (int64_t row = first; row < least(rows, first + perItem); row++) {
      const int64_t channel = row % groups * kChannels;
      f(row / groups, begin, least(width, begin + atOnce), channel, least(kChannels, channels - channel));
    }
  });
}

// Rows whose terms are added up before they come to the others.
constexpr int64_t kRowsPerSum = 64;

// y = the weighted sum over the pixels of a window whose first one is at x, for N vectors of channels.
template <int N, class Lanes>
LANGEVIN_SIMD void sumWindow(float* y, const float* x, const Taps& rows, const Taps& columns, int64_t rowStep,
                             int64_t pixelStep, Lanes lanes) {
  V total[N] = {};
  for (int64_t begin = 0; begin < rows.count; begin += kRowsPerSum) {
    V sum[N] = {};
    for (int64_t r = begin; r < least(rows.count, begin + kRowsPerSum); r++) {
      V line[N] = {};
      for (int64_t k = 0; k < columns.count; k++) {
        const float* const pixel = x + r * rowStep + k * pixelStep;
        const V weight = broadcast(columns.weights[k]);
        for (int j = 0; j < N; j++) line[j] += weight * loadLanes(pixel + j * kWidth, lanes);
      }
      const V weight = broadcast(rows.weights[r]);
      for (int j = 0; j < N; j++) sum[j] += weight * line[j];
    }
    for (int j = 0; j < N; j++) total[j] += sum[j];
  }
  for (int j = 0; j < N; j++) storeLanes(y + j * kWidth, total[j], lanes);
}

// Every pixel of y as the sum over its window of x.
void sumWindows(Context& context, const Operand& y, const Operand& x, const TapTable& rows, const TapTable& columns) {
  const int64_t height = y.dim(1), width = y.dim(2), rowStep = x.dim(2) * x.pitch;
  forEachStretch(context, y, rows.widest() * columns.widest(),
                 [&](int64_t row, int64_t begin, int64_t end, int64_t channel, int64_t n) {
    const Taps ys = rows[row % height];
    const float* const from = x.as<float>() + (row / height * x.dim(1) + ys.first) * rowStep + channel;
    float* const to = y.as<float>() + row * width * y.pitch + channel;
    for (int64_t ox = begin; ox < end; ox++) {
      const Taps xs = columns[ox];
      const float* const window = from + xs.first * x.pitch;
      float* const pixel = to + ox * y.pitch;
      int64_t c = 0;
      for (; c + 4 * kWidth <= n; c += 4 * kWidth)
        sumWindow<4>(pixel + c, window + c, ys, xs, rowStep, x.pitch, WholeVector{});
      for (; c + kWidth <= n; c += kWidth) sumWindow<1>(pixel + c, window + c, ys, xs, rowStep, x.pitch, WholeVector{});
      if (c < n) sumWindow<1>(pixel + c, window + c, ys, xs, rowStep, x.pitch, n - c);
    }
  });
}

// Every pixel of y as that pixel of x which it sees alone, with all its bits.
void copyPixels(Context& context, const Operand& y, const Operand& x, const TapTable& rows, const TapTable& columns) {
  const int64_t height = y.dim(1), width = y.dim(2);
  forEachStretch(context, y, 1, [&](int64_t row, int64_t begin, int64_t end, int64_t channel, int64_t n) {
    const int64_t source = (row / height * x.dim(1) + rows[row % height].first) * x.dim(2);
    const Word* const from = x.as<const Word>() + source * x.pitch + channel;
    Word* const to = y.as<Word>() + row * width * y.pitch + channel;
    for (int64_t ox = begin; ox < end; ox++) copyWords(to + ox * y.pitch, from + columns[ox].first * x.pitch, n);
  });
}

// x as [N, H, W, C] of another shape with as many pixels, or, of a dense one, elements.
Operand seenAs(const Operand& x, int64_t n, int64_t h, int64_t w, int64_t c) {
  Operand seen = x;
  const int64_t shape[4] = {n, h, w, c};
  for (int i = 0; i < 4; i++) seen.shape[i] = shape[i];
  if (c != x.dim(3)) seen.pitch = c;
  return seen;
}

// Sums along columns of pixels: only the height changes.
void sumAlongY(Context& context, const Operand& y, const Operand& x, const TapTable& rows) {
  const int64_t n = x.dim(0), width = x.dim(2), channels = x.dim(3);
  if (x.dense() && y.dense()) {  // a row of pixels is as good as one pixel
    const int64_t row = width * channels;
    sumWindows(context, seenAs(y, n, y.dim(1), 1, row), seenAs(x, n, x.dim(1), 1, row), rows,
               TapTable::identity(1, context));
  } else {
    sumWindows(context, y, x, rows, TapTable::identity(width, context));
  }
}

// Sums along rows of pixels: only the width changes. For long sums a row is seen as a column.
void sumAlongX(Context& context, const Operand& y, const Operand& x, const TapTable& columns) {
  const int64_t rows = x.dim(0) * x.dim(1), from = x.dim(2), to = y.dim(2), channels = x.dim(3);
  const TapTable alone = TapTable::identity(1, context);
  if (columns.widest() <= kRowsPerSum)
    sumWindows(context, seenAs(y, rows, 1, to, channels), seenAs(x, rows, 1, from, channels), alone, columns);
  else sumWindows(context, seenAs(y, rows, to, 1, channels), seenAs(x, rows, from, 1, channels), columns, alone);
}

// Terms of a window that are summed at once, at most.
constexpr int64_t kTermsAtOnce = 64;

// Fewer channels do not fill a vector.
constexpr int64_t kFewChannels = 16;

void resample(Context& context, const Operand& y, const Operand& x, const TapTable& rows, const TapTable& columns) {
  const int64_t terms = rows.widest() * columns.widest();
  if (terms == 1 || (terms <= kTermsAtOnce && y.dim(3) >= kFewChannels)) {
    sumWindows(context, y, x, rows, columns);
    return;
  }
  const bool shrinks = y.dim(1) < x.dim(1);
  const int64_t n = y.dim(0), height = shrinks ? y.dim(1) : x.dim(1), width = shrinks ? x.dim(2) : y.dim(2);
  Operand between = seenAs(y, n, height, width, y.dim(3));
  between.pitch = y.dim(3);
  between.data = context.scratch(between.size());
  if (shrinks) {
    sumAlongY(context, between, x, rows);
    sumAlongX(context, y, between, columns);
  } else {
    sumAlongX(context, between, x, columns);
    sumAlongY(context, y, between, rows);
  }
}

Resampling readResampling(AttributeReader& attributes) {
  attributes.ints();  // the size is that of the output
  const Interpolation mode = static_cast<Interpolation>(attributes.i());
  return {mode, attributes.b()};
}

void resize2d(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &y = command.output;
  if (!expectDType(command, context, DType::f32) || y.size() == 0) return;
  const Resampling resampling = readResampling(command.attributes);
  const TapTable rows = TapTable::forward(resampling, x.dim(1), y.dim(1), context);
  const TapTable columns = TapTable::forward(resampling, x.dim(2), y.dim(2), context);
  if (resampling.mode == Interpolation::nearest) copyPixels(context, y, x, rows, columns);
  else resample(context, y, x, rows, columns);
}

void resize2dGradient(Command& command, Context& context) {
  const Operand &dy = command.inputs[0], &dx = command.output;
  if (!expectDType(command, context, DType::f32) || dx.size() == 0) return;
  const Resampling resampling = readResampling(command.attributes);
  const TapTable rows = TapTable::transposed(resampling, dx.dim(1), dy.dim(1), context);
  const TapTable columns = TapTable::transposed(resampling, dx.dim(2), dy.dim(2), context);
  resample(context, dx, dy, rows, columns);
}

}  // namespace

LANGEVIN_KERNEL("resize2d", "size:ints,mode:nearest|bilinear|bicubic|area,alignCorners:bool", resize2d)
LANGEVIN_KERNEL("resize2dGradient", "size:ints,mode:nearest|bilinear|bicubic|area,alignCorners:bool", resize2dGradient)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
