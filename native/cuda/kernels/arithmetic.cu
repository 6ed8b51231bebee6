// neg, add, sub, mul, div and broadcastTo: element-wise arithmetic with numpy's broadcasting.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

// int32 arithmetic wraps, hence unsigned words.
struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Sub {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a - b;
  }
};
struct Mul {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a * b;
  }
};
struct Div {
  __device__ float operator()(float a, float b) const { return a / b; }
  // 0 for a divisor of 0; INT32_MIN / -1 wraps as negation does.
  __device__ Word operator()(Word a, Word b) const {
    if (b == 0) return 0;
    if (b == UINT32_MAX) return 0u - a;
    return static_cast<Word>(static_cast<int32_t>(a) / static_cast<int32_t>(b));
  }
};

struct Negate {
  __device__ float operator()(float a) const { return -a; }
  __device__ Word operator()(Word a) const { return 0u - a; }
};

void neg(Command& command, Launch& launch) {
  expectSameWords(command);
  if (command.output.dtype == DType::f32) mapInputs<float, float>(command, launch, Negate{});
  else mapInputs<Word, Word>(command, launch, Negate{});
}

void broadcastTo(Command& command, Launch& launch) {
  expectSameWords(command);
  mapInputs<Word, Word>(command, launch, Same{});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("add", "", ofTwoWords<Add>)
LANGEVIN_CUDA_KERNEL("sub", "", ofTwoWords<Sub>)
LANGEVIN_CUDA_KERNEL("mul", "", ofTwoWords<Mul>)
LANGEVIN_CUDA_KERNEL("div", "", ofTwoWords<Div>)
LANGEVIN_CUDA_KERNEL("neg", "", neg)
LANGEVIN_CUDA_KERNEL("broadcastTo", "shape:ints", broadcastTo)

}  // namespace cuda
}  // namespace langevin
