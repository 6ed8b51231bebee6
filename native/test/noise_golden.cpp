// Prints hashes of the noise over every input that its floating-point part can see, with a fused multiply-add that rounds
// once: test/device/noise.test.ts compares them with those of the TypeScript noise, whose multiply-add rounds twice.
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "../noise/philox.h"

using namespace langevin;

struct TrueFma : noise::Scalar {
  static float fused(float a, float b, float c) { return std::fma(a, b, c); }
};

// FNV-1a over 32-bit words, its upper bits folded back: alone, it loses an even number of wrong signs.
struct Hash {
  uint32_t state = 2166136261u;
  void add(uint32_t word) {
    state = (state ^ word) * 16777619u;
    state ^= state >> 15;
  }
  void add(float value) { add(noise::bitsOf(value)); }
};

int main() {
  Hash radius, angle, normals, uniforms, integers;
  for (uint32_t i = 0; i < 1u << 24; i++) radius.add(noise::root(noise::minusTwoLog<TrueFma>(i << 8)));
  for (uint32_t i = 0; i < 1u << 25; i++) {
    const noise::CosSin<TrueFma> turn = noise::cosSin<TrueFma>(i << 7);
    angle.add(turn.cos);
    angle.add(turn.sin);
  }
  const uint64_t seed = 0x123456789ABCDEF0u;
  for (uint32_t quad = 0; quad < 250000; quad++) {
    const noise::Counter at{quad, 1, 2, 3};
    const noise::Floats4 z = noise::normal4(at, seed), u = noise::uniform4(at, seed);
    const noise::Words4 words = noise::philox(at, seed);
    for (int k = 0; k < 4; k++) {
      normals.add(z.v[k]);
      uniforms.add(u.v[k]);
      integers.add(noise::below(words.v[k], 4000000000u));
    }
  }
  std::printf("{\"radius\":%u,\"angle\":%u,\"normals\":%u,\"uniforms\":%u,\"integers\":%u}\n", radius.state, angle.state,
              normals.state, uniforms.state, integers.state);
}
