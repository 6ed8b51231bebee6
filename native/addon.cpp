// The Node-API surface: functions over devices. Context-aware: each environment (main thread, worker) has its own
// state and devices, and takes them down when it ends.

// A worker may be terminated in the middle of a call; the error that this call then cannot throw must not end the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>

#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "core/device.h"
#include "core/registry.h"
#include "core/replay.h"
#include "cpu/cpu_backend.h"
#include "cuda/discovery/discovery.h"

namespace langevin {
namespace {

// The garbage collector hears of device memory in steps of this size.
constexpr int64_t kExternalMemoryStep = int64_t{16} << 20;

// A promise whose work is queued. The references keep device and target alive until then.
struct Pending {
  napi_deferred deferred = nullptr;
  napi_ref device = nullptr;
  napi_ref target = nullptr;
  std::shared_ptr<Replay> replay;  // where it is one
  napi_ref onProgress = nullptr;   // of a replay
  int64_t told = 0;                // steps of a replay that `onProgress` was told of
};

// News of a promise's work from a queue's thread: it has ended, or (a replay) come further.
struct News {
  uint64_t id;
  bool ended;
  Failure failure;
};

// What one environment owns. The queues' threads and the finalizers of devices may be the last to use it.
struct Environment {
  std::set<Device*> devices;

  napi_threadsafe_function wake = nullptr;
  napi_ref setImmediate = nullptr;
  napi_ref passOn = nullptr;
  std::unordered_map<uint64_t, Pending> pending;  // touched by the environment's thread only
  uint64_t nextPending = 1;

  std::mutex mutex;
  std::vector<News> news;  // filled by the queues' threads

