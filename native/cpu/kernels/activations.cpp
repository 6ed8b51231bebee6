// Activations and their gradients in one pass.
//
// Where the limit at -Infinity is 0, so is the value there, and a gradient has its limits likewise: factors are held
// where the other factor is 0 or 1 in float32 anyway, so that infinities do not meet zeros.
#include "double_functions.h"
#include "iterate.h"
#include "transcendental.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

struct Relu {  // the comparison is false for NaN, which so passes
  LANGEVIN_INLINE V operator()(V x) const { return select((VI)(x <= zero()), zero(), x); }
};
struct Sigmoid {
  LANGEVIN_INLINE V operator()(V x) const { return sigmoidOf(x); }
};
struct Tanh {
  LANGEVIN_INLINE V operator()(V x) const { return hyperbolicTangent(x); }
};

// Beyond +-128 sigmoid is 0 or 1; factors are held there, so that infinities do not meet zeros.
LANGEVIN_SIMD V bounded(V x) { return minimum(broadcast(128.0f), maximum(broadcast(-128.0f), x)); }

struct Silu {
  LANGEVIN_INLINE V operator()(V x) const { return maximum(broadcast(-128.0f), x) * sigmoidOf(x); }
};

struct ReluGradient {
  LANGEVIN_INLINE V operator()(V y, V dy) const { return select((VI)(y > zero()), dy, zero()); }
};
struct SigmoidGradient {
  LANGEVIN_INLINE V operator()(V y, V dy) const { return dy * y * (1.0f - y); }
};
struct TanhGradient {
  LANGEVIN_INLINE V operator()(V y, V dy) const { return dy * (1.0f - y * y); }
};
struct SiluGradient {
  LANGEVIN_INLINE V operator()(V x, V dy) const {
    const Sigmoid2 s = sigmoidPair(x);
    return dy * (s.value * (1.0f + bounded(x) * s.complement));
  }
};

// x times the probability of less than x under the normal distribution; beyond +-15 that is 0 or 1 in float32.
struct Gelu {
  LANGEVIN_INLINE D operator()(D x) const { return atLeast(-15, x) * normalAt(x).below; }
};
struct GeluGradient {
  LANGEVIN_INLINE D operator()(D x, D dy) const {
    const Normal n = normalAt(x);
    return dy * (n.below + atLeast(-15, atMost(15, x)) * n.density);
  }
};

// x logistic(2 u) = x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3); 0 or x in float32 beyond +-12.
constexpr double kTwiceRoot2OverPi = 1.5957691216057308, kGeluCube = 0.044715;
struct GeluTanh {
  LANGEVIN_INLINE D operator()(D x) const {
    const D z = atLeast(-12, atMost(12, x));
    return atLeast(-12, x) * logistic(kTwiceRoot2OverPi * (z + kGeluCube * (z * z * z)));
  }
};
struct GeluTanhGradient {
  LANGEVIN_INLINE D operator()(D x, D dy) const {
    const D z = atLeast(-12, atMost(12, x)), square = z * z, u = kTwiceRoot2OverPi * (z + kGeluCube * (z * square));
    const D slope = kTwiceRoot2OverPi * (1.0 + 3 * kGeluCube * square);
    return dy * (logistic(u) * (1.0 + z * slope * logistic(-u)));
  }
};

constexpr double kQuickGelu = 1.702;
struct QuickGelu {
  LANGEVIN_INLINE D operator()(D x) const { return atLeast(-100, x) * logistic(kQuickGelu * x); }
};
struct QuickGeluGradient {
  LANGEVIN_INLINE D operator()(D x, D dy) const {
    const D z = kQuickGelu * atLeast(-100, atMost(100, x));
    return dy * (logistic(z) * (1.0 + z * logistic(-z)));
  }
};

struct Softplus {
  LANGEVIN_INLINE D operator()(D x) const { return softplusOf(x); }
};

// tanh(ln(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2).
struct Mish {
  LANGEVIN_INLINE D operator()(D x) const {
    const D z = atLeast(-120, x), e = exponential(atMost(40, z)), n = e * (e + 2.0);
    return z * (n / (n + 2.0));
  }
};
struct MishGradient {
  LANGEVIN_INLINE D operator()(D x, D dy) const {
    const D z = atLeast(-120, atMost(40, x)), e = exponential(z), n = e * (e + 2.0), m = n + 2.0;
    return dy * ((n + z * (4.0 * e * (e + 1.0) / m)) / m);
  }
};

