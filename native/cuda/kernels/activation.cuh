// Activations and their gradients. Other kernels, too, apply some of them to what they have just computed, to the bits of the ops.
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

struct Relu6 {
  __device__ float operator()(float x) const { return x <= 0.0f ? 0.0f : x >= 6.0f ? 6.0f : x; }
};
struct Relu6Gradient {
  __device__ float operator()(float y, float dy) const { return y > 0.0f && y < 6.0f ? dy : 0.0f; }
};

struct Sigmoid {
  __device__ float operator()(float x) const { return sigmoidOf(x); }
};
struct SigmoidGradient {
  __device__ float operator()(float y, float dy) const { return dy * y * (1.0f - y); }
};
struct Tanh {
  __device__ float operator()(float x) const { return hyperbolicTangent(x); }
};
struct TanhGradient {
  __device__ float operator()(float y, float dy) const { return dy * (1.0f - y * y); }
};

struct Gelu {
  __device__ float operator()(float x) const { return geluOf(x); }
};
struct GeluGradient {
  __device__ float operator()(float x, float dy) const {
    const float z = between(-15.0f, 15.0f, x), density = 0.398942280f * exponential(-0.5f * (z * z));
    return dy * (probabilityBelow(x) + z * density);
  }
};

// x logistic(2 u) = x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3); 0 or x in float32 beyond +-12.
constexpr float kTwiceRoot2OverPi = 1.59576912f, kGeluCube = 0.044715f;
struct GeluTanh {
  __device__ float operator()(float x) const {
    const float z = between(-12.0f, 12.0f, x);
    return atLeast(-12.0f, x) * sigmoidOf(kTwiceRoot2OverPi * (z + kGeluCube * (z * z * z)));
  }
};
struct GeluTanhGradient {
  __device__ float operator()(float x, float dy) const {
    const float z = between(-12.0f, 12.0f, x), square = z * z;
    const SigmoidPair s = sigmoidPair(kTwiceRoot2OverPi * (z + kGeluCube * (z * square)));
    const float slope = kTwiceRoot2OverPi * (1.0f + 3.0f * kGeluCube * square);
    return dy * (s.value * (1.0f + z * slope * s.complement));
  }
};

constexpr float kQuickGelu = 1.702f;
struct QuickGelu {
  __device__ float operator()(float x) const { return atLeast(-100.0f, x) * sigmoidOf(kQuickGelu * x); }
};
struct QuickGeluGradient {
  __device__ float operator()(float x, float dy) const {
    const float z = kQuickGelu * between(-100.0f, 100.0f, x);
    const SigmoidPair s = sigmoidPair(z);
    return dy * (s.value * (1.0f + z * s.complement));
  }
};

// ln(1 + e^x), from the exponential that cannot overflow.
struct Softplus {
  __device__ float operator()(float x) const { return atLeast(0.0f, x) + log1pf(exponential(-magnitude(x))); }
};

// tanh(ln(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); 1 in float32 from 20 on, where n is far from overflow.
struct Mish {
  __device__ float operator()(float x) const {
    const float z = atLeast(-105.0f, x), e = exponential(atMost(20.0f, z)), n = e * (e + 2.0f);
    return z * (n / (n + 2.0f));
  }
};
struct MishGradient {
  __device__ float operator()(float x, float dy) const {
    const float z = between(-105.0f, 20.0f, x), e = exponential(z), n = e * (e + 2.0f), m = n + 2.0f;
    return dy * ((n + z * (4.0f * e * (e + 1.0f) / m)) / m);
  }
};

struct Elu {
  float alpha;
  __device__ float operator()(float x) const { return x > 0.0f ? x : alpha * expm1f(x); }
};
struct EluGradient {
  float alpha;
  __device__ float operator()(float x, float dy) const { return dy * (x > 0.0f ? 1.0f : alpha * exponential(x)); }
};
struct LeakyRelu {
  float slope;
  __device__ float operator()(float x) const { return x > 0.0f ? x : slope * x; }
};
struct LeakyReluGradient {
  float slope;
  __device__ float operator()(float x, float dy) const { return x > 0.0f ? dy : slope * dy; }
};

}  // namespace cuda
}  // namespace langevin
