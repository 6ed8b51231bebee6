// How parts are cut out of operands, and shared out between threads.
#include "parts.h"

#include <algorithm>

namespace langevin {

namespace {

// Elements of a part: with a few operands, what stays in a second-level cache; large against the cost of cutting it out.
constexpr int64_t kPartElements = 16384;

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What a step writes: its output, or the operand that it overwrites.
const Operand& resultOf(const Batch::Step& step) {
  return step.command.output.present() ? step.command.output : step.command.inputs[0];
}

}  // namespace

Parts::Parts(const Batch::Step* steps, size_t count) : steps_(steps), count_(count), whole_(resultOf(steps[0])) {
  int64_t rows = 1;
  for (int axis = whole_.rank - 2; axis >= 0; axis--) {
    inner_[axis] = rows;
    rows *= whole_.shape[axis];
  }
  if (whole_.rank >= 2) rowsPerImage_ = inner_[0];
  for (size_t i = 0; i < count; i++) wholeImages_ = wholeImages_ || steps[i].part.wholeImages;
}

// The part of an operand that belongs to a block. Alignments that are not of elements count from axis 0.
Operand Parts::cut(const Operand& operand, PartRule::Alignment alignment, const Block& block) const {
  if (!operand.present() || alignment == PartRule::Alignment::whole) return operand;
  const bool image = alignment == PartRule::Alignment::image;
  const int last = whole_.rank - 1, lead = image ? 0 : whole_.rank - operand.rank;
  const size_t bytes = operand.dtype == DType::f64 ? 8 : 4;
  int64_t strides[kMaxRank] = {};
  operand.strides(strides);
  Operand part = operand;
  char* data = operand.as<char>();
  for (int axis = 0; axis <= (image ? 0 : last); axis++) {
    const int own = axis - lead;
    if (own < 0 || own >= operand.rank || operand.shape[own] == 1) continue;
    const bool columns = axis == last;
    if (!columns && axis > block.axis) continue;
    data += static_cast<size_t>((columns ? block.firstColumn : block.index[axis]) * strides[own]) * bytes;
    part.shape[own] = columns ? block.columns : axis == block.axis ? block.count : 1;
  }
  part.data = data;
  return part;
}

void Parts::runBlock(const Block& block, Context& context) const {
  for (size_t i = 0; i < count_; i++) {
    const Batch::Step& step = steps_[i];
    Command command = step.command;
    Operand inputs[kMostPartInputs];
    for (int k = 0; k < command.inputCount; k++) inputs[k] = cut(command.inputs[k], step.part.alignments[k], block);
    command.inputs = inputs;
    command.output = cut(command.output, PartRule::Alignment::element, block);
    command.firstImage = whole_.rank == 1 ? block.firstColumn : block.index[0];
    Context inner(context, step.kernel->name.c_str());
    step.kernel->run(command, inner);
  }
}

void Parts::run(int64_t firstRow, int64_t rows, int64_t firstColumn, int64_t columns, Context& context) const {
  Block block;
  block.firstColumn = firstColumn, block.columns = columns;
  const int outer = whole_.rank - 1;  // axes that are counted in rows
  if (outer <= 0) return runBlock(block, context);
  for (int64_t row = firstRow, end = firstRow + rows; row < end;) {
    // The outermost axis of which whole indices follow.
    int axis = 0;
    while (axis < outer - 1 && (row % inner_[axis] != 0 || end - row < inner_[axis])) axis++;
    int64_t rest = row;
    for (int i = 0; i < outer; i++) {
      block.index[i] = rest / inner_[i];
      rest %= inner_[i];
    }
    block.axis = axis;
    block.count = std::min((end - row) / inner_[axis], whole_.shape[axis] - block.index[axis]);
    runBlock(block, context);
    row += block.count * inner_[axis];
  }
}

void Parts::runAll(Context& context) const {
  const int64_t rows = whole_.rows(), columns = whole_.cols();
  if (rows * columns == 0) return;
  int64_t rowsPerPart = std::max<int64_t>(1, kPartElements / columns);
  if (wholeImages_) rowsPerPart = ceilDivide(rowsPerPart, rowsPerImage_) * rowsPerImage_;
  for (int axis = 0; axis + 1 < whole_.rank; axis++)
    if (inner_[axis] <= rowsPerPart) {
      rowsPerPart -= rowsPerPart % inner_[axis];
      break;
    }
  // Long rows are cut, too; those of noise only where each of their elements is an image.
  const bool cutsColumns = columns > kPartElements && (!wholeImages_ || whole_.rank <= 1);
  const int64_t perPart = cutsColumns ? kPartElements : columns, pieces = ceilDivide(columns, perPart);
  context.parallelFor(ceilDivide(rows, rowsPerPart) * pieces, [&](int64_t item) {
    const int64_t row = item / pieces * rowsPerPart, column = item % pieces * perPart;
    run(row, std::min(rowsPerPart, rows - row), column, std::min(perPart, columns - column), context);
  });
}

}  // namespace langevin
