// NEON as every AArch64 processor has it: products of 16 bits, added in pairs.
#include <arm_neon.h>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

inline int32x4_t multiplied(int32x4_t sums, int8x16_t columns, int8x16_t weight) {
  const int32x4_t first = vpaddlq_s16(vmull_s8(vget_low_s8(columns), vget_low_s8(weight)));
  const int32x4_t second = vpaddlq_s16(vmull_high_s8(columns, weight));
  return vaddq_s32(sums, vpaddq_s32(first, second));
}

#define NETSURGEON_SPARSE_MULTIPLY(sums, columns, weight) multiplied(sums, columns, weight)
#include "isa_neon.inl"
#undef NETSURGEON_SPARSE_MULTIPLY

}  // namespace

const Engine kNeonEngine = {
    "neon", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat, kSignedOffset};

}  // namespace netsurgeon::sparse
