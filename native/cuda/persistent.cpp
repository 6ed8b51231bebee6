// The rule that decides which programs the persistent sampler runs, and their translation into its instructions.
#include "persistent.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "../core/early_write.h"
#include "../core/extent.h"
#include "persistent_products.h"

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

constexpr int64_t kMostNumber = int64_t{1} << 30;  // instructions count in int32
constexpr int kLeastChannels = 2;                  // of the part of a product that a thread adds up by fma
constexpr int kSums = 128;                         // of a tile: 16 channels of 8 pixels
// Tables of products count in int16.
constexpr int kMostRows = 128, kMostColumns = 256, kMostEntries = 32767;

struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void refuse(const std::string& reason) { throw Refusal(reason); }

size_t aligned(size_t bytes) { return (bytes + 15) / 16 * 16; }

// Memory that only the step's own commands use, as one image sees it.
struct Room {
  Program::Temporary memory;
  bool known = false;    // something was written to it
  bool batched = false;  // each image has a share of it
  size_t bytes = 0;      // of a share
  size_t shared = 0;     // where it lies
  int64_t lastUse = 0;   // the last command that does something there
};

// Gives every room a place in shared memory, the larger ones first, so that rooms of one time do not overlap.
size_t arrange(std::vector<Room>& rooms) {
  std::vector<Room*> order;
  for (Room& room : rooms)
    if (room.known) order.push_back(&room);
  std::stable_sort(order.begin(), order.end(), [](const Room* a, const Room* b) { return a->bytes > b->bytes; });
  size_t total = 0;
  for (size_t i = 0; i < order.size(); i++) {
    std::vector<const Room*> beside;
    for (size_t k = 0; k < i; k++)
      if (order[k]->memory.start <= order[i]->memory.end && order[i]->memory.start <= order[k]->memory.end)
        beside.push_back(order[k]);
    std::sort(beside.begin(), beside.end(), [](const Room* a, const Room* b) { return a->shared < b->shared; });
    size_t at = 0;
    for (const Room* other : beside) {
      if (other->shared >= at + order[i]->bytes) break;
      at = std::max(at, other->shared + aligned(other->bytes));
    }
    order[i]->shared = at;
    total = std::max(total, at + aligned(order[i]->bytes));
  }
  return total;
}

class Planner {
 public:
  Planner(const Program& program, const Device& device) : program_(program), device_(device) {
    for (const Program::Temporary& memory : program.temporaries) rooms_.push_back({memory});
  }

  std::unique_ptr<Sampler> plan() {
    expectOneList();
    const std::vector<Batch::Step>& steps = program_.batch->steps;
    sampler_->images = imagesOf(steps.back().command);
    noteSlots();
    for (at_ = 0; at_ < steps.size(); at_++) translate(steps[at_]);
    for (Room& room : rooms_) room.memory.end = room.lastUse;
    expectSafeMemory();
    joinTails();
    if (usesTensorCores()) cutProducts();
    else divideProducts();
    order();
    if (sampler_->products != Products::fma) spreadPixels();
    shareOut();
    return std::move(sampler_);
  }

 private:
  using Handler = void (Planner::*)(const Command&, Instruction&);
  struct Rule {
    Operation operation;
    Handler handler;
  };

  // What is known of an instruction besides itself: which room each of its views lies in; -1: none.
  struct Homes {
    int result = -1;
    int inputs[kMostInputs];
    int tails[kMostTails] = {-1, -1};
    int64_t position = 0;      // of the command
    int64_t weightFloats = 0;  // from the first weight to behind the last
    bool sourceInFours = false;  // four channels of a product's source may be loaded at a time
    Operand factors[2];          // of a product
  };

  void expectOneList() const {
    if (program_.checkFinite) refuse("every result is searched for numbers that are not finite");
    if (program_.instructions.size() != 1 || program_.lists.size() != 1) refuse("a step has loops or looks of the host in it");
    if (!program_.reports.empty()) refuse("numbers are reported after each step");
    if (program_.batch->steps.empty()) refuse("there are no commands");
  }

  static int imagesOf(const Command& last) {
    const Operand& result = last.output.present() ? last.output : last.inputs[0];
    if (result.rank != 4) refuse("the last command's result is no batch of images");
    return count(result.shape[0]);
  }

  static int32_t count(int64_t n) {
    if (n > kMostNumber) refuse("a tensor is too large");
    return static_cast<int32_t>(n);
  }

  void noteSlots() {
    const Program::List& list = program_.lists[program_.instructions[0].target];
    sampler_->slots = static_cast<int>(list.slots.size());
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
    homes_.push_back(noHomes());
    try {
      (this->*rule->second.handler)(command, in);
    } catch (const Refusal& refusal) {
      refuse(name + ": " + refusal.what());
    }
    sampler_->instructions.push_back(in);
  }

