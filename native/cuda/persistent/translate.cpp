// The rule that decides which commands the persistent sampler runs, and their translation into its instructions.
#include <algorithm>
#include <map>
#include <utility>

#include "../../core/extent.h"
#include "draft.h"

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

class Translator {
 public:
  explicit Translator(Draft& draft) : draft_(draft) {
    for (const Program::Temporary& memory : draft.program.temporaries) draft.rooms.push_back({memory});
  }

  void run() {
    expectOneList();
    const std::vector<Batch::Step>& steps = draft_.program.batch->steps;
    draft_.sampler->images = imagesOf(steps.back().command);
    noteSlots();
    for (at_ = 0; at_ < steps.size(); at_++) translate(steps[at_]);
    for (Room& room : draft_.rooms) room.memory.end = room.lastUse;
    expectSafeMemory();
  }

 private:
  using Handler = void (Translator::*)(const Command&, Instruction&);
  struct Rule {
    Operation operation;
    Handler handler;
  };

  void expectOneList() const {
    if (draft_.program.checkFinite) refuse("every result is searched for numbers that are not finite");
    if (draft_.program.instructions.size() != 1 || draft_.program.lists.size() != 1) refuse("a step has loops or looks of the host in it");
    if (!draft_.program.reports.empty()) refuse("numbers are reported after each step");
    if (draft_.program.batch->steps.empty()) refuse("there are no commands");
  }

  static int imagesOf(const Command& last) {
    const Operand& result = last.output.present() ? last.output : last.inputs[0];
    if (result.rank != 4) refuse("the last command's result is no batch of images");
    return count(result.shape[0]);
  }

  void noteSlots() {
    const Program::List& list = draft_.program.lists[draft_.program.instructions[0].target];
    draft_.sampler->slots = static_cast<int>(list.slots.size());
    for (size_t slot = 0; slot < list.slots.size(); slot++)
      for (const double* place : list.slots[slot].places) slots_[place] = static_cast<int32_t>(slot);
  }

  StepNumber number(AttributeReader& attributes) {
    const auto slot = slots_.find(attributes.position());
    const double value = attributes.f();
    if (slot == slots_.end()) return {value, -1};
    taken_++;
    return {value, slot->second};
  }

  void translate(const Batch::Step& step) {
    const std::string& name = step.kernel->name;
    if (name == "roundToBf16") return noteRounding(step.command);
    const auto rule = rules().find(name);
    if (rule == rules().end()) refuse("it has no instruction for " + name);
    const Command& command = step.command;
    if (command.inputCount > kMostInputs) refuse(name + " has too many operands");
    Instruction in{};
    in.operation = rule->second.operation;
    draft_.homes.push_back(noHomes());
    try {
      (this->*rule->second.handler)(command, in);
    } catch (const Refusal& refusal) {
      refuse(name + ": " + refusal.what());
    }
    draft_.sampler->instructions.push_back(in);
  }

  // --- Operands ---

  // Whether a share of the operand belongs to each image.
  bool isBatched(const Operand& x) const { return x.rank > 0 && x.shape[0] == draft_.sampler->images; }

  int roomOf(const Operand& x) const { return roomOf(x, at_); }

  // That in which the operand of a command at `at` lies.
  int roomOf(const Operand& x, size_t at) const {
    for (size_t i = 0; i < draft_.rooms.size(); i++) {
      const Program::Temporary& m = draft_.rooms[i].memory;
      const int64_t position = static_cast<int64_t>(at);
      if (position < m.start || position > m.end) continue;
      if (addressOf(x) >= m.data && addressOf(x) < m.data + m.bytes) return static_cast<int>(i);
    }
    return -1;
  }

  static void expectWord(const Operand& x) {
    if (x.dtype != DType::f32 && x.dtype != DType::i32) refuse("neither float32 nor int32");
  }

