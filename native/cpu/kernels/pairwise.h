// Sums in a fixed order: blocks of up to 1,024 terms over 32 interleaved lanes, and a binary tree over the blocks.
//
// The order follows from the number of terms alone, not from the vector width, so every instruction set gives the same
// bits.
#pragma once

#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {

constexpr int64_t kTerms = 1024;
constexpr int kSumLanes = 32;

// The vectors of an element type, and how the first n lanes are read.
template <class T>
struct LanesOf;
template <>
struct LanesOf<float> {
  typedef V Vector;
  static LANGEVIN_INLINE V partial(const float* p, int64_t n) { return loadPartial(p, n); }
};
template <>
struct LanesOf<int32_t> {
  typedef VI Vector;
  static LANGEVIN_INLINE VI partial(const int32_t* p, int64_t n) { return loadPartialInt(p, n); }
};
template <>
struct LanesOf<uint32_t> {
  typedef VU Vector;
  static LANGEVIN_INLINE VU partial(const uint32_t* p, int64_t n) {
    return (VU)loadPartialInt(reinterpret_cast<const int32_t*>(p), n);
  }
};

template <class T>
LANGEVIN_SIMD typename LanesOf<T>::Vector loadAs(const T* p) {
  typename LanesOf<T>::Vector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
LANGEVIN_SIMD void storeAs(T* p, typename LanesOf<T>::Vector v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// How terms come together. `Combine` parameters below have these members; a partial vector is filled up with what
// changes nothing. int32 is summed as unsigned words, which wrap.
template <class T>
struct Add {
  typedef typename LanesOf<T>::Vector Vector;
  static LANGEVIN_INLINE Vector identity() { return Vector{}; }
  static LANGEVIN_INLINE Vector partial(const T* p, int64_t n) { return LanesOf<T>::partial(p, n); }
  static LANGEVIN_INLINE Vector combine(Vector a, Vector b) { return a + b; }
  static LANGEVIN_INLINE T combine(T a, T b) { return a + b; }
};

// Sums entry i of `count` rows of `width` elements into row 0, row by row as a binary tree.
template <class T, class Combine = Add<T>>
LANGEVIN_SIMD void foldRows(T* rows, int64_t count, int64_t width) {
  for (int64_t step = 1; step < count; step *= 2)
    for (int64_t row = 0; row + step < count; row += 2 * step) {
      T *const to = rows + row * width, *const from = rows + (row + step) * width;
      LANGEVIN_IVDEP
      for (int64_t i = 0; i < width; i++) to[i] = Combine::combine(to[i], from[i]);
    }
}

// Sum of n <= kTerms adjacent terms: lane i takes terms i, i + 32, ...; the lanes are folded by halves.
template <class T, class Combine = Add<T>>
LANGEVIN_SIMD T blockSum(const T* x, int64_t n) {
  constexpr int count = kSumLanes / kWidth;
  typename Combine::Vector sums[count];
  for (int j = 0; j < count; j++) sums[j] = Combine::identity();
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    for (int j = 0; j < count; j++) sums[j] = Combine::combine(sums[j], loadAs(x + i + j * kWidth));
  for (int j = 0; j < count && i < n; j++, i += kWidth)
    sums[j] = Combine::combine(sums[j], Combine::partial(x + i, least(kWidth, n - i)));
  for (int half = count / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) sums[j] = Combine::combine(sums[j], sums[j + half]);
  T lanes[kWidth];
  __builtin_memcpy(lanes, sums, sizeof lanes);
  for (int half = kWidth / 2; half > 0; half /= 2) {
    if (n <= half) continue;  // nothing came to the upper half
    for (int j = 0; j < half; j++) lanes[j] = Combine::combine(lanes[j], lanes[j + half]);
  }
  return lanes[0];
}

// Blocks of one dimension that an item of parallel work sums: a whole subtree.
constexpr int64_t kBlocksPerSum = 32;

// Sum of n <= kBlocksPerSum * kTerms terms; at(start, n, buffer) gives a pointer to n terms from `start` on, which may
// be `buffer` (kTerms elements) filled with them.
template <class T, class Combine = Add<T>, class F>
LANGEVIN_INLINE static T subtreeSum(int64_t n, const F& at) {
  T sums[kBlocksPerSum];
  T buffer[kTerms];
  const int64_t blocks = ceilDivide(n, kTerms);
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t start = b * kTerms, m = least(kTerms, n - start);
    sums[b] = blockSum<T, Combine>(at(start, m, buffer), m);
  }
  foldRows<T, Combine>(sums, blocks, 1);
  return sums[0];
}

// Sum of n terms within one item of parallel work; at(start, n, buffer) as above. The sums of the blocks are added in
// double.
template <class F>
LANGEVIN_INLINE static double longSum(int64_t n, const F& at) {
  float buffer[kTerms];
  double total = 0;
  for (int64_t start = 0; start < n; start += kTerms) {
    const int64_t m = least(kTerms, n - start);
    total += static_cast<double>(blockSum<float>(at(start, m, buffer), m));
  }
  return total;
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
