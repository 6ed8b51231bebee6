// Element-wise functions of one operand, the gradients of the activations, and casts.
#include "iterate.h"
#include "transcendental.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

struct Sign {  // NaN and both zeros as they are
  LANGEVIN_INLINE V operator()(V x) const {
    return select((VI)(x > zero()), broadcast(1.0f), select((VI)(x < zero()), broadcast(-1.0f), x));
  }
};
struct Abs {
  LANGEVIN_INLINE V operator()(V x) const { return magnitude(x); }
};
struct Square {
  LANGEVIN_INLINE V operator()(V x) const { return x * x; }
};
struct Sqrt {
  LANGEVIN_INLINE V operator()(V x) const { return sqrt(x); }
};
struct Exp {
  LANGEVIN_INLINE V operator()(V x) const { return exponential(x); }
};
struct Log {
  LANGEVIN_INLINE V operator()(V x) const { return logarithm(x); }
};
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

template <class F>
void unary(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const inputs[1] = {&command.inputs[0]};
  elementwise(context, command.output, inputs,
              [](Word* y, const Word* const* x, int64_t n) { mapFloats(F{}, y, x, n); });
}

template <class F>
void activationGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const inputs[2] = {&command.inputs[0], &command.inputs[1]};
  elementwise(context, command.output, inputs,
              [](Word* y, const Word* const* x, int64_t n) { mapFloatPairs(F{}, y, x, n); });
}

// Truncates; NaN gives 0, values out of range the nearest int32.
LANGEVIN_SIMD VI truncated(V x) {
  const V low = broadcast(-2147483648.0f), high = broadcast(2147483520.0f);  // the largest float below 2^31
  const V inside = minimum(high, maximum(low, select((VI)(x == x), x, zero())));
  return selectInt((VI)(x > high), broadcastInt(INT32_MAX), toInt(inside));
}

void cast(Command& command, Context& context) {
  const Operand& x = command.inputs[0];
  const DType from = x.dtype, to = command.output.dtype;
  if (!isWord(from) || !isWord(to)) {
    context.fail("expected float32 or int32 operands");
    return;
  }
  const Operand* const inputs[1] = {&x};
  if (from == to) {
    elementwise(context, command.output, inputs, [](Word* y, const Word* const* in, int64_t n) {
      __builtin_memmove(y, in[0], static_cast<size_t>(n) * sizeof(Word));
    });
  } else if (to == DType::i32) {
    elementwise(context, command.output, inputs, [](Word* y, const Word* const* in, int64_t n) {
      const float* const a = reinterpret_cast<const float*>(in[0]);
      int32_t* const out = reinterpret_cast<int32_t*>(y);
      int64_t i = 0;
      for (; i + kWidth <= n; i += kWidth) storeInt(out + i, truncated(load(a + i)));
      if (i < n) storePartialInt(out + i, truncated(loadPartial(a + i, n - i)), n - i);
    });
  } else {
    elementwise(context, command.output, inputs, [](Word* y, const Word* const* in, int64_t n) {
      const int32_t* const a = reinterpret_cast<const int32_t*>(in[0]);
      float* const out = reinterpret_cast<float*>(y);
      int64_t i = 0;
      for (; i + kWidth <= n; i += kWidth) store(out + i, toFloat(loadInt(a + i)));
      if (i < n) storePartial(out + i, toFloat(loadPartialInt(a + i, n - i)), n - i);
    });
  }
}

LANGEVIN_KERNEL("sign", "", unary<Sign>)
LANGEVIN_KERNEL("abs", "", unary<Abs>)
LANGEVIN_KERNEL("square", "", unary<Square>)
LANGEVIN_KERNEL("sqrt", "", unary<Sqrt>)
LANGEVIN_KERNEL("exp", "", unary<Exp>)
LANGEVIN_KERNEL("log", "", unary<Log>)
LANGEVIN_KERNEL("relu", "", unary<Relu>)
LANGEVIN_KERNEL("sigmoid", "", unary<Sigmoid>)
LANGEVIN_KERNEL("tanh", "", unary<Tanh>)
LANGEVIN_KERNEL("silu", "", unary<Silu>)
LANGEVIN_KERNEL("reluGradient", "", activationGradient<ReluGradient>)
LANGEVIN_KERNEL("sigmoidGradient", "", activationGradient<SigmoidGradient>)
LANGEVIN_KERNEL("tanhGradient", "", activationGradient<TanhGradient>)
LANGEVIN_KERNEL("siluGradient", "", activationGradient<SiluGradient>)
LANGEVIN_KERNEL("cast", "dtype:float32|int32|float64", cast)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
