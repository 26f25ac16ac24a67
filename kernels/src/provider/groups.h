// Which nodes of a graph the provider can run as one: from bytes to bytes, with everything in between.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/layer.h"
#include "provider/ort.h"

namespace netsurgeon::sparse {

constexpr const char* kNhwcDomain = "com.ms.internal.nhwc";

struct NodeView {
  const OrtNode* node = nullptr;
  std::string op, domain;
  std::vector<const OrtValueInfo*> inputs, outputs;
  std::vector<std::string> input_names, output_names;
};

// A graph by names: who makes a value, and who reads it.
struct GraphView {
  GraphView(const Ort& ort, const OrtGraph* graph);

  const NodeView* producer(const std::string& value) const;
  // The only reader of a value that nobody else sees, or nullptr.
  const NodeView* only_reader(const std::string& value) const;

  const Ort& ort;
  std::vector<NodeView> nodes;
  std::unordered_map<std::string, size_t> producers;
  std::unordered_map<std::string, std::vector<size_t>> readers;
  std::unordered_set<std::string> outputs;
};

enum class Kind { kConvolution, kMatrix, kPool };

// Nodes that become one, and what they compute.
struct Group {
  Kind kind = Kind::kConvolution;
  std::vector<const OrtNode*> nodes;
  std::string input, residual, output;  // names of values; no residual: ""
  std::string layer_output;             // of the layer's node: names the group in decisions
  bool nhwc = false;
  std::vector<int64_t> output_shape;    // of the layer's node, -1 where not known
  std::vector<int8_t> weight;           // [rows, kernel_height, kernel_width, channels]
  LayerSource layer;                    // its `weight` is set when it is used
  Pool pool{};
  int64_t pool_pad_bottom = 0, pool_pad_right = 0;
};

// The group around a Conv, Gemm, MatMul or MaxPool, without nodes that are `taken`; nothing where the provider does not
// run it. Never throws for what a model holds.
std::optional<Group> find_group(const GraphView& graph, const NodeView& node,
                                const std::unordered_set<const OrtNode*>& taken);

}  // namespace netsurgeon::sparse
