# The addon without CUDA, for machines without CMake; run by node-gyp. Sources and flags are those of CMakeLists.txt.
{
  "variables": {
    "node%": "node",  # the install script names its own
    "flags": ["-O3", "-fPIC", "-pthread", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-Wall", "-Wextra"],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
  },
  "target_defaults": {
    "cflags_cc": ["-std=c++17", "<@(flags)"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "OTHER_CPLUSPLUSFLAGS": ["<@(flags)"]
    }
  },
  "targets": [
    {
      "target_name": "langevin",
      "sources": ["<!@(\"<(node)\" native/sources.cjs addon)"],
      "include_dirs": ["<!(\"<(node)\" -p \"require('node-addon-api').include_dir\")", "<!(\"<(node)\" -p \"require('node-api-headers').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS"],
      "dependencies": ["kernels_baseline"],
      # Nothing refers to kernel objects by name, so the linker would leave them in their libraries.
      "ldflags": ["-pthread", "-Wl,--whole-archive"],
      "libraries": ["-Wl,--no-whole-archive"],
      "conditions": [
        ["target_arch=='x64'", { "dependencies": ["kernels_avx2", "kernels_avx512"] }],
        ["OS=='mac'", { "libraries!": ["-Wl,--no-whole-archive"], "xcode_settings": { "OTHER_LDFLAGS": ["-Wl,-all_load"] } }]
      ]
    },
    {
      "target_name": "kernels_baseline",
      "type": "static_library",
      "sources": ["<!@(\"<(node)\" native/sources.cjs kernels)"],
      "defines": ["LANGEVIN_ISA=baseline"]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "kernels_avx2",
          "type": "static_library",
          "sources": ["<!@(\"<(node)\" native/sources.cjs kernels)"],
          "defines": ["LANGEVIN_ISA=avx2"],
          "cflags_cc": ["<@(avx2)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(avx2)"] }
        },
        {
          "target_name": "kernels_avx512",
          "type": "static_library",
          "sources": ["<!@(\"<(node)\" native/sources.cjs kernels)"],
          "defines": ["LANGEVIN_ISA=avx512"],
          "cflags_cc": ["<@(avx512)"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(avx512)"] }
        }
      ]
    }]
  ]
}
