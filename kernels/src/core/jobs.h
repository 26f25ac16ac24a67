// Parts of a layer's work, each of which one thread does.
#pragma once

#include <cstddef>

#include "engine.h"

namespace netsurgeon::sparse {

enum Scratch { kPanel, kSums, kSharedPanels, kStrip };

// Memory that a thread keeps for its next call; what it held is gone.
uint8_t* scratch(size_t bytes, Scratch which);

struct Job {
  const Task* task;
  const Engine* engine;
  int64_t pixels, tiles, parts;
  uint8_t* panels;  // of all tiles, where they are shared
  int64_t tile_panel_bytes;
  int64_t window_bytes;  // of one pixel
  int64_t strip_rows, strips;  // of an image
  bool is_padded;
};

// The input of a strip of so many rows of the output, where it is copied.
int64_t strip_input_rows(const Task& task, int64_t out_rows);
int64_t strip_row_bytes(const Task& task);

// `data` is a Job. Of a tile: its columns packed, all rows multiplied; of a layer that takes each pixel as it is; of a strip.
void whole_tile(void* data, size_t index);
void pointwise_tile(void* data, size_t index);
void whole_strip(void* data, size_t index);
// Of few tiles: one chunk packed, some rows multiplied.
void pack_shared(void* data, size_t index);
void multiply_shared(void* data, size_t index);

}  // namespace netsurgeon::sparse
