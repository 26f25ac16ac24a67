// From sixteen sums, a vector, to bytes: four pixels at a time.

struct Rows {
  __mmask16 mask;
  // Fewer than sixteen only in the last rows: a store with a mask takes several times as long.
  template <bool kWhole>
  __m128i load(const uint8_t* from) const {
    return kWhole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)) : _mm_maskz_loadu_epi8(mask, from);
  }
  template <bool kWhole>
  void store(uint8_t* to, __m128i bytes) const {
    if (kWhole) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
    } else {
      _mm_mask_storeu_epi8(to, mask, bytes);
    }
  }
};

// The product's bytes in int32, and with them the residual's.
template <bool kWhole>
__m512i with_residual(const Epilogue& epilogue, __m512i product, const Rows& rows, const uint8_t* residual) {
  const __m512i least_product = _mm512_set1_epi32(epilogue.low - epilogue.zero_point);
  const __m512i most_product = _mm512_set1_epi32(epilogue.high - epilogue.zero_point);
  const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(product, least_product), most_product);
  const __m512 value = _mm512_cvtepi32_ps(_mm512_add_epi32(clamped, _mm512_set1_epi32(epilogue.zero_point)));
  const __m512 other = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(rows.load<kWhole>(residual)));
  const __m512 value_ratio = _mm512_set1_ps(epilogue.product_ratio);
  const __m512 other_ratio = _mm512_set1_ps(epilogue.residual_ratio), fixed = _mm512_set1_ps(epilogue.fixed);
  return _mm512_cvtps_epi32(epilogue.product_first
                                ? _mm512_fmadd_ps(value, value_ratio, _mm512_fmadd_ps(other, other_ratio, fixed))
                                : _mm512_fmadd_ps(other, other_ratio, _mm512_fmadd_ps(value, value_ratio, fixed)));
}

template <bool kWhole, bool kAdds>
void finish_bytes(const Task& task, const int32_t* sums, int64_t first_pixel, int32_t pixels, int64_t first_row) {
  const Epilogue epilogue = task.epilogue;
  const int64_t stride = task.rows, first = first_pixel * stride + first_row;
  const Rows rows{static_cast<__mmask16>((1u << least(stride - first_row, int64_t{kRows})) - 1u)};
  const __m512 scale = _mm512_loadu_ps(task.scale + first_row), limit = _mm512_set1_ps(epilogue.most);
  const __m512i zero_point = _mm512_set1_epi16(static_cast<short>(kAdds ? 0 : epilogue.zero_point));
  const __m512i low = _mm512_set1_epi8(static_cast<char>(kAdds ? epilogue.added_low : epilogue.low));
  const __m512i high = _mm512_set1_epi8(static_cast<char>(kAdds ? epilogue.added_high : epilogue.high));
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  uint8_t* output = static_cast<uint8_t*>(task.output) + first;
  const uint8_t* residual = kAdds ? task.residual + first : nullptr;
  for (int32_t p = 0; p < pixels; p += 4) {
    const int32_t here = least(4, pixels - p);
    __m512i bytes[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int64_t pixel = p + (i < here ? i : here - 1);
      const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums + pixel * kRows)), scale);
      bytes[i] = _mm512_cvtps_epi32(_mm512_min_ps(value, limit));
      if (kAdds) bytes[i] = with_residual<kWhole>(epilogue, bytes[i], rows, residual + pixel * stride);
    }
    const __m512i upper = _mm512_adds_epi16(_mm512_packs_epi32(bytes[0], bytes[1]), zero_point);
    const __m512i lower = _mm512_adds_epi16(_mm512_packs_epi32(bytes[2], bytes[3]), zero_point);
    const __m512i clamped = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(upper, lower), low), high);
    const __m512i packed = _mm512_permutexvar_epi32(order, clamped);  // from lanes of four rows to pixels
    uint8_t* to = output + p * stride;
    rows.store<kWhole>(to, _mm512_castsi512_si128(packed));
    if (here > 1) rows.store<kWhole>(to + stride, _mm512_extracti32x4_epi32(packed, 1));
    if (here > 2) rows.store<kWhole>(to + 2 * stride, _mm512_extracti32x4_epi32(packed, 2));
    if (here > 3) rows.store<kWhole>(to + 3 * stride, _mm512_extracti32x4_epi32(packed, 3));
  }
}

void finish(const Task& task, const int32_t* sums, int64_t first_pixel, int32_t pixels, int64_t first_row) {
  const int64_t here = task.rows - first_row;
  if (task.epilogue.output == Output::kFloats) {
    const __mmask16 mask = static_cast<__mmask16>((1u << least(here, int64_t{kRows})) - 1u);
    const __m512 scale = _mm512_loadu_ps(task.scale + first_row);
    float* output = static_cast<float*>(task.output) + first_pixel * task.rows + first_row;
    for (int32_t p = 0; p < pixels; ++p)
      _mm512_mask_storeu_ps(output + p * task.rows, mask,
                            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums + p * kRows)), scale));
  } else if (task.epilogue.output == Output::kBytesWithResidual) {
    (here >= kRows ? finish_bytes<true, true> : finish_bytes<false, true>)(task, sums, first_pixel, pixels, first_row);
  } else {
    (here >= kRows ? finish_bytes<true, false> : finish_bytes<false, false>)(task, sums, first_pixel, pixels, first_row);
  }
}
