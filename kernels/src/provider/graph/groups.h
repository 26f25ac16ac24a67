// Which nodes of a graph the provider can run as one: from bytes to bytes, with everything in between.
#pragma once

#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/layer.h"
#include "provider/graph/view.h"

namespace netsurgeon::sparse {

enum class Kind { kConvolution, kMatrix, kPool };

// Nodes that become one, and what they compute.
struct Group {
  Kind kind = Kind::kConvolution;
  std::vector<const OrtNode*> nodes;
  std::string input, residual, output;  // names of values; no residual: ""
  std::string step, zero_point;         // names of the input's, where a run tells them
  std::string layer_output;             // of the layer's node: names the group in decisions
  bool nhwc = false;
  std::vector<int64_t> output_shape;    // of the layer's node, -1 where not known
  std::vector<int8_t> weight;           // [rows, kernel_height, kernel_width, channels]
  LayerSource layer;                    // its `weight` is set when it is used
  Pool pool{};
  int64_t pool_pad_bottom = 0, pool_pad_right = 0;
};

// The group of a MatMulInteger between DynamicQuantizeLinear and floats.
std::optional<Group> dynamic_matrix(const GraphView& graph, const NodeView& node,
                                    const std::unordered_set<const OrtNode*>& taken);

// Takes the Add of constant floats, one a row, behind floats that a group ends in.
void take_bias(const GraphView& graph, const NodeView& last, Group& group);

// The group around a Conv, Gemm, MatMul, MatMulInteger or MaxPool, without nodes that are `taken`; nothing where the provider does not
// run it. Never throws for what a model holds.
std::optional<Group> find_group(const GraphView& graph, const NodeView& node,
                                const std::unordered_set<const OrtNode*>& taken);

}  // namespace netsurgeon::sparse
