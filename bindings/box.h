/* box.h - what the files of the binding share: the context of a Lua state, the userdata box, the
 * two ways a status becomes Lua's business, argument readers, and the tables that register and document every
 * function. Nothing here is API; that is include/wattle_host.h. Names begin with wl_.
 *
 * A box is made, closed, before the C object is; an error in between leaves nothing half-made. __gc, __close and
 * :close() share one idempotent release. Any C memory that must live across a Lua call that may raise (all but the
 * plainest may) sits in a box too: wl_text_new, wl_hold. */
#ifndef WL_BOX_H
#define WL_BOX_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "wattle.h"

#define WL_PATH_MAX 4096

/* ---- context: ctx.c ------------------------------------------------------------------ */

/* One per Lua state. Counted, because lua_close may finalize boxes after it. */
typedef struct wl_ctx {
  wtl_ctx *core;
  int refs;            /* the registry's, and one per box that holds an object */
  wtl_graph *tracing;  /* what an op on parameters alone belongs to while a model is traced, or NULL */
  uint64_t seed, draws; /* of rand and randn: seed, and how many tensors were drawn since it was set */
  size_t live, pending; /* bytes held by boxes, and those not yet told to the collector */
  char home[WL_PATH_MAX]; /* share/wattle, "" if not found */
  wtl_status raised;      /* the status of the last error raised for the core, and how its text begins: error_code */
  char raised_text[256];
} wl_ctx;

/* The state's context, made at the first call; raises when it cannot be. Pushes the userdata that keeps it. */
wl_ctx *wl_ctx_push(lua_State *L);
/* Of a bound function: every one carries the context as its first upvalue. */
wl_ctx *wl_ctx_of(lua_State *L);
void wl_ctx_unref(wl_ctx *c);
/* Tell the collector that `bytes` of C memory came to life. May run finalizers. */
void wl_collect_step(lua_State *L, wl_ctx *c, size_t bytes);
/* share/wattle, "" if it is nowhere: in `dir`, the program's folder (NULL: wattle is a module of somebody's program), or
 * the one above; in the folder of the shared object that wattle is in, or at most four above; what $WATTLE_HOME names.
 * near: where the search began, for messages. */
void wl_home_find(const char *dir, char out[WL_PATH_MAX], char near[WL_PATH_MAX]);

/* ---- registration: lib.c --------------------------------------------------------------- */

/* One bound function with its documentation; the tables end with a NULL name. */
typedef struct wl_fn {
  const char *name;
  lua_CFunction f;
  const char *signature; /* "(shape, value) -> tensor" */
  const char *help;      /* shapes, units, errors */
} wl_fn;

typedef struct wl_box wl_box;

typedef struct wl_class {
  const char *name;          /* what error messages call it */
  void (*release)(wl_box *b); /* ends b->obj; never called twice */
  const wl_fn *methods;
  const wl_fn *more;         /* methods from another file, or NULL */
  const luaL_Reg *meta;      /* besides __gc and __close; upvalue 2 of each is the methods (for an __index) */
  bool op_methods;           /* every op is a method too */
  size_t extra;              /* bytes after the box, for objects that live in it */
} wl_class;

typedef struct wl_module {
  const char *area;
  const wl_fn *core;             /* into wattle.core */
  const wl_fn *shared;           /* into wattle.core and wattle */
  const wl_class *const *classes; /* NULL-terminated */
  const char *table;             /* name of a table of its own in both, or NULL */
  const wl_fn *functions;        /* of that table */
  void (*open)(lua_State *L, int ctx, int table); /* adds to that table (or to core); may be NULL */
} wl_module;

extern const wl_module wl_tensor_module, wl_ops_module, wl_param_module, wl_graph_module, wl_plan_module,
  wl_data_module, wl_image_module, wl_loader_module, wl_json_module, wl_energy_module, wl_compress_module, wl_sys_module, wl_help_module;
extern const wl_module *const wl_modules[]; /* the list, NULL-terminated */

/* Push a closure of f over the context on index ctx. */
void wl_push_function(lua_State *L, int ctx, lua_CFunction f);
/* The body of require "wattle": returns 1, the finished table. dir: as in wl_home_find. */
int wl_open(lua_State *L, const char *dir);

/* ---- boxes: box.c -------------------------------------------------------------------------- */

struct wl_box {
  void *obj;            /* NULL: closed, or not yet made */
  const wl_class *cls;
  wl_ctx *ctx;
  size_t charge;        /* bytes told to the collector */
  wtl_param *owner;     /* tensors: the parameter whose master this is a window on, touched after writes */
  wtl_value value;      /* symbolic values: obj is the graph */
  void (*free)(void *); /* wl_hold */
};

extern const wl_class wl_tensor_class, wl_param_class, wl_value_class, wl_graph_class, wl_stamp_class, wl_plan_class,
  wl_appender_class, wl_meter_class, wl_region_class, wl_text_class, wl_hold_class;

void wl_class_register(lua_State *L, int ctx, const wl_class *cls); /* pushes the methods table */
wl_box *wl_box_new(lua_State *L, wl_ctx *c, const wl_class *cls);   /* pushes a closed box */
void wl_box_fill(lua_State *L, wl_box *b, void *obj, size_t bytes); /* takes obj over */
void wl_box_close(wl_box *b);
wl_box *wl_test(lua_State *L, int idx, const wl_class *cls);        /* NULL: something else; may be closed */
wl_box *wl_check(lua_State *L, int idx, const wl_class *cls);       /* open, or raises */
void *wl_check_obj(lua_State *L, int idx, const wl_class *cls);

