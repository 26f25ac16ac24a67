#include "format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace netsurgeon::sparse {
namespace {

constexpr int32_t kMostWidth = 64;
constexpr size_t kHugePage = size_t{2} << 20;

int64_t tiles(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Columns of a row inside a window whose weights are not 0.
int32_t kept_columns(const int8_t* row, int32_t width, uint8_t* columns) {
  int32_t count = 0;
  for (int32_t at = 0; at < width; at += 8) {
    uint64_t eight = 0;
    const int32_t here = std::min(8, width - at);
    std::memcpy(&eight, row + at, static_cast<size_t>(here));
    if (eight == 0) continue;
    for (int32_t i = 0; i < here; ++i) {
      columns[count] = static_cast<uint8_t>(at + i);
      count += row[at + i] != 0;
    }
  }
  return count;
}

struct TileColumns {
  uint8_t columns[kRows][kMostWidth + 8];
  int32_t counts[kRows];
  int32_t steps;
};

// A tile, whose columns are [from, from + width).
void read_tile(const int8_t* weight, int64_t rows, int64_t columns, int64_t first_row, int64_t from, int32_t width,
               TileColumns& tile) {
  const int32_t here = static_cast<int32_t>(std::min<int64_t>(width, columns - from));
  int32_t fullest = 0;
  for (int32_t r = 0; r < kRows; ++r) {
    tile.counts[r] = 0;
    if (first_row + r < rows)
      tile.counts[r] = kept_columns(weight + (first_row + r) * columns + from, here, tile.columns[r]);
    fullest = std::max(fullest, tile.counts[r]);
  }
  tile.steps = (fullest + kSlots - 1) / kSlots;
}

void write_tile(const int8_t* weight, int64_t columns, int64_t first_row, int64_t from, const TileColumns& tile,
                uint8_t* stream) {
  for (int32_t step = 0; step < tile.steps; ++step, stream += kStepBytes) {
    std::memset(stream, 0, kStepBytes);
    for (int32_t r = 0; r < kRows; ++r) {
      const int32_t end = std::min(tile.counts[r], (step + 1) * kSlots);
      for (int32_t i = step * kSlots; i < end; ++i) {
        const int32_t slot = r * kSlots + i - step * kSlots;
        const uint8_t column = tile.columns[r][i];
        stream[slot] = column;
        stream[kStepWeights + slot] = static_cast<uint8_t>(weight[(first_row + r) * columns + from + column]);
      }
    }
  }
}

void check_sizes(int32_t width, int32_t chunk_windows) {
  if (width != 16 && width != 64) throw std::invalid_argument("windows have 16 or 64 columns");
  if (chunk_windows <= 0 || chunk_windows > std::numeric_limits<uint16_t>::max())
    throw std::invalid_argument("a chunk has between 1 and 65535 windows");
}

}  // namespace

void* allocate_aligned(size_t bytes) {
  const size_t unit = bytes >= 2 * kHugePage ? kHugePage : 64;
  const size_t whole = (std::max<size_t>(bytes, 1) + unit - 1) / unit * unit;
  void* memory = std::aligned_alloc(unit, whole);
  if (!memory) throw std::bad_alloc();
#if defined(__linux__)
  if (unit == kHugePage) madvise(memory, whole, MADV_HUGEPAGE);  // weights that are read once a run: fewer pages to look up
#endif
  return memory;
}

int64_t count_steps(const int8_t* weight, int64_t rows, int64_t columns, int32_t width) {
  TileColumns tile;
  int64_t steps = 0;
  for (int64_t first_row = 0; first_row < rows; first_row += kRows)
    for (int64_t from = 0; from < columns; from += width) {
      read_tile(weight, rows, columns, first_row, from, width, tile);
      steps += tile.steps;
    }
  return steps;
}

Encoded encode(const int8_t* weight, int64_t rows, int64_t columns, int32_t width, int32_t chunk_windows) {
  check_sizes(width, chunk_windows);
  Encoded encoded;
  encoded.rows = rows;
  encoded.columns = columns;
  encoded.width = width;
  encoded.groups = static_cast<int32_t>(tiles(rows, kRows));
  encoded.all_windows = static_cast<int32_t>(tiles(columns, width));
  encoded.chunk_windows = std::min(chunk_windows, encoded.all_windows);
  encoded.chunks = static_cast<int32_t>(tiles(encoded.all_windows, encoded.chunk_windows));
  encoded.steps = count_steps(weight, rows, columns, width);
  if (encoded.steps > std::numeric_limits<int32_t>::max()) throw std::invalid_argument("a weight of too many steps");
  encoded.stream = aligned<uint8_t>(static_cast<size_t>(encoded.steps) * kStepBytes);
  encoded.windows.reserve(static_cast<size_t>(encoded.steps));
  encoded.pointers.reserve(static_cast<size_t>(encoded.chunks) * static_cast<size_t>(encoded.groups) + 1);
  TileColumns tile;
  int64_t step = 0;
  for (int32_t chunk = 0; chunk < encoded.chunks; ++chunk) {
    const int32_t begin = chunk * encoded.chunk_windows;
    const int32_t end = std::min(begin + encoded.chunk_windows, encoded.all_windows);
    for (int32_t group = 0; group < encoded.groups; ++group) {
      encoded.pointers.push_back(static_cast<int32_t>(step));
      for (int32_t window = begin; window < end; ++window) {
        const int64_t first_row = int64_t{group} * kRows, from = int64_t{window} * width;
        read_tile(weight, rows, columns, first_row, from, width, tile);
        write_tile(weight, columns, first_row, from, tile, encoded.stream.get() + step * kStepBytes);
        encoded.windows.insert(encoded.windows.end(), static_cast<size_t>(tile.steps),
                               static_cast<uint16_t>(window - begin));
        step += tile.steps;
      }
    }
  }
  encoded.pointers.push_back(static_cast<int32_t>(step));
  return encoded;
}

bool is_narrow(const uint8_t* weights, int64_t count) {
  for (int64_t at = 0; at < count; at += 2) {
    const int32_t first = static_cast<int8_t>(weights[at]), second = static_cast<int8_t>(weights[at + 1]);
    if (std::abs(first) + std::abs(second) > 128) return false;
  }
  return true;
}

bool is_narrow(const Encoded& encoded) {
  for (int64_t step = 0; step < encoded.steps; ++step)
    if (!is_narrow(encoded.stream.get() + step * kStepBytes + kStepWeights, kStepWeights)) return false;
  return true;
}

std::vector<int8_t> decode(const Encoded& encoded) {
  std::vector<int8_t> weight(static_cast<size_t>(encoded.rows * encoded.columns));
  for (int32_t chunk = 0; chunk < encoded.chunks; ++chunk)
    for (int32_t group = 0; group < encoded.groups; ++group) {
      const int32_t* pointer = encoded.pointers.data() + int64_t{chunk} * encoded.groups + group;
      for (int32_t step = pointer[0]; step < pointer[1]; ++step) {
        const uint8_t* stream = encoded.stream.get() + int64_t{step} * kStepBytes;
        const int64_t window = int64_t{chunk} * encoded.chunk_windows + encoded.windows[static_cast<size_t>(step)];
        for (int32_t slot = 0; slot < kStepWeights; ++slot) {
          const int8_t value = static_cast<int8_t>(stream[kStepWeights + slot]);
          if (value == 0) continue;
          const int64_t row = int64_t{group} * kRows + slot / kSlots, column = window * encoded.width + stream[slot];
          weight[static_cast<size_t>(row * encoded.columns + column)] = value;
        }
      }
    }
  return weight;
}

}  // namespace netsurgeon::sparse
