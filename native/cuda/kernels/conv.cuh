// The three convolutions as launchers see them: fprop, dgrad and wgrad between the same three arrays, NHWC.
#pragma once

#include "gemm.cuh"
#include "rounded.cuh"

namespace langevin {
namespace cuda {

// What conv2d's record says of one axis.
struct ConvolutionAxis {
  int x, y, kernel;  // sizes
  int stride, padding, dilation;
};

// x [images, H, W, inputs], weight [KH, KW, inputs, outputs], y [images, OH, OW, outputs].
struct Convolution {
  ConvolutionAxis vertical, horizontal;
  int images, inputs, outputs;
};

// y = epilogue(conv2d(x, weight)).
template <Precision precision, class Element>
void convolve(const Convolution& c, Pitched<const Element> x, Pitched<const Element> weight, const Epilogue& y,
              Launch& launch);

// x = epilogue(convTranspose2d(y, weight)).
template <Precision precision, class Element>
void convolveTransposed(const Convolution& c, Pitched<const Element> y, Pitched<const Element> weight,
                        const Epilogue& x, Launch& launch);

// dweight = epilogue(the gradient of the weight).
template <Precision precision, class Element>
void weightGradient(const Convolution& c, Pitched<const Element> x, Pitched<const Element> dy, const Epilogue& dweight,
                    Launch& launch);

}  // namespace cuda
}  // namespace langevin
