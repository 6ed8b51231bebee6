// Numbers rounded to bf16: operands of products in the format that a precision asks for, and results stored so.
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

// Refuses what no product takes: factors, the first two operands, are float32 or, in bf16, may be stored so; all else is float32.
void expectFactors(const Command& command, Launch& launch);

// Two factors in bf16: stored so, or rounded in scratch memory by one kernel, with rows that start at 16 bytes.
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

// Where a kernel stores what it computes: in float32, rounded, or both. Null: nobody needs it so.
struct Target {
  Pitched<float> whole;
  Pitched<gpu::Bf16> rounded;
};

// Of a result, and of the roundToBf16 that follows on it, if runs of four numbers may be stored there; takes that.
Target targetOf(const Operand& result, Launch& launch);

// Four numbers, rounded, to an address that is a multiple of 8 bytes.
__device__ __forceinline__ void storeRounded(gpu::Bf16* to, const float (&x)[4]) {
  *reinterpret_cast<uint2*>(to) = uint2{gpu::packBf16(x[0], x[1]), gpu::packBf16(x[2], x[3])};
}

__device__ __forceinline__ void storeRounded(gpu::Bf16* to, float x) { to->bits = static_cast<uint16_t>(gpu::packBf16(x, 0.0f)); }
__device__ __forceinline__ void storeRounded(gpu::Bf16* to, const float (&x)[1]) { storeRounded(to, x[0]); }

}  // namespace cuda
}  // namespace langevin