  // The operand as one image sees it, or as all see the same. The axes within are the last ones, along which `size` is given;
  // where the operand has one element, it is broadcast.
  View view(const Operand& x, bool batched, const int32_t (&size)[kAxes], int& home, bool written) {
    expectWord(x);
    View v;
    int64_t strides[kMaxRank] = {};
    x.strides(strides);
    const int inner = x.rank - (batched ? 1 : 0);
    if (inner > kAxes) refuse("more than three axes within an image");
    for (int axis = 0; axis < kAxes; axis++) {
      const int from = x.rank - kAxes + axis;
      if (from < x.rank - inner) continue;
      if (x.shape[from] != 1 && x.shape[from] != size[axis]) refuse("operands of different shapes");
      v.stride[axis] = x.shape[from] == 1 ? 0 : count(strides[from]);
    }
    home = roomOf(x);
    place(x, batched, batched ? strides[0] : 0, v, home, written);
    return v;
  }

  // Where a view lies, in this room or, if that is negative, in device memory.
  void place(const Operand& x, bool batched, int64_t imageStride, View& v, int home, bool written) {
    if (written) outdate(x, home);
    if (home < 0) {
      v.device = x.data;
      v.image = count(imageStride);
      (written ? draft_.written : draft_.read).push_back({x, batched});
      if (written && !batched && draft_.sampler->images > 1) refuse("it writes what all images share");
      return;
    }
    Room& room = draft_.rooms[static_cast<size_t>(home)];
    room.lastUse = static_cast<int64_t>(at_);
    const size_t images = batched ? static_cast<size_t>(draft_.sampler->images) : 1;
    const size_t bytes = static_cast<size_t>(room.memory.bytes) / images;
    if (!room.known) {
      if (!written) refuse("it reads what nothing has written");
      room.known = true;
      room.batched = batched;
      room.bytes = bytes;
    }
    const size_t offset = static_cast<size_t>(addressOf(x) - room.memory.data);
    if (draft_.sampler->images > 1 && room.batched != batched) refuse("an operand is of all images here and of one there");
    if (static_cast<size_t>(room.memory.bytes) % images != 0 || offset >= bytes) refuse("an operand begins within an image");
    v.shared = static_cast<int32_t>(offset);  // from the room's place on, which is not known yet
  }

  View resultView(const Operand& y, Instruction& in) {
    const bool batched = isBatched(y);
    const int inner = y.rank - (batched ? 1 : 0);
    if (inner > kAxes) refuse("more than three axes within an image");
    for (int axis = 0; axis < kAxes; axis++) {
      const int from = y.rank - kAxes + axis;
      in.size[axis] = from < y.rank - inner ? 1 : count(y.shape[from]);
    }
    in.result = view(y, batched, in.size, draft_.homes.back().result, true);
    return in.result;
  }

  // An input that is broadcast to the result.
  void addBroadcast(const Operand& x, const Operand& y, Instruction& in) {
    // Of the same rank as the result, with one element along the batch: all images see it.
    const bool batched = isBatched(y) && x.rank == y.rank && x.shape[0] == y.shape[0];
    Operand within = x;
    if (isBatched(y) && !batched && x.rank == y.rank) dropFirst(within);
    addView(within, batched, in);
  }

  static void dropFirst(Operand& x) {
    for (int i = 1; i < x.rank; i++) x.shape[i - 1] = x.shape[i];
    x.rank--;
  }

  void addView(const Operand& x, bool batched, Instruction& in) {
    in.inputs[in.inputCount] = view(x, batched, in.size, draft_.homes.back().inputs[in.inputCount], false);
    in.inputCount++;
  }

  // An input that is read in a way of its own, of whose strides along height, width and channels `in` tells nothing.
  View& addPlain(const Operand& x, bool batched, Instruction& in) { return addPlain(x, roomOf(x), batched, in); }

  View& addPlain(const Operand& x, int home, bool batched, Instruction& in) {
    expectWord(x);
    int64_t strides[kMaxRank] = {};
    x.strides(strides);
    View& v = in.inputs[in.inputCount];
    for (int axis = 0; axis < kAxes; axis++) {
      const int from = x.rank - kAxes + axis;
      if (from >= (batched ? 1 : 0)) v.stride[axis] = count(strides[from]);
    }
    draft_.homes.back().inputs[in.inputCount] = home;
    place(x, batched, batched ? strides[0] : 0, v, home, false);
    in.inputCount++;
    return v;
  }

