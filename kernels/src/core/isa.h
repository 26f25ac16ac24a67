// Which instruction set runs here.
#pragma once

#include <string>
#include <vector>

#include "engine.h"

namespace netsurgeon::sparse {

enum class Isa { kScalar, kAvx2, kVnni256, kVnni512, kVbmi, kNeon, kNeonDot };

// Those that this processor and system have, the best one first; scalar is always among them.
std::vector<Isa> available_isas();

const char* isa_name(Isa isa);

// The best one, or the one that the environment variable NETSURGEON_SPARSE_ISA names. Throws std::invalid_argument
// where it names one that is not known or not here.
Isa chosen_isa();

// The code for it; `narrow_weights`: of two neighbouring slots no weights exceed 128 together.
const Engine& engine_of(Isa isa, bool narrow_weights);

}  // namespace netsurgeon::sparse
