// maxPool2d, avgPool2d and their gradients. The first of a window's largest values in row-major order is its maximum, and
// NaN beats numbers; sums run over a window, or over the windows that cover a pixel, in row-major order.
#include "iterate.h"
#include "window.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

struct Pooling {
  Ints kernel, stride, padding;
};

Pooling readPooling(AttributeReader& attributes) {
  const Ints kernel = attributes.ints(), stride = attributes.ints();
  return {kernel, stride, attributes.ints()};
}

// Positions of x that window `o` covers along an axis.
Range covered(const Pooling& p, int axis, int64_t size, int64_t o) {
  const int64_t start = o * p.stride[axis] - p.padding[2 * axis];
  return {most(0, start), least(size, start + p.kernel[axis])};
}

// Largest value of a window for the channels of a vector, and where it lies: the position's number in x's image.
struct Winner {
  V value;
  VI position;
};

// x points at the channels in the image's first pixel; `lanes` of them are read.
LANGEVIN_SIMD Winner findWinner(const float* x, const Range& ys, const Range& xs, int64_t width, int64_t pitch,
                                int64_t lanes) {
  Winner w = {broadcast(-__builtin_inff()), broadcastInt(-1)};
  for (int64_t iy = ys.begin; iy < ys.end; iy++)
    for (int64_t ix = xs.begin; ix < xs.end; ix++) {
      const int64_t position = iy * width + ix;
      const float* const from = x + position * pitch;
      const V v = lanes == kWidth ? load(from) : loadPartial(from, lanes);
      // Also the first of all, which may be -infinity.
      const VI wins = (VI)(v > w.value) | ((VI)(v != v) & (VI)(w.value == w.value)) | (w.position < 0);
      w.value = select(wins, v, w.value);
      w.position = selectInt(wins, broadcastInt(static_cast<int32_t>(position)), w.position);
    }
  return w;
}

constexpr int64_t kElementsPerItem = 1 << 14;

// How many rows of an image with `rowElements` elements a row make an item, if a whole image is too many.
int64_t bandsOf(int64_t rows, int64_t rowElements) {
  return most(1, least(rows, rows * rowElements / kElementsPerItem));
}

void maxPool2d(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const Pooling pooling = readPooling(command.attributes);
  const int64_t width = x.dim(2), channels = x.dim(3), outY = y.dim(1), outX = y.dim(2);
  const int64_t bands = bandsOf(outY, outX * channels * pooling.kernel[0] * pooling.kernel[1]);
  context.parallelFor(x.dim(0) * bands, [&](int64_t item) {
    const int64_t image = item / bands, band = item % bands;
    const float* const from = x.as<float>() + image * x.dim(1) * width * x.pitch;
    for (int64_t oy = outY * band / bands; oy < outY * (band + 1) / bands; oy++) {
      const Range ys = covered(pooling, 0, x.dim(1), oy);
      for (int64_t ox = 0; ox < outX; ox++) {
        const Range xs = covered(pooling, 1, width, ox);
        float* const to = y.as<float>() + ((image * outY + oy) * outX + ox) * y.pitch;
        for (int64_t c = 0; c < channels; c += kWidth) {
          const int64_t lanes = least(kWidth, channels - c);
          storePartial(to + c, findWinner(from + c, ys, xs, width, x.pitch, lanes).value, lanes);
        }
      }
    }
  });
}

// Adds dy to the winners of one window, in the rows of dx that lie in `band`.
LANGEVIN_SIMD void addToWinners(const Winner& w, V dy, float* dx, const Range& ys, const Range& xs, const Range& band,
                                int64_t width, int64_t pitch, int64_t lanes) {
  for (int64_t iy = most(ys.begin, band.begin); iy < least(ys.end, band.end); iy++)
    for (int64_t ix = xs.begin; ix < xs.end; ix++) {
      const int64_t position = iy * width + ix;
      float* const to = dx + position * pitch;
      const V won = select(w.position == broadcastInt(static_cast<int32_t>(position)), dy, zero());
      storePartial(to, loadPartial(to, lanes) + won, lanes);
    }
}

void maxPool2dGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &dy = command.inputs[1], &dx = command.output;
  if (dx.size() == 0) return;
  const Pooling pooling = readPooling(command.attributes);
  const int64_t height = x.dim(1), width = x.dim(2), channels = x.dim(3), outY = dy.dim(1), outX = dy.dim(2);
  const int64_t bands = bandsOf(height, width * channels);
  // An item owns a band of dx; a window that reaches into two bands is looked at by both.
  context.parallelFor(x.dim(0) * bands, [&](int64_t item) {
    const int64_t image = item / bands;
    const Range band = {height * (item % bands) / bands, height * (item % bands + 1) / bands};
    const float* const from = x.as<float>() + image * height * width * x.pitch;
    float* const to = dx.as<float>() + image * height * width * dx.pitch;
    for (int64_t pixel = band.begin * width; pixel < band.end * width; pixel++)
      __builtin_memset(to + pixel * dx.pitch, 0, channels * sizeof(float));
    // The first window that can reach the band: o * stride + kernel - 1 - padding >= band.begin.
    const int64_t reach = band.begin + pooling.padding[0] - pooling.kernel[0] + 1;
    for (int64_t oy = reach > 0 ? ceilDivide(reach, pooling.stride[0]) : 0; oy < outY; oy++) {
      const Range ys = covered(pooling, 0, height, oy);
      if (ys.begin >= band.end) break;
      for (int64_t ox = 0; ox < outX; ox++) {
        const Range xs = covered(pooling, 1, width, ox);
        const float* const gradient = dy.as<float>() + ((image * outY + oy) * outX + ox) * dy.pitch;
        for (int64_t c = 0; c < channels; c += kWidth) {
          const int64_t lanes = least(kWidth, channels - c);
          const Winner winner = findWinner(from + c, ys, xs, width, x.pitch, lanes);
          addToWinners(winner, loadPartial(gradient + c, lanes), to + c, ys, xs, band, width, dx.pitch, lanes);
        }
      }
    }
  });
}