  // Of inputs before `factors` this is not asked here.
  static void expectFloats(const Command& command, int factors = 0) {
    if (command.output.dtype != DType::f32) refuse("not float32");
    for (int i = factors; i < command.inputCount; i++)
      if (command.inputs[i].present() && command.inputs[i].dtype != DType::f32) refuse("not float32");
  }

  // --- Factors of products ---

  // Products round by themselves, so that they read what a command has rounded for them.
  struct Rounding {
    Operand copy, source;
    int roomOfCopy, room;
    bool outdated = false;  // something was written to the source since
  };

  // A factor in float32, and its room.
  struct Factor {
    Operand operand;
    int room;
  };

  void noteRounding(const Command& command) {
    const Operand &source = command.inputs[0], &copy = command.output;
    roundings_.push_back({copy, source, roomOf(copy), roomOf(source)});
  }

  void outdate(const Operand& written, int room) {
    for (Rounding& rounding : roundings_)
      if (rounding.room == room && overlap(rounding.source, written) && !areOtherColumns(rounding.source, written))
        rounding.outdated = true;
  }

  Factor factorOf(const Operand& x) {
    if (x.dtype != DType::bf16) return {x, roomOf(x)};
    const std::vector<const Rounding*> parts = roundingsOf(x);
    const Rounding& first = *parts.front();
    Operand source = x;  // the same rows, under this shape
    source.dtype = DType::f32;
    source.data = sourceOf(x, first);
    source.pitch = first.source.pitch;
    for (const Rounding* const part : parts) {
      if (part->outdated) refuse("it multiplies a copy of what was written to since");
      const bool beside = part->room == first.room && part->source.pitch == source.pitch && sourceOf(x, *part) == source.data;
      if (!beside) refuse("it multiplies what was rounded in parts that lie apart");
    }
    return {source, first.room};
  }

  // Those that left what lies there, each some of its columns.
  std::vector<const Rounding*> roundingsOf(const Operand& x) const {
    const int room = roomOf(x);
    std::vector<bool> known(static_cast<size_t>(x.cols()), false);
    std::vector<const Rounding*> parts;
    for (const Rounding& rounding : roundings_) {
      const Operand& copy = rounding.copy;
      if (room < 0 || rounding.roomOfCopy != room || !overlap(copy, x)) continue;
      if (copy.rows() != x.rows() || (x.rows() > 1 && copy.pitch != x.pitch)) refuse("it multiplies other rows than were rounded");
      const int64_t column = (addressOf(copy) - addressOf(x)) / static_cast<int64_t>(bytesOf(DType::bf16));
      const int64_t end = std::min(column + copy.cols(), x.cols());
      for (int64_t i = std::max<int64_t>(column, 0); i < end; i++) known[static_cast<size_t>(i)] = true;
      parts.push_back(&rounding);
    }
    if (parts.empty() || std::find(known.begin(), known.end(), false) != known.end())
      refuse("nothing has rounded what it multiplies");
    return parts;
  }

  // Where the factor began before it was rounded: its elements have twice the bytes there.
  static void* sourceOf(const Operand& x, const Rounding& rounding) {
    return static_cast<char*>(rounding.source.data) + 2 * (addressOf(x) - addressOf(rounding.copy));
  }

  // --- Commands ---

  void mapped(const Command& command, Instruction& in) {
    expectFloats(command);
    resultView(command.output, in);
    for (int i = 0; i < command.inputCount; i++) addBroadcast(command.inputs[i], command.output, in);
  }

  void copied(const Command& command, Instruction& in) {
    resultView(command.output, in);
    addBroadcast(command.inputs[0], command.output, in);
  }

  // assign overwrites its first operand.
  void assigned(const Command& command, Instruction& in) {
    resultView(command.inputs[0], in);
    addBroadcast(command.inputs[1], command.inputs[0], in);
  }

  void cast(const Command& command, Instruction& in) {
    if (command.inputs[0].dtype != DType::i32 || command.output.dtype != DType::f32) refuse("not from int32 to float32");
    copied(command, in);
  }

  void filled(const Command& command, Instruction& in) {
    AttributeReader attributes = command.attributes;
    attributes.ints();
    attributes.i();
    in.operation = command.output.dtype == DType::i32 ? Operation::fillIntegers : Operation::fill;
    in.number = number(attributes);
    resultView(command.output, in);
  }

