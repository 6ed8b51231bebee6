// Element-wise functions, powers, and casts.
#pragma once

#include "elementwise.cuh"
#include "functions.cuh"

namespace langevin {
namespace cuda {

struct Sign {  // NaN and both zeros as they are
  __device__ float operator()(float x) const { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
};
struct Abs {
  __device__ float operator()(float x) const { return magnitude(x); }
};
struct Square {
  __device__ float operator()(float x) const { return x * x; }
};
struct Sqrt {
  __device__ float operator()(float x) const { return noise::root(x); }
};
struct Rsqrt {
  __device__ float operator()(float x) const { return 1.0f / noise::root(x); }
};
struct Reciprocal {
  __device__ float operator()(float x) const { return 1.0f / x; }
};
struct Floor {
  __device__ float operator()(float x) const { return floorf(x); }
};
struct Ceil {
  __device__ float operator()(float x) const { return ceilf(x); }
};
struct Round {  // halves to even
  __device__ float operator()(float x) const { return rintf(x); }
};
struct Exp {
  __device__ float operator()(float x) const { return exponential(x); }
};
struct Log {
  __device__ float operator()(float x) const { return logarithm(x); }
};

// CUDA's functions err by one unit in the last place (sinf and cosf two, powf four; CUDA C++ Programming Guide, appendix
// on mathematical functions).
struct Expm1 {
  __device__ float operator()(float x) const { return expm1f(x); }
};
struct Log1p {
  __device__ float operator()(float x) const { return log1pf(x); }
};
struct Sin {
  __device__ float operator()(float x) const { return sinf(x); }
};
struct Cos {
  __device__ float operator()(float x) const { return cosf(x); }
};
struct Erf {
  __device__ float operator()(float x) const { return erff(x); }
};
struct ErfGradient {  // beyond 11, e^-z^2 is 0; z^2 is rounded once more
  __device__ float operator()(float x, float dy) const {
    const float z = atMost(11.0f, magnitude(x)), square = z * z;
    const float rest = noise::fused(z, z, -square);
    const float density = exponential(-square) * (1.0f - rest);
    return dy * (density * 1.12837917f);  // 2 / sqrt(pi)
  }
};

struct Pow {
  __device__ float operator()(float a, float b) const { return powf(a, b); }
};

struct Convert {
  // Truncates; NaN gives 0, values out of range the nearest int32.
  __device__ int32_t operator()(float x) const {
    if (!(x == x)) return 0;
    if (x >= 2147483648.0f) return INT32_MAX;
    return x <= -2147483648.0f ? INT32_MIN : static_cast<int32_t>(x);
  }
  __device__ float operator()(int32_t x) const { return noise::fromInt(x); }
  __device__ Word operator()(Word x) const { return x; }
};

}  // namespace cuda
}  // namespace langevin