// Whether sums are divided by the size of the kernel, or by the pixels of the window that lie in the image.
struct Average {
  Pooling pooling;
  bool countPadding;

  LANGEVIN_INLINE float terms(const Range& ys, const Range& xs) const {
    const int64_t n = countPadding ? pooling.kernel[0] * pooling.kernel[1] : (ys.end - ys.begin) * (xs.end - xs.begin);
    return static_cast<float>(n);
  }
};

Average readAverage(AttributeReader& attributes) {
  const Pooling pooling = readPooling(attributes);
  return {pooling, attributes.b()};
}

void avgPool2d(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const Average average = readAverage(command.attributes);
  const Pooling& pooling = average.pooling;
  const int64_t width = x.dim(2), channels = x.dim(3), outY = y.dim(1), outX = y.dim(2);
  const int64_t bands = bandsOf(outY, outX * channels * pooling.kernel[0] * pooling.kernel[1]);
  context.parallelFor(x.dim(0) * bands, [&](int64_t item) {
    const int64_t image = item / bands, band = item % bands;
    const float* const from = x.as<float>() + image * x.dim(1) * width * x.pitch;
    for (int64_t oy = outY * band / bands; oy < outY * (band + 1) / bands; oy++) {
      const Range ys = covered(pooling, 0, x.dim(1), oy);
      for (int64_t ox = 0; ox < outX; ox++) {
        const Range xs = covered(pooling, 1, width, ox);
        const V terms = broadcast(average.terms(ys, xs));
        float* const to = y.as<float>() + ((image * outY + oy) * outX + ox) * y.pitch;
        for (int64_t c = 0; c < channels; c += kWidth) {
          const int64_t lanes = least(kWidth, channels - c);
          V sum = zero();
          for (int64_t iy = ys.begin; iy < ys.end; iy++)
            for (int64_t ix = xs.begin; ix < xs.end; ix++)
              sum += loadPartial(from + (iy * width + ix) * x.pitch + c, lanes);
          storePartial(to + c, sum / terms, lanes);
        }
      }
    }
  });
}

// Windows that cover position `i` of x along an axis.
Range coveringWindows(const Pooling& p, int axis, int64_t windows, int64_t i) {
  const int64_t padded = i + p.padding[2 * axis], first = padded - p.kernel[axis] + 1;
  return {first > 0 ? ceilDivide(first, p.stride[axis]) : 0, least(windows, padded / p.stride[axis] + 1)};
}

void avgPool2dGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &dy = command.inputs[0], &dx = command.output;
  if (dx.size() == 0) return;
  const Average average = readAverage(command.attributes);
  const Pooling& pooling = average.pooling;
  const int64_t height = dx.dim(1), width = dx.dim(2), channels = dx.dim(3), outY = dy.dim(1), outX = dy.dim(2);
  const int64_t rowsPerItem = most(1, kElementsPerItem / (width * channels));
  context.parallelFor(ceilDivide(dx.dim(0) * height, rowsPerItem), [&](int64_t item) {
    for (int64_t row = item * rowsPerItem; row < least(dx.dim(0) * height, (item + 1) * rowsPerItem); row++) {
      const Range windowsY = coveringWindows(pooling, 0, outY, row % height);
      const float* const from = dy.as<float>() + row / height * outY * outX * dy.pitch;
      for (int64_t ix = 0; ix < width; ix++) {
        const Range windowsX = coveringWindows(pooling, 1, outX, ix);
        float* const to = dx.as<float>() + (row * width + ix) * dx.pitch;
        for (int64_t c = 0; c < channels; c += kWidth) {
          const int64_t lanes = least(kWidth, channels - c);
          V sum = zero();
          for (int64_t oy = windowsY.begin; oy < windowsY.end; oy++) {
            const Range ys = covered(pooling, 0, height, oy);
            for (int64_t ox = windowsX.begin; ox < windowsX.end; ox++)
              sum += loadPartial(from + (oy * outX + ox) * dy.pitch + c, lanes) /
                     broadcast(average.terms(ys, covered(pooling, 1, width, ox)));
          }
          storePartial(to + c, sum, lanes);
        }
      }
    }
  });
}

}  // namespace

LANGEVIN_KERNEL("avgPool2d", "kernel:ints,stride:ints,padding:ints,countPadding:bool", avgPool2d)
LANGEVIN_KERNEL("avgPool2dGradient", "kernel:ints,stride:ints,padding:ints,countPadding:bool,size:ints", avgPool2dGradient)
LANGEVIN_KERNEL("maxPool2d", "kernel:ints,stride:ints,padding:ints", maxPool2d)
LANGEVIN_KERNEL("maxPool2dGradient", "kernel:ints,stride:ints,padding:ints", maxPool2dGradient)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
