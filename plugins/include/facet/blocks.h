/* The block formats of facet_type, and one plain decoder of each.
 *
 * Words
 *   block        the unit of a format: a fixed number of elements of one row in a fixed number of bytes. A
 *                row is a whole number of blocks, one after the other.
 *   scale        d, mostly float16: what the small integers of a block are multiplied with. A minimum (m,
 *                dmin) is added or subtracted afterwards.
 *   super-block  the 256 elements of the K formats and of IQ4_XS: sub-blocks of 16 or 32 with scales of a few
 *                bits of their own.
 *
 * The decoders are the meaning of the formats: they multiply in float32, one rounding per operation, in the
 * order that they show (compile them with -ffp-contract=off). A backend may compute differently; its numerics
 * name says so. Nothing here checks a pointer. Plain C, depends on nothing; blocks need an alignment of 2. */
#ifndef FACET_BLOCKS_H_
#define FACET_BLOCKS_H_

#include <facet/backend.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- float16 and bfloat16, as bits */

static inline float facet_bits_to_f32(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t facet_f32_to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* Exact for every value. */
static inline float facet_f16_to_f32(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  uint32_t exponent = (half >> 10) & 0x1fu;
  uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1f) return facet_bits_to_f32(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return facet_bits_to_f32(sign | ((exponent + 112) << 23) | (fraction << 13));
  float magnitude = (float)fraction * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

/* To the nearest float16, ties to even; from 65520 on to infinity. A NaN stays a (quiet) NaN. */
static inline uint16_t facet_f32_to_f16(float value) {
  uint32_t bits = facet_f32_to_bits(value);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
  if (magnitude >= 0x38800000u) { /* normal */
    uint32_t rebased = magnitude - 0x38000000u;
    return (uint16_t)(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
  }
  uint32_t exponent = magnitude >> 23;
  if (exponent < 102) return (uint16_t)sign;
  uint32_t shift = 126 - exponent; /* to units of the smallest subnormal */
  uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
  uint32_t odd = (significand >> shift) & 1u;
  return (uint16_t)(sign | ((significand + (1u << (shift - 1)) - 1u + odd) >> shift));
}

/* Exact for every value. */
static inline float facet_bf16_to_f32(uint16_t brain) {
  return facet_bits_to_f32((uint32_t)brain << 16);
}

/* To the nearest bfloat16, ties to even. A NaN stays a (quiet) NaN. */
static inline uint16_t facet_f32_to_bf16(float value) {
  uint32_t bits = facet_f32_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* ---- the blocks. d, m, dmin: float16. */

typedef struct facet_block_q4_0 {
  uint16_t d;
  uint8_t qs[16]; /* elements 0..15 in the low halves, 16..31 in the high ones */
} facet_block_q4_0;

typedef struct facet_block_q4_1 {
  uint16_t d, m;
  uint8_t qs[16];
} facet_block_q4_1;

typedef struct facet_block_q5_0 {
  uint16_t d;
  uint8_t qh[4]; /* fifth bits: bit i of the little-endian number is element i's */
  uint8_t qs[16];
} facet_block_q5_0;

typedef struct facet_block_q5_1 {
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
} facet_block_q5_1;

typedef struct facet_block_q8_0 {
  uint16_t d;
  int8_t qs[32];
} facet_block_q8_0;

typedef struct facet_block_q2_k {
  uint8_t scales[16]; /* per 16 elements: scale in the low half, minimum in the high one */
  uint8_t qs[64];     /* 2 halves of 128 elements; byte l of a half holds elements l, l+32, l+64, l+96 */
  uint16_t d, dmin;
} facet_block_q2_k;

typedef struct facet_block_q3_k {
  uint8_t hmask[32]; /* bit g of byte l: third bit of element 32 g + l */
  uint8_t qs[64];    /* as in q2_k */
  uint8_t scales[12];
  uint16_t d;
} facet_block_q3_k;

typedef struct facet_block_q4_k {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128]; /* per 64 elements: 0..31 in the low halves, 32..63 in the high ones */
} facet_block_q4_k;

typedef struct facet_block_q5_k {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32]; /* bit g of byte l: fifth bit of element 32 g + l */
  uint8_t qs[128];
} facet_block_q5_k;

typedef struct facet_block_q6_k {
  uint8_t ql[128];   /* per half of 128 elements: 0..63 in the low halves, 64..127 in the high ones */
  uint8_t qh[64];    /* the upper two bits, as in q2_k */
  int8_t scales[16]; /* per 16 elements */
  uint16_t d;
} facet_block_q6_k;

typedef struct facet_block_iq4_nl {
  uint16_t d;
  uint8_t qs[16]; /* indices into facet_iq4_values, laid out as in q4_0 */
} facet_block_iq4_nl;

typedef struct facet_block_iq4_xs {
  uint16_t d;
  uint16_t scales_h;   /* upper two bits of the scale of sub-block j at bit 2 j */
  uint8_t scales_l[4]; /* lower four bits, two sub-blocks a byte */
  uint8_t qs[128];     /* per sub-block of 32 as in iq4_nl */
} facet_block_iq4_xs;

static const int8_t facet_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

typedef struct facet_block_size {
  uint32_t elements; /* 0: not a facet_type */
  uint32_t bytes;
} facet_block_size;

static inline facet_block_size facet_block_size_of(uint32_t type) {
  facet_block_size size = {32, 0};
  switch (type) {
    case FACET_TYPE_F32:
      size.elements = 1;
      size.bytes = 4;
      return size;
    case FACET_TYPE_F16:
    case FACET_TYPE_BF16:
      size.elements = 1;
      size.bytes = 2;
      return size;
    case FACET_TYPE_Q4_0:
      size.bytes = sizeof(facet_block_q4_0);
      return size;
    case FACET_TYPE_Q4_1:
      size.bytes = sizeof(facet_block_q4_1);
      return size;
    case FACET_TYPE_Q5_0:
      size.bytes = sizeof(facet_block_q5_0);
      return size;
    case FACET_TYPE_Q5_1:
      size.bytes = sizeof(facet_block_q5_1);
      return size;
    case FACET_TYPE_Q8_0:
      size.bytes = sizeof(facet_block_q8_0);
      return size;
    case FACET_TYPE_IQ4_NL:
      size.bytes = sizeof(facet_block_iq4_nl);
      return size;
  }
  size.elements = 256;
  switch (type) {
    case FACET_TYPE_Q2_K:
      size.bytes = sizeof(facet_block_q2_k);
      return size;
    case FACET_TYPE_Q3_K:
      size.bytes = sizeof(facet_block_q3_k);
      return size;
    case FACET_TYPE_Q4_K:
      size.bytes = sizeof(facet_block_q4_k);
      return size;
    case FACET_TYPE_Q5_K:
      size.bytes = sizeof(facet_block_q5_k);
      return size;
    case FACET_TYPE_Q6_K:
      size.bytes = sizeof(facet_block_q6_k);
      return size;
    case FACET_TYPE_IQ4_XS:
      size.bytes = sizeof(facet_block_iq4_xs);
      return size;
  }
  size.elements = 0;
  return size;
}

/* "Q4_K"; "unknown" for a number that is not in the list. */
static inline const char* facet_type_name(uint32_t type) {
  switch (type) {
    case FACET_TYPE_F32:
      return "F32";
    case FACET_TYPE_F16:
      return "F16";
    case FACET_TYPE_BF16:
      return "BF16";
    case FACET_TYPE_Q4_0:
      return "Q4_0";
    case FACET_TYPE_Q4_1:
      return "Q4_1";
    case FACET_TYPE_Q5_0:
      return "Q5_0";
    case FACET_TYPE_Q5_1:
      return "Q5_1";
    case FACET_TYPE_Q8_0:
      return "Q8_0";
    case FACET_TYPE_Q2_K:
      return "Q2_K";
    case FACET_TYPE_Q3_K:
      return "Q3_K";
    case FACET_TYPE_Q4_K:
      return "Q4_K";
    case FACET_TYPE_Q5_K:
      return "Q5_K";
    case FACET_TYPE_Q6_K:
      return "Q6_K";
    case FACET_TYPE_IQ4_NL:
      return "IQ4_NL";
    case FACET_TYPE_IQ4_XS:
      return "IQ4_XS";
  }
  return "unknown";
}

/* Bytes of a row of `elements`. Only for a facet_type and a whole number of its blocks. */
static inline uint64_t facet_row_bytes(uint32_t type, uint64_t elements) {
  facet_block_size size = facet_block_size_of(type);
  return elements / size.elements * size.bytes;
}

/* ---- decoders: one block to 32 or 256 floats */

static inline void facet_decode_q4_0(const facet_block_q4_0* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * (float)((b->qs[i] & 15) - 8);
    out[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
  }
}

static inline void facet_decode_q4_1(const facet_block_q4_1* b, float* out) {
  float d = facet_f16_to_f32(b->d), m = facet_f16_to_f32(b->m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * (float)(b->qs[i] & 15) + m;
    out[i + 16] = d * (float)(b->qs[i] >> 4) + m;
  }
}

/* Element i (0..31) of a 5-bit block: 0..31. */
static inline int facet_five_bits(const uint8_t* qs, const uint8_t* qh, int i) {
  int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
  return low | ((qh[i / 8] >> (i % 8) & 1) << 4);
}

static inline void facet_decode_q5_0(const facet_block_q5_0* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int i = 0; i < 32; ++i) out[i] = d * (float)(facet_five_bits(b->qs, b->qh, i) - 16);
}

static inline void facet_decode_q5_1(const facet_block_q5_1* b, float* out) {
  float d = facet_f16_to_f32(b->d), m = facet_f16_to_f32(b->m);
  for (int i = 0; i < 32; ++i) out[i] = d * (float)facet_five_bits(b->qs, b->qh, i) + m;
}

static inline void facet_decode_q8_0(const facet_block_q8_0* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int i = 0; i < 32; ++i) out[i] = d * (float)b->qs[i];
}

