/* Facet's plugin ABI: how the engine runs a model on a device.
 *
 * Words
 *   backend     a shared library that exports one symbol, facet_backend_entry, and runs programs on its
 *               devices.
 *   device      one processor of a backend: a CPU with its cores, one GPU.
 *   weight      a tensor of a model file, in the block format of the file (facet/blocks.h), as memory of the
 *               host.
 *   value       the result of an op: a matrix of float32 with one row per row of the batch (or per selected
 *               row).
 *   program     a list of ops over values, built once per model. Numbers of rows and sequences are left open.
 *   cut         a place between two ops where the run of a program can stop and go on later. The range
 *               between two cuts, together with a number of rows, is a slice: the unit that the host submits
 *               and waits for.
 *   context     the activations of one run in flight: memory for up to max_rows rows. Runs in two contexts
 *               may be interleaved slice by slice.
 *   batch       the rows of one run: each a token (or an external embedding) at a position of a sequence.
 *   cache       keys and values of earlier positions, in pages. Layers that keep the same positions form a
 *               group (sliding, global) with its own pages and page tables.
 *   page table  of one sequence in one group: which page holds which block of positions. The host owns it.
 *   fence       a number that a submit returns and that can be waited for.
 *
 * Rules
 *   Versions    The host offers a range of ABI versions; the backend picks one it speaks or returns NULL. 0
 *               is no version. Version 1 is "0.1": it may still change from release to release until it is
 *               frozen.
 *   Growth      Every struct starts with its size in bytes, set by whoever fills it, and grows only at its
 *               end. The reader reads the smaller of that size and its own, and takes what is missing as
 *               zero. The elements of an array of such structs lie `size` of the first element apart.
 *   Ownership   What a call is given stays the caller's, and need only live until the call returns, unless it
 *               says otherwise. What a *_create or *_open call returns is the caller's to pass to *_destroy
 *               or *_close once. After a failure nothing was created and nothing is owed.
 *   Lifetimes   device > program, cache; program > context. The host destroys in the reverse order. A destroy
 *               call first waits for what is in flight.
 *   Failure     A call that can fail returns a facet_status and, if it is not FACET_OK, writes a sentence
 *               that names the thing into `error` (which may be NULL). Nothing throws or aborts across this
 *               boundary. After FACET_DEVICE_LOST only destroy and close calls are valid on the device.
 *   Threads     Calls on one context are serial; calls on one device from different threads are allowed, also
 *               for different contexts at once. A backend brings its own compute threads.
 *   Transport   Every call could be marshalled: no callback but the host's log, no pointer that outlives its
 *               rule.
 *   Arithmetic  A row's results depend on that row, its sequence's cache and the weights alone: not on other
 *               rows of the batch, on max_rows, on where the run was cut, or on the number of threads. Sums
 *               run in one fixed order. Rows of a chunk read keys and values as the cache stores them. The
 *               same numerics string promises the same bits.
 */
#ifndef FACET_BACKEND_H_
#define FACET_BACKEND_H_

#include <facet/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FACET_ABI_VERSION 1u
#define FACET_BACKEND_ENTRY "facet_backend_entry"
#define FACET_NONE UINT32_MAX /* "no such index" */
#define FACET_MOST_NICE 19u

typedef struct facet_error {
  size_t size;
  char message[248]; /* UTF-8, ends with a zero byte */
} facet_error;

/* ---- weights
 * ---------------------------------------------------------------------------------------------------- */

/* The numbers are those of GGUF. */
typedef enum facet_type {
  FACET_TYPE_F32 = 0,
  FACET_TYPE_F16 = 1,
  FACET_TYPE_Q4_0 = 2,
  FACET_TYPE_Q4_1 = 3,
  FACET_TYPE_Q5_0 = 6,
  FACET_TYPE_Q5_1 = 7,
  FACET_TYPE_Q8_0 = 8,
  FACET_TYPE_Q2_K = 10,
  FACET_TYPE_Q3_K = 11,
  FACET_TYPE_Q4_K = 12,
  FACET_TYPE_Q5_K = 13,
  FACET_TYPE_Q6_K = 14,
  FACET_TYPE_IQ4_NL = 20,
  FACET_TYPE_IQ4_XS = 23,
  FACET_TYPE_BF16 = 30,
} facet_type;

