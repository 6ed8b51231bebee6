// Which commands of a list may be done in one pass, seen from what they read and write.
#pragma once

#include <algorithm>

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

// Whether command `last` may be done in one pass with all from command `first` on, of which that is already known: all work element by
// element, and a thread does one after the other on elements of its own. So they must give results of one shape, and wherever
// one of them writes, all others may touch but the very same elements.
inline bool mayShareElements(const Batch& batch, size_t first, size_t last) {
  const auto apartOrSame = [](const Operand& a, const Operand& b) { return !overlap(a, b) || coincide(a, b); };
  const Command& command = batch.steps[last].command;
  if (!haveSameShape(command.output, batch.steps[first].command.output)) return false;
  for (size_t at = first; at < last; at++) {
    const Command& before = batch.steps[at].command;
    if (!apartOrSame(before.output, command.output)) return false;
    for (int i = 0; i < before.inputCount; i++)
      if (before.inputs[i].present() && !apartOrSame(before.inputs[i], command.output)) return false;
    for (int i = 0; i < command.inputCount; i++)
      if (command.inputs[i].present() && !apartOrSame(command.inputs[i], before.output)) return false;
  }
  return true;
}

// Whether command `last` could run at the same time as all from command `first` on: none touches what another one writes.
inline bool mayRunBeside(const Batch& batch, size_t first, size_t last) {
  const auto reads = [](const Command& command, const Operand& written) {
    return std::any_of(command.inputs, command.inputs + command.inputCount,
                       [&](const Operand& input) { return input.present() && overlap(input, written); });
  };
  const Command& command = batch.steps[last].command;
  for (size_t at = first; at < last; at++) {
    const Command& before = batch.steps[at].command;
    if (overlap(before.output, command.output) || reads(before, command.output) || reads(command, before.output)) return false;
  }
  return true;
}

}  // namespace langevin
