// From sixteen sums, two vectors of eight, to bytes.

__m256i product_of(__m256i sums, __m256 scale, __m256 limit) {
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale), limit));
}

__m256i with_residual(const Epilogue& epilogue, __m256i product, const uint8_t* residual) {
  const __m256i least_product = _mm256_set1_epi32(epilogue.low - epilogue.zero_point);
  const __m256i most_product = _mm256_set1_epi32(epilogue.high - epilogue.zero_point);
  const __m256i clamped = _mm256_min_epi32(_mm256_max_epi32(product, least_product), most_product);
  const __m256 value = _mm256_cvtepi32_ps(_mm256_add_epi32(clamped, _mm256_set1_epi32(epilogue.zero_point)));
  const __m256 other = _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(residual))));
  const __m256 value_ratio = _mm256_set1_ps(epilogue.product_ratio);
  const __m256 other_ratio = _mm256_set1_ps(epilogue.residual_ratio), fixed = _mm256_set1_ps(epilogue.fixed);
  return _mm256_cvtps_epi32(epilogue.product_first
                                ? _mm256_fmadd_ps(value, value_ratio, _mm256_fmadd_ps(other, other_ratio, fixed))
                                : _mm256_fmadd_ps(other, other_ratio, _mm256_fmadd_ps(value, value_ratio, fixed)));
}

void finish_pixel(const Task& task, const Sums256& sums, int64_t pixel, int64_t row) {
  const Epilogue& epilogue = task.epilogue;
  const int64_t at = pixel * task.rows + row;
  const __m256 scale_first = _mm256_loadu_ps(task.scale + row);
  const __m256 scale_second = _mm256_loadu_ps(task.scale + row + 8);
  const size_t rows = static_cast<size_t>(least(task.rows - row, int64_t{kRows}));
  if (epilogue.output == Output::kFloats) {
    alignas(32) float values[kRows];
    __m256 first = _mm256_mul_ps(_mm256_cvtepi32_ps(sums.first), scale_first);
    __m256 second = _mm256_mul_ps(_mm256_cvtepi32_ps(sums.second), scale_second);
    if (task.added) {
      first = _mm256_add_ps(first, _mm256_loadu_ps(task.added + row));
      second = _mm256_add_ps(second, _mm256_loadu_ps(task.added + row + 8));
    }
    _mm256_store_ps(values, first);
    _mm256_store_ps(values + 8, second);
    __builtin_memcpy(static_cast<float*>(task.output) + at, values, rows * sizeof(float));
    return;
  }
  const __m256 limit = _mm256_set1_ps(epilogue.most);
  __m256i first = product_of(sums.first, scale_first, limit), second = product_of(sums.second, scale_second, limit);
  const bool adds = epilogue.output == Output::kBytesWithResidual;
  if (adds) {
    alignas(16) uint8_t residual[kRows] = {};
    __builtin_memcpy(residual, task.residual + at, rows);
    first = with_residual(epilogue, first, residual);
    second = with_residual(epilogue, second, residual + 8);
  }
  const __m256i shift = _mm256_set1_epi16(static_cast<short>(adds ? 0 : epilogue.zero_point));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xD8);
  const __m256i moved = _mm256_adds_epi16(words, shift);
  __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(moved), _mm256_extracti128_si256(moved, 1));
  bytes = _mm_max_epu8(bytes, _mm_set1_epi8(static_cast<char>(adds ? epilogue.added_low : epilogue.low)));
  bytes = _mm_min_epu8(bytes, _mm_set1_epi8(static_cast<char>(adds ? epilogue.added_high : epilogue.high)));
  uint8_t* output = static_cast<uint8_t*>(task.output) + at;
  if (rows == kRows) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(output), bytes);
  } else {
    alignas(16) uint8_t values[kRows];
    _mm_store_si128(reinterpret_cast<__m128i*>(values), bytes);
    __builtin_memcpy(output, values, rows);
  }
}

void finish(const Task& task, const Sums& sums) {
  for (int32_t group = 0; group < sums.groups; ++group)
    for (int32_t p = 0; p < sums.pixels; ++p)
      finish_pixel(task, Isa::load_sums(sums.of + group * sums.group_stride + p * kRows), sums.first_pixel + p,
                   sums.first_row + int64_t{group} * kRows);
}
