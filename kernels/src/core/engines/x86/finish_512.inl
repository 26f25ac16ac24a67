// From sixteen sums, a vector, to bytes.

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

// What a residual layer's numbers are in vectors.
struct Adding {
  __m512 low, high, shift, back, product_ratio, residual_ratio, fixed;

  explicit Adding(const Epilogue& epilogue) {
    constexpr float kRound = 12582912.0f;  // 3 * 2^22: a sum with it has no digits behind the point
    low = _mm512_set1_ps(static_cast<float>(epilogue.low - epilogue.zero_point));
    high = _mm512_set1_ps(static_cast<float>(epilogue.high - epilogue.zero_point));
    shift = _mm512_set1_ps(kRound);
    back = _mm512_set1_ps(kRound - static_cast<float>(epilogue.zero_point));
    product_ratio = _mm512_set1_ps(epilogue.product_ratio);
    residual_ratio = _mm512_set1_ps(epilogue.residual_ratio);
    fixed = _mm512_set1_ps(epilogue.fixed);
  }

  // The product rounded to its byte, and with it the residual: integers.
  template <bool kProductFirst>
  __m512i add(__m512 product, __m128i residual) const {
    const __m512 bounded = _mm512_min_ps(_mm512_max_ps(product, low), high);
    const __m512 value = _mm512_sub_ps(_mm512_add_ps(bounded, shift), back);
    const __m512 other = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(residual));
    return _mm512_cvtps_epi32(kProductFirst
                                  ? _mm512_fmadd_ps(value, product_ratio, _mm512_fmadd_ps(other, residual_ratio, fixed))
                                  : _mm512_fmadd_ps(other, residual_ratio, _mm512_fmadd_ps(value, product_ratio, fixed)));
  }
};

// Four vectors of integers to bytes in the order of their lanes: lane l of `order` is where dword l comes from.
struct Packing {
  __m512i zero_point, low, high, order;

  Packing(const Epilogue& epilogue, bool adds, __m512i order_) : order(order_) {
    zero_point = _mm512_set1_epi16(static_cast<short>(adds ? 0 : epilogue.zero_point));
    low = _mm512_set1_epi8(static_cast<char>(adds ? epilogue.added_low : epilogue.low));
    high = _mm512_set1_epi8(static_cast<char>(adds ? epilogue.added_high : epilogue.high));
  }

  __m512i pack(const __m512i (&integers)[4]) const {
    const __m512i upper = _mm512_adds_epi16(_mm512_packs_epi32(integers[0], integers[1]), zero_point);
    const __m512i lower = _mm512_adds_epi16(_mm512_packs_epi32(integers[2], integers[3]), zero_point);
    const __m512i clamped = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(upper, lower), low), high);
    return _mm512_permutexvar_epi32(order, clamped);
  }
};

__m512i order_of_vectors() { return _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0); }

__m512 product_of(const int32_t* sums, __m512 scale) {
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums)), scale);
}

// Sixteen rows: four pixels at a time.
template <bool kWhole, bool kAdds, bool kProductFirst>
void finish_group(const Task& task, const Sums& sums, int32_t group) {
  const int64_t stride = task.rows, row = sums.first_row + int64_t{group} * kRows;
  const int64_t first = sums.first_pixel * stride + row;
  const Rows rows{static_cast<__mmask16>((1u << least(stride - row, int64_t{kRows})) - 1u)};
  const __m512 scale = _mm512_loadu_ps(task.scale + row), limit = _mm512_set1_ps(task.epilogue.most);
  const Adding adding(task.epilogue);
  const Packing packing(task.epilogue, kAdds, order_of_vectors());
  const int32_t* from = sums.of + group * sums.group_stride;
  uint8_t* output = static_cast<uint8_t*>(task.output) + first;
  const uint8_t* residual = kAdds ? task.residual + first : nullptr;
  for (int32_t p = 0; p < sums.pixels; p += 4) {
    const int32_t here = least(4, sums.pixels - p);
    __m512i integers[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int64_t pixel = p + (i < here ? i : here - 1);
      const __m512 product = product_of(from + pixel * kRows, scale);
      if constexpr (kAdds) {
        integers[i] = adding.template add<kProductFirst>(product, rows.load<kWhole>(residual + pixel * stride));
      } else {
        integers[i] = _mm512_cvtps_epi32(_mm512_min_ps(product, limit));
      }
    }
    const __m512i packed = packing.pack(integers);
    uint8_t* to = output + p * stride;
    rows.store<kWhole>(to, _mm512_castsi512_si128(packed));
    if (here > 1) rows.store<kWhole>(to + stride, _mm512_extracti32x4_epi32(packed, 1));
    if (here > 2) rows.store<kWhole>(to + 2 * stride, _mm512_extracti32x4_epi32(packed, 2));
    if (here > 3) rows.store<kWhole>(to + 3 * stride, _mm512_extracti32x4_epi32(packed, 3));
  }
}

