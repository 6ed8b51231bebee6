// Decodes programs; the layout of the words is described in ts/device/native/encode.ts.
#include "program.h"

#include <cmath>
#include <set>

namespace langevin {

namespace {

constexpr const char* kCall = "load";

// Looks buffers up and keeps their numbers.
class Noting final : public BufferLookup {
 public:
  explicit Noting(const BufferLookup& buffers) : buffers_(buffers) {}
  BufferView find(double id) const override {
    const BufferView view = buffers_.find(id);
    if (view.data != nullptr) ids_.insert(id);
    return view;
  }
  const std::set<double>& ids() const { return ids_; }

 private:
  const BufferLookup& buffers_;
  mutable std::set<double> ids_;
};

[[noreturn]] void refuse(const std::string& problem) { throw MalformedCommand(kCall, problem); }

size_t below(WordReader& layout, size_t limit, const char* what) {
  if (limit == 0) refuse("bad " + std::string(what) + ": there is none");
  return static_cast<size_t>(layout.integer(static_cast<double>(limit - 1), what));
}

// The word of a command's attribute, by its number in the signature.
double* attributeWord(Batch& batch, const Batch::Step& step, size_t index) {
  size_t at = step.attributes;
  for (size_t i = 0; i < index; i++) {
    const Attribute::Kind kind = step.kernel->attributes[i].kind;
    if (kind == Attribute::Kind::integers) at += static_cast<size_t>(batch.words[at]);
    else if (kind == Attribute::Kind::seed) at++;
    at++;
  }
  return &batch.words[at];
}

void readLists(Program& program, WordReader& layout) {
  const size_t commands = program.batch->steps.size();
  size_t begin = 0;
  for (int64_t n = layout.integer(kExact, "number of lists"); n > 0; n--) {
    const size_t count = static_cast<size_t>(layout.integer(static_cast<double>(commands - begin), "number of commands"));
    program.lists.push_back({begin, begin + count, {}});
    begin += count;
  }
  if (begin != commands) refuse("some commands are in no list");
}

void readPlace(Program& program, WordReader& layout, Program::Slot& slot) {
  const Program::List& list = program.lists[below(layout, program.lists.size(), "list of a place")];
  const Batch::Step& step = program.batch->steps[list.begin + below(layout, list.end - list.begin, "command of a place")];
  const std::vector<Attribute>& attributes = step.kernel->attributes;
  const size_t index = below(layout, attributes.size(), "attribute of a place");
  const Attribute::Kind kind = attributes[index].kind;
  if (kind != Attribute::Kind::integer && kind != Attribute::Kind::real)
    throw MalformedCommand(step.kernel->name, "attribute " + std::to_string(index) + " is no number that a slot can change");
  slot.integer = slot.integer || kind == Attribute::Kind::integer;
  slot.places.push_back(attributeWord(*program.batch, step, index));
}

void readSlots(Program& program, WordReader& layout) {
  for (int64_t n = layout.integer(kExact, "number of slots"); n > 0; n--) {
    Program::List& list = program.lists[below(layout, program.lists.size(), "list of a slot")];
    list.slots.emplace_back();
    for (int64_t k = layout.integer(kExact, "number of places"); k > 0; k--) readPlace(program, layout, list.slots.back());
  }
}

void readReports(Program& program, WordReader& layout) {
  for (int64_t n = layout.integer(kExact, "number of reports"); n > 0; n--) {
    const int index = static_cast<int>(program.reports.size());
    program.reports.push_back(layout.operand("report", index));
    const Operand& report = program.reports.back();
    if (!report.present() || report.size() != 1 || report.dtype == DType::bf16) refuse("report " + std::to_string(index) + " is no scalar");
  }
}

void readTemporaries(Program& program, WordReader& layout, const BufferLookup& buffers) {
  const size_t commands = program.batch->steps.size();
  for (int64_t n = layout.integer(kExact, "number of temporaries"); n > 0; n--) {
    const BufferView buffer = buffers.find(layout.word());
    if (buffer.data == nullptr) refuse("a temporary lies in no buffer");
    const int64_t offset = layout.integer(static_cast<double>(buffer.bytes), "offset of a temporary");
    const int64_t bytes = layout.integer(static_cast<double>(buffer.bytes) - static_cast<double>(offset), "size of a temporary");
    const int64_t start = static_cast<int64_t>(below(layout, commands, "start of a temporary"));
    const int64_t end = static_cast<int64_t>(below(layout, commands, "end of a temporary"));
    program.temporaries.push_back({static_cast<const char*>(buffer.data) + offset, bytes, start, end});
  }
}

// Reads the instructions, which are the rest of the layout.
class StepReader {
 public:
  StepReader(Program& program, WordReader& layout) : program_(program), layout_(layout) {}

