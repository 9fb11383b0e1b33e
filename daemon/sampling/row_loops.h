// The loops of row_kernels.h, written once over an `Ops`: the type Floats (a vector of kLanes floats), Ints
// (as many int32_t), max(a, b) = a > b ? a : b, and fma(a, b, c) = a * b + c rounded once, lane by lane.
// Included by one file per instruction set, whose Ops has internal linkage, so that no loop is shared between
// files built for different processors.
#pragma once

#include <cstring>

#include "daemon/sampling/row_kernels.h"

namespace facet::sampling {

// The loops for AVX2 with FMA, and for AVX-512 F with DQ; null where they are not built. The caller checks
// the processor first.
const RowKernels* avx2_row_kernels();
const RowKernels* avx512_row_kernels();

template <typename Ops>
struct RowLoops {
  using Floats = typename Ops::Floats;
  using Ints = typename Ops::Ints;
  static constexpr uint32_t kLanes = Ops::kLanes;
  // Vectors worked on side by side, to hide the latency of one chain behind the others; 32 lanes in any
  // width.
  static constexpr uint32_t kStride = 32;
  static constexpr uint32_t kVectors = kStride / kLanes;
  // Vectors that hold the eight running sums; of 16 lanes the upper half is of no use.
  static constexpr uint32_t kSums = kLanes < 8 ? 8 / kLanes : 1;

  // 2^t is p(f) * 2^n with n = round(t), f = t - n. Adding kRound leaves n in the low bits of the sum.
  static constexpr float kRound = 0x1.8p23f;
  static constexpr float kLeast = -125;
  // Minimax polynomial of 2^f on [-0.5, 0.5] that is 1 at 0; relative error 1.1e-7 with these coefficients in
  // float.
  static constexpr float kP1 = 0.6931470036506653f, kP2 = 0.24022242426872253f, kP3 = 0.05550733581185341f,
                         kP4 = 0.009671512991189957f, kP5 = 0.001326472731307149f;
  // 2^18 logits of weights below 2^kNegligible are together below 1e-12 of the largest.
  static constexpr float kNegligible = -60;

  static Floats load(const float* from) {
    Floats vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
  }

  // Weights of kStride logits, 0 below `floor`.
  static void weigh_stride(const float* from, Weighing weighing, float least, float floor,
                           Floats (&w)[kVectors]) {
    Floats f[kVectors];
    Floats n[kVectors];
    for (uint32_t v = 0; v < kVectors; ++v) {
      f[v] = Ops::max(load(from + v * kLanes) - weighing.reference, Floats{} + least);
    }
    const Floats scale = Floats{} + weighing.scale;
    for (uint32_t v = 0; v < kVectors; ++v) n[v] = Ops::fma(f[v], scale, Floats{} + kRound);
    for (uint32_t v = 0; v < kVectors; ++v) f[v] = Ops::fma(f[v], scale, kRound - n[v]);
    for (uint32_t v = 0; v < kVectors; ++v) w[v] = Ops::fma(f[v], Floats{} + kP5, Floats{} + kP4);
    for (uint32_t v = 0; v < kVectors; ++v) w[v] = Ops::fma(f[v], w[v], Floats{} + kP3);
    for (uint32_t v = 0; v < kVectors; ++v) w[v] = Ops::fma(f[v], w[v], Floats{} + kP2);
    for (uint32_t v = 0; v < kVectors; ++v) w[v] = Ops::fma(f[v], w[v], Floats{} + kP1);
    for (uint32_t v = 0; v < kVectors; ++v) w[v] = Ops::fma(f[v], w[v], Floats{} + 1.0f);
    for (uint32_t v = 0; v < kVectors; ++v) {
      w[v] = Floats((Ints(w[v]) + (Ints(n[v]) << 23)) & (load(from + v * kLanes) >= floor));
    }
  }

  static bool scan(const float* block, float* group_max) {
    Ints nan = {};
    for (uint32_t group = 0; group < kGroupsPerBlock; ++group) {
      const float* from = block + group * kGroup;
      Floats most = load(from);
      nan |= most != most;
      for (uint32_t i = kLanes; i < kGroup; i += kLanes) {
        const Floats x = load(from + i);
        nan |= x != x;
        most = Ops::max(x, most);
      }
      group_max[group] = Ops::largest(most);
    }
    int32_t any = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) any |= nan[lane];
    return any == 0;
  }

  static uint32_t count(const float* block, float floor) {
    Ints reached = {};
    for (uint32_t i = 0; i < kBlock; i += kLanes) reached -= load(block + i) >= floor;
    uint32_t sum = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) sum += uint32_t(reached[lane]);
    return sum;
  }

  static void weigh(const float* block, Weighing weighing, float floor, float* weights) {
    const float least = kLeast / weighing.scale;
    for (uint32_t i = 0; i < kBlock; i += kStride) {
      Floats w[kVectors];
      weigh_stride(block + i, weighing, least, floor, w);
      std::memcpy(weights + i, w, sizeof w);
    }
  }

  static double mass(const float* block, const float* group_max, Weighing weighing, float floor) {
    const float least = kLeast / weighing.scale;
    const float negligible = kNegligible / weighing.scale;
    Floats sums[kSums] = {};
    for (uint32_t group = 0; group < kGroupsPerBlock; ++group) {
      if (group_max[group] < floor || group_max[group] - weighing.reference < negligible) continue;
      for (uint32_t i = 0; i < kGroup; i += kStride) {
        Floats w[kVectors];
        weigh_stride(block + group * kGroup + i, weighing, least, floor, w);
        for (uint32_t half = kVectors / 2; half >= kSums; half /= 2) {
          for (uint32_t v = 0; v < half; ++v) w[v] += w[v + half];
        }
        if constexpr (kLanes == 16) w[0] = Ops::folded(w[0]);
        for (uint32_t v = 0; v < kSums; ++v) sums[v] += w[v];
      }
    }
    float lanes[8];
    std::memcpy(lanes, sums, sizeof lanes);
    for (uint32_t half = 4; half >= 1; half /= 2) {
      for (uint32_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    return lanes[0];
  }

  static constexpr RowKernels kernels() { return {scan, count, weigh, mass}; }
};

}  // namespace facet::sampling
