/* The steps that a sample goes through: are they right, what sizes do they give, and what do they draw? Sizes and
 * distributions are torchvision's (0.14). Draws are functions of the generator, the sample and the step alone, computed
 * without libm but for sqrt and rint, which are exact: the same on every machine. */
#include <math.h>

#include "rng.h"
#include "sample.h"

#define DRAWS 64      /* numbers set aside for one step of one sample */
#define MAX_SIZE 65536
#define TRIES 10      /* of a random box before it gives up */

/* ---- checking ---- */

static const char *const kind_name[] = { "resize", "center_crop", "random_crop", "random_resized_crop", "random_flip",
                                         "color_jitter", "normalize", "random_erasing" };

const char *wtl_transform_name(wtl_transform_kind k) {
  return (unsigned)k < sizeof kind_name / sizeof *kind_name ? kind_name[k] : "unknown";
}

static bool is_pixel_step(const wtl_transform *t) { return t->kind < WTL_NORMALIZE; }

int wtl_transform_pixel_steps(const wtl_transform *step, int n) {
  int k = 0;
  while (k < n && is_pixel_step(&step[k])) k++;
  return k;
}

/* low <= high within [least, most]; false for NaN too. */
static bool is_range(const double v[2], double least, double most) {
  return v[0] >= least && v[0] <= v[1] && v[1] <= most;
}

static wtl_status bad(wtl_ctx *ctx, const wtl_transform *t, const char *what) {
  return wtl_fail(ctx, WTL_ERR_ARG, "%s: %s", wtl_transform_name(t->kind), what);
}

static wtl_status check_size(wtl_ctx *ctx, const wtl_transform *t) {
  int least = t->kind == WTL_RESIZE ? 0 : 1;
  if (t->size[0] < 1 || t->size[1] < least || t->size[0] > MAX_SIZE || t->size[1] > MAX_SIZE)
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: size is %d x %d; sides of 1 to %d are needed", wtl_transform_name(t->kind),
                    t->size[0], t->size[1], MAX_SIZE);
  for (int i = 0; i < 4; i++)
    if (t->padding[i] < 0 || t->padding[i] > MAX_SIZE) return bad(ctx, t, "padding must be 0 to 65536 pixels");
  if ((unsigned)t->filter > WTL_BICUBIC) return bad(ctx, t, "unknown interpolation");
  return WTL_OK;
}

static wtl_status check_values(wtl_ctx *ctx, const wtl_transform *t, int channels) {
  if (t->n_value != 1 && t->n_value != channels)
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: %d values for %d channels; give 1, or one for each",
                    wtl_transform_name(t->kind), t->n_value, channels);
  for (int i = 0; i < t->n_value; i++) {
    if (!isfinite(t->mean[i])) return bad(ctx, t, "a value is not finite");
    if (t->kind == WTL_NORMALIZE && !(isfinite(t->sd[i]) && t->sd[i] > 0))
      return bad(ctx, t, "sd must be above 0 and finite");
  }
  return WTL_OK;
}

static wtl_status check_step(wtl_ctx *ctx, const wtl_transform *t, int channels) {
  double most = t->kind == WTL_RANDOM_ERASING ? 1 : HUGE_VAL;
  switch (t->kind) {
    case WTL_RESIZE: case WTL_CENTER_CROP: case WTL_RANDOM_CROP: case WTL_RANDOM_RESIZED_CROP:
      WTL_TRY(check_size(ctx, t));
      break;
    case WTL_NORMALIZE: return check_values(ctx, t, channels ? channels : 1);
    case WTL_RANDOM_ERASING: if (!t->noise) WTL_TRY(check_values(ctx, t, channels)); break;
    case WTL_RANDOM_FLIP: break;
    case WTL_COLOR_JITTER:
      if (!is_range(t->brightness, 0, 1e3) || !is_range(t->contrast, 0, 1e3) || !is_range(t->saturation, 0, 1e3))
        return bad(ctx, t, "brightness, contrast and saturation are drawn from {low, high}, 0 <= low <= high <= 1000");
      if (!is_range(t->hue, -0.5, 0.5)) return bad(ctx, t, "hue is drawn from {low, high} within -0.5..0.5");
      return WTL_OK;
    default: return wtl_fail(ctx, WTL_ERR_ARG, "transform: unknown step %d", (int)t->kind);
  }
  if ((t->kind == WTL_RANDOM_FLIP || t->kind == WTL_RANDOM_ERASING) && !(t->p >= 0 && t->p <= 1))
    return bad(ctx, t, "p must be 0..1");
  if (t->kind == WTL_RANDOM_RESIZED_CROP || t->kind == WTL_RANDOM_ERASING) {
    if (!is_range(t->scale, 0, most) || !isfinite(t->scale[1]))
      return bad(ctx, t, "scale is {low, high} of the area, 0 <= low <= high");
    if (!is_range(t->ratio, 1e-6, 1e6)) return bad(ctx, t, "ratio is {low, high}, 0 < low <= high");
  }
  return WTL_OK;
}

