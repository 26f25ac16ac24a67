// The loops around an instruction set's vectors. Included once in each of its files, inside an anonymous namespace and
// behind `struct Isa`: no function here may be shared between files that are compiled for different processors.
//
// Isa: kWidth, kPixels, kSums (that registers hold where there are few pixels), Sum (sixteen int32), Step; load(stream),
// zero(), load_sums, store_sums, add, join. And finish(task, sums): from sums to outputs.

inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

inline int32_t first_part(const Tile& tile) { return (tile.pixels + tile.sub_tiles - 1) / tile.sub_tiles; }

// A row group of one sub-tile.
struct Inner {
  const uint8_t* panel;
  const uint8_t* stream;
  const uint16_t* windows;
  int32_t steps;
  int32_t start_stride;   // 0: all pixels start alike
  const int32_t* start;
  int32_t* sums;          // [pixel][16]
  // where nothing is packed: where each window begins, and the bytes from one pixel to the next
  const int64_t* places;
  int64_t pixel_bytes;
};

// Adds one step to the sums of all pixels.
template <int P, bool kPacked>
void add_step(const Inner& inner, uint16_t window, const typename Isa::Step& weights, typename Isa::Sum (&sums)[P]) {
  const uint8_t* columns =
      inner.panel + (kPacked ? static_cast<int64_t>(window) * (P * Isa::kWidth) : inner.places[window]);
  const int64_t pixel_bytes = inner.pixel_bytes;
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p, columns += kPacked ? Isa::kWidth : pixel_bytes)
    sums[p] = Isa::add(sums[p], weights, columns);
}

template <int P, bool kPacked>
void multiply_group(const Inner& inner) {
  // Few pixels leave too few independent sums to hide the latency of a multiplication.
  constexpr int wanted = P == 1 ? 6 : P == 2 ? 4 : P == 3 ? 2 : 1, most_sums = Isa::kSums / P;
  constexpr int U = most_sums < 1 ? 1 : most_sums < wanted ? most_sums : wanted;
  typename Isa::Sum sums[U][P];
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) sums[0][p] = Isa::load_sums(inner.start + p * inner.start_stride);
#pragma GCC unroll 8
  for (int u = 1; u < U; ++u)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) sums[u][p] = Isa::zero();
  const uint8_t* stream = inner.stream;
  const uint16_t* windows = inner.windows;
  int32_t step = 0;
  for (; step + U <= inner.steps; step += U) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      const typename Isa::Step weights = Isa::load(stream);
      __builtin_prefetch(stream + 48 * kStepBytes);
      __builtin_prefetch(stream + 48 * kStepBytes + 64);
      add_step<P, kPacked>(inner, windows[u], weights, sums[u]);
      stream += kStepBytes;
    }
    windows += U;
  }
  for (; U > 1 && step < inner.steps; ++step, ++windows, stream += kStepBytes) {
    add_step<P, kPacked>(inner, *windows, Isa::load(stream), sums[0]);
  }
#pragma GCC unroll 8
  for (int u = 1; u < U; ++u)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) sums[0][p] = Isa::join(sums[0][p], sums[u][p]);
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) Isa::store_sums(inner.sums + p * kRows, sums[0][p]);
}

using MultiplyGroup = void (*)(const Inner&);

template <int P, bool kPacked>
constexpr void fill(MultiplyGroup* table) {
  if constexpr (P > 0) {
    table[P] = multiply_group<P, kPacked>;
    fill<P - 1, kPacked>(table);
  }
}

struct GroupFunctions {
  MultiplyGroup packed[Isa::kPixels + 1] = {}, in_rows[Isa::kPixels + 1] = {};
  constexpr GroupFunctions() {
    fill<Isa::kPixels, true>(packed);
    fill<Isa::kPixels, false>(in_rows);
  }
};
constexpr GroupFunctions group_functions;

