// groupNorm and its gradient: mean and variance of each image's groups of channels. A SiLU that follows on the former, and a
// rounding to bf16 of what it or the gradient gives, are done in the same pass.
//
// A block takes a bundle of neighbouring groups, 32 channels or so, so that what it reads are whole sectors of memory. Where
// the bundle's pixels fit into shared memory, x is read once and everything else happens there. Larger images are cut into
// slabs of pixels: one pass finds the moments of each slab, another merges them (Chan, Golub and LeVeque 1979) and
// normalises. Both passes see shared memory and global memory through the same `Rows`.
//
// Sums are taken channel by channel, so that a thread's four channels may belong to different groups. The variance is that
// about the mean (E[x^2] - E[x]^2 would lose it where the mean is large), and the mean is kept as a float and what remains
// when that is subtracted. All orders of summation follow from shapes alone.
#include "group_norm.cuh"

#include "../gpu.h"
#include "activation.cuh"
#include "channels.cuh"
#include "operands.cuh"
#include "reduce.cuh"

namespace langevin {
namespace cuda {
namespace {

// The gradients of normalisation: dx, and dweight [channels] with dbias [channels] behind it.
struct GroupNormGradient {
  const float* dy;
  int64_t dyPitch;
  Target dx;
  float* dweight;
};

constexpr int kThreads = 256;
constexpr int kResident = 3;                // blocks on a multiprocessor: 80 registers a thread
constexpr int kMaxBundle = 32;              // groups
constexpr int kBundleChannels = 32;         // 128 bytes
constexpr int64_t kTileBytes = 46 * 1024;   // with the sums less than 64 KiB, which every GPU has
constexpr int64_t kMaxGroup = 2048;         // channels

// Beyond these, squares of float32 may have overflowed or lost digits to underflow.
constexpr float kLeastSquares = 1e-30f, kMostSquares = 1e30f;

// How an image is cut: `bundle` groups and `slabPixels` pixels a block. Threads of a row take `wide` channels each: four
// where the shape allows it, even if a pitch does not and they are loaded one by one, so that sums keep their order.
struct Cut {
  int bundle, perGroup, wide;
  int slabPixels, slabs;
};

// Of one group of one slab: the mean is high + rest, `squares` the sum of squares about high.
struct SlabMoments {
  float high, rest, squares;
};

struct Moments {
  float high, rest, scale;  // scale = 1 / sqrt(variance + epsilon)
};

// Rows of a bundle's channels, a row for each pixel: in shared or in global memory.
struct Rows {
  const float* start;
  int64_t pitch;
};

// A block's part.
struct Part {
  int64_t image, firstPixel;  // the pixel within the image
  int slab, pixels;
  int firstGroup, groups, firstChannel, channels;
};

__device__ __forceinline__ Part partOf(const GroupNorm& a, const Cut& cut, int64_t image) {
  Part part;
  part.image = image;
  part.slab = static_cast<int>(blockIdx.y);
  part.firstPixel = static_cast<int64_t>(part.slab) * cut.slabPixels;
  const int64_t left = a.pixels - part.firstPixel;
  part.pixels = left < cut.slabPixels ? static_cast<int>(left) : cut.slabPixels;
  part.firstGroup = static_cast<int>(blockIdx.x) * cut.bundle;
  const int groups = a.groups - part.firstGroup;
  part.groups = groups < cut.bundle ? groups : cut.bundle;
  part.firstChannel = part.firstGroup * cut.perGroup;
  part.channels = part.groups * cut.perGroup;
  return part;
}

__device__ __forceinline__ int64_t startOf(const GroupNorm& a, const Part& part, int64_t pitch) {
  return (part.image * a.pixels + part.firstPixel) * pitch + part.firstChannel;
}

// Which columns (of `v` channels) and rows of a part a thread has: threads of a row take neighbouring columns.
template <int v>
struct Walk {
  int columns, rows, column, row, step;

  __device__ Walk(const Part& part, const Cut& cut) {
    const int thread = static_cast<int>(threadIdx.x), wanted = part.channels / cut.wide;
    columns = part.channels / v;
    step = wanted < kThreads ? wanted : kThreads;
    rows = kThreads / step;
    row = thread / step;
    column = thread % step;
  }
  __device__ bool idle() const { return row >= rows; }
};

// A part's rows in arrays of which any may be missing.
template <int v>
struct Stored {
  float* whole;
  gpu::Bf16* rounded;
  int64_t wholePitch, roundedPitch;

