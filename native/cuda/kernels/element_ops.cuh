// The element-wise ops, one line each, and what a thread does for one of them: the one list from which their launchers, the codes
// of chains (chain.cuh) and the interpreter of these are made.
//
// A line has the op's name, its signature, the function, and the types for which there is one: of the result and of the operands.
// Word stands for float32 or int32, the same one wherever it occurs. Numbers among the attributes are the function's fields.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "activation.cuh"
#include "arithmetic.cuh"
#include "unary.cuh"

namespace langevin {
namespace cuda {

#define LANGEVIN_ELEMENT_OPS(OP)                                                                          \
  OP(add, "", Add, float(float, float), Word(Word, Word))                                                 \
  OP(sub, "", Sub, float(float, float), Word(Word, Word))                                                 \
  OP(mul, "", Mul, float(float, float), Word(Word, Word))                                                 \
  OP(div, "", Div, float(float, float), Word(Word, Word))                                                 \
  OP(pow, "", Pow, float(float, float))                                                                   \
  OP(neg, "", Negate, float(float), Word(Word))                                                           \
  OP(sign, "", Sign, float(float))                                                                        \
  OP(abs, "", Abs, float(float))                                                                          \
  OP(square, "", Square, float(float))                                                                    \
  OP(sqrt, "", Sqrt, float(float))                                                                        \
  OP(rsqrt, "", Rsqrt, float(float))                                                                      \
  OP(reciprocal, "", Reciprocal, float(float))                                                            \
  OP(floor, "", Floor, float(float))                                                                      \
  OP(ceil, "", Ceil, float(float))                                                                        \
  OP(round, "", Round, float(float))                                                                      \
  OP(exp, "", Exp, float(float))                                                                          \
  OP(expm1, "", Expm1, float(float))                                                                      \
  OP(log, "", Log, float(float))                                                                          \
  OP(log1p, "", Log1p, float(float))                                                                      \
  OP(sin, "", Sin, float(float))                                                                          \
  OP(cos, "", Cos, float(float))                                                                          \
  OP(erf, "", Erf, float(float))                                                                          \
  OP(erfGradient, "", ErfGradient, float(float, float))                                                   \
  OP(equal, "", Equal, int32_t(float, float), int32_t(int32_t, int32_t))                                  \
  OP(notEqual, "", NotEqual, int32_t(float, float), int32_t(int32_t, int32_t))                            \
  OP(less, "", Less, int32_t(float, float), int32_t(int32_t, int32_t))                                    \
  OP(lessEqual, "", LessEqual, int32_t(float, float), int32_t(int32_t, int32_t))                          \
  OP(greater, "", Greater, int32_t(float, float), int32_t(int32_t, int32_t))                              \
  OP(greaterEqual, "", GreaterEqual, int32_t(float, float), int32_t(int32_t, int32_t))                    \
  OP(maximum, "", Maximum, float(float, float), Word(Word, Word))                                         \
  OP(minimum, "", Minimum, float(float, float), Word(Word, Word))                                         \
  OP(where, "", Choose, Word(int32_t, Word, Word))                                                        \
  OP(clamp, "min:float,max:float", Clamp, float(float), int32_t(int32_t))                                 \
  OP(clampGradient, "min:float,max:float", ClampGradient, float(float, float))                            \
  OP(cast, "dtype:float32|int32|float64", Convert, int32_t(float), float(int32_t), Word(Word))            \
  OP(copy, "", Same, Word(Word))                                                                          \
  OP(broadcastTo, "shape:ints", Same, Word(Word))                                                         \
  OP(relu, "", Relu, float(float))                                                                        \
  OP(reluGradient, "", ReluGradient, float(float, float))                                                 \
  OP(relu6, "", Relu6, float(float))                                                                      \
  OP(relu6Gradient, "", Relu6Gradient, float(float, float))                                               \
  OP(leakyRelu, "slope:float", LeakyRelu, float(float))                                                   \
  OP(leakyReluGradient, "slope:float", LeakyReluGradient, float(float, float))                            \
  OP(elu, "alpha:float", Elu, float(float))                                                               \
  OP(eluGradient, "alpha:float", EluGradient, float(float, float))                                        \
  OP(sigmoid, "", Sigmoid, float(float))                                                                  \
  OP(sigmoidGradient, "", SigmoidGradient, float(float, float))                                           \
  OP(tanh, "", Tanh, float(float))                                                                        \
  OP(tanhGradient, "", TanhGradient, float(float, float))                                                 \
  OP(silu, "", Silu, float(float))                                                                        \
  OP(siluGradient, "", SiluGradient, float(float, float))                                                 \
  OP(gelu, "", Gelu, float(float))                                                                        \
  OP(geluGradient, "", GeluGradient, float(float, float))                                                 \
  OP(geluTanh, "", GeluTanh, float(float))                                                                \
  OP(geluTanhGradient, "", GeluTanhGradient, float(float, float))                                         \
  OP(quickGelu, "", QuickGelu, float(float))                                                              \
  OP(quickGeluGradient, "", QuickGeluGradient, float(float, float))                                       \
  OP(softplus, "", Softplus, float(float))                                                                \
  OP(mish, "", Mish, float(float))                                                                        \
  OP(mishGradient, "", MishGradient, float(float, float))

// What ops are put together of that are no single function.
#define LANGEVIN_ELEMENT_PARTS(PART) PART(addTerm, "", AddTerm, float(float, float, float))

enum class ElementOp : uint8_t {
#define LANGEVIN_CODE(name, signature, ...) name,
  LANGEVIN_ELEMENT_OPS(LANGEVIN_CODE) LANGEVIN_ELEMENT_PARTS(LANGEVIN_CODE)
#undef LANGEVIN_CODE
};

constexpr int kMostOperands = 3;
constexpr int kMostNumbers = 2;

using Quad = Word[kQuad];

__device__ __forceinline__ void readWord(Word word, Word& x) { x = word; }
__device__ __forceinline__ void readWord(Word word, int32_t& x) { x = static_cast<int32_t>(word); }
__device__ __forceinline__ void readWord(Word word, float& x) { x = fromBits(word); }
__device__ __forceinline__ Word wordOf(Word x) { return x; }
__device__ __forceinline__ Word wordOf(int32_t x) { return static_cast<Word>(x); }
__device__ __forceinline__ Word wordOf(float x) { return bitsOf(x); }

template <class X>
__device__ __forceinline__ X readAs(Word word) {
  X x;
  readWord(word, x);
  return x;
}

template <class F>
constexpr int kNumbersOf = std::is_empty<F>::value ? 0 : static_cast<int>(sizeof(F) / sizeof(Word));

template <class F>
__device__ __forceinline__ F withNumbers(const Word (&numbers)[kMostNumbers]) {
  static_assert(kNumbersOf<F> <= kMostNumbers, "too many numbers");
  F f{};
  if constexpr (!std::is_empty<F>::value) memcpy(&f, numbers, sizeof f);
  return f;
}

// A function for operands of certain types.
template <class F, class Types>
struct Variant;

template <class F, class Y, class... X>
struct Variant<F, Y(X...)> {
  static_assert(sizeof...(X) <= kMostOperands, "too many operands");

