// Comparisons, maximum, minimum, where and clamp: what chooses elements and rounds nothing.
#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// Comparisons with NaN are false, but for inequality.
struct Equal {
  template <class T>
  LANGEVIN_INLINE auto operator()(T a, T b) const {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  LANGEVIN_INLINE auto operator()(T a, T b) const {
    return a != b;
  }
};
struct Less {
  template <class T>
  LANGEVIN_INLINE auto operator()(T a, T b) const {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  LANGEVIN_INLINE auto operator()(T a, T b) const {
    return a <= b;
  }
};

struct Greater {
  template <class T>
  LANGEVIN_INLINE auto operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterEqual {
  template <class T>
  LANGEVIN_INLINE auto operator()(T a, T b) const {
    return a >= b;
  }
};

// A comparison of vectors as lanes whose bits are the int32 0 or 1.
template <class F>
struct Flags {
  LANGEVIN_INLINE V operator()(V a, V b) const { return fromBits((VI)F{}(a, b) & 1); }
};

template <class F>
void compare(Command& command, Context& context) {
  const Operand &a = command.inputs[0], &b = command.inputs[1];
  if (!isWord(a.dtype) || b.dtype != a.dtype || command.output.dtype != DType::i32) {
    context.fail("expected operands of one dtype, float32 or int32, and an int32 output");
    return;
  }
  const Operand* const inputs[2] = {&a, &b};
  if (a.dtype == DType::f32) {
    elementwise(context, command.output, inputs,
                [](Word* y, const Word* const* x, int64_t n) { mapFloatPairs(Flags<F>{}, y, x, n); });
  } else {
    elementwise(context, command.output, inputs, [](Word* y, const Word* const* x, int64_t n) {
      const int32_t *const left = reinterpret_cast<const int32_t*>(x[0]), *const right = reinterpret_cast<const int32_t*>(x[1]);
      LANGEVIN_IVDEP
      for (int64_t i = 0; i < n; i++) y[i] = F{}(left[i], right[i]) ? 1 : 0;
    });
  }
}

// NaN wins: in float32 the comparison hands out the second operand, so the first one must be asked for it.
struct Maximum {
  LANGEVIN_INLINE V operator()(V a, V b) const { return select((VI)(a == a), maximum(a, b), a); }
  LANGEVIN_INLINE uint32_t operator()(uint32_t a, uint32_t b) const {
    return static_cast<int32_t>(a) > static_cast<int32_t>(b) ? a : b;
  }
};
struct Minimum {
  LANGEVIN_INLINE V operator()(V a, V b) const { return select((VI)(a == a), minimum(a, b), a); }
  LANGEVIN_INLINE uint32_t operator()(uint32_t a, uint32_t b) const {
    return static_cast<int32_t>(a) < static_cast<int32_t>(b) ? a : b;
  }
};
void where(Command& command, Context& context) {
  const Operand &condition = command.inputs[0], &a = command.inputs[1], &b = command.inputs[2];
  if (condition.dtype != DType::i32 || !isWord(a.dtype) || b.dtype != a.dtype || command.output.dtype != a.dtype) {
    context.fail("expected an int32 condition, and other operands of one dtype, float32 or int32");
    return;
  }
  const Operand* const inputs[3] = {&condition, &a, &b};
  elementwise(context, command.output, inputs, [](Word* y, const Word* const* x, int64_t n) {
    const Word *const c = x[0], *const yes = x[1], *const no = x[2];
    LANGEVIN_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = c[i] != 0 ? yes[i] : no[i];
  });
}

struct Clamp {
  float low, high;
  LANGEVIN_INLINE V operator()(V x) const {
    const V raised = select((VI)(x < broadcast(low)), broadcast(low), x);
    return select((VI)(raised > broadcast(high)), broadcast(high), raised);
  }
};
struct ClampGradient {
  float low, high;
  LANGEVIN_INLINE V operator()(V x, V dy) const {
    return select((VI)(x >= broadcast(low)) & (VI)(x <= broadcast(high)), dy, zero());
  }
};

// A bound of int32: whole, or infinite.
LANGEVIN_SIMD int32_t integerBound(double bound) {
  return bound >= INT32_MAX ? INT32_MAX : bound <= INT32_MIN ? INT32_MIN : static_cast<int32_t>(bound);
}

void clamp(Command& command, Context& context) {
  const double low = command.attributes.f(), high = command.attributes.f();
  if (command.output.dtype == DType::f32) {
    applyToFloats(command, context, Clamp{static_cast<float>(low), static_cast<float>(high)});
    return;
  }
  if (!expectDType(command, context, DType::i32)) return;
  const int32_t least = integerBound(low), most = integerBound(high);
  const Operand* const inputs[1] = {&command.inputs[0]};
  elementwise(context, command.output, inputs, [=](Word* y, const Word* const* in, int64_t n) {
    const int32_t* const x = reinterpret_cast<const int32_t*>(in[0]);
    LANGEVIN_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = static_cast<Word>(x[i] < least ? least : x[i] > most ? most : x[i]);
  });
}

void clampGradient(Command& command, Context& context) {
  const double low = command.attributes.f(), high = command.attributes.f();
  applyToFloatPairs(command, context, ClampGradient{static_cast<float>(low), static_cast<float>(high)});
}

LANGEVIN_KERNEL("equal", "", compare<Equal>)
LANGEVIN_KERNEL("notEqual", "", compare<NotEqual>)
LANGEVIN_KERNEL("less", "", compare<Less>)
LANGEVIN_KERNEL("lessEqual", "", compare<LessEqual>)
LANGEVIN_KERNEL("greater", "", compare<Greater>)
LANGEVIN_KERNEL("greaterEqual", "", compare<GreaterEqual>)
LANGEVIN_KERNEL("maximum", "", ofTwoWords<Maximum>)
LANGEVIN_KERNEL("minimum", "", ofTwoWords<Minimum>)
LANGEVIN_KERNEL("where", "", where)
LANGEVIN_KERNEL("clamp", "min:float,max:float", clamp)
LANGEVIN_KERNEL("clampGradient", "min:float,max:float", clampGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
