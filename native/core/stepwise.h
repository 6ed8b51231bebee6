// Runs a replay one command after the other, each of which the backend has done before the next one starts.
#pragma once

#include "replay.h"

namespace langevin {

// Until something ends it: the last step, a failure, `Replay::stop` or, after the command that is running, `dropped`.
void runStepwise(Replay& replay, Backend& backend, const std::atomic<bool>& dropped);

}  // namespace langevin
