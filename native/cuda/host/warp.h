// Warp operations on the host: what lanes exchange when all of them have come.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "machine.h"

namespace gpu {
namespace host {

// Shuffles move words and pairs of words.
struct Shuffle {
  uint64_t value;
  unsigned from;  // a lane
};
void shuffleLanes(const LaneExchange (&lanes)[32], uint32_t mask);

template <class T>
T shuffle(uint32_t mask, T value, unsigned from, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  Shuffle give{0, from};
  std::memcpy(&give.value, &value, sizeof(T));
  uint64_t take = 0;
  exchange(mask, &give, &take, shuffleLanes, site);
  T result;
  std::memcpy(&result, &take, sizeof(T));
  return result;
}

// Of the lanes whose predicate holds, one bit each.
uint32_t ballot(uint32_t mask, bool predicate, Site site);

// The fragments of one lane, as PTX lays them out for m16n8k16 (bf16) and m16n8k8 (tf32).
struct Fragments {
  uint32_t a[4], b[2];
  float c[4];
};
void multiplyBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site);
void multiplyTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site);

// Loads `matrices` 8 x 8 matrices of halves.
void loadMatrices(uint32_t* registers, int matrices, bool transposed, const void* row, Site site);

}  // namespace host
}  // namespace gpu
