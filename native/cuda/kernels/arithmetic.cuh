// Element-wise arithmetic, comparisons, and what chooses elements and rounds nothing.
#pragma once

#include "elementwise.cuh"
#include "functions.cuh"

namespace langevin {
namespace cuda {

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
// A term of a sum whose terms have coefficients.
struct AddTerm {
  __device__ float operator()(float sum, float coefficient, float x) const { return sum + coefficient * x; }
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

// The bounds as bits of the operand's dtype.
struct Clamp {
  Word low, high;
  __device__ float operator()(float x) const { return between(fromBits(low), fromBits(high), x); }
  __device__ int32_t operator()(int32_t x) const { return between(static_cast<int32_t>(low), static_cast<int32_t>(high), x); }

 private:
  template <class T>
  __device__ static T between(T low, T high, T x) {
    const T raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
};
struct ClampGradient {
  float low, high;
  __device__ float operator()(float x, float dy) const { return x >= low && x <= high ? dy : 0.0f; }
};

}  // namespace cuda
}  // namespace langevin
