// What a layer takes here and in ONNX Runtime's CPU provider, so that only what gains is claimed.
#pragma once

#include "core/isa.h"
#include "provider/groups.h"

namespace netsurgeon::sparse {

// Nanoseconds of one thread, and whether the layer would keep all of its weights.
struct Cost {
  double sparse = 0, dense = 0;
  bool in_lines = false;
};

Cost cost_of(const Group& group, Isa isa);

}  // namespace netsurgeon::sparse
