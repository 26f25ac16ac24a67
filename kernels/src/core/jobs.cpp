#include "jobs.h"

#include <algorithm>
#include <cstring>

#include "format.h"

namespace netsurgeon::sparse {

// Columns behind a matrix's last one are never chosen, so that they need no value.
uint8_t* scratch(size_t bytes, Scratch which) {
  struct Buffer {
    Aligned<uint8_t> memory;
    size_t bytes = 0;
  };
  thread_local Buffer buffers[4];
  Buffer& buffer = buffers[which];
  if (buffer.bytes < bytes) {
    buffer.memory = aligned<uint8_t>(bytes);
    buffer.bytes = bytes;
  }
  return buffer.memory.get();
}

int64_t strip_input_rows(const Task& task, int64_t out_rows) {
  const Geometry& g = task.geometry;
  return (out_rows - 1) * g.stride_height + (g.kernel_height - 1) * g.dilation_height + 1;
}

int64_t strip_row_bytes(const Task& task) {
  const Geometry& g = task.geometry;
  const int64_t columns = (task.out_width - 1) * g.stride_width + (g.kernel_width - 1) * g.dilation_width + 1;
  return columns * g.channels + (task.lines ? kSlots : 0);
}

namespace {

Tile tile_of(const Job& job, int64_t index) {
  const int64_t pixels = job.pixels / job.tiles, larger = job.pixels % job.tiles;  // tiles have one pixel more
  Tile tile;
  tile.first = index * pixels + std::min(index, larger);
  tile.pixels = static_cast<int32_t>(pixels + (index < larger ? 1 : 0));
  tile.sub_tiles = tile.pixels > job.engine->pixels ? 2 : 1;
  return tile;
}

// Copies rows of one image, from `top` on, which may lie beside it, with the padding on both sides.
void copy_rows(const Task& task, int64_t image, int64_t top, int64_t rows, int64_t row_bytes, uint8_t* target) {
  const Geometry& g = task.geometry;
  const int64_t columns = (task.out_width - 1) * g.stride_width + (g.kernel_width - 1) * g.dilation_width + 1;
  const int64_t before = std::min(g.pad_left, columns), inside = std::min(columns - before, task.width);
  const size_t start = static_cast<size_t>(before * g.channels), middle = static_cast<size_t>(inside * g.channels);
  for (int64_t row = top; row < top + rows; ++row, target += row_bytes) {
    if (row < 0 || row >= task.height) {
      std::memset(target, task.input_zero_point, static_cast<size_t>(row_bytes));
      continue;
    }
    std::memset(target, task.input_zero_point, start);
    std::memcpy(target + start, task.input + (image * task.height + row) * task.width * g.channels, middle);
    std::memset(target + start + middle, task.input_zero_point, static_cast<size_t>(row_bytes) - start - middle);
  }
}

// Some rows of an image's output, with its part of the input copied where that has padding.
Strip strip_of(const Job& job, size_t index) {
  const Task& task = *job.task;
  const Geometry& g = task.geometry;
  const int64_t image = static_cast<int64_t>(index) / job.strips;
  const int64_t first = static_cast<int64_t>(index) % job.strips * job.strip_rows;
  Strip strip;
  strip.rows = std::min(job.strip_rows, task.out_height - first);
  strip.width = task.out_width;
  strip.first_pixel = (image * task.out_height + first) * task.out_width;
  if (!job.is_padded) {
    strip.row_bytes = task.width * g.channels;
    strip.input = task.input + (image * task.height + first * g.stride_height) * strip.row_bytes;
    return strip;
  }
  strip.row_bytes = strip_row_bytes(task);
  const int64_t rows = strip_input_rows(task, strip.rows);
  uint8_t* input = scratch(static_cast<size_t>(rows * strip.row_bytes), kStrip);
  copy_rows(task, image, first * g.stride_height - g.pad_top, rows, strip.row_bytes, input);
  strip.input = input;
  return strip;
}

int32_t* row_sums_of(const Job& job) {
  const size_t count = static_cast<size_t>(job.task->groups) * static_cast<size_t>(job.engine->pixels) * kRows;
  return reinterpret_cast<int32_t*>(scratch(count * sizeof(int32_t), kSums));
}

uint8_t* shared_panel(const Job& job, int64_t tile, const Tile& pixels, int32_t chunk) {
  const int64_t before = int64_t{chunk} * job.task->chunk_windows * pixels.pixels * job.window_bytes;
  return job.panels + tile * job.tile_panel_bytes + before;
}

}  // namespace

void whole_tile(void* data, size_t index) {
  const Job& job = *static_cast<const Job*>(data);
  const Task& task = *job.task;
  const Tile tile = tile_of(job, static_cast<int64_t>(index));
  const size_t panel_bytes = static_cast<size_t>(task.chunk_windows) * static_cast<size_t>(tile.pixels * job.window_bytes);
  uint8_t* panel = scratch(panel_bytes, kPanel);
  int32_t* sums = nullptr;
  if (task.chunks > 1) {
    const size_t count = static_cast<size_t>(task.groups) * static_cast<size_t>(tile.pixels) * kRows;
    sums = reinterpret_cast<int32_t*>(scratch(count * sizeof(int32_t), kSums));
  }
  for (int32_t chunk = 0; chunk < task.chunks; ++chunk) {
    job.engine->pack(task, tile, chunk, panel);
    job.engine->multiply(task, tile, chunk, panel, 0, task.groups, sums);
  }
}

void pointwise_tile(void* data, size_t index) {
  const Job& job = *static_cast<const Job*>(data);
  const Tile tile = tile_of(job, static_cast<int64_t>(index));
  const uint8_t* input = job.task->input + tile.first * job.task->geometry.channels;
  job.engine->multiply_rows(*job.task, Strip{input, 0, tile.first, 1, tile.pixels}, row_sums_of(job));
}

void whole_strip(void* data, size_t index) {
  const Job& job = *static_cast<const Job*>(data);
  const Task& task = *job.task;
  const Strip strip = strip_of(job, index);
  if (task.lines) {
    job.engine->multiply_lines(task, strip);
    return;
  }
  job.engine->multiply_rows(task, strip, row_sums_of(job));
}

void pack_shared(void* data, size_t index) {
  const Job& job = *static_cast<const Job*>(data);
  const int64_t tile = static_cast<int64_t>(index) / job.task->chunks;
  const int32_t chunk = static_cast<int32_t>(static_cast<int64_t>(index) % job.task->chunks);
  const Tile pixels = tile_of(job, tile);
  job.engine->pack(*job.task, pixels, chunk, shared_panel(job, tile, pixels, chunk));
}

void multiply_shared(void* data, size_t index) {
  const Job& job = *static_cast<const Job*>(data);
  const Task& task = *job.task;
  const int64_t tile = static_cast<int64_t>(index) / job.parts, part = static_cast<int64_t>(index) % job.parts;
  const Tile pixels = tile_of(job, tile);
  const int32_t first = static_cast<int32_t>(part * task.groups / job.parts);
  const int32_t last = static_cast<int32_t>((part + 1) * task.groups / job.parts);
  int32_t* sums = nullptr;
  if (task.chunks > 1) {
    const size_t count = static_cast<size_t>(last - first) * static_cast<size_t>(pixels.pixels) * kRows;
    sums = reinterpret_cast<int32_t*>(scratch(count * sizeof(int32_t), kSums));
  }
  for (int32_t chunk = 0; chunk < task.chunks; ++chunk)
    job.engine->multiply(task, pixels, chunk, shared_panel(job, tile, pixels, chunk), first, last, sums);
}

}  // namespace netsurgeon::sparse
