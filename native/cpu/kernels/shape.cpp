// copy, permute, slice, row, place, flip, triangle and concat: moving elements between strided places.
#include "move.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

void copy(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  int64_t to[kMaxRank] = {}, from[kMaxRank] = {};
  y.strides(to);
  x.strides(from);
  move(context, y.rank, y.shape, y.as<Word>(), to, x.as<const Word>(), from);
}

void permute(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  const Ints axes = command.attributes.ints();
  int64_t to[kMaxRank] = {}, own[kMaxRank] = {}, from[kMaxRank] = {};
  y.strides(to);
  x.strides(own);
  for (int i = 0; i < y.rank; i++) from[i] = own[axes[i] < 0 ? axes[i] + x.rank : axes[i]];
  move(context, y.rank, y.shape, y.as<Word>(), to, x.as<const Word>(), from);
}

void slice(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  const Ints starts = command.attributes.ints();
  command.attributes.ints();  // stops: known from the output
  const Ints steps = command.attributes.ints();
  int64_t to[kMaxRank] = {}, from[kMaxRank] = {};
  y.strides(to);
  x.strides(from);
  const Word* at = x.as<const Word>();
  for (int i = 0; i < y.rank; i++) {
    at += starts[i] * from[i];
    from[i] *= steps[i];
  }
  if (y.size() > 0) move(context, y.rank, y.shape, y.as<Word>(), to, at, from);
}

// The row of the table at the command's index, with its strides; null if the index is outside. A plan gives each step an
// index of its own, so that only the kernel sees it.
Word* rowAt(const Operand& table, int64_t index, int64_t strides[kMaxRank], Context& context) {
  table.strides(strides);
  if (index >= 0 && index < table.shape[0]) {
    Word* const at = table.as<Word>() + index * strides[0];
    for (int i = 0; i + 1 < table.rank; i++) strides[i] = strides[i + 1];
    return at;
  }
  context.fail("the index is outside the table");
  return nullptr;
}

void row(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  int64_t to[kMaxRank] = {}, from[kMaxRank] = {};
  y.strides(to);
  const Word* const at = rowAt(x, command.attributes.i(), from, context);
  if (at != nullptr) move(context, y.rank, y.shape, y.as<Word>(), to, at, from);
}

void rowGradient(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  command.attributes.i();  // rows: known from the output
  int64_t to[kMaxRank] = {}, from[kMaxRank] = {};
  x.strides(from);
  Word* const at = rowAt(y, command.attributes.i(), to, context);
  if (at == nullptr) return;
  clear(context, y);
  move(context, x.rank, x.shape, at, to, x.as<const Word>(), from);
}

void fillWords(Word* y, Word value, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = value;
}

// A number as an element of the dtype.
Word wordOf(DType dtype, double value) {
  Word word;
  const float real = static_cast<float>(value);
  const int32_t integer = dtype == DType::i32 ? static_cast<int32_t>(value) : 0;
  __builtin_memcpy(&word, dtype == DType::i32 ? static_cast<const void*>(&integer) : &real, sizeof word);
  return word;
}

void place(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  command.attributes.ints();  // shape: known from the output
  const Ints starts = command.attributes.ints(), steps = command.attributes.ints();
  const Word value = wordOf(y.dtype, command.attributes.f());
  const int last = y.rank - 1;
  const int64_t cols = y.cols(), taken = x.cols();
  const int64_t start = last < 0 ? 0 : starts[last], step = last < 0 ? 1 : steps[last];
  int64_t from[kMaxRank] = {};
  x.strides(from);
  // Every row is written once, whether the elements of x pass through it or not.
  forEachPiece(context, y.rows(), cols, [&](int64_t row, int64_t begin, int64_t n) {
    Word* const to = y.as<Word>() + row * y.pitch;
    const Word* at = x.as<const Word>();
    bool through = taken > 0;
    int64_t rest = row;
    for (int i = last - 1; i >= 0; i--) {
      const int64_t distance = rest % y.shape[i] - starts[i];
      rest /= y.shape[i];
      through = through && distance >= 0 && distance % steps[i] == 0 && distance / steps[i] < x.shape[i];
      if (through) at += distance / steps[i] * from[i];
    }
    const int64_t end = begin + n;
    if (!through) {
      fillWords(to + begin, value, n);
    } else if (step == 1) {
      const int64_t first = most(begin, least(end, start)), stop = most(first, least(end, start + taken));
      fillWords(to + begin, value, first - begin);
      copyWords(to + first, at + (first - start), stop - first);
      fillWords(to + stop, value, end - stop);
    } else {
      fillWords(to + begin, value, n);
      const int64_t k0 = begin <= start ? 0 : ceilDivide(begin - start, step);
      for (int64_t k = k0; k < taken && start + k * step < end; k++) to[start + k * step] = at[k];
    }
  });
}

