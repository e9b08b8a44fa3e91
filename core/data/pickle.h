/* A restricted reader of Python's pickles, protocols 0 to 5, for checkpoints of PyTorch: None, booleans, numbers, text, bytes,
 * tuples, lists, dicts, tensors and their storages. It runs nothing: of the functions and classes that a pickle may name
 * it knows a table (pickle_torch.c), and refuses every other by its name. May touch base and tensor. */
#ifndef WTL_PICKLE_H
#define WTL_PICKLE_H

#include "data.h"

#define WTL_PICKLE_MOST (64 << 20) /* bytes of one pickle */

typedef enum wtl_pk_kind {
  WTL_PK_NONE,
  WTL_PK_BOOL,    /* i */
  WTL_PK_INT,     /* i */
  WTL_PK_BIG,     /* text: a longer integer's bytes, the lowest first */
  WTL_PK_REAL,    /* f */
  WTL_PK_STR,     /* text: as UTF-8 where the writer was Python 3 */
  WTL_PK_BYTES,   /* text */
  WTL_PK_TUPLE,   /* list */
  WTL_PK_LIST,    /* list */
  WTL_PK_DICT,    /* list: keys and values in turn */
  WTL_PK_GLOBAL,  /* global: a function or class by name */
  WTL_PK_STORAGE, /* storage */
  WTL_PK_TENSOR   /* tensor */
} wtl_pk_kind;

/* A storage that a tensor is a window on; where its bytes are is the container's affair. */
typedef struct wtl_pk_storage {
  const char *key; /* no NUL behind it */
  size_t key_bytes;
  wtl_element as;
  int64_t numel;
  int64_t id; /* 0, 1, ... in the order of the keys; one for all of one key */
} wtl_pk_storage;

typedef struct wtl_pk_tensor {
  const wtl_pk_storage *storage; /* NULL: begun, never filled */
  int64_t offset;                /* in elements, as the strides; all elements lie in the storage */
  wtl_shape shape;
  int64_t stride[WTL_MAX_DIMS];
} wtl_pk_tensor;

typedef struct wtl_pk wtl_pk;
struct wtl_pk {
  wtl_pk_kind kind;
  bool busy; /* for who walks: on the path to where it is, so meeting it again is a cycle */
  union {
    int64_t i;
    double f;
    struct { const char *s; size_t n; } text;
    struct { wtl_pk **item; int64_t n, cap; } list;
    wtl_pk_storage *storage;
    wtl_pk_tensor *tensor;
    const struct wtl_pk_global *global;
  };
};

/* A pickle that was read. Its values point into the bytes it was read from. */
typedef struct wtl_pickle {
  wtl_ctx *ctx;
  const char *path;         /* borrowed, for messages */
  wtl_pk *root;
  size_t bytes, used;       /* what there was to read; to behind its end */
  uint64_t copied;          /* bytes and values that calls copied */
  bool cut;                 /* after a failure: the bytes ended too early */
  wtl_pk_storage **storage; /* each once, in the order of ids */
  int64_t n_storages, storage_cap;
  struct wtl_pk_chunk *chunk;
  int64_t values;
} wtl_pickle;

/* Reads the pickle at the bytes' start; more may follow it. p is to be freed after a failure too. Time and memory are
 * bounded by n. Cycles and depth are not looked at here. */
wtl_status wtl_pickle_read(wtl_ctx *ctx, const char *path, const void *bytes, size_t n, wtl_pickle *p);
void wtl_pickle_free(wtl_pickle *p); /* a zeroed one too */

/* Is it text, and this? */
bool wtl_pk_is(const wtl_pk *v, const char *text);

/* ---- between pickle.c and pickle_torch.c ---- */

/* Zeroed, freed with p. */
void *wtl_pk_alloc(wtl_pickle *p, size_t bytes);
wtl_status wtl_pk_new(wtl_pickle *p, wtl_pk_kind kind, wtl_pk **out);
wtl_status wtl_pk_bad(wtl_pickle *p, const char *what);
wtl_status wtl_pk_append(wtl_pickle *p, wtl_pk *list, wtl_pk *const *v, int64_t n);

/* The value that a module's name stands for. */
wtl_status wtl_pk_find(wtl_pickle *p, const wtl_pk *module, const wtl_pk *name, wtl_pk **out);
/* What calling f with these arguments gives; what making an object of class f gives; setting an object's state. */
wtl_status wtl_pk_call(wtl_pickle *p, const wtl_pk *f, const wtl_pk *args, wtl_pk **out);
wtl_status wtl_pk_make(wtl_pickle *p, const wtl_pk *f, const wtl_pk *args, wtl_pk **out);
wtl_status wtl_pk_build(wtl_pickle *p, wtl_pk *object, const wtl_pk *state);
/* A persistent id: ('storage', class, key, location, elements). */
wtl_status wtl_pk_persistent(wtl_pickle *p, const wtl_pk *id, wtl_pk **out);
/* Gives the storages ids and drops repetitions; one key with two dtypes or sizes is an error. */
wtl_status wtl_pk_unify(wtl_pickle *p);

/* ---- pickle_flat.c: what a checkpoint holds, as names ---- */

/* Nested dicts, lists and tuples as names joined by dots, positions from 0: tensors in file order, everything else as
 * text in meta. A checkpoint that has its weights under a usual name is replaced by those, and meta says so under "from". */
typedef struct wtl_pk_item { char *name; const wtl_pk_tensor *tensor; } wtl_pk_item;
typedef struct wtl_pk_flat {
  wtl_ctx *ctx;
  wtl_pk_item *item;
  int64_t n, cap, meta_cap;
  wtl_meta meta;
} wtl_pk_flat;
wtl_status wtl_pk_flatten(wtl_pickle *p, wtl_pk_flat *out); /* out is to be freed after a failure too */
void wtl_pk_flat_free(wtl_pk_flat *f);

#endif