wtl_status wtl_transform_check(wtl_ctx *ctx, const wtl_transform *step, int n, int channels) {
  int pixel = wtl_transform_pixel_steps(step, n);
  if (n < 0 || n > WTL_MAX_TRANSFORMS)
    return wtl_fail(ctx, WTL_ERR_ARG, "transform: %d steps; at most %d", n, WTL_MAX_TRANSFORMS);
  for (int k = 0; k < n; k++) {
    const wtl_transform *t = &step[k];
    if (k > pixel && t->kind != WTL_RANDOM_ERASING)
      return wtl_fail(ctx, WTL_ERR_ARG,
                      "transform: %s comes after %s; pixels are worked on first, then normalize once, then "
                      "random_erasing", wtl_transform_name(t->kind), wtl_transform_name(step[k - 1].kind));
    if (channels == 0 && t->kind != WTL_NORMALIZE)
      return wtl_fail(ctx, WTL_ERR_ARG, "transform: %s works on 8-bit images; these samples are f32",
                      wtl_transform_name(t->kind));
    if (is_pixel_step(t) && channels != 1 && channels != 3)
      return wtl_fail(ctx, WTL_ERR_ARG, "transform: %s works on 1 or 3 channels; these images have %d",
                      wtl_transform_name(t->kind), channels);
    WTL_TRY(check_step(ctx, t, channels));
  }
  return WTL_OK;
}

/* ---- sizes ---- */

/* The shorter side becomes size[0], the other in proportion, cut off to an integer. */
void wtl_resized_size(const wtl_transform *t, int height, int width, int size[2]) {
  size[0] = t->size[0];
  size[1] = t->size[1];
  if (t->size[1] > 0) return;
  int shorter = height < width ? height : width, longer = height < width ? width : height;
  double other = (double)((int64_t)t->size[0] * longer) / (double)shorter;
  int rest = other < WTL_MAX_SIDE + 1 ? (int)other : WTL_MAX_SIDE + 1;
  size[height < width ? 0 : 1] = t->size[0];
  size[height < width ? 1 : 0] = shorter == longer ? t->size[0] : rest;
}

bool wtl_transform_size(const wtl_transform *step, int n, int *height, int *width) {
  bool known = *height > 0 && *width > 0;
  for (int k = 0; k < n; k++) {
    const wtl_transform *t = &step[k];
    int size[2] = { t->size[0], t->size[1] };
    if (t->kind > WTL_RANDOM_RESIZED_CROP) continue;
    if (t->kind == WTL_RESIZE && t->size[1] == 0) {
      if (!known) continue;
      wtl_resized_size(t, *height, *width, size);
    }
    *height = size[0];
    *width = size[1];
    known = true;
  }
  return known;
}

/* ---- draws ---- */

typedef struct draws { const wtl_rng *r; uint64_t next; } draws;

static double uniform(draws *d, double low, double high) {
  return low + (high - low) * wtl_rng_uniform(d->r, d->next++);
}

/* 0..n-1. */
static int below(draws *d, int n) { return (int)((uint64_t)wtl_rng_u32(d->r, d->next++) * (uint64_t)n >> 32); }

/* exp for |x| < 700: x = k ln 2 + r, |r| <= ln 2 / 2, and Taylor's series of r. */
static double exponential(double x) {
  double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33, k = rint(x / (ln2_hi + ln2_lo)), sum = 1;
  double r = (x - k * ln2_hi) - k * ln2_lo;
  for (int i = 14; i > 0; i--) sum = 1 + sum * r / i;
  return ldexp(sum, (int)k);
}

static int to_int(double v) { return v < 1e9 ? (int)v : 1000000000; }

/* A box of a share of the area drawn evenly, its ratio (of `over` to the other side) evenly on a log scale; false when no
 * try fits. A crop may be the whole image, what is erased is smaller. */
static bool draw_box(draws *d, const wtl_transform *t, int height, int width, bool crop, int box[4]) {
  double area = (double)height * width, low = wtl_log(t->ratio[0]), high = wtl_log(t->ratio[1]);
  for (int try = 0; try < TRIES; try++) {
    double target = area * uniform(d, t->scale[0], t->scale[1]), ratio = exponential(uniform(d, low, high));
    int over = to_int(rint(sqrt(target * ratio))), under = to_int(rint(sqrt(target / ratio)));
    int w = crop ? over : under, h = crop ? under : over;
    if (crop ? w < 1 || h < 1 || w > width || h > height : w >= width || h >= height) continue;
    box[0] = below(d, height - h + 1);
    box[1] = below(d, width - w + 1);
    box[2] = h;
    box[3] = w;
    return true;
  }
  return false;
}