struct Elu {
  double alpha;
  LANGEVIN_INLINE D operator()(D x) const {
    return selectDouble((DI)(x > 0.0), x, alpha * exponentialMinus1(x));
  }
};
struct EluGradient {
  double alpha;
  LANGEVIN_INLINE D operator()(D x, D dy) const {
    const D below = exponential(atLeast(-300, atMost(0, x))) * alpha;
    return dy * selectDouble((DI)(x > 0.0), broadcastDouble(1), below);
  }
};
void elu(Command& command, Context& context) {
  applyToFloats(command, context, InDouble{Elu{command.attributes.f()}});
}
void eluGradient(Command& command, Context& context) {
  applyToFloatPairs(command, context, InDouble{EluGradient{command.attributes.f()}});
}

struct LeakyRelu {
  float slope;
  LANGEVIN_INLINE V operator()(V x) const { return select((VI)(x > zero()), x, slope * x); }
};
struct LeakyReluGradient {
  float slope;
  LANGEVIN_INLINE V operator()(V x, V dy) const { return select((VI)(x > zero()), dy, slope * dy); }
};
void leakyRelu(Command& command, Context& context) {
  applyToFloats(command, context, LeakyRelu{static_cast<float>(command.attributes.f())});
}
void leakyReluGradient(Command& command, Context& context) {
  applyToFloatPairs(command, context, LeakyReluGradient{static_cast<float>(command.attributes.f())});
}

struct Relu6 {
  LANGEVIN_INLINE V operator()(V x) const {
    const V six = broadcast(6.0f);
    return select((VI)(x <= zero()), zero(), select((VI)(x >= six), six, x));
  }
};
struct Relu6Gradient {
  LANGEVIN_INLINE V operator()(V y, V dy) const {
    return select((VI)(y > zero()) & (VI)(y < broadcast(6.0f)), dy, zero());
  }
};

LANGEVIN_KERNEL("relu", "", ofOne<Relu>)
LANGEVIN_KERNEL("reluGradient", "", ofTwo<ReluGradient>)
LANGEVIN_KERNEL("relu6", "", ofOne<Relu6>)
LANGEVIN_KERNEL("relu6Gradient", "", ofTwo<Relu6Gradient>)
LANGEVIN_KERNEL("leakyRelu", "slope:float", leakyRelu)
LANGEVIN_KERNEL("leakyReluGradient", "slope:float", leakyReluGradient)
LANGEVIN_KERNEL("elu", "alpha:float", elu)
LANGEVIN_KERNEL("eluGradient", "alpha:float", eluGradient)
LANGEVIN_KERNEL("sigmoid", "", ofOne<Sigmoid>)
LANGEVIN_KERNEL("sigmoidGradient", "", ofTwo<SigmoidGradient>)
LANGEVIN_KERNEL("tanh", "", ofOne<Tanh>)
LANGEVIN_KERNEL("tanhGradient", "", ofTwo<TanhGradient>)
LANGEVIN_KERNEL("silu", "", ofOne<Silu>)
LANGEVIN_KERNEL("siluGradient", "", ofTwo<SiluGradient>)
LANGEVIN_KERNEL("gelu", "", ofOne<InDouble<Gelu>>)
LANGEVIN_KERNEL("geluGradient", "", ofTwo<InDouble<GeluGradient>>)
LANGEVIN_KERNEL("geluTanh", "", ofOne<InDouble<GeluTanh>>)
LANGEVIN_KERNEL("geluTanhGradient", "", ofTwo<InDouble<GeluTanhGradient>>)
LANGEVIN_KERNEL("quickGelu", "", ofOne<InDouble<QuickGelu>>)
LANGEVIN_KERNEL("quickGeluGradient", "", ofTwo<InDouble<QuickGeluGradient>>)
LANGEVIN_KERNEL("softplus", "", ofOne<InDouble<Softplus>>)
LANGEVIN_KERNEL("mish", "", ofOne<InDouble<Mish>>)
LANGEVIN_KERNEL("mishGradient", "", ofTwo<InDouble<MishGradient>>)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
