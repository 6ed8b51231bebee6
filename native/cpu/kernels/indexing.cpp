// gather: elements picked along an axis by index; scatterAdd: elements added up by index, in the order of the axis.
#include "lines.h"
#include "move.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// Whether values are of one dtype that takes a word, and the index of int32.
bool expectIndexed(const Operand& x, const Operand& y, const Operand& index, Context& context) {
  const bool good = isWord(x.dtype) && x.dtype == y.dtype && index.dtype == DType::i32;
  if (!good) context.fail("expected values of one dtype, float32 or int32, and an int32 index");
  return good;
}

void gather(Command& command, Context& context) {
  const Operand &x = command.inputs[0], &index = command.inputs[1], &y = command.output;
  if (!expectIndexed(x, y, index, context)) return;
  const int64_t given = command.attributes.i();
  const int axis = static_cast<int>(given < 0 ? given + x.rank : given);
  const Operand* const operands[3] = {&y, &x, &index};
  const Lines<3> lines(index.rank, index.shape, axis, operands);
  const int64_t size = x.shape[axis];
  const Word outside = x.dtype == DType::i32 ? 0x80000000u : 0x7FC00000u;  // the smallest integer, or NaN
  const int64_t toStep = lines.step[0], fromStep = lines.step[1], indexStep = lines.step[2];
  forEachLine(context, lines, [&, toStep, fromStep, indexStep](const int64_t* offset, int64_t width) {
    Word* to = y.as<Word>() + offset[0];
    const Word* const from = x.as<const Word>() + offset[1];
    const int32_t* picked = index.as<const int32_t>() + offset[2];
    if (width == 1) {
      for (int64_t i = 0; i < lines.length; i++) {
        const int64_t at = picked[i * indexStep];
        to[i * toStep] = at >= 0 && at < size ? from[at * fromStep] : outside;
      }
      return;
    }
    for (int64_t i = 0; i < lines.length; i++, to += toStep, picked += indexStep)
      for (int64_t c = 0; c < width; c++)
        to[c] = picked[c] >= 0 && picked[c] < size ? from[picked[c] * fromStep + c] : outside;
  });
}

template <class T>
void addByIndex(const Lines<3>& lines, const Operand& y, const Operand& index, const Operand& x, int64_t size,
                Context& context) {
  const int64_t toStep = lines.step[0], indexStep = lines.step[1], fromStep = lines.step[2];
  forEachLine(context, lines, [&, toStep, indexStep, fromStep](const int64_t* offset, int64_t width) {
    T* const to = y.as<T>() + offset[0];
    const int32_t* picked = index.as<const int32_t>() + offset[1];
    const T* from = x.as<const T>() + offset[2];
    if (width == 1) {
      for (int64_t i = 0; i < lines.length; i++) {
        const int64_t at = picked[i * indexStep];
        if (at >= 0 && at < size) to[at * toStep] += from[i * fromStep];
      }
      return;
    }
    for (int64_t i = 0; i < lines.length; i++, picked += indexStep, from += fromStep)
      for (int64_t c = 0; c < width; c++)
        if (picked[c] >= 0 && picked[c] < size) to[picked[c] * toStep + c] += from[c];
  });
}

void scatterAdd(Command& command, Context& context) {
  const Operand &index = command.inputs[0], &x = command.inputs[1], &y = command.output;
  if (!expectIndexed(x, y, index, context)) return;
  const int64_t given = command.attributes.i();
  const int axis = static_cast<int>(given < 0 ? given + y.rank : given);
  clear(context, y);
  // Lines of the index write to lines of y that no other one writes to.
  const Operand* const operands[3] = {&y, &index, &x};
  const Lines<3> lines(index.rank, index.shape, axis, operands);
  if (x.dtype == DType::f32) addByIndex<float>(lines, y, index, x, y.shape[axis], context);
  else addByIndex<uint32_t>(lines, y, index, x, y.shape[axis], context);
}

LANGEVIN_KERNEL("gather", "axis:int", gather)
LANGEVIN_KERNEL("scatterAdd", "axis:int,shape:ints", scatterAdd)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
