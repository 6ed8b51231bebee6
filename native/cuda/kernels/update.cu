// assign, accumulate, averages of weights and the steps of the optimizers: the ops that overwrite their operands. They leave
// these as they are once an earlier command of the program raised a fault, so that weights outlive it.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

// One step over N operands of one shape: step(x) gets an element of each in x[0], x[1], ... and leaves there what is stored
// back. Operand 1 (gradient, source) is only read. `Rule::at` makes the step of this launch from the rule's numbers.
template <int N, class Rule>
__global__ void __launch_bounds__(kThreads) updateElements(const Rule rule, const Walk<N> walk, const bool quads, const Halt halt) {
  if (halt.now()) return;
  const auto step = rule.at();
  if (!quads) {
    for (int64_t i = firstTurn(); i < walk.size; i += turnStep()) {
      int64_t offset[N];
      walk.locate(i, offset);
      float x[N];
      for (int k = 0; k < N; k++) x[k] = static_cast<const float*>(walk.data[k])[offset[k]];
      step(x);
      for (int k = 0; k < N; k++)
        if (k != 1) static_cast<float*>(walk.data[k])[offset[k]] = x[k];
    }
    return;
  }
  for (int64_t at = kQuad * firstTurn(); at < walk.size; at += kQuad * turnStep()) {
    if (at + kQuad <= walk.size) {
      QuadOf<float> q[N];
      for (int k = 0; k < N; k++) q[k] = loadQuad<float>(walk.data[k], walk.stride[k][0], at);
      for (int j = 0; j < kQuad; j++) {
        float x[N];
        for (int k = 0; k < N; k++) x[k] = q[k].v[j];
        step(x);
        for (int k = 0; k < N; k++) q[k].v[j] = x[k];
      }
      for (int k = 0; k < N; k++)
        if (k != 1) *reinterpret_cast<QuadOf<float>*>(static_cast<float*>(walk.data[k]) + at) = q[k];
    } else {
      for (int64_t i = at; i < walk.size; i++) {
        float x[N];
        for (int k = 0; k < N; k++) x[k] = static_cast<const float*>(walk.data[k])[i * walk.stride[k][0]];
        step(x);
        for (int k = 0; k < N; k++)
          if (k != 1) static_cast<float*>(walk.data[k])[i * walk.stride[k][0]] = x[k];
      }
    }
  }
}

template <int N, class Rule>
void update(Launch& launch, const Operand* const (&operands)[N], const Rule& rule) {
  Walk<N> walk = walkOf<N>(operands);
  walk.collapse();
  if (walk.size == 0) return;
  const bool quads = walk.quads();
  const int64_t threads = quads ? (walk.size + kQuad - 1) / kQuad : walk.size;
  GPU_LAUNCH((updateElements<N, Rule>), gridFor(launch, threads), dim3(kThreads), launch.stream(), rule, walk, quads,
             launch.halt());
}

// A rule without numbers that change is its own step. The words of `assign` may be integers: they are moved, never used.
struct Assign {
  __device__ Assign at() const { return *this; }
  __device__ void operator()(float* x) const { x[0] = x[1]; }
};
struct Accumulate {
  __device__ Accumulate at() const { return *this; }
  __device__ void operator()(float* x) const { x[0] = x[0] + x[1]; }
};

void assign(Command& command, Launch& launch) {
  expectSameWords(command);
  update<2>(launch, {&command.inputs[0], &command.inputs[1]}, Assign{});
}

void accumulate(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  update<2>(launch, {&command.inputs[0], &command.inputs[1]}, Accumulate{});
}

// One step of an exponential moving average, from the nearer end: weight 1 gives the source itself.
struct Ema {
  Number weight;

  struct Step {
    bool nearSource;
    float factor;

    // x: average, source
    __device__ void operator()(float* x) const {
      const float way = x[0] - x[1];
      x[0] = nearSource ? x[1] + factor * way : x[0] - factor * way;
    }
  };
  __device__ Step at() const {
    const double w = weight.real();
    return w < 0.5 ? Step{false, static_cast<float>(w)} : Step{true, static_cast<float>(1 - w)};
  }
};

void ema(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  update<2>(launch, {&command.inputs[0], &command.inputs[1]}, Ema{launch.number(command.attributes)});
}

// Kingma and Ba 2015, algorithm 1, in PyTorch's order of operations; every operation rounds to float32.
template <bool kMaximum>
struct Adam {
  Number lr;
  double beta1, beta2, epsilon, weightDecay;
  bool decoupled;
  Number stepSize, correction;

  // Members are initialised in the order of the signature.
  Adam(AttributeReader& attributes, Launch& launch)
      : lr(launch.number(attributes)),
        beta1(attributes.f()),
        beta2(attributes.f()),
        epsilon(attributes.f()),
        weightDecay(attributes.f()),
        decoupled(attributes.b()),
        stepSize(launch.number(attributes)),
        correction(launch.number(attributes)) {}

  struct Step {
    bool l2;
    float weightDecay, keep, beta1, rest1, beta2, rest2, stepSize, correction, epsilon;