/* Element i (0..255) of the two-bit layout that q2_k, q3_k and q6_k share. */
static inline int facet_two_bits(const uint8_t* qs, int i) {
  return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static inline void facet_decode_q2_k(const facet_block_q2_k* b, float* out) {
  float d = facet_f16_to_f32(b->d), dmin = facet_f16_to_f32(b->dmin);
  for (int g = 0; g < 16; ++g) {
    float scale = d * (float)(b->scales[g] & 15), minimum = dmin * (float)(b->scales[g] >> 4);
    for (int i = 16 * g; i < 16 * g + 16; ++i) out[i] = scale * (float)facet_two_bits(b->qs, i) - minimum;
  }
}

/* Scale g (0..15) of a q3_k block: -32..31. */
static inline int facet_q3_k_scale(const uint8_t* scales, int g) {
  int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
  int high = scales[8 + g % 4] >> (g / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

static inline void facet_decode_q3_k(const facet_block_q3_k* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int g = 0; g < 16; ++g) {
    float scale = d * (float)facet_q3_k_scale(b->scales, g);
    for (int i = 16 * g; i < 16 * g + 16; ++i) {
      int high = b->hmask[i % 32] >> (i / 32) & 1;
      out[i] = scale * (float)(facet_two_bits(b->qs, i) - (high ? 0 : 4));
    }
  }
}

/* Scale and minimum g (0..7) of a q4_k or q5_k block: 0..63. */
static inline void facet_q4_k_scale(const uint8_t* scales, int g, int* scale, int* minimum) {
  if (g < 4) {
    *scale = scales[g] & 63;
    *minimum = scales[g + 4] & 63;
  } else {
    *scale = (scales[g + 4] & 15) | (scales[g - 4] >> 6) << 4;
    *minimum = (scales[g + 4] >> 4) | (scales[g] >> 6) << 4;
  }
}

static inline void facet_decode_q4_k(const facet_block_q4_k* b, float* out) {
  float d = facet_f16_to_f32(b->d), dmin = facet_f16_to_f32(b->dmin);
  for (int g = 0; g < 8; ++g) {
    int sc, mn;
    facet_q4_k_scale(b->scales, g, &sc, &mn);
    float scale = d * (float)sc, minimum = dmin * (float)mn;
    for (int l = 0; l < 32; ++l) {
      int q = b->qs[g / 2 * 32 + l] >> (g % 2 * 4) & 15;
      out[32 * g + l] = scale * (float)q - minimum;
    }
  }
}

static inline void facet_decode_q5_k(const facet_block_q5_k* b, float* out) {
  float d = facet_f16_to_f32(b->d), dmin = facet_f16_to_f32(b->dmin);
  for (int g = 0; g < 8; ++g) {
    int sc, mn;
    facet_q4_k_scale(b->scales, g, &sc, &mn);
    float scale = d * (float)sc, minimum = dmin * (float)mn;
    for (int l = 0; l < 32; ++l) {
      int q = (b->qs[g / 2 * 32 + l] >> (g % 2 * 4) & 15) | (b->qh[l] >> g & 1) << 4;
      out[32 * g + l] = scale * (float)q - minimum;
    }
  }
}

static inline void facet_decode_q6_k(const facet_block_q6_k* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int g = 0; g < 16; ++g) {
    float scale = d * (float)b->scales[g];
    for (int i = 16 * g; i < 16 * g + 16; ++i) {
      int low = b->ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
      out[i] = scale * (float)((low | facet_two_bits(b->qh, i) << 4) - 32);
    }
  }
}

static inline void facet_decode_iq4_nl(const facet_block_iq4_nl* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * (float)facet_iq4_values[b->qs[i] & 15];
    out[i + 16] = d * (float)facet_iq4_values[b->qs[i] >> 4];
  }
}

