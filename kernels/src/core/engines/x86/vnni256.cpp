// AVX2 with AVX-VNNI: as AVX-512 with VNNI, in two vectors of eight rows.
#include <immintrin.h>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

#define NETSURGEON_SPARSE_MULTIPLY(sums, columns, weight) _mm256_dpbusd_avx_epi32(sums, columns, weight)
#include "isa_256.inl"
#undef NETSURGEON_SPARSE_MULTIPLY

}  // namespace

const Engine kVnni256Engine = {
    "avx-vnni", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat};

}  // namespace netsurgeon::sparse
