// Vectors of the instruction set at hand: what microkernels and element-wise loops are written in.
//
// V and VI are GCC/Clang vector types, so + - * / & | ^ ~ << >> and comparisons work on them directly; a comparison gives a
// VI of 0 and -1 for select(). A tail computed with loadPartial/storePartial runs the very operations of the body and so
// has its bits.
#pragma once

#include <cstdint>

#include "../core/command.h"
#include "isa.h"

#if defined(__AVX2__) || defined(__AVX512F__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace langevin {
namespace LANGEVIN_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

// Whether fma() rounds once. Where it does not (SSE2), fma() is a product and a sum.
#if defined(__FMA__) || defined(__aarch64__)
#define LANGEVIN_HAS_FMA 1
#else
#define LANGEVIN_HAS_FMA 0
#endif

typedef float V __attribute__((vector_size(kWidth * 4)));
typedef int32_t VI __attribute__((vector_size(kWidth * 4)));
typedef uint32_t VU __attribute__((vector_size(kWidth * 4)));

// Half as many doubles, for what needs more digits on the way.
typedef double D __attribute__((vector_size(kWidth * 4)));
typedef int64_t DI __attribute__((vector_size(kWidth * 4)));
typedef uint64_t DU __attribute__((vector_size(kWidth * 4)));

#define LANGEVIN_SIMD static LANGEVIN_INLINE

LANGEVIN_SIMD V zero() { return V{}; }
LANGEVIN_SIMD VI zeroInt() { return VI{}; }

LANGEVIN_SIMD V broadcast(float x) {
#if defined(__AVX512F__)
  return (V)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (V)_mm256_set1_ps(x);
#else
  return V{x, x, x, x};
#endif
}

LANGEVIN_SIMD VI broadcastInt(int32_t x) {
#if defined(__AVX512F__)
  return (VI)_mm512_set1_epi32(x);
#elif defined(__AVX2__)
  return (VI)_mm256_set1_epi32(x);
#else
  return VI{x, x, x, x};
#endif
}

// Any alignment.
LANGEVIN_SIMD V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

LANGEVIN_SIMD VI loadInt(const int32_t* p) {
  VI v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

LANGEVIN_SIMD void store(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
LANGEVIN_SIMD void storeInt(int32_t* p, VI v) { __builtin_memcpy(p, &v, sizeof v); }

// 0, 1, 2, ... in the lanes.
LANGEVIN_SIMD VI laneIndex() {
#if defined(__AVX512F__)
  return VI{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
  return VI{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return VI{0, 1, 2, 3};
#endif
}

// The first n elements (0 <= n <= kWidth), zeros above; memory beyond p + n is not touched.
LANGEVIN_SIMD V loadPartial(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif defined(__AVX2__)
  return (V)_mm256_maskload_ps(p, (__m256i)(laneIndex() < broadcastInt((int32_t)n)));
#else
  V v{};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}

LANGEVIN_SIMD VI loadPartialInt(const int32_t* p, int64_t n) {
#if defined(__AVX512F__)
  return (VI)_mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1u), p);
#elif defined(__AVX2__)
  return (VI)_mm256_maskload_epi32(p, (__m256i)(laneIndex() < broadcastInt((int32_t)n)));
#else
  VI v{};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}

// Writes the first n lanes (0 <= n <= kWidth) and nothing beyond them.
LANGEVIN_SIMD void storePartial(float* p, V v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, (__m256i)(laneIndex() < broadcastInt((int32_t)n)), (__m256)v);
#else
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

LANGEVIN_SIMD void storePartialInt(int32_t* p, VI v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1u), (__m512i)v);
#elif defined(__AVX2__)
  _mm256_maskstore_epi32(p, (__m256i)(laneIndex() < broadcastInt((int32_t)n)), (__m256i)v);
#else
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

// a * b + c.
LANGEVIN_SIMD V fma(V a, V b, V c) {
#if defined(__AVX512F__)
  return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// mask ? a : b, lane by lane; the mask's lanes are 0 or -1.
LANGEVIN_SIMD V select(VI mask, V a, V b) { return (V)(((VI)a & mask) | ((VI)b & ~mask)); }
LANGEVIN_SIMD VI selectInt(VI mask, VI a, VI b) { return (a & mask) | (b & ~mask); }

// a > b ? a : b and a < b ? a : b: the second operand where either is NaN, as a scalar written so gives.
LANGEVIN_SIMD V maximum(V a, V b) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_max_ps((__mmask16)-1, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (V)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (V)_mm_max_ps((__m128)a, (__m128)b);
#else
  return select((VI)(a > b), a, b);
#endif
}

LANGEVIN_SIMD V minimum(V a, V b) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_min_ps((__mmask16)-1, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (V)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (V)_mm_min_ps((__m128)a, (__m128)b);
#else
  return select((VI)(a < b), a, b);
#endif
}

LANGEVIN_SIMD V sqrt(V a) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)a);  // the plain form draws a false warning from GCC 12
#elif defined(__AVX2__)
  return (V)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
  return (V)_mm_sqrt_ps((__m128)a);