/* Scale g (0..7) of an iq4_xs block: -32..31. */
static inline int facet_iq4_xs_scale(const facet_block_iq4_xs* b, int g) {
  return ((b->scales_l[g / 2] >> (g % 2 * 4) & 15) | (b->scales_h >> (2 * g) & 3) << 4) - 32;
}

static inline void facet_decode_iq4_xs(const facet_block_iq4_xs* b, float* out) {
  float d = facet_f16_to_f32(b->d);
  for (int g = 0; g < 8; ++g) {
    float scale = d * (float)facet_iq4_xs_scale(b, g);
    for (int i = 0; i < 16; ++i) {
      out[32 * g + i] = scale * (float)facet_iq4_values[b->qs[16 * g + i] & 15];
      out[32 * g + i + 16] = scale * (float)facet_iq4_values[b->qs[16 * g + i] >> 4];
    }
  }
}

/* Decodes `elements` of a row, from its start: a whole number of blocks of a facet_type. */
static inline void facet_decode_row(uint32_t type, const void* row, uint64_t elements, float* out) {
#define FACET_DECODE_BLOCKS(name, width)                                      \
  for (uint64_t i = 0; i < elements / width; ++i)                             \
    facet_decode_##name((const facet_block_##name*)row + i, out + i * width); \
  return
  switch (type) {
    case FACET_TYPE_F32:
      memcpy(out, row, elements * sizeof(float));
      return;
    case FACET_TYPE_F16:
      for (uint64_t i = 0; i < elements; ++i) out[i] = facet_f16_to_f32(((const uint16_t*)row)[i]);
      return;
    case FACET_TYPE_BF16:
      for (uint64_t i = 0; i < elements; ++i) out[i] = facet_bf16_to_f32(((const uint16_t*)row)[i]);
      return;
    case FACET_TYPE_Q4_0:
      FACET_DECODE_BLOCKS(q4_0, 32);
    case FACET_TYPE_Q4_1:
      FACET_DECODE_BLOCKS(q4_1, 32);
    case FACET_TYPE_Q5_0:
      FACET_DECODE_BLOCKS(q5_0, 32);
    case FACET_TYPE_Q5_1:
      FACET_DECODE_BLOCKS(q5_1, 32);
    case FACET_TYPE_Q8_0:
      FACET_DECODE_BLOCKS(q8_0, 32);
    case FACET_TYPE_Q2_K:
      FACET_DECODE_BLOCKS(q2_k, 256);
    case FACET_TYPE_Q3_K:
      FACET_DECODE_BLOCKS(q3_k, 256);
    case FACET_TYPE_Q4_K:
      FACET_DECODE_BLOCKS(q4_k, 256);
    case FACET_TYPE_Q5_K:
      FACET_DECODE_BLOCKS(q5_k, 256);
    case FACET_TYPE_Q6_K:
      FACET_DECODE_BLOCKS(q6_k, 256);
    case FACET_TYPE_IQ4_NL:
      FACET_DECODE_BLOCKS(iq4_nl, 32);
    case FACET_TYPE_IQ4_XS:
      FACET_DECODE_BLOCKS(iq4_xs, 256);
  }
#undef FACET_DECODE_BLOCKS
}

