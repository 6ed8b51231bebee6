// Checks of the native core below JavaScript: pool, queue, failures, allocator, programs, malformed words. For sanitizers.
//
// Prints one line for each check and ends with status 1 if one fails.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <string>
#include <vector>

#include "../core/device.h"
#include "../cpu/cpu_backend.h"

namespace langevin {
namespace baseline {

// Test kernels. `sum_items` counts the items that ran in its output.
static void sumItems(Command& command, Context& context) {
  const int64_t items = command.attributes.i();
  std::atomic<int64_t> sum{0};
  context.parallelFor(items, [&](int64_t item) { sum += item + 1; });
  *command.output.as<int32_t>() = static_cast<int32_t>(sum.load());
}

static void append(Command& command, Context&) {
  int32_t* log = command.inputs[0].as<int32_t>();
  log[++log[0]] = static_cast<int32_t>(command.attributes.i());
}

static void failInItems(Command&, Context& context) {
  context.parallelFor(100, [&](int64_t item) {
    if (item % 10 == 3) context.fail("an index is out of range");
  });
}

static void exhaustMemory(Command&, Context& context) { context.scratch(int64_t{1} << 50); }

static void useScratch(Command& command, Context& context) {
  float* a = context.scratch(300);
  float* b = context.scratch(5000000);
  std::memset(a, 1, 300 * sizeof(float));
  std::memset(b, 2, 5000000 * sizeof(float));
  *command.output.as<int32_t>() =
      reinterpret_cast<uintptr_t>(a) % 64 == 0 && reinterpret_cast<uintptr_t>(b) % 64 == 0 && *reinterpret_cast<char*>(a) == 1;
}

// Writes `value` into one element, zeros into the others.
static void setElement(Command& command, Context&) {
  const Operand& y = command.output;
  const int64_t at = command.attributes.i();
  const float value = static_cast<float>(command.attributes.f());
  for (int64_t i = 0; i < y.size(); i++) y.as<float>()[i / y.cols() * y.pitch + i % y.cols()] = i == at ? value : 0;
}

// The element of x, broadcast to an output of `rank` axes, that lies beside the one at these indices.
static float beside(const Operand& x, int rank, const int64_t* at) {
  int64_t strides[kMaxRank] = {};
  x.strides(strides);
  int64_t offset = 0;
  for (int i = rank - x.rank; i < rank; i++) {
    const int own = i - (rank - x.rank);
    if (x.shape[own] != 1) offset += at[i] * strides[own];
  }
  return x.as<const float>()[offset];
}

// y = 2 a + b + perImage[image] + table[last], and 100 times the number of the image.
static void combine(Command& command, Context& context) {
  const Operand &y = command.output, &a = command.inputs[0], &b = command.inputs[1];
  const Operand &perImage = command.inputs[2], &table = command.inputs[3];
  if (table.as<const float>()[table.size() - 1] < 0) context.fail("a negative table");
  int64_t strides[kMaxRank] = {};
  y.strides(strides);
  for (int64_t i = 0; i < y.size(); i++) {
    int64_t at[kMaxRank] = {}, rest = i, offset = 0;
    for (int axis = y.rank - 1; axis >= 0; axis--) {
      at[axis] = rest % y.shape[axis];
      rest /= y.shape[axis];
      offset += at[axis] * strides[axis];
    }
    const int64_t image = y.rank == 0 ? 0 : at[0];
    y.as<float>()[offset] = 2 * beside(a, y.rank, at) + beside(b, y.rank, at) + perImage.as<const float>()[image] +
                            table.as<const float>()[table.size() - 1] + 100 * static_cast<float>(command.firstImage + image);
  }
}

// Element e of row r is r + e / 1000. Rows are made `unit` at a time, by several threads, and announced where they may be.
static void numberRows(Command& command, Context& context) {
  const Operand& y = command.output;
  const int64_t unit = command.attributes.i(), rows = y.rows();
  const bool finishes = context.finishesParts(unit, true);
  context.parallelFor((rows + unit - 1) / unit, [&](int64_t item) {
    const int64_t first = item * unit, end = first + unit < rows ? first + unit : rows;
    for (int64_t r = first; r < end; r++)
      for (int64_t e = 0; e < y.cols(); e++)
        y.as<float>()[r * y.pitch + e] = static_cast<float>(r) + static_cast<float>(e) / 1000;
    if (finishes) context.finish(first, end - first, 0, y.cols());
  });
}

LANGEVIN_KERNEL("combine", "", combine)
LANGEVIN_KERNEL("number_rows", "unit:int", numberRows)
LANGEVIN_KERNEL("set_element", "at:int,value:float", setElement)
LANGEVIN_KERNEL("sum_items", "items:int", sumItems)
LANGEVIN_KERNEL("append", "value:int", append)
LANGEVIN_KERNEL("fail_in_items", "", failInItems)
LANGEVIN_KERNEL("exhaust_memory", "", exhaustMemory)
LANGEVIN_KERNEL("use_scratch", "seed:seed,mode:near|far,sizes:ints,flag:bool,factor:float", useScratch)

}  // namespace baseline
}  // namespace langevin

