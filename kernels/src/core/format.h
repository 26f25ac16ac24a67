// The k:64 format: which weights of a matrix are kept, and in what order they are read.
//
// A matrix [rows, columns] is cut into tiles of 16 rows by `width` columns (64, or 16 where an instruction set chooses
// among 16). A *step* holds four weights of each row of a tile, and the column of each inside the tile: 64 index bytes,
// then 64 weights. A tile has as many steps as its fullest row needs; slots that are left over have weight 0.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "engine.h"

namespace netsurgeon::sparse {

// Bytes at an address that whole cache lines begin at.
struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

// Throws std::bad_alloc.
void* allocate_aligned(size_t bytes);

template <typename T>
Aligned<T> aligned(size_t count) {
  return Aligned<T>(static_cast<T*>(allocate_aligned(count * sizeof(T))));
}

struct Encoded {
  int64_t rows = 0, columns = 0;
  int32_t width = 0, groups = 0, all_windows = 0, chunk_windows = 0, chunks = 0;
  int64_t steps = 0;
  Aligned<uint8_t> stream;          // [steps][128]
  std::vector<uint16_t> windows;    // [steps], from the beginning of the chunk
  std::vector<int32_t> pointers;    // [chunks * groups + 1]
};

// Steps that a matrix needs, row-major int8 [rows, columns].
int64_t count_steps(const int8_t* weight, int64_t rows, int64_t columns, int32_t width);

// No two neighbours among these weights, an even number, exceed 128 together.
bool is_narrow(const uint8_t* weights, int64_t count);

// The same of all encoded weights.
bool is_narrow(const Encoded& encoded);

// Throws std::invalid_argument where the sizes cannot be held.
Encoded encode(const int8_t* weight, int64_t rows, int64_t columns, int32_t width, int32_t chunk_windows);

// The matrix again; what encode left out is 0.
std::vector<int8_t> decode(const Encoded& encoded);

}  // namespace netsurgeon::sparse
