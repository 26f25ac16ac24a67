// Tells which layers the provider takes, and why not the others, in a file for whoever asks.
#pragma once

#include <string>

#include "provider/graph/view.h"

namespace netsurgeon::sparse {

// Appends lines to a file: "taken", a layer's node, and the name of the node that it has become; or "left", a layer's
// node, and why; between tabs. Does nothing without a file.
class Explanation {
 public:
  explicit Explanation(std::string path) : path_(std::move(path)) {}

  void taken(const std::string& layer, const std::string& fused) const { write("taken", layer, fused); }
  void left(const std::string& layer, const std::string& why) const { write("left", layer, why); }

 private:
  void write(const char* what, const std::string& layer, const std::string& rest) const;

  std::string path_;
};

// Name of a layer's node, or of what it makes.
std::string layer_name(const NodeView& node);

// Whether it is a layer of an operator that the provider has a kernel for.
bool is_layer(const NodeView& node);

// Why a layer is in none of the forms that the provider runs.
std::string why_not(const GraphView& graph, const NodeView& node);

}  // namespace netsurgeon::sparse
