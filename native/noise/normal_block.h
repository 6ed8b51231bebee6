// Noise for whole stretches of elements, in vectors: the bits of philox.h, many counters at a time.
//
// For kernels; everything lives in the namespace of their instruction set. An image's elements share a counter by fours, so
// a stretch may begin and end anywhere within one.
#pragma once

#include "../cpu/simd.h"
#include "philox.h"

namespace langevin {
namespace LANGEVIN_ISA {

// Counters and values of one block.
constexpr int kNoiseCounters = 16;
constexpr int kNoiseBlock = 4 * kNoiseCounters;

// The operations of noise::Scalar on vectors.
struct Lanes {
  using Float = V;
  using Word = VU;
  using Mask = VI;
  LANGEVIN_SIMD V constant(float x) { return broadcast(x); }
  LANGEVIN_SIMD V mul(V a, V b) { return a * b; }
  LANGEVIN_SIMD V add(V a, V b) { return a + b; }
  LANGEVIN_SIMD V fused(V a, V b, V c) {
#if LANGEVIN_HAS_FMA
    return fma(a, b, c);
#else
    typedef double Wide __attribute__((vector_size(kWidth * 8)));  // as noise::fused does where there is no fma
    return __builtin_convertvector(
        __builtin_convertvector(a, Wide) * __builtin_convertvector(b, Wide) + __builtin_convertvector(c, Wide), V);
#endif
  }
  LANGEVIN_SIMD V root(V a) { return sqrt(a); }
  LANGEVIN_SIMD V fromInt(VU a) { return toFloat((VI)a); }
  LANGEVIN_SIMD V fromBits(VU a) { return (V)a; }
  LANGEVIN_SIMD VU bitsOf(V a) { return (VU)a; }
  LANGEVIN_SIMD VU shiftSigned(VU a, int n) { return (VU)((VI)a >> n); }
  LANGEVIN_SIMD VI greater(V a, V b) { return (VI)(a > b); }
  LANGEVIN_SIMD VI isOdd(VU a) { return -(VI)(a & 1u); }
  LANGEVIN_SIMD V select(VI m, V a, V b) { return LANGEVIN_ISA::select(m, a, b); }
  LANGEVIN_SIMD VU oneWhere(VI m) { return (VU)-m; }
};

struct WideProduct {
  VU high, low;
};

// The 64-bit products of the lanes with m.
LANGEVIN_SIMD WideProduct multiplyWide(VU a, uint32_t m) {
#if defined(__AVX512F__)
  typedef uint64_t Pairs __attribute__((vector_size(64)));
  // Zero-masked with a full mask, because the plain one makes GCC 12 warn of its own header.
  const __m512i y = _mm512_set1_epi32((int)m);
  const Pairs even = (Pairs)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, y);
  const Pairs odd = (Pairs)_mm512_maskz_mul_epu32(0xFF, (__m512i)((Pairs)a >> 32), y);
  return {(VU)_mm512_mask_blend_epi32(0xAAAA, (__m512i)(even >> 32), (__m512i)odd),
          (VU)_mm512_mask_blend_epi32(0xAAAA, (__m512i)even, (__m512i)(odd << 32))};
#elif defined(__AVX2__)
  const __m256i x = (__m256i)a, y = _mm256_set1_epi32((int)m);
  const __m256i even = _mm256_mul_epu32(x, y), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), y);
  return {(VU)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA),
          (VU)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA)};
#elif defined(__SSE2__)
  const __m128i x = (__m128i)a, y = _mm_set1_epi32((int)m), upper = _mm_set_epi32(-1, 0, -1, 0);
  const __m128i even = _mm_mul_epu32(x, y), odd = _mm_mul_epu32(_mm_srli_epi64(x, 32), y);
  return {(VU)_mm_or_si128(_mm_srli_epi64(even, 32), _mm_and_si128(odd, upper)),
          (VU)_mm_or_si128(_mm_andnot_si128(upper, even), _mm_slli_epi64(odd, 32))};
#else
  WideProduct p;
  for (int i = 0; i < kWidth; i++) {
    const uint64_t product = static_cast<uint64_t>(a[i]) * m;
    p.high[i] = static_cast<uint32_t>(product >> 32);
    p.low[i] = static_cast<uint32_t>(product);
  }
  return p;
#endif
}

