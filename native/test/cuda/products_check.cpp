// Checks convolutions and matmul on CUDA: in float32 as the ops are registered, in tf32 and bf16, and with fused epilogues.
#include "../../cuda/gpu.h"
#include "../../cuda/kernels/conv.cuh"
#include "../../cuda/kernels/matmul.cuh"
#include "rounded.h"
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

void checkFloat32(const Geometry& g, bool bias, Random& random) {
  for (const Case& c : convolutionCases(g, random, bias)) check(c);
}

// An operand in memory of the element type that a precision takes.
template <class Element>
class Stored;

template <>
class Stored<float> {
 public:
  explicit Stored(const Operand& o) : operand_(o) {}
  Pitched<const float> source() const { return {operand_.as<const float>(), operand_.pitch}; }

 private:
  Operand operand_;
};

template <>
class Stored<gpu::Bf16> {
 public:
  explicit Stored(const Operand& o) : pitch_((o.pitch + 7) / 8 * 8 + (o.pitch % 8 == 0 ? 0 : 1)) {
    data_.resize(static_cast<size_t>(o.rows() * pitch_), gpu::Bf16{kNaN});
    for (int64_t row = 0; row < o.rows(); row++)
      for (int64_t column = 0; column < o.cols(); column++)
        data_[static_cast<size_t>(row * pitch_ + column)].bits =
            static_cast<uint16_t>(gpu::packBf16(o.as<float>()[row * o.pitch + column], 0));
  }
  Pitched<const gpu::Bf16> source() const { return {data_.data(), pitch_}; }

