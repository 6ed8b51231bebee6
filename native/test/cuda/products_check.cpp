// Checks convolutions and matmul on CUDA: in float32 as the ops are registered, in tf32 and bf16, and with fused epilogues.
#include "../../cuda/gpu.h"
#include "../../cuda/kernels/conv.cuh"
#include "../../cuda/kernels/matmul.cuh"
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

void checkFloat32(const Geometry& g, bool bias, Random& random) {
  for (const Case& c : convolutionCases(g, random, bias)) check(c);
}

// An operand in memory of another element type, between elements that nobody may write.
template <class Element>
class Stored;

template <>
class Stored<float> {
 public:
  explicit Stored(const Operand& o) : operand_(o) {}
  Pitched<const float> source() const { return {operand_.as<const float>(), operand_.pitch}; }
  Pitched<float> target() const { return {operand_.as<float>(), operand_.pitch}; }
  void putBack() const {}

 private:
  Operand operand_;
};

template <>
class Stored<gpu::Bf16> {
 public:
  explicit Stored(const Operand& o) : operand_(o), pitch_((o.pitch + 7) / 8 * 8 + (o.pitch % 8 == 0 ? 0 : 1)) {
    data_.resize(static_cast<size_t>(o.rows() * pitch_), gpu::Bf16{kUntouched});
    for (int64_t row = 0; row < o.rows(); row++)
      for (int64_t column = 0; column < o.cols(); column++)
        at(row, column).bits = static_cast<uint16_t>(gpu::packBf16(o.as<float>()[row * o.pitch + column], 0));
  }
  Pitched<const gpu::Bf16> source() const { return {data_.data(), pitch_}; }
  Pitched<gpu::Bf16> target() { return {data_.data(), pitch_}; }
  void putBack() {
    bool intact = true;
    for (int64_t row = 0; row < operand_.rows(); row++)
      for (int64_t column = 0; column < pitch_; column++)
        if (column < operand_.cols())
          operand_.as<float>()[row * operand_.pitch + column] = gpu::toFloat(at(row, column));
        else
          intact = intact && at(row, column).bits == kUntouched;
    expect(intact, "bf16", "wrote between the rows of the output");
  }

 private:
  static constexpr uint16_t kUntouched = 0x7FC1;  // a NaN
  gpu::Bf16& at(int64_t row, int64_t column) { return data_[static_cast<size_t>(row * pitch_ + column)]; }

  Operand operand_;
  int64_t pitch_;
  std::vector<gpu::Bf16> data_;
};

Convolution convolutionOf(const Geometry& g) {
  const auto axis = [](int64_t x, int64_t y, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    return ConvolutionAxis{static_cast<int>(x),      static_cast<int>(y),       static_cast<int>(kernel),
                           static_cast<int>(stride), static_cast<int>(padding), static_cast<int>(dilation)};
  };
  return {axis(g.h, g.oh(), g.kh, g.sy, g.top, g.dy), axis(g.w, g.ow(), g.kw, g.sx, g.left, g.dx), static_cast<int>(g.n),
          static_cast<int>(g.i), static_cast<int>(g.o)};
}

// Inputs: the source, the filter, and, where there are any, a bias and a residual.
template <Arithmetic arithmetic, class Element>
void runConvolution(const Geometry& g, bool transposed, Activation activation, Command& command, Launch& launch) {
  const Stored<Element> x(command.inputs[0]), weight(command.inputs[1]);
  Stored<Element> y(command.output);
  const float* const bias = command.has(2) ? command.inputs[2].as<const float>() : nullptr;
  const Stored<Element> residual(command.has(3) ? command.inputs[3] : command.output);
  const Pitched<Element> target = y.target();
  const Pitched<const Element> added = command.has(3) ? residual.source() : Pitched<const Element>{nullptr, 0};
  const bool vectors = inVectors<Element>(target.data, target.pitch, 16 / static_cast<int64_t>(sizeof(Element)));
  const Epilogue<Element> epilogue = {target.data, target.pitch, bias, added.data, added.pitch, activation, vectors};
  if (transposed)
    convolveTransposed<arithmetic>(convolutionOf(g), x.source(), weight.source(), epilogue, launch);
  else
    convolve<arithmetic>(convolutionOf(g), x.source(), weight.source(), epilogue, launch);
  y.putBack();
}

