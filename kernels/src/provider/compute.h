// What runs in the place of a group: one object a fused node, which never changes.
#pragma once

#include <memory>

#include "provider/graph/groups.h"

namespace netsurgeon::sparse {

class Kernel {
 public:
  virtual ~Kernel() = default;
  // Throws std::exception.
  virtual void compute(OrtKernelContext* context) const = 0;
};

// `inputs`: names of the fused node's inputs, in order. Throws std::exception.
std::unique_ptr<Kernel> make_kernel(const Ort& ort, Group group, const std::vector<std::string>& inputs, Isa isa);

}  // namespace netsurgeon::sparse
