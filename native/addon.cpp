// The Node-API surface: a dozen functions over devices. Context-aware: each environment (main thread, worker) has its own
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
#include "cuda/discovery.h"

namespace langevin {
namespace {

// The garbage collector hears of device memory in steps of this size.
constexpr int64_t kExternalMemoryStep = int64_t{16} << 20;

// A promise whose work is queued. The references keep device and target alive until then.
struct Pending {
  napi_deferred deferred;
  napi_ref device;
  napi_ref target;
};

// What one environment owns. The queues' threads and the finalizers of devices may be the last to use it.
struct Environment {
  std::set<Device*> devices;

  napi_threadsafe_function wake = nullptr;
  std::unordered_map<uint64_t, Pending> pending;  // touched by the environment's thread only
  uint64_t nextPending = 1;

  std::mutex mutex;
  std::vector<std::pair<uint64_t, Failure>> completed;  // filled by the queues' threads

  int64_t reportedBytes = 0;
};

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
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

// Keeps the process alive until the promise is settled.
void remember(napi_env env, Environment& state, uint64_t id, const Pending& pending) {
  if (state.pending.empty()) check(env, napi_ref_threadsafe_function(env, state.wake));
  state.pending.emplace(id, pending);
}

napi_deferred forget(napi_env env, Environment& state, uint64_t id) {
  const auto found = state.pending.find(id);
  const Pending pending = found->second;
  state.pending.erase(found);
  napi_delete_reference(env, pending.device);
  if (pending.target != nullptr) napi_delete_reference(env, pending.target);
  if (state.pending.empty()) napi_unref_threadsafe_function(env, state.wake);
  return pending.deferred;
}

// Runs on the environment's thread after a queue has completed something. Nothing may be thrown from here; settling only
// fails where the environment is being terminated, and then nobody waits.
void settleCompleted(napi_env rawEnv, napi_value, void* context, void*) {
  if (rawEnv == nullptr) return;  // the environment is ending
  const Napi::Env env(rawEnv);
  const Napi::HandleScope scope(env);
  Environment& state = *static_cast<Environment*>(context);
  std::vector<std::pair<uint64_t, Failure>> completed;
  {
    std::lock_guard<std::mutex> lock(state.mutex);
    completed.swap(state.completed);
  }
  for (const auto& [id, failure] : completed) {
    const napi_deferred deferred = forget(env, state, id);
    try {
      settle(env, deferred, failure);
    } catch (const Napi::Error&) {
    }
  }
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
  check(env, napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "langevin queue"), 0, 1,
                                             nullptr, nullptr, &state, settleCompleted, &state.wake));
  check(env, napi_unref_threadsafe_function(env, state.wake));
  // Added after the function's own hook, hence run before it.
  check(env, napi_add_env_cleanup_hook(env, endEnvironment, &state));
}

using SharedEnvironment = std::shared_ptr<Environment>;

SharedEnvironment& sharedState(Napi::Env env) { return *env.GetInstanceData<SharedEnvironment>(); }
Environment& stateOf(Napi::Env env) { return *sharedState(env); }

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

Napi::Value kernels(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto& list = guarded(env, "kernels", [&]() -> auto& { return Registry::get().kernels(); });
  Napi::Array result = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) {
    Napi::Object kernel = Napi::Object::New(env);
    kernel.Set("name", list[i].name);
    kernel.Set("signature", list[i].signature);
    result.Set(static_cast<uint32_t>(i), kernel);
  }
  return result;
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
  result.Set("built", found.built);
  result.Set("devices", devices);
  if (!found.problem.empty()) result.Set("problem", found.problem);
  return result;
}

Napi::Value openDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& state = stateOf(env);
  const double threads = numberAt(info, 0);
  if (!(threads >= 0 && threads <= 1024 && threads == static_cast<int>(threads)))
    throw Napi::RangeError::New(env, "threads must be an integer from 0 to 1024");
  startEnvironment(env, state);
  auto owned = guarded(env, "openDevice", [&] {
    Registry::get();
    return std::make_unique<Device>(static_cast<int>(threads));
  });
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

// submit(device, words, count = words.length)
void submit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Device& device = deviceOf(info);
  napi_typedarray_type type;
  size_t length;
  void* data;
  if (!info[1].IsTypedArray()) throw Napi::TypeError::New(env, "words must be a Float64Array");
  check(env, napi_get_typedarray_info(env, info[1], &type, &length, &data, nullptr, nullptr));
  if (type != napi_float64_array) throw Napi::TypeError::New(env, "words must be a Float64Array");
  if (info.Length() > 2) {
    const double count = numberAt(info, 2);
    if (!(count >= 0 && count <= static_cast<double>(length)))
      throw Napi::RangeError::New(env, "there are not so many words");
    length = static_cast<size_t>(count);
  }
  guarded(env, "submit", [&] { device.submit(static_cast<const double*>(data), length); });
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
  Pending pending{};
  napi_value result;
  check(env, napi_create_promise(env, &pending.deferred, &result));
  check(env, napi_create_reference(env, info[0], 1, &pending.device));
  if (!target.IsEmpty()) check(env, napi_create_reference(env, target, 1, &pending.target));
  const uint64_t id = state.nextPending++;
  remember(env, state, id, pending);
  try {
    guarded(env, what, [&] {
      start([&state, id](Failure failure) {
        std::lock_guard<std::mutex> lock(state.mutex);
        const bool first = state.completed.empty();
        state.completed.emplace_back(id, std::move(failure));
        if (first) napi_call_threadsafe_function(state.wake, nullptr, napi_tsfn_nonblocking);
      });
    });
  } catch (const Napi::Error& error) {
    check(env, napi_reject_deferred(env, forget(env, state, id), error.Value()));
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
  add("threadCount", threadCount);
  add("allocate", allocate);
  add("release", release);
  add("submit", submit);
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