template <Arithmetic arithmetic, class Element>
void runWeightGradient(const Geometry& g, Command& command, Launch& launch) {
  const Stored<Element> x(command.inputs[0]), dy(command.inputs[1]);
  weightGradient<arithmetic>(convolutionOf(g), x.source(), dy.source(), {command.output.as<float>(), command.output.pitch},
                             launch);
}

float inTf32(float x) { return gpu::floatFromBits(gpu::toTf32(x)); }
float inBf16(float x) { return gpu::floatFromBits(gpu::packBf16(0, x) & 0xFFFF0000u); }

// Rounding a result to bf16 moves it by half a unit of its eighth bit.
void allowBf16(Case& c) {
  double most = 0;
  for (double y : c.expected) most = std::fmax(most, std::fabs(y));
  c.tolerance += most / 256;
}

// On operands that are already rounded, products are exact, and only the sums are in float32.
template <Arithmetic arithmetic, class Element>
void checkArithmetic(const char* name, const Geometry& g, bool bias, Random& random) {
  auto [forward, backward, weight] = convolutionCases(g, random, bias, sizeof(Element) == 2 ? inBf16 : inTf32);
  for (Case* c : {&forward, &backward, &weight}) c->label = std::string(name) + " " + c->label;
  if (sizeof(Element) == 2) {
    allowBf16(forward);
    allowBf16(backward);
  }
  check(forward, [&](Command& command, Launch& launch) {
    runConvolution<arithmetic, Element>(g, false, Activation::none, command, launch);
  });
  check(backward, [&](Command& command, Launch& launch) {
    runConvolution<arithmetic, Element>(g, true, Activation::none, command, launch);
  });
  check(weight, [&](Command& command, Launch& launch) {
    runWeightGradient<arithmetic, Element>(g, command, launch);
  });
}

// silu(convolution + bias + residual).
template <Arithmetic arithmetic, class Element>
void checkEpilogue(const char* name, const Geometry& g, Random& random) {
  const bool halves = sizeof(Element) == 2;
  auto [forward, backward, weight] = convolutionCases(g, random, true, halves ? inBf16 : inTf32);
  for (Case* c : {&forward, &backward}) {
    Tensor residual = Tensor::random(c->outputShape, random);
    for (int64_t i = 0; i < residual.size(); i++) {
      if (halves) residual.at(i) = inBf16(residual.at(i));
      const double u = c->expected[i] + static_cast<double>(residual.at(i));
      c->expected[i] = u / (1 + std::exp(-u));
    }
    c->label = std::string(name) + ", residual and SiLU " + c->label;
    c->inputs.push_back(residual);
    c->dtypes.push_back(DType::f32);
    c->pitched.push_back(true);
    if (halves) allowBf16(*c);
    check(*c, [&, transposed = c == &backward](Command& command, Launch& launch) {
      runConvolution<arithmetic, Element>(g, transposed, Activation::silu, command, launch);
    });
  }
}

// One product of matrices.
template <Arithmetic arithmetic, class Element>
void runMatmul(Command& command, Launch& launch) {
  const Stored<Element> a(command.inputs[0]), b(command.inputs[1]);
  Stored<Element> y(command.output);
  MatrixProduct<Element> p{};
  p.transposeA = command.attributes.b();
  p.transposeB = command.attributes.b();
  p.a = a.source().data, p.pitchA = a.source().pitch;
  p.b = b.source().data, p.pitchB = b.source().pitch;
  p.m = static_cast<int>(command.output.dim(0)), p.n = static_cast<int>(command.output.dim(1));
  p.k = static_cast<int>(command.inputs[0].dim(p.transposeA ? 0 : 1));
  const Pitched<Element> target = y.target();
  const bool vectors = inVectors<Element>(target.data, target.pitch, 16 / static_cast<int64_t>(sizeof(Element)));
  const float* const bias = command.has(2) ? command.inputs[2].as<const float>() : nullptr;
  multiplyMatrices<arithmetic>(p, Epilogue<Element>{target.data, target.pitch, bias, nullptr, 0, Activation::none, vectors},
                               launch);
  y.putBack();
}

