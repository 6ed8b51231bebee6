// The precision of a program: what products round their operands to. Sums and everything else are in float32.
#pragma once

namespace langevin {

enum class Precision { float32, tf32, bf16 };

constexpr int kPrecisions = 3;

}  // namespace langevin