void flip(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const Ints axes = command.attributes.ints();
  int64_t to[kMaxRank] = {}, from[kMaxRank] = {};
  y.strides(to);
  x.strides(from);
  const Word* last = x.as<const Word>();
  for (int64_t k = 0; k < axes.n; k++) {
    const int64_t i = axes[k] < 0 ? axes[k] + x.rank : axes[k];
    last += (x.shape[i] - 1) * from[i];
    from[i] = -from[i];
  }
  move(context, y.rank, y.shape, y.as<Word>(), to, last, from);
}

void triangle(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  const bool lower = command.attributes.i() == 0;
  const int64_t diagonal = command.attributes.i(), height = y.dim(-2);
  forEachPiece(context, y.rows(), y.cols(), [&](int64_t row, int64_t begin, int64_t n) {
    Word* const to = y.as<Word>() + row * y.pitch;
    const Word* const from = x.as<const Word>() + row * x.pitch;
    // Kept are columns up to the border, or else from it on.
    const int64_t end = begin + n, border = row % height + diagonal + (lower ? 1 : 0);
    const int64_t middle = most(begin, least(end, border));
    if (lower) {
      copyWords(to + begin, from + begin, middle - begin);
      fillWords(to + middle, 0, end - middle);
    } else {
      fillWords(to + begin, 0, middle - begin);
      copyWords(to + middle, from + middle, end - middle);
    }
  });
}

void concat(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand& y = command.output;
  int64_t axis = command.attributes.i();
  if (axis < 0) axis += y.rank;
  if (axis == y.rank - 1) {
    // Row by row, so that each row of the output is written at once.
    forEachPiece(context, y.rows(), most(1, least(y.cols(), kChunk - 1)), [&](int64_t row, int64_t, int64_t) {
      Word* to = y.as<Word>() + row * y.pitch;
      for (int k = 0; k < command.inputCount; k++) {
        const Operand& x = command.inputs[k];
        copyWords(to, x.as<const Word>() + row * x.pitch, x.cols());
        to += x.cols();
      }
    });
    return;
  }
  int64_t to[kMaxRank] = {};
  y.strides(to);
  Word* at = y.as<Word>();
  for (int k = 0; k < command.inputCount; k++) {
    const Operand& x = command.inputs[k];
    int64_t from[kMaxRank] = {};
    x.strides(from);
    if (x.size() > 0) move(context, x.rank, x.shape, at, to, x.as<const Word>(), from);
    at += x.shape[axis] * to[axis];
  }
}

LANGEVIN_KERNEL("copy", "", copy)
LANGEVIN_KERNEL("permute", "axes:ints", permute)
LANGEVIN_KERNEL("slice", "starts:ints,stops:ints,steps:ints", slice)
LANGEVIN_KERNEL("row", "index:int", row)
LANGEVIN_KERNEL("rowGradient", "rows:int,index:int", rowGradient)
LANGEVIN_KERNEL("place", "shape:ints,starts:ints,steps:ints,value:float", place)
LANGEVIN_KERNEL("flip", "axes:ints", flip)
LANGEVIN_KERNEL("triangle", "part:lower|upper,diagonal:int", triangle)
LANGEVIN_KERNEL("concat", "axis:int", concat)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
