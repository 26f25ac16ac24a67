// AVX2 for any weights: vpmaddubsw with every other weight, so that its 16 bits hold one product.
#include <immintrin.h>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

__m256i multiplied(__m256i sums, __m256i columns, __m256i weight) {
  const __m256i even_bytes = _mm256_set1_epi16(0x00FF), one = _mm256_set1_epi16(1);
  const __m256i even = _mm256_maddubs_epi16(columns, _mm256_and_si256(even_bytes, weight));
  const __m256i odd = _mm256_maddubs_epi16(columns, _mm256_andnot_si256(even_bytes, weight));
  return _mm256_add_epi32(sums, _mm256_add_epi32(_mm256_madd_epi16(even, one), _mm256_madd_epi16(odd, one)));
}

#define NETSURGEON_SPARSE_MULTIPLY(sums, columns, weight) multiplied(sums, columns, weight)
#include "isa_256.inl"
#undef NETSURGEON_SPARSE_MULTIPLY

}  // namespace

const Engine kAvx2WideEngine = {
    "avx2", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat};

}  // namespace netsurgeon::sparse
