// groupNorm and its gradient: mean and variance of each image's groups of channels, over all pixels.
//
// A group has few channels (4 of 128, say), a vector more. So sums are taken channel by channel over whole rows of
// channels, slab by slab of an image's pixels, and folded to groups in double afterwards. An image is passed over several
// times: for the mean, for the variance about it (E[x^2] - E[x]^2 would lose it where the mean is large), for the result.
//
// The mean is kept as a float and what remains when that is subtracted: sums of large numbers could not tell it better.
#include "iterate.h"
#include "strip.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

constexpr int64_t kSlabPixels = 256;  // whose sums are taken in float32
constexpr int64_t kRows = 8;          // pixels that are added up before they are added to a slab's sum

// An image of this many elements stays in the second-level cache from pass to pass.
constexpr int64_t kCached = 1 << 18;
// So many images are enough to share out between threads; fewer are divided unless they are this small.
constexpr int64_t kManyImages = 16, kSmallImage = 1 << 15;

// Beyond these, squares of float32 may have overflowed or lost digits to underflow.
constexpr float kLeastSquares = 1e-30f, kMostSquares = 1e30f;

// Sums over a slab, channel by channel: of x, of x - high, of its square, of dy and of dy (x - high).
enum Total { kSum, kRest, kSquares, kGradient, kProduct, kTotals };
// What the passes over an image read for each channel.
enum Factor { kHigh, kScale, kOfGradient, kOfNormalised, kTerm, kFactors };

struct Moments {
  double rest = 0;   // mean - high
  double scale = 0;  // 1 / sqrt(variance + epsilon)
};

// Pixels of an image that are neighbours.
struct Slab {
  int64_t image, pixel, pixels;  // `pixel` counts over all images
  float* totals;
};

// Rows of channels: a few neighbouring pixels.
struct Rows {
  const float* start;
  int64_t pitch;
};

LANGEVIN_SIMD Rows rowsOf(const Operand& x, int64_t pixel) { return {x.as<const float>() + pixel * x.pitch, x.pitch}; }

// Calls f(pixel, count) for kRows pixels of the slab at a time.
template <class F>
LANGEVIN_INLINE static void forEachRows(const Slab& slab, const F& f) {
  for (int64_t row = 0; row < slab.pixels; row += kRows) f(slab.pixel + row, least(kRows, slab.pixels - row));
}

// The loops over pixels hold their sums and factors in registers; closures over vectors would go through memory.

// sum[c] += x over all rows; those with even and odd numbers are added up apart, so that additions need not wait.
LANGEVIN_SIMD void addRows(Rows x, int64_t rows, int64_t channels, float* sum) {
  forEachVector(channels, [&](int64_t c, auto lanes) {
    V even = zero(), odd = zero();
    for (int64_t i = 0; i < rows; i += 2) {
      even += loadLanes(x.start + i * x.pitch + c, lanes);
      if (i + 1 < rows) odd += loadLanes(x.start + (i + 1) * x.pitch + c, lanes);
    }
    storeLanes(sum + c, loadLanes(sum + c, lanes) + (even + odd), lanes);
  });
}

// rest[c] += d, squares[c] += d^2, where d = x - high.
LANGEVIN_SIMD void addSquares(Rows x, int64_t rows, int64_t channels, const float* high, float* rest, float* squares) {
  forEachVector(channels, [&](int64_t c, auto lanes) {
    const V mean = loadLanes(high + c, lanes);
    V even = zero(), odd = zero(), evenSquares = zero(), oddSquares = zero();
    for (int64_t i = 0; i < rows; i += 2) {
      const V d = loadLanes(x.start + i * x.pitch + c, lanes) - mean;
      even += d;
      evenSquares += d * d;
      if (i + 1 == rows) break;
      const V e = loadLanes(x.start + (i + 1) * x.pitch + c, lanes) - mean;
      odd += e;
      oddSquares += e * e;
    }
    storeLanes(rest + c, loadLanes(rest + c, lanes) + (even + odd), lanes);
    storeLanes(squares + c, loadLanes(squares + c, lanes) + (evenSquares + oddSquares), lanes);
  });
}