  // --- Operands ---

  // Whether a share of the operand belongs to each image.
  bool isBatched(const Operand& x) const { return x.rank > 0 && x.shape[0] == sampler_->images; }

  int roomOf(const Operand& x) const { return roomOf(x, at_); }

  // That in which the operand of a command at `at` lies.
  int roomOf(const Operand& x, size_t at) const {
    for (size_t i = 0; i < rooms_.size(); i++) {
      const Program::Temporary& m = rooms_[i].memory;
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
      (written ? written_ : read_).push_back({x, batched});
      if (written && !batched && sampler_->images > 1) refuse("it writes what all images share");
      return;
    }
    Room& room = rooms_[static_cast<size_t>(home)];
    room.lastUse = static_cast<int64_t>(at_);
    const size_t images = batched ? static_cast<size_t>(sampler_->images) : 1;
    const size_t bytes = static_cast<size_t>(room.memory.bytes) / images;
    if (!room.known) {
      if (!written) refuse("it reads what nothing has written");
      room.known = true;
      room.batched = batched;
      room.bytes = bytes;
    }
    const size_t offset = static_cast<size_t>(addressOf(x) - room.memory.data);
    if (sampler_->images > 1 && room.batched != batched) refuse("an operand is of all images here and of one there");
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
    in.result = view(y, batched, in.size, homes_.back().result, true);
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
    in.inputs[in.inputCount] = view(x, batched, in.size, homes_.back().inputs[in.inputCount], false);
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
    homes_.back().inputs[in.inputCount] = home;
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
    homes_.back().factors[0] = x;
    homes_.back().factors[1] = weight;
    Weights& w = in.weights;
    homes_.back().weightFloats = extentOf(weight) / static_cast<int64_t>(sizeof(float));
    const auto inFours = [](const Operand& operand) {
      return operand.pitch % kTile == 0 && reinterpret_cast<uintptr_t>(operand.data) % 16 == 0;
    };
    // Where operands lie must not change the order of a sum.
    w.adjacent = w.channels % kTile == 0 ? kTile : 1;
    w.vectors = w.perOutput == 1 && w.adjacent == kTile && in.size[2] % kTile == 0 && inFours(x) && inFours(weight);
    homes_.back().sourceInFours = inFours(x);
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
    homes.inputs[1] = homes_.back().inputs[2];
    if (homes.inputs[0] >= 0) refuse("a table that a command of the step writes");
    read_.push_back({table, false});
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
    homes.result = homes_.back().inputs[in.inputCount] = static_cast<int>(rooms_.size());
    in.inputs[in.inputCount++] = before.result;
    rooms_.push_back(room);
    sampler_->instructions.push_back(before);
    homes_.insert(homes_.end() - 1, homes);
  }

  void combined(const Command& command, Instruction& in) {
    expectFloats(command);
    resultView(command.output, in);
    addPlain(command.inputs[0], false, in);
    for (int i = 1; i < command.inputCount; i++) addBroadcast(command.inputs[i], command.output, in);
  }

  static const std::map<std::string, Rule>& rules() {
    static const std::map<std::string, Rule> all = {
        {"copy", {Operation::copy, &Planner::copied}},
        {"broadcastTo", {Operation::copy, &Planner::copied}},
        {"assign", {Operation::copy, &Planner::assigned}},
        {"cast", {Operation::toFloat, &Planner::cast}},
        {"relu", {Operation::relu, &Planner::mapped}},
        {"silu", {Operation::silu, &Planner::mapped}},
        {"sigmoid", {Operation::sigmoid, &Planner::mapped}},
        {"tanh", {Operation::tanh, &Planner::mapped}},
        {"gelu", {Operation::gelu, &Planner::mapped}},
        {"add", {Operation::add, &Planner::mapped}},
        {"sub", {Operation::sub, &Planner::mapped}},
        {"mul", {Operation::mul, &Planner::mapped}},
        {"div", {Operation::div, &Planner::mapped}},
        {"fill", {Operation::fill, &Planner::filled}},
        {"randn", {Operation::randn, &Planner::drawn}},
        {"row", {Operation::row, &Planner::row}},
        {"embedding", {Operation::embedding, &Planner::embedding}},
        {"maxPool2d", {Operation::maxPool, &Planner::pooled}},
        {"conv2d", {Operation::product, &Planner::convolved}},
        {"convTranspose2d", {Operation::product, &Planner::convolvedTransposed}},
        {"matmul", {Operation::product, &Planner::multiplied}},
        {"groupNorm", {Operation::groupNorm, &Planner::normalised}},
        {"ddpmStep", {Operation::ddpmStep, &Planner::reversed}},
        {"linearCombination", {Operation::linearCombination, &Planner::combined}},
    };
    return all;
  }

