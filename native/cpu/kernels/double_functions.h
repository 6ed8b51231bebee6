// Functions whose float32 value needs more digits on the way: computed in lanes of doubles and rounded once, at the end.
//
// Errors here are below 2^-31 of the value, so a result is within 0.51 units of the last place of its float32; subnormal
// ones come out of the rounding by themselves. Series are Taylor's, taken far enough. Nothing fuses, so every
// instruction set gives the same bits. Arguments are widened float32 numbers unless a comment says otherwise.
#pragma once

#include "transcendental.h"

namespace langevin {
namespace LANGEVIN_ISA {

// A function of doubles as one of floats.
template <class F>
struct InDouble {
  F f;
  LANGEVIN_INLINE V operator()(V x) const { return narrow(f(widenLow(x)), f(widenHigh(x))); }
  LANGEVIN_INLINE V operator()(V a, V b) const {
    return narrow(f(widenLow(a), widenLow(b)), f(widenHigh(a), widenHigh(b)));
  }
};
template <class F>
InDouble(F) -> InDouble<F>;

LANGEVIN_SIMD D atLeast(double low, D x) { return selectDouble((DI)(x < low), broadcastDouble(low), x); }
LANGEVIN_SIMD D atMost(double high, D x) { return selectDouble((DI)(x > high), broadcastDouble(high), x); }
LANGEVIN_SIMD D magnitude(D x) { return (D)((DI)x & INT64_MAX); }
LANGEVIN_SIMD D withSignOf(D x, D sign) { return (D)((DI)x | ((DI)sign & INT64_MIN)); }

// 1.5 2^52: adding it rounds to an integer, which stays in the low bits.
constexpr double kRounder = 6755399441055744.0;

// x = k ln 2 + r with |r| <= ln 2 / 2: 2^k, and e^r - 1. For |x| <= 700; NaN stays NaN in the second.
struct ReducedExponential {
  D power, rest;
};
LANGEVIN_SIMD ReducedExponential reducedExponential(D x) {
  const D shifted = x * 1.4426950408889634 + kRounder;
  const D r = x - (shifted - kRounder) * 0.6931471805599453;
  D p = r * (1.0 / 362880) + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  return ReducedExponential{(D)(((DU)shifted + 1023) << 52), p * r * r + r};
}

// e^x for any double with |x| <= 700.
LANGEVIN_SIMD D exponential(D x) {
  const ReducedExponential e = reducedExponential(x);
  return e.power * (e.rest + 1.0);
}

// e^x - 1.
LANGEVIN_SIMD D exponentialMinus1(D x) {
  const ReducedExponential e = reducedExponential(atLeast(-100, atMost(100, x)));
  return withSignOf(e.power * e.rest + (e.power - 1.0), x);
}

// 1 / (1 + e^-x) for any double.
LANGEVIN_SIMD D logistic(D x) { return 1.0 / (1.0 + exponential(-atLeast(-300, atMost(300, x)))); }

// 2 artanh(s) = ln((1 + s) / (1 - s)) for |s| <= 1/3.
LANGEVIN_SIMD D twiceArtanh(D s) {
  const D z = s * s;
  D p = z * (1.0 / 19) + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  return (s + s) * (p * z + 1.0);
}

// Natural logarithm of positive normal doubles.
LANGEVIN_SIMD D logarithmOfNormal(D x) {
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)): the exponent of x / sqrt(1/2).
  const DU bits = (DU)x, biased = (bits + (0x3FF0000000000000u - 0x3FE6A09E667F3BCDu)) >> 52;
  const D m = (D)(bits - ((biased - 1023) << 52));
  const D k = (D)(biased | 0x4330000000000000u) - (4503599627370496.0 + 1023.0);
  return k * 0.6931471805599453 + twiceArtanh((m - 1.0) / (m + 1.0));
}