// gradients[c] += dy, products[c] += dy (x - high).
LANGEVIN_SIMD void addProducts(Rows x, Rows dy, int64_t rows, int64_t channels, const float* high, float* gradients,
                               float* products) {
  forEachVector(channels, [&](int64_t c, auto lanes) {
    const V mean = loadLanes(high + c, lanes);
    V even = zero(), odd = zero(), evenProducts = zero(), oddProducts = zero();
    for (int64_t i = 0; i < rows; i += 2) {
      const V g = loadLanes(dy.start + i * dy.pitch + c, lanes);
      even += g;
      evenProducts += g * (loadLanes(x.start + i * x.pitch + c, lanes) - mean);
      if (i + 1 == rows) break;
      const V h = loadLanes(dy.start + (i + 1) * dy.pitch + c, lanes);
      odd += h;
      oddProducts += h * (loadLanes(x.start + (i + 1) * x.pitch + c, lanes) - mean);
    }
    storeLanes(gradients + c, loadLanes(gradients + c, lanes) + (even + odd), lanes);
    storeLanes(products + c, loadLanes(products + c, lanes) + (evenProducts + oddProducts), lanes);
  });
}

// x in slabs, the sums over them, and the moments of the groups.
class Groups {
 public:
  Groups(const Operand& x, AttributeReader& attributes, Context& context)
      : x_(x), context_(context), groups_(attributes.i()), epsilon_(attributes.f()) {
    images_ = x.shape[0];
    channels_ = x.cols();
    pixels_ = x.rows() / images_;
    perGroup_ = channels_ / groups_;
    slabs_ = ceilDivide(pixels_, kSlabPixels);
    totals_ = context.scratch(images_ * slabs_ * kTotals * channels_);
    factors_ = context.scratch(images_ * kFactors * channels_);
    moments_ = reinterpret_cast<Moments*>(context.scratch(images_ * groups_ * 4));
  }

  int64_t images() const { return images_; }
  int64_t channels() const { return channels_; }
  int64_t groups() const { return groups_; }
  int64_t perGroup() const { return perGroup_; }
  double count() const { return static_cast<double>(pixels_ * perGroup_); }

  LANGEVIN_INLINE float* factor(Factor which, int64_t image) const {
    return factors_ + (image * kFactors + which) * channels_;
  }
  LANGEVIN_INLINE float* total(Total which, const Slab& slab) const { return slab.totals + which * channels_; }
  LANGEVIN_INLINE Moments& moments(int64_t image, int64_t group) const { return moments_[image * groups_ + group]; }

  // A total of one channel over the whole image.
  LANGEVIN_INLINE double ofImage(Total which, int64_t image, int64_t c) const {
    double sum = 0;
    for (int64_t s = 0; s < slabs_; s++) sum += static_cast<double>(total(which, slab(image, s))[c]);
    return sum;
  }

  // Runs stages, each a pass over all slabs and then a step for each image. How they are shared out changes no bits.
  template <class... Stages>
  LANGEVIN_INLINE void run(const Stages&... stages) const {
    const int64_t size = pixels_ * channels_;
    if (size <= kSmallImage || (images_ >= kManyImages && size <= kCached)) {
      const int64_t perItem = most(1, kChunk / size);
      context_.parallelFor(ceilDivide(images_, perItem), [&](int64_t item) {
        for (int64_t image = item * perItem; image < least(images_, (item + 1) * perItem); image++)
          (runStage(stages, image), ...);
      });
    } else {
      (shareStage(stages), ...);
    }
  }

  // The first two stages of every op.
  LANGEVIN_INLINE auto mean() const {
    return stage(
        [this](const Slab& slab) {
          float* const sum = total(kSum, slab);
          __builtin_memset(sum, 0, channels_ * sizeof(float));
          forEachRows(slab, [&](int64_t pixel, int64_t rows) { addRows(rowsOf(x_, pixel), rows, channels_, sum); });
        },
        [this](int64_t image) {
          for (int64_t group = 0; group < groups_; group++) {
            const double mean = ofGroup(kSum, image, group) / count();
            for (int64_t c = group * perGroup_; c < (group + 1) * perGroup_; c++)
              factor(kHigh, image)[c] = static_cast<float>(mean);
          }
        });
  }

  // `after(image)` runs when an image's moments are known.
  template <class F>
  LANGEVIN_INLINE auto variance(const F& after) const {
    return stage(
        [this](const Slab& slab) {
          const float* const high = factor(kHigh, slab.image);
          float *const rest = total(kRest, slab), *const squares = total(kSquares, slab);
          __builtin_memset(rest, 0, 2 * channels_ * sizeof(float));
          forEachRows(slab, [&](int64_t pixel, int64_t rows) {
            addSquares(rowsOf(x_, pixel), rows, channels_, high, rest, squares);
          });
        },
        [this, &after](int64_t image) {
          for (int64_t group = 0; group < groups_; group++) {
            const double rest = ofGroup(kRest, image, group) / count(), squares = squaresOf(image, group) / count();
            const double variance = squares - rest * rest;
            moments(image, group) = {rest, 1 / __builtin_sqrt((variance < 0 ? 0 : variance) + epsilon_)};
          }
          after(image);
        });
  }