 private:
  static constexpr uint16_t kNaN = 0x7FC1;
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

// Inputs: the source, the filter, and, where there is any, a bias.
Epilogue plainResult(Command& command, Launch& launch) {
  return epilogueOf(command.output, command.has(2) ? &command.inputs[2] : nullptr, launch);
}

template <Precision precision, class Element>
void runConvolution(const Geometry& g, bool transposed, const Epilogue& epilogue, Command& command, Launch& launch) {
  const Stored<Element> x(command.inputs[0]), weight(command.inputs[1]);
  if (transposed)
    convolveTransposed<precision>(convolutionOf(g), x.source(), weight.source(), epilogue, launch);
  else
    convolve<precision>(convolutionOf(g), x.source(), weight.source(), epilogue, launch);
}

template <Precision precision, class Element>
void runWeightGradient(const Geometry& g, Command& command, Launch& launch) {
  const Stored<Element> x(command.inputs[0]), dy(command.inputs[1]);
  weightGradient<precision>(convolutionOf(g), x.source(), dy.source(), plainResult(command, launch), launch);
}

float inTf32(float x) { return gpu::floatFromBits(gpu::toTf32(x)); }
float inBf16(float x) { return gpu::floatFromBits(gpu::packBf16(0, x) & 0xFFFF0000u); }

// On operands that are already rounded, products are exact, and only the sums are in float32.
template <Precision precision, class Element>
void checkArithmetic(const char* name, const Geometry& g, bool bias, Random& random) {
  auto [forward, backward, weight] = convolutionCases(g, random, bias, sizeof(Element) == 2 ? inBf16 : inTf32);
  for (Case* c : {&forward, &backward, &weight}) c->label = std::string(name) + " " + c->label;
  check(forward, [&](Command& command, Launch& launch) {
    runConvolution<precision, Element>(g, false, plainResult(command, launch), command, launch);
  });
  check(backward, [&](Command& command, Launch& launch) {
    runConvolution<precision, Element>(g, true, plainResult(command, launch), command, launch);
  });
  check(weight, [&](Command& command, Launch& launch) {
    runWeightGradient<precision, Element>(g, command, launch);
  });
}

Tail tailOf(Tail::Kind kind, const Operand& other, int rows) {
  const float* const data = other.as<const float>();
  return {kind, data, other.pitch, reinterpret_cast<uintptr_t>(data) % 16 == 0 && other.pitch % 4 == 0, Divider(rows)};
}

// The gradient of an activation that was given `given`, of silu(convolution + bias + ofImage): three tails. The first operand
// of tails lies behind source, filter and bias, in rows for each image or pixel.
template <Precision precision, class Element>
void checkEpilogue(const char* name, const Geometry& g, Random& random) {
  auto [forward, backward, weight] = convolutionCases(g, random, true, sizeof(Element) == 2 ? inBf16 : inTf32);
  for (Case* c : {&forward, &backward}) {
    const std::vector<int64_t>& shape = c->outputShape;
    const Tensor ofImage = Tensor::random({shape[0], 1, 1, shape[3]}, random), given = Tensor::random(shape, random);
    const int64_t perImage = shape[1] * shape[2] * shape[3];
    for (int64_t i = 0; i < given.size(); i++) {
      const double u = c->expected[i] + static_cast<double>(ofImage.at(i / perImage * shape[3] + i % shape[3]));
      c->expected[i] = given.at(i) > 0 ? u / (1 + std::exp(-u)) : 0;
    }
    c->label = std::string(name) + " with three tails " + c->label;
    for (const Tensor& t : {ofImage, given}) {
      c->inputs.push_back(t);
      c->dtypes.push_back(DType::f32);
      c->pitched.push_back(true);
    }
    check(*c, [&, c, transposed = c == &backward](Command& command, Launch& launch) {
      Epilogue epilogue = plainResult(command, launch);
      const Operand &first = command.inputs[3], &last = command.inputs[4];
      epilogue.tailCount = 3;
      epilogue.tails[0] = tailOf(Tail::Kind::add, first, static_cast<int>(perImage / shape[3]));
      epilogue.tails[1] = {Tail::Kind::silu, nullptr, 0, false, Divider(1)};
      epilogue.tails[2] = tailOf(Tail::Kind::reluGradient, last, 1);
      Rounded rounded(command.output);
      epilogue.y.rounded = rounded.target();
      runConvolution<precision, Element>(g, transposed, epilogue, command, launch);
      expect(rounded.isOf(command.output), c->label, "rounds otherwise than its result");
    });
  }
}

// One product of matrices.
template <Precision precision, class Element>
void runMatmul(Command& command, Launch& launch) {
  const Stored<Element> a(command.inputs[0]), b(command.inputs[1]);
  MatrixProduct<Element> p{};
  p.transposeA = command.attributes.b();
  p.transposeB = command.attributes.b();
  p.a = a.source().data, p.pitchA = a.source().pitch;
  p.b = b.source().data, p.pitchB = b.source().pitch;
  p.m = static_cast<int>(command.output.dim(0)), p.n = static_cast<int>(command.output.dim(1));
  p.k = static_cast<int>(command.inputs[0].dim(p.transposeA ? 0 : 1));
  multiplyMatrices<precision>(p, plainResult(command, launch), launch);
}

void checkMatmul(int64_t m, int64_t k, int64_t n, bool transposeA, bool transposeB, bool bias, Random& random) {
  check(matmulCase(m, k, n, transposeA, transposeB, bias, random));
  Case tf32 = matmulCase(m, k, n, transposeA, transposeB, bias, random, inTf32);
  tf32.label = "tf32 " + tf32.label;
  check(tf32, runMatmul<Precision::tf32, float>);
  Case bf16 = matmulCase(m, k, n, transposeA, transposeB, bias, random, inBf16);
  bf16.label = "bf16 " + bf16.label;
  check(bf16, runMatmul<Precision::bf16, gpu::Bf16>);
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
  checkArithmetic<Precision::tf32, float>("tf32", g, bias, random);
  checkArithmetic<Precision::bf16, gpu::Bf16>("bf16", g, bias, random);
}

void checkConvolutions(Random& random, Effort effort) {
  const Geometry padded = {2, 8, 8, 16, 40, 3, 3, 1, 1, 1, 1, 1, 1};
  checkGeometry(padded, true, random);
  checkEpilogue<Precision::float32, float>("float32", padded, random);
  checkEpilogue<Precision::tf32, float>("tf32", padded, random);
  checkEpilogue<Precision::bf16, gpu::Bf16>("bf16", padded, random);
  checkGeometry({1, 7, 9, 5, 136, 3, 3, 2, 2, 1, 1, 1, 1}, false, random);
  checkGeometry({9, 12, 12, 8, 8, 2, 2, 2, 2}, true, random);  // many pixels: gradients of weights in parts
  for (int round = 1; round < effort.rounds; round++) checkGeometry(randomGeometry(random), round % 2 == 0, random);
}

CUDA_CHECKS("convolutions", checkConvolutions);
CUDA_CHECKS("matmul", checkMatmuls);

}  // namespace
}  // namespace cuda
}  // namespace langevin
