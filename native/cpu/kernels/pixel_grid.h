// A rectangle of pixels in some images, walked through two operands in step.
#pragma once

#include "window.h"

namespace langevin {
namespace LANGEVIN_ISA {

// Images of pixels; distances in elements.
struct Pixels {
  float* data;
  int64_t image, row, pixel;
};

// Where a rectangle starts in an operand, and its distances between images, rows and pixels.
struct GridSteps {
  float* start;
  int64_t steps[3];
};

// The rectangle whose first pixel is (image, y, x), with every stepY-th row and stepX-th pixel.
static LANGEVIN_INLINE GridSteps gridSteps(const Pixels& p, int64_t image, int64_t y, int64_t x, int64_t stepY,
                                           int64_t stepX) {
  return {p.data + image * p.image + y * p.row + x * p.pixel, {p.image, stepY * p.row, stepX * p.pixel}};
}

struct PixelGrid {
  int64_t counts[3];  // images, rows, pixels
  GridSteps a, b;

  LANGEVIN_INLINE int64_t size() const { return counts[0] * counts[1] * counts[2]; }

  // Walks two levels as one wherever the distances of both operands allow it; the order of pixels stays.
  LANGEVIN_INLINE void simplify() {
    merge(1);
    merge(0);
    merge(1);
  }

 private:
  LANGEVIN_INLINE void merge(int outer) {
    const int inner = outer + 1;
    if (counts[inner] == 1) {
      a.steps[inner] = a.steps[outer];
      b.steps[inner] = b.steps[outer];
    } else if (counts[outer] != 1 && (a.steps[outer] != counts[inner] * a.steps[inner] ||
                                      b.steps[outer] != counts[inner] * b.steps[inner])) {
      return;
    }
    counts[inner] *= counts[outer];
    counts[outer] = 1;
  }
};

}  // namespace LANGEVIN_ISA
}  // namespace langevin