  // --- The whole ---

  // A block must not read what another one writes.
  void expectSafeMemory() const {
    if (taken_ != slots_.size()) refuse("a number changes from step to step that it takes as fixed");
    if (sampler_->images == 1) return;
    for (const Use& w : written_)
      for (const std::vector<Use>* others : {&written_, &read_})
        for (const Use& other : *others)
          if (overlap(w.operand, other.operand) && !sharesImages(w, other))
            refuse("an image may need what another one writes");
  }

  struct Use {
    Operand operand;
    bool batched;
  };

  // Whether image k of one is image k of the other.
  static bool sharesImages(const Use& a, const Use& b) {
    int64_t strideA[kMaxRank] = {}, strideB[kMaxRank] = {};
    a.operand.strides(strideA);
    b.operand.strides(strideB);
    return a.batched && b.batched && a.operand.data == b.operand.data && strideA[0] == strideB[0];
  }

  // Element-wise instructions that follow on a product or groupNorm, in its place or where nothing needs it any more, become
  // a part of it: that saves a barrier and a pass.
  void joinTails() {
    std::vector<Instruction> kept;
    std::vector<Homes> keptHomes;
    for (size_t i = 0; i < sampler_->instructions.size(); i++) {
      const Instruction& next = sampler_->instructions[i];
      if (!kept.empty() && joins(kept.back(), keptHomes.back(), next, homes_[i])) {
        join(kept.back(), keptHomes.back(), next, homes_[i]);
        continue;
      }
      kept.push_back(next);
      keptHomes.push_back(homes_[i]);
    }
    sampler_->instructions = std::move(kept);
    homes_ = std::move(keptHomes);
  }

  static bool same(const View& a, const View& b) {
    return a.device == b.device && a.shared == b.shared && a.image == b.image && std::equal(a.stride, a.stride + kAxes, b.stride);
  }

  // The number of the input that is the product's result; -1: none, or both.
  static int inputFrom(const Instruction& product, const Homes& home, const Instruction& next, const Homes& nextHomes) {
    int found = -1;
    for (int k = 0; k < next.inputCount; k++) {
      if (nextHomes.inputs[k] != home.result || !same(next.inputs[k], product.result)) continue;
      if (found >= 0) return -1;
      found = k;
    }
    return found;
  }

  bool joins(const Instruction& product, const Homes& home, const Instruction& next, const Homes& nextHomes) const {
    const bool elementwise =
        next.operation >= Operation::relu && next.operation <= Operation::div && next.operation != Operation::toFloat;
    const bool hasTails = product.operation == Operation::product || product.operation == Operation::groupNorm;
    if (!hasTails || product.tailCount == kMostTails) return false;
    if (!elementwise || home.result < 0) return false;
    if (!std::equal(product.size, product.size + kAxes, next.size)) return false;
    if (inputFrom(product, home, next, nextHomes) < 0) return false;
    if (!mayWriteEarly(product, home, next, nextHomes)) return false;
    const bool inPlace = nextHomes.result == home.result && same(next.result, product.result);
    return inPlace || rooms_[static_cast<size_t>(home.result)].memory.end <= nextHomes.position;
  }

  // Whether the result of `next` may be written while the product and its tails still read.
  bool mayWriteEarly(const Instruction& product, const Homes& home, const Instruction& next, const Homes& nextHomes) const {
    const int room = nextHomes.result;
    // Outside of rooms, addresses tell; rooms of one time lie apart.
    if (room < 0) {
      const size_t first = static_cast<size_t>(home.position), last = static_cast<size_t>(nextHomes.position);
      const Operand& result = program_.batch->steps[last].command.output;
      const auto isRead = [&](const Operand& factor) { return factor.present() && overlap(factor, result); };
      return std::none_of(home.factors, home.factors + 2, isRead) && langevin::mayWriteEarly(*program_.batch, first, last);
    }
    const auto apart = [&](int other, const View& view) { return other != room || same(view, next.result); };
    for (int k = 0; k < product.inputCount; k++)
      if (home.inputs[k] == room) return false;
    for (int k = 0; k < product.tailCount; k++)
      if (!apart(home.tails[k], product.tails[k].other)) return false;
    for (int k = 0; k < next.inputCount; k++)
      if (!apart(nextHomes.inputs[k], next.inputs[k])) return false;
    return true;
  }