// ln(1 + x). -Infinity at -1, NaN below.
LANGEVIN_SIMD D logarithmOf1Plus(D x) {
  const D u = x + 1.0;
  D y = logarithmOfNormal(u) + (x - (u - 1.0)) / u;  // what rounding took from u, to first order
  y = selectDouble((DI)(u > 0.0), y, selectDouble((DI)(u == 0.0), broadcastDouble(-__builtin_inf()), broadcastDouble(__builtin_nan(""))));
  return selectDouble((DI)(x < __builtin_inf()) & (DI)(x != 0.0), y, x);  // zeros, Infinity and NaN as they are
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
LANGEVIN_SIMD D softplusOf(D x) {
  const D e = exponential(-atMost(120, magnitude(x)));
  return atLeast(0, x) + twiceArtanh(e / (e + 2.0));
}

// a^b with the special cases of C's pow.
LANGEVIN_SIMD D powerOf(D a, D b) {
  const double inf = __builtin_inf();
  const D size = magnitude(a);
  D log = logarithmOfNormal(size);
  log = selectDouble((DI)(size == 0.0), broadcastDouble(-inf), log);
  log = selectDouble((DI)(size < inf), log, size);  // ln(Infinity), and NaN
  const D exponent = selectDouble((DI)(log == 0.0), broadcastDouble(0), b * log);
  D y = exponential(atLeast(-700, atMost(700, exponent)));
  const D half = b * 0.5;
  const DI whole = (DI)((b + kRounder) - kRounder == b), even = (DI)((half + kRounder) - kRounder == half);
  const DI negative = (DI)((DI)a < 0);
  y = selectDouble(negative & whole & ~even, -y, y);
  y = selectDouble((DI)(a < 0.0) & (DI)(size < inf) & ~whole, broadcastDouble(__builtin_nan("")), y);
  return selectDouble((DI)(b == 0.0) | (DI)(a == 1.0), broadcastDouble(1), y);
}

// e^(z^2) erfc(z) for 0 <= z <= 10.6 as a polynomial in (z - 4) / (z + 4): relative error 3e-10. The coefficients are
// least squares with weights by Lawson's iteration on 2,000 Chebyshev nodes.
LANGEVIN_SIMD D scaledErrorComplement(D z) {
  const D t = (z - 4.0) / (z + 4.0);
  D p = t * 0.00010153691026 + -2.8162260983e-05;
  p = p * t + -0.00081499563595;
  p = p * t + 0.0040587401421;
  p = p * t + -0.012839774864;
  p = p * t + 0.031299781931;
  p = p * t + -0.063108332379;
  p = p * t + 0.10896309783;
  p = p * t + -0.16425778794;
  p = p * t + 0.2187196814;
  p = p * t + -0.25906804924;
  return p * t + 0.13699945762;
}

// 2 / sqrt(pi) times the integral of e^-u^2 from 0 to x.
LANGEVIN_SIMD D errorFunction(D x) {
  const D z = atMost(10, magnitude(x)), square = x * x;
  D p = square * (1.0 / 9360) + -1.0 / 1320;
  p = p * square + 1.0 / 216;
  p = p * square + -1.0 / 42;
  p = p * square + 1.0 / 10;
  p = p * square + -1.0 / 3;
  const D small = x * (p * square + 1.0) * 1.1283791670955126;
  const D large = withSignOf(1.0 - exponential(-(z * z)) * scaledErrorComplement(z), x);
  return selectDouble((DI)(z < 0.5), small, large);
}

// The normal distribution at x: density, and the probability of less than x. NaN stays NaN.
struct Normal {
  D density, below;
};
LANGEVIN_SIMD Normal normalAt(D x) {
  const D z = atMost(10.6, magnitude(x) * 0.7071067811865476), e = exponential(-(z * z));
  const D tail = e * scaledErrorComplement(z) * 0.5;
  return Normal{e * 0.3989422804014327, selectDouble((DI)(x < 0.0), tail, 1.0 - tail)};
}

// x = k pi/2 + r with |r| <= pi/4 or a little more: r, and k in the lowest two bits.
struct Quadrant {
  D r;
  DI k;
};

// The same for one float of any size from 2^25 on: Payne and Hanek 1983. Bits of 2/pi that give whole turns of the
// product are left out, and 128 of the others are exact to 2^-102.
struct ScalarQuadrant {
  double r;
  int64_t k;
};
static inline ScalarQuadrant farQuadrant(double x) {
  constexpr uint64_t twoOverPi[] = {0xA2F9836E4E441529u, 0xFC2757D1F534DDC0u, 0xDB6295993C439041u, 0xFE5163ABDEBBC561u,
                                    0xB7246E3A424DD2E0u};
  if (!(x - x == 0)) return {__builtin_nan(""), 0};
  int64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  // |x| = significand 2^exponent with 24 bits; what the first `skipped` bits of 2/pi contribute are multiples of 4.
  const uint64_t significand = (static_cast<uint64_t>(bits) & 0xFFFFFFFFFFFFFu) >> 29 | 0x800000u;
  const int exponent = static_cast<int>(bits >> 52 & 0x7FF) - 1023 - 23, skipped = exponent - 2;
  const int word = skipped / 64, shift = skipped % 64;
  const auto take = [&](int i) {
    return shift == 0 ? twoOverPi[i] : twoOverPi[i] << shift | twoOverPi[i + 1] >> (64 - shift);
  };
  const unsigned __int128 window = static_cast<unsigned __int128>(take(word)) << 64 | take(word + 1);
  const unsigned __int128 product = window * significand;  // modulo 4, with 126 bits below the point
  const int64_t fraction = static_cast<int64_t>(product << 2 >> 64);  // of a quadrant, in [-1/2, 1/2)
  const int64_t k = static_cast<int64_t>(product >> 126) + (fraction < 0);
  const double r = static_cast<double>(fraction) * (1.5707963267948966 / 18446744073709551616.0);
  return bits < 0 ? ScalarQuadrant{-r, -k} : ScalarQuadrant{r, k};
}

LANGEVIN_SIMD Quadrant quadrantOf(D x) {
  // pi/2 in parts of 28, 28 and 53 bits: below 2^25 products with the first two are exact (Cody and Waite).
  const D shifted = x * 0.6366197723675814 + kRounder, k = shifted - kRounder;
  Quadrant q{x - k * 1.570796325802803 - k * 9.920935739593517e-10 - k * 5.721188726109832e-18, (DI)shifted};
  if (anyLane((DI)(magnitude(x) >= 33554432.0)))
    for (int i = 0; i < kWidth / 2; i++) {
      if (!(magnitude(x)[i] >= 33554432.0)) continue;
      const ScalarQuadrant far = farQuadrant(x[i]);
      q.r[i] = far.r;
      q.k[i] = far.k;
    }
  return q;
}

// sin of x = r + k pi/2.
LANGEVIN_SIMD D sineIn(const Quadrant& q) {
  const D r = q.r, z = r * r;
  D s = z * (-1.0 / 39916800) + 1.0 / 362880;
  s = s * z + -1.0 / 5040;
  s = s * z + 1.0 / 120;
  s = s * z + -1.0 / 6;
  s = r * (s * z + 1.0);
  D c = z * (-1.0 / 3628800) + 1.0 / 40320;
  c = c * z + -1.0 / 720;
  c = c * z + 1.0 / 24;
  c = c * z + -0.5;
  c = c * z + 1.0;
  const D y = selectDouble((DI)((q.k & 1) != 0), c, s);
  return (D)((DI)y ^ ((q.k & 2) << 62));
}
LANGEVIN_SIMD D sine(D x) { return sineIn(quadrantOf(x)); }
LANGEVIN_SIMD D cosine(D x) {
  const Quadrant q = quadrantOf(x);
  return sineIn(Quadrant{q.r, q.k + 1});
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
