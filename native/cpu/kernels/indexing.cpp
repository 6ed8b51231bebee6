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
  forEachLine(context, lines, [&](const int64_t* offset, int64_t width) {
    const Word* const from = x.as<const Word>() + offset[1];
    for (int64_t i = 0; i < lines.length; i++) {
      Word* const to = y.as<Word>() + offset[0] + i * lines.step[0];
      const int32_t* const picked = index.as<const int32_t>() + offset[2] + i * lines.step[2];
      for (int64_t c = 0; c < width; c++)
        to[c] = picked[c] >= 0 && picked[c] < size ? from[picked[c] * lines.step[1] + c] : outside;
    }
  });
}

template <class T>
void addByIndex(const Lines<3>& lines, const Operand& y, const Operand& index, const Operand& x, int64_t size,
                Context& context) {
  forEachLine(context, lines, [&](const int64_t* offset, int64_t width) {
    T* const to = y.as<T>() + offset[0];
    for (int64_t i = 0; i < lines.length; i++) {
      const int32_t* const picked = index.as<const int32_t>() + offset[1] + i * lines.step[1];
      const T* const from = x.as<const T>() + offset[2] + i * lines.step[2];
      for (int64_t c = 0; c < width; c++)
        if (picked[c] >= 0 && picked[c] < size) to[picked[c] * lines.step[0] + c] += from[c];
    }
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