void take_steps(const Task& task, int64_t pointer, Inner& inner) {
  const int32_t first = task.pointers[pointer];
  inner.stream = task.stream + static_cast<int64_t>(first) * kStepBytes;
  inner.windows = task.windows + first;
  inner.steps = task.pointers[pointer + 1] - first;
}

void multiply(const Task& task, const Tile& tile, int32_t chunk, const uint8_t* panel, int32_t first_group,
              int32_t last_group, int32_t* sums) {
  const int32_t windows = least(task.chunk_windows, task.all_windows - chunk * task.chunk_windows);
  const int32_t part = first_part(tile);
  const int64_t group_stride = int64_t{tile.pixels} * kRows;
  alignas(64) int32_t few_sums[kGroups * 2 * Isa::kPixels * kRows];
  for (int32_t first = first_group; first < last_group; first += kGroups) {
    const int32_t groups = least(kGroups, last_group - first);
    int32_t* these = sums ? sums + (first - first_group) * group_stride : few_sums;
    for (int32_t group = first; group < first + groups; ++group) {
      Inner inner{};
      take_steps(task, static_cast<int64_t>(chunk) * task.groups + group, inner);
      inner.start_stride = chunk ? kRows : 0;
      for (int32_t done = 0, pixels; done < tile.pixels; done += pixels) {
        pixels = least(part, tile.pixels - done);
        inner.panel = panel + static_cast<int64_t>(done) * windows * Isa::kWidth;
        inner.sums = these + (group - first) * group_stride + static_cast<int64_t>(done) * kRows;
        inner.start = chunk ? inner.sums : task.start + static_cast<int64_t>(group) * kRows;
        group_functions.packed[pixels](inner);
      }
    }
    if (chunk + 1 == task.chunks)
      finish(task, Sums{these, group_stride, tile.first, static_cast<int64_t>(first) * kRows, tile.pixels, groups});
  }
}

// Where the columns of each window lie, from the first one of a pixel.
void place_windows(const Task& task, int64_t row_bytes, int64_t* places) {
  const Geometry& geometry = task.geometry;
  const int64_t tap_windows = geometry.channels / Isa::kWidth;
  for (int32_t window = 0; window < task.all_windows; ++window) {
    const int64_t tap = window / tap_windows;
    const int64_t row = tap / geometry.kernel_width * geometry.dilation_height;
    const int64_t column = tap % geometry.kernel_width * geometry.dilation_width;
    places[window] = row * row_bytes + column * geometry.channels + window % tap_windows * Isa::kWidth;
  }
}

void multiply_rows(const Task& task, const Strip& strip, int32_t* sums) {
  const Geometry& geometry = task.geometry;
  int64_t places[kMostRowWindows];
  place_windows(task, strip.row_bytes, places);
  Inner inner{};
  inner.pixel_bytes = geometry.stride_width * geometry.channels;
  const int64_t parts = (strip.width + Isa::kPixels - 1) / Isa::kPixels;
  for (int64_t part = 0; part < strip.rows * parts; ++part) {
    const int64_t row = part / parts, first_column = part % parts * strip.width / parts;
    const int32_t pixels = static_cast<int32_t>((part % parts + 1) * strip.width / parts - first_column);
    const int64_t first_pixel = strip.first_pixel + row * strip.width + first_column;
    const int64_t group_stride = int64_t{pixels} * kRows;
    inner.panel = strip.input + row * geometry.stride_height * strip.row_bytes + first_column * inner.pixel_bytes;
    for (int32_t chunk = 0; chunk < task.chunks; ++chunk) {
      inner.places = places + static_cast<int64_t>(chunk) * task.chunk_windows;
      inner.start_stride = chunk ? kRows : 0;
      for (int32_t group = 0; group < task.groups; ++group) {
        take_steps(task, static_cast<int64_t>(chunk) * task.groups + group, inner);
        inner.sums = sums + group * group_stride;
        inner.start = chunk ? inner.sums : task.start + static_cast<int64_t>(group) * kRows;
        group_functions.in_rows[pixels](inner);
        const int32_t first = group - group % kGroups;
        if (chunk + 1 == task.chunks && (group + 1 == task.groups || group + 1 == first + kGroups))
          finish(task, Sums{sums + first * group_stride, group_stride, first_pixel, int64_t{first} * kRows, pixels,
                            group + 1 - first});
      }
    }
  }
}

