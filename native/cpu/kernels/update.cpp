// assign, accumulate and adam: the ops that overwrite their operands.
#include "move.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

void assign(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &target = command.inputs[0], &source = command.inputs[1];
  int64_t to[kMaxRank] = {}, from[kMaxRank] = {};
  target.strides(to);
  source.strides(from);
  move(context, target.rank, target.shape, target.as<Word>(), to, source.as<const Word>(), from);
}

void accumulate(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &target = command.inputs[0], &source = command.inputs[1];
  const Operand* const inputs[2] = {&target, &source};
  elementwise(context, target, inputs,
              [](Word* y, const Word* const* x, int64_t n) { mapFloatPairs([](V a, V b) { return a + b; }, y, x, n); });
}

// Kingma and Ba 2015, algorithm 1, in PyTorch's order of operations; every operation rounds to float32.
struct Adam {
  bool l2;
  V weightDecay, keep, beta1, rest1, beta2, rest2, stepSize, correction, epsilon;

  LANGEVIN_INLINE explicit Adam(AttributeReader& attributes) {
    const double lr = attributes.f(), b1 = attributes.f(), b2 = attributes.f(), eps = attributes.f();
    const double decay = attributes.f();
    const bool decoupled = attributes.b();
    l2 = decay != 0 && !decoupled;
    weightDecay = broadcast(static_cast<float>(decay));
    keep = broadcast(decoupled ? static_cast<float>(1 - lr * decay) : 1.0f);
    beta1 = broadcast(static_cast<float>(b1));
    rest1 = broadcast(static_cast<float>(1 - b1));
    beta2 = broadcast(static_cast<float>(b2));
    rest2 = broadcast(static_cast<float>(1 - b2));
    stepSize = broadcast(static_cast<float>(attributes.f()));
    correction = broadcast(static_cast<float>(attributes.f()));
    epsilon = broadcast(static_cast<float>(eps));
  }

  LANGEVIN_INLINE void operator()(V& p, V g, V& m, V& v) const {
    if (l2) g = g + weightDecay * p;
    p = p * keep;
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    p = p - stepSize * (m / (sqrt(v) / correction + epsilon));
  }
};

void adam(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Adam step(command.attributes);
  const Operand* const operands[4] = {&command.inputs[0], &command.inputs[1], &command.inputs[2], &command.inputs[3]};
  const Runs runs = runsOf(operands, 4, false);
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    float* at[4];
    for (int k = 0; k < 4; k++) at[k] = operands[k]->as<float>() + run * runs.pitch[k] + start;
    float *const parameter = at[0], *const moment = at[2], *const variance = at[3];
    const float* const gradient = at[1];
    const Adam local = step;
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      V p = load(parameter + i), m = load(moment + i), v = load(variance + i);
      local(p, load(gradient + i), m, v);
      store(parameter + i, p);
      store(moment + i, m);
      store(variance + i, v);
    }
    if (i < n) {
      const int64_t rest = n - i;
      V p = loadPartial(parameter + i, rest), m = loadPartial(moment + i, rest), v = loadPartial(variance + i, rest);
      local(p, loadPartial(gradient + i, rest), m, v);
      storePartial(parameter + i, p, rest);
      storePartial(moment + i, m, rest);
      storePartial(variance + i, v, rest);
    }
  });
}

LANGEVIN_KERNEL("assign", "", assign)
LANGEVIN_KERNEL("accumulate", "", accumulate)
LANGEVIN_KERNEL("adam",
                "lr:float,beta1:float,beta2:float,epsilon:float,weightDecay:float,decoupled:bool,stepSize:float,"
                "correction:float",
                adam)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
