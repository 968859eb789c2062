# Compiler settings that hold for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# -fno-omit-frame-pointer: profiles and the stack traces of broken invariants stay readable, at about 1 % of speed.
# -fno-semantic-interposition: libraries are position-independent, and without it no function of theirs that others could
# call is inlined; nobody replaces any.
# -Wno-interference-size, -Wno-maybe-uninitialized: gcc 12 reports these inside libstdc++ and Abseil.
add_compile_options(-Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough
                    -fno-omit-frame-pointer -fno-semantic-interposition)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-maybe-uninitialized -Wno-restrict)
endif()
add_compile_definitions(_GNU_SOURCE)

if(ZSCHED_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "ZSCHED_BUILD_FUZZERS needs clang: cmake --preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(ZSCHED_SANITIZE)
  add_compile_options(-fsanitize=${ZSCHED_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ZSCHED_SANITIZE})
endif()

# zsched_library(NAME files… [DEPS targets…]): a static library that sees the source root and its DEPS only, so that an
# include against the direction of the folders fails to compile or link. All share one precompiled header.
function(zsched_library name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
  zsched_precompile(${name})
endfunction()

function(zsched_program name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  # -fPIC as the libraries have, in place of CMake's -fPIE: the precompiled header fits only its own flags.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name} PRIVATE -fPIC)
  zsched_precompile(${name})
endfunction()

# Only headers of the standard library and Abseil that most files use; project headers would rebuild everything.
function(zsched_precompile name)
  if(name STREQUAL "zsched_schemas")
    target_precompile_headers(${name} PRIVATE
      <algorithm> <array> <chrono> <cstdint> <functional> <map> <memory> <optional> <string> <string_view>
      <unordered_map> <utility> <vector> <absl/status/status.h> <absl/status/statusor.h>
      <absl/container/flat_hash_map.h>)
  else()
    target_precompile_headers(${name} REUSE_FROM zsched_schemas)
  endif()
endfunction()