// Copies pieces of the columns [from, to) of one pixel to its places in the windows of a panel.
struct Writer {
  uint8_t* panel;        // of the pixel in the first window
  int64_t window_bytes;  // from one window to the next
  int64_t from, to;      // columns of the chunk

  // `source` has `count` columns from `column` on; null is the zero point.
  void write(int64_t column, int64_t count, const uint8_t* source, uint8_t zero_point) const {
    int64_t begin = most(column, from);
    const int64_t end = least(column + count, to);
    while (begin < end) {
      const int64_t place = begin - from, inside = place % Isa::kWidth;
      uint8_t* target = panel + place / Isa::kWidth * window_bytes + inside;
      const int64_t piece = least(Isa::kWidth - inside, end - begin);
      if (!source) {
        __builtin_memset(target, zero_point, static_cast<size_t>(piece));
      } else if (piece == Isa::kWidth) {
        __builtin_memcpy(target, source + (begin - column), Isa::kWidth);
      } else {
        __builtin_memcpy(target, source + (begin - column), static_cast<size_t>(piece));
      }
      begin += piece;
    }
  }
};

void pack_pixel(const Task& task, const Writer& writer, const uint8_t* image, int64_t out_row, int64_t out_column) {
  const Geometry& geometry = task.geometry;
  const int64_t channels = geometry.channels, line = geometry.kernel_width * channels;
  const int64_t left = out_column * geometry.stride_width - geometry.pad_left;
  for (int64_t kernel_row = writer.from / line; kernel_row * line < writer.to; ++kernel_row) {
    const int64_t row = out_row * geometry.stride_height - geometry.pad_top + kernel_row * geometry.dilation_height;
    const int64_t column = kernel_row * line;
    if (row < 0 || row >= task.height) {
      writer.write(column, line, nullptr, task.input_zero_point);
      continue;
    }
    const uint8_t* source = image + row * task.width * channels;
    for (int64_t tap = 0; tap < geometry.kernel_width; tap += task.line_taps) {
      const int64_t first = column + tap * channels, at = left + tap * geometry.dilation_width;
      const int64_t begin = least(most(-at, int64_t{0}), task.line_taps);
      const int64_t end = most(least(task.width - at, task.line_taps), begin);
      if (begin) writer.write(first, begin * channels, nullptr, task.input_zero_point);
      if (end > begin)
        writer.write(first + begin * channels, (end - begin) * channels, source + (at + begin) * channels, 0);
      if (end < task.line_taps)
        writer.write(first + end * channels, (task.line_taps - end) * channels, nullptr, task.input_zero_point);
    }
  }
}

// Where a window begins, in a kernel whose channels fill whole windows.
struct Tap {
  int64_t row, column, window;  // of the kernel, and the window inside the tap's channels
};

// The windows of one pixel, each of which belongs to one tap: whole lines are copied.
void pack_lines(const Task& task, Tap tap, int32_t windows, int64_t window_bytes, const uint8_t* image, int64_t out_row,
                int64_t out_column, uint8_t* target) {
  const Geometry& geometry = task.geometry;
  const int64_t tap_windows = geometry.channels / Isa::kWidth;
  const int64_t top = out_row * geometry.stride_height - geometry.pad_top;
  const int64_t left = out_column * geometry.stride_width - geometry.pad_left;
  while (windows > 0) {
    const int64_t row = top + tap.row * geometry.dilation_height, column = left + tap.column * geometry.dilation_width;
    const int32_t lines = static_cast<int32_t>(least(tap_windows - tap.window, static_cast<int64_t>(windows)));
    if (row >= 0 && row < task.height && column >= 0 && column < task.width) {
      const uint8_t* source = image + (row * task.width + column) * geometry.channels + tap.window * Isa::kWidth;
      for (int32_t line = 0; line < lines; ++line, target += window_bytes, source += Isa::kWidth)
        __builtin_memcpy(target, source, Isa::kWidth);
    } else {
      for (int32_t line = 0; line < lines; ++line, target += window_bytes)
        __builtin_memset(target, task.input_zero_point, Isa::kWidth);
    }
    windows -= lines;
    tap.window = 0;
    if (++tap.column == geometry.kernel_width) {
      tap.column = 0;
      ++tap.row;
    }
  }
}

