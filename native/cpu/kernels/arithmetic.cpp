// neg, add, sub, mul, div and broadcastTo: element-wise arithmetic with numpy's broadcasting.
#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// int32 arithmetic wraps, hence unsigned words.
struct Add {
  LANGEVIN_INLINE V operator()(V a, V b) const { return a + b; }
  LANGEVIN_INLINE uint32_t operator()(uint32_t a, uint32_t b) const { return a + b; }
};
struct Sub {
  LANGEVIN_INLINE V operator()(V a, V b) const { return a - b; }
  LANGEVIN_INLINE uint32_t operator()(uint32_t a, uint32_t b) const { return a - b; }
};
struct Mul {
  LANGEVIN_INLINE V operator()(V a, V b) const { return a * b; }
  LANGEVIN_INLINE uint32_t operator()(uint32_t a, uint32_t b) const { return a * b; }
};
struct Div {
  LANGEVIN_INLINE V operator()(V a, V b) const { return a / b; }
  // 0 for a divisor of 0; INT32_MIN / -1 wraps as negation does.
  LANGEVIN_INLINE uint32_t operator()(uint32_t a, uint32_t b) const {
    if (b == 0) return 0;
    if (b == UINT32_MAX) return 0u - a;
    return static_cast<uint32_t>(static_cast<int32_t>(a) / static_cast<int32_t>(b));
  }
};

void neg(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand* const inputs[1] = {&command.inputs[0]};
  if (command.output.dtype == DType::f32) {
    elementwise(context, command.output, inputs,
                [](Word* y, const Word* const* x, int64_t n) { mapFloats([](V a) { return -a; }, y, x, n); });
  } else {
    elementwise(context, command.output, inputs, [](Word* y, const Word* const* x, int64_t n) {
      const Word* const a = x[0];
      LANGEVIN_IVDEP
      for (int64_t i = 0; i < n; i++) y[i] = 0u - a[i];
    });
  }
}

void broadcastTo(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand* const inputs[1] = {&command.inputs[0]};
  elementwise(context, command.output, inputs, [](Word* y, const Word* const* x, int64_t n) {
    __builtin_memmove(y, x[0], static_cast<size_t>(n) * sizeof(Word));
  });
}

LANGEVIN_KERNEL("add", "", ofTwoWords<Add>)
LANGEVIN_KERNEL("sub", "", ofTwoWords<Sub>)
LANGEVIN_KERNEL("mul", "", ofTwoWords<Mul>)
LANGEVIN_KERNEL("div", "", ofTwoWords<Div>)
LANGEVIN_KERNEL("neg", "", neg)
LANGEVIN_KERNEL("broadcastTo", "shape:ints", broadcastTo)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
