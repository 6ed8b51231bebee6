// Shuffles, votes and tensor-core instructions of a warp on the host (warp.h).
#include "warp.h"

// Lanes' values lie on the stacks of their fibers: the thread sanitizer need not see them change hands.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define UNSEEN
#endif

namespace gpu {
namespace host {

namespace {

constexpr int kLanes = 32;

UNSEEN void castVotes(const LaneExchange (&lanes)[32], uint32_t mask) {
  uint32_t votes = 0;
  for (int lane = 0; lane < kLanes; lane++)
    if (mask >> lane & 1u && *static_cast<const bool*>(lanes[lane].give)) votes |= 1u << lane;
  for (int lane = 0; lane < kLanes; lane++)
    if (mask >> lane & 1u) *static_cast<uint32_t*>(lanes[lane].take) = votes;
}

UNSEEN float floatOf(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

struct Bf16Product {
  static constexpr int depth = 16;
  // Element (row, k) of a lies in the lane of row % 8 and k / 2 % 4, in register row / 8 + 2 (k / 8), half k % 2.
  UNSEEN static float a(const LaneExchange (&lanes)[32], int row, int k) {
    const Fragments& f = *static_cast<const Fragments*>(lanes[row % 8 * 4 + k % 8 / 2].give);
    return half(f.a[row / 8 + k / 8 * 2], k % 2);
  }
  UNSEEN static float b(const LaneExchange (&lanes)[32], int k, int column) {
    const Fragments& f = *static_cast<const Fragments*>(lanes[column * 4 + k % 8 / 2].give);
    return half(f.b[k / 8], k % 2);
  }
  UNSEEN static float half(uint32_t pair, int which) { return floatOf(which ? pair & 0xFFFF0000u : pair << 16); }
};

struct Tf32Product {
  static constexpr int depth = 8;
  // Element (row, k) of a lies in the lane of row % 8 and k % 4, in register row / 8 + 2 (k / 4). The low 13 bits of a
  // register are not read.
  UNSEEN static float a(const LaneExchange (&lanes)[32], int row, int k) {
    const Fragments& f = *static_cast<const Fragments*>(lanes[row % 8 * 4 + k % 4].give);
    return floatOf(f.a[row / 8 + k / 4 * 2] & 0xFFFFE000u);
  }
  UNSEEN static float b(const LaneExchange (&lanes)[32], int k, int column) {
    const Fragments& f = *static_cast<const Fragments*>(lanes[column * 4 + k % 4].give);
    return floatOf(f.b[k / 4] & 0xFFFFE000u);
  }
};

// The sum is taken in double and rounded once; tensor cores keep a few bits less in between.
template <class Product>
UNSEEN void multiply(const LaneExchange (&lanes)[32], uint32_t) {
  constexpr int rows = 16, columns = 8, depth = Product::depth;
  double b[depth][columns];
  for (int k = 0; k < depth; k++)
    for (int column = 0; column < columns; column++) b[k][column] = static_cast<double>(Product::b(lanes, k, column));
  for (int row = 0; row < rows; row++) {
    double sum[columns] = {};
    for (int k = 0; k < depth; k++) {
      const double a = static_cast<double>(Product::a(lanes, row, k));
      for (int column = 0; column < columns; column++) sum[column] += a * b[k][column];
    }
    for (int column = 0; column < columns; column++) {
      const int lane = row % 8 * 4 + column / 2, element = row / 8 * 2 + column % 2;
      const double c = static_cast<double>(static_cast<const Fragments*>(lanes[lane].give)->c[element]);
      static_cast<float*>(lanes[lane].take)[element] = static_cast<float>(c + sum[column]);
    }
  }
}

// A row of a matrix.
struct Row {
  uint16_t halves[8];
};

UNSEEN uint32_t halfOf(const LaneExchange (&lanes)[32], int matrix, int row, int column) {
  return static_cast<const Row*>(lanes[matrix * 8 + row].give)->halves[column];
}

template <int matrices, bool transposed>
UNSEEN void deal(const LaneExchange (&lanes)[32], uint32_t) {
  for (int lane = 0; lane < kLanes; lane++)
    for (int m = 0; m < matrices; m++) {
      const int i = lane / 4, j = lane % 4 * 2;
      static_cast<uint32_t*>(lanes[lane].take)[m] =
          transposed ? halfOf(lanes, m, j, i) | halfOf(lanes, m, j + 1, i) << 16
                     : halfOf(lanes, m, i, j) | halfOf(lanes, m, i, j + 1) << 16;
    }
}

Exchange dealer(int matrices, bool transposed) {
  switch (matrices) {
    case 1:
      return transposed ? deal<1, true> : deal<1, false>;
    case 2:
      return transposed ? deal<2, true> : deal<2, false>;
    default:
      return transposed ? deal<4, true> : deal<4, false>;
  }
}

void multiplyLanes(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Exchange compute, Site site) {
  const Fragments give{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}};
  exchange(0xFFFFFFFFu, &give, d, compute, site);
}

}  // namespace

UNSEEN void shuffleLanes(const LaneExchange (&lanes)[32], uint32_t mask) {
  for (int lane = 0; lane < kLanes; lane++) {
    if ((mask >> lane & 1u) == 0) continue;
    const unsigned from = static_cast<const Shuffle*>(lanes[lane].give)->from;
    if (from >= kLanes || (mask >> from & 1u) == 0)
      fault("a shuffle takes from lane " + std::to_string(from) + ", which its mask does not name", {"", 0});
    *static_cast<uint64_t*>(lanes[lane].take) = static_cast<const Shuffle*>(lanes[from].give)->value;
  }
}

uint32_t ballot(uint32_t mask, bool predicate, Site site) {
  uint32_t votes = 0;
  exchange(mask, &predicate, &votes, castVotes, site);
  return votes;
}

void multiplyBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  multiplyLanes(d, a, b, multiply<Bf16Product>, site);
}

void multiplyTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  multiplyLanes(d, a, b, multiply<Tf32Product>, site);
}

void loadMatrices(uint32_t* registers, int matrices, bool transposed, const void* row, Site site) {
  Row give{};
  // Addresses of the other lanes are not looked at. Each lane reads its own row: sanitizers then name the right thread.
  if (thisThread->lane < static_cast<unsigned>(matrices) * 8) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fault("ldmatrix of a row that is not aligned to 16 bytes", site);
    std::memcpy(&give, row, sizeof give);
  }
  exchange(0xFFFFFFFFu, &give, registers, dealer(matrices, transposed), site);
}

}  // namespace host
}  // namespace gpu