typedef enum facet_access {
  FACET_ACCESS_DENSE = 0, /* read whole in every run: may be copied to the device or into another layout */
  FACET_ACCESS_ROWS = 1,  /* a few rows are read in a run: must not be copied or prefetched whole */
} facet_access;

/* Read-only memory of the host that stays as it is until the program is destroyed. Rows are dims[0] elements
 * long and lie one after the other; dims[1] rows make a matrix, dims[2] matrices a stack. Unused dims are 1.
 * A matrix of a matmul has one row per output: dims = [inputs, outputs]. `data` is aligned to 32 bytes;
 * `bytes` is exact. */
typedef struct facet_weight {
  size_t size;
  const char* name; /* as in the model file: "blk.0.attn_q.weight" */
  uint32_t type;    /* facet_type */
  uint32_t access;  /* facet_access */
  uint64_t dims[4];
  const void* data;
  uint64_t bytes;
} facet_weight;

/* ---- the program
 * ------------------------------------------------------------------------------------------------- */

typedef enum facet_rows_kind {
  FACET_ROWS_BATCH = 0,    /* one row per row of the batch */
  FACET_ROWS_SELECTED = 1, /* one row per selected row of the batch */
} facet_rows_kind;

/* float32 [rows, width]. A backend may keep it in another precision; its numerics string then says so. */
typedef struct facet_value {
  size_t size;
  uint32_t rows;  /* facet_rows_kind */
  uint32_t width; /* at least 1 */
} facet_value;

/* Each op writes values that no other op writes. x, y: inputs in order; w: weights in order; "row" is one row
 * of a value. */
typedef enum facet_op_kind {
  /* out = w[token] * embed.scale, w [width, tokens]. A row with an external embedding is that embedding,
     unscaled. */
  FACET_OP_EMBED = 1,
  /* Each run of norm.segment elements of a row: out = x / sqrt(mean(x^2) + norm.eps), times w [segment] if
     given. */
  FACET_OP_RMS_NORM = 2,
  /* out[j] = sum_k x[k] * w[k, j], w [x.width, out.width] of any type. */
  FACET_OP_MATMUL = 3,
  /* Rotates pairs (i, i + n_rot/2) of each head of rope.head_dim elements by position * freq_scale *
   * base^(-2i/n_rot) / w[i]; w [n_rot/2] is optional. Elements from n_rot on stay. */
  FACET_OP_ROPE = 4,
  /* Writes k = x and v = y of each live row into the cache layer at the row's position. No output. */
  FACET_OP_CACHE_APPEND = 5,
  /* x: queries of attention.heads heads. Head h reads KV head h / (heads / kv_heads). Row r sees position p
   * if p <= last_visible[r] and (window = 0 or position[r] - p < window). out = softmax(scale * q.k) v. Needs
   * the appends of the same layer to stand before it in the program. */
  FACET_OP_ATTENTION = 6,
  /* out = act(x) * y, elementwise. */
  FACET_OP_GATED = 7,
  /* out = x + y. */
  FACET_OP_ADD = 8,
  /* out = x * y, elementwise. */
  FACET_OP_MUL = 9,
  /* out = x * scale.factor, times w ([1] or [width]) if given. */
  FACET_OP_SCALE = 10,
  /* out = cap * tanh(x / cap). */
  FACET_OP_SOFT_CAP = 11,
  /* out = columns [columns.first, columns.first + out.width) of x. */
  FACET_OP_COLUMNS = 12,
  /* The selected rows of x, in their order: the only op from FACET_ROWS_BATCH to FACET_ROWS_SELECTED. */
  FACET_OP_SELECT = 13,
  /* Chooses the route.used largest elements of x, the first of equal ones. out[e] = softmax(x)[e] / (the sum
     of softmax(x) over the chosen) where e is chosen, 0 elsewhere. */
  FACET_OP_ROUTE = 14,
  /* A mixture of gated feed-forward layers. x [n]; y [experts] is the output of a ROUTE. w0 [n, f, experts]
     gates, w1 [f, out.width, experts] downs, w2 [n, f, experts] ups; or w0 [n, 2f, experts] gates followed by
     ups and no w2. w3 [experts] is optional. out = sum over the e with y[e] > 0, ascending, of y[e] * w3[e] *
     w1_e(act(w0_e x) * w2_e x). Matrices of experts that no row chose are not read. */
  FACET_OP_EXPERTS = 15,
  /* out = x followed by y. */
  FACET_OP_CONCAT = 16,
} facet_op_kind;

