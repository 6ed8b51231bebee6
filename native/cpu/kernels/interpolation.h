// Which input positions an output position of a resampled axis sees, and with which weights.
//
// Position o of an axis of n elements that becomes one of m; A = -0.75 (PyTorch's and OpenCV's):
//
//   source s  = (o + 1/2) n/m - 1/2, or o (n-1)/(m-1) with corners aligned (0 where m = 1);   f = floor(s), t = s - f
//   nearest     x[floor(o n/m)]
//   bilinear    (1 - t) x[f] + t x[f+1], where s < 0 counts as 0
//   bicubic     k(t+1) x[f-1] + k(t) x[f] + k(1-t) x[f+1] + k(2-t) x[f+2]
//               with k(d) = (A+2) d^3 - (A+3) d^2 + 1 for d <= 1, A d^3 - 5A d^2 + 8A d - 4A for 1 < d <= 2
//   area        mean of x[floor(o n/m)] ... x[ceil((o+1) n/m) - 1]
//
// Positions outside of the axis are those at its ends, whose weights add up. This is area_pixel_compute_source_index and
// adaptive_avg_pool2d of PyTorch, with source positions rounded once in double. ts/device/ts/interpolation.ts is the same.
#pragma once

#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {

// In the order of the enumeration in the op's record.
enum class Interpolation : int64_t { nearest, bilinear, bicubic, area };

struct Resampling {
  Interpolation mode;
  bool alignCorners;
};

// Positions first, first + 1, ... (count of them) of the input, and the weight of each.
struct Taps {
  int64_t first, count;
  const float* weights;
};

// The taps of every output position of an axis.
class TapTable {
 public:
  // Those of an axis of `from` elements that becomes one of `to`.
  LANGEVIN_INLINE static TapTable forward(const Resampling& r, int64_t from, int64_t to, Context& context) {
    int64_t widest = 0;
    for (int64_t o = 0; o < to; o++) widest = most(widest, tapsOf(r, from, to, o).count);
    TapTable table(to, widest, context);
    for (int64_t o = 0; o < to; o++) {
      const Source source = tapsOf(r, from, to, o);
      table.firsts_[o] = static_cast<int32_t>(source.first);
      table.counts_[o] = static_cast<int32_t>(source.count);
      for (int64_t k = 0; k < source.count; k++) table.row(o)[k] = static_cast<float>(source.weight(k));
    }
    return table;
  }

  // The other way round: which of the `to` outputs see each of the `from` inputs. One in between that does not has the
  // weight 0.
  LANGEVIN_INLINE static TapTable transposed(const Resampling& r, int64_t from, int64_t to, Context& context) {
    int32_t* const last = reinterpret_cast<int32_t*>(context.scratch(2 * from));
    int32_t* const first = last + from;
    for (int64_t i = 0; i < from; i++) last[i] = -1;
    int64_t widest = 0;
    for (int64_t o = 0; o < to; o++) {
      const Source source = tapsOf(r, from, to, o);
      for (int64_t i = source.first; i < source.first + source.count; i++) {
        if (last[i] < 0) first[i] = static_cast<int32_t>(o);
        last[i] = static_cast<int32_t>(o);
        widest = most(widest, o - first[i] + 1);
      }
    }
    TapTable table(from, widest, context);
    for (int64_t i = 0; i < from; i++) {
      table.firsts_[i] = last[i] < 0 ? 0 : first[i];
      table.counts_[i] = last[i] < 0 ? 0 : last[i] - first[i] + 1;
      __builtin_memset(table.row(i), 0, static_cast<size_t>(widest) * sizeof(float));
    }
    for (int64_t o = 0; o < to; o++) {
      const Source source = tapsOf(r, from, to, o);
      for (int64_t k = 0; k < source.count; k++) {
        const int64_t i = source.first + k;
        table.row(i)[o - first[i]] = static_cast<float>(source.weight(k));
      }
    }
    return table;
  }

  // Every output position sees the input position of the same number.
  LANGEVIN_INLINE static TapTable identity(int64_t size, Context& context) {
    return forward({Interpolation::nearest, false}, size, size, context);
  }

  LANGEVIN_INLINE Taps operator[](int64_t o) const { return {firsts_[o], counts_[o], weights_ + o * widest_}; }

  // The largest number of taps.
  LANGEVIN_INLINE int64_t widest() const { return widest_; }

 private:
  // The taps of one output position in double. All weights of an area are equal.
  struct Source {
    int64_t first, count;
    bool even;
    double weights[4];
    LANGEVIN_INLINE double weight(int64_t k) const { return even ? 1.0 / static_cast<double>(count) : weights[k]; }
  };

  TapTable(int64_t size, int64_t widest, Context& context) : widest_(widest) {
    firsts_ = reinterpret_cast<int32_t*>(context.scratch(size * (2 + widest)));
    counts_ = firsts_ + size;
    weights_ = reinterpret_cast<float*>(counts_ + size);
  }

  float* row(int64_t o) { return weights_ + o * widest_; }

  LANGEVIN_INLINE static double innerCubic(double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; }
  LANGEVIN_INLINE static double outerCubic(double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; }

  LANGEVIN_INLINE static Source tapsOf(const Resampling& r, int64_t from, int64_t to, int64_t o) {
    const int64_t start = o * from / to;
    if (r.mode == Interpolation::nearest) return {start, 1, true, {}};
    if (r.mode == Interpolation::area) return {start, ceilDivide((o + 1) * from, to) - start, true, {}};
    double s = r.alignCorners ? (to == 1 ? 0.0 : static_cast<double>(o * (from - 1)) / static_cast<double>(to - 1))
                              : (static_cast<double>(o) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    if (r.mode == Interpolation::bilinear) {
      if (s < 0) s = 0;
      const double floor = __builtin_floor(s), t = s - floor;
      const double weights[2] = {1 - t, t};
      return merged(static_cast<int64_t>(floor), weights, 2, from);
    }
    const double floor = __builtin_floor(s), t = s - floor;
    const double weights[4] = {outerCubic(t + 1), innerCubic(t), innerCubic(1 - t), outerCubic(2 - t)};
    return merged(static_cast<int64_t>(floor) - 1, weights, 4, from);
  }

  // Taps start, start + 1, ... on an axis of `from` elements.
  LANGEVIN_INLINE static Source merged(int64_t start, const double* weights, int taps, int64_t from) {
    Source source = {-1, 0, false, {}};
    for (int k = 0; k < taps; k++) {
      if (weights[k] == 0) continue;  // so that a position is copied where it is met exactly
      const int64_t position = least(most(start + k, 0), from - 1);
      if (source.first < 0) source.first = position;
      source.count = position - source.first + 1;
      source.weights[position - source.first] += weights[k];
    }
    return source;
  }

  static constexpr double kA = -0.75;

  int64_t widest_;
  int32_t* firsts_;
  int32_t* counts_;
  float* weights_;
};

}  // namespace LANGEVIN_ISA
}  // namespace langevin
