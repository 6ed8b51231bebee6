// groupNorm and its gradient: mean and variance of each image's groups of channels, over all pixels.
//
// A group has few channels (4 of 128, say), a vector more. So sums are taken channel by channel over whole rows of
// channels, slab by slab of an image's pixels, and folded to groups in double afterwards. An image is passed over several
// times: for the mean, for the variance about it (E[x^2] - E[x]^2 would lose it where the mean is large), for the result.
//
// The mean is kept as a float and what remains when that is subtracted: sums of large numbers could not tell it better.
#include "iterate.h"
#include "lanes.h"
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
enum Factor { kHigh, kOfDeviation, kOfGradient, kTerm, kFactors };

struct Moments {
  double rest = 0;   // mean - high
  double scale = 0;  // 1 / sqrt(variance + epsilon)
};

// Pixels of an image that are neighbours.
struct Slab {
  int64_t image, pixel, pixels;  // `pixel` counts over all images
  float* totals;
};

// totals[k][c] = sum over the slab's pixels of component k of a term: termAt(c, lanes) gives the function from a pixel to
// the term for a vector of channels, having loaded what does not depend on the pixel.
template <int N>
struct Terms {
  V v[N];
};
template <int N, class F>
LANGEVIN_SIMD void sumPixels(const Slab& slab, int64_t channels, float* const (&totals)[N], const F& termAt) {
  for (int k = 0; k < N; k++) __builtin_memset(totals[k], 0, channels * sizeof(float));
  for (int64_t row = 0; row < slab.pixels; row += kRows) {
    const int64_t rows = least(kRows, slab.pixels - row);
    forEachVector(channels, [&](int64_t c, int64_t lanes) {
      const auto term = termAt(c, lanes);
      Terms<N> even = {}, odd = {};
      const auto add = [&](Terms<N>& sums, int64_t pixel) {
        const Terms<N> t = term(slab.pixel + pixel);
        for (int k = 0; k < N; k++) sums.v[k] += t.v[k];
      };
      if (rows == kRows) {
        LANGEVIN_UNROLL
        for (int64_t i = 0; i < kRows; i += 2) {
          add(even, row + i);
          add(odd, row + i + 1);
        }
      } else {
        for (int64_t i = 0; i < rows; i++) add(i % 2 ? odd : even, row + i);
      }
      for (int k = 0; k < N; k++)
        storeLanes(totals[k] + c, loadLanes(totals[k] + c, lanes) + (even.v[k] + odd.v[k]), lanes);
    });
  }
}

// Writes the slab's pixels: resultAt(c, lanes) gives the function from a pixel to a vector of channels.
template <class F>
LANGEVIN_SIMD void writePixels(const Slab& slab, int64_t channels, float* y, int64_t pitch, const F& resultAt) {
  for (int64_t row = slab.pixel; row < slab.pixel + slab.pixels; row += kRows) {
    const int64_t end = least(row + kRows, slab.pixel + slab.pixels);
    forEachVector(channels, [&](int64_t c, int64_t lanes) {
      const auto result = resultAt(c, lanes);
      for (int64_t pixel = row; pixel < end; pixel++) storeLanes(y + pixel * pitch + c, result(pixel), lanes);
    });
  }
}

// Reads a vector of channels of pixels.
struct Reader {
  const float* start;
  int64_t pitch, lanes;
  LANGEVIN_INLINE V operator()(int64_t pixel) const { return loadLanes(start + pixel * pitch, lanes); }
};