constexpr int64_t kMostShortColumns = 1024;  // of kernels whose rows are copied with what lies behind them
constexpr int32_t kTogether = 8;             // pixels: what one wrote is in the cache before it is read again

bool has_short_rows(const Task& task) { return task.chunks == 1 && task.columns <= kMostShortColumns; }

// The columns of one pixel, one behind the other. Whole vectors are copied: what is too much is written over by the next
// line, and behind the last one nothing chooses it. `target` has 64 bytes more than columns.
void gather_rows(const Task& task, const uint8_t* end, const uint8_t* image, int64_t out_row, int64_t out_column,
                 uint8_t* target) {
  const Geometry& geometry = task.geometry;
  const int64_t channels = geometry.channels, line = task.line_taps * channels;
  const int64_t left = out_column * geometry.stride_width - geometry.pad_left;
  int64_t row = out_row * geometry.stride_height - geometry.pad_top;
  for (int64_t i = 0; i < geometry.kernel_height; ++i, row += geometry.dilation_height) {
    for (int64_t tap = 0; tap < geometry.kernel_width; tap += task.line_taps, target += line) {
      const int64_t column = left + tap * geometry.dilation_width;
      const int64_t begin = least(most(-column, int64_t{0}), task.line_taps);
      const int64_t behind = most(least(task.width - column, task.line_taps), begin);
      if (row < 0 || row >= task.height || behind == begin) {
        __builtin_memset(target, task.input_zero_point, static_cast<size_t>(line));
        continue;
      }
      const uint8_t* source = image + (row * task.width + column) * channels;
      if (behind - begin == task.line_taps && end - source >= line + 63) {
        for (int64_t at = 0; at < line; at += 64) __builtin_memcpy(target + at, source + at, 64);
        continue;
      }
      __builtin_memset(target, task.input_zero_point, static_cast<size_t>(line));
      __builtin_memcpy(target + begin * channels, source + begin * channels,
                       static_cast<size_t>((behind - begin) * channels));
    }
  }
}

// Walks over output pixels, image by image.
struct Walk {
  const Task* task;
  const uint8_t* image;
  int64_t out_row, out_column, image_bytes;

  Walk(const Task& of, int64_t first) : task(&of) {
    const int64_t pixels = of.out_height * of.out_width;
    image_bytes = of.height * of.width * of.geometry.channels;
    image = of.input + first / pixels * image_bytes;
    out_row = first % pixels / of.out_width;
    out_column = first % of.out_width;
  }

  void next() {
    if (++out_column < task->out_width) return;
    out_column = 0;
    if (++out_row < task->out_height) return;
    out_row = 0;
    image += image_bytes;
  }
};

void pack_short(const Task& task, const uint8_t* end, Walk& walk, int32_t pixels, uint8_t* panel) {
  alignas(64) uint8_t gathered[kTogether][kMostShortColumns + 64];
  const int64_t window_bytes = static_cast<int64_t>(pixels) * Isa::kWidth;
  for (int32_t first = 0; first < pixels; first += kTogether) {
    const int32_t here = least(kTogether, pixels - first);
    for (int32_t i = 0; i < here; ++i, walk.next())
      gather_rows(task, end, walk.image, walk.out_row, walk.out_column, gathered[i]);
    for (int32_t i = 0; i < here; ++i) {
      uint8_t* target = panel + static_cast<int64_t>(first + i) * Isa::kWidth;
      for (int32_t window = 0; window < task.all_windows; ++window, target += window_bytes)
        __builtin_memcpy(target, gathered[i] + window * Isa::kWidth, Isa::kWidth);
    }
  }
}