  void join(Instruction& product, Homes& home, const Instruction& next, const Homes& nextHomes) {
    const int from = inputFrom(product, home, next, nextHomes);
    Tail& tail = product.tails[product.tailCount];
    tail.operation = next.operation;
    if (next.inputCount > 1) {
      tail.other = next.inputs[1 - from];
      tail.reversed = from == 1;
      home.tails[product.tailCount] = nextHomes.inputs[1 - from];
    }
    product.tailCount++;
    product.result = next.result;
    home.result = nextHomes.result;
    if (home.result < 0) return;
    // It is written while what the product and its tails read is still needed.
    Program::Temporary& memory = rooms_[static_cast<size_t>(home.result)].memory;
    memory.start = std::min(memory.start, home.position);
  }

  // --- Products ---

  // By fma, threads add up parts of the source channels, `adjacent` ones at a time.
  void divideProducts() {
    for (Instruction& in : sampler_->instructions) {
      if (in.operation != Operation::product) continue;
      Weights& w = in.weights;
      const int tiles = ((in.size[0] * in.size[1] + kTile - 1) / kTile) * ((in.size[2] + kTile - 1) / kTile);
      const int most = std::max(1, w.channels / std::max(w.adjacent, kLeastChannels));
      w.parts = std::max(1, std::min(kThreads / std::max(tiles, 1), most));
    }
  }

  // All products do, or none.
  bool usesTensorCores() const {
    if (device_.products == Products::fma) return false;
    for (size_t i = 0; i < sampler_->instructions.size(); i++)
      if (sampler_->instructions[i].operation == Operation::product && !fitsTensorCores(i)) return false;
    return true;
  }

  // Whether its weights can be packed and its pixels counted.
  bool fitsTensorCores(size_t product) const {
    const Instruction& in = sampler_->instructions[product];
    const View& x = in.inputs[0];
    const Window& w = in.window;
    const int64_t pixels = int64_t{in.size[0]} * in.size[1], taps = int64_t{w.kernel[0]} * w.kernel[1];
    return in.inputs[1].device != nullptr && !isWritten(product) && in.size[0] <= kMostRows && in.size[1] <= kMostColumns &&
           (w.source[0] == 1 || x.stride[0] == w.source[1] * x.stride[1]) &&
           int64_t{w.source[0]} * w.source[1] <= kMostEntries && (pixels + kColumns) * taps <= kMostEntries &&
           taps * ((in.weights.channels + kBlock - 1) / kBlock) <= kMostEntries;
  }

  void cutProducts() {
    sampler_->products = device_.products;
    for (size_t i = 0; i < sampler_->instructions.size(); i++)
      if (sampler_->instructions[i].operation == Operation::product) cut(i);
  }

  // By shape alone, so that sums depend on nothing else.
  void cut(size_t product) {
    Instruction& in = sampler_->instructions[product];
    const Weights& w = in.weights;
    Pieces& p = in.pieces;
    p.taps = in.window.kernel[0] * in.window.kernel[1];
    p.chunks = w.channels % kBlock == 0 ? w.channels / kBlock : 0;
    p.steps = p.chunks > 0 ? p.taps * p.chunks : (p.taps * w.channels + kBlock - 1) / kBlock;
    p.blocks = (in.size[2] + kBlock - 1) / kBlock;
    const View& x = in.inputs[0];
    p.vectors = homes_[product].sourceInFours && (x.shared < 0 || x.shared % 16 == 0) && x.image % kTile == 0;
    const Groups groups = groupPixels(in);
    p.tiles = groups.tiles;
    p.groups = static_cast<int32_t>(groups.meetings.size());
    int32_t fewest = p.steps;
    for (size_t group = 0; group < groups.meetings.size(); group++) fewest = std::min(fewest, groups.stepsOf(p, group));
    p.parts = std::max(1, std::min(kWarps / (p.blocks * p.groups), fewest));
    p.perPart = p.blocks * p.groups * p.tiles;
    if (int64_t{p.perPart} * p.parts > kMostEntries) refuse("a product is too large");
    p.positions = intern(groups.words());
    p.packed = count(sampler_->packedWords);
    sampler_->packings.push_back({static_cast<const float*>(in.inputs[1].device), p.taps, w.channels, in.size[2], w.perTap,
                                  w.perSource, w.perOutput, p.steps, p.blocks, p.packed});
    sampler_->packedWords += int64_t{p.blocks} * p.steps * wordsOf(sampler_->products);
    count(sampler_->packedWords);
    p.units = append(unitsOf(p, groups, sampler_->products));
    p.finishes = append(finishesOf(p));
  }

  // Where this table begins, in bytes; products of the same shape share one.
  int32_t intern(const std::vector<int16_t>& words) {
    const auto found = tables_.find(words);
    return found != tables_.end() ? found->second : tables_[words] = append(words);
  }

