// How a window moves along one axis: which taps of the kernel an output reads, and where in the source.
//
// Outputs that read the same taps form a class, so products multiply no padding and need no test for it inside: along
// each axis of a padded 3-tap convolution there are three classes (first, inner, last). A strided transposed convolution
// has a class for each phase as well. Classes of an image are pairs of a y class and an x class.
#pragma once

#include "../../core/registry.h"
#include "counts.h"

namespace langevin {
namespace LANGEVIN_ISA {

// Geometry of one axis in terms of conv2d: `wide` positions of x, `narrow` positions of y.
struct Window {
  int64_t wide, narrow, kernel, stride, padding, dilation;
};

struct Tap {
  int64_t index;   // along the kernel's axis
  int64_t offset;  // source position relative to that of the class's first tap
};

// Outputs first, first + step, ... (count of them); the first tap reads source, source + sourceStep, ...
struct AxisClass {
  int64_t first, step, count;
  int64_t source, sourceStep;
  int64_t tapCount;
  const Tap* taps;  // in ascending order of both index and offset
};

struct Axis {
  int64_t classCount;
  const AxisClass* classes;
};

// One class without a kernel: output i reads source i. For matrix products.
Axis identityAxis(int64_t size, Context& context);

// conv2d: output o reads o * stride - padding + k * dilation with tap k.
Axis convolutionAxis(const Window& window, Context& context);

// convTranspose2d: output i reads the o with o * stride - padding + k * dilation == i. Tap indexes count from the end of
// the kernel (kernel - 1 - k), so that they ascend with the source.
Axis transposedAxis(const Window& window, Context& context);

// Outputs begin <= o < end of conv2d whose tap k lies inside of x.
struct Range {
  int64_t begin, end;
};
Range insideRange(const Window& window, int64_t tap);

}  // namespace LANGEVIN_ISA
}  // namespace langevin
