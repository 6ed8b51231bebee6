// conv2d (fprop), convTranspose2d (dgrad) and conv2dWeightGradient (wgrad): geometry of the two product cores.
#include "gather_gemm.h"
#include "iterate.h"
#include "outer_product.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// An NHWC operand.
Pixels pixelsOf(const Operand& x) {
  return {x.as<float>(), x.dim(1) * x.dim(2) * x.pitch, x.dim(2) * x.pitch, x.pitch};
}

struct WindowPair {
  Window y, x;
};

// The attributes stride, padding and dilation; the sizes are filled in by the caller.
WindowPair readWindow(AttributeReader& attributes) {
  const Ints stride = attributes.ints(), padding = attributes.ints(), dilation = attributes.ints();
  return {{0, 0, 0, stride[0], padding[0], dilation[0]}, {0, 0, 0, stride[1], padding[2], dilation[1]}};
}

void setSizes(WindowPair& w, const Operand& wide, const Operand& narrow, int64_t kernelY, int64_t kernelX) {
  w.y.wide = wide.dim(1), w.x.wide = wide.dim(2);
  w.y.narrow = narrow.dim(1), w.x.narrow = narrow.dim(2);
  w.y.kernel = kernelY, w.x.kernel = kernelX;
}

void conv2d(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &weight = command.inputs[1], &y = command.output;
  if (y.size() == 0) return;
  WindowPair w = readWindow(command.attributes);
  setSizes(w, x, y, weight.dim(0), weight.dim(1));
  GatherGemm g;
  g.images = x.dim(0), g.channels = x.dim(3), g.outputs = y.dim(3);
  g.kernelY = w.y.kernel, g.kernelX = w.x.kernel;
  g.y = convolutionAxis(w.y, context), g.x = convolutionAxis(w.x, context);
  g.source = pixelsOf(x), g.output = pixelsOf(y);
  const int64_t tap = weight.dim(2) * weight.pitch;
  g.weight = {weight.as<float>(), weight.dim(1) * tap, tap, weight.pitch, 1};
  g.bias = command.has(2) ? command.inputs[2].as<float>() : nullptr;
  gatherGemm(g, context);
}

void convTranspose2d(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &weight = command.inputs[1], &y = command.output;
  if (y.size() == 0) return;
  WindowPair w = readWindow(command.attributes);
  setSizes(w, y, x, weight.dim(0), weight.dim(1));
  GatherGemm g;
  g.images = x.dim(0), g.channels = x.dim(3), g.outputs = y.dim(3);
  g.kernelY = w.y.kernel, g.kernelX = w.x.kernel;
  g.y = transposedAxis(w.y, context), g.x = transposedAxis(w.x, context);
  g.source = pixelsOf(x), g.output = pixelsOf(y);
  // Taps count from the kernel's end (transposedAxis); each is read over O, giving I.
  const int64_t tap = weight.dim(2) * weight.pitch, row = weight.dim(1) * tap;
  const float* const last = weight.as<float>() + (w.y.kernel - 1) * row + (w.x.kernel - 1) * tap;
  g.weight = {last, -row, -tap, 1, weight.pitch};
  g.bias = command.has(2) ? command.inputs[2].as<float>() : nullptr;
  gatherGemm(g, context);
}

void conv2dWeightGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &dy = command.inputs[1], &dw = command.output;
  if (dw.size() == 0) return;
  WindowPair w = readWindow(command.attributes);
  setSizes(w, x, dy, dw.dim(0), dw.dim(1));
  OuterProduct g;
  g.images = x.dim(0), g.inputs = x.dim(3), g.outputs = dy.dim(3);
  g.y = w.y, g.x = w.x;
  g.source = pixelsOf(x), g.gradient = pixelsOf(dy);
  g.output = dw.as<float>(), g.outputRow = dw.pitch;
  g.bias = nullptr;
  outerProduct(g, context);
}

}  // namespace

LANGEVIN_KERNEL("conv2d", "stride:ints,padding:ints,dilation:ints", conv2d)
LANGEVIN_KERNEL("convTranspose2d", "stride:ints,padding:ints,dilation:ints,size:ints", convTranspose2d)
LANGEVIN_KERNEL("conv2dWeightGradient", "stride:ints,padding:ints,dilation:ints,kernel:ints", conv2dWeightGradient)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