  template <class Pass, class Step>
  struct Stage {
    Pass pass;
    Step step;
  };
  template <class Pass, class Step>
  static LANGEVIN_INLINE Stage<Pass, Step> stage(const Pass& pass, const Step& step) {
    return {pass, step};
  }

 private:
  LANGEVIN_INLINE Slab slab(int64_t image, int64_t index) const {
    const int64_t first = index * kSlabPixels;
    return {image, image * pixels_ + first, least(kSlabPixels, pixels_ - first),
            totals_ + (image * slabs_ + index) * kTotals * channels_};
  }

  template <class S>
  LANGEVIN_INLINE void runStage(const S& stage, int64_t image) const {
    for (int64_t s = 0; s < slabs_; s++) stage.pass(slab(image, s));
    stage.step(image);
  }

  template <class S>
  LANGEVIN_INLINE void shareStage(const S& stage) const {
    const int64_t slabs = images_ * slabs_, perItem = most(1, kChunk / (kSlabPixels * channels_));
    context_.parallelFor(ceilDivide(slabs, perItem), [&](int64_t item) {
      for (int64_t s = item * perItem; s < least(slabs, (item + 1) * perItem); s++) stage.pass(slab(s / slabs_, s % slabs_));
    });
    context_.parallelFor(images_, [&](int64_t image) { stage.step(image); });
  }

  LANGEVIN_INLINE double ofGroup(Total which, int64_t image, int64_t group) const {
    double sum = 0;
    for (int64_t c = group * perGroup_; c < (group + 1) * perGroup_; c++) sum += ofImage(which, image, c);
    return sum;
  }

  double squaresOf(int64_t image, int64_t group) const {
    const double squares = ofGroup(kSquares, image, group);
    if (squares > kLeastSquares && squares < kMostSquares) return squares;
    double sum = 0;
    for (int64_t pixel = image * pixels_; pixel < (image + 1) * pixels_; pixel++)
      for (int64_t c = group * perGroup_; c < (group + 1) * perGroup_; c++) {
        const double d = static_cast<double>(x_.as<const float>()[pixel * x_.pitch + c]) -
                         static_cast<double>(factor(kHigh, image)[c]);
        sum += d * d;
      }
    return sum;
  }

  const Operand& x_;
  Context& context_;
  int64_t groups_;
  double epsilon_;
  int64_t images_, channels_, pixels_, perGroup_, slabs_;
  float *totals_, *factors_;
  Moments* moments_;
};

// An element of an optional weight or bias.
LANGEVIN_SIMD double elementOf(const Operand* weight, int64_t c, double absent) {
  return weight ? static_cast<double>(weight->as<const float>()[c]) : absent;
}

void groupNorm(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  if (x.size() == 0) return;
  const Groups groups(x, command.attributes, context);
  const Operand* const weight = command.has(1) ? &command.inputs[1] : nullptr;
  const Operand* const bias = command.has(2) ? &command.inputs[2] : nullptr;
  const auto setFactors = [&](int64_t image) {
    float *const factor = groups.factor(kScale, image), *const term = groups.factor(kTerm, image);
    for (int64_t c = 0; c < groups.channels(); c++) {
      const Moments& m = groups.moments(image, c / groups.perGroup());
      const double scale = m.scale * elementOf(weight, c, 1);
      factor[c] = static_cast<float>(scale);
      term[c] = static_cast<float>(elementOf(bias, c, 0) - m.rest * scale);
    }
  };
  const bool finishes = context.finishesParts(1, true);
  const auto write = [&](const Slab& slab) {
    const float* const high = groups.factor(kHigh, slab.image);
    const float* const factors = groups.factor(kScale, slab.image);
    const float* const terms = groups.factor(kTerm, slab.image);
    forEachRows(slab, [&](int64_t pixel, int64_t rows) {
      const Rows from = rowsOf(x, pixel);
      float* const to = y.as<float>() + pixel * y.pitch;
      forEachVector(groups.channels(), [&](int64_t c, auto lanes) {
        const V mean = loadLanes(high + c, lanes), factor = loadLanes(factors + c, lanes);
        const V term = loadLanes(terms + c, lanes);
        for (int64_t i = 0; i < rows; i++) {
          const V d = loadLanes(from.start + i * from.pitch + c, lanes) - mean;
          storeLanes(to + i * y.pitch + c, d * factor + term, lanes);
        }
      });
    });
    if (finishes) context.finish(slab.pixel, slab.pixels, 0, groups.channels());
  };
  groups.run(groups.mean(), groups.variance(setFactors), Groups::stage(write, [](int64_t) {}));
}