  void readNoise(AttributeReader& attributes, Instruction& in) {
    in.seed = attributes.seed();
    in.draw = static_cast<uint32_t>(attributes.i());
    in.image = number(attributes);
    in.step = number(attributes);
  }

  void drawn(const Command& command, Instruction& in) {
    expectFloats(command);
    AttributeReader attributes = command.attributes;
    attributes.ints();
    attributes.i();
    readNoise(attributes, in);
    if (!isBatched(command.output)) refuse("noise that all images share");
    resultView(command.output, in);
  }

  void row(const Command& command, Instruction& in) {
    AttributeReader attributes = command.attributes;
    in.number = number(attributes);
    const Operand& table = command.inputs[0];
    int64_t strides[kMaxRank] = {};
    table.strides(strides);
    in.rows = count(table.shape[0]);
    in.rowStride = count(strides[0]);
    resultView(command.output, in);
    Operand first = table;
    dropFirst(first);
    addView(first, isBatched(command.output), in);
  }

  void embedding(const Command& command, Instruction& in) {
    const Operand &table = command.inputs[0], &index = command.inputs[1], &y = command.output;
    if (index.dtype != DType::i32 || table.dtype != DType::f32) refuse("not float32 by int32");
    resultView(y, in);
    addPlain(table, false, in);
    in.rows = count(table.shape[0]);
    in.rowStride = count(table.pitch);
    if (index.rank > 1) refuse("an index of more than one axis");
    const bool batched = isBatched(y) && isBatched(index);
    View& v = addPlain(index, batched, in);
    // A column of the result for each index.
    v.stride[0] = 0;
    v.stride[1] = batched || index.rank == 0 ? 0 : 1;
  }

  static void readPair(const Ints& from, int32_t (&to)[2]) {
    to[0] = count(from[0]);
    to[1] = count(from[1]);
  }

  static void readPadding(const Ints& from, Window& w) {
    w.padding[0] = count(from[0]);
    w.padding[1] = count(from[2]);
  }

  void setSource(const Operand& x, Window& w) {
    if (x.rank != 4 || !isBatched(x)) refuse("no batch of images");
    w.source[0] = count(x.shape[1]);
    w.source[1] = count(x.shape[2]);
  }

  void pooled(const Command& command, Instruction& in) {
    expectFloats(command);
    AttributeReader attributes = command.attributes;
    readPair(attributes.ints(), in.window.kernel);
    readPair(attributes.ints(), in.window.stride);
    readPadding(attributes.ints(), in.window);
    setSource(command.inputs[0], in.window);
    resultView(command.output, in);
    addPlain(command.inputs[0], true, in);
  }

  void convolved(const Command& command, Instruction& in) { convolve(command, in, false); }
  void convolvedTransposed(const Command& command, Instruction& in) { convolve(command, in, true); }

  void convolve(const Command& command, Instruction& in, bool transposed) {
    expectFloats(command, 2);
    const Factor source = factorOf(command.inputs[0]), filter = factorOf(command.inputs[1]);
    AttributeReader attributes = command.attributes;
    readPair(attributes.ints(), in.window.stride);
    readPadding(attributes.ints(), in.window);
    readPair(attributes.ints(), in.window.dilation);
    in.window.transposed = transposed;
    setSource(source.operand, in.window);
    const Operand& weight = filter.operand;
    in.window.kernel[0] = count(weight.shape[0]);
    in.window.kernel[1] = count(weight.shape[1]);
    // [height, width, inputs, outputs] of the convolution that it is, or is the transpose of.
    in.weights.channels = count(source.operand.shape[3]);
    in.weights.perTap = count(weight.shape[2] * weight.pitch);
    in.weights.perSource = transposed ? 1 : count(weight.pitch);
    in.weights.perOutput = transposed ? count(weight.pitch) : 1;
    resultView(command.output, in);
    finishProduct(command, source, filter, true, in);
  }