typedef enum facet_activation {
  FACET_GELU_TANH = 1, /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
} facet_activation;

#define FACET_OP_MAX_INPUTS 4
#define FACET_OP_MAX_WEIGHTS 4

typedef struct facet_op {
  size_t size;
  uint32_t kind;                          /* facet_op_kind */
  uint32_t inputs[FACET_OP_MAX_INPUTS];   /* values, FACET_NONE where unused */
  uint32_t weights[FACET_OP_MAX_WEIGHTS]; /* weights, FACET_NONE where unused */
  uint32_t output;                        /* value, FACET_NONE for FACET_OP_CACHE_APPEND */
  union {
    struct {
      float scale;
    } embed;
    struct {
      uint32_t segment;
      float eps;
    } norm;
    struct {
      uint32_t head_dim, n_rot;
      float base, freq_scale;
    } rope;
    struct {
      uint32_t layer; /* of the cache layout */
    } append;
    struct {
      uint32_t layer, heads, window;
      float scale;
    } attention;
    struct {
      uint32_t activation; /* facet_activation */
    } gated;
    struct {
      float factor;
    } scale;
    struct {
      float cap;
    } soft_cap;
    struct {
      uint32_t first;
    } columns;
    struct {
      uint32_t used;
    } route;
    struct {
      uint32_t activation; /* facet_activation */
    } experts;
  } p;
} facet_op;

/* A named place where the host writes (input) or reads (output) a value. */
typedef struct facet_port {
  size_t size;
  const char* name;
  uint32_t value;
} facet_port;

typedef struct facet_cache_layer {
  size_t size;
  uint32_t group;
  uint32_t kv_heads;
  uint32_t key_dim, value_dim; /* elements per head */
} facet_cache_layer;

typedef struct facet_cache_group {
  size_t size;
  uint32_t page_positions; /* positions per page: 32, 64, 128 or 256 */
} facet_cache_group;

/* What a cache holds per position. A program reads and writes any cache that has its layout. Keys and values
 * are rounded once, when they are appended, each element to the nearest, ties to even:
 *   FACET_TYPE_F32   not at all.
 *   FACET_TYPE_F16   to float16.
 *   FACET_TYPE_Q8_0  per 32 elements of a head, whose dims are multiples of 32, as facet_encode_q8_0
 *                    (facet/blocks.h) has it, on every backend.
 * A backend that lacks a type refuses it by its name with FACET_UNSUPPORTED, in program_create, cache_bytes
 * and cache_create. */
typedef struct facet_cache_layout {
  size_t size;
  uint32_t type; /* FACET_TYPE_F32, FACET_TYPE_F16 or FACET_TYPE_Q8_0 */
  uint32_t group_count;
  uint32_t layer_count;
  const facet_cache_group* groups;
  const facet_cache_layer* layers;
} facet_cache_layout;

typedef struct facet_program_desc {
  size_t size;
  uint32_t weight_count, value_count, op_count, input_count, output_count;
  const facet_weight* weights;
  const facet_value* values;
  const facet_op* ops; /* in an order in which they may run */
  const facet_port* inputs;
  const facet_port* outputs;
  const facet_cache_layout* cache; /* NULL if no op uses a cache */
} facet_program_desc;

/* Slices run ops [cuts[a], cuts[b]) for a < b < cut_count. cuts[0] = 0, the last is the number of ops. */
typedef struct facet_program_info {
  size_t size;
  uint32_t cut_count;
  const uint32_t* cuts;   /* the program's, until it is destroyed */
  uint64_t private_bytes; /* copies of weights in other layouts or on the device; the mapped originals do not
                             count */
  uint64_t packed_bytes;  /* of the file that program_pack would write; 0: it has nothing to gain */
} facet_program_info;

/* ---- a run
 * ------------------------------------------------------------------------------------------------------- */

typedef enum facet_row_flags {
  FACET_ROW_LIVE = 1, /* Without it the row still takes its place, but its cache is neither read nor written
                         and its outputs are undefined: a request cancelled while its step is parked. */
} facet_row_flags;

