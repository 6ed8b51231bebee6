// Activations and their gradients in one pass, those of activation.cuh and all others.
#include "activation.cuh"
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

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

// Launchers of functions with one number.
template <class F>
void ofOneWithNumber(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  mapInputs<float, float>(command, launch, F{static_cast<float>(command.attributes.f())});
}
template <class F>
void ofTwoWithNumber(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  mapInputs<float, float, float>(command, launch, F{static_cast<float>(command.attributes.f())});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("relu", "", ofOne<Relu>)
LANGEVIN_CUDA_KERNEL("reluGradient", "", ofTwo<ReluGradient>)
LANGEVIN_CUDA_KERNEL("relu6", "", ofOne<Relu6>)
LANGEVIN_CUDA_KERNEL("relu6Gradient", "", ofTwo<Relu6Gradient>)
LANGEVIN_CUDA_KERNEL("leakyRelu", "slope:float", ofOneWithNumber<LeakyRelu>)
LANGEVIN_CUDA_KERNEL("leakyReluGradient", "slope:float", ofTwoWithNumber<LeakyReluGradient>)
LANGEVIN_CUDA_KERNEL("elu", "alpha:float", ofOneWithNumber<Elu>)
LANGEVIN_CUDA_KERNEL("eluGradient", "alpha:float", ofTwoWithNumber<EluGradient>)
LANGEVIN_CUDA_KERNEL("sigmoid", "", ofOne<Sigmoid>)
LANGEVIN_CUDA_KERNEL("sigmoidGradient", "", ofTwo<SigmoidGradient>)
LANGEVIN_CUDA_KERNEL("tanh", "", ofOne<Tanh>)
LANGEVIN_CUDA_KERNEL("tanhGradient", "", ofTwo<TanhGradient>)
LANGEVIN_CUDA_KERNEL("silu", "", ofOne<Silu>)
LANGEVIN_CUDA_KERNEL("siluGradient", "", ofTwo<SiluGradient>)
LANGEVIN_CUDA_KERNEL("gelu", "", ofOne<Gelu>)
LANGEVIN_CUDA_KERNEL("geluGradient", "", ofTwo<GeluGradient>)
LANGEVIN_CUDA_KERNEL("geluTanh", "", ofOne<GeluTanh>)
LANGEVIN_CUDA_KERNEL("geluTanhGradient", "", ofTwo<GeluTanhGradient>)
LANGEVIN_CUDA_KERNEL("quickGelu", "", ofOne<QuickGelu>)
LANGEVIN_CUDA_KERNEL("quickGeluGradient", "", ofTwo<QuickGeluGradient>)
LANGEVIN_CUDA_KERNEL("softplus", "", ofOne<Softplus>)
LANGEVIN_CUDA_KERNEL("mish", "", ofOne<Mish>)
LANGEVIN_CUDA_KERNEL("mishGradient", "", ofTwo<MishGradient>)

}  // namespace cuda
}  // namespace langevin
