// copy, permute, slice, sliceGradient and concat: moving elements between strided places.
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

void sliceGradient(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const Operand &dy = command.inputs[0], &dx = command.output;
  command.attributes.ints();  // shape: known from the output
  const Ints starts = command.attributes.ints(), steps = command.attributes.ints();
  const int last = dx.rank - 1;
  const int64_t cols = dx.cols(), taken = dy.cols();
  const int64_t start = last < 0 ? 0 : starts[last], step = last < 0 ? 1 : steps[last];
  int64_t from[kMaxRank] = {};
  dy.strides(from);
  // Every row is written once, whether the slice passes through it or not.
  forEachPiece(context, dx.rows(), cols, [&](int64_t row, int64_t begin, int64_t n) {
    Word* const to = dx.as<Word>() + row * dx.pitch;
    const Word* at = dy.as<const Word>();
    bool through = taken > 0;
    int64_t rest = row;
    for (int i = last - 1; i >= 0; i--) {
      const int64_t place = rest % dx.shape[i] - starts[i];
      rest /= dx.shape[i];
      through = through && place >= 0 && place % steps[i] == 0 && place / steps[i] < dy.shape[i];
      if (through) at += place / steps[i] * from[i];
    }
    const int64_t end = begin + n;
    if (!through) {
      for (int64_t c = begin; c < end; c++) to[c] = 0;
    } else if (step == 1) {
      const int64_t first = most(begin, least(end, start)), stop = most(first, least(end, start + taken));
      for (int64_t c = begin; c < first; c++) to[c] = 0;
      copyWords(to + first, at + (first - start), stop - first);
      for (int64_t c = stop; c < end; c++) to[c] = 0;
    } else {
      for (int64_t c = begin; c < end; c++) to[c] = 0;
      const int64_t k0 = begin <= start ? 0 : ceilDivide(begin - start, step);
      for (int64_t k = k0; k < taken && start + k * step < end; k++) to[start + k * step] = at[k];
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
LANGEVIN_KERNEL("sliceGradient", "shape:ints,starts:ints,steps:ints", sliceGradient)
LANGEVIN_KERNEL("concat", "axis:int", concat)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
