// AVX2 for weights of which no two neighbours exceed 128 together: two products then fit the 16 bits of vpmaddubsw.
#include <immintrin.h>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

__m256i multiplied(__m256i sums, __m256i columns, __m256i weight) {
  const __m256i pairs = _mm256_maddubs_epi16(columns, weight);
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#define NETSURGEON_SPARSE_MULTIPLY(sums, columns, weight) multiplied(sums, columns, weight)
#include "isa_256.inl"
#undef NETSURGEON_SPARSE_MULTIPLY

}  // namespace

const Engine kAvx2Engine = {
    "avx2", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat};

}  // namespace netsurgeon::sparse