wl_box *wl_tensor_new(lua_State *L, wl_ctx *c, wtl_dtype d, const wtl_shape *s); /* pushes zeros */
void wl_tensor_fill(lua_State *L, wl_box *b, wtl_tensor *t, bool view);         /* a view is not charged */
wtl_tensor *wl_check_tensor(lua_State *L, int idx);                              /* or a parameter's master */
void wl_written(wl_box *b);                                                      /* touch the owner */
wtl_text *wl_text_new(lua_State *L, wl_ctx *c);                                  /* pushes its box */
int wl_text_finish(lua_State *L, int idx);                                       /* pushes the text, frees it; 1 */
/* Pushes a holder; *slot is freed by fn when the holder dies or is closed. */
wl_box *wl_hold(lua_State *L, wl_ctx *c, void (*fn)(void *));

/* ---- errors: box.c --------------------------------------------------------------------------- */

/* Pushes "file:line: " of the nearest Lua line outside share/wattle/lua/wattle, or of the nearest at all. */
void wl_where(lua_State *L);
int wl_error(lua_State *L, const char *fmt, ...); /* lua_pushfstring's formats; raises with a position */
/* The one place where a status becomes a Lua error: raises the context's message with a position. */
int wl_raise(lua_State *L, wl_ctx *c, wtl_status s);
void wl_try(lua_State *L, wl_ctx *c, wtl_status s); /* raises unless WTL_OK */
/* The world failed (io, format, unsupported): nil, message, code; returns 3. Anything else raises. */
int wl_world(lua_State *L, wl_ctx *c, wtl_status s);
int wl_errno(lua_State *L, const char *what, const char *path, int e); /* nil, "what path: reason", "io"; returns 3 */

/* ---- arguments: args.c ----------------------------------------------------------------------- */

/* The path at idx; one with a NUL byte, which C would cut there, is an error. */
const char *wl_path(lua_State *L, int idx);
/* The nearest of n names by edit distance, or NULL if none is near. */
const char *wl_nearest(const char *word, const char *const *name, int n);
/* Raises "what: unknown kind 'word'; did you mean 'x'?" or, with nothing near, lists the names. */
int wl_unknown(lua_State *L, const char *what, const char *kind, const char *word, const char *const *name, int n);
/* Every key of the table at idx is a string among names (NULL-terminated); positions 1..n too if `list`. */
void wl_check_options(lua_State *L, int idx, const char *what, const char *const *names, bool list);
int wl_dim(lua_State *L, int idx, const char *what, int ndim); /* negative counts from the end */
/* A shape as one table (with an optional dtype in it) or as integers from idx on. dtype may be NULL: no option. */
void wl_check_shape(lua_State *L, int idx, const char *what, wtl_shape *s, wtl_dtype *dtype);
wtl_dtype wl_check_dtype(lua_State *L, int idx);
/* Integers of the table at idx into out; at most max, else raises. */
int wl_check_list(lua_State *L, int idx, const char *what, int64_t *out, int max);
/* Option readers: the field `key` of the table at idx, or the default if nil; wrong types raise and name what.key. */
lua_Number wl_opt_number(lua_State *L, int idx, const char *what, const char *key, lua_Number def);
bool wl_opt_bool(lua_State *L, int idx, const char *what, const char *key, bool def);
const char *wl_opt_string(lua_State *L, int idx, const char *what, const char *key, const char *def);

/* ---- between areas ------------------------------------------------------------------------------- */

void wl_push_value(lua_State *L, wl_ctx *c, wtl_graph *g, wtl_value v); /* a symbolic value */
void wl_op_attrs(lua_State *L, int idx, const wtl_op *op, wtl_attr attrs[WTL_MAX_ATTRS]); /* idx 0: none given */
int wl_op_call(lua_State *L);                    /* upvalues: context, op; inputs, then a table of attributes */
void wl_op_help(lua_State *L, wtl_text *t, const wtl_op *op); /* t is boxed: raises when memory is gone */
int wl_op_sum(lua_State *L);                     /* of tensors and symbolic values: l_ops.c */
int wl_op_mean(lua_State *L);
int wl_op_add(lua_State *L);
int wl_op_sub(lua_State *L);
int wl_op_mul(lua_State *L);
int wl_op_div(lua_State *L);
int wl_op_pow(lua_State *L);
int wl_op_unm(lua_State *L);
/* l_elements.c: methods that look at elements. */
void wl_push_element(lua_State *L, const void *data, wtl_dtype d, int64_t at);
int wl_from_table(lua_State *L, wl_ctx *c, int idx, wtl_dtype d); /* nested tables to a pushed tensor */
extern const wl_fn wl_element_methods[];

/* host.c: known only where the state was made by wattle_host_create. */
bool wl_host_allocations(lua_State *L, uint64_t *n);
bool wl_host_fail_at(lua_State *L, uint64_t n);
void wl_host_attach(lua_State *L, wtl_ctx *core); /* NULL: the context is gone */
void wl_host_interrupt_taken(lua_State *L);       /* an error was raised for Ctrl-C: no second one */
void wl_host_step_ended(lua_State *L);            /* what Ctrl-C then says */
void wl_host_interrupt_clear(lua_State *L);       /* a pending one is forgotten */

#endif
