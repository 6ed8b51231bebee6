// Decodes command lists; the layout of the words is described in ts/device/native/encode.ts.
#include "decode.h"

#include <cmath>
#include <cstdio>

namespace langevin {

namespace {

constexpr size_t kHeader = 4;  // op code, length, has output, number of inputs

}  // namespace

std::string show(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", x);
  return text;
}

double WordReader::word() {
  if (at_ == end_) throw MalformedCommand(op_, "the words end too early");
  return *at_++;
}

int64_t WordReader::integer(double limit, const char* what) {
  const double x = word();
  if (!(x >= 0 && x <= limit && x == std::floor(x))) throw MalformedCommand(op_, "bad " + std::string(what) + " " + show(x));
  return static_cast<int64_t>(x);
}

void WordReader::signedInteger() {
  const double x = word();
  if (!(std::fabs(x) <= kExact && x == std::floor(x))) throw MalformedCommand(op_, "bad integer " + show(x));
}

PartRule WordReader::partRule(int inputs) {
  PartRule rule;
  rule.role = static_cast<PartRule::Role>(integer(3, "role"));
  if (rule.role == PartRule::Role::alone || rule.role == PartRule::Role::epilogue) return rule;
  if (inputs > kMostPartInputs) throw MalformedCommand(op_, "too many operands for an op that runs part by part");
  rule.wholeImages = integer(1, "bool") != 0;
  for (int i = 0; i < inputs; i++) rule.alignments[i] = static_cast<PartRule::Alignment>(integer(2, "alignment"));
  return rule;
}

Operand WordReader::operand(const char* role, int index) {
  const double id = word();
  if (id == 0) return {};
  const BufferView buffer = buffers_.find(id);
  if (buffer.data == nullptr) fail(role, index, "unknown buffer " + show(id));
  Operand operand;
  operand.dtype = static_cast<DType>(integer(3, "dtype"));
  const int64_t offset = integer(kExact, "offset");
  operand.pitch = integer(kExact, "pitch");
  operand.rank = static_cast<int>(integer(kMaxRank, "rank"));
  for (int i = 0; i < operand.rank; i++) operand.shape[i] = integer(kExact, "size");
  checkExtent(operand, offset, buffer, role, index);
  operand.data = static_cast<char*>(buffer.data) + static_cast<size_t>(offset) * bytesOf(operand.dtype);
  return operand;
}

void WordReader::attributes(const std::vector<Attribute>& kinds) {
  for (const Attribute& attribute : kinds) {
    switch (attribute.kind) {
      case Attribute::Kind::real: word(); break;
      case Attribute::Kind::integer: signedInteger(); break;
      case Attribute::Kind::boolean: integer(1, "bool"); break;
      case Attribute::Kind::choice: integer(attribute.choices - 1, "enumeration"); break;
      case Attribute::Kind::seed:
        integer(4294967295.0, "seed");
        integer(4294967295.0, "seed");
        break;
      case Attribute::Kind::integers:
        for (int64_t n = integer(kMaxRank, "length of a list"); n > 0; n--) signedInteger();
        break;
    }
  }
  if (!atEnd()) throw MalformedCommand(op_, show(static_cast<double>(end_ - at_)) + " words too many");
}

void WordReader::checkExtent(const Operand& operand, int64_t offset, BufferView buffer, const char* role, int index) const {
  // In double, so that a product of huge sizes cannot wrap around; what passes is far below 2^53.
  double rows = 1;
  for (int i = 0; i + 1 < operand.rank; i++) rows *= static_cast<double>(operand.shape[i]);
  const double cols = static_cast<double>(operand.cols()), pitch = static_cast<double>(operand.pitch);
  if (rows > 1 && pitch < cols) fail(role, index, "pitch " + show(pitch) + " below the row's " + show(cols));
  const double elements = rows == 0 || cols == 0 ? 0 : (rows - 1) * pitch + cols;
  const double end = (static_cast<double>(offset) + elements) * static_cast<double>(bytesOf(operand.dtype));
  if (end > static_cast<double>(buffer.bytes))
    fail(role, index, "reaches byte " + show(end) + " of a buffer of " + show(static_cast<double>(buffer.bytes)));
}

void WordReader::fail(const char* role, int index, const std::string& problem) const {
  throw MalformedCommand(op_, role + (index < 0 ? "" : " " + std::to_string(index)) + ": " + problem);
}

namespace {

// Kernels of the CPU take every operand for one of a tensor's types.
void expectTensors(const Command& command, const RegisteredKernel& kernel) {
  if (kernel.launch != nullptr) return;
  bool stored = command.output.dtype == DType::bf16;
  for (int i = 0; i < command.inputCount; i++) stored = stored || command.inputs[i].dtype == DType::bf16;
  if (stored) throw MalformedCommand(kernel.name, "an operand is stored in bfloat16, which only kernels on CUDA take");
}

// A word of the header as an index below `limit`.
size_t headerWord(const char* call, double x, size_t limit, const char* what) {
  if (!(x >= 0 && x < static_cast<double>(limit) && x == std::floor(x)))
    throw MalformedCommand(call, std::string(what) + " " + show(x) + " is out of range");
  return static_cast<size_t>(x);
}

// Reserves the batch's memory exactly: commands point into it, so it must not move.
void measure(const char* call, Batch& batch, size_t kernels) {
  size_t commands = 0, inputs = 0;
  const size_t count = batch.words.size();
  for (size_t at = 0; at < count;) {
    if (count - at < kHeader) throw MalformedCommand(call, "the list ends within a header");
    headerWord(call, batch.words[at], kernels, "op code");
    const size_t length = headerWord(call, batch.words[at + 1], count - at + 1, "length");
    if (length < kHeader) throw MalformedCommand(call, "a length is below the header's");
    headerWord(call, batch.words[at + 2], 2, "output flag");
    inputs += headerWord(call, batch.words[at + 3], length - kHeader + 1, "number of inputs");
    commands++;
    at += length;
  }
  batch.steps.reserve(commands);
  batch.inputs.reserve(inputs);
}

}  // namespace

size_t groupLength(const Batch::Step* step, const Batch::Step* end) {
  size_t length = 1;
  while (step + length < end && step[length].part.role == PartRule::Role::joined) length++;
  return length;
}

std::unique_ptr<Batch> decode(const char* call, const double* words, size_t count, const Kernels& kernels,
                              const BufferLookup& buffers) {
  auto batch = std::make_unique<Batch>();
  batch->words.assign(words, words + count);
  measure(call, *batch, kernels.size());
  const double* const list = batch->words.data();
  for (size_t at = 0; at < count;) {
    const RegisteredKernel& kernel = kernels[static_cast<size_t>(list[at])];
    const double* const end = list + at + static_cast<size_t>(list[at + 1]);
    const bool hasOutput = list[at + 2] != 0;
    const int inputCount = static_cast<int>(list[at + 3]);
    WordReader reader(kernel.name.c_str(), list + at + kHeader, end, buffers);
    batch->steps.push_back({&kernel, {}, 0, reader.partRule(inputCount)});
    if (batch->steps.back().part.role == PartRule::Role::joined &&
        (batch->steps.size() == 1 || batch->steps.end()[-2].part.role == PartRule::Role::alone))
      throw MalformedCommand(kernel.name, "joined to a command that takes no others");
    Command& command = batch->steps.back().command;
    if (hasOutput) {
      command.output = reader.operand("output", -1);
      if (!command.output.present()) throw MalformedCommand(kernel.name, "output: absent");
    }
    command.inputs = batch->inputs.data() + batch->inputs.size();
    command.inputCount = inputCount;
    for (int i = 0; i < inputCount; i++) batch->inputs.push_back(reader.operand("input", i));
    expectTensors(command, kernel);
    command.attributes = AttributeReader(reader.position());
    batch->steps.back().attributes = static_cast<size_t>(reader.position() - list);
    reader.attributes(kernel.attributes);
    at = static_cast<size_t>(end - list);
  }
  return batch;
}

}  // namespace langevin