  int64_t reportedBytes = 0;
};

using SharedEnvironment = std::shared_ptr<Environment>;

SharedEnvironment& sharedState(Napi::Env env) { return *env.GetInstanceData<SharedEnvironment>(); }
Environment& stateOf(Napi::Env env) { return *sharedState(env); }

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

// Keeps a value alive; null for none.
napi_ref referenceTo(Napi::Value value) {
  napi_ref reference = nullptr;
  if (!value.IsEmpty() && !value.IsUndefined())
    check(value.Env(), napi_create_reference(value.Env(), value, 1, &reference));
  return reference;
}

// An error that names the op; the TypeScript side turns it into a DeviceError.
Napi::Error errorOf(Napi::Env env, const std::string& op, const std::string& problem) {
  Napi::Error error = Napi::Error::New(env, op + ": " + problem);
  error.Set("op", op);
  error.Set("problem", problem);
  return error;
}

void settle(Napi::Env env, napi_deferred deferred, const Failure& failure) {
  if (failure.op.empty()) check(env, napi_resolve_deferred(env, deferred, env.Undefined()));
  else check(env, napi_reject_deferred(env, deferred, errorOf(env, failure.op, failure.problem).Value()));
}

Napi::Object describe(Napi::Env env, const ReplayEnd& end) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("steps", static_cast<double>(end.steps));
  result.Set("lists", static_cast<double>(end.lists));
  if (end.failure.op.empty()) return result;
  Napi::Object failure = Napi::Object::New(env);
  failure.Set("op", end.failure.op);
  failure.Set("problem", end.failure.problem);
  failure.Set("list", static_cast<double>(end.list));
  failure.Set("command", static_cast<double>(end.command));
  result.Set("failure", failure);
  return result;
}

// Makes the promise of a call whose first argument is a device. It keeps the process alive until it is settled.
napi_value remember(const Napi::CallbackInfo& info, uint64_t id, Pending pending) {
  const Napi::Env env = info.Env();
  Environment& state = stateOf(env);
  napi_value promise;
  check(env, napi_create_promise(env, &pending.deferred, &promise));
  check(env, napi_create_reference(env, info[0], 1, &pending.device));
  if (state.pending.empty()) check(env, napi_ref_threadsafe_function(env, state.wake));
  state.pending.emplace(id, std::move(pending));
  return promise;
}

Pending forget(napi_env env, Environment& state, uint64_t id) {
  const auto found = state.pending.find(id);
  const Pending pending = std::move(found->second);
  state.pending.erase(found);
  for (const napi_ref reference : {pending.device, pending.target, pending.onProgress})
    if (reference != nullptr) napi_delete_reference(env, reference);
  if (state.pending.empty()) napi_unref_threadsafe_function(env, state.wake);
  return pending;
}

// Called on a queue's thread.
void tell(Environment& state, News news) {
  std::lock_guard<std::mutex> lock(state.mutex);
  const bool first = state.news.empty();
  state.news.push_back(std::move(news));
  if (first) napi_call_threadsafe_function(state.wake, nullptr, napi_tsfn_nonblocking);
}

// Calls a replay's `onProgress` if there is something to say. What that throws is an uncaught exception, as in any other
// callback of the event loop; the replay goes on.
void tellProgress(Napi::Env env, Pending& pending) {
  if (pending.onProgress == nullptr) return;
  const int64_t steps = pending.replay->progress();
  if (steps == pending.told) return;
  pending.told = steps;
  napi_value onProgress, count, error, ignored;
  bool thrown = false;
  if (napi_get_reference_value(env, pending.onProgress, &onProgress) != napi_ok ||
      napi_create_double(env, static_cast<double>(steps), &count) != napi_ok ||
      napi_call_function(env, env.Undefined(), onProgress, 1, &count, &ignored) == napi_ok ||
      napi_is_exception_pending(env, &thrown) != napi_ok || !thrown)
    return;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

// Passes on what queues have told, in a turn of the event loop of its own. Nothing may be thrown from here; calls only fail
// where the environment is being terminated, and then nobody waits.
void passOn(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& state = *static_cast<Environment*>(info.Data());
  std::vector<News> list;
  {
    std::lock_guard<std::mutex> lock(state.mutex);
    list.swap(state.news);
  }
  for (const News& news : list) {
    const Napi::HandleScope scope(env);
    const auto found = state.pending.find(news.id);
    if (found == state.pending.end()) continue;
    // The last steps of a replay may come with its end. Elements of the map stay in place whatever the callback starts.
    tellProgress(env, found->second);
    if (!news.ended) continue;
    const Pending pending = forget(env, state, news.id);
    try {
      if (pending.replay == nullptr) settle(env, pending.deferred, news.failure);
      else check(env, napi_resolve_deferred(env, pending.deferred, describe(env, pending.replay->end())));
    } catch (const Napi::Error&) {
    }
  }
}

// Runs on the environment's thread after queues have told something. Node calls it up to a thousand times in one turn of
// the event loop while there is more to tell, and what promises and callbacks start often is done before they return:
// hence once a turn, so that timers have theirs. Until then no queue calls again, since there is news already.
void schedulePassOn(napi_env rawEnv, napi_value, void* context, void*) {
  if (rawEnv == nullptr) return;  // the environment is ending
  const Environment& state = *static_cast<Environment*>(context);
  napi_value setImmediate, passOn, global, ignored;
  if (napi_get_reference_value(rawEnv, state.setImmediate, &setImmediate) == napi_ok &&
      napi_get_reference_value(rawEnv, state.passOn, &passOn) == napi_ok && napi_get_global(rawEnv, &global) == napi_ok)
    napi_call_function(rawEnv, global, setImmediate, 1, &passOn, &ignored);
}

void endEnvironment(void* data) {
  Environment& state = *static_cast<Environment*>(data);
  // Waits for what is running; afterwards no thread calls `wake` any more.
  for (Device* device : state.devices) delete device;
  state.devices.clear();
  if (state.wake != nullptr) napi_release_threadsafe_function(state.wake, napi_tsfn_abort);
  state.wake = nullptr;
}

// Set up with the first device, so that loading the addon costs nothing.
void startEnvironment(Napi::Env env, Environment& state) {
  if (state.wake != nullptr) return;
  state.setImmediate = referenceTo(env.Global().Get("setImmediate"));
  state.passOn = referenceTo(Napi::Function::New(env, passOn, "passOn", &state));
  check(env, napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "langevin queue"), 0, 1,
                                             nullptr, nullptr, &state, schedulePassOn, &state.wake));
  check(env, napi_unref_threadsafe_function(env, state.wake));
  // Added after the function's own hook, hence run before it.
  check(env, napi_add_env_cleanup_hook(env, endEnvironment, &state));
}

Device& deviceOf(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "the first argument must be a device");
  return *info[0].As<Napi::External<Device>>().Data();
}

double numberAt(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsNumber()) throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(i) + " must be a number");
  return info[i].As<Napi::Number>().DoubleValue();
}

struct Bytes {
  void* data;
  size_t size;
};

