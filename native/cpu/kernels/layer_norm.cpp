// layerNorm and its gradients: mean and variance over the trailing axes, with `center` off about 0 (RMS norm).
//
// A cell is what is normalised together: `pieces` rows of the last axis. It is passed over several times while it lies in
// the first-level cache: for the mean, for the variance about it, for the result. The mean is kept as a sum of two floats,
// the second of which is the mean of what remains when the first is subtracted.
#include "pairwise.h"
#include "strip.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// Beyond these, squares of float32 may have overflowed or lost digits to underflow.
constexpr double kLeastSquares = 1e-30, kMostSquares = 1e30;
// Cells whose weights' gradients are summed in float32; the sums of these are added in double.
constexpr int64_t kCellsPerSum = 64;

struct Cells {
  int64_t count, pieces, width;
  bool center;
  double epsilon;

  Cells(const Operand& x, AttributeReader& attributes) : pieces(1), width(x.cols()) {
    const int64_t axes = attributes.i();
    for (int64_t i = x.rank - axes; i + 1 < x.rank; i++) pieces *= x.shape[i];
    epsilon = attributes.f();
    center = attributes.b();
    count = x.size() == 0 ? 0 : x.rows() / pieces;
  }

  double terms() const { return static_cast<double>(pieces * width); }
  int64_t perItem() const { return most(1, kChunk / most(1, pieces * width)); }
};

// Where piece `piece` of a cell lies in an operand of x's shape, and in weights.
LANGEVIN_SIMD float* pieceOf(const Operand& x, const Cells& cells, int64_t cell, int64_t piece) {
  return x.as<float>() + (cell * cells.pieces + piece) * x.pitch;
}

// Sum over the cell of term(piece, i, lanes).
template <class F>
LANGEVIN_SIMD double sumCell(const Cells& cells, const F& term) {
  double total = 0;
  for (int64_t piece = 0; piece < cells.pieces; piece++)
    total += longSum(cells.width, [&](int64_t start, int64_t n, float* buffer) {
      forEachVector(n, [&](int64_t i, auto lanes) { storeLanes(buffer + i, term(piece, start + i, lanes), lanes); });
      return buffer;
    });
  return total;
}

// Mean, and 1 / sqrt(variance + epsilon), of a cell of x.
struct Moments {
  const Operand& x;
  const Cells& cells;
  int64_t cell;
  double scale;
  V high = zero(), low = zero();

  LANGEVIN_INLINE Moments(const Operand& x, const Cells& cells, int64_t cell) : x(x), cells(cells), cell(cell) {
    const auto deviations = [&](int64_t piece, int64_t i, auto lanes) { return deviation(piece, i, lanes); };
    if (cells.center) {
      high = broadcast(static_cast<float>(sumCell(cells, deviations) / cells.terms()));
      low = broadcast(static_cast<float>(sumCell(cells, deviations) / cells.terms()));
    }
    double squares = sumCell(cells, [&](int64_t piece, int64_t i, auto lanes) {
      const V d = deviation(piece, i, lanes);
      return d * d;
    });
    if (!(squares > kLeastSquares && squares < kMostSquares)) squares = squaresInDouble();
    scale = 1 / __builtin_sqrt(squares / cells.terms() + cells.epsilon);
  }

  // x - mean.
  template <class Lanes>
  LANGEVIN_INLINE V deviation(int64_t piece, int64_t i, Lanes lanes) const {
    return (loadLanes(pieceOf(x, cells, cell, piece) + i, lanes) - high) - low;
  }

 private:
  double squaresInDouble() const {
    const double mean = static_cast<double>(high[0]) + static_cast<double>(low[0]);
    double sum = 0;
    for (int64_t piece = 0; piece < cells.pieces; piece++)
      for (int64_t i = 0; i < cells.width; i++) {
        const double d = static_cast<double>(pieceOf(x, cells, cell, piece)[i]) - mean;
        sum += d * d;
      }
    return sum;
  }
};

// Elements of a weight or bias for a piece; `absent` where there is none.
template <class Lanes>
LANGEVIN_SIMD V weightAt(const Operand* weight, float absent, int64_t piece, int64_t i, Lanes lanes) {
  return weight ? loadLanes(weight->as<const float>() + piece * weight->pitch + i, lanes) : broadcast(absent);
}

