// Checks roundToBf16 on CUDA: rows that may be read or written four elements at a time, and others.
#include "rounded.h"

#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

void checkRows(int64_t rows, int64_t columns, int64_t gap, Random& random) {
  Case c;
  c.label = "roundToBf16 [" + std::to_string(rows) + "," + std::to_string(columns) + "] with a gap of " + std::to_string(gap);
  c.outputShape = {rows, columns};
  c.inputs = {Tensor::random(c.outputShape, random)};
  c.dtypes = {DType::f32};
  c.pitched = {true};
  c.expected.assign(static_cast<size_t>(rows * columns), 0);  // of the float32 output, which only tells what is to be rounded
  check(c, [&](Command& command, Launch& launch) {
    Rounded rounded(command.inputs[0], gap);
    Command round = command;
    round.output.data = rounded.target().data;
    round.output.pitch = rounded.target().pitch;
    round.output.dtype = DType::bf16;
    run("roundToBf16", round, launch);
    expect(rounded.isOf(command.inputs[0]), c.label, "rounds otherwise, or writes beside rows");
    for (int64_t row = 0; row < rows; row++)
      std::fill_n(command.output.as<float>() + row * command.output.pitch, columns, 0.0f);
  });
}

void checkRounding(Random& random, Effort effort) {
  checkRows(7, 12, 0, random);
  checkRows(7, 12, 1, random);
  checkRows(5, 3, 0, random);
  checkRows(1, 1, 0, random);
  for (int round = 0; round < effort.rounds; round++)
    checkRows(random.between(1, 60), random.between(1, 70), random.between(0, 5), random);
}

CUDA_CHECKS("rounding", checkRounding);

}  // namespace
}  // namespace cuda
}  // namespace langevin