  __device__ Stored(const GroupNorm& a, const Part& part, const Target& target)
      : whole(target.whole.data == nullptr ? nullptr : target.whole.data + startOf(a, part, target.whole.pitch)),
        rounded(target.rounded.data == nullptr ? nullptr : target.rounded.data + startOf(a, part, target.rounded.pitch)),
        wholePitch(target.whole.pitch),
        roundedPitch(target.rounded.pitch) {}

  __device__ void put(int pixel, int c, const Channels<v>& x) const {
    if (whole != nullptr) store<v>(whole + pixel * wholePitch + c, x);
    if (rounded != nullptr) storeRounded(rounded + pixel * roundedPitch + c, x.v_);
  }
};

// Two sums for each channel: `prepare(c)` gives, for the v channels from c on of the part, a function that adds the terms of
// one pixel to both. They are at totals[c] and totals[rows * channels + c] afterwards, for all threads.
template <int v, class Prepare>
__device__ __forceinline__ void sumChannels(const Walk<v>& walk, const Part& part, float* totals, const Prepare& prepare) {
  const int stride = walk.rows * part.channels;
  if (!walk.idle())
    for (int column = walk.column; column < walk.columns; column += walk.step) {
      const auto add = prepare(column * v);
      Channels<v> first{}, second{};
      for (int pixel = walk.row; pixel < part.pixels; pixel += walk.rows) add(pixel, first, second);
      GPU_UNROLL
      for (int k = 0; k < v; k++) {
        totals[walk.row * part.channels + column * v + k] = first[k];
        totals[stride + walk.row * part.channels + column * v + k] = second[k];
      }
    }
  foldRows(totals, walk.rows, part.channels);
  foldRows(totals + stride, walk.rows, part.channels);
}

// A warp for each group: `finish(group, first, second)` gets the group's sums of `term(c, which)` over its channels.
template <class Term, class Finish>
__device__ __forceinline__ void sumGroups(const Part& part, int perGroup, const Term& term, const Finish& finish) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int group = static_cast<int>(threadIdx.x / 32); group < part.groups; group += kThreads / 32) {
    double first = 0, second = 0;
    for (int c = lane; c < perGroup; c += 32) {
      first += static_cast<double>(term(group * perGroup + c, 0));
      second += static_cast<double>(term(group * perGroup + c, 1));
    }
    first = warpSum(first);
    second = warpSum(second);
    finish(group, first, second);
  }
  __syncthreads();
}

// Moments of the part's groups, from rows that all threads may read.
template <int v>
__device__ void measure(const Walk<v>& walk, const Part& part, int perGroup, const Rows& x, float* totals,
                        SlabMoments* moments) {
  const int stride = walk.rows * part.channels;
  const double count = static_cast<double>(part.pixels) * perGroup;
  const bool first = threadIdx.x % 32 == 0;
  const auto total = [=](int c, int which) { return totals[which * stride + c]; };

  sumChannels<v>(walk, part, totals, [&](int c) {
    return [=](int pixel, Channels<v>& sum, Channels<v>&) {
      const Channels<v> values = load<v>(x.start + pixel * x.pitch + c);
      GPU_UNROLL
      for (int k = 0; k < v; k++) sum[k] += values[k];
    };
  });
  sumGroups(part, perGroup, total, [=](int group, double sum, double) {
    if (first) moments[group].high = static_cast<float>(sum / count);
  });

  sumChannels<v>(walk, part, totals, [&](int c) {
    Channels<v> high;
    GPU_UNROLL
    for (int k = 0; k < v; k++) high[k] = moments[(c + k) / perGroup].high;
    return [=](int pixel, Channels<v>& rest, Channels<v>& squares) {
      const Channels<v> values = load<v>(x.start + pixel * x.pitch + c);
      GPU_UNROLL
      for (int k = 0; k < v; k++) {
        const float d = values[k] - high[k];
        rest[k] += d;
        squares[k] += d * d;
      }
    };
  });
  sumGroups(part, perGroup, total, [=](int group, double rest, double squares) {
    const float high = moments[group].high;
    if (!(squares > static_cast<double>(kLeastSquares) && squares < static_cast<double>(kMostSquares))) {
      squares = 0;
      for (int i = static_cast<int>(threadIdx.x % 32); i < part.pixels * perGroup; i += 32) {
        const float value = x.start[i / perGroup * x.pitch + group * perGroup + i % perGroup];
        const double d = static_cast<double>(value) - static_cast<double>(high);
        squares += d * d;
      }
      squares = warpSum(squares);
    }
    if (!first) return;
    const double mean = rest / count;
    // Kept in float32 where that holds it: the root of what is out of range, marked by its sign.
    const double about = squares - rest * mean;
    const double kept = about < 0 ? 0 : about;
    moments[group].rest = static_cast<float>(mean);
    moments[group].squares = kept > static_cast<double>(kMostSquares) || kept < static_cast<double>(kLeastSquares)
                                 ? -static_cast<float>(sqrt(kept))
                                 : static_cast<float>(kept);
  });
}

__device__ __forceinline__ double squaresOf(const SlabMoments& m) {
  const double kept = static_cast<double>(m.squares);
  return kept < 0 ? kept * kept : kept;
}

__device__ __forceinline__ Moments momentsOf(double mean, double squares, double count, double epsilon) {
  const float high = static_cast<float>(mean);
  return {high, static_cast<float>(mean - static_cast<double>(high)),
          static_cast<float>(1 / sqrt(squares / count + epsilon))};
}

// Moments of the groups of a whole image, from those of its slabs (or its only one). Ends with a barrier.
__device__ __forceinline__ void mergeSlabs(const GroupNorm& a, const Cut& cut, const Part& part, const SlabMoments* slabs,
                                           Moments* moments) {
  for (int group = static_cast<int>(threadIdx.x); group < part.groups; group += kThreads) {
    double count = 0, mean = 0, squares = 0;
    for (int slab = 0; slab < cut.slabs; slab++) {
      const SlabMoments& m = slabs[static_cast<int64_t>(slab) * a.groups + part.firstGroup + group];
      const int64_t left = a.pixels - static_cast<int64_t>(slab) * cut.slabPixels;
      const double here = static_cast<double>(left < cut.slabPixels ? left : cut.slabPixels) * cut.perGroup;
      const double distance = static_cast<double>(m.high) + static_cast<double>(m.rest) - mean, both = count + here;
      mean += distance * (here / both);
      squares += squaresOf(m) + distance * distance * (count * here / both);
      count = both;
    }
    moments[group] = momentsOf(mean, squares, count, a.epsilon);
  }
  __syncthreads();
}

// What turns x into the result: (x - high) factor + term.
template <int v>
struct Affine {
  Channels<v> high, factor, term;