  template <class Entry>
  int32_t append(const std::vector<Entry>& entries) {
    std::vector<int16_t>& tables = sampler_->tables;
    const size_t at = tables.size(), bytes = entries.size() * sizeof(Entry);
    tables.resize(at + aligned(bytes) / sizeof(int16_t), 0);
    std::memcpy(tables.data() + at, entries.data(), bytes);
    return count(static_cast<int64_t>(at * sizeof(int16_t)));
  }

  // --- Rounds ---

  // What an instruction reads and writes: rooms, and all of device memory as one.
  struct Reach {
    static constexpr int deviceMemory = -1;
    std::vector<int> reads;
    int writes = deviceMemory;

    bool touches(int room) const { return room == writes || std::find(reads.begin(), reads.end(), room) != reads.end(); }
    bool meets(const Reach& other) const { return touches(other.writes) || other.touches(writes); }
  };

  Reach reachOf(size_t i) const {
    const Instruction& in = sampler_->instructions[i];
    Reach reach{{homes_[i].inputs, homes_[i].inputs + in.inputCount}, homes_[i].result};
    for (int k = 0; k < in.tailCount; k++)
      if (in.tails[k].other.present()) reach.reads.push_back(homes_[i].tails[k]);
    return reach;
  }

  // Puts instructions into rounds: each into the first one after all that it needs. Those of a round are done at the same
  // time, by different warps where they leave some idle; between rounds there is a barrier.
  void order() {
    std::vector<Instruction>& instructions = sampler_->instructions;
    const std::vector<int> rounds = roundsOf();
    std::vector<size_t> order(instructions.size());
    for (size_t i = 0; i < order.size(); i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rounds[a] < rounds[b]; });
    for (Room& room : rooms_) room.memory.start = std::numeric_limits<int64_t>::max(), room.memory.end = -1;
    std::vector<Instruction> sorted;
    std::vector<Homes> homes;
    int warps = 0;
    size_t partials = 0;
    for (const size_t i : order) {
      Instruction in = instructions[i];
      in.waits = sorted.empty() || rounds[i] != homes.back().position;
      if (in.waits) warps = 0, partials = 0;
      in.firstWarp = warps % kWarps;
      in.partials = count(static_cast<int64_t>(partials));
      warps += warpsOf(in);
      partials += partialsOf(in);
      partialBytes_ = std::max(partialBytes_, partials);
      sorted.push_back(in);
      homes.push_back(homes_[i]);
      homes.back().position = rounds[i];
      inhabit(reachOf(i), rounds[i]);
    }
    instructions = std::move(sorted);
    homes_ = std::move(homes);
  }

  std::vector<int> roundsOf() const {
    std::vector<Reach> reach;
    for (size_t i = 0; i < sampler_->instructions.size(); i++) reach.push_back(reachOf(i));
    std::vector<int> rounds(reach.size(), 0);
    for (size_t i = 0; i < reach.size(); i++)
      for (size_t before = 0; before < i; before++)
        if (reach[before].meets(reach[i])) rounds[i] = std::max(rounds[i], rounds[before] + 1);
    putOffDraws(reach, rounds);
    return rounds;
  }

  // Drawing noise takes as long as a product: it is done beside the first one.
  void putOffDraws(const std::vector<Reach>& reach, std::vector<int>& rounds) const {
    const std::vector<Instruction>& instructions = sampler_->instructions;
    int product = std::numeric_limits<int>::max();
    for (size_t i = 0; i < instructions.size(); i++)
      if (instructions[i].operation == Operation::product) product = std::min(product, rounds[i]);
    for (size_t i = 0; i < instructions.size(); i++) {
      if (instructions[i].operation != Operation::randn) continue;
      int needed = std::numeric_limits<int>::max();
      for (size_t after = i + 1; after < instructions.size(); after++)
        if (reach[i].meets(reach[after])) needed = std::min(needed, rounds[after]);
      if (product > rounds[i] && product < needed) rounds[i] = product;
    }
  }

  void inhabit(const Reach& reach, int64_t round) {
    const auto extend = [&](int room) {
      if (room == Reach::deviceMemory) return;
      Program::Temporary& memory = rooms_[static_cast<size_t>(room)].memory;
      memory.start = std::min(memory.start, round);
      memory.end = std::max(memory.end, round);
    };
    extend(reach.writes);
    for (const int room : reach.reads) extend(room);
  }

  // That have something to do.
  int warpsOf(const Instruction& in) const {
    const Pieces& p = in.pieces;
    if (in.operation == Operation::product && p.blocks > 0) return std::min(kWarps, p.unitCount());
    if (in.operation == Operation::groupNorm) return std::min(kWarps, in.groups);
    const int elements = in.size[0] * in.size[1] * in.size[2];
    const int each = in.operation == Operation::randn ? 4 : 1;
    return std::min(kWarps, (elements + 32 * each - 1) / (32 * each));
  }

  // Bytes for sums of its parts.
  static size_t partialsOf(const Instruction& in) {
    if (in.operation != Operation::product) return 0;
    const Pieces& p = in.pieces;
    const size_t floats =
        p.blocks > 0 ? static_cast<size_t>(p.parts) * static_cast<size_t>(p.perPart) * kSums
                     : static_cast<size_t>(in.weights.parts) * static_cast<size_t>(in.size[0] * in.size[1]) *
                           static_cast<size_t>((in.size[2] + kTile - 1) / kTile * kTile);
    return floats * sizeof(float);
  }

  // --- Shared memory and registers ---

  // Neighbouring pixels that a warp reads at the same time must not lie in the same banks, as they do where they are a multiple
  // of 32 words apart: gaps move them on by half of that.
  void spreadPixels() {
    constexpr int32_t banks = 32, gap = 16;
    std::vector<std::vector<View*>> views(rooms_.size());
    for (size_t i = 0; i < sampler_->instructions.size(); i++) forEachView(i, [&](View& view, int home) {
      if (home >= 0) views[static_cast<size_t>(home)].push_back(&view);
    });
    for (size_t room = 0; room < rooms_.size(); room++) {
      const int32_t pitch = pitchOf(views[room]);
      if (pitch == 0 || pitch % banks != 0) continue;
      for (View* const view : views[room]) {
        const int32_t words = view->shared / 4;
        view->shared = (words / pitch * (pitch + gap) + words % pitch) * 4;
        for (int axis = 0; axis < 2; axis++) view->stride[axis] = view->stride[axis] / pitch * (pitch + gap);
      }
      const size_t pixel = static_cast<size_t>(pitch) * 4;
      rooms_[room].bytes = (rooms_[room].bytes + pixel - 1) / pixel * (pixel + gap * 4);
    }
  }

  template <class F>
  void forEachView(size_t instruction, const F& f) {
    Instruction& in = sampler_->instructions[instruction];
    const Homes& homes = homes_[instruction];
    f(in.result, homes.result);
    for (int k = 0; k < in.inputCount; k++) f(in.inputs[k], homes.inputs[k]);
    for (int k = 0; k < in.tailCount; k++) f(in.tails[k].other, homes.tails[k]);
  }

  // Words from pixel to pixel, where all views of a room agree on that; else 0.
  static int32_t pitchOf(const std::vector<View*>& views) {
    int32_t pitch = 0;
    for (const View* const view : views) pitch = std::max(pitch, view->stride[1]);
    const auto agrees = [&](const View* view) {
      return view->stride[1] == pitch && view->stride[0] % pitch == 0 && view->stride[2] <= 1;
    };
    return pitch > 0 && std::all_of(views.begin(), views.end(), agrees) ? pitch : 0;
  }

  // Rooms, sums of parts, tables, and as many weights as there is room for.
  void shareOut() {
    const size_t rooms = arrange(rooms_), perImage = rooms + aligned(partialBytes_);
    const size_t tables = sampler_->tables.size() * sizeof(int16_t);
    if (perImage + tables > device_.sharedBytes)
      refuse("an image takes " + std::to_string(perImage + tables) + " bytes of shared memory, and a block has " +
             std::to_string(device_.sharedBytes));
    if (sampler_->products != Products::fma && sampler_->images > device_.multiprocessors &&
        2 * perImage + tables <= device_.sharedBytes / 2)
      sampler_->together = 2;
    const size_t used = static_cast<size_t>(sampler_->together) * perImage + tables;
    sampler_->partials = static_cast<int>(rooms);
    sampler_->perImage = static_cast<int>(perImage);
    sampler_->tablesShared = static_cast<int>(used - tables);
    for (size_t i = 0; i < sampler_->instructions.size(); i++) {
      Instruction& in = sampler_->instructions[i];
      forEachView(i, [&](View& view, int home) { settle(view, home); });
      in.perPixel = Divider(std::max(1, in.size[2]));
      in.perRow = Divider(std::max(1, in.size[1]));
      in.weights.perChannel = Divider(std::max(1, in.weights.channels));
    }
    fillRegisters();
    sampler_->sharedBytes = std::max<size_t>(placeWeights(used), 16);
    for (Instruction& in : sampler_->instructions)
      for (int32_t* const table : {&in.pieces.positions, &in.pieces.units, &in.pieces.finishes}) *table += sampler_->tablesShared;
  }

  void settle(View& view, int home) const {
    if (home >= 0) view.shared += static_cast<int32_t>(rooms_[static_cast<size_t>(home)].shared);
  }

  static int32_t weightsOf(const Pieces& p) { return p.blocks * p.steps * kBlockWeights; }

  // The largest product that reads its weights only once, and has no more units than there are warps.
  void fillRegisters() {
    const int bankSteps = bankStepsOf(sampler_->products, sampler_->together);
    if (bankSteps == 0) return;
    Instruction* best = nullptr;
    for (Instruction& in : sampler_->instructions) {
      const Pieces& p = in.pieces;
      if (in.operation != Operation::product || p.tiles > 1 || p.groups > 1 || p.chunks == 0 || p.blocks > kWarps) continue;
      if (best == nullptr || weightsOf(p) > weightsOf(best->pieces)) best = &in;
    }
    if (best == nullptr) return;
    Pieces& p = best->pieces;
    p.banked = true;
    sampler_->banked = static_cast<int>(best - sampler_->instructions.data());
    sampler_->bankedWeights = std::min<int64_t>(weightsOf(p), int64_t{p.blocks} * p.parts * bankSteps * kBlockWeights);
  }

  // Returns how much of shared memory is used then.
  size_t placeWeights(size_t used) {
    for (const size_t number : byReads()) {
      Instruction& in = sampler_->instructions[number];
      const bool packed = sampler_->products != Products::fma;
      sampler_->weights += packed ? weightsOf(in.pieces) : homes_[number].weightFloats;
      used += packed ? placeBlocks(in, used) : placeWhole(in, homes_[number].weightFloats, used);
    }
    return used;
  }

  size_t placeWhole(Instruction& in, int64_t floats, size_t used) {
    const size_t bytes = aligned(static_cast<size_t>(floats) * sizeof(float));
    if (used + bytes > device_.sharedBytes) return 0;
    View& weights = in.inputs[1];
    sampler_->residents.push_back({static_cast<const float*>(weights.device), 0, count(floats), static_cast<int32_t>(used)});
    weights.device = nullptr;
    weights.shared = static_cast<int32_t>(used);
    sampler_->residentWeights += floats;
    return bytes;
  }

  // As many blocks of channels as there is room for.
  size_t placeBlocks(const Instruction& in, size_t used) {
    const Pieces& p = in.pieces;
    const int32_t words = p.steps * wordsOf(sampler_->products);  // of a block
    const size_t each = static_cast<size_t>(words) * sizeof(float);
    const int32_t fit = std::min(p.blocks, static_cast<int32_t>((device_.sharedBytes - used) / each));
    if (fit == 0) return 0;
    sampler_->residents.push_back({nullptr, p.packed, fit * words, static_cast<int32_t>(used)});
    sampler_->residentWeights += fit * p.steps * kBlockWeights;
    char* const units = reinterpret_cast<char*>(sampler_->tables.data()) + p.units;
    for (int number = 0; number < p.unitCount(); number++) {
      const int block = number % p.blocks;
      if (block >= fit) continue;
      Unit unit;
      std::memcpy(&unit, units + number * static_cast<int>(sizeof unit), sizeof unit);
      unit.weights = static_cast<int32_t>(used) + block * static_cast<int32_t>(each);
      unit.resident = 1;
      std::memcpy(units + number * static_cast<int>(sizeof unit), &unit, sizeof unit);
    }
    return static_cast<size_t>(fit) * each;
  }

  // Products whose weights lie in device memory and do not change: those first whose weights are read most often, that in
  // registers last.
  std::vector<size_t> byReads() const {
    std::vector<size_t> products;
    for (size_t i = 0; i < sampler_->instructions.size(); i++) {
      const Instruction& in = sampler_->instructions[i];
      if (in.operation == Operation::product && in.inputs[1].device != nullptr && !isWritten(i)) products.push_back(i);
    }
    const auto reads = [&](size_t i) {
      const Instruction& in = sampler_->instructions[i];
      if (in.pieces.banked) return 0;
      return in.pieces.blocks > 0 ? in.pieces.groups : (in.size[0] * in.size[1] + kTile - 1) / kTile;
    };
    std::stable_sort(products.begin(), products.end(), [&](size_t a, size_t b) { return reads(a) > reads(b); });
    return products;
  }

  bool isWritten(size_t product) const {
    const char* const from = static_cast<const char*>(sampler_->instructions[product].inputs[1].device);
    const char* const end = from + homes_[product].weightFloats * static_cast<int64_t>(sizeof(float));
    return std::any_of(written_.begin(), written_.end(), [&](const Use& use) {
      return addressOf(use.operand) < end && from < addressOf(use.operand) + extentOf(use.operand);
    });
  }

  const Program& program_;
  const Device device_;
  std::unique_ptr<Sampler> sampler_ = std::make_unique<Sampler>();
  std::vector<Room> rooms_;
  std::vector<Homes> homes_;  // of each instruction
  std::vector<Use> read_, written_;  // in device memory
  std::vector<Rounding> roundings_;
  std::map<const double*, int32_t> slots_;
  std::map<std::vector<int16_t>, int32_t> tables_;  // those there are, and where each begins
  size_t taken_ = 0;
  size_t partialBytes_ = 0;
  size_t at_ = 0;
};

}  // namespace

