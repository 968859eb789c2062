// Planted bugs: mistakes that the simulation must notice, each a line in the code that it would break. Owned by base; the
// list of all, with what each does, is tests/sim/planted.cc.
//
// Only zsched-sim-planted is compiled with ZSCHED_PLANTED_BUGS, and one bug at a time is active there. Everywhere else
// ZS_PLANTED is the constant false and leaves nothing behind. In .cc files only: an inline function would differ between
// that program's files and the libraries it links.
//
// Example:  if (!ZS_PLANTED("result-ack-early")) ack.wait = appended();
//
// Threads: the simulation's one.
#pragma once

#ifdef ZSCHED_PLANTED_BUGS

#include <string_view>

namespace zsched {
inline std::string_view planted_bug;  // the active one; empty: none
}  // namespace zsched

#define ZS_PLANTED(name) (::zsched::planted_bug == (name))

#else

#define ZS_PLANTED(name) false

#endif
