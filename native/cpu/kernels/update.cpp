// assign, accumulate, averages of weights and the steps of the optimizers: the ops that overwrite their operands.
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

// Runs one step of an optimizer over N operands of one shape: step(x) gets a vector of each in x[0], x[1], ... and leaves
// there what is stored back. Operand 1, the gradient (or source of an average), is only read.
template <int N, class Step>
LANGEVIN_INLINE void update(Context& context, const Operand* const (&operands)[N], const Step& step) {
  const Runs runs = runsOf(operands, N, false);
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    float* at[N];
    for (int k = 0; k < N; k++) at[k] = operands[k]->template as<float>() + run * runs.pitch[k] + start;
    const Step local = step;
    V x[N];
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      for (int k = 0; k < N; k++) x[k] = load(at[k] + i);
      local(x);
      for (int k = 0; k < N; k++)
        if (k != 1) store(at[k] + i, x[k]);
    }
    if (i < n) {
      for (int k = 0; k < N; k++) x[k] = loadPartial(at[k] + i, n - i);
      local(x);
      for (int k = 0; k < N; k++)
        if (k != 1) storePartial(at[k] + i, x[k], n - i);
    }
  });
}

// One step of an exponential moving average, from the nearer end: weight 1 gives the source itself.
template <bool kNearSource>
struct Ema {
  V factor;

  LANGEVIN_INLINE explicit Ema(double weight) : factor(broadcast(static_cast<float>(kNearSource ? 1 - weight : weight))) {}

  // x: average, source
  LANGEVIN_INLINE void operator()(V* x) const {
    const V way = x[0] - x[1];
    x[0] = kNearSource ? x[1] + factor * way : x[0] - factor * way;
  }
};

void ema(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const in = command.inputs;
  const double weight = command.attributes.f();
  if (weight < 0.5)
    update<2>(context, {&in[0], &in[1]}, Ema<false>(weight));
  else
    update<2>(context, {&in[0], &in[1]}, Ema<true>(weight));
}

// Kingma and Ba 2015, algorithm 1, in PyTorch's order of operations; every operation rounds to float32.
template <bool kMaximum>
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

  // x: parameter, gradient, m, v, vMax
  LANGEVIN_INLINE void operator()(V* x) const {
    V p = x[0], g = x[1];
    if (l2) g = g + weightDecay * p;
    p = p * keep;
    x[2] = beta1 * x[2] + rest1 * g;
    x[3] = beta2 * x[3] + rest2 * g * g;
    V variance = x[3];
    if (kMaximum) variance = x[4] = maximum(x[4], variance);
    x[0] = p - stepSize * (x[2] / (sqrt(variance) / correction + epsilon));
  }
};

void adam(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const in = command.inputs;
  if (command.has(4))
    update<5>(context, {&in[0], &in[1], &in[2], &in[3], &in[4]}, Adam<true>(command.attributes));
  else
    update<4>(context, {&in[0], &in[1], &in[2], &in[3]}, Adam<false>(command.attributes));
}

// Gradient descent with momentum, in PyTorch's order of operations.
template <bool kVelocity>
struct Sgd {
  bool nesterov;
  V lr, momentum, rest, weightDecay;

  LANGEVIN_INLINE explicit Sgd(AttributeReader& attributes) {
    lr = broadcast(static_cast<float>(attributes.f()));
    momentum = broadcast(static_cast<float>(attributes.f()));
    rest = broadcast(static_cast<float>(1 - attributes.f()));
    nesterov = attributes.b();
    weightDecay = broadcast(static_cast<float>(attributes.f()));
  }

  // x: parameter, gradient, velocity
  LANGEVIN_INLINE void operator()(V* x) const {
    V g = x[1] + weightDecay * x[0];
    if (kVelocity) {
      x[2] = momentum * x[2] + rest * g;
      g = nesterov ? g + momentum * x[2] : x[2];
    }
    x[0] = x[0] - lr * g;
  }
};

void sgd(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const in = command.inputs;
  if (command.has(2))
    update<3>(context, {&in[0], &in[1], &in[2]}, Sgd<true>(command.attributes));
  else
    update<2>(context, {&in[0], &in[1]}, Sgd<false>(command.attributes));
}

// Hinton 2012, lecture 6e; centered: Graves 2013, equations 38 to 45. In PyTorch's order of operations.
template <bool kMean, bool kVelocity>
struct Rmsprop {
  V lr, alpha, rest, epsilon, weightDecay, momentum;

  LANGEVIN_INLINE explicit Rmsprop(AttributeReader& attributes) {
    lr = broadcast(static_cast<float>(attributes.f()));
    const double decay = attributes.f();
    alpha = broadcast(static_cast<float>(decay));
    rest = broadcast(static_cast<float>(1 - decay));
    epsilon = broadcast(static_cast<float>(attributes.f()));
    weightDecay = broadcast(static_cast<float>(attributes.f()));
    momentum = broadcast(static_cast<float>(attributes.f()));
  }

  // x: parameter, gradient, square, then mean and velocity where they are there
  LANGEVIN_INLINE void operator()(V* x) const {
    const V g = x[1] + weightDecay * x[0];
    V variance = x[2] = alpha * x[2] + rest * g * g;
    if (kMean) {
      x[3] = alpha * x[3] + rest * g;
      variance = variance - x[3] * x[3];
      variance = select((VI)(variance < zero()), zero(), variance);  // by rounding, where the gradient hardly varies
    }
    V change = g / (sqrt(variance) + epsilon);
    if (kVelocity) {
      V& velocity = x[kMean ? 4 : 3];
      change = velocity = momentum * velocity + change;
    }
    x[0] = x[0] - lr * change;
  }
};

void rmsprop(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand* const in = command.inputs;
  const bool mean = command.has(3), velocity = command.has(4);
  if (mean && velocity)
    update<5>(context, {&in[0], &in[1], &in[2], &in[3], &in[4]}, Rmsprop<true, true>(command.attributes));
  else if (mean)
    update<4>(context, {&in[0], &in[1], &in[2], &in[3]}, Rmsprop<true, false>(command.attributes));
  else if (velocity)
    update<4>(context, {&in[0], &in[1], &in[2], &in[4]}, Rmsprop<false, true>(command.attributes));
  else
    update<3>(context, {&in[0], &in[1], &in[2]}, Rmsprop<false, false>(command.attributes));
}

LANGEVIN_KERNEL("assign", "", assign)
LANGEVIN_KERNEL("accumulate", "", accumulate)
LANGEVIN_KERNEL("ema", "weight:float", ema)
LANGEVIN_KERNEL("adam",
                "lr:float,beta1:float,beta2:float,epsilon:float,weightDecay:float,decoupled:bool,stepSize:float,"
                "correction:float",
                adam)
LANGEVIN_KERNEL("sgd", "lr:float,momentum:float,dampening:float,nesterov:bool,weightDecay:float", sgd)
LANGEVIN_KERNEL("rmsprop", "lr:float,alpha:float,epsilon:float,weightDecay:float,momentum:float", rmsprop)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