Device deviceWith(size_t sharedBytes, int multiprocessors, Precision precision) {
  constexpr size_t leastWithTf32 = 99 << 10;
  const Products onTensorCores = precision == Precision::bf16   ? Products::bf16
                                 : precision == Precision::tf32 ? Products::tf32
                                                                : Products::tf32x3;
  return {sharedBytes, sharedBytes >= leastWithTf32 ? onTensorCores : Products::fma, multiprocessors};
}

Decision planPersistent(const Program& program, const Device& device) {
  const char* const wish = std::getenv("LANGEVIN_PERSISTENT");
  if (wish != nullptr && std::strcmp(wish, "off") == 0) return {nullptr, "LANGEVIN_PERSISTENT is off"};
  try {
    return {Planner(program, device).plan(), {}};
  } catch (const Refusal& refusal) {
    return {nullptr, refusal.what()};
  }
}

std::string describe(const Decision& decision) {
  if (decision.sampler == nullptr) return "Runs as CUDA graphs, not in one kernel: " + decision.refusal + ".";
  const Sampler& s = *decision.sampler;
  int rounds = 0;
  for (const Instruction& in : s.instructions) rounds += in.waits;
  const char* const products = s.products == Products::fma      ? "by float32 cores"
                               : s.products == Products::tf32x3 ? "on tensor cores, each as three of tf32"
                               : s.products == Products::tf32   ? "on tensor cores in tf32"
                                                                : "on tensor cores in bf16";
  const std::string images = s.together == 1 ? "an image" : "two images";
  return "Runs in one persistent kernel, " + images + " a block: " + std::to_string(s.instructions.size()) +
         " instructions in " + std::to_string(rounds) + " rounds, products " + products + ", " +
         std::to_string(s.sharedBytes) + " bytes of shared memory, " + std::to_string(s.residentWeights) + " of " +
         std::to_string(s.weights) + " weights there" +
         (s.bankedWeights > 0 ? " and " + std::to_string(s.bankedWeights) + " in registers." : ".");
}

