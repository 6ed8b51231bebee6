// Tries all inputs of the noise's formulas: vectors against scalars, and the fma that is made of doubles against a true one.
//
// Prints a checksum of all values, which is the same for every compiler and instruction set. With an argument `time` it
// prints nanoseconds for each value instead. Compile with the flags of one instruction set and -DLANGEVIN_ISA=...
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "../noise/normal_block.h"

using namespace langevin;
using namespace langevin::LANGEVIN_ISA;

// The formulas with the library's fma, which rounds once on every machine.
struct TrueFma : noise::Scalar {
  static float fused(float a, float b, float c) { return std::fma(a, b, c); }
};

static uint64_t checksum = 14695981039346656037ull;  // FNV-1a
static long failures = 0;

static void expectSame(float expected, float value) {
  uint32_t a, b;
  std::memcpy(&a, &expected, 4);
  std::memcpy(&b, &value, 4);
  checksum = (checksum ^ a) * 1099511628211ull;
  if (a != b) failures++;
}

// Each of `count` words, `step` apart, through `vector` and through the two scalar versions.
template <class Vector, class Truth, class Single>
static void tryAll(uint64_t count, uint32_t step, const Vector& vector, const Truth& truth, const Single& single) {
  for (uint64_t i = 0; i < count; i += kWidth) {
    const VU x = ((VU)laneIndex() + static_cast<uint32_t>(i)) * step;
    float values[kWidth];
    const V v = vector(x);
    std::memcpy(values, &v, sizeof v);
    for (int lane = 0; lane < kWidth; lane++) {
      const float expected = truth(x[lane]);
      expectSame(expected, values[lane]);
      expectSame(expected, single(x[lane]));
    }
  }
}

static void tryFormulas() {
  // The radius sees the upper 24 bits, the angle the upper 25; the lower ones are dropped.
  tryAll(1u << 24, 1u << 8, [](VU x) { return sqrt(noise::minusTwoLog<Lanes>(x)); },
         [](uint32_t x) { return std::sqrt(noise::minusTwoLog<TrueFma>(x)); },
         [](uint32_t x) { return noise::root(noise::minusTwoLog<noise::Scalar>(x)); });
  tryAll(1u << 25, 1u << 7, [](VU x) { return noise::cosSin<Lanes>(x).cos; },
         [](uint32_t x) { return noise::cosSin<TrueFma>(x).cos; },
         [](uint32_t x) { return noise::cosSin<noise::Scalar>(x).cos; });
  tryAll(1u << 25, 1u << 7, [](VU x) { return noise::cosSin<Lanes>(x).sin; },
         [](uint32_t x) { return noise::cosSin<TrueFma>(x).sin; },
         [](uint32_t x) { return noise::cosSin<noise::Scalar>(x).sin; });
}

// Stretches that begin and end anywhere.
static void tryRanges() {
  const uint64_t seed = 0x0123456789ABCDEFull;
  for (int64_t first = 0; first < 70; first += 3)
    for (int64_t count = 0; count < 200; count += 7) {
      std::vector<float> normal(count + 1, -7.0f), uniform(count + 1, -7.0f);
      std::vector<uint32_t> word(count + 1, 7);
      const noise::Counter c{0, 3, static_cast<uint32_t>(first), 0xFFFFFFF0u};
      normals(normal.data(), first, count, c, seed);
      uniforms(uniform.data(), first, count, c, seed);
      words(word.data(), first, count, c, seed);
      for (int64_t i = 0; i < count; i++) {
        const int64_t e = first + i;
        const noise::Counter at{static_cast<uint32_t>(e / 4), c.draw, c.image, c.step};
        expectSame(noise::normal4(at, seed).v[e % 4], normal[i]);
        expectSame(noise::uniform4(at, seed).v[e % 4], uniform[i]);
        if (noise::philox(at, seed).v[e % 4] != word[i]) failures++;
      }
      if (normal[count] != -7.0f || uniform[count] != -7.0f || word[count] != 7) failures++;
    }
}

static void measure() {
  std::vector<float> values(786432);
  double best = 1e30;
  for (int repeat = 0; repeat < 20; repeat++) {
    const auto start = std::chrono::steady_clock::now();
    normals(values.data(), 0, static_cast<int64_t>(values.size()), {0, 1, 2, 3}, 5);
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    best = spent.count() < best ? spent.count() : best;
  }
  std::printf("%s: %.3f ns a value, %.2f ms for %zu\n", LANGEVIN_ISA_NAME, best / values.size(), best * 1e-6, values.size());
}

int main(int count, char**) {
  if (count > 1) {
    measure();
    return 0;
  }
  tryFormulas();
  tryRanges();
  std::printf("%016llx %ld\n", static_cast<unsigned long long>(checksum), failures);
  return failures == 0 ? 0 : 1;
}
