// When a command's result may be written before those in front of it have read all they need.
#pragma once

#include "decode.h"
#include "extent.h"

namespace langevin {

// Whether the output of command `last` may be written while all from command `first` on still read: it covers nothing that the
// first one reads, and of the others, which work element by element, nothing but the very same elements.
inline bool mayWriteEarly(const Batch& batch, size_t first, size_t last) {
  const Operand& output = batch.steps[last].command.output;
  for (size_t at = first; at <= last; at++) {
    const Command& command = batch.steps[at].command;
    for (int i = 0; i < command.inputCount; i++) {
      const Operand& input = command.inputs[i];
      if (input.present() && overlap(input, output) && (at == first || !coincide(input, output))) return false;
    }
  }
  return true;
}

}  // namespace langevin
