// How much shared memory a block may have before its kernel was allowed more: for launches, and for the host that checks them.
#pragma once

#include <cstddef>

namespace gpu {

// Arrays of the kernel and dynamic memory together.
constexpr size_t kSharedUnasked = 48 * 1024;
// Launches with up to so much dynamic memory ask for nothing; arrays of a kernel have the rest.
constexpr size_t kDynamicUnasked = 32 * 1024;

}  // namespace gpu
