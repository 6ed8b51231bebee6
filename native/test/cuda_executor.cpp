// The executor of device cuda on the host, to be run under sanitizers: two threads use the backend, the owner's and the
// queue's, while a third one stops replays.
#include <cstdio>
#include <future>
#include <thread>
#include <vector>

#include "../core/device.h"
#include "../cuda/discovery/discovery.h"

using namespace langevin;

namespace {

int failed = 0;

void expect(bool ok, const char* what) {
  std::printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  if (!ok) failed++;
}

double code(const char* name) {
  const Kernels& kernels = cudaKernels();
  for (size_t i = 0; i < kernels.size(); i++)
    if (kernels[i].name == name) return static_cast<double>(i);
  return -1;
}

using Words = std::vector<double>;

Words join(std::initializer_list<Words> lists) {
  Words all;
  for (const Words& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

// n float32 at the start of a buffer.
Words vector(double id, double n) { return {id, 0, 0, n, 1, n}; }

Words command(const char* name, bool output, double inputs, const Words& rest) {
  return join({{code(name), static_cast<double>(rest.size() + 5), output ? 1.0 : 0.0, inputs, 0}, rest});  // 0: alone
}

Words fill(double id, double n, double value) { return command("fill", true, 0, join({vector(id, n), {1, n, 0, value}})); }
Words addTo(double id, double other, double n) {
  return command("add", true, 2, join({vector(id, n), vector(id, n), vector(other, n)}));
}

void submit(Device& device, const Words& words) { device.submit(words.data(), words.size()); }

std::vector<float> read(Device& device, double id, size_t n) {
  std::vector<float> values(n);
  const Failure failure = device.readSync(id, 0, values.data(), n * sizeof(float));
  if (!failure.op.empty()) std::printf("# %s: %s\n", failure.op.c_str(), failure.problem.c_str());
  return values;
}

// A program of one list that adds up what a slot gives: sum += value. Its only report is the sum.
double loadSum(Device& device, double sum, double term) {
  const Words words = join({fill(term, 1, 0), addTo(sum, term, 1)});
  // The slot changes attribute 2 of command 0, the value.
  const Words layout = join({{0, 0, 1, 2, 1, 0, 1, 0, 0, 2, 1}, vector(sum, 1), {0}, {0, 0}});
  return device.load(words.data(), words.size(), layout.data(), layout.size());
}

ReplayEnd replay(Device& device, double program, Words values, std::vector<double>& reports, bool stopEarly) {
  ReplayPlan plan;
  plan.steps = static_cast<double>(values.size());
  plan.values = std::move(values);
  plan.reports = {reports.data(), reports.size()};
  const std::shared_ptr<Replay> prepared = device.prepare(program, std::move(plan));
  std::promise<void> done;
  device.start(prepared, [&done](Failure) { done.set_value(); });
  std::thread stopper([&] {
    while (stopEarly && prepared->progress() == 0) std::this_thread::yield();
    if (stopEarly) prepared->stop();
  });
  done.get_future().wait();
  stopper.join();
  return prepared->end();
}

void tryEager() {
  Device device(openCuda());
  const double a = device.allocate(4000), b = device.allocate(4000);
  submit(device, join({fill(a, 1000, 1), fill(b, 1000, 2)}));
  for (int i = 0; i < 500; i++) submit(device, addTo(a, b, 1000));
  std::vector<float> marker(1000, 7);
  device.write(b, 0, marker.data(), 4000);
  marker.assign(1000, -1);
  submit(device, addTo(a, b, 1000));
  const std::vector<float> got = read(device, a, 1000);
  bool good = true;
  for (const float x : got) good = good && x == 1 + 2 * 500 + 7;
  expect(good, "commands, writes and reads keep their order");
  device.release(a);
  const double c = device.allocate(4000);
  submit(device, fill(c, 1000, 3));
  expect(read(device, c, 1000)[999] == 3, "released memory serves again");
}

void tryReplays() {
  Device device(openCuda());
  const double sum = device.allocate(4), term = device.allocate(4);
  submit(device, fill(sum, 1, 0));
  const double program = loadSum(device, sum, term);
  Words values(300);
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<double>(i);
  std::vector<double> reports(300, -1);
  const ReplayEnd end = replay(device, program, values, reports, false);
  bool good = end.steps == 300 && end.lists == 300 && end.failure.op.empty();
  for (size_t i = 0; i < 300; i++) good = good && reports[i] == static_cast<double>(i * (i + 1) / 2);
  expect(good, "a replay reports every step");
  reports.assign(20000, -1);
  const ReplayEnd stopped = replay(device, program, Words(20000, 1.0), reports, true);
  good = stopped.steps >= 1 && stopped.steps < 20000 && stopped.lists == stopped.steps;
  for (int64_t i = 0; i < 20000; i++) good = good && (reports[static_cast<size_t>(i)] == -1) == (i >= stopped.steps);
  expect(good, "a stopped replay has reported the steps that it counts");
  const float before = read(device, sum, 1)[0];
  for (int i = 0; i < 200; i++) device.run(program, {0.5});
  expect(read(device, sum, 1)[0] == before + 100, "runs that nobody waits for run all the same");
  device.unload(program);
  submit(device, fill(sum, 1, 5));
  expect(read(device, sum, 1)[0] == 5, "an unloaded program leaves the device working");
}

void tryEnds() {
  for (int i = 0; i < 10; i++) {
    Device device(openCuda());
    const double sum = device.allocate(4), term = device.allocate(4);
    const double program = loadSum(device, sum, term);
    for (int k = 0; k < 20 * i; k++) device.run(program, {1});
    submit(device, fill(sum, 1, 1));
    std::vector<double> reports(100);
    ReplayPlan plan;
    plan.steps = 100;
    plan.values = Words(100, 1.0);
    if (i % 2 == 0) device.start(device.prepare(program, std::move(plan)), [](Failure) {});
  }
  expect(true, "devices end in the middle of work");
}

}  // namespace

int main() {
  tryEager();
  tryReplays();
  tryEnds();
  return failed == 0 ? 0 : 1;
}