// With g = dy weight and z = s (x - mean), dx = s (g - mean(g) - z mean(g z)): a factor of dy, one of s (x - high) and a
// term.
void setGradientFactors(const Groups& groups, const Operand* weight, int64_t image) {
  float *const scale = groups.factor(kScale, image), *const term = groups.factor(kTerm, image);
  float *const ofGradient = groups.factor(kOfGradient, image), *const ofNormalised = groups.factor(kOfNormalised, image);
  for (int64_t group = 0; group < groups.groups(); group++) {
    const Moments& m = groups.moments(image, group);
    const int64_t from = group * groups.perGroup(), to = from + groups.perGroup();
    double gradients = 0, products = 0;
    for (int64_t c = from; c < to; c++) {
      const double gradient = groups.ofImage(kGradient, image, c), w = elementOf(weight, c, 1);
      gradients += w * gradient;
      products += w * (groups.ofImage(kProduct, image, c) - m.rest * gradient);
    }
    const double factor = -m.scale * (m.scale * products / groups.count());
    for (int64_t c = from; c < to; c++) {
      ofGradient[c] = static_cast<float>(m.scale * elementOf(weight, c, 1));
      scale[c] = static_cast<float>(m.scale);
      ofNormalised[c] = static_cast<float>(factor);
      term[c] = static_cast<float>(-m.scale * gradients / groups.count() - m.rest * m.scale * factor);
    }
  }
}

void groupNormGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &dy = command.inputs[1];
  const int64_t channels = x.cols();
  float *const dx = command.output.as<float>(), *const dweight = dx + x.size(), *const dbias = dweight + channels;
  if (x.size() == 0) {
    for (int64_t c = 0; c < channels; c++) dweight[c] = dbias[c] = 0;
    return;
  }
  const Groups groups(x, command.attributes, context);
  const Operand* const weight = command.has(2) ? &command.inputs[2] : nullptr;
  const auto sum = [&](const Slab& slab) {
    const float* const high = groups.factor(kHigh, slab.image);
    float *const gradients = groups.total(kGradient, slab), *const products = groups.total(kProduct, slab);
    __builtin_memset(gradients, 0, 2 * channels * sizeof(float));
    forEachRows(slab, [&](int64_t pixel, int64_t rows) {
      addProducts(rowsOf(x, pixel), rowsOf(dy, pixel), rows, channels, high, gradients, products);
    });
  };
  const auto write = [&](const Slab& slab) {
    const float* const high = groups.factor(kHigh, slab.image);
    const float *const ofGradient = groups.factor(kOfGradient, slab.image), *const terms = groups.factor(kTerm, slab.image);
    const float *const ofNormalised = groups.factor(kOfNormalised, slab.image), *const scales = groups.factor(kScale, slab.image);
    forEachRows(slab, [&](int64_t pixel, int64_t rows) {
      const Rows from = rowsOf(x, pixel), gradient = rowsOf(dy, pixel);
      float* const to = dx + pixel * channels;
      forEachVector(channels, [&](int64_t c, auto lanes) {
        const V mean = loadLanes(high + c, lanes), f = loadLanes(ofGradient + c, lanes);
        const V h = loadLanes(ofNormalised + c, lanes), term = loadLanes(terms + c, lanes);
        const V scale = loadLanes(scales + c, lanes);
        for (int64_t i = 0; i < rows; i++) {
          const V z = (loadLanes(from.start + i * from.pitch + c, lanes) - mean) * scale;
          const V g = loadLanes(gradient.start + i * gradient.pitch + c, lanes);
          storeLanes(to + i * channels + c, (g * f + term) + z * h, lanes);
        }
      });
    });
  };
  const auto setFactors = [&](int64_t image) { setGradientFactors(groups, weight, image); };
  groups.run(groups.mean(), groups.variance([](int64_t) {}), Groups::stage(sum, setFactors),
             Groups::stage(write, [](int64_t) {}));
  for (int64_t c = 0; c < channels; c++) {
    double ofWeight = 0, ofBias = 0;
    for (int64_t image = 0; image < groups.images(); image++) {
      const Moments& m = groups.moments(image, c / groups.perGroup());
      const double gradient = groups.ofImage(kGradient, image, c);
      ofWeight += m.scale * (groups.ofImage(kProduct, image, c) - m.rest * gradient);
      ofBias += gradient;
    }
    dweight[c] = static_cast<float>(ofWeight);
    dbias[c] = static_cast<float>(ofBias);
  }
}

LANGEVIN_KERNEL("groupNorm", "groups:int,epsilon:float", groupNorm)
LANGEVIN_KERNEL("groupNormGradient", "groups:int,epsilon:float", groupNormGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
