// Checks of the native core below JavaScript: pool, queue, failures, allocator, malformed words. Meant for sanitizers.
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
  return join({code(name), static_cast<double>(rest.size() + 4), output ? 1.0 : 0.0, inputs}, rest);
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
  Device device(2);
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
  Device device(2);
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
  Device device(1);
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
  Device device(1);
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
  std::mt19937 random(1);
  const double odd[] = {-1, 0.5, 1e300, -1e300, __builtin_nan(""), __builtin_inf(), 9007199254740993.0, 3, 8, 9, 4294967296.0};
  int refused = 0;
  for (int i = 0; i < 20000; i++) {
    std::vector<double> words = good;
    for (int k = random() % 3; k >= 0; k--) words[random() % words.size()] = odd[random() % 11];
    if (random() % 4 == 0) words.resize(random() % words.size());
    try {
      decode(words.data(), words.size(), Registry::get(), buffers);
    } catch (const MalformedCommand&) {
      refused++;
    }
  }
  expect(refused > 15000, "damaged commands are refused");
}

// A device that goes while work is queued ends the running command and drops the rest.
static void tryEndingEarly() {
  for (int round = 0; round < 50; round++) {
    Device device(2);
    const double log = device.allocate(4 * 6000);
    std::vector<int32_t> zeros(6000, 0);
    device.write(log, 0, zeros.data(), 24000);
    for (int i = 0; i < 200; i++) submit(device, command("append", false, 1, join({log, 1, 0, 6000, 1, 6000}, {double(i)})));
    device.fence([](Failure) {});
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
  tryMalformed();
  tryEndingEarly();
  return failed == 0 ? 0 : 1;
}