/* The batch. The same for all slices of one run, but for flags. Every position of a live row, and every
 * position that it may see, has a page in its sequence's tables; two live rows never have the same sequence
 * and position. */
typedef struct facet_rows {
  size_t size;
  uint32_t count;
  const int32_t* tokens;       /* [count]; negative: the row is external embedding number -1 - token */
  const float* embeddings;     /* [embeddings, width of EMBED's output], NULL if no row is external */
  const int32_t* positions;    /* [count], from 0 */
  const int32_t* last_visible; /* [count], usually the row's own position */
  const uint32_t* sequences;   /* [count], which of the submit's sequences */
  const uint8_t* flags;        /* [count], facet_row_flags */
  uint32_t selected_count;
  const uint32_t* selected; /* [selected_count], rows, ascending */
} facet_rows;

/* Block b (positions [b * page_positions, (b + 1) * page_positions)) of a sequence lies in pages[b -
 * first_block]. */
typedef struct facet_page_table {
  size_t size;
  uint32_t first_block;
  uint32_t count;
  const uint32_t* pages;
} facet_page_table;

/* Data for an input of the program: float32 [rows of its value, width]. */
typedef struct facet_input {
  size_t size;
  uint32_t port;
  const float* data;
} facet_input;

typedef struct facet_device facet_device;
typedef struct facet_program facet_program;
typedef struct facet_cache facet_cache;
typedef struct facet_context facet_context;

/* Everything in it stays valid and unchanged until the fence is reached. */
typedef struct facet_submit {
  size_t size;
  uint32_t first_cut, last_cut;
  const facet_rows* rows;
  facet_cache* cache; /* NULL if the program uses none */
  uint32_t sequence_count;
  const facet_page_table* tables; /* [sequence_count, groups of the layout] */
  uint32_t input_count;
  const facet_input* inputs; /* all inputs, with the slice that starts at cut 0 */
} facet_submit;

/* ---- the backend
 * -------------------------------------------------------------------------------------------------- */

typedef enum facet_log_level {
  FACET_LOG_DEBUG = 0,
  FACET_LOG_INFO,
  FACET_LOG_WARNING,
  FACET_LOG_ERROR
} facet_log_level;

/* The host's services. Lives until the library is unloaded. */
typedef struct facet_host {
  size_t size;
  void (*log)(const struct facet_host* host, facet_log_level level,
              const char* message); /* from any thread */
} facet_host;

typedef struct facet_device_info {
  size_t size;
  char name[64];         /* "cpu", "vulkan0" */
  char description[128]; /* "AMD EPYC, 2 threads" */
  uint64_t memory_bytes; /* of the device; 0: it uses the host's */
} facet_device_info;

typedef struct facet_device_options {
  size_t size;
  uint32_t threads; /* 0: the backend chooses */
} facet_device_options;

