#include "provider/graph/explain.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "provider/graph/quantizers.h"

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

namespace {

// Of a layer whose weight is constant and whose input has integers; empty where none is known.
std::string why_not_weight(const GraphView& graph, const NodeView& node, const Constant& weight) {
  const bool by_rows = node.op == "Conv" || graph.ort.attribute(node.node, "transB", int64_t{0}) != 0;
  if (weight.type != kInt8) return "its weight is not signed 8-bit integers";
  if (node.op == "Conv" && weight.shape.size() != 4) return "it is no convolution along two axes";
  if (!graph.only_reader(node.input_names[1])) return "several nodes read its dequantized weight";
  if (!constant_integers(graph, node, 1, kInt8, by_rows ? 0 : 1))
    return "its weight has zero points that are not 0, or other scales than one float32 or one a row";
  if (node.op != "MatMul" && input_info(node, 2) && !constant_integers(graph, node, 2, kInt32, 0))
    return "its bias is not constant 32-bit integers with zero points of 0";
  return "";
}

}  // namespace

std::string why_not(const GraphView& graph, const NodeView& node) {
  const std::string other = "what lies around it has none of the forms that the provider takes";
  if (node.op == "MatMulInteger" || node.input_names.size() < 2) return other;
  const Ort& ort = graph.ort;
  const NodeView* input = graph.producer(node.input_names[0]);
  const NodeView* weight = graph.producer(node.input_names[1]);
  if (!is_quantizer(weight, "DequantizeLinear")) return "its weight is not 8-bit integers";
  if (!is_quantizer(input, "DequantizeLinear")) return "its input is not 8-bit integers";
  if (ort.element_type(input_info(*input, 0), nullptr) != kUint8) return "its input has signed integers";
  const auto values = constant_of(ort, input_info(*weight, 0));
  if (!values) return "its weight is not constant";
  if (node.op == "Conv" && ort.attribute(node.node, "group", int64_t{1}) != 1) return "its channels are in groups";
  if (node.op == "Conv" && ort.attribute(node.node, "auto_pad", "NOTSET").rfind("SAME", 0) == 0)
    return "its padding depends on the input";
  if (!graph.only_reader(node.input_names[0])) return "several nodes read its dequantized input";
  if (!dequantized(graph, node, 0)) return "its input is constant, or has other scales than one float32";
  const std::string reason = why_not_weight(graph, node, *values);
  if (!reason.empty()) return reason;
  if (node.op != "Conv") return other;
  const NodeView* next = graph.only_reader(node.output_names[0]);
  if (is_operator(next, "Clip") && !ending(graph, node))
    return "it is clipped at bounds that are not constant, or not to 8-bit integers";
  if (!ending(graph, node)) return "its output does not become 8-bit integers, or is also an output of the model";
  if (input_info(node, 2)) return "its bias has other units than its sums, or it is larger than the kernels take";
  return "its sizes, strides or padding are beyond what the kernels take";
}

}  // namespace netsurgeon::sparse