LANGEVIN_SIMD Reader reader(const Operand& x, int64_t c, int64_t lanes) {
  return {x.as<const float>() + c, x.pitch, lanes};
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
          float* const totals[1] = {total(kSum, slab)};
          sumPixels(slab, channels_, totals, [&](int64_t c, int64_t lanes) {
            const Reader x = reader(x_, c, lanes);
            return [=](int64_t pixel) { return Terms<1>{{x(pixel)}}; };
          });
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
          float* const totals[2] = {total(kRest, slab), total(kSquares, slab)};
          sumPixels(slab, channels_, totals, [&](int64_t c, int64_t lanes) {
            const auto deviation = this->deviation(slab.image, c, lanes);
            return [=](int64_t pixel) {
              const V d = deviation(pixel);
              return Terms<2>{{d, d * d}};
            };
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

  // Gives x - high for a vector of an image's channels.
  LANGEVIN_INLINE auto deviation(int64_t image, int64_t c, int64_t lanes) const {
    const Reader x = reader(x_, c, lanes);
    const V high = loadLanes(factor(kHigh, image) + c, lanes);
    return [=](int64_t pixel) { return x(pixel) - high; };
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
    float *const factor = groups.factor(kOfDeviation, image), *const term = groups.factor(kTerm, image);
    for (int64_t c = 0; c < groups.channels(); c++) {
      const Moments& m = groups.moments(image, c / groups.perGroup());
      const double scale = m.scale * elementOf(weight, c, 1);
      factor[c] = static_cast<float>(scale);
      term[c] = static_cast<float>(elementOf(bias, c, 0) - m.rest * scale);
    }
  };
  const auto write = [&](const Slab& slab) {
    writePixels(slab, groups.channels(), y.as<float>(), y.pitch, [&](int64_t c, int64_t lanes) {
      const auto deviation = groups.deviation(slab.image, c, lanes);
      const V factor = loadLanes(groups.factor(kOfDeviation, slab.image) + c, lanes);
      const V term = loadLanes(groups.factor(kTerm, slab.image) + c, lanes);
      return [=](int64_t pixel) { return deviation(pixel) * factor + term; };
    });
  };
  groups.run(groups.mean(), groups.variance(setFactors), Groups::stage(write, [](int64_t) {}));
}

// With g = dy weight and z = s (x - mean), dx = s (g - mean(g) - z mean(g z)): a factor of dy, one of x - high and a term.
void setGradientFactors(const Groups& groups, const Operand* weight, int64_t image) {
  float *const ofGradient = groups.factor(kOfGradient, image), *const ofDeviation = groups.factor(kOfDeviation, image);
  float* const term = groups.factor(kTerm, image);
  for (int64_t group = 0; group < groups.groups(); group++) {
    const Moments& m = groups.moments(image, group);
    const int64_t from = group * groups.perGroup(), to = from + groups.perGroup();
    double gradients = 0, products = 0;
    for (int64_t c = from; c < to; c++) {
      const double gradient = groups.ofImage(kGradient, image, c), w = elementOf(weight, c, 1);
      gradients += w * gradient;
      products += w * (groups.ofImage(kProduct, image, c) - m.rest * gradient);
    }
    const double deviation = -m.scale * m.scale * m.scale * products / groups.count();
    for (int64_t c = from; c < to; c++) {
      ofGradient[c] = static_cast<float>(m.scale * elementOf(weight, c, 1));
      ofDeviation[c] = static_cast<float>(deviation);
      term[c] = static_cast<float>(-m.scale * gradients / groups.count() - m.rest * deviation);
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
    float* const totals[2] = {groups.total(kGradient, slab), groups.total(kProduct, slab)};
    sumPixels(slab, channels, totals, [&](int64_t c, int64_t lanes) {
      const auto deviation = groups.deviation(slab.image, c, lanes);
      const Reader gradient = reader(dy, c, lanes);
      return [=](int64_t pixel) {
        const V g = gradient(pixel);
        return Terms<2>{{g, g * deviation(pixel)}};
      };
    });
  };
  const auto write = [&](const Slab& slab) {
    writePixels(slab, channels, dx, channels, [&](int64_t c, int64_t lanes) {
      const auto deviation = groups.deviation(slab.image, c, lanes);
      const Reader gradient = reader(dy, c, lanes);
      const V ofGradient = loadLanes(groups.factor(kOfGradient, slab.image) + c, lanes);
      const V ofDeviation = loadLanes(groups.factor(kOfDeviation, slab.image) + c, lanes);
      const V term = loadLanes(groups.factor(kTerm, slab.image) + c, lanes);
      return [=](int64_t pixel) { return (gradient(pixel) * ofGradient + term) + deviation(pixel) * ofDeviation; };
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