Bytes bytesAt(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsTypedArray())
    throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(i) + " must be a typed array");
  napi_typedarray_type type;
  size_t length;
  void* data;
  check(info.Env(), napi_get_typedarray_info(info.Env(), info[i], &type, &length, &data, nullptr, nullptr));
  const size_t element = type == napi_float64_array ? 8 : type == napi_float32_array || type == napi_int32_array ? 4 : 0;
  if (element == 0) throw Napi::TypeError::New(info.Env(), "elements must be float32, int32 or float64");
  return {data, length * element};
}

// Runs `action` and turns its exceptions into errors of JavaScript.
template <class F>
auto guarded(Napi::Env env, const char* what, const F& action) -> decltype(action()) {
  try {
    return action();
  } catch (const MalformedCommand& error) {
    throw errorOf(env, error.op, error.what());
  } catch (const std::bad_alloc&) {
    throw errorOf(env, what, "out of memory");
  } catch (const std::runtime_error& error) {
    throw errorOf(env, what, error.what());
  }
}

void reportMemory(Napi::Env env, Environment& state) {
  int64_t live = 0;
  for (const Device* device : state.devices) live += static_cast<int64_t>(device->memory().liveBytes);
  const int64_t change = live - state.reportedBytes;
  if (change < kExternalMemoryStep && change > -kExternalMemoryStep) return;
  int64_t total;
  napi_adjust_external_memory(env, change, &total);
  state.reportedBytes = live;
}

Napi::Array describe(Napi::Env env, const Kernels& list) {
  Napi::Array result = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) {
    Napi::Object kernel = Napi::Object::New(env);
    kernel.Set("name", list[i].name);
    kernel.Set("signature", list[i].signature);
    result.Set(static_cast<uint32_t>(i), kernel);
  }
  return result;
}

Napi::Value kernels(const Napi::CallbackInfo& info) {
  return describe(info.Env(), guarded(info.Env(), "kernels", [&]() -> auto& { return Registry::get().kernels(); }));
}

Napi::Value kernelsOfCuda(const Napi::CallbackInfo& info) {
  return describe(info.Env(), guarded(info.Env(), "cudaKernels", [&]() -> auto& { return cudaKernels(); }));
}

Napi::Value isa(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "isa", [&] { return Napi::String::New(info.Env(), Registry::get().isa()); });
}

Napi::Value compiledIsas(const Napi::CallbackInfo& info) {
  const std::vector<std::string> names = Registry::compiled();
  Napi::Array result = Napi::Array::New(info.Env(), names.size());
  for (size_t i = 0; i < names.size(); i++) result.Set(static_cast<uint32_t>(i), names[i]);
  return result;
}

Napi::Value cuda(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CudaState found = discoverCuda();
  Napi::Object result = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env, found.devices.size());
  for (size_t i = 0; i < found.devices.size(); i++) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("name", found.devices[i].name);
    device.Set("major", found.devices[i].major);
    device.Set("minor", found.devices[i].minor);
    device.Set("memory", static_cast<double>(found.devices[i].memory));
    devices.Set(static_cast<uint32_t>(i), device);
  }
  Napi::Array architectures = Napi::Array::New(env, found.architectures.size());
  for (size_t i = 0; i < found.architectures.size(); i++)
    architectures.Set(static_cast<uint32_t>(i), found.architectures[i] / 10.0);
  result.Set("built", found.built);
  result.Set("architectures", architectures);
  result.Set("devices", devices);
  if (!found.problem.empty()) result.Set("problem", found.problem);
  return result;
}

// Makes a device with the backend that `open` returns.
template <class F>
Napi::Value newDevice(Napi::Env env, const char* call, const F& open) {
  Environment& state = stateOf(env);
  startEnvironment(env, state);
  auto owned = guarded(env, call, [&] { return std::make_unique<Device>(open()); });
  Device* const device = owned.get();
  const auto finalize = [shared = sharedState(env)](Napi::Env closing, Device* closed) {
    // The environment's end deletes devices, too; whoever comes first.
    if (shared->devices.erase(closed) == 0) return;
    delete closed;
    reportMemory(closing, *shared);
  };
  const Napi::Value external = Napi::External<Device>::New(env, device, finalize);
  state.devices.insert(owned.release());
  return external;
}

