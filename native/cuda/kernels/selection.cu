// Comparisons, maximum, minimum, where and clamp: what chooses elements and rounds nothing.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

// Comparisons with NaN are false, but for inequality.
struct Equal {
  template <class T>
  __device__ int32_t operator()(T a, T b) const {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  __device__ int32_t operator()(T a, T b) const {
    return a != b;
  }
};
struct Less {
  template <class T>
  __device__ int32_t operator()(T a, T b) const {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  __device__ int32_t operator()(T a, T b) const {
    return a <= b;
  }
};
struct Greater {
  template <class T>
  __device__ int32_t operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterEqual {
  template <class T>
  __device__ int32_t operator()(T a, T b) const {
    return a >= b;
  }
};

template <class F>
void compare(Command& command, Launch& launch) {
  const DType dtype = command.inputs[0].dtype;
  if (!isWord(dtype) || command.inputs[1].dtype != dtype || command.output.dtype != DType::i32)
    Launch::refuse("expected operands of one dtype, float32 or int32, and an int32 output");
  if (dtype == DType::f32) mapInputs<int32_t, float, float>(command, launch, F{});
  else mapInputs<int32_t, int32_t, int32_t>(command, launch, F{});
}

// NaN wins. Of equal operands the second one is handed out, which tells zeros of different signs apart.
struct Maximum {
  __device__ float operator()(float a, float b) const { return a != a ? a : a > b ? a : b; }
  __device__ Word operator()(Word a, Word b) const {
    return static_cast<int32_t>(a) > static_cast<int32_t>(b) ? a : b;
  }
};
struct Minimum {
  __device__ float operator()(float a, float b) const { return a != a ? a : a < b ? a : b; }
  __device__ Word operator()(Word a, Word b) const {
    return static_cast<int32_t>(a) < static_cast<int32_t>(b) ? a : b;
  }
};

struct Choose {
  __device__ Word operator()(int32_t condition, Word yes, Word no) const { return condition != 0 ? yes : no; }
};

void where(Command& command, Launch& launch) {
  const DType dtype = command.output.dtype;
  if (command.inputs[0].dtype != DType::i32 || !isWord(dtype) || command.inputs[1].dtype != dtype ||
      command.inputs[2].dtype != dtype)
    Launch::refuse("expected an int32 condition, and other operands of one dtype, float32 or int32");
  mapInputs<Word, int32_t, Word, Word>(command, launch, Choose{});
}

template <class T>
struct Clamp {
  T low, high;
  __device__ T operator()(T x) const {
    const T raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
};
struct ClampGradient {
  float low, high;
  __device__ float operator()(float x, float dy) const { return x >= low && x <= high ? dy : 0.0f; }
};

// A bound of int32: whole, or infinite.
int32_t integerBound(double bound) {
  return bound >= INT32_MAX ? INT32_MAX : bound <= INT32_MIN ? INT32_MIN : static_cast<int32_t>(bound);
}

void clamp(Command& command, Launch& launch) {
  const double low = command.attributes.f(), high = command.attributes.f();
  if (command.output.dtype == DType::f32) {
    expectDType(command, DType::f32);
    mapInputs<float, float>(command, launch, Clamp<float>{static_cast<float>(low), static_cast<float>(high)});
    return;
  }
  expectDType(command, DType::i32);
  mapInputs<int32_t, int32_t>(command, launch, Clamp<int32_t>{integerBound(low), integerBound(high)});
}

void clampGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const double low = command.attributes.f(), high = command.attributes.f();
  mapInputs<float, float, float>(command, launch, ClampGradient{static_cast<float>(low), static_cast<float>(high)});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("equal", "", compare<Equal>)
LANGEVIN_CUDA_KERNEL("notEqual", "", compare<NotEqual>)
LANGEVIN_CUDA_KERNEL("less", "", compare<Less>)
LANGEVIN_CUDA_KERNEL("lessEqual", "", compare<LessEqual>)
LANGEVIN_CUDA_KERNEL("greater", "", compare<Greater>)
LANGEVIN_CUDA_KERNEL("greaterEqual", "", compare<GreaterEqual>)
LANGEVIN_CUDA_KERNEL("maximum", "", ofTwoWords<Maximum>)
LANGEVIN_CUDA_KERNEL("minimum", "", ofTwoWords<Minimum>)
LANGEVIN_CUDA_KERNEL("where", "", where)
LANGEVIN_CUDA_KERNEL("clamp", "min:float,max:float", clamp)
LANGEVIN_CUDA_KERNEL("clampGradient", "min:float,max:float", clampGradient)

}  // namespace cuda
}  // namespace langevin
