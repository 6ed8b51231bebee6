// Loaders of a convolution's operands: pixels as the window meets them, and the filter.
//
// Along an axis, output position p and tap a of the window meet at source position p * stride - before + a * step. A
// transposed convolution is the same for each *phase* (outputs that lie `stride` apart): with stride 1, fewer taps and a
// step that may be negative.
#pragma once

#include "gemm.cuh"

namespace langevin {
namespace cuda {

// How the window moves along one axis of the source.
struct WindowAxis {
  int size;  // of the source
  int stride, before, step;
};

// Pixels of an NHWC source: the outer index counts output pixels (image, y, x), the inner one (tap, channel).
template <class Element>
struct Gather {
  const Element* data;
  int64_t pitch;  // between pixels
  WindowAxis y, x;
  int outerCount, innerCount;
  Divider outputs, outputRow;    // output pixels of an image, and of a row of it
  Divider channels, kernelRow;   // channels of the source, and taps of a row of the window
  bool vectors;                  // 16 bytes may be loaded at a time

  struct Outer {
    const Element* image;  // null beyond the last pixel
    int y, x;
  };
  struct Inner {
    int y, x, channel;  // the channel is negative beyond the last
  };

  __device__ __forceinline__ Outer outer(int i) const {
    if (i >= outerCount) return {nullptr, 0, 0};
    int pixel, column;
    const int image = outputs.divide(i, pixel);
    const int row = outputRow.divide(pixel, column);
    return {data + static_cast<int64_t>(image) * y.size * x.size * pitch, row * y.stride - y.before,
            column * x.stride - x.before};
  }
  __device__ __forceinline__ Inner inner(int i) const {
    if (i >= innerCount) return {0, 0, -1};
    int channel, column;
    const int tap = channels.divide(i, channel);
    const int row = kernelRow.divide(tap, column);
    return {row * y.step, column * x.step, channel};
  }
  __device__ __forceinline__ const Element* address(const Outer& o, const Inner& i) const {
    const int atY = o.y + i.y, atX = o.x + i.x;
    const bool inside = o.image != nullptr && i.channel >= 0 && static_cast<unsigned>(atY) < static_cast<unsigned>(y.size) &&
                        static_cast<unsigned>(atX) < static_cast<unsigned>(x.size);
    return inside ? o.image + (static_cast<int64_t>(atY) * x.size + atX) * pitch + i.channel : nullptr;
  }
};

// A filter [KH, KW, I, O] read over O: the outer index counts I, the inner one (tap of the phase, O).
template <class Element>
struct Filter {
  const Element* data;  // of the phase's first tap
  int64_t pitch, stepY, stepX;  // between rows, and between taps of the phase
  int outerCount, innerCount;
  Divider channels, kernelRow;
  bool vectors;

  struct Outer {
    int64_t offset;  // negative beyond the last
  };
  struct Inner {
    const Element* at;  // null beyond the last
  };
  __device__ __forceinline__ Outer outer(int i) const { return {i < outerCount ? i * pitch : -1}; }
  __device__ __forceinline__ Inner inner(int i) const {
    if (i >= innerCount) return {nullptr};
    int channel, column;
    const int tap = channels.divide(i, channel);
    const int row = kernelRow.divide(tap, column);
    return {data + row * stepY + column * stepX + channel};
  }
  __device__ __forceinline__ const Element* address(const Outer& o, const Inner& i) const {
    return o.offset < 0 || i.at == nullptr ? nullptr : i.at + o.offset;
  }
};

}  // namespace cuda
}  // namespace langevin