size_t bytesOf(const Sampler& s) {
  return aligned(s.instructions.size() * sizeof(Instruction)) + aligned(s.residents.size() * sizeof(Resident)) +
         aligned(s.packings.size() * sizeof(Packing)) + aligned(s.tables.size() * sizeof(int16_t)) +
         static_cast<size_t>(s.packedWords) * sizeof(float);
}

Run placeAt(char* memory, const Sampler& s, Progress* progress, const std::function<void(void*, const void*, size_t)>& upload) {
  const auto next = [&](const auto& list) {
    using Element = typename std::decay_t<decltype(list)>::value_type;
    const size_t bytes = list.size() * sizeof(Element);
    if (bytes > 0) upload(memory, list.data(), bytes);
    const Element* const placed = reinterpret_cast<const Element*>(memory);
    memory += aligned(bytes);
    return placed;
  };
  const auto counted = [](const auto& list) { return static_cast<int32_t>(list.size()); };
  Run run{};
  run.instructions = next(s.instructions);
  run.residents = next(s.residents);
  run.packings = next(s.packings);
  run.tables = next(s.tables);
  run.packed = reinterpret_cast<float*>(memory);
  run.instructionCount = counted(s.instructions);
  run.residentCount = counted(s.residents);
  run.products = s.products;
  run.packingCount = counted(s.packings);
  run.tableCount = counted(s.tables);
  run.images = s.images;
  run.perImage = s.perImage;
  run.partials = s.partials;
  run.tablesShared = s.tablesShared;
  run.banked = s.banked;
  run.slots = s.slots;
  run.progress = progress;
  return run;
}

bool acceptsNumbers(const Sampler& sampler, const std::vector<double>& values) {
  const auto inside = [](const Instruction& in, double row) { return row >= 0 && row < in.rows; };
  for (const Instruction& in : sampler.instructions) {
    if (in.operation != Operation::row) continue;
    if (in.number.slot < 0 && !inside(in, in.number.value)) return false;
    if (in.number.slot < 0) continue;
    for (size_t at = static_cast<size_t>(in.number.slot); at < values.size(); at += static_cast<size_t>(sampler.slots))
      if (!inside(in, values[at])) return false;
  }
  return true;
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
