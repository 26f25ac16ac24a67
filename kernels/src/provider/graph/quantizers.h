// What stands around a layer in QDQ form: bytes that it reads, integers that it multiplies, bytes that it ends in.
#pragma once

#include <optional>
#include <vector>

#include "provider/graph/view.h"

namespace netsurgeon::sparse {

// One scale and one zero point, of bytes.
struct Scale {
  float step = 0;
  uint8_t zero_point = 0;
};

// A DequantizeLinear, to floats, of bytes that a run gives; only `reader` reads it.
struct Bytes {
  const NodeView* node = nullptr;
  Scale scale;
};

std::optional<Bytes> dequantized(const GraphView& graph, const NodeView& reader, size_t index);

// A DequantizeLinear, to floats, of constant integers whose zero points are 0; only `reader` reads it.
struct Integers {
  const NodeView* node = nullptr;
  Constant values;
  std::vector<float> steps;
};

// `axis`: along which each index may have a step of its own.
std::optional<Integers> constant_integers(const GraphView& graph, const NodeView& reader, size_t index, int type,
                                          int64_t axis);

// From a node's float output through Relu or Clip to QuantizeLinear.
struct Ending {
  std::vector<const OrtNode*> nodes;
  const NodeView* quantizer = nullptr;
  Scale scale;
  int32_t low = 0, high = 255;
};

std::optional<Ending> ending(const GraphView& graph, const NodeView& node);

}  // namespace netsurgeon::sparse
