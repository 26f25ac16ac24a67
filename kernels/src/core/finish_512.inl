// Sixteen sums in one vector: their way to bytes, four pixels at a time.

static __m512i product_of(__m512i sums, __m512 scale, __m512 limit) {
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), limit));
}

template <int P>
static void finish_512(const __m512i* sums, const Inner& inner) {
  const Task& task = *inner.task;
  const Epilogue& epilogue = task.epilogue;
  const __mmask16 rows = static_cast<__mmask16>((1u << inner.rows) - 1u);
  const __m512 scale = _mm512_loadu_ps(task.scale + inner.row);
  const int64_t first = inner.pixel * task.rows + inner.row;
  if (epilogue.output == Output::kFloats) {
    float* output = static_cast<float*>(task.output) + first;
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p)
      _mm512_mask_storeu_ps(output + p * task.rows, rows, _mm512_mul_ps(_mm512_cvtepi32_ps(sums[p]), scale));
    return;
  }
  const bool adds = epilogue.output == Output::kBytesWithResidual;
  const __m512 limit = _mm512_set1_ps(epilogue.most);
  const __m512i zero_point = _mm512_set1_epi16(static_cast<short>(adds ? 0 : epilogue.zero_point));
  const __m512i low = _mm512_set1_epi8(static_cast<char>(adds ? epilogue.added_low : epilogue.low));
  const __m512i high = _mm512_set1_epi8(static_cast<char>(adds ? epilogue.added_high : epilogue.high));
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  uint8_t* output = static_cast<uint8_t*>(task.output) + first;
#pragma GCC unroll 8
  for (int p = 0; p < P; p += 4) {
    __m512i bytes[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) bytes[i] = product_of(sums[p + i < P ? p + i : P - 1], scale, limit);
    if (adds) {
      const __m512i shift = _mm512_set1_epi32(epilogue.zero_point);
      const __m512i least_product = _mm512_set1_epi32(epilogue.low - epilogue.zero_point);
      const __m512i most_product = _mm512_set1_epi32(epilogue.high - epilogue.zero_point);
      const __m512 product_ratio = _mm512_set1_ps(epilogue.product_ratio);
      const __m512 residual_ratio = _mm512_set1_ps(epilogue.residual_ratio), fixed = _mm512_set1_ps(epilogue.fixed);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m128i loaded =
            _mm_maskz_loadu_epi8(rows, task.residual + first + (p + i < P ? p + i : P - 1) * task.rows);
        const __m512 residual = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(loaded));
        const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(bytes[i], least_product), most_product);
        const __m512 product = _mm512_cvtepi32_ps(_mm512_add_epi32(clamped, shift));
        bytes[i] = _mm512_cvtps_epi32(
            epilogue.product_first
                ? _mm512_fmadd_ps(product, product_ratio, _mm512_fmadd_ps(residual, residual_ratio, fixed))
                : _mm512_fmadd_ps(residual, residual_ratio, _mm512_fmadd_ps(product, product_ratio, fixed)));
      }
    }
    const __m512i upper = _mm512_adds_epi16(_mm512_packs_epi32(bytes[0], bytes[1]), zero_point);
    const __m512i lower = _mm512_adds_epi16(_mm512_packs_epi32(bytes[2], bytes[3]), zero_point);
    const __m512i clamped = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(upper, lower), low), high);
    const __m512i packed = _mm512_permutexvar_epi32(order, clamped);  // from lanes of four rows to pixels
    _mm_mask_storeu_epi8(output + p * task.rows, rows, _mm512_castsi512_si128(packed));
    if (p + 1 < P) _mm_mask_storeu_epi8(output + (p + 1) * task.rows, rows, _mm512_extracti32x4_epi32(packed, 1));
    if (p + 2 < P) _mm_mask_storeu_epi8(output + (p + 2) * task.rows, rows, _mm512_extracti32x4_epi32(packed, 2));
    if (p + 3 < P) _mm_mask_storeu_epi8(output + (p + 3) * task.rows, rows, _mm512_extracti32x4_epi32(packed, 3));
  }
}