  void multiplied(const Command& command, Instruction& in) {
    expectFloats(command, 2);
    AttributeReader attributes = command.attributes;
    const bool transposeA = attributes.b(), transposeB = attributes.b();
    const Factor source = factorOf(command.inputs[0]), weight = factorOf(command.inputs[1]);
    const Operand &a = source.operand, &b = weight.operand;
    if (transposeA || a.rank != 2 || b.rank != 2) refuse("not a matrix times a matrix");
    in.weights.channels = count(a.shape[1]);
    in.weights.perSource = transposeB ? 1 : count(b.pitch);
    in.weights.perOutput = transposeB ? count(b.pitch) : 1;
    resultView(command.output, in);
    in.window.source[1] = in.size[1];  // rows of a are columns of an image
    finishProduct(command, source, weight, isBatched(command.output), in);
  }

  void finishProduct(const Command& command, const Factor& source, const Factor& filter, bool batched, Instruction& in) {
    const Operand &x = source.operand, &weight = filter.operand;
    addPlain(x, source.room, batched, in);
    addPlain(weight, filter.room, false, in);
    if (command.has(2)) addPlain(command.inputs[2], false, in);
    draft_.homes.back().factors[0] = x;
    draft_.homes.back().factors[1] = weight;
    Weights& w = in.weights;
    draft_.homes.back().weightFloats = extentOf(weight) / static_cast<int64_t>(sizeof(float));
    const auto inFours = [](const Operand& operand) {
      return operand.pitch % kTile == 0 && reinterpret_cast<uintptr_t>(operand.data) % 16 == 0;
    };
    // Where operands lie must not change the order of a sum.
    w.adjacent = w.channels % kTile == 0 ? kTile : 1;
    w.vectors = w.perOutput == 1 && w.adjacent == kTile && in.size[2] % kTile == 0 && inFours(x) && inFours(weight);
    draft_.homes.back().sourceInFours = inFours(x);
  }

  void normalised(const Command& command, Instruction& in) {
    expectFloats(command);
    AttributeReader attributes = command.attributes;
    in.groups = count(attributes.i());
    in.number = number(attributes);
    if (!isBatched(command.output)) refuse("no batch of images");
    resultView(command.output, in);
    if (command.inputs[0].shape[0] != command.output.shape[0]) refuse("no batch of images");
    in.weights.channels = in.size[2] / in.groups;
    addBroadcast(command.inputs[0], command.output, in);
    for (int i = 1; i < 3; i++) {
      if (!command.has(i)) refuse("no weight and bias");
      addPlain(command.inputs[i], false, in);
    }
  }

  void reversed(const Command& command, Instruction& in) {
    AttributeReader attributes = command.attributes;
    readNoise(attributes, in);
    if (command.has(4)) refuse("noise that is given");
    const Operand &t = command.inputs[2], &table = command.inputs[3];
    resultView(command.output, in);
    if (!isBatched(command.output) || !isBatched(t)) refuse("no batch of images");
    for (int i = 0; i < 2; i++) addBroadcast(command.inputs[i], command.output, in);
    addPlain(t, true, in);
    lookUpBefore(table, in);
    drawBefore(in);
  }

  // The step's row of the table is looked up long before it is used: what it is read from is far away.
  void lookUpBefore(const Operand& table, Instruction& in) {
    constexpr int32_t columns = 3;
    Instruction look{};
    look.operation = Operation::embedding;
    look.size[2] = columns;
    look.inputs[0].device = table.data;
    look.inputs[1] = in.inputs[2];
    look.inputs[1].stride[0] = look.inputs[1].stride[1] = 0;
    look.inputCount = 2;
    look.rows = count(table.shape[0]);
    look.rowStride = count(table.pitch);
    Homes homes = noHomes();
    homes.inputs[0] = roomOf(table);
    homes.inputs[1] = draft_.homes.back().inputs[2];
    if (homes.inputs[0] >= 0) refuse("a table that a command of the step writes");
    draft_.read.push_back({table, false});
    prepare(look, homes, in);
  }

  // Noise is drawn by an instruction of its own, since that takes long and may be done beside others.
  void drawBefore(Instruction& in) {
    Instruction draw{};
    draw.operation = Operation::randn;
    std::copy_n(in.size, kAxes, draw.size);
    draw.seed = in.seed;
    draw.draw = in.draw;
    draw.image = in.image;
    draw.step = in.step;
    prepare(draw, noHomes(), in);
  }

