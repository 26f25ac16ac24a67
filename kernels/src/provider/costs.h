// What a layer takes here and in ONNX Runtime's CPU provider, so that only what gains is claimed.
#pragma once

#include <string>

#include "core/isa.h"
#include "provider/graph/groups.h"

namespace netsurgeon::sparse {

// Numbers a nanosecond on one core.
struct Rates {
  double slots = 0;                        // weights of steps, times pixels
  double gathered = 0, finished = 0;       // bytes of windows into a panel, outputs
  double pieces = 0;                       // of at most 64 bytes, where windows do not lie in the image as they are
  double lines = 0;                        // multiplications where all weights are kept
  double calls = 0;                        // of a layer, however small it is
  double dense = 0;                        // multiplications of ONNX Runtime's kernel
  double dense_gathered = 0, dense_finished = 0, dense_calls = 0;
  bool measured = true;                    // some of them, on such a processor
};

// What an instruction set is taken to do where nothing was measured.
Rates usual_rates(Isa isa);

// Rates as "slots=250 dense=460 ...", in any order; what is not named is as usual. Throws std::invalid_argument.
Rates read_rates(const std::string& text, Isa isa);

// Nanoseconds of one thread, and whether the layer would keep all of its weights.
struct Cost {
  double sparse = 0, dense = 0;
  bool in_lines = false;
};

Cost cost_of(const Group& group, Isa isa, const Rates& rates);

}  // namespace netsurgeon::sparse
