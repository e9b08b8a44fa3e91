/* l_image.c - pictures from and to files, and their scaling. wattle.data's options are in lua/wattle/image.lua. */
#include "box.h"

static int image_load(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1);
  lua_Integer channels = luaL_optinteger(L, 2, 3);
  wtl_tensor *t = NULL;
  luaL_argcheck(L, channels == 1 || channels == 3, 2, "channels must be 1 or 3");
  wl_box *b = wl_box_new(L, c, &wl_tensor_class);
  wtl_status s = wtl_image_load(c->core, path, (int)channels, &t);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_tensor_fill(L, b, t, false);
  return 1;
}

static int image_resize(lua_State *L) {
  static const char *const filters[] = { "nearest", "bilinear", "bicubic", NULL }; /* as in wtl_filter */
  wl_ctx *c = wl_ctx_of(L);
  wtl_tensor *image = wl_check_obj(L, 1, &wl_tensor_class), *t = NULL;
  lua_Integer height = luaL_checkinteger(L, 2), width = luaL_checkinteger(L, 3);
  int f = luaL_checkoption(L, 4, "bilinear", filters);
  double box[4];
  bool boxed = !lua_isnoneornil(L, 5);
  for (int i = 0; boxed && i < 4; i++) box[i] = luaL_checknumber(L, 5 + i);
  wl_box *b = wl_box_new(L, c, &wl_tensor_class);
  wl_try(L, c, wtl_image_resize(c->core, image, boxed ? box : NULL, height, width, (wtl_filter)f, &t));
  wl_tensor_fill(L, b, t, false);
  return 1;
}

static int save_image(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1);
  wtl_status s = wtl_image_save(c->core, path, wl_check_obj(L, 2, &wl_tensor_class), (int)luaL_optinteger(L, 3, 90),
                                lua_isnoneornil(L, 4) || lua_toboolean(L, 4));
  if (s != WTL_OK) return wl_world(L, c, s);
  lua_pushboolean(L, true);
  return 1;
}

static const wl_fn core[] = {
  { "image_load", image_load, "(path, channels = 3) -> u8 tensor or nil, message, code",
    "A JPEG or PNG file as (C,H,W), turned as its EXIF says: wattle.data.image." },
  { "image_resize", image_resize, "(image, height, width, filter = \"bilinear\", left?, top?, right?, bottom?) -> u8 tensor",
    "(C,H,W) u8 scaled to (C,height,width) as Pillow does, from that part in pixels or from all: wattle.data.resize." },
  { "save_image", save_image, "(path, image, quality = 90, sync = true) -> true or nil, message, code",
    "See data.save_image." },
  { NULL, NULL, NULL, NULL }
};

const wl_module wl_image_module = { .area = "image", .core = core };