  Homes noHomes() const {
    Homes homes;
    std::fill_n(homes.inputs, kMostInputs, -1);
    homes.position = static_cast<int64_t>(at_);
    return homes;
  }

  // Puts an instruction before that of the command under way, to which its result becomes an input, in a room of its own.
  void prepare(Instruction& before, Homes homes, Instruction& in) {
    const int32_t(&size)[kAxes] = before.size;
    Room room;
    room.bytes = sizeof(float) * static_cast<size_t>(int64_t{size[0]} * size[1] * size[2]);
    room.memory = {nullptr, 0, homes.position, homes.position};
    room.lastUse = homes.position;
    room.known = room.batched = true;
    before.result.shared = 0;
    before.result.stride[2] = 1;
    before.result.stride[1] = size[2];
    before.result.stride[0] = size[1] * size[2];
    homes.result = draft_.homes.back().inputs[in.inputCount] = static_cast<int>(draft_.rooms.size());
    in.inputs[in.inputCount++] = before.result;
    draft_.rooms.push_back(room);
    draft_.sampler->instructions.push_back(before);
    draft_.homes.insert(draft_.homes.end() - 1, homes);
  }

  void combined(const Command& command, Instruction& in) {
    expectFloats(command);
    resultView(command.output, in);
    addPlain(command.inputs[0], false, in);
    for (int i = 1; i < command.inputCount; i++) addBroadcast(command.inputs[i], command.output, in);
  }

  static const std::map<std::string, Rule>& rules() {
    static const std::map<std::string, Rule> all = {
        {"copy", {Operation::copy, &Translator::copied}},
        {"broadcastTo", {Operation::copy, &Translator::copied}},
        {"assign", {Operation::copy, &Translator::assigned}},
        {"cast", {Operation::toFloat, &Translator::cast}},
        {"relu", {Operation::relu, &Translator::mapped}},
        {"silu", {Operation::silu, &Translator::mapped}},
        {"sigmoid", {Operation::sigmoid, &Translator::mapped}},
        {"tanh", {Operation::tanh, &Translator::mapped}},
        {"gelu", {Operation::gelu, &Translator::mapped}},
        {"add", {Operation::add, &Translator::mapped}},
        {"sub", {Operation::sub, &Translator::mapped}},
        {"mul", {Operation::mul, &Translator::mapped}},
        {"div", {Operation::div, &Translator::mapped}},
        {"fill", {Operation::fill, &Translator::filled}},
        {"randn", {Operation::randn, &Translator::drawn}},
        {"row", {Operation::row, &Translator::row}},
        {"embedding", {Operation::embedding, &Translator::embedding}},
        {"maxPool2d", {Operation::maxPool, &Translator::pooled}},
        {"conv2d", {Operation::product, &Translator::convolved}},
        {"convTranspose2d", {Operation::product, &Translator::convolvedTransposed}},
        {"matmul", {Operation::product, &Translator::multiplied}},
        {"groupNorm", {Operation::groupNorm, &Translator::normalised}},
        {"ddpmStep", {Operation::ddpmStep, &Translator::reversed}},
        {"linearCombination", {Operation::linearCombination, &Translator::combined}},
    };
    return all;
  }

  // A block must not read what another one writes.
  void expectSafeMemory() const {
    if (taken_ != slots_.size()) refuse("a number changes from step to step that it takes as fixed");
    if (draft_.sampler->images == 1) return;
    for (const Use& w : draft_.written)
      for (const std::vector<Use>* others : {&draft_.written, &draft_.read})
        for (const Use& other : *others)
          if (overlap(w.operand, other.operand) && !sharesImages(w, other))
            refuse("an image may need what another one writes");
  }

  // Whether image k of one is image k of the other.
  static bool sharesImages(const Use& a, const Use& b) {
    int64_t strideA[kMaxRank] = {}, strideB[kMaxRank] = {};
    a.operand.strides(strideA);
    b.operand.strides(strideB);
    return a.batched && b.batched && a.operand.data == b.operand.data && strideA[0] == strideB[0];
  }

  Draft& draft_;
  std::vector<Rounding> roundings_;
  std::map<const double*, int32_t> slots_;
  size_t taken_ = 0;
  size_t at_ = 0;
};

}  // namespace

void translate(Draft& d) { Translator(d).run(); }

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
