// fill: writes one value to every element of the output.
#include "../../core/registry.h"

namespace langevin {
namespace LANGEVIN_ISA {

template <class T>
static void fillRows(const Operand& y, T value, Context& context) {
  T* const data = y.as<T>();
  const int64_t rows = y.rows(), cols = y.cols(), pitch = y.pitch;
  if (y.dense()) {
    constexpr int64_t chunk = 16384;  // elements an item: large against the cost of handing it out
    const int64_t size = rows * cols;
    context.parallelFor((size + chunk - 1) / chunk, [=](int64_t item) {
      const int64_t end = (item + 1) * chunk < size ? (item + 1) * chunk : size;
      for (int64_t i = item * chunk; i < end; i++) data[i] = value;
    });
    return;
  }
  context.parallelFor(rows, [=](int64_t row) {
    for (int64_t i = 0; i < cols; i++) data[row * pitch + i] = value;
  });
}

static void fill(Command& command, Context& context) {
  command.attributes.ints();  // shape: known from the output
  command.attributes.i();     // dtype: likewise
  const double value = command.attributes.f();
  if (command.output.dtype == DType::i32) fillRows(command.output, static_cast<int32_t>(value), context);
  else fillRows(command.output, static_cast<float>(value), context);
}

LANGEVIN_KERNEL("fill", "shape:ints,dtype:float32|int32|float64,value:float", fill)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