#elif defined(__aarch64__)
  return (V)vsqrtq_f32((float32x4_t)a);
#else
  return V{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
#endif
}

// Nearest float of an int, nearest-even; int of a float, truncated.
LANGEVIN_SIMD V toFloat(VI a) { return __builtin_convertvector(a, V); }
LANGEVIN_SIMD VI toInt(V a) { return __builtin_convertvector(a, VI); }

// The lanes' bits under another type.
LANGEVIN_SIMD VI bitsOf(V a) { return (VI)a; }
LANGEVIN_SIMD V fromBits(VI a) { return (V)a; }

LANGEVIN_SIMD D broadcastDouble(double x) { return D{} + x; }
LANGEVIN_SIMD D selectDouble(DI mask, D a, D b) { return (D)(((DI)a & mask) | ((DI)b & ~mask)); }

// The lower and the upper half of the lanes, exactly.
LANGEVIN_SIMD D widenLow(V a) {
#if defined(__AVX512F__)
  return (D)_mm512_maskz_cvtps_pd((__mmask8)-1, _mm512_maskz_extractf32x8_ps((__mmask8)-1, (__m512)a, 0));
#elif defined(__AVX2__)
  return (D)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a));
#elif defined(__SSE2__)
  return (D)_mm_cvtps_pd((__m128)a);
#else
  return D{a[0], a[1]};
#endif
}

LANGEVIN_SIMD D widenHigh(V a) {
#if defined(__AVX512F__)
  return (D)_mm512_maskz_cvtps_pd((__mmask8)-1, _mm512_maskz_extractf32x8_ps((__mmask8)-1, (__m512)a, 1));
#elif defined(__AVX2__)
  return (D)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1));
#elif defined(__SSE2__)
  return (D)_mm_cvtps_pd(_mm_movehl_ps((__m128)a, (__m128)a));
#else
  return D{a[2], a[3]};
#endif
}

// Both halves again, each lane rounded to nearest even.
LANGEVIN_SIMD V narrow(D low, D high) {
#if defined(__AVX512F__)
  const __m256 a = _mm512_maskz_cvtpd_ps((__mmask8)-1, (__m512d)low), b = _mm512_maskz_cvtpd_ps((__mmask8)-1, (__m512d)high);
  return (V)_mm512_maskz_insertf32x8((__mmask16)-1, _mm512_castps256_ps512(a), b, 1);
#elif defined(__AVX2__)
  return (V)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)high), _mm256_cvtpd_ps((__m256d)low));
#elif defined(__SSE2__)
  return (V)_mm_movelh_ps(_mm_cvtpd_ps((__m128d)low), _mm_cvtpd_ps((__m128d)high));
#else
  return V{(float)low[0], (float)low[1], (float)high[0], (float)high[1]};
#endif
}

// Whether any lane of a mask is set.
LANGEVIN_SIMD bool anyLane(DI mask) {
#if defined(__AVX512F__)
  return _mm512_movepi64_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_pd((__m256d)mask) != 0;
#else
  return (mask[0] | mask[1]) != 0;
#endif
}

// Sum of the lanes as a binary tree: (i, i + half), half by half. Fixed for each width.
LANGEVIN_SIMD float sumLanes(V v) {
  float lane[kWidth];
  __builtin_memcpy(lane, &v, sizeof v);
  for (int half = kWidth / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
