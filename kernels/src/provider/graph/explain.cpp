#include "provider/graph/explain.h"

#include <algorithm>
#include <cstdio>
#include <memory>

namespace netsurgeon::sparse {

void Explanation::write(const char* what, const std::string& layer, const std::string& rest) const {
  if (path_.empty()) return;
  std::string line = std::string(what) + '\t' + layer + '\t' + rest;
  size_t tabs = 0;
  std::replace_if(line.begin(), line.end(), [&](char c) { return c == '\n' || c == '\r' || (c == '\t' && ++tabs > 2); }, ' ');
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path_.c_str(), "a"), std::fclose);
  if (file) std::fprintf(file.get(), "%s\n", line.c_str());
}

std::string layer_name(const NodeView& node) {
  return node.name.empty() && !node.output_names.empty() ? node.output_names[0] : node.name;
}

bool is_layer(const NodeView& node) {
  const bool is_here = is_onnx(node) || node.domain == kNhwcDomain;
  return is_here && (node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul" || node.op == "MatMulInteger");
}

std::string why_not(const GraphView& graph, const NodeView& node) {
  const std::string other = "what lies around it has none of the forms that the provider takes";
  if (node.op == "MatMulInteger" || node.input_names.size() < 2) return other;
  const Ort& ort = graph.ort;
  const NodeView* input = graph.producer(node.input_names[0]);
  const NodeView* weight = graph.producer(node.input_names[1]);
  if (!is_quantizer(weight, "DequantizeLinear")) return "its weight is not 8-bit integers";
  if (!is_quantizer(input, "DequantizeLinear")) return "its input is not 8-bit integers";
  if (ort.element_type(input_info(*input, 0), nullptr) != kUint8) return "its input has signed integers";
  if (!constant_of(ort, input_info(*weight, 0))) return "its weight is not constant";
  if (node.op == "Conv" && ort.attribute(node.node, "group", int64_t{1}) != 1) return "its channels are in groups";
  if (node.op == "Conv" && ort.attribute(node.node, "auto_pad", "NOTSET").rfind("SAME", 0) == 0)
    return "its padding depends on the input";
  if (!graph.only_reader(node.input_names[0])) return "several nodes read its dequantized input";
  return node.op == "Conv" ? "its output does not become 8-bit integers, or is also an output of the model" : other;
}

}  // namespace netsurgeon::sparse
