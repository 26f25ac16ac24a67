// NEON with dot products (Armv8.2 and later): one sdot multiplies and adds four columns of four rows.
#include <arm_neon.h>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

#define NETSURGEON_SPARSE_MULTIPLY(sums, columns, weight) vdotq_s32(sums, columns, weight)
#include "isa_neon.inl"
#undef NETSURGEON_SPARSE_MULTIPLY

}  // namespace

const Engine kNeonDotEngine = {
    "neon-dotprod", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat, kSignedOffset};

}  // namespace netsurgeon::sparse
