// conv2d, convTranspose2d and conv2dWeightGradient: tasks for the product of gemm.cuh.
#include "conv.cuh"

#include "gather.cuh"

namespace langevin {
namespace cuda {
namespace {

// conv2d: y[pixel, o] = sum over (tap, i) of x[pixel met, i] weight[tap, i, o].
template <class Element_>
struct Forward {
  using Element = Element_;
  using LoaderA = Gather<Element>;
  using LoaderB = Matrix<Element>;
  static constexpr bool aAlongK = true, bAlongK = false;

  struct Product {
    LoaderA a;
    LoaderB b;
    Epilogue epilogue;
    int m, n, kBegin, kEnd;
    __device__ __forceinline__ int64_t rowOf(int row) const { return row; }
  };
  Product all;
  int products;
  __device__ __forceinline__ const Product& product(int) const { return all; }
};

// A phase of convTranspose2d: every stride-th output along both axes, and the taps that meet them.
template <class Element_>
struct Phase {
  Gather<Element_> a;
  Filter<Element_> b;
  int m, k;
  int firstY, firstX;
};

// convTranspose2d: x[pixel, i] = sum over (tap, o) of y[pixel met, o] weight[tap, i, o], by phases.
template <class Element_>
struct Transposed {
  using Element = Element_;
  using LoaderA = Gather<Element>;
  using LoaderB = Filter<Element>;
  static constexpr bool aAlongK = true, bAlongK = true;
  static constexpr int kMostPhases = 4;  // stride 2 along both axes; arguments of a kernel have 4 KiB

  struct Product {
    const LoaderA& a;
    const LoaderB& b;
    const Epilogue& epilogue;
    int m, n, kBegin, kEnd;
    int firstY, firstX, strideY, strideX, sizeY, sizeX;

    // The output pixel of a phase's row.
    __device__ __forceinline__ int64_t rowOf(int row) const {
      int pixel, column;
      const int64_t image = a.outputs.divide(row, pixel);
      const int line = a.outputRow.divide(pixel, column);
      return (image * sizeY + firstY + line * strideY) * sizeX + firstX + column * strideX;
    }
  };
  Phase<Element> phases[kMostPhases];
  Epilogue epilogue;
  int products, n, strideY, strideX, sizeY, sizeX;

  __device__ __forceinline__ Product product(int z) const {
    const Phase<Element>& p = phases[z];
    return {p.a, p.b, epilogue, p.m, n, 0, p.k, p.firstY, p.firstX, strideY, strideX, sizeY, sizeX};
  }
};

// conv2dWeightGradient: dw[(tap, i), o] = sum over pixels of x[pixel met, i] dy[pixel, o], each product over some pixels.
template <class Element_>
struct WeightGradient {
  using Element = Element_;
  using LoaderA = Gather<Element>;
  using LoaderB = Matrix<Element>;
  static constexpr bool aAlongK = false, bAlongK = false;

  struct Product {
    const LoaderA& a;
    const LoaderB& b;
    const Epilogue& epilogue;
    int m, n, kBegin, kEnd;
    int64_t firstRow;
    __device__ __forceinline__ int64_t rowOf(int row) const { return firstRow + row; }
  };
  LoaderA a;
  LoaderB b;
  Epilogue epilogue;
  int m, n, pixels, pixelsEach, products;

