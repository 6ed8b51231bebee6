// Element-wise functions of one operand, powers, and casts.
#include "elementwise.cuh"
#include "functions.cuh"

namespace langevin {
namespace cuda {
namespace {

struct Sign {  // NaN and both zeros as they are
  __device__ float operator()(float x) const { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
};
struct Abs {
  __device__ float operator()(float x) const { return magnitude(x); }
};
struct Square {
  __device__ float operator()(float x) const { return x * x; }
};
struct Sqrt {
  __device__ float operator()(float x) const { return noise::root(x); }
};
struct Rsqrt {
  __device__ float operator()(float x) const { return 1.0f / noise::root(x); }
};
struct Reciprocal {
  __device__ float operator()(float x) const { return 1.0f / x; }
};
struct Floor {
  __device__ float operator()(float x) const { return floorf(x); }
};
struct Ceil {
  __device__ float operator()(float x) const { return ceilf(x); }
};
struct Round {  // halves to even
  __device__ float operator()(float x) const { return rintf(x); }
};
struct Exp {
  __device__ float operator()(float x) const { return exponential(x); }
};
struct Log {
  __device__ float operator()(float x) const { return logarithm(x); }
};

// CUDA's functions err by one unit in the last place (sinf and cosf two, powf four; CUDA C++ Programming Guide, appendix
// on mathematical functions).
struct Expm1 {
  __device__ float operator()(float x) const { return expm1f(x); }
};
struct Log1p {
  __device__ float operator()(float x) const { return log1pf(x); }
};
struct Sin {
  __device__ float operator()(float x) const { return sinf(x); }
};
struct Cos {
  __device__ float operator()(float x) const { return cosf(x); }
};
struct Erf {
  __device__ float operator()(float x) const { return erff(x); }
};
struct ErfGradient {  // beyond 11, e^-z^2 is 0; z^2 is rounded once more
  __device__ float operator()(float x, float dy) const {
    const float z = atMost(11.0f, magnitude(x)), square = z * z;
    const float rest = noise::fused(z, z, -square);
    const float density = exponential(-square) * (1.0f - rest);
    return dy * (density * 1.12837917f);  // 2 / sqrt(pi)
  }
};

struct Pow {
  __device__ float operator()(float a, float b) const { return powf(a, b); }
};

// Truncates; NaN gives 0, values out of range the nearest int32.
struct Truncate {
  __device__ int32_t operator()(float x) const {
    if (!(x == x)) return 0;
    if (x >= 2147483648.0f) return INT32_MAX;
    return x <= -2147483648.0f ? INT32_MIN : static_cast<int32_t>(x);
  }
};
struct ToFloat {
  __device__ float operator()(int32_t x) const { return noise::fromInt(x); }
};

void cast(Command& command, Launch& launch) {
  const DType from = command.inputs[0].dtype, to = command.output.dtype;
  if (!isWord(from) || !isWord(to)) Launch::refuse("expected float32 or int32 operands");
  if (from == to) mapInputs<Word, Word>(command, launch, Same{});
  else if (to == DType::i32) mapInputs<int32_t, float>(command, launch, Truncate{});
  else mapInputs<float, int32_t>(command, launch, ToFloat{});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("sign", "", ofOne<Sign>)
LANGEVIN_CUDA_KERNEL("abs", "", ofOne<Abs>)
LANGEVIN_CUDA_KERNEL("square", "", ofOne<Square>)
LANGEVIN_CUDA_KERNEL("sqrt", "", ofOne<Sqrt>)
LANGEVIN_CUDA_KERNEL("rsqrt", "", ofOne<Rsqrt>)
LANGEVIN_CUDA_KERNEL("reciprocal", "", ofOne<Reciprocal>)
LANGEVIN_CUDA_KERNEL("floor", "", ofOne<Floor>)
LANGEVIN_CUDA_KERNEL("ceil", "", ofOne<Ceil>)
LANGEVIN_CUDA_KERNEL("round", "", ofOne<Round>)
LANGEVIN_CUDA_KERNEL("exp", "", ofOne<Exp>)
LANGEVIN_CUDA_KERNEL("expm1", "", ofOne<Expm1>)
LANGEVIN_CUDA_KERNEL("log", "", ofOne<Log>)
LANGEVIN_CUDA_KERNEL("log1p", "", ofOne<Log1p>)
LANGEVIN_CUDA_KERNEL("sin", "", ofOne<Sin>)
LANGEVIN_CUDA_KERNEL("cos", "", ofOne<Cos>)
LANGEVIN_CUDA_KERNEL("erf", "", ofOne<Erf>)
LANGEVIN_CUDA_KERNEL("erfGradient", "", ofTwo<ErfGradient>)
LANGEVIN_CUDA_KERNEL("pow", "", ofTwo<Pow>)
LANGEVIN_CUDA_KERNEL("cast", "dtype:float32|int32|float64", cast)

}  // namespace cuda
}  // namespace langevin