void checkMatmul(int64_t m, int64_t k, int64_t n, bool transposeA, bool transposeB, bool bias, Random& random) {
  check(matmulCase(m, k, n, transposeA, transposeB, bias, random));
  Case tf32 = matmulCase(m, k, n, transposeA, transposeB, bias, random, inTf32);
  tf32.label = "tf32 " + tf32.label;
  check(tf32, runMatmul<Arithmetic::tf32, float>);
  Case bf16 = matmulCase(m, k, n, transposeA, transposeB, bias, random, inBf16);
  bf16.label = "bf16 " + bf16.label;
  allowBf16(bf16);
  check(bf16, runMatmul<Arithmetic::bf16, gpu::Bf16>);
}

void checkMatmuls(Random& random, Effort effort) {
  for (int layout = 0; layout < 4; layout++) {
    checkMatmul(70, 37, 66, layout & 1, layout & 2, layout != 2, random);
    checkMatmul(136, 64, 24, layout & 1, layout & 2, layout == 2, random);
    for (int round = 1; round < effort.rounds; round++)
      checkMatmul(random.between(1, 140), random.between(1, 70), random.between(1, 140), layout & 1, layout & 2, true, random);
    // The batch is broadcast; one matrix b for all rows of a.
    check(batchedMatmulCase({2, 1}, {3}, 5, 8, 33, layout & 1, layout & 2, true, random));
    check(batchedMatmulCase({2, 3}, {}, 4, 21, 18, layout & 1, layout & 2, true, random));
    check(batchedMatmulCase({}, {4}, 6, 12, 8, layout & 1, layout & 2, false, random));
  }
  checkMatmul(12, 1500, 20, true, false, true, random);  // in parts
  checkMatmul(1, 1, 1, false, false, true, random);
}

Geometry randomGeometry(Random& random) {
  const auto between = [&](int64_t low, int64_t high) { return random.between(low, high); };
  // Channels in eights may be loaded sixteen bytes at a time.
  const auto channels = [&](int64_t most) { return random.between(0, 1) == 0 ? 8 * between(1, most / 8) : between(1, most); };
  for (;;) {
    Geometry g = {between(1, 3), between(1, 9), between(1, 9), channels(24), channels(140), between(1, 4), between(1, 4)};
    g.sy = between(1, 3), g.sx = between(1, 3);
    g.top = between(0, 3), g.bottom = between(0, 3), g.left = between(0, 3), g.right = between(0, 3);
    g.dy = between(1, 3), g.dx = between(1, 3);
    if (g.valid()) return g;
  }
}

void checkGeometry(const Geometry& g, bool bias, Random& random) {
  checkFloat32(g, bias, random);
  checkArithmetic<Arithmetic::tf32, float>("tf32", g, bias, random);
  checkArithmetic<Arithmetic::bf16, gpu::Bf16>("bf16", g, bias, random);
}

void checkConvolutions(Random& random, Effort effort) {
  const Geometry padded = {2, 8, 8, 16, 40, 3, 3, 1, 1, 1, 1, 1, 1};
  checkGeometry(padded, true, random);
  checkEpilogue<Arithmetic::float32, float>("float32", padded, random);
  checkEpilogue<Arithmetic::tf32, float>("tf32", padded, random);
  checkEpilogue<Arithmetic::bf16, gpu::Bf16>("bf16", padded, random);
  checkGeometry({1, 7, 9, 5, 136, 3, 3, 2, 2, 1, 1, 1, 1}, false, random);
  checkGeometry({9, 12, 12, 8, 8, 2, 2, 2, 2}, true, random);  // many pixels: gradients of weights in parts
  for (int round = 1; round < effort.rounds; round++) checkGeometry(randomGeometry(random), round % 2 == 0, random);
}

CUDA_CHECKS("convolutions", checkConvolutions);
CUDA_CHECKS("matmul", checkMatmuls);

}  // namespace
}  // namespace cuda
}  // namespace langevin