  __device__ __forceinline__ Product product(int z) const {
    const int end = (z + 1) * pixelsEach;
    return {a, b, epilogue, m, n, z * pixelsEach, end < pixels ? end : pixels, static_cast<int64_t>(z) * m};
  }
};

// The source is x, outputs are pixels of y.
template <class Element>
Gather<Element> gatherOf(const Convolution& c, Pitched<const Element> x) {
  const ConvolutionAxis &v = c.vertical, &h = c.horizontal;
  Gather<Element> g;
  g.data = x.data;
  g.pitch = x.pitch;
  g.y = {v.x, v.stride, v.padding, v.dilation};
  g.x = {h.x, h.stride, h.padding, h.dilation};
  g.outerCount = countOf(int64_t{c.images} * v.y * h.y, "output pixels");
  g.innerCount = countOf(int64_t{v.kernel} * h.kernel * c.inputs, "elements of a window");
  g.outputs = Divider(v.y * h.y);
  g.outputRow = Divider(h.y);
  g.channels = Divider(c.inputs);
  g.kernelRow = Divider(h.kernel);
  g.vectors = inVectors(x.data, x.pitch, c.inputs);
  return g;
}

// One axis of a phase: outputs first, first + stride, ... and taps firstTap, firstTap + tapStep, ...
struct PhaseAxis {
  int outputs, taps, firstTap, tapStep;
  WindowAxis window;
};

int commonDivisor(int a, int b) { return b == 0 ? a : commonDivisor(b, a % b); }

// Output x and tap k meet y where x + padding - k dilation is y times the stride.
PhaseAxis phaseAxis(const ConvolutionAxis& c, int first) {
  PhaseAxis p{};
  p.outputs = (c.x - first + c.stride - 1) / c.stride;
  p.tapStep = c.stride / commonDivisor(c.stride, c.dilation);
  while (p.firstTap < p.tapStep && (first + c.padding - p.firstTap * c.dilation) % c.stride != 0) p.firstTap++;
  const bool meets = p.firstTap < p.tapStep && p.firstTap < c.kernel;
  p.taps = meets ? (c.kernel - p.firstTap + p.tapStep - 1) / p.tapStep : 0;
  const int start = meets ? (first + c.padding - p.firstTap * c.dilation) / c.stride : 0;
  p.window = {c.y, 1, -start, -(p.tapStep * c.dilation / c.stride)};
  return p;
}

template <class Element>
Phase<Element> phaseOf(const Convolution& c, Pitched<const Element> y, Pitched<const Element> weight, int firstY, int firstX) {
  const PhaseAxis v = phaseAxis(c.vertical, firstY), h = phaseAxis(c.horizontal, firstX);
  const bool meets = v.taps > 0 && h.taps > 0;
  Phase<Element> p;
  p.firstY = firstY;
  p.firstX = firstX;
  p.m = countOf(int64_t{c.images} * v.outputs * h.outputs, "output pixels");
  p.k = meets ? countOf(int64_t{v.taps} * h.taps * c.outputs, "elements of a window") : 0;
  p.a.data = y.data;
  p.a.pitch = y.pitch;
  p.a.y = v.window;
  p.a.x = h.window;
  p.a.outerCount = p.m;
  p.a.innerCount = p.k;
  p.a.outputs = Divider(v.outputs * h.outputs);
  p.a.outputRow = Divider(h.outputs);
  p.a.channels = p.b.channels = Divider(c.outputs);
  p.a.kernelRow = p.b.kernelRow = Divider(meets ? h.taps : 1);
  p.a.vectors = inVectors(y.data, y.pitch, c.outputs);
  const int64_t tap = c.inputs * weight.pitch, row = c.horizontal.kernel * tap;
  p.b.data = meets ? weight.data + v.firstTap * row + h.firstTap * tap : weight.data;
  p.b.pitch = weight.pitch;
  p.b.stepY = v.tapStep * row;
  p.b.stepX = h.tapStep * tap;
  p.b.outerCount = c.inputs;
  p.b.innerCount = p.k;
  p.b.vectors = inVectors(weight.data, weight.pitch, c.outputs);
  return p;
}

// The attributes stride, padding and dilation of all three ops.
Convolution readWindow(AttributeReader& attributes) {
  const Ints stride = attributes.ints(), padding = attributes.ints(), dilation = attributes.ints();
  Convolution c{};
  const auto axis = [&](int i) {
    ConvolutionAxis a{};
    a.stride = static_cast<int>(stride[i]);
    a.padding = static_cast<int>(padding[2 * i]);
    a.dilation = static_cast<int>(dilation[i]);
    return a;
  };
  c.vertical = axis(0);
  c.horizontal = axis(1);
  return c;
}

void setSizes(Convolution& c, const Operand& x, const Operand& y, int64_t kernelY, int64_t kernelX) {
  c.images = countOf(x.dim(0), "images");
  c.vertical.x = countOf(x.dim(1), "rows");
  c.vertical.y = countOf(y.dim(1), "rows");
  c.vertical.kernel = countOf(kernelY, "taps");
  c.horizontal.x = countOf(x.dim(2), "columns");
  c.horizontal.y = countOf(y.dim(2), "columns");
  c.horizontal.kernel = countOf(kernelX, "taps");
  c.inputs = countOf(x.dim(3), "channels");
  c.outputs = countOf(y.dim(3), "channels");
}

Epilogue epilogueOf(Command& command, Launch& launch) {
  return epilogueOf(command.output, command.has(2) ? &command.inputs[2] : nullptr, launch);
}

void conv2d(Command& command, Launch& launch) {
  expectFactors(command, launch);
  const Operand &x = command.inputs[0], &weight = command.inputs[1], &y = command.output;
  Convolution c = readWindow(command.attributes);
  setSizes(c, x, y, weight.dim(0), weight.dim(1));
  const Epilogue epilogue = epilogueOf(command, launch);
  inPrecision(x, weight, launch,
              [&](auto precision, auto source, auto filter) { convolve<precision.value>(c, source, filter, epilogue, launch); });
}

void convTranspose2d(Command& command, Launch& launch) {
  expectFactors(command, launch);
  const Operand &y = command.inputs[0], &weight = command.inputs[1], &x = command.output;
  Convolution c = readWindow(command.attributes);
  setSizes(c, x, y, weight.dim(0), weight.dim(1));
  const Epilogue epilogue = epilogueOf(command, launch);
  inPrecision(y, weight, launch, [&](auto precision, auto source, auto filter) {
    convolveTransposed<precision.value>(c, source, filter, epilogue, launch);
  });
}

void conv2dWeightGradient(Command& command, Launch& launch) {
  expectFactors(command, launch);
  const Operand &x = command.inputs[0], &dy = command.inputs[1], &dw = command.output;
  Convolution c = readWindow(command.attributes);
  setSizes(c, x, dy, dw.dim(0), dw.dim(1));
  const Epilogue epilogue = epilogueOf(dw, nullptr, launch);
  inPrecision(x, dy, launch,
              [&](auto precision, auto source, auto slope) { weightGradient<precision.value>(c, source, slope, epilogue, launch); });
}

}  // namespace

template <Precision precision, class Element>
void convolve(const Convolution& c, Pitched<const Element> x, Pitched<const Element> weight, const Epilogue& y,
              Launch& launch) {
  Forward<Element> task;
  task.products = 1;
  task.all.a = gatherOf(c, x);
  task.all.m = task.all.a.outerCount;
  task.all.n = c.outputs;
  task.all.kBegin = 0;
  task.all.kEnd = task.all.a.innerCount;
  task.all.b = {weight.data, weight.pitch, task.all.kEnd, c.outputs, inVectors(weight.data, weight.pitch, c.outputs)};
  task.all.epilogue = y;
  if (task.all.m > 0 && task.all.n > 0) multiplyTiles<precision>(task, task.all.m, task.all.n, launch);
}

template <Precision precision, class Element>
void convolveTransposed(const Convolution& c, Pitched<const Element> y, Pitched<const Element> weight,
                        const Epilogue& x, Launch& launch) {
  const ConvolutionAxis &v = c.vertical, &h = c.horizontal;
  if (int64_t{c.images} * v.x * h.x * c.inputs == 0) return;
  Transposed<Element> task;
  task.epilogue = x;
  task.n = c.inputs;
  task.strideY = v.stride;
  task.strideX = h.stride;
  task.sizeY = v.x;
  task.sizeX = h.x;
  task.products = 0;
  int most = 0;
  const auto flush = [&] {
    if (task.products > 0) multiplyTiles<precision>(task, most, c.inputs, launch);
    task.products = most = 0;
  };
  for (int firstY = 0; firstY < v.stride && firstY < v.x; firstY++)
    for (int firstX = 0; firstX < h.stride && firstX < h.x; firstX++) {
      const Phase<Element> phase = phaseOf(c, y, weight, firstY, firstX);
      most = phase.m > most ? phase.m : most;
      task.phases[task.products++] = phase;
      if (task.products == Transposed<Element>::kMostPhases) flush();
    }
  flush();
}

template <Precision precision, class Element>
void weightGradient(const Convolution& c, Pitched<const Element> x, Pitched<const Element> dy, const Epilogue& dweight,
                    Launch& launch) {
  WeightGradient<Element> task;
  task.a = gatherOf(c, x);
  task.m = task.a.innerCount;
  task.n = c.outputs;
  task.pixels = task.a.outerCount;
  const int64_t size = int64_t{task.m} * task.n;
  if (size == 0) return;
  countOf(size, "elements of a weight");
  task.b = {dy.data, dy.pitch, task.pixels, c.outputs, inVectors(dy.data, dy.pitch, c.outputs)};
  const Parts parts = partsOf(task.m, task.n, task.pixels);
  task.pixelsEach = parts.each;
  task.products = parts.count;
  task.epilogue = dweight;
  if (parts.count > 1) task.epilogue = plainEpilogue(launch.scratch(static_cast<size_t>(parts.count * size) * sizeof(float)), task.n);
  multiplyTiles<precision>(task, task.m, task.n, launch);
  if (parts.count > 1) sumParts(task.epilogue.y.whole.data, parts.count, task.m, task.n, dweight, launch);
}

#define LANGEVIN_CONVOLUTIONS(precision, Element)                                                                       \
  template void convolve<precision, Element>(const Convolution&, Pitched<const Element>, Pitched<const Element>,        \
                                              const Epilogue&, Launch&);                                        \
  template void convolveTransposed<precision, Element>(const Convolution&, Pitched<const Element>,                      \
                                                        Pitched<const Element>, const Epilogue&, Launch&);      \
  template void weightGradient<precision, Element>(const Convolution&, Pitched<const Element>, Pitched<const Element>, \
                                                    const Epilogue&, Launch&);

LANGEVIN_CONVOLUTIONS(Precision::float32, float)
LANGEVIN_CONVOLUTIONS(Precision::tf32, float)
LANGEVIN_CONVOLUTIONS(Precision::bf16, gpu::Bf16)

LANGEVIN_CUDA_KERNEL("conv2d", "stride:ints,padding:ints,dilation:ints", conv2d)
LANGEVIN_CUDA_KERNEL("convTranspose2d", "stride:ints,padding:ints,dilation:ints,size:ints", convTranspose2d)
LANGEVIN_CUDA_KERNEL("conv2dWeightGradient", "stride:ints,padding:ints,dilation:ints,kernel:ints", conv2dWeightGradient)

}  // namespace cuda
}  // namespace langevin
