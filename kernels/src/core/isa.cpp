#include "isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(NETSURGEON_SPARSE_X86)
#include <cpuid.h>
#elif defined(NETSURGEON_SPARSE_ARM) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace netsurgeon::sparse {
namespace {

#if defined(NETSURGEON_SPARSE_X86)
struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned part) {
  Registers registers;
  if (__get_cpuid_count(leaf, part, &registers.a, &registers.b, &registers.c, &registers.d) == 0) return {};
  return registers;
}

bool has(unsigned bits, std::initializer_list<int> wanted) {
  for (const int bit : wanted)
    if (!(bits >> bit & 1u)) return false;
  return true;
}

// What the system saves when it switches between processes: without it the registers cannot be used.
unsigned long long saved_registers() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<unsigned long long>(high) << 32 | low;
}

std::vector<Isa> vector_isas() {
  std::vector<Isa> isas;
  const Registers basic = cpuid(1, 0), extended = cpuid(7, 0), more = cpuid(7, 1);
  if (!has(basic.c, {12, 27, 28}) || !has(extended.b, {5, 8})) return isas;  // FMA, OSXSAVE, AVX; AVX2, BMI2
  const unsigned long long saved = saved_registers();
  if ((saved & 0x6) != 0x6) return isas;
  const bool avx512 = (saved & 0xE6) == 0xE6 && has(extended.b, {16, 17, 30, 31});  // F, DQ, BW, VL
  const bool vnni = avx512 && has(extended.c, {11});
  if (vnni && has(extended.c, {1})) isas.push_back(Isa::kVbmi);
  if (vnni) isas.push_back(Isa::kVnni512);
  if (has(more.a, {4})) isas.push_back(Isa::kVnni256);
  isas.push_back(Isa::kAvx2);
  return isas;
}
#elif defined(NETSURGEON_SPARSE_ARM)
bool has_dot_products() {
#if defined(__APPLE__)
  return true;  // all of its own processors
#elif defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#else
  return false;
#endif
}

std::vector<Isa> vector_isas() {
  if (has_dot_products()) return {Isa::kNeonDot, Isa::kNeon};
  return {Isa::kNeon};
}
#else
std::vector<Isa> vector_isas() { return {}; }
#endif

}  // namespace

std::vector<Isa> available_isas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found = vector_isas();
    found.push_back(Isa::kScalar);
    return found;
  }();
  return isas;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kVbmi:
      return "avx512-vbmi-vnni";
    case Isa::kVnni512:
      return "avx512-vnni";
    case Isa::kVnni256:
      return "avx-vnni";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kNeonDot:
      return "neon-dotprod";
    case Isa::kNeon:
      return "neon";
    case Isa::kScalar:
      return "scalar";
  }
  return "unknown";
}

Isa chosen_isa() {
  const std::vector<Isa> isas = available_isas();
  const char* wanted = std::getenv("NETSURGEON_SPARSE_ISA");
  if (!wanted || !*wanted) return isas.front();
  std::string names;
  for (const Isa isa : isas) {
    if (std::string(wanted) == isa_name(isa)) return isa;
    names += names.empty() ? isa_name(isa) : std::string(", ") + isa_name(isa);
  }
  throw std::invalid_argument(std::string("NETSURGEON_SPARSE_ISA is '") + wanted + "', and this processor has " + names);
}

const Engine& engine_of(Isa isa, bool narrow_weights) {
#if defined(NETSURGEON_SPARSE_X86)
  switch (isa) {
    case Isa::kVbmi:
      return kVbmiEngine;
    case Isa::kVnni512:
      return kVnni512Engine;
    case Isa::kVnni256:
      return kVnni256Engine;
    case Isa::kAvx2:
      return narrow_weights ? kAvx2Engine : kAvx2WideEngine;
    default:
      break;
  }
#elif defined(NETSURGEON_SPARSE_ARM)
  if (isa == Isa::kNeonDot) return kNeonDotEngine;
  if (isa == Isa::kNeon) return kNeonEngine;
#endif
  (void)isa;
  (void)narrow_weights;
  return kScalarEngine;
}

}  // namespace netsurgeon::sparse
