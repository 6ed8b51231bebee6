// The noise of every executor: Philox4x32-10 and Box-Muller, on the host and on the device, with the same bits.
//
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), and Box and Muller (1958). Every floating-point
// step is one correctly rounded operation with a name: nothing contracts, nothing comes from a mathematical library.
// Logarithm and sine/cosine use the minimax polynomials of Cephes (logf, sinf, cosf) on reduced arguments.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LANGEVIN_HD __host__ __device__ __forceinline__
#else
#define LANGEVIN_HD inline __attribute__((always_inline))
#endif

namespace langevin {
namespace noise {

#if defined(__CUDA_ARCH__)
LANGEVIN_HD float mul(float a, float b) { return __fmul_rn(a, b); }
LANGEVIN_HD float add(float a, float b) { return __fadd_rn(a, b); }
LANGEVIN_HD float sub(float a, float b) { return __fsub_rn(a, b); }
LANGEVIN_HD float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LANGEVIN_HD float root(float a) { return __fsqrt_rn(a); }
LANGEVIN_HD float fromInt(int32_t a) { return __int2float_rn(a); }
LANGEVIN_HD float fromBits(uint32_t u) { return __uint_as_float(u); }
LANGEVIN_HD uint32_t bitsOf(float f) { return __float_as_uint(f); }
#else
// Host files are compiled with -ffp-contract=off, so a * b and a + b stay apart.
LANGEVIN_HD float mul(float a, float b) { return a * b; }
LANGEVIN_HD float add(float a, float b) { return a + b; }
LANGEVIN_HD float sub(float a, float b) { return a - b; }
LANGEVIN_HD float root(float a) { return __builtin_sqrtf(a); }
LANGEVIN_HD float fromInt(int32_t a) { return static_cast<float>(a); }
LANGEVIN_HD float fromBits(uint32_t u) {
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
LANGEVIN_HD uint32_t bitsOf(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}
#if defined(__FMA__) || defined(__aarch64__)
LANGEVIN_HD float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
// The product of two floats is exact in double; rounding the sum to double first could differ from a true fma, but does
// not for any input below: native/test/noise_bits.cpp tries all of them.
LANGEVIN_HD float fused(float a, float b, float c) {
  return static_cast<float>(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
}
#endif
#endif

// The operations on one value, under the names that the formulas below use. normal_block.h has the same for vectors.
struct Scalar {
  using Float = float;
  using Word = uint32_t;
  using Mask = bool;
  LANGEVIN_HD static Float constant(float x) { return x; }
  LANGEVIN_HD static Float mul(Float a, Float b) { return noise::mul(a, b); }
  LANGEVIN_HD static Float add(Float a, Float b) { return noise::add(a, b); }
  LANGEVIN_HD static Float fused(Float a, Float b, Float c) { return noise::fused(a, b, c); }
  LANGEVIN_HD static Float root(Float a) { return noise::root(a); }
  LANGEVIN_HD static Float fromInt(Word a) { return noise::fromInt(static_cast<int32_t>(a)); }
  LANGEVIN_HD static Float fromBits(Word a) { return noise::fromBits(a); }
  LANGEVIN_HD static Word bitsOf(Float a) { return noise::bitsOf(a); }
  LANGEVIN_HD static Word shiftSigned(Word a, int n) { return static_cast<uint32_t>(static_cast<int32_t>(a) >> n); }
  LANGEVIN_HD static Mask greater(Float a, Float b) { return a > b; }
  LANGEVIN_HD static Mask isOdd(Word a) { return a & 1u; }
  LANGEVIN_HD static Float select(Mask m, Float a, Float b) { return m ? a : b; }
  LANGEVIN_HD static Word oneWhere(Mask m) { return m ? 1u : 0u; }
};

struct Words4 {
  uint32_t v[4];
};
struct Floats4 {
  float v[4];
};
template <class Ops>
struct CosSin {
  typename Ops::Float cos, sin;
};

// Where in the stream: which four elements, which use, which image, which step. No two uses share bits.
struct Counter {
  uint32_t quad;  // element / 4
  uint32_t draw;
  uint32_t image;
  uint32_t step;
};

LANGEVIN_HD Words4 philox(Counter c, uint64_t seed) {
  uint32_t c0 = c.quad, c1 = c.draw, c2 = c.image, c3 = c.step;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t p = static_cast<uint64_t>(0xD2511F53u) * c0, q = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(q >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(q);
    c2 = static_cast<uint32_t>(p >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p);
    k0 += 0x9E3779B9u;  // golden ratio
    k1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return Words4{{c0, c1, c2, c3}};
}

// -2 ln u for u = (x >> 8 + 1/2) 2^-24, which is never 0 or 1.
template <class Ops>
LANGEVIN_HD typename Ops::Float minusTwoLog(typename Ops::Word x) {
  using Float = typename Ops::Float;
  const auto c = [](float value) { return Ops::constant(value); };
  const typename Ops::Word bits = Ops::bitsOf(Ops::fromInt((x >> 8) * 2u + 1u));    // of u 2^25, rounded to nearest even
  const Float significand = Ops::fromBits((bits & 0x7FFFFFu) | 0x3F800000u);  // in [1, 2)
  const typename Ops::Mask upper = Ops::greater(significand, c(1.41421356f));
  const Float t = Ops::select(upper, Ops::mul(significand, c(0.5f)), significand);
  const Float k = Ops::fromInt((bits >> 23) - (127u + 25u) + Ops::oneWhere(upper));
  const Float f = Ops::add(t, c(-1.0f)), z = Ops::mul(f, f);
  Float p = c(7.0376836292e-2f);
  p = Ops::fused(p, f, c(-1.1514610310e-1f));
  p = Ops::fused(p, f, c(1.1676998740e-1f));
  p = Ops::fused(p, f, c(-1.2420140846e-1f));
  p = Ops::fused(p, f, c(1.4249322787e-1f));
  p = Ops::fused(p, f, c(-1.6668057665e-1f));
  p = Ops::fused(p, f, c(2.0000714765e-1f));
  p = Ops::fused(p, f, c(-2.4999993993e-1f));
  p = Ops::fused(p, f, c(3.3333331174e-1f));
  Float y = Ops::mul(Ops::mul(f, z), p);
  y = Ops::fused(k, c(-2.12194440e-4f), y);  // ln 2 in two parts
  y = Ops::fused(z, c(-0.5f), y);
  return Ops::mul(Ops::fused(k, c(0.693359375f), Ops::add(f, y)), c(-2.0f));
}

// Cosine and sine of 2 pi x / 2^32; the angle keeps 25 bits within its quadrant.
template <class Ops>
LANGEVIN_HD CosSin<Ops> cosSin(typename Ops::Word x) {
  using Float = typename Ops::Float;
  using Word = typename Ops::Word;
  const auto c = [](float value) { return Ops::constant(value); };
  const Word quadrant = (x + 0x20000000u) >> 30;
  const Float a = Ops::mul(Ops::fromInt(Ops::shiftSigned(x - (quadrant << 30), 7)), c(2.0f * 3.14159265f / 33554432.0f));
  const Float z = Ops::mul(a, a);
  Float sine = Ops::fused(c(-1.9515295891e-4f), z, c(8.3321608736e-3f));
  sine = Ops::fused(sine, z, c(-1.6666654611e-1f));
  sine = Ops::fused(sine, Ops::mul(z, a), a);
  Float cosine = Ops::fused(c(2.443315711809948e-5f), z, c(-1.388731625493765e-3f));
  cosine = Ops::fused(cosine, z, c(4.166664568298827e-2f));
  cosine = Ops::fused(cosine, Ops::mul(z, z), Ops::fused(z, c(-0.5f), c(1.0f)));
  // Rotation by quarter turns: swap for odd quadrants, then flip signs, as bits so that no branch is needed.
  const typename Ops::Mask odd = Ops::isOdd(quadrant);
  const Word cosineSign = ((quadrant + 1u) & 2u) << 30, sineSign = (quadrant & 2u) << 30;
  return {Ops::fromBits(Ops::bitsOf(Ops::select(odd, sine, cosine)) ^ cosineSign),
          Ops::fromBits(Ops::bitsOf(Ops::select(odd, cosine, sine)) ^ sineSign)};
}

LANGEVIN_HD Floats4 boxMuller(Words4 u) {
  const float r0 = root(minusTwoLog<Scalar>(u.v[0])), r1 = root(minusTwoLog<Scalar>(u.v[2]));
  const CosSin<Scalar> a = cosSin<Scalar>(u.v[1]), b = cosSin<Scalar>(u.v[3]);
  return Floats4{{mul(r0, a.cos), mul(r0, a.sin), mul(r1, b.cos), mul(r1, b.sin)}};
}

// Four standard normal values.
LANGEVIN_HD Floats4 normal4(Counter c, uint64_t seed) { return boxMuller(philox(c, seed)); }

// A uniform value in [0, 1): 24 bits, exact.
LANGEVIN_HD float uniform(uint32_t x) { return mul(fromInt(static_cast<int32_t>(x >> 8)), 1.0f / 16777216.0f); }

// Four uniform values in [0, 1).
LANGEVIN_HD Floats4 uniform4(Counter c, uint64_t seed) {
  const Words4 u = philox(c, seed);
  return Floats4{{uniform(u.v[0]), uniform(u.v[1]), uniform(u.v[2]), uniform(u.v[3])}};
}

// An integer in [0, n): floor(x n / 2^32), exact.
LANGEVIN_HD uint32_t below(uint32_t x, uint32_t n) {
  return static_cast<uint32_t>(static_cast<uint64_t>(x) * n >> 32);
}

}  // namespace noise
}  // namespace langevin