typedef struct facet_backend {
  size_t size;
  uint32_t abi_version; /* the one in use, from the host's range */
  const char* name;     /* "reference": [a-z0-9_-], as in facet-backend-NAME.so */
  const char* version;  /* of the plugin, for people */

  uint32_t (*device_count)(void);
  facet_status (*device_describe)(uint32_t index, facet_device_info* info);
  facet_status (*device_open)(uint32_t index, const facet_device_options* options, facet_device** device,
                              facet_error* error);
  void (*device_close)(facet_device* device);
  /* Names the arithmetic: "reference/1", "cpu/2". The device's, until it is closed. */
  const char* (*device_numerics)(facet_device* device);

  /* FACET_OK if this device can run op number `op` of the program; FACET_UNSUPPORTED, naming what it lacks,
   * if not. */
  facet_status (*op_supported)(facet_device* device, const facet_program_desc* program, uint32_t op,
                               facet_error* error);
  /* Checks the whole description; FACET_INVALID_ARGUMENT names what is wrong in it. The description need not
   * outlive the call, but the weights' data does. */
  facet_status (*program_create)(facet_device* device, const facet_program_desc* desc,
                                 facet_program** program, facet_error* error);
  void (*program_destroy)(facet_program* program);
  facet_status (*program_describe)(facet_program* program, facet_program_info* info);

  /* Bytes that cache_create would take for pages[g] pages in group g. */
  facet_status (*cache_bytes)(facet_device* device, const facet_cache_layout* layout, const uint32_t* pages,
                              uint64_t* bytes, facet_error* error);
  facet_status (*cache_create)(facet_device* device, const facet_cache_layout* layout, const uint32_t* pages,
                               facet_cache** cache, facet_error* error);
  void (*cache_destroy)(facet_cache* cache);
  /* A page as bytes, all layers of its group; the form is the backend's own and stable for one numerics
   * string. */
  uint64_t (*cache_page_bytes)(facet_cache* cache, uint32_t group);
  facet_status (*cache_page_read)(facet_cache* cache, uint32_t group, uint32_t page, void* data,
                                  uint64_t bytes, facet_error* error);
  facet_status (*cache_page_write)(facet_cache* cache, uint32_t group, uint32_t page, const void* data,
                                   uint64_t bytes, facet_error* error);
  facet_status (*cache_page_copy)(facet_cache* cache, uint32_t group, uint32_t from, uint32_t to,
                                  facet_error* error);

  /* Bytes that context_create would take, within 5%. */
  facet_status (*context_bytes)(facet_program* program, uint32_t max_rows, uint32_t max_selected,
                                uint64_t* bytes, facet_error* error);
  facet_status (*context_create)(facet_program* program, uint32_t max_rows, uint32_t max_selected,
                                 facet_context** context, facet_error* error);
  void (*context_destroy)(facet_context* context);

  /* Queues a slice. Slices of a run are submitted in the order of their cuts; the next run starts at cut 0
   * again. Up to two slices of a context may be in flight. Fences of a context count up. */
  facet_status (*submit)(facet_context* context, const facet_submit* submit, uint64_t* fence,
                         facet_error* error);
  /* FACET_OK once the slice is done; FACET_TIMEOUT after timeout_us microseconds (negative: waits without
   * end). */
  facet_status (*wait)(facet_context* context, uint64_t fence, int64_t timeout_us, facet_error* error);
  /* Copies rows [first, first + rows) of an output, float32 [rows, width], after the run's last fence. */
  facet_status (*output_read)(facet_context* context, uint32_t port, uint32_t first, uint32_t rows,
                              float* data, facet_error* error);

  /* May be NULL or beyond the table's size. How far the device's work stands back for other programs: 0, as
   * when it was opened, to FACET_MOST_NICE of the system's nice values. From any thread; takes effect at
   * once, also on a slice in flight: the host puts work back that can wait, and raises it when something more
   * urgent comes. A device that could not raise itself again stays at 0. */
  void (*device_set_nice)(facet_device* device, uint32_t nice);

  /* May be NULL or beyond the table's size. One step, of some milliseconds, towards a copy of the program's
   * weights in a layout that it reads faster, with the same bits. The copy is the file `path`: if that is one
   * of these weights it is mapped, and nothing else is done; if not, calls after the first write it beside
   * it, as `path`.part, and rename it once it is whole. FACET_OK: runs read the copy from now on.
   * FACET_TIMEOUT: call again, with the same path. FACET_EXHAUSTED: another process is writing it.
   * FACET_UNSUPPORTED: packed_bytes is 0. After any of the last two, or FACET_IO, the program goes on as
   * before. Calls are serial, from any thread; runs go on meanwhile. The backend compares names, types and
   * sizes, not the weights: the host gives the same path only for the same ones, and keeps the file from
   * change while the program lives; it may be unlinked. */
  facet_status (*program_pack)(facet_program* program, const char* path, facet_error* error);
  /* May be NULL or beyond the table's size. Reads the whole copy that program_pack left in the file `path`,
   * whoever owns it, and changes nothing. FACET_OK: its content is what was written. FACET_MALFORMED: it is
   * not. FACET_NOT_FOUND: there is no copy of these weights. FACET_UNSUPPORTED: packed_bytes is 0. From any
   * thread, beside program_pack and runs. */
  facet_status (*program_verify_packed)(facet_program* program, const char* path, facet_error* error);
} facet_backend;

/* The one symbol. `host` lives until the library is unloaded. Picks the highest version that both sides
 * speak; NULL if there is none. The table is the library's. */
typedef const facet_backend* (*facet_backend_entry_fn)(const facet_host* host, uint32_t abi_min,
                                                       uint32_t abi_max);

#ifdef __cplusplus
}
#endif
#endif /* FACET_BACKEND_H_ */