// Calls f for every cell of an output, and for what follows when some of them are complete.
template <class F>
LANGEVIN_INLINE static void forEachCell(Context& context, const Cells& cells, const F& f) {
  const int64_t perItem = cells.perItem();
  const bool finishes = context.finishesParts(1, true);
  context.parallelFor(ceilDivide(cells.count, perItem), [&](int64_t item) {
    const int64_t first = item * perItem, end = least(cells.count, first + perItem);
    for (int64_t cell = first; cell < end; cell++) f(cell);
    if (finishes) context.finish(first * cells.pieces, (end - first) * cells.pieces, 0, cells.width);
  });
}

void layerNorm(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  const Cells cells(x, command.attributes);
  const Operand* const weight = command.has(1) ? &command.inputs[1] : nullptr;
  const Operand* const bias = command.has(2) ? &command.inputs[2] : nullptr;
  forEachCell(context, cells, [&](int64_t cell) {
    const Moments moments(x, cells, cell);
    const V scale = broadcast(static_cast<float>(moments.scale));
    for (int64_t piece = 0; piece < cells.pieces; piece++) {
      float* const to = pieceOf(y, cells, cell, piece);
      forEachVector(cells.width, [&](int64_t i, auto lanes) {
        const V z = moments.deviation(piece, i, lanes) * scale;
        storeLanes(to + i, z * weightAt(weight, 1, piece, i, lanes) + weightAt(bias, 0, piece, i, lanes), lanes);
      });
    }
  });
}

// With g = dy weight and z = s (x - mean), dx = s (g - mean(g) - z mean(g z)); the weights' gradients are the sums over cells
// of dy z and of dy.
void layerNormGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &dy = command.inputs[1];
  const Cells cells(x, command.attributes);
  const Operand* const weight = command.has(2) ? &command.inputs[2] : nullptr;
  const int64_t width = cells.width, size = cells.pieces * width, sums = ceilDivide(cells.count, kCellsPerSum);
  float *const dx = command.output.as<float>(), *const dweight = dx + x.size();
  float* const partial = context.scratch(most(1, sums * 2 * size));
  context.parallelFor(sums, [&](int64_t item) {
    float *const ofWeight = partial + item * 2 * size, *const ofBias = ofWeight + size;
    __builtin_memset(ofWeight, 0, 2 * size * sizeof(float));
    for (int64_t cell = item * kCellsPerSum; cell < least(cells.count, (item + 1) * kCellsPerSum); cell++) {
      const Moments moments(x, cells, cell);
      const auto gradient = [&](int64_t piece, int64_t i, auto lanes) {
        return loadLanes(pieceOf(dy, cells, cell, piece) + i, lanes);
      };
      const auto weighted = [&](int64_t piece, int64_t i, auto lanes) {
        return gradient(piece, i, lanes) * weightAt(weight, 1, piece, i, lanes);
      };
      const double gradients = cells.center ? sumCell(cells, weighted) : 0;
      const double products = sumCell(cells, [&](int64_t piece, int64_t i, auto lanes) {
        return weighted(piece, i, lanes) * moments.deviation(piece, i, lanes);
      });
      const double s = moments.scale;
      const V scale = broadcast(static_cast<float>(s));
      const V ofNormalised = broadcast(static_cast<float>(-s * (s * products / cells.terms())));
      const V shift = broadcast(static_cast<float>(-s * gradients / cells.terms()));
      for (int64_t piece = 0; piece < cells.pieces; piece++) {
        float *const to = dx + cell * size + piece * width;
        float *const w = ofWeight + piece * width, *const b = ofBias + piece * width;
        forEachVector(width, [&](int64_t i, auto lanes) {
          const V z = moments.deviation(piece, i, lanes) * scale, g = gradient(piece, i, lanes);
          storeLanes(to + i, (weighted(piece, i, lanes) * scale + shift) + z * ofNormalised, lanes);
          storeLanes(w + i, loadLanes(w + i, lanes) + g * z, lanes);
          storeLanes(b + i, loadLanes(b + i, lanes) + g, lanes);
        });
      }
    }
  });
  forEachPiece(context, 1, 2 * size, [&](int64_t, int64_t start, int64_t n) {
    for (int64_t i = start; i < start + n; i++) {
      double sum = 0;
      for (int64_t k = 0; k < sums; k++) sum += static_cast<double>(partial[k * 2 * size + i]);
      dweight[i] = static_cast<float>(sum);
    }
  });
}

LANGEVIN_KERNEL("layerNorm", "axes:int,epsilon:float,center:bool", layerNorm)
LANGEVIN_KERNEL("layerNormGradient", "axes:int,epsilon:float,center:bool", layerNormGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