  void read() {
    while (!layout_.atEnd()) {
      switch (layout_.integer(2, "instruction")) {
        case 0: list(); break;
        case 1: enter(); break;
        default: leave();
      }
    }
    if (!open_.empty()) refuse("a loop is not closed");
    program_.valuesPerStep = inner_.values;
  }

 private:
  // What happens in one round of a loop, or in the step.
  struct Round {
    size_t enter = 0;
    bool runs = false;
    double values = 0;
  };

  void list() {
    const size_t list = below(layout_, program_.lists.size(), "list of a step");
    program_.instructions.push_back({Program::Instruction::Kind::list, list});
    inner_.runs = true;
    inner_.values += static_cast<double>(program_.lists[list].slots.size());
  }

  void enter() {
    const int64_t times = layout_.integer(kExact, "number of rounds");
    open_.push_back(inner_);
    inner_ = {program_.instructions.size(), false, 0};
    program_.instructions.push_back({Program::Instruction::Kind::enter, 0, open_.size() - 1, times});
    if (program_.depth < open_.size()) program_.depth = open_.size();
  }

  void leave() {
    if (open_.empty()) refuse("a loop is closed that is not open");
    const Round round = inner_;
    inner_ = open_.back();
    open_.pop_back();
    std::vector<Program::Instruction>& instructions = program_.instructions;
    Program::Instruction& enter = instructions[round.enter];
    if (!round.runs || enter.times == 0) {
      instructions.resize(round.enter);
      return;
    }
    enter.target = instructions.size();
    enter.values = round.values;
    inner_.runs = true;
    inner_.values += round.values * static_cast<double>(enter.times);
    instructions.push_back({Program::Instruction::Kind::leave, round.enter + 1, open_.size()});
  }

  Program& program_;
  WordReader& layout_;
  Round inner_;
  std::vector<Round> open_;  // around the inner one
};

}  // namespace

const Program::List* StepWalk::next() {
  const std::vector<Program::Instruction>& instructions = program_.instructions;
  while (at_ < instructions.size()) {
    const Program::Instruction& instruction = instructions[at_];
    switch (instruction.kind) {
      case Program::Instruction::Kind::list:
        at_++;
        number_ = instruction.target;
        return &program_.lists[number_];
      case Program::Instruction::Kind::enter:
        if (onlyValues_ && instruction.values == 0) at_ = instruction.target;
        else rounds_[instruction.depth] = instruction.times;
        at_++;
        break;
      case Program::Instruction::Kind::leave:
        at_ = --rounds_[instruction.depth] > 0 ? instruction.target : at_ + 1;
        break;
    }
  }
  at_ = 0;
  return nullptr;
}

void expectNumbers(const char* call, const char* array, size_t count, double perStep, int64_t steps) {
  const double expected = perStep * static_cast<double>(steps);
  if (static_cast<double>(count) != expected)
    throw MalformedCommand(call, std::string(array) + " holds " + std::to_string(count) + " numbers, expected " +
                                     show(expected) + ": " + show(perStep) + " for each of " + std::to_string(steps) +
                                     " steps");
}

void Program::checkValues(const char* call, const double* values, size_t count, int64_t steps) const {
  expectNumbers(call, "values", count, valuesPerStep, steps);
  StepWalk walk(*this, true);
  const double* const end = values + count;
  for (const double* at = values; at != end;) {
    const List* const list = walk.next();
    if (list == nullptr) continue;
    for (const Slot& slot : list->slots) {
      const double value = *at++;
      if (slot.integer && !(std::fabs(value) <= kExact && value == std::floor(value)))
        throw MalformedCommand(call, "value " + std::to_string(at - values - 1) + " is " + show(value) +
                                         ", but an attribute that it changes is a whole number");
    }
  }
}

std::unique_ptr<Program> decodeProgram(const double* words, size_t count, const double* layout, size_t layoutCount,
                                       const Kernels& kernels, const BufferLookup& buffers) {
  const Noting noting(buffers);
  auto program = std::make_unique<Program>();
  program->batch = decode(kCall, words, count, kernels, noting);
  WordReader reader(kCall, layout, layout + layoutCount, noting);
  program->checkFinite = reader.integer(1, "bool") != 0;
  program->precision = static_cast<Precision>(reader.integer(kPrecisions - 1, "precision"));
  readLists(*program, reader);
  readSlots(*program, reader);
  readReports(*program, reader);
  readTemporaries(*program, reader, noting);
  StepReader(*program, reader).read();
  program->buffers.assign(noting.ids().begin(), noting.ids().end());
  return program;
}

}  // namespace langevin