Napi::Value openDevice(const Napi::CallbackInfo& info) {
  const double threads = numberAt(info, 0);
  if (!(threads >= 0 && threads <= 1024 && threads == static_cast<int>(threads)))
    throw Napi::RangeError::New(info.Env(), "threads must be an integer from 0 to 1024");
  return newDevice(info.Env(), "openDevice", [&] { return openCpu(static_cast<int>(threads)); });
}

Napi::Value openCudaDevice(const Napi::CallbackInfo& info) {
  return newDevice(info.Env(), "device \"cuda\"", [] { return openCuda(); });
}

Napi::Value threadCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), deviceOf(info).threads());
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double bytes = numberAt(info, 1);
  const double id = guarded(info.Env(), "allocate", [&] { return device.allocate(bytes); });
  reportMemory(info.Env(), stateOf(info.Env()));
  return Napi::Number::New(info.Env(), id);
}

void release(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double id = numberAt(info, 1);
  guarded(info.Env(), "release", [&] { device.release(id); });
  reportMemory(info.Env(), stateOf(info.Env()));
}

struct Words {
  double* data;
  size_t count;
};

Words wordsAt(const Napi::CallbackInfo& info, size_t i) {
  const std::string problem = "argument " + std::to_string(i) + " must be a Float64Array";
  if (!info[i].IsTypedArray()) throw Napi::TypeError::New(info.Env(), problem);
  napi_typedarray_type type;
  size_t length;
  void* data;
  check(info.Env(), napi_get_typedarray_info(info.Env(), info[i], &type, &length, &data, nullptr, nullptr));
  if (type != napi_float64_array) throw Napi::TypeError::New(info.Env(), problem);
  return {static_cast<double*>(data), length};
}

// The first words of an array, as many as the next argument says, or all.
Words firstWordsAt(const Napi::CallbackInfo& info, size_t i) {
  const Words words = wordsAt(info, i);
  if (info[i + 1].IsUndefined()) return words;
  const double count = numberAt(info, i + 1);
  if (!(count >= 0 && count <= static_cast<double>(words.count)))
    throw Napi::RangeError::New(info.Env(), "there are not so many words");
  return {words.data, static_cast<size_t>(count)};
}

// submit(device, words, count = words.length)
void submit(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const Words words = firstWordsAt(info, 1);
  guarded(info.Env(), "submit", [&] { device.submit(words.data, words.count); });
}

// load(device, words, count, layout): the number of the program
Napi::Value load(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const Words words = firstWordsAt(info, 1), layout = wordsAt(info, 3);
  return Napi::Number::New(info.Env(), guarded(info.Env(), "load", [&] {
                             return device.load(words.data, words.count, layout.data, layout.count);
                           }));
}

// describe(device, program): how it is carried out, in words; may be empty
Napi::Value describeProgram(const Napi::CallbackInfo& info) {
  const Device& device = deviceOf(info);
  const double program = numberAt(info, 1);
  return Napi::String::New(info.Env(), guarded(info.Env(), "describe", [&] { return device.describe(program); }));
}

void unload(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double program = numberAt(info, 1);
  guarded(info.Env(), "unload", [&] { device.unload(program); });
}

// run(device, program, values)
void run(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double program = numberAt(info, 1);
  const Words values = wordsAt(info, 2);
  guarded(info.Env(), "run", [&] { device.run(program, {values.data, values.data + values.count}); });
}

void write(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double id = numberAt(info, 1), offset = numberAt(info, 2);
  const Bytes source = bytesAt(info, 3);
  guarded(info.Env(), "write", [&] { device.write(id, offset, source.data, source.size); });
}

// Makes a promise and hands `start` the function that a queue's thread calls to settle it.
template <class F>
Napi::Value promise(const Napi::CallbackInfo& info, Napi::Value target, const char* what, const F& start) {
  const Napi::Env env = info.Env();
  Environment& state = stateOf(env);
  const uint64_t id = state.nextPending++;
  Pending pending;
  pending.target = referenceTo(target);
  const napi_value result = remember(info, id, std::move(pending));
  try {
    guarded(env, what, [&] { start([&state, id](Failure failure) { tell(state, {id, true, std::move(failure)}); }); });
  } catch (const Napi::Error& error) {
    check(env, napi_reject_deferred(env, forget(env, state, id).deferred, error.Value()));
  }
  return Napi::Value(env, result);
}

// A promise for what is done already.
Napi::Value settled(Napi::Env env, const Failure& failure) {
  napi_deferred deferred;
  napi_value result;
  check(env, napi_create_promise(env, &deferred, &result));
  settle(env, deferred, failure);
  return Napi::Value(env, result);
}

