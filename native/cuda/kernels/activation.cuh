// Activations that other kernels also apply to what they have just computed, to the bits of the ops.
//
// Where the limit at -Infinity is 0, so is the value there, and a gradient has its limits likewise: factors are held
// where the other factor is 0 or 1 in float32 anyway, so that infinities do not meet zeros.
#pragma once

#include "functions.cuh"

namespace langevin {
namespace cuda {

__device__ inline float between(float low, float high, float x) { return atMost(high, atLeast(low, x)); }

struct Relu {  // the comparison is false for NaN, which so passes
  __device__ float operator()(float x) const { return x <= 0.0f ? 0.0f : x; }
};
struct ReluGradient {
  __device__ float operator()(float y, float dy) const { return y > 0.0f ? dy : 0.0f; }
};

// Beyond +-128 sigmoid is 0 or 1.
struct Silu {
  __device__ float operator()(float x) const { return atLeast(-128.0f, x) * sigmoidOf(x); }
};
struct SiluGradient {
  __device__ float operator()(float x, float dy) const {
    const SigmoidPair s = sigmoidPair(x);
    return dy * (s.value * (1.0f + between(-128.0f, 128.0f, x) * s.complement));
  }
};

}  // namespace cuda
}  // namespace langevin