    // x: parameter, gradient, m, v, vMax
    __device__ void operator()(float* x) const {
      float p = x[0], g = x[1];
      if (l2) g = g + weightDecay * p;
      p = p * keep;
      x[2] = beta1 * x[2] + rest1 * g;
      x[3] = beta2 * x[3] + rest2 * g * g;
      float variance = x[3];
      if (kMaximum) variance = x[4] = x[4] > variance ? x[4] : variance;
      x[0] = p - stepSize * (x[2] / (noise::root(variance) / correction + epsilon));
    }
  };
  __device__ Step at() const {
    return {weightDecay != 0 && !decoupled,
            static_cast<float>(weightDecay),
            decoupled ? static_cast<float>(1 - lr.real() * weightDecay) : 1.0f,
            static_cast<float>(beta1),
            static_cast<float>(1 - beta1),
            static_cast<float>(beta2),
            static_cast<float>(1 - beta2),
            static_cast<float>(stepSize.real()),
            static_cast<float>(correction.real()),
            static_cast<float>(epsilon)};
  }
};

void adam(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand* const in = command.inputs;
  if (command.has(4))
    update<5>(launch, {&in[0], &in[1], &in[2], &in[3], &in[4]}, Adam<true>(command.attributes, launch));
  else update<4>(launch, {&in[0], &in[1], &in[2], &in[3]}, Adam<false>(command.attributes, launch));
}

// Gradient descent with momentum, in PyTorch's order of operations.
template <bool kVelocity>
struct Sgd {
  Number lr;
  double momentum;
  Number dampening;
  bool nesterov;
  double weightDecay;

  Sgd(AttributeReader& attributes, Launch& launch)
      : lr(launch.number(attributes)),
        momentum(attributes.f()),
        dampening(launch.number(attributes)),
        nesterov(attributes.b()),
        weightDecay(attributes.f()) {}

  struct Step {
    bool nesterov;
    float lr, momentum, rest, weightDecay;

    // x: parameter, gradient, velocity
    __device__ void operator()(float* x) const {
      float g = x[1] + weightDecay * x[0];
      if (kVelocity) {
        x[2] = momentum * x[2] + rest * g;
        g = nesterov ? g + momentum * x[2] : x[2];
      }
      x[0] = x[0] - lr * g;
    }
  };
  __device__ Step at() const {
    return {nesterov, static_cast<float>(lr.real()), static_cast<float>(momentum), static_cast<float>(1 - dampening.real()),
            static_cast<float>(weightDecay)};
  }
};

void sgd(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand* const in = command.inputs;
  if (command.has(2)) update<3>(launch, {&in[0], &in[1], &in[2]}, Sgd<true>(command.attributes, launch));
  else update<2>(launch, {&in[0], &in[1]}, Sgd<false>(command.attributes, launch));
}

// Hinton 2012, lecture 6e; centered: Graves 2013, equations 38 to 45. In PyTorch's order of operations.
template <bool kMean, bool kVelocity>
struct Rmsprop {
  Number lr;
  double alpha, epsilon, weightDecay, momentum;

  Rmsprop(AttributeReader& attributes, Launch& launch)
      : lr(launch.number(attributes)),
        alpha(attributes.f()),
        epsilon(attributes.f()),
        weightDecay(attributes.f()),
        momentum(attributes.f()) {}

  struct Step {
    float lr, alpha, rest, epsilon, weightDecay, momentum;

    // x: parameter, gradient, square, then mean and velocity where they are there
    __device__ void operator()(float* x) const {
      const float g = x[1] + weightDecay * x[0];
      float variance = x[2] = alpha * x[2] + rest * g * g;
      if (kMean) {
        x[3] = alpha * x[3] + rest * g;
        variance = variance - x[3] * x[3];
        variance = variance < 0.0f ? 0.0f : variance;  // by rounding, where the gradient hardly varies
      }
      float change = g / (noise::root(variance) + epsilon);
      if (kVelocity) {
        float& velocity = x[kMean ? 4 : 3];
        change = velocity = momentum * velocity + change;
      }
      x[0] = x[0] - lr * change;
    }
  };
  __device__ Step at() const {
    return {static_cast<float>(lr.real()), static_cast<float>(alpha),       static_cast<float>(1 - alpha),
            static_cast<float>(epsilon),   static_cast<float>(weightDecay), static_cast<float>(momentum)};
  }
};

void rmsprop(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand* const in = command.inputs;
  AttributeReader& attributes = command.attributes;
  const bool mean = command.has(3), velocity = command.has(4);
  if (mean && velocity)
    update<5>(launch, {&in[0], &in[1], &in[2], &in[3], &in[4]}, Rmsprop<true, true>(attributes, launch));
  else if (mean) update<4>(launch, {&in[0], &in[1], &in[2], &in[3]}, Rmsprop<true, false>(attributes, launch));
  else if (velocity) update<4>(launch, {&in[0], &in[1], &in[2], &in[4]}, Rmsprop<false, true>(attributes, launch));
  else update<3>(launch, {&in[0], &in[1], &in[2]}, Rmsprop<false, false>(attributes, launch));
}

}  // namespace

LANGEVIN_CUDA_KERNEL("assign", "", assign)
LANGEVIN_CUDA_KERNEL("accumulate", "", accumulate)
LANGEVIN_CUDA_KERNEL("ema", "weight:float", ema)
LANGEVIN_CUDA_KERNEL("adam",
                     "lr:float,beta1:float,beta2:float,epsilon:float,weightDecay:float,decoupled:bool,stepSize:float,"
                     "correction:float",
                     adam)
LANGEVIN_CUDA_KERNEL("sgd", "lr:float,momentum:float,dampening:float,nesterov:bool,weightDecay:float", sgd)
LANGEVIN_CUDA_KERNEL("rmsprop", "lr:float,alpha:float,epsilon:float,weightDecay:float,momentum:float", rmsprop)

}  // namespace cuda
}  // namespace langevin