  static bool fits(const Command& command) {
    if (command.inputCount != static_cast<int>(sizeof...(X))) return false;
    std::optional<DType> word;
    const Operand* input = command.inputs;
    return stands<Y>(command.output.dtype, word) && (stands<X>((input++)->dtype, word) && ...);
  }

  __device__ static void apply(const Word (&numbers)[kMostNumbers], const Quad (&x)[kMostOperands], Quad& y) {
    applyTo(withNumbers<F>(numbers), x, y, std::make_index_sequence<sizeof...(X)>{});
  }

 private:
  template <class T>
  static bool stands(DType dtype, std::optional<DType>& word) {
    if constexpr (!std::is_same<T, Word>::value) return dtype == dtypeOf<T>();
    if (!word && isWord(dtype)) word = dtype;
    return word == dtype;
  }

  template <size_t... K>
  __device__ __forceinline__ static void applyTo(const F& f, const Quad (&x)[kMostOperands], Quad& y, std::index_sequence<K...>) {
    GPU_UNROLL
    for (int i = 0; i < kQuad; i++) y[i] = wordOf(static_cast<Y>(f(readAs<X>(x[K][i])...)));
  }
};

// All variants of an op.
template <class F, class First, class... Rest>
struct Variants {
  // The first one that fits; none: -1.
  static int fitting(const Command& command) {
    if (Variant<F, First>::fits(command)) return 0;
    if constexpr (sizeof...(Rest) > 0) {
      const int found = Variants<F, Rest...>::fitting(command);
      if (found >= 0) return found + 1;
    }
    return -1;
  }

  __device__ __forceinline__ static void apply(int variant, const Word (&numbers)[kMostNumbers], const Quad (&x)[kMostOperands],
                                               Quad& y) {
    if constexpr (sizeof...(Rest) > 0)
      if (variant > 0) return Variants<F, Rest...>::apply(variant - 1, numbers, x, y);
    Variant<F, First>::apply(numbers, x, y);
  }
};

// y = op(x...) for four neighbours.
__device__ __forceinline__ void applyElementOp(ElementOp op, int variant, const Word (&numbers)[kMostNumbers],
                                               const Quad (&x)[kMostOperands], Quad& y) {
  switch (op) {
#define LANGEVIN_CASE(name, signature, ...) \
  case ElementOp::name: return Variants<__VA_ARGS__>::apply(variant, numbers, x, y);
    LANGEVIN_ELEMENT_OPS(LANGEVIN_CASE) LANGEVIN_ELEMENT_PARTS(LANGEVIN_CASE)
#undef LANGEVIN_CASE
  }
}

}  // namespace cuda
}  // namespace langevin
