// Commands that run part by part, one after the other on each part of what they write, so that it stays in the caches.
//
// A program says which commands do (ts/device/native/encode.ts): some that follow on a kernel which calls Context::finish,
// or a row of them for itself. No result depends on how the parts are cut.
#pragma once

#include "../core/decode.h"

namespace langevin {

class Parts {
 public:
  // Of `count` >= 1 steps, whose results are of one shape.
  Parts(const Batch::Step* steps, size_t count);

  // Whether parts may be cut into multiples of `unit` rows, of all columns or not.
  bool fit(int64_t unit, bool wholeRows) const { return !wholeImages_ || (wholeRows && unit % rowsPerImage_ == 0); }

  // Runs the steps on so many rows (of all axes but the last, in row-major order) and columns of their results.
  void run(int64_t firstRow, int64_t rows, int64_t firstColumn, int64_t columns, Context& context) const;

  // Runs them on everything, with parts shared out between threads.
  void runAll(Context& context) const;

 private:
  // A part in terms of axes: one index of each axis before `axis`, a range of that one, all of those that follow; and columns.
  struct Block {
    int axis = 0;
    int64_t index[kMaxRank] = {};
    int64_t count = 1;
    int64_t firstColumn = 0, columns = 1;
  };

  Operand cut(const Operand& operand, PartRule::Alignment alignment, const Block& block) const;
  void runBlock(const Block& block, Context& context) const;

  const Batch::Step* const steps_;
  const size_t count_;
  Operand whole_;              // whose shape is that of all results
  int64_t inner_[kMaxRank];    // rows of one index of each axis but the last
  int64_t rowsPerImage_ = 1;   // of axis 0
  bool wholeImages_ = false;
};

}  // namespace langevin
