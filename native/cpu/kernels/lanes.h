// Permutations of vector lanes that products need: transposing square blocks and summing many vectors at once.
#pragma once

#include "../simd.h"

namespace langevin {
namespace LANGEVIN_ISA {

// Unrolls the next loop, of up to 16 rounds, so that the vectors it indexes can be registers.
#if defined(__clang__)
#define LANGEVIN_UNROLL _Pragma("unroll")
#else
#define LANGEVIN_UNROLL _Pragma("GCC unroll 16")
#endif

// GCC before 12 has only the first spelling, Clang only the second.
#if defined(__clang__)
#define LANGEVIN_SHUFFLE(a, b, ...) (V) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LANGEVIN_SHUFFLE(a, b, ...) (V) __builtin_shuffle(a, b, VI{__VA_ARGS__})
#endif

// a0 b0 a1 b1 ... of the lower halves.
LANGEVIN_SIMD V interleaveLow(V a, V b) {
#if defined(__AVX512F__)
  return LANGEVIN_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__AVX2__)
  return LANGEVIN_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return LANGEVIN_SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}

// The same of the upper halves.
LANGEVIN_SIMD V interleaveHigh(V a, V b) {
#if defined(__AVX512F__)
  return LANGEVIN_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  return LANGEVIN_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return LANGEVIN_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

// Sums of neighbouring lanes: a0+a1 a2+a3 ... b0+b1 b2+b3 ...
LANGEVIN_SIMD V addNeighbours(V a, V b) {
#if defined(__AVX512F__)
  return LANGEVIN_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         LANGEVIN_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return LANGEVIN_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + LANGEVIN_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return LANGEVIN_SHUFFLE(a, b, 0, 2, 4, 6) + LANGEVIN_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}

// Transposes kWidth vectors in place: after log2(kWidth) perfect shuffles lane j of vector i is lane i of vector j.
LANGEVIN_SIMD void transposeBlock(V* v) {
  V t[kWidth];
  LANGEVIN_UNROLL
  for (int stage = 1; stage < kWidth; stage *= 2) {
    LANGEVIN_UNROLL
    for (int i = 0; i < kWidth / 2; i++) {
      t[2 * i] = interleaveLow(v[i], v[i + kWidth / 2]);
      t[2 * i + 1] = interleaveHigh(v[i], v[i + kWidth / 2]);
    }
    LANGEVIN_UNROLL
    for (int i = 0; i < kWidth; i++) v[i] = t[i];
  }
}

// Lane i of the result is the sum of the lanes of vector i, as a binary tree over neighbours.
template <int N = kWidth>
LANGEVIN_SIMD V sumEach(const V* v) {
  if constexpr (N == 1) return v[0];
  else return addNeighbours(sumEach<N / 2>(v), sumEach<N / 2>(v + N / 2));
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