/* The largest box in the middle whose ratio is allowed. */
static void middle_box(const wtl_transform *t, int height, int width, int box[4]) {
  double ratio = (double)width / height;
  box[2] = ratio < t->ratio[0] ? to_int(rint(width / t->ratio[0])) : height;
  box[3] = ratio > t->ratio[1] ? to_int(rint(height * t->ratio[1])) : width;
  if (box[2] < 1) box[2] = 1; /* a side of 1 and an extreme ratio */
  if (box[3] < 1) box[3] = 1;
  box[0] = (height - box[2]) / 2;
  box[1] = (width - box[3]) / 2;
}

static void draw_jitter(draws *r, const wtl_transform *t, wtl_drawn *d) {
  const double *range[4] = { t->brightness, t->contrast, t->saturation, t->hue };
  for (int k = 0; k < 4; k++) {
    int j = below(r, k + 1); /* inside-out Fisher-Yates */
    d->order[k] = d->order[j];
    d->order[j] = k;
  }
  for (int k = 0; k < 4; k++) d->factor[k] = uniform(r, range[k][0], range[k][1]);
}

/* Where a crop of this size lies in the middle; halves are rounded to even as in Python. */
static void centre(const wtl_transform *t, int height, int width, int box[4]) {
  int side[2] = { height, width };
  for (int i = 0; i < 2; i++) {
    int spare = side[i] - t->size[i];
    box[i] = spare < 0 ? -(-spare / 2) : (int)rint(spare / 2.0);
    box[2 + i] = t->size[i];
  }
}

void wtl_transform_draw_step(const wtl_transform *step, int k, const wtl_rng *r, int64_t sample, int height,
                             int width, wtl_drawn *d) {
  const wtl_transform *t = &step[k];
  draws from = { r, ((uint64_t)sample * WTL_MAX_TRANSFORMS + (uint64_t)k) * DRAWS };
  *d = (wtl_drawn){ .box = { 0, 0, height, width } };
  switch (t->kind) {
    case WTL_CENTER_CROP: centre(t, height, width, d->box); break;
    case WTL_RANDOM_CROP: { /* top and left within the padded image, then told from the image's corner */
      int high = height + t->padding[1] + t->padding[3], wide = width + t->padding[0] + t->padding[2];
      d->box[0] = (high >= t->size[0] ? below(&from, high - t->size[0] + 1) : 0) - t->padding[1];
      d->box[1] = (wide >= t->size[1] ? below(&from, wide - t->size[1] + 1) : 0) - t->padding[0];
      d->box[2] = t->size[0];
      d->box[3] = t->size[1];
      break;
    }
    case WTL_RANDOM_RESIZED_CROP:
      if (!draw_box(&from, t, height, width, true, d->box)) middle_box(t, height, width, d->box);
      break;
    case WTL_RANDOM_FLIP: d->done = uniform(&from, 0, 1) < t->p; break;
    case WTL_COLOR_JITTER: draw_jitter(&from, t, d); break;
    case WTL_RANDOM_ERASING:
      d->done = uniform(&from, 0, 1) < t->p;
      if (d->done) d->done = draw_box(&from, t, height, width, false, d->box);
      break;
    default: break;
  }
}

wtl_status wtl_transform_draw(wtl_ctx *ctx, const wtl_transform *step, int n, const wtl_rng *r, int64_t sample,
                              int channels, int height, int width, wtl_drawn out[]) {
  if (channels < 0 || channels > WTL_MAX_CHANNELS)
    return wtl_fail(ctx, WTL_ERR_ARG, "transform: %d channels; 0 (no image) to %d are possible", channels, WTL_MAX_CHANNELS);
  WTL_TRY(wtl_transform_check(ctx, step, n, channels));
  if (sample < 0 || sample >= (int64_t)1 << 48 || height < 1 || width < 1 || height > WTL_MAX_SIDE ||
      width > WTL_MAX_SIDE)
    return wtl_fail(ctx, WTL_ERR_ARG, "transform: sample %lld of %dx%d pixels", (long long)sample, height, width);
  for (int k = 0; k < n; k++) {
    wtl_transform_draw_step(step, k, r, sample, height, width, &out[k]);
    wtl_transform_size(&step[k], 1, &height, &width);
  }
  return WTL_OK;
}