void pack(const Task& task, const Tile& tile, int32_t chunk, uint8_t* panel) {
  const int32_t windows = least(task.chunk_windows, task.all_windows - chunk * task.chunk_windows);
  const int32_t part = first_part(tile);
  const int64_t first_window = static_cast<int64_t>(chunk) * task.chunk_windows, from = first_window * Isa::kWidth;
  const bool lines = task.geometry.channels % Isa::kWidth == 0, short_rows = has_short_rows(task);
  const int64_t tap_windows = lines ? task.geometry.channels / Isa::kWidth : 1;
  const int64_t first_tap = first_window / tap_windows;
  const Tap tap{first_tap / task.geometry.kernel_width, first_tap % task.geometry.kernel_width,
                first_window % tap_windows};
  const uint8_t* end = task.input + task.batch * task.height * task.width * task.geometry.channels;
  Writer writer{nullptr, 0, from, least(from + static_cast<int64_t>(windows) * Isa::kWidth, task.columns)};
  Walk walk(task, tile.first);
  for (int32_t done = 0; done < tile.pixels;) {
    const int32_t pixels = least(part, tile.pixels - done);
    uint8_t* sub_panel = panel + static_cast<int64_t>(done) * windows * Isa::kWidth;
    done += pixels;
    if (!lines && short_rows) {
      pack_short(task, end, walk, pixels, sub_panel);
      continue;
    }
    writer.window_bytes = static_cast<int64_t>(pixels) * Isa::kWidth;
    for (int32_t pixel = 0; pixel < pixels; ++pixel, walk.next()) {
      writer.panel = sub_panel + static_cast<int64_t>(pixel) * Isa::kWidth;
      if (lines) {
        pack_lines(task, tap, windows, writer.window_bytes, walk.image, walk.out_row, walk.out_column, writer.panel);
      } else {
        pack_pixel(task, writer, walk.image, walk.out_row, walk.out_column);
      }
    }
  }
}

// Largest values of some channels of one output pixel, in registers.
template <int N>
void pool_channels(const Pool& pool, const uint8_t* input, int64_t top, int64_t left, uint8_t* output) {
  uint8_t largest[N] = {};
  for (int64_t i = 0; i < pool.kernel_height; ++i) {
    const int64_t y = top + i * pool.dilation_height;
    if (y < 0 || y >= pool.height) continue;
    for (int64_t j = 0; j < pool.kernel_width; ++j) {
      const int64_t x = left + j * pool.dilation_width;
      if (x < 0 || x >= pool.width) continue;
      const uint8_t* source = input + (y * pool.width + x) * pool.channels;
      for (int c = 0; c < N; ++c) largest[c] = source[c] > largest[c] ? source[c] : largest[c];
    }
  }
  __builtin_memcpy(output, largest, N);
}

void pool_row(const Pool& pool, int64_t image, int64_t row) {
  const uint8_t* input = pool.input + image * pool.height * pool.width * pool.channels;
  uint8_t* output = pool.output + row * pool.out_width * pool.channels;  // of this image: the caller moves it
  const int64_t top = row * pool.stride_height - pool.pad_top;
  for (int64_t column = 0; column < pool.out_width; ++column, output += pool.channels) {
    const int64_t left = column * pool.stride_width - pool.pad_left;
    int64_t c = 0;
    for (; c + 64 <= pool.channels; c += 64) pool_channels<64>(pool, input + c, top, left, output + c);
    for (; c + 16 <= pool.channels; c += 16) pool_channels<16>(pool, input + c, top, left, output + c);
    for (; c < pool.channels; ++c) pool_channels<1>(pool, input + c, top, left, output + c);
  }
}
