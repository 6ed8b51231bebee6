// Element-wise functions of one operand, powers, and casts.
#include "double_functions.h"
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
struct Reciprocal {
  LANGEVIN_INLINE V operator()(V x) const { return 1.0f / x; }
};
struct Rsqrt {
  LANGEVIN_INLINE V operator()(V x) const { return 1.0f / sqrt(x); }
};

// To the nearest whole number, halves to even; from 2^23 on, floats are whole.
LANGEVIN_SIMD V rounded(V x) {
  const V size = magnitude(x);
  return withSignOf(select((VI)(size < broadcast(8388608.0f)), (size + 8388608.0f) - 8388608.0f, size), x);
}
struct Round {
  LANGEVIN_INLINE V operator()(V x) const { return rounded(x); }
};
struct Floor {
  LANGEVIN_INLINE V operator()(V x) const {
    const V y = rounded(x);
    return select((VI)(y > x), y - 1.0f, y);
  }
};
struct Ceil {  // -0 above -1
  LANGEVIN_INLINE V operator()(V x) const {
    const V y = rounded(x);
    return select((VI)(y < x), withSignOf(y + 1.0f, x), y);
  }
};

struct Sin {
  LANGEVIN_INLINE D operator()(D x) const { return sine(x); }
};
struct Cos {
  LANGEVIN_INLINE D operator()(D x) const { return cosine(x); }
};
struct Log1p {
  LANGEVIN_INLINE D operator()(D x) const { return logarithmOf1Plus(x); }
};
struct Expm1 {
  LANGEVIN_INLINE D operator()(D x) const { return exponentialMinus1(x); }
};
struct Pow {
  LANGEVIN_INLINE D operator()(D a, D b) const { return powerOf(a, b); }
};
struct Erf {
  LANGEVIN_INLINE D operator()(D x) const { return errorFunction(x); }
};
struct ErfGradient {
  LANGEVIN_INLINE D operator()(D x, D dy) const {
    const D z = atMost(11, magnitude(x));
    return dy * (exponential(-(z * z)) * 1.1283791670955126);
  }
};

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

LANGEVIN_KERNEL("sign", "", ofOne<Sign>)
LANGEVIN_KERNEL("abs", "", ofOne<Abs>)
LANGEVIN_KERNEL("square", "", ofOne<Square>)
LANGEVIN_KERNEL("sqrt", "", ofOne<Sqrt>)
LANGEVIN_KERNEL("rsqrt", "", ofOne<Rsqrt>)
LANGEVIN_KERNEL("reciprocal", "", ofOne<Reciprocal>)
LANGEVIN_KERNEL("floor", "", ofOne<Floor>)
LANGEVIN_KERNEL("ceil", "", ofOne<Ceil>)
LANGEVIN_KERNEL("round", "", ofOne<Round>)
LANGEVIN_KERNEL("exp", "", ofOne<Exp>)
LANGEVIN_KERNEL("expm1", "", ofOne<InDouble<Expm1>>)
LANGEVIN_KERNEL("log", "", ofOne<Log>)
LANGEVIN_KERNEL("log1p", "", ofOne<InDouble<Log1p>>)
LANGEVIN_KERNEL("sin", "", ofOne<InDouble<Sin>>)
LANGEVIN_KERNEL("cos", "", ofOne<InDouble<Cos>>)
LANGEVIN_KERNEL("erf", "", ofOne<InDouble<Erf>>)
LANGEVIN_KERNEL("erfGradient", "", ofTwo<InDouble<ErfGradient>>)
LANGEVIN_KERNEL("pow", "", ofTwo<InDouble<Pow>>)
LANGEVIN_KERNEL("cast", "dtype:float32|int32|float64", cast)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