using namespace langevin;

static int failed = 0;

static void expect(bool ok, const char* what) {
  std::printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  if (!ok) failed++;
}

static double code(const char* name) {
  const auto& kernels = Registry::get().kernels();
  for (size_t i = 0; i < kernels.size(); i++)
    if (kernels[i].name == name) return static_cast<double>(i);
  return -1;
}

static const std::vector<double> oneInt(double id) { return {id, 1, 0, 1, 0}; }

static std::vector<double> join(std::vector<double> list, const std::vector<double>& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

static std::vector<double> command(const char* name, bool output, double inputs, std::vector<double> rest) {
  return join({code(name), static_cast<double>(rest.size() + 5), output ? 1.0 : 0.0, inputs, 0}, rest);
}

static void submit(Device& device, const std::vector<double>& words) { device.submit(words.data(), words.size()); }

static int32_t readInt(Device& device, double id) {
  int32_t value = 0;
  device.readSync(id, 0, &value, sizeof value);
  return value;
}

static void tryPool(int threads) {
  ThreadPool pool(threads);
  bool exact = true;
  for (int round = 0; round < 3000; round++) {
    const int64_t items = round % 37;
    std::vector<std::atomic<int>> ran(static_cast<size_t>(items));
    auto count = [&](int64_t item) { ran[static_cast<size_t>(item)]++; };
    pool.run(items, [](const void* f, int64_t item) { (*static_cast<decltype(count)*>(const_cast<void*>(f)))(item); }, &count);
    for (const auto& n : ran) exact = exact && n == 1;
    // Now and then the workers get time to fall asleep.
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  expect(exact, ("each item once, threads " + std::to_string(threads)).c_str());
}

static void tryOrder() {
  Device device(openCpu(2));
  const double log = device.allocate(4 * 6000);
  std::vector<int32_t> zeros(6000, 0);
  device.write(log, 0, zeros.data(), 24000);
  for (int i = 0; i < 5000; i++) submit(device, command("append", false, 1, join({log, 1, 0, 6000, 1, 6000}, {double(i)})));
  std::vector<int32_t> got(6000);
  device.readSync(log, 0, got.data(), 24000);
  bool inOrder = got[0] == 5000;
  for (int i = 0; i < 5000; i++) inOrder = inOrder && got[static_cast<size_t>(i) + 1] == i;
  expect(inOrder, "5000 commands ran in order");

  // A later write and a read before it see their own time.
  for (int i = 0; i < 1000; i++) submit(device, command("append", false, 1, join({log, 1, 0, 6000, 1, 6000}, {1})));
  int32_t before = 0, marker = -5;
  std::promise<void> done;
  device.read(log, 0, &before, 4, [&](Failure) { done.set_value(); });
  device.write(log, 0, &marker, 4);
  marker = 99;
  done.get_future().wait();
  expect(before == 6000 && readInt(device, log) == -5, "reads and writes keep their place");
}

static void tryFailures() {
  Device device(openCpu(2));
  const double out = device.allocate(4);
  submit(device, command("fail_in_items", false, 0, {}));
  submit(device, command("exhaust_memory", false, 0, {}));
  submit(device, command("sum_items", true, 0, join(oneInt(out), {10})));
  int32_t value = 0;
  const Failure first = device.readSync(out, 0, &value, 4);
  expect(first.op == "fail_in_items" && first.problem == "an index is out of range", "the first failure is kept with its op");
  expect(value == 55, "later commands run all the same");
  expect(device.readSync(out, 0, &value, 4).op.empty(), "a failure is reported once");
  submit(device, command("exhaust_memory", false, 0, {}));
  expect(device.readSync(out, 0, &value, 4).problem == "out of memory", "exhausted memory is a failure, no crash");
}

static void tryScratch() {
  Device device(openCpu(1));
  const double out = device.allocate(4);
  bool ok = true;
  for (int i = 0; i < 5; i++) {
    submit(device, command("use_scratch", true, 0, join(oneInt(out), {1, 4294967295.0, 1, 2, -3, 4, 1, 0.5})));
    ok = ok && readInt(device, out) == 1;
  }
  expect(ok, "scratch memory is aligned and distinct");
}

static void tryAllocator() {
  bool ok = true;
  for (size_t bytes = 0; bytes < 100000; bytes = bytes * 5 / 4 + 1) {
    const size_t rounded = Allocator::classBytes(bytes);
    ok = ok && rounded >= bytes && rounded % 64 == 0 && (bytes < 256 || rounded <= bytes + bytes / 4 + 64);
  }
  expect(ok, "size classes waste a quarter at most");
  Device device(openCpu(1));
  const double a = device.allocate(1000);
  device.release(a);
  const double b = device.allocate(1000);
  expect(a != b, "numbers of buffers are not reused");
  expect(device.memory().reservedBytes == Allocator::classBytes(1000), "their memory is");
  size_t most = 0;
  const size_t mebibyte = size_t{1} << 20;
  for (size_t size = 20; size <= 112; size += 4) {
    device.release(device.allocate(static_cast<double>(size * mebibyte)));
    most = std::max(most, device.memory().reservedBytes);
  }
  expect(most <= 224 * mebibyte, "blocks of sizes that keep changing do not pile up");  // all of them: 600 MiB
  bool threw = false;
  try {
    device.release(a);
  } catch (const DeviceFailure&) {
    threw = true;
  }
  expect(threw, "a stale number is refused");
}

template <class F>
static bool throws(const F& call) {
  try {
    call();
  } catch (const std::runtime_error&) {
    return true;
  }
  return false;
}

class OneBuffer final : public BufferLookup {
 public:
  explicit OneBuffer(int32_t* memory) : memory_(memory) {}
  BufferView find(double id) const override { return id == 1 ? BufferView{memory_, 4} : BufferView{}; }

 private:
  int32_t* memory_;
};

// Random words and damaged commands: each is refused or harmless, none reaches outside its buffers.
static void tryMalformed() {
  int32_t memory = 0;
  const OneBuffer buffers(&memory);
  const std::vector<double> good = command("use_scratch", true, 0, join(oneInt(1), {1, 2, 1, 2, -3, 4, 1, 0.5}));
  const auto decoded = [&](const std::vector<double>& words) {
    decode("submit", words.data(), words.size(), Registry::get().kernels(), buffers);
  };
  const std::vector<double> stored = command("use_scratch", true, 0, join({1, 3, 0, 1, 0}, {1, 2, 1, 2, -3, 4, 1, 0.5}));
  expect(throws([&] { decoded(stored); }) && !throws([&] { decoded(good); }), "kernels of the CPU take tensors' types alone");
  std::mt19937 random(1);
  const double odd[] = {-1, 0.5, 1e300, -1e300, __builtin_nan(""), __builtin_inf(), 9007199254740993.0, 3, 8, 9, 4294967296.0};
  int refused = 0;
  for (int i = 0; i < 20000; i++) {
    std::vector<double> words = good;
    for (int k = random() % 3; k >= 0; k--) words[random() % words.size()] = odd[random() % 11];
    if (random() % 4 == 0) words.resize(random() % words.size());
    try {
      decoded(words);
    } catch (const MalformedCommand&) {
      refused++;
    }
  }
  expect(refused > 15000, "damaged commands are refused");
}

// Memory of floats on a device, and operands in it.
class Floats {
 public:
  Floats(Device& device, size_t count, double start) : device_(device), id_(device.allocate(4.0 * double(count))), values_(count) {
    for (size_t i = 0; i < count; i++) values_[i] = static_cast<float>(start + double(i % 97) / 8);
    device.write(id_, 0, values_.data(), 4 * count);
  }
  ~Floats() { device_.release(id_); }

  std::vector<double> operand(const std::vector<double>& shape, double pitch) const {
    return join({id_, 0, 0, pitch, double(shape.size())}, shape);
  }
  std::vector<double> dense(const std::vector<double>& shape) const {
    return operand(shape, shape.empty() ? 1 : shape.back());
  }
  std::vector<float> read(Failure& failure) {
    failure = device_.readSync(id_, 0, values_.data(), 4 * values_.size());
    return values_;
  }

 private:
  Device& device_;
  const double id_;
  std::vector<float> values_;
};

// How a command runs, as the word after the number of its inputs says, and what follows on that.
enum Role { kAlone = 0, kPartwise = 1, kEpilogue = 2, kJoined = 3 };
static std::vector<double> inRole(std::vector<double> words, Role role, bool wholeImages, std::vector<double> alignments) {
  words[4] = role;
  if (role == kAlone || role == kEpilogue) return words;
  alignments.insert(alignments.begin(), wholeImages ? 1 : 0);
  words.insert(words.begin() + 5, alignments.begin(), alignments.end());
  words[1] = static_cast<double>(words.size());
  return words;
}

// Commands that run part by part leave what they leave one by one, in all shapes, and fail in their own names.
static void tryParts() {
  const std::vector<std::vector<double>> shapes = {
      {}, {7}, {40000}, {3, 5}, {5, 3, 33, 7}, {2, 70, 11, 16}, {1, 3, 20000}, {2, 1, 3, 5, 300}, {4, 9000, 1}, {0, 3}};
  bool same = true, named = true;
  for (const std::vector<double>& shape : shapes)
    for (const double unit : {1.0, 3.0, 64.0, 99.0})
      for (const bool wholeImages : {false, true})
        for (const bool product : {false, true}) {
          double size = 1;
          for (const double n : shape) size *= n;
          const double cols = shape.empty() ? 1 : shape.back(), images = shape.empty() ? 1 : shape[0];
          const double rows = cols == 0 ? 0 : size / cols, pitch = rows > 1 ? cols + 3 : cols;
          std::vector<float> left[2][2];
          for (const bool joined : {false, true}) {
            Device device(openCpu(joined ? 5 : 1));
            Floats y(device, size_t(rows * pitch + 1), 1), z(device, size_t(size + 1), 2), c(device, size_t(cols + 1), 3);
            Floats t(device, size_t(images + 1), 4), table(device, 3, 5);
            // The second command overwrites what the first one wrote, and the third reads both.
            const auto wide = y.operand(shape, pitch), dense = z.dense(shape);
            const auto broadcast = c.dense(shape.empty() ? shape : std::vector<double>{cols});
            const auto rest = join(join(broadcast, t.dense({images})), table.dense({3}));
            const std::vector<double> alignments = {0, 0, 1, 2};
            const auto head = product ? command("number_rows", true, 0, join(wide, {unit}))
                                      : command("combine", true, 4, join(join(wide, wide), rest));
            const auto second = command("combine", true, 4, join(join(wide, wide), rest));
            const auto third = command("combine", true, 4, join(join(dense, wide), rest));
            const Role first = !joined ? kAlone : product ? kEpilogue : kPartwise, next = joined ? kJoined : kAlone;
            submit(device, join(join(inRole(head, first, false, alignments), inRole(second, next, wholeImages, alignments)),
                                inRole(third, next, false, alignments)));
            Failure failure;
            left[joined][0] = y.read(failure), left[joined][1] = z.read(failure);
            same = same && failure.op.empty();
            const float negative = -1;
            if (size == 0) continue;
            Floats bad(device, 1, negative);
            const auto failing = command("combine", true, 4, join(join(dense, wide), join(join(broadcast, t.dense({images})), bad.dense({1}))));
            submit(device, join(inRole(command("number_rows", true, 0, join(wide, {unit})), joined ? kEpilogue : kAlone, false, {}),
                                inRole(failing, next, false, alignments)));
            z.read(failure);
            named = named && failure.op == "combine" && failure.problem == "a negative table";
          }
          same = same && left[0][0] == left[1][0] && left[0][1] == left[1][1];
        }
  expect(same, "commands that run part by part leave what they leave one by one");
  expect(named, "a command that fails in a part is named");
}

// A program as its two arrays, put together piece by piece.
struct ProgramText {
  std::vector<double> words;
  std::vector<double> lists, slots, reports, steps;  // without their numbers
  double slotCount = 0, reportCount = 0;
  bool checkFinite = false;

  double list(const std::vector<std::vector<double>>& commands) {
    for (const auto& one : commands) words = join(words, one);
    lists.push_back(static_cast<double>(commands.size()));
    return static_cast<double>(lists.size()) - 1;
  }

  struct Place {
    double list, command, attribute;
  };

  void slot(double list, const std::vector<Place>& places) {
    slots = join(slots, {list, static_cast<double>(places.size())});
    for (const Place& place : places) slots = join(slots, {place.list, place.command, place.attribute});
    slotCount++;
  }

  void report(const std::vector<double>& operand) {
    reports = join(reports, operand);
    reportCount++;
  }

  void run(double list) { steps = join(steps, {0, list}); }
  void loop(double times) { steps = join(steps, {1, times}); }
  void end() { steps.push_back(2); }

  std::vector<double> layout() const {
    std::vector<double> all = join({checkFinite ? 1.0 : 0.0, 0, static_cast<double>(lists.size())}, lists);
    all = join(join(all, {slotCount}), slots);
    all = join(join(all, {reportCount}), reports);
    return join(join(all, {0}), steps);  // no temporaries
  }

  double load(Device& device) const {
    const std::vector<double> rest = layout();
    return device.load(words.data(), words.size(), rest.data(), rest.size());
  }
};

static ReplayPlan plan(double steps, std::vector<double> values = {}) {
  ReplayPlan result;
  result.steps = steps;
  result.values = std::move(values);
  return result;
}

static std::shared_ptr<Replay> start(Device& device, double program, ReplayPlan how, std::promise<void>& done) {
  const auto replay = device.prepare(program, std::move(how));
  device.start(replay, [&done](Failure) { done.set_value(); });
  return replay;
}

static ReplayEnd runAll(Device& device, double program, ReplayPlan how) {
  std::promise<void> done;
  const auto replay = start(device, program, std::move(how), done);
  done.get_future().wait();
  return replay->end();
}

// A buffer to which `append` writes: its first word counts, the others follow.
class Log {
 public:
  Log(Device& device, int room) : device_(device), room_(room), id(device.allocate(4.0 * room)) { clear(); }

  void clear() {
    const std::vector<int32_t> zeros(static_cast<size_t>(room_), 0);
    device_.write(id, 0, zeros.data(), zeros.size() * 4);
  }

  std::vector<double> append(double value) const {
    return command("append", false, 1, {id, 1, 0, double(room_), 1, double(room_), value});
  }

  std::vector<int32_t> read() {
    std::vector<int32_t> all(static_cast<size_t>(room_));
    device_.readSync(id, 0, all.data(), all.size() * 4);
    return {all.begin() + 1, all.begin() + 1 + all[0]};
  }

 private:
  Device& device_;
  const int room_;

 public:
  const double id;
};

// Random programs: trees of loops over lists whose commands append what slots put there, and a model of what they do.
class RandomProgram {
 public:
  RandomProgram(Log& log, uint32_t seed) : random_(seed) {
    const size_t lists = 1 + below(4);
    for (size_t l = 0; l < lists; l++) {
      std::vector<std::vector<double>> commands;
      values_.emplace_back();
      for (size_t c = below(4); c > 0; c--) {
        values_.back().push_back(static_cast<int32_t>(below(1000)));
        commands.push_back(log.append(values_.back().back()));
      }
      text.list(commands);
    }
    slots_.resize(lists);
    for (size_t n = below(5); n > 0; n--) {
      const size_t list = below(lists);
      std::vector<ProgramText::Place> places;
      for (size_t k = below(4); k > 0; k--) {
        const size_t other = below(lists);
        if (!values_[other].empty()) places.push_back({double(other), double(below(values_[other].size())), 0});
      }
      text.slot(static_cast<double>(list), places);
      slots_[list].push_back(places);
    }
    body(0);
  }

  // Runs the model for a step; takes values from `next`, which makes them.
  void step() {
    size_t at = 0;
    block(at, true);
  }

  ProgramText text;
  std::vector<double> given;
  std::vector<int32_t> expected;
  int64_t runs = 0;

 private:
  size_t below(size_t n) { return random_() % n; }

  void body(int depth) {
    for (size_t n = below(4); n > 0; n--) {
      if (depth == 4 || below(2) == 0) {
        text.run(static_cast<double>(below(values_.size())));
      } else {
        text.loop(static_cast<double>(below(4)));
        body(depth + 1);
        text.end();
      }
    }
  }

  void block(size_t& at, bool active) {
    while (at < text.steps.size() && text.steps[at] != 2) {
      if (text.steps[at] == 0) {
        if (active) list(static_cast<size_t>(text.steps[at + 1]));
        at += 2;
        continue;
      }
      const int times = static_cast<int>(text.steps[at + 1]);
      const size_t start = at + 2;
      at = start;
      if (times == 0 || !active) block(at, false);
      for (int i = 0; active && i < times; i++) {
        at = start;
        block(at, true);
      }
      at++;
    }
  }

  void list(size_t l) {
    for (const auto& places : slots_[l]) {
      given.push_back(static_cast<double>(below(1000)));
      for (const auto& place : places) values_[size_t(place.list)][size_t(place.command)] = static_cast<int32_t>(given.back());
    }
    expected.insert(expected.end(), values_[l].begin(), values_[l].end());
    runs++;
  }

  std::mt19937 random_;
  std::vector<std::vector<int32_t>> values_;  // of the commands of each list
  std::vector<std::vector<std::vector<ProgramText::Place>>> slots_;
};

static void tryPrograms() {
  Device device(openCpu(2));
  Log log(device, 40000);
  bool same = true, counted = true, exact = true;
  for (uint32_t seed = 0; seed < 300; seed++) {
    RandomProgram random(log, seed);
    const double program = random.text.load(device);
    const int steps = 1 + static_cast<int>(seed % 3);
    // Twice: a place keeps the value that it was given last.
    for (int round = 0; round < 2; round++) {
      log.clear();
      random.given.clear();
      random.expected.clear();
      random.runs = 0;
      for (int i = 0; i < steps; i++) random.step();
      const ReplayEnd end = runAll(device, program, plan(steps, random.given));
      same = same && log.read() == random.expected;
      counted = counted && end.steps == steps && end.lists == random.runs && end.failure.op.empty();
      random.given.push_back(1);
      exact = exact && throws([&] { device.prepare(program, plan(steps, random.given)); });
    }
    device.unload(program);
  }
  expect(same, "programs: loops and slots do what they say");
  expect(counted, "programs: steps and lists are counted");
  expect(exact, "programs: a value too many is refused");
}

static void tryReports() {
  Device device(openCpu(1));
  Log log(device, 4000);
  const double x = device.allocate(4);
  ProgramText text;
  const double list = text.list({log.append(7), command("set_element", true, 0, {x, 0, 0, 1, 1, 1, 0, 0.5})});
  text.slot(list, {{list, 1, 1}});
  text.report({x, 0, 0, 1, 0});
  text.report({log.id, 1, 0, 1, 1, 1});
  text.run(list);
  const double program = text.load(device);
  std::vector<double> values, rows(6000);
  for (int i = 0; i < 3000; i++) values.push_back(i * 0.25);
  ReplayPlan how = plan(3000, values);
  how.reports = {rows.data(), rows.size()};
  std::atomic<int> waiting{0}, most{0};
  how.news = [&] { most = std::max(most.load(), ++waiting); };
  std::promise<void> done;
  const auto replay = start(device, program, std::move(how), done);
  const auto future = done.get_future();
  bool right = true;
  int64_t told = 0;
  for (bool over = false; !over;) {
    over = future.wait_for(std::chrono::microseconds(20)) == std::future_status::ready;
    if (waiting.load() == 0 && !over) continue;
    waiting = 0;
    const int64_t steps = replay->progress();
    right = right && steps >= told;
    for (; told < steps; told++) {
      const size_t row = static_cast<size_t>(2 * told);
      right = right && rows[row] == static_cast<double>(told) * 0.25 && rows[row + 1] == static_cast<double>(told + 1);
    }
  }
  expect(right && told == 3000, "reports are there once their step is told");
  expect(most.load() == 1, "one piece of news waits at most");
  how = plan(2, {1, 2});
  how.reports = {rows.data(), 3};
  expect(throws([&] { device.prepare(program, how); }), "reports of another size are refused");
  expect(throws([&] { device.prepare(program, plan(0)); }) && throws([&] { device.prepare(program, plan(1.5, {1})); }),
         "numbers of steps are whole and positive");
}

static void tryStops() {
  Device device(openCpu(2));
  Log log(device, 1000000);
  ProgramText text;
  const double one = text.list({log.append(1), log.append(2)}), two = text.list({log.append(3)});
  text.run(one);
  text.loop(2);
  text.run(two);
  text.end();
  const double program = text.load(device);
  std::mt19937 random(1);
  bool whole = true, cut = false;
  for (int round = 0; round < 60; round++) {
    log.clear();
    std::promise<void> done;
    const auto replay = start(device, program, plan(200000), done);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    replay->stop();
    done.get_future().wait();
    const ReplayEnd& end = replay->end();
    cut = cut || (end.lists > 0 && end.steps < 200000);
    const int64_t rest = end.lists - 3 * end.steps;  // runs of the step that was stopped
    whole = whole && rest >= 0 && rest < 3;
    const auto got = log.read();
    whole = whole && static_cast<int64_t>(got.size()) == 4 * end.steps + (rest == 0 ? 0 : 1 + rest);
  }
  expect(whole && cut, "replays stop between lists");
  log.clear();
  std::promise<void> first, second;
  const auto before = start(device, program, plan(50000), first), never = start(device, program, plan(50000), second);
  never->stop();
  second.get_future().wait();
  expect(before->end().steps == 50000 && never->end().lists == 0, "a replay that is stopped before its turn does not run");
  never->stop();

  // Nothing runs in these, and still they end.
  ProgramText empty;
  empty.loop(1e15);
  empty.loop(1e15);
  empty.end();
  empty.end();
  expect(runAll(device, empty.load(device), plan(1000)).steps == 1000, "loops without lists are nothing");
  empty.run(empty.list({}));
  std::promise<void> third;
  const auto endless = start(device, empty.load(device), plan(1e15), third);
  endless->stop();
  third.get_future().wait();
  expect(endless->end().steps < 1e15, "empty lists can be stopped");
}

static void tryFailingPrograms() {
  Device device(openCpu(2));
  Log log(device, 1000);
  ProgramText text;
  const double good = text.list({log.append(1)});
  const double bad = text.list({log.append(2), command("fail_in_items", false, 0, {}), log.append(3)});
  const double hungry = text.list({command("exhaust_memory", false, 0, {})});
  ProgramText other = text;
  text.run(good);
  text.loop(3);
  text.run(bad);
  text.end();
  const double program = text.load(device);
  const ReplayEnd end = runAll(device, program, plan(5));
  expect(end.failure.op == "fail_in_items" && end.failure.problem == "an index is out of range", "a failure ends a replay");
  expect(end.list == bad && end.command == 1 && end.steps == 0 && end.lists == 1, "its place is known");
  expect(log.read() == std::vector<int32_t>{1, 2}, "nothing runs after it");
  expect(device.takeFailure().op.empty(), "it stays with the replay");
  device.run(program, {});
  submit(device, log.append(4));
  expect(log.read() == std::vector<int32_t>{1, 2, 1, 2, 4}, "a run is in order");  // and the failure is taken
  device.run(program, {});
  int32_t count = 0;
  expect(device.readSync(log.id, 0, &count, 4).op == "fail_in_items" && count == 7, "a failure of a run is found by a read");
  other.run(hungry);
  expect(runAll(device, other.load(device), plan(1)).failure.problem == "out of memory", "exhausted memory ends a replay");
}

static void tryFinite() {
  Device device(openCpu(2));
  const double x = device.allocate(4 * 300000);
  const double nan = __builtin_nan(""), infinity = __builtin_inf();
  const auto problem = [&](const std::vector<double>& operand, double at, double value) {
    ProgramText text;
    text.checkFinite = true;
    text.run(text.list({command("set_element", true, 0, join(operand, {0, 1})), command("set_element", true, 0, join(operand, {at, value}))}));
    const double program = text.load(device);
    const ReplayEnd end = runAll(device, program, plan(1));
    device.unload(program);
    return end.failure.op.empty() || end.command == 1 ? end.failure.problem : "another command";
  };
  const std::vector<double> dense{x, 0, 0, 8, 3, 4, 8, 8}, pitched{x, 0, 2, 11, 3, 4, 8, 8}, scalar{x, 0, 1, 1, 0};
  expect(problem(dense, 2 * 64 + 5, nan) == "element [2, 0, 5] of the result (shape [4, 8, 8]) is NaN", "NaN is found");
  expect(problem(pitched, 64 + 9, -infinity) == "element [1, 1, 1] of the result (shape [4, 8, 8]) is -Infinity",
         "infinity is found at a pitch");
  expect(problem(scalar, 0, infinity) == "element [] of the result (shape []) is Infinity", "a scalar is searched");
  expect(problem(dense, 255, 3.4e38).empty() && problem(dense, 7, -1e-45).empty(), "large and tiny numbers pass");
  const std::vector<double> large{x, 0, 0, 300000, 1, 300000};
  bool all = true;
  for (const double at : {0.0, 65535.0, 65536.0, 131071.0, 299999.0})
    all = all && problem(large, at, nan) == "element [" + show(at) + "] of the result (shape [300000]) is NaN";
  expect(all, "every part of a large result is searched");
  // What lies between rows is nobody's result.
  const std::vector<float> nans(64, static_cast<float>(nan));
  device.write(x, 0, nans.data(), 256);
  expect(problem({x, 0, 1, 5, 2, 3, 4}, 0, 2).empty(), "gaps between rows are not searched");
  expect(problem({x, 0, 0, 4, 2, 0, 4}, 0, 2).empty(), "empty results pass");
}

static void tryUnloading() {
  Device device(openCpu(2));
  Log log(device, 100000);
  ProgramText text;
  text.run(text.list({log.append(1)}));
  const double program = text.load(device);
  std::promise<void> done;
  start(device, program, plan(30000), done);
  device.unload(program);
  expect(throws([&] { device.run(program, {}); }) && throws([&] { device.unload(program); }), "an unloaded program is gone");
  const double next = text.load(device);
  expect(next != program, "numbers of programs are not reused");
  done.get_future().wait();
  expect(log.read().size() == 30000, "a replay that was started keeps its program");
  device.run(next, {});
  device.release(log.id);
  expect(throws([&] { device.run(next, {}); }), "a program whose buffer was released does not start");
}

// Damaged programs are refused or harmless, as damaged commands are.
static void tryMalformedPrograms() {
  Device device(openCpu(1));
  Log log(device, 100);
  const double x = device.allocate(4);
  const std::vector<double> everything = command("use_scratch", true, 0, join(oneInt(x), {1, 2, 1, 2, -3, 4, 1, 0.5}));
  ProgramText good;
  const double a = good.list({log.append(1), everything}), b = good.list({log.append(3)});
  good.slot(a, {{a, 0, 0}, {b, 0, 0}});
  good.slot(b, {{a, 1, 4}});
  good.report({x, 0, 0, 1, 0});
  good.run(a);
  good.loop(2);
  good.run(b);
  good.end();
  device.unload(good.load(device));
  const auto refused = [&](const char* what, void (*damage)(ProgramText&)) {
    ProgramText text = good;
    damage(text);
    expect(throws([&] { text.load(device); }), what);
  };
  refused("programs: a list that is not there", [](ProgramText& t) { t.run(2); });
  refused("programs: a loop that stays open", [](ProgramText& t) { t.loop(2); });
  refused("programs: a loop that was not opened", [](ProgramText& t) { t.end(); });
  refused("programs: half an instruction", [](ProgramText& t) { t.steps.push_back(0); });
  refused("programs: commands in no list", [](ProgramText& t) { t.lists.pop_back(); });
  refused("programs: more commands than there are", [](ProgramText& t) { t.lists.back()++; });
  refused("programs: a slot on a seed", [](ProgramText& t) { t.slot(0, {{0, 1, 0}}); });
  refused("programs: a slot on a choice", [](ProgramText& t) { t.slot(0, {{0, 1, 1}}); });
  refused("programs: a slot on a list of numbers", [](ProgramText& t) { t.slot(0, {{0, 1, 2}}); });
  refused("programs: a slot on no attribute", [](ProgramText& t) { t.slot(0, {{0, 1, 5}}); });
  refused("programs: a slot on no command", [](ProgramText& t) { t.slot(0, {{1, 1, 0}}); });
  refused("programs: a report that is absent", [](ProgramText& t) { t.report({0}); });
  refused("programs: a report of half a float", [](ProgramText& t) { t.report({1, 3, 0, 1, 0}); });
  refused("programs: a report of several numbers", [](ProgramText& t) { t.report({1, 1, 0, 2, 1, 2}); });
  const double program = good.load(device);
  expect(throws([&] { device.prepare(program, plan(1, {0.5, 1, 1})); }) &&
             throws([&] { device.prepare(program, plan(1, {__builtin_nan(""), 1, 1})); }),
         "values of whole attributes are whole");
  expect(runAll(device, program, plan(1, {5, 1.5, 2.5})).lists == 3, "others may be anything");

  const std::vector<double> layout = good.layout();
  std::mt19937 random(1);
  const double odd[] = {-1, 0.5, 1e300, __builtin_nan(""), 9007199254740992.0, 0, 1, 2, 3, 4};
  int failures = 0;
  for (int i = 0; i < 20000; i++) {
    std::vector<double> damaged = layout;
    for (int k = random() % 3; k >= 0; k--) damaged[random() % damaged.size()] = odd[random() % 10];
    if (random() % 4 == 0) damaged.resize(random() % damaged.size());
    try {
      device.unload(device.load(good.words.data(), good.words.size(), damaged.data(), damaged.size()));
    } catch (const MalformedCommand&) {
      failures++;
    }
  }
  expect(failures > 10000, "damaged programs are refused");
}

// A device that goes while work is queued ends the running command and drops the rest.
static void tryEndingEarly() {
  for (int round = 0; round < 50; round++) {
    Device device(openCpu(2));
    const double log = device.allocate(4 * 6000);
    std::vector<int32_t> zeros(6000, 0);
    device.write(log, 0, zeros.data(), 24000);
    for (int i = 0; i < 200; i++) submit(device, command("append", false, 1, join({log, 1, 0, 6000, 1, 6000}, {double(i)})));
    device.fence([](Failure) {});
  }
  for (int round = 0; round < 50; round++) {
    Device device(openCpu(2));
    Log log(device, 1000000);
    ProgramText text;
    text.run(text.list({log.append(1), log.append(2)}));
    const double program = text.load(device);
    ReplayPlan how = plan(400000);
    how.news = [] {};
    const auto replay = device.prepare(program, std::move(how));
    if (round % 3 > 0) device.start(replay, [](Failure) {});
    else device.run(program, {});
    if (round % 3 == 1) std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  expect(true, "devices end in the middle of work");
}

static void tryProcessors() {
  namespace fs = std::filesystem;
  std::string pattern = (fs::temp_directory_path() / "langevin-cgroup-XXXXXX").string();
  const fs::path folder = mkdtemp(pattern.data());
  const fs::path groups = folder / "groups", membership = folder / "membership";
  fs::create_directories(groups / "outer" / "inner");
  const auto write = [](const fs::path& file, const char* text) { std::ofstream(file) << text; };
  const auto quota = [&] { return processorQuota(membership.string(), groups.string()); };
  expect(std::isinf(quota()), "processors: unlimited without control groups");
  write(membership, "4:cpu:/other\n0::/outer/inner\n");
  expect(std::isinf(quota()), "processors: unlimited where no group says otherwise");
  write(groups / "outer" / "inner" / "cpu.max", "max 100000\n");
  expect(std::isinf(quota()), "processors: unlimited by max");
  write(groups / "outer" / "cpu.max", "150000 100000\n");
  expect(quota() == 1.5, "processors: an outer group limits an inner one");
  write(groups / "outer" / "inner" / "cpu.max", "50000 100000\n");
  expect(quota() == 0.5, "processors: the least of all counts");
  // A container may see its own group as the root, though its path is the host's.
  write(membership, "0::/elsewhere/on/the/host\n");
  write(groups / "cpu.max", "200000 100000\n");
  expect(quota() == 2, "processors: the root limits, too");
  write(membership, "0::/\n");
  expect(quota() == 2, "processors: the root alone");
  expect(availableProcessors() >= 1, "processors: at least one");
  fs::remove_all(folder);
}

int main() {
  tryProcessors();
  for (int threads : {1, 2, 5}) tryPool(threads);
  tryOrder();
  tryFailures();
  tryScratch();
  tryAllocator();
  tryPrograms();
  tryReports();
  tryStops();
  tryFailingPrograms();
  tryFinite();
  tryUnloading();
  tryParts();
  tryMalformed();
  tryMalformedPrograms();
  tryEndingEarly();
  return failed == 0 ? 0 : 1;
}