Napi::Value read(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double id = numberAt(info, 1), offset = numberAt(info, 2);
  const Bytes target = bytesAt(info, 3);
  if (device.idle())
    return settled(info.Env(),
                   guarded(info.Env(), "read", [&] { return device.readSync(id, offset, target.data, target.size); }));
  return promise(info, info[3], "read", [&](Queue::Completion done) {
    device.read(id, offset, target.data, target.size, std::move(done));
  });
}

void readSync(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  const double id = numberAt(info, 1), offset = numberAt(info, 2);
  const Bytes target = bytesAt(info, 3);
  const Failure failure =
      guarded(info.Env(), "read", [&] { return device.readSync(id, offset, target.data, target.size); });
  if (!failure.op.empty()) throw errorOf(info.Env(), failure.op, failure.problem);
}

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  Device& device = deviceOf(info);
  if (device.idle()) return settled(info.Env(), device.takeFailure());
  return promise(info, Napi::Value(), "synchronize", [&](Queue::Completion done) { device.fence(std::move(done)); });
}

// replay(device, program, steps, values, reports | undefined, onProgress | undefined): { id, ended }
Napi::Value replay(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& state = stateOf(env);
  Device& device = deviceOf(info);
  const uint64_t id = state.nextPending++;
  const double program = numberAt(info, 1);
  ReplayPlan plan;
  plan.steps = numberAt(info, 2);
  const Words values = wordsAt(info, 3);
  if (!info[4].IsUndefined()) {
    const Words reports = wordsAt(info, 4);
    plan.reports = {reports.data, reports.count};
  }
  if (!info[5].IsUndefined()) {
    if (!info[5].IsFunction()) throw Napi::TypeError::New(env, "argument 5 must be a function");
    plan.news = [&state, id] { tell(state, {id, false, {}}); };
  }
  Pending pending;
  pending.replay = guarded(env, "replay", [&] {
    plan.values.assign(values.data, values.data + values.count);
    return device.prepare(program, std::move(plan));
  });
  pending.target = referenceTo(info[4]);
  pending.onProgress = referenceTo(info[5]);
  const std::shared_ptr<Replay> prepared = pending.replay;
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", static_cast<double>(id));
  result.Set("ended", Napi::Value(env, remember(info, id, std::move(pending))));
  try {
    guarded(env, "replay", [&] { device.start(prepared, [&state, id](Failure) { tell(state, {id, true, {}}); }); });
  } catch (const Napi::Error&) {
    napi_resolve_deferred(env, forget(env, state, id).deferred, env.Undefined());  // nobody has the promise
    throw;
  }
  return result;
}

// stop(id of a replay); without effect after its end
void stop(const Napi::CallbackInfo& info) {
  Environment& state = stateOf(info.Env());
  const double id = numberAt(info, 0);
  const auto found = state.pending.find(id >= 0 && id < kExact ? static_cast<uint64_t>(id) : 0);
  if (found != state.pending.end() && found->second.replay != nullptr) found->second.replay->stop();
}

Napi::Value memory(const Napi::CallbackInfo& info) {
  const MemoryStats stats = deviceOf(info).memory();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("liveBuffers", static_cast<double>(stats.liveBuffers));
  result.Set("liveBytes", static_cast<double>(stats.liveBytes));
  result.Set("reservedBytes", static_cast<double>(stats.reservedBytes));
  return result;
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new SharedEnvironment(std::make_shared<Environment>()));
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function, name)); };
  add("kernels", kernels);
  add("isa", isa);
  add("compiledIsas", compiledIsas);
  add("cuda", cuda);
  add("openDevice", openDevice);
  add("cudaKernels", kernelsOfCuda);
  add("openCuda", openCudaDevice);
  add("threadCount", threadCount);
  add("allocate", allocate);
  add("release", release);
  add("submit", submit);
  add("load", load);
  add("describe", describeProgram);
  add("unload", unload);
  add("run", run);
  add("replay", replay);
  add("stop", stop);
  add("write", write);
  add("read", read);
  add("readSync", readSync);
  add("synchronize", synchronize);
  add("memory", memory);
  return exports;
}

}  // namespace
}  // namespace langevin

static Napi::Object initialiseAddon(Napi::Env env, Napi::Object exports) { return langevin::initialise(env, exports); }

NODE_API_MODULE(langevin, initialiseAddon)