/* ---- the encoder of caches */

/* 32 floats as a block. With m the greatest magnitude among them, in float32: d = m / 127 as float16, and a
 * quant is x * (127 / m) rounded to the nearest integer, ties to even. Where d is zero the quants are. Where
 * it is not finite, as for an infinity or a NaN, the block reads as NaNs: d is 0x7e00, the quants are zero.
 */
static inline void facet_encode_q8_0(const float* x, facet_block_q8_0* b) {
  uint32_t greatest = 0; /* as bits: that of a NaN is above those of all numbers */
  for (int i = 0; i < 32; ++i) {
    uint32_t magnitude = facet_f32_to_bits(x[i]) & 0x7fffffffu;
    if (magnitude > greatest) greatest = magnitude;
  }
  float m = facet_bits_to_f32(greatest);
  b->d = facet_f32_to_f16(m / 127.0f);
  memset(b->qs, 0, sizeof b->qs);
  if (b->d >= 0x7c00u) b->d = 0x7e00u;
  if (b->d == 0 || b->d == 0x7e00u) return;
  float factor = 127.0f / m;
  /* Below 2^22 in magnitude a sum with 1.5 * 2^23 has no room for fractions. */
  for (int i = 0; i < 32; ++i) b->qs[i] = (int8_t)((x[i] * factor + 0x1.8p23f) - 0x1.8p23f);
}

#ifdef __cplusplus
}
#endif
#endif /* FACET_BLOCKS_H_ */