  __device__ Affine(const GroupNorm& a, const Part& part, int perGroup, const Moments* moments, int c) {
    GPU_UNROLL
    for (int k = 0; k < v; k++) {
      const Moments& m = moments[(c + k) / perGroup];
      const int channel = part.firstChannel + c + k;
      high[k] = m.high;
      factor[k] = a.weight == nullptr ? m.scale : m.scale * a.weight[channel];
      term[k] = (a.bias == nullptr ? 0.0f : a.bias[channel]) - m.rest * factor[k];
    }
  }
  __device__ float operator()(float x, int k) const { return gpu::fma(x - high[k], factor[k], term[k]); }
};

template <int v, bool silu>
__device__ __forceinline__ void writeNormalised(const GroupNorm& a, const Cut& cut, const Walk<v>& walk, const Part& part,
                                                const Rows& x, const Moments* moments, const GroupNormResult& out) {
  if (walk.idle()) return;
  const Stored<v> last(a, part, out.last), before(a, part, silu ? Target{out.beforeSilu, {}} : Target{});
  for (int column = walk.column; column < walk.columns; column += walk.step) {
    const int c = column * v;
    const Affine<v> affine(a, part, cut.perGroup, moments, c);
    for (int pixel = walk.row; pixel < part.pixels; pixel += walk.rows) {
      Channels<v> value = load<v>(x.start + pixel * x.pitch + c);
      GPU_UNROLL
      for (int k = 0; k < v; k++) value[k] = affine(value[k], k);
      if (silu) {
        before.put(pixel, c, value);
        GPU_UNROLL
        for (int k = 0; k < v; k++) value[k] = Silu{}(value[k]);
      }
      last.put(pixel, c, value);
    }
  }
}

// Copies the part's rows to `tile`; returns where they are now. A barrier must follow before other threads read them.
template <int v>
__device__ __forceinline__ Rows bring(const Walk<v>& walk, const Part& part, const float* from, int64_t pitch, float* tile) {
  if (!walk.idle())
    for (int column = walk.column; column < walk.columns; column += walk.step)
      for (int pixel = walk.row; pixel < part.pixels; pixel += walk.rows)
        store<v>(tile + pixel * part.channels + column * v, load<v>(from + pixel * pitch + column * v));
  return {tile, part.channels};
}

__host__ __device__ __forceinline__ int tileFloats(int pixels, int channels) { return (pixels * channels + 3) / 4 * 4; }

// One slab an image: everything from one reading of x.
template <int v, bool silu>
__global__ void __launch_bounds__(kThreads, kResident) normaliseWhole(const GroupNorm a, const Cut cut, const GroupNormResult out) {
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(SlabMoments, measured, kMaxBundle);
  GPU_SHARED(Moments, moments, kMaxBundle);
  for (int64_t image = blockIdx.z; image < a.images; image += gridDim.z) {
    const Part part = partOf(a, cut, image);
    const Walk<v> walk(part, cut);
    float* const tile = reinterpret_cast<float*>(memory);
    const Rows x = bring<v>(walk, part, a.x + startOf(a, part, a.xPitch), a.xPitch, tile);
    measure<v>(walk, part, cut.perGroup, x, tile + tileFloats(part.pixels, part.channels), measured);
    mergeSlabs(a, cut, part, measured - part.firstGroup, moments);
    writeNormalised<v, silu>(a, cut, walk, part, x, moments, out);
    __syncthreads();
  }
}

// The moments of each slab, to slabs [images, slabs, groups].
template <int v>
__global__ void __launch_bounds__(kThreads, kResident) measureSlabs(const GroupNorm a, const Cut cut, SlabMoments* slabs) {
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(SlabMoments, measured, kMaxBundle);
  for (int64_t image = blockIdx.z; image < a.images; image += gridDim.z) {
    const Part part = partOf(a, cut, image);
    const Walk<v> walk(part, cut);
    float* const tile = reinterpret_cast<float*>(memory);
    const Rows x = bring<v>(walk, part, a.x + startOf(a, part, a.xPitch), a.xPitch, tile);
    measure<v>(walk, part, cut.perGroup, x, tile + tileFloats(part.pixels, part.channels), measured);
    if (static_cast<int>(threadIdx.x) < part.groups)
      slabs[(image * cut.slabs + part.slab) * a.groups + part.firstGroup + static_cast<int>(threadIdx.x)] =
          measured[threadIdx.x];
    __syncthreads();
  }
}

template <int v, bool silu>
__global__ void __launch_bounds__(kThreads, kResident)
    normaliseSlabs(const GroupNorm a, const Cut cut, const SlabMoments* slabs, const GroupNormResult out) {
  GPU_SHARED(Moments, moments, kMaxBundle);
  for (int64_t image = blockIdx.z; image < a.images; image += gridDim.z) {
    const Part part = partOf(a, cut, image);
    const Walk<v> walk(part, cut);
    mergeSlabs(a, cut, part, slabs + image * cut.slabs * a.groups, moments);
    const Rows x{a.x + startOf(a, part, a.xPitch), a.xPitch};
    writeNormalised<v, silu>(a, cut, walk, part, x, moments, out);
    __syncthreads();
  }
}

// Sums over the part's pixels for each channel: of g = dy, and of g (x - high).
template <int v>
__device__ __forceinline__ void sumProducts(const GroupNorm& a, const Cut& cut, const Walk<v>& walk, const Part& part,
                                            const Rows& x, const Rows& dy, const Moments* moments, float* totals) {
  sumChannels<v>(walk, part, totals, [&](int c) {
    const Affine<v> affine(a, part, cut.perGroup, moments, c);
    return [=](int pixel, Channels<v>& gradients, Channels<v>& products) {
      const Channels<v> values = load<v>(x.start + pixel * x.pitch + c);
      const Channels<v> g =
          load<v>(dy.start + pixel * dy.pitch + c);
      GPU_UNROLL
      for (int k = 0; k < v; k++) {
        gradients[k] += g[k];
        products[k] += g[k] * (values[k] - affine.high[k]);
      }
    };
  });
}

// Of a group: with g' = g weight and z = s (x - mean), dx = s (g' - mean(g') - z mean(g' z)).
struct GroupFactors {
  float ofNormalised, term;
};

// From the channels' totals over the image: factors for dx, and the image's share of dweight and dbias,
// shares [images, 2, channels], where `writesShares`. Ends with a barrier.
template <class Total>
__device__ __forceinline__ void finishSums(const GroupNorm& a, const Cut& cut, const Part& part, const Moments* moments,
                                           const Total& total, bool writesShares, float* shares, GroupFactors* factors) {
  const auto weighted = [&](int c, int which) {
    const Moments& m = moments[c / cut.perGroup];
    const double w = a.weight == nullptr ? 1.0 : static_cast<double>(a.weight[part.firstChannel + c]);
    return which == 0 ? w * total(c, 0) : w * (total(c, 1) - static_cast<double>(m.rest) * total(c, 0));
  };
  const double count = static_cast<double>(a.pixels) * cut.perGroup;
  sumGroups(part, cut.perGroup, weighted, [=](int group, double gradients, double products) {
    if (threadIdx.x % 32 != 0) return;
    const double scale = static_cast<double>(moments[group].scale), rest = static_cast<double>(moments[group].rest);
    const double factor = -scale * (scale * products / count);
    factors[group] = {static_cast<float>(factor), static_cast<float>(-scale * gradients / count - rest * scale * factor)};
  });
  if (!writesShares) return;
  float* const ofWeight = shares + part.image * 2 * a.channels + part.firstChannel;
  for (int c = static_cast<int>(threadIdx.x); c < part.channels; c += kThreads) {
    const Moments& m = moments[c / cut.perGroup];
    const double gradient = total(c, 0);
    ofWeight[c] = static_cast<float>(static_cast<double>(m.scale) *
                                     (total(c, 1) - static_cast<double>(m.rest) * gradient));
    ofWeight[a.channels + c] = static_cast<float>(gradient);
  }
}

template <int v>
__device__ __forceinline__ void writeGradient(const GroupNorm& a, const Cut& cut, const Walk<v>& walk, const Part& part,
                                              const Rows& x, const Rows& dy, const Moments* moments,
                                              const GroupFactors* factors, const Target& dx) {
  if (walk.idle()) return;
  const Stored<v> stored(a, part, dx);
  for (int column = walk.column; column < walk.columns; column += walk.step) {
    const int c = column * v;
    const Affine<v> affine(a, part, cut.perGroup, moments, c);
    Channels<v> scale, ofNormalised, term;
    GPU_UNROLL
    for (int k = 0; k < v; k++) {
      const int group = (c + k) / cut.perGroup;
      scale[k] = moments[group].scale;
      ofNormalised[k] = factors[group].ofNormalised;
      term[k] = factors[group].term;
    }
    for (int pixel = walk.row; pixel < part.pixels; pixel += walk.rows) {
      const Channels<v> values = load<v>(x.start + pixel * x.pitch + c);
      const Channels<v> g = load<v>(dy.start + pixel * dy.pitch + c);
      Channels<v> result;
      GPU_UNROLL
      for (int k = 0; k < v; k++) {
        const float z = (values[k] - affine.high[k]) * scale[k];
        result[k] = (g[k] * affine.factor[k] + term[k]) + z * ofNormalised[k];
      }
      stored.put(pixel, c, result);
    }
  }
}

template <int v>
__global__ void __launch_bounds__(kThreads, kResident)
    gradientWhole(const GroupNorm a, const Cut cut, const GroupNormGradient out, float* shares) {
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(SlabMoments, measured, kMaxBundle);
  GPU_SHARED(Moments, moments, kMaxBundle);
  GPU_SHARED(GroupFactors, factors, kMaxBundle);
  for (int64_t image = blockIdx.z; image < a.images; image += gridDim.z) {
    const Part part = partOf(a, cut, image);
    const Walk<v> walk(part, cut);
    float* const tile = reinterpret_cast<float*>(memory);
    float* const tileOfGradient = tile + tileFloats(part.pixels, part.channels);
    float* const totals = tileOfGradient + tileFloats(part.pixels, part.channels);
    const Rows x = bring<v>(walk, part, a.x + startOf(a, part, a.xPitch), a.xPitch, tile);
    const Rows dy = bring<v>(walk, part, out.dy + startOf(a, part, out.dyPitch), out.dyPitch, tileOfGradient);
    measure<v>(walk, part, cut.perGroup, x, totals, measured);
    mergeSlabs(a, cut, part, measured - part.firstGroup, moments);
    sumProducts<v>(a, cut, walk, part, x, dy, moments, totals);
    const int stride = walk.rows * part.channels;
    const auto total = [=](int c, int which) { return static_cast<double>(totals[which * stride + c]); };
    finishSums(a, cut, part, moments, total, true, shares, factors);
    writeGradient<v>(a, cut, walk, part, x, dy, moments, factors, out.dx);
    __syncthreads();
  }
}

// The channels' sums of each slab, to sums [images, slabs, 2, channels].
template <int v>
__global__ void __launch_bounds__(kThreads, kResident)
    gradientSums(const GroupNorm a, const Cut cut, const SlabMoments* slabs, const GroupNormGradient out, float* sums) {
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(Moments, moments, kMaxBundle);
  for (int64_t image = blockIdx.z; image < a.images; image += gridDim.z) {
    const Part part = partOf(a, cut, image);
    const Walk<v> walk(part, cut);
    float* const totals = reinterpret_cast<float*>(memory);
    mergeSlabs(a, cut, part, slabs + image * cut.slabs * a.groups, moments);
    sumProducts<v>(a, cut, walk, part, {a.x + startOf(a, part, a.xPitch), a.xPitch},
                               {out.dy + startOf(a, part, out.dyPitch), out.dyPitch}, moments, totals);
    float* const to = sums + (image * cut.slabs + part.slab) * 2 * a.channels + part.firstChannel;
    for (int c = static_cast<int>(threadIdx.x); c < part.channels; c += kThreads) {
      to[c] = totals[c];
      to[a.channels + c] = totals[walk.rows * part.channels + c];
    }
    __syncthreads();
  }
}

template <int v>
__global__ void __launch_bounds__(kThreads, kResident) gradientSlabs(const GroupNorm a, const Cut cut, const SlabMoments* slabs,
                                                          const float* sums, const GroupNormGradient out, float* shares) {
  GPU_SHARED(Moments, moments, kMaxBundle);
  GPU_SHARED(GroupFactors, factors, kMaxBundle);
  for (int64_t image = blockIdx.z; image < a.images; image += gridDim.z) {
    const Part part = partOf(a, cut, image);
    const Walk<v> walk(part, cut);
    mergeSlabs(a, cut, part, slabs + image * cut.slabs * a.groups, moments);
    const float* const from = sums + image * cut.slabs * 2 * a.channels + part.firstChannel;
    const auto total = [=](int c, int which) {
      double sum = 0;
      for (int slab = 0; slab < cut.slabs; slab++)
        sum += static_cast<double>(from[(static_cast<int64_t>(slab) * 2 + which) * a.channels + c]);
      return sum;
    };
    finishSums(a, cut, part, moments, total, part.slab == 0, shares, factors);
    writeGradient<v>(a, cut, walk, part, {a.x + startOf(a, part, a.xPitch), a.xPitch},
                                 {out.dy + startOf(a, part, out.dyPitch), out.dyPitch}, moments, factors, out.dx);
    __syncthreads();
  }
}

// [dweight, dbias] = the sum of the images' shares; a block for 32 of the 2 channels columns.
__global__ void __launch_bounds__(kThreads, kResident) sumShares(const float* shares, const int64_t images, const int columns, float* sums) {
  constexpr int width = 32, rows = kThreads / width;
  GPU_SHARED(float, partial, kThreads);
  const int column = static_cast<int>(blockIdx.x) * width + static_cast<int>(threadIdx.x) % width;
  double sum = 0;
  if (column < columns)
    for (int64_t image = threadIdx.x / width; image < images; image += rows)
      sum += static_cast<double>(shares[image * columns + column]);
  partial[threadIdx.x] = static_cast<float>(sum);
  foldRows(partial, rows, width);
  if (threadIdx.x < width && column < columns) sums[column] = partial[threadIdx.x];
}

// Cuts an image so that `tiles` tiles of a part fit into shared memory.
Cut cutOf(const GroupNorm& a, int tiles) {
  Cut cut;
  cut.perGroup = a.channels / a.groups;
  if (cut.perGroup > kMaxGroup)
    Launch::refuse("groups of " + std::to_string(cut.perGroup) + " channels; on CUDA a group has at most " +
                   std::to_string(kMaxGroup));
  const int64_t floats = kTileBytes / static_cast<int64_t>(sizeof(float)) / tiles - 4;
  const int most = a.groups < kMaxBundle ? a.groups : kMaxBundle;
  const int wanted = kBundleChannels / cut.perGroup;
  const int widest = wanted < 1 ? 1 : wanted < most ? wanted : most;
  cut.bundle = widest;
  while (cut.bundle > 1 && a.pixels * cut.bundle * cut.perGroup > floats) cut.bundle /= 2;
  // In slabs there is no reason to be narrow.
  if (a.pixels * cut.bundle * cut.perGroup > floats) cut.bundle = widest;
  cut.wide = cut.bundle * cut.perGroup % 4 == 0 && a.channels % 4 == 0 ? 4 : 1;
  const int64_t fitting = floats / (cut.bundle * cut.perGroup);
  cut.slabs = static_cast<int>(ceilDivide(a.pixels, fitting));
  cut.slabPixels = static_cast<int>(ceilDivide(a.pixels, cut.slabs));
  return cut;
}

// So many floats of a block's sums: two for each channel and row of threads.
size_t totalsBytes(const Cut& cut) {
  const int channels = cut.bundle * cut.perGroup;
  return 2 * sizeof(float) * static_cast<size_t>(channels > 4 * kThreads ? channels : 4 * kThreads);
}
size_t sharedBytes(const Cut& cut, int tiles) {
  return static_cast<size_t>(tiles) * sizeof(float) *
             static_cast<size_t>(tileFloats(cut.slabPixels, cut.bundle * cut.perGroup)) +
         totalsBytes(cut);
}

dim3 gridOf(const GroupNorm& a, const Cut& cut) {
  return dim3(static_cast<unsigned>(ceilDivide(a.groups, cut.bundle)), static_cast<unsigned>(cut.slabs),
              static_cast<unsigned>(a.images < kMostBlocks ? a.images : kMostBlocks));
}

// Whether x may be loaded four channels at a time.
bool inFours(const GroupNorm& a, const Cut& cut) {
  return cut.wide == 4 && a.xPitch % 4 == 0 && aligned16(a.x);
}

SlabMoments* measureAll(const GroupNorm& a, const Cut& cut, bool fours, Launch& launch) {
  SlabMoments* const slabs = static_cast<SlabMoments*>(
      launch.scratch(static_cast<size_t>(a.images) * static_cast<size_t>(cut.slabs * a.groups) * sizeof(SlabMoments)));
  const dim3 grid = gridOf(a, cut);
  const size_t bytes = sharedBytes(cut, 1);
  if (fours)
    GPU_LAUNCH_SHARED(measureSlabs<4>, grid, dim3(kThreads), bytes, launch.stream(), a, cut, slabs);
  else
    GPU_LAUNCH_SHARED(measureSlabs<1>, grid, dim3(kThreads), bytes, launch.stream(), a, cut, slabs);
  return slabs;
}

template <int v, bool silu>
void normalise(const GroupNorm& a, const Cut& cut, const GroupNormResult& out, Launch& launch) {
  const dim3 grid = gridOf(a, cut), block(kThreads);
  if (cut.slabs == 1) {
    GPU_LAUNCH_SHARED((normaliseWhole<v, silu>), grid, block, sharedBytes(cut, 1), launch.stream(), a, cut, out);
    return;
  }
  const SlabMoments* const slabs = measureAll(a, cut, v == 4, launch);
  GPU_LAUNCH((normaliseSlabs<v, silu>), grid, block, launch.stream(), a, cut, slabs, out);
}

// dweight and dbias, which lie one behind the other, from the images' shares.
void sumImages(const GroupNorm& a, const float* shares, const GroupNormGradient& out, Launch& launch) {
  const int columns = 2 * a.channels;
  GPU_LAUNCH(sumShares, dim3(static_cast<unsigned>(ceilDivide(columns, 32))), dim3(kThreads), launch.stream(), shares,
             a.pixels == 0 ? 0 : a.images, columns, out.dweight);
}

template <int v>
void differentiate(const GroupNorm& a, const Cut& cut, const GroupNormGradient& out, Launch& launch) {
  const dim3 grid = gridOf(a, cut), block(kThreads);
  const int columns = 2 * a.channels;
  float* const shares = static_cast<float*>(launch.scratch(static_cast<size_t>(a.images * columns) * sizeof(float)));
  if (cut.slabs == 1) {
    GPU_LAUNCH_SHARED((gradientWhole<v>), grid, block, sharedBytes(cut, 2), launch.stream(), a, cut, out, shares);
  } else {
    const SlabMoments* const slabs = measureAll(a, cut, v == 4, launch);
    float* const sums =
        static_cast<float*>(launch.scratch(static_cast<size_t>(a.images * cut.slabs * columns) * sizeof(float)));
    GPU_LAUNCH_SHARED((gradientSums<v>), grid, block, totalsBytes(cut), launch.stream(), a, cut, slabs, out, sums);
    GPU_LAUNCH((gradientSlabs<v>), grid, block, launch.stream(), a, cut, slabs, sums, out, shares);
  }
  sumImages(a, shares, out, launch);
}

GroupNorm normOf(Command& command, bool hasBias, int weightAt) {
  const Operand& x = command.inputs[0];
  GroupNorm a;
  a.x = x.as<const float>();
  a.xPitch = x.pitch;
  a.weight = command.has(weightAt) ? command.inputs[weightAt].as<const float>() : nullptr;
  a.bias = hasBias && command.has(weightAt + 1) ? command.inputs[weightAt + 1].as<const float>() : nullptr;
  a.images = x.shape[0];
  a.channels = static_cast<int>(x.cols());
  a.pixels = x.size() == 0 ? 0 : x.rows() / a.images;
  a.groups = static_cast<int>(command.attributes.i());
  a.epsilon = command.attributes.f();
  return a;
}

GroupNormResult resultOf(const Operand& y, Launch& launch) {
  const Follower* const follower = launch.follower(y);
  if (follower == nullptr || follower->op != "silu") return {targetOf(y, launch), false, {}};
  const Operand& activated = follower->command.output;
  const bool both = follower->resultNeeded;
  launch.takeNext();
  return {targetOf(activated, launch), true, both ? Pitched<float>{y.as<float>(), y.pitch} : Pitched<float>{}};
}

void groupNorm(Command& command, Launch& launch) {
  expectFloat32(command);
  const GroupNorm a = normOf(command, true, 1);
  if (command.output.size() > 0) normaliseGroups(a, resultOf(command.output, launch), launch);
}

// One flat output: dx, then dweight and dbias.
void groupNormGradient(Command& command, Launch& launch) {
  expectFloat32(command);
  const GroupNorm a = normOf(command, false, 2);
  const Operand &x = command.inputs[0], &dy = command.inputs[1];
  Operand dx = x;
  dx.data = command.output.data;
  dx.pitch = x.cols();
  const GroupNormGradient out = {dy.as<const float>(), dy.pitch, targetOf(dx, launch), dx.as<float>() + x.size()};
  if (a.images * a.pixels == 0) return sumImages(a, nullptr, out, launch);
  const Cut cut = cutOf(a, 2);
  const bool fours = inFours(a, cut) && dy.pitch % 4 == 0 && aligned16(out.dy) && aligned16(dx.data);
  fours ? differentiate<4>(a, cut, out, launch) : differentiate<1>(a, cut, out, launch);
}

}  // namespace

void normaliseGroups(const GroupNorm& a, const GroupNormResult& out, Launch& launch) {
  const Cut cut = cutOf(a, 1);
  const auto suits = [](const Pitched<float>& y) { return y.pitch % 4 == 0 && aligned16(y.data); };
  const bool fours = inFours(a, cut) && suits(out.last.whole) && suits(out.beforeSilu);
  if (out.silu)
    fours ? normalise<4, true>(a, cut, out, launch) : normalise<1, true>(a, cut, out, launch);
  else
    fours ? normalise<4, false>(a, cut, out, launch) : normalise<1, false>(a, cut, out, launch);
}

LANGEVIN_CUDA_KERNEL("groupNorm", "groups:int,epsilon:float", groupNorm)
LANGEVIN_CUDA_KERNEL("groupNormGradient", "groups:int,epsilon:float", groupNormGradient)

}  // namespace cuda
}  // namespace langevin
