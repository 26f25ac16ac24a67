// A graph as the provider reads it: nodes by the values they make and read, and constants.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "provider/ort.h"

namespace netsurgeon::sparse {

constexpr const char* kNhwcDomain = "com.ms.internal.nhwc";

struct NodeView {
  const OrtNode* node = nullptr;
  std::string name, op, domain;
  std::vector<const OrtValueInfo*> inputs, outputs;
  std::vector<std::string> input_names, output_names;
};

// A graph by names: who makes a value, and who reads it.
struct GraphView {
  // `part`: the graph holds a group that was claimed, without what makes its inputs.
  GraphView(const Ort& ort, const OrtGraph* graph, bool part = false);

  const NodeView* producer(const std::string& value) const;
  // The only reader of a value that nobody else sees, or nullptr.
  const NodeView* only_reader(const std::string& value) const;

  const Ort& ort;
  bool part;
  std::vector<NodeView> nodes;
  std::unordered_map<std::string, size_t> producers;
  std::unordered_map<std::string, std::vector<size_t>> readers;
  std::unordered_set<std::string> outputs;
};

bool is_onnx(const NodeView& node);
bool is_operator(const NodeView* node, const char* op);
// DequantizeLinear and QuantizeLinear: com.microsoft's pair says the same for bytes.
bool is_quantizer(const NodeView* node, const char* op);
const OrtValueInfo* input_info(const NodeView& node, size_t index);  // nullptr where it has none

struct Constant {
  int type = 0;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  int64_t count = 0;
};

std::optional<Constant> constant_of(const Ort& ort, const OrtValueInfo* info);
bool all_zero(const Constant& constant, size_t item_bytes);
bool is_positive(float value);

// int8 [columns, rows] to [rows, columns].
std::vector<int8_t> transposed(const Constant& weight);

}  // namespace netsurgeon::sparse