// The four words of the counters c.quad, c.quad + 1, ... in lanes.
LANGEVIN_SIMD void philoxLanes(noise::Counter c, uint64_t seed, VU words[4]) {
  VU c0 = (VU)laneIndex() + c.quad, c1 = VU{} + c.draw, c2 = VU{} + c.image, c3 = VU{} + c.step;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const WideProduct p = multiplyWide(c0, 0xD2511F53u), q = multiplyWide(c2, 0xCD9E8D57u);
    c0 = q.high ^ c1 ^ k0;
    c1 = q.low;
    c2 = p.high ^ c3 ^ k1;
    c3 = p.low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// out[4 i + k] = lanes[k][i].
LANGEVIN_SIMD void storeInterleaved(float* out, const V lanes[4]) {
#if defined(__SSE2__)
  __m128 part[4][kWidth / 4];
  for (int k = 0; k < 4; k++) __builtin_memcpy(part[k], &lanes[k], sizeof(V));
  for (int i = 0; i < kWidth / 4; i++) {
    __m128 a = part[0][i], b = part[1][i], c = part[2][i], d = part[3][i];
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out + 16 * i, a);
    _mm_storeu_ps(out + 16 * i + 4, b);
    _mm_storeu_ps(out + 16 * i + 8, c);
    _mm_storeu_ps(out + 16 * i + 12, d);
  }
#else
  for (int i = 0; i < kWidth; i++)
    for (int k = 0; k < 4; k++) out[4 * i + k] = lanes[k][i];
#endif
}

// The 64 values that belong to 16 counters from c on: standard normal, uniform in [0, 1), or the words themselves.
LANGEVIN_SIMD void normalBlock(noise::Counter c, uint64_t seed, float out[kNoiseBlock]) {
  for (int i = 0; i < kNoiseCounters; i += kWidth) {
    VU u[4];
    philoxLanes({c.quad + static_cast<uint32_t>(i), c.draw, c.image, c.step}, seed, u);
    const V r0 = sqrt(noise::minusTwoLog<Lanes>(u[0])), r1 = sqrt(noise::minusTwoLog<Lanes>(u[2]));
    const noise::CosSin<Lanes> a = noise::cosSin<Lanes>(u[1]), b = noise::cosSin<Lanes>(u[3]);
    const V z[4] = {r0 * a.cos, r0 * a.sin, r1 * b.cos, r1 * b.sin};
    storeInterleaved(out + 4 * i, z);
  }
}

LANGEVIN_SIMD void uniformBlock(noise::Counter c, uint64_t seed, float out[kNoiseBlock]) {
  for (int i = 0; i < kNoiseCounters; i += kWidth) {
    VU u[4];
    philoxLanes({c.quad + static_cast<uint32_t>(i), c.draw, c.image, c.step}, seed, u);
    V x[4];
    for (int k = 0; k < 4; k++) x[k] = toFloat((VI)(u[k] >> 8)) * broadcast(1.0f / 16777216.0f);
    storeInterleaved(out + 4 * i, x);
  }
}

LANGEVIN_SIMD void wordBlock(noise::Counter c, uint64_t seed, uint32_t out[kNoiseBlock]) {
  for (int i = 0; i < kNoiseCounters; i += kWidth) {
    VU u[4];
    philoxLanes({c.quad + static_cast<uint32_t>(i), c.draw, c.image, c.step}, seed, u);
    V bits[4];
    for (int k = 0; k < 4; k++) bits[k] = (V)u[k];
    float values[4 * kWidth];
    storeInterleaved(values, bits);
    __builtin_memcpy(out + 4 * i, values, sizeof values);
  }
}

// Calls block(counter, seed, 64 values) for all blocks that cover elements [first, first + count) of an image, and copies
// what belongs to the range to `out`. c.quad is ignored.
template <class T, class Block>
LANGEVIN_SIMD void coverRange(T* out, int64_t first, int64_t count, noise::Counter c, uint64_t seed, const Block& block) {
  T values[kNoiseBlock];
  const int64_t end = first + count;
  for (int64_t at = first / 4 * 4; at < end; at += kNoiseBlock) {
    c.quad = static_cast<uint32_t>(at / 4);
    if (at >= first && at + kNoiseBlock <= end) {
      block(c, seed, out + (at - first));
      continue;
    }
    block(c, seed, values);
    const int64_t from = at < first ? first : at, to = at + kNoiseBlock < end ? at + kNoiseBlock : end;
    __builtin_memcpy(out + (from - first), values + (from - at), static_cast<size_t>(to - from) * sizeof(T));
  }
}

// Values of the elements [first, first + count) of the image that c names.
static inline void normals(float* out, int64_t first, int64_t count, noise::Counter c, uint64_t seed) {
  coverRange(out, first, count, c, seed, [](noise::Counter at, uint64_t key, float* to) { normalBlock(at, key, to); });
}

static inline void uniforms(float* out, int64_t first, int64_t count, noise::Counter c, uint64_t seed) {
  coverRange(out, first, count, c, seed, [](noise::Counter at, uint64_t key, float* to) { uniformBlock(at, key, to); });
}

static inline void words(uint32_t* out, int64_t first, int64_t count, noise::Counter c, uint64_t seed) {
  coverRange(out, first, count, c, seed, [](noise::Counter at, uint64_t key, uint32_t* to) { wordBlock(at, key, to); });
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
