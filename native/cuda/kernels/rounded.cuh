// Operands of products in the format that a precision asks for.
#pragma once

#include <type_traits>

#include "../gpu.h"
#include "../launch.h"

namespace langevin {
namespace cuda {

// An array whose pixels (or rows) lie `pitch` elements apart.
template <class Element>
struct Pitched {
  Element* data;
  int64_t pitch;
};

// Two float32 operands, rounded to bf16 in scratch memory by one kernel, with rows that start at 16 bytes.
struct InBf16 {
  Pitched<const gpu::Bf16> a, b;
};
InBf16 inBf16(const Operand& a, const Operand& b, Launch& launch);

inline Pitched<const float> inFloat32(const Operand& x) { return {x.as<const float>(), x.pitch}; }

// Calls multiply(precision, a, b), the precision as a constant of the type, with both operands as it takes them. tf32 is read
// from float32 and rounded on the way.
template <class F>
void inPrecision(const Operand& a, const Operand& b, Launch& launch, const F& multiply) {
  switch (launch.precision()) {
    case Precision::float32:
      return multiply(std::integral_constant<Precision, Precision::float32>{}, inFloat32(a), inFloat32(b));
    case Precision::tf32:
      return multiply(std::integral_constant<Precision, Precision::tf32>{}, inFloat32(a), inFloat32(b));
    case Precision::bf16: {
      const InBf16 rounded = inBf16(a, b, launch);
      return multiply(std::integral_constant<Precision, Precision::bf16>{}, rounded.a, rounded.b);
    }
  }
}

}  // namespace cuda
}  // namespace langevin