// Sixty-four rows: whole cache lines, a pixel at a time.
template <bool kAdds, bool kProductFirst>
void finish_four_groups(const Task& task, const Sums& sums) {
  const int64_t stride = task.rows, first = sums.first_pixel * stride + sums.first_row;
  const __m512 limit = _mm512_set1_ps(task.epilogue.most);
  const Adding adding(task.epilogue);
  const Packing packing(task.epilogue, kAdds, order_of_vectors());
  __m512 scale[4];
  for (int i = 0; i < 4; ++i) scale[i] = _mm512_loadu_ps(task.scale + sums.first_row + i * kRows);
  uint8_t* output = static_cast<uint8_t*>(task.output) + first;
  const uint8_t* residual = kAdds ? task.residual + first : nullptr;
  for (int32_t pixel = 0; pixel < sums.pixels; ++pixel, output += stride) {
    if constexpr (kAdds) __builtin_prefetch(residual + pixel * stride + 4 * kRows);
    __m512i integers[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512 product = product_of(sums.of + i * sums.group_stride + pixel * kRows, scale[i]);
      if constexpr (kAdds) {
        const auto* other = reinterpret_cast<const __m128i*>(residual + pixel * stride + i * kRows);
        integers[i] = adding.template add<kProductFirst>(product, _mm_loadu_si128(other));
      } else {
        integers[i] = _mm512_cvtps_epi32(_mm512_min_ps(product, limit));
      }
    }
    _mm512_storeu_si512(output, packing.pack(integers));
  }
}

template <bool kAdds, bool kProductFirst>
void finish_bytes(const Task& task, const Sums& sums) {
  if (sums.groups == 4 && task.rows - sums.first_row >= 4 * kRows) {
    finish_four_groups<kAdds, kProductFirst>(task, sums);
    return;
  }
  for (int32_t group = 0; group < sums.groups; ++group) {
    const bool whole = task.rows - sums.first_row - int64_t{group} * kRows >= kRows;
    (whole ? finish_group<true, kAdds, kProductFirst> : finish_group<false, kAdds, kProductFirst>)(task, sums, group);
  }
}

template <bool kWhole, bool kAdds>
void finish_floats(const Task& task, const Sums& sums, int32_t group) {
  const int64_t row = sums.first_row + int64_t{group} * kRows;
  const __mmask16 mask = static_cast<__mmask16>((1u << least(task.rows - row, int64_t{kRows})) - 1u);
  const __m512 scale = _mm512_loadu_ps(task.scale + row);
  const __m512 added = kAdds ? _mm512_loadu_ps(task.added + row) : _mm512_setzero_ps();
  const int32_t* from = sums.of + group * sums.group_stride;
  float* output = static_cast<float*>(task.output) + sums.first_pixel * task.rows + row;
  for (int32_t p = 0; p < sums.pixels; ++p, output += task.rows) {
    __m512 value = product_of(from + p * kRows, scale);
    if constexpr (kAdds) value = _mm512_add_ps(value, added);
    if constexpr (kWhole) {
      _mm512_storeu_ps(output, value);
    } else {
      _mm512_mask_storeu_ps(output, mask, value);
    }
  }
}

template <bool kAdds>
void finish_floats(const Task& task, const Sums& sums) {
  for (int32_t group = 0; group < sums.groups; ++group) {
    const bool whole = task.rows - sums.first_row - int64_t{group} * kRows >= kRows;
    (whole ? finish_floats<true, kAdds> : finish_floats<false, kAdds>)(task, sums, group);
  }
}

void finish(const Task& task, const Sums& sums) {
  if (task.epilogue.output == Output::kFloats) {
    (task.added ? finish_floats<true> : finish_floats<false>)(task, sums);
  } else if (task.epilogue.output == Output::kBytes) {
    finish_bytes<false, true>(task, sums);
  } else {
    (task.epilogue.product_first ? finish_bytes<true, true> : finish_bytes<true, false>)(task, sums);
  }
}
