/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pixel-check: holds images back whose pixels may show who the patient is, by what their header
 * says and what stands beside the pixels in a compressed stream.  It changes nothing.
 */
#include <sendit/stage.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pixel_stream.h"

#define TAG_TRANSFER_SYNTAX 0x00020010u
#define TAG_IMAGE_TYPE 0x00080008u
#define TAG_SOP_CLASS 0x00080016u
#define TAG_MODALITY 0x00080060u
#define TAG_CONVERSION_TYPE 0x00080064u
#define TAG_SERIES_DESCRIPTION 0x0008103Eu
#define TAG_SAMPLES 0x00280002u
#define TAG_PHOTOMETRIC 0x00280004u
#define TAG_FRAMES 0x00280008u
#define TAG_ROWS 0x00280010u
#define TAG_COLUMNS 0x00280011u
#define TAG_BITS 0x00280100u
#define TAG_BURNED_IN 0x00280301u
#define TAG_DOCUMENT 0x00420011u
#define TAG_ICON 0x00880200u
#define TAG_OFFSETS 0x7FE00001u
#define TAG_TOTAL 0x7FE00003u
#define TAG_FLOAT_PIXELS 0x7FE00008u
#define TAG_DOUBLE_PIXELS 0x7FE00009u
#define TAG_PIXELS 0x7FE00010u
#define TAG_SPECTRA 0x56000020u

/* Storage SOP classes: one of them, or the head of a family. */
#define UID_STANDARD "1.2.840.10008."
#define UID_STORAGE UID_STANDARD "5.1.4.1.1."
#define UID_SECONDARY UID_STORAGE "7"
#define UID_DOCUMENT UID_STORAGE "104"
#define UID_AUDIO UID_STORAGE "9.4"

/* Elements of an overlay, (60xx,eeee). */
#define OVERLAY_ROWS 0x0010u
#define OVERLAY_BITS 0x0100u
#define OVERLAY_POSITION 0x0102u
#define OVERLAY_DATA 0x3000u

enum finding {
    BURNED_IN,
    DOCUMENT,
    PRIVATE_CLASS,
    SCREEN_SAVE,
    SECONDARY,
    UNKNOWN,
    AUDIO,
    OVERLAY,
    LENGTH,
    COMMENT,
    OPAQUE,
    N_FINDINGS
};

/* Of each finding the option that decides about it, and what the operator reads. */
static const struct {
    const char *option, *code, *metric, *text;
} findings[N_FINDINGS] = {
    [BURNED_IN] = {"on_burned_in", "pixel.burned_in", "burned_in",
                   "Burned In Annotation does not say that its pixels are free of text."},
    [DOCUMENT] = {"on_document", "pixel.document", "document",
                  "It is an encapsulated document, whose pages nobody has looked at."},
    [PRIVATE_CLASS] = {"on_private_sop_class", "pixel.private_sop_class", "private_sop_class",
                       "Its SOP class is private: what its pixels show is not known."},
    [SCREEN_SAVE] = {"on_screen_save", "pixel.screen_save", "screen_save",
                     "It is a saved screen, which often shows the patient's name."},
    [SECONDARY] = {"on_secondary", "pixel.secondary", "secondary",
                   "It is a secondary capture, which often shows the patient's name."},
    [UNKNOWN] = {"on_unknown", "pixel.unknown", "unknown",
                 "Images of its kind often show names, and it has no Burned In Annotation."},
    [AUDIO] = {"on_audio", "pixel.audio", "audio",
               "It is a sound recording, in which somebody may say a name."},
    [OVERLAY] = {"on_overlay", "pixel.overlay", "overlay",
                 "An overlay, which often is text, lies in unused bits of its pixels."},
    [LENGTH] = {"on_length", "pixel.length", "length",
                "Its pixel data is not as long as its rows, columns, bits and frames say."},
    [COMMENT] = {"on_comment", "pixel.comment", "comment",
                 "Its compressed pixels come with a comment or other bytes that are no pixels."},
    [OPAQUE] = {"on_opaque", "pixel.opaque", "opaque",
                "Its pixels are compressed so that nobody can look for comments among them."},
};

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_files *files;
    const struct sendit_metrics *metrics;
    int strict, pass[N_FINDINGS];
    int starved;       /* the host had no memory for something about the image in hand */
    uint64_t n_passed; /* of the batch in hand, unchecked */
};

static const struct sendit_option options[] = {
    {"on_burned_in", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "An image whose Burned In Annotation is not NO."},
    {"strict", SENDIT_OPT_BOOLEAN, 0, "false", NULL,
     "Take any value of Burned In Annotation for burned in, NO too."},
    {"on_unknown", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Ultrasound, endoscopy and photographs without Burned In Annotation."},
    {"on_secondary", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Secondary captures, whatever their Burned In Annotation says."},
    {"on_screen_save", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Saved screens, whatever their Burned In Annotation says."},
    {"on_document", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Encapsulated documents, such as PDF."},
    {"on_private_sop_class", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Objects of a private SOP class."},
    {"on_length", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Native pixel data that is longer or shorter than its header says, or not there."},
    {"on_audio", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass", "Sound recordings."},
    {"on_overlay", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Images with an overlay in unused bits of their pixels."},
    {"on_comment", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Compressed pixels with comments, metadata or other bytes among or behind them."},
    {"on_opaque", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "Compressed pixels that cannot be looked into, such as video."},
};

/* ---- what the header says ---- */

/* An element that cannot be read as text reads as `odd`, one that is not there as "". */
static const char *text(struct sendit_stage_state *self, struct sendit_dataset *ds, uint32_t tag,
                        const char *odd)
{
    const char *value;
    sendit_result r = self->dicom->get(ds, tag, &value);

    if (r == SENDIT_OK)
        return value;
    self->starved |= r == SENDIT_ENOMEM;
    return r == SENDIT_EABSENT ? "" : odd;
}

/* Pixel data that stays on disk has no bytes to show: it is there unless it is absent. */
static int has(struct sendit_stage_state *self, struct sendit_dataset *ds, uint32_t tag)
{
    const void *value;
    size_t length;
    sendit_result r = self->dicom->bytes(ds, tag, &value, &length);

    self->starved |= r == SENDIT_ENOMEM;
    return r != SENDIT_EABSENT;
}

/* Is one of several values `word`, in any case and padding? */
static int has_word(const char *values, const char *word)
{
    size_t n = strlen(word);

    while (*values) {
        size_t length = strcspn(values, "\\"), from = 0, to = length;

        while (from < to && values[from] == ' ')
            from++;
        while (to > from && values[to - 1] == ' ')
            to--;
        if (to - from == n && !strncasecmp(values + from, word, n))
            return 1;
        values += length + (values[length] == '\\');
    }
    return 0;
}

/* `family` itself, or a UID below it. */
static int is_of_family(const char *uid, const char *family)
{
    size_t n = strlen(family);

    return !strncmp(uid, family, n) && (!uid[n] || uid[n] == '.');
}

static int is_plain_no(const char *value)
{
    return !strchr(value, '\\') && has_word(value, "NO");
}

/* Any element of the module SC Equipment: film that was scanned, frames that were grabbed. */
static int is_secondary(struct sendit_stage_state *self, struct sendit_dataset *ds,
                        const char *sop_class)
{
    static const uint32_t tags[] = {TAG_CONVERSION_TYPE, 0x00181010u, 0x00181012u, 0x00181014u,
                                    0x00181016u,         0x00181018u, 0x00181019u};

    if (is_of_family(sop_class, UID_SECONDARY))
        return 1;
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
        if (*text(self, ds, tags[i], "odd"))
            return 1;
    return 0;
}

static int is_screen_save(struct sendit_stage_state *self, struct sendit_dataset *ds)
{
    const char *type = text(self, ds, TAG_IMAGE_TYPE, "SCREEN SAVE");

    if (strcasestr(type, "SCREEN") || strcasestr(type, "SAVE"))
        return 1;
    type = text(self, ds, TAG_SERIES_DESCRIPTION, "");
    return strcasestr(type, "SCREEN SAVE") || strcasestr(type, "SCREENSAVE");
}

/* Ultrasound, endoscopy, and whatever was taken with visible light. */
static int shows_names(struct sendit_stage_state *self, struct sendit_dataset *ds,
                       const char *sop_class)
{
    static const char *const modalities[] = {"US", "ES", "XC", "GM"};
    static const char *const families[] = {UID_STORAGE "3", UID_STORAGE "6", UID_STORAGE "77"};
    const char *modality = text(self, ds, TAG_MODALITY, "XC");

    for (size_t i = 0; i < sizeof(modalities) / sizeof(modalities[0]); i++)
        if (has_word(modality, modalities[i]))
            return 1;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (is_of_family(sop_class, families[i]))
            return 1;
    return 0;
}

/* A count in the header; 0 for none, and for what is no count. */
static uint64_t count(struct sendit_stage_state *self, struct sendit_dataset *ds, uint32_t tag,
                      const char *absent)
{
    const char *value = text(self, ds, tag, "");
    char *end;
    unsigned long long n;

    if (!*value)
        value = absent;
    n = strtoull(value, &end, 10);
    return *value < '0' || *value > '9' || *end || n > UINT32_MAX ? 0 : n;
}

struct pixels {
    struct sendit_stage_state *self;
    uint32_t tag; /* 0 without any */
    uint64_t length;
    uint64_t offset;  /* the largest of an Extended Offset Table */
    uint32_t overlay; /* group of one whose data has not come yet */
    int in_pixels;    /* an overlay lies in them */
};

/* An overlay has data of its own, one bit each; an older kind lies in bits of the pixels. */
static void note_overlay(struct pixels *pixels, struct sendit_dataset *ds, uint32_t tag)
{
    uint32_t element = tag & 0xFFFF;

    if (element == OVERLAY_ROWS)
        pixels->overlay = tag >> 16;
    if (element == OVERLAY_DATA)
        pixels->overlay = 0;
    if ((element == OVERLAY_BITS && strcmp(text(pixels->self, ds, tag, "odd"), "1")) ||
        (element == OVERLAY_POSITION && strcmp(text(pixels->self, ds, tag, "odd"), "0")))
        pixels->in_pixels = 1;
}

/* Numbers of 64 bits that are larger than the pixel data is long are no offsets into it. */
static void note_offsets(struct pixels *pixels, const struct sendit_element *element)
{
    const char *bytes = element->value;

    if (!bytes || element->length % 8)
        pixels->offset = UINT64_MAX;
    for (size_t i = 0; bytes && i + 8 <= element->length; i += 8) {
        uint64_t offset;

        memcpy(&offset, bytes + i, sizeof(offset));
        pixels->offset = offset > pixels->offset ? offset : pixels->offset;
    }
}

/* The pixel data, on disk or not, and what belongs to it; a visitor of the top level. */
static int32_t note_pixels(void *ctx, struct sendit_dataset *parent,
                           const struct sendit_element *element)
{
    struct pixels *pixels = ctx;

    if (pixels->overlay && element->tag >> 16 != pixels->overlay)
        pixels->in_pixels = 1;
    if (element->tag >> 24 == 0x60)
        note_overlay(pixels, parent, element->tag);
    if (element->tag >= TAG_OFFSETS && element->tag <= TAG_TOTAL)
        note_offsets(pixels, element);
    if (element->tag != TAG_PIXELS && element->tag != TAG_FLOAT_PIXELS &&
        element->tag != TAG_DOUBLE_PIXELS)
        return SENDIT_KEEP_WHOLE;
    pixels->tag = element->tag;
    pixels->length = element->length;
    return SENDIT_STOP;
}

/* In a compressed one each fragment has a length of its own. */
static int is_native(const char *syntax)
{
    static const char *const native[] = {"", UID_STANDARD "1.2", UID_STANDARD "1.2.1",
                                         UID_STANDARD "1.2.1.99", UID_STANDARD "1.2.2"};

    for (size_t i = 0; i < sizeof(native) / sizeof(native[0]); i++)
        if (!strcmp(syntax, native[i]))
            return 1;
    return 0;
}

/* Bytes of the pixels, by the header; 0 if it does not say. */
static uint64_t wanted_length(struct sendit_stage_state *self, struct sendit_dataset *ds)
{
    const char *colours = text(self, ds, TAG_PHOTOMETRIC, "");
    uint64_t n = count(self, ds, TAG_SAMPLES, "1");

    /* Two pixels share their colour: PS3.3 C.7.6.3.1.2. */
    if (has_word(colours, "YBR_FULL_422") || has_word(colours, "YBR_PARTIAL_422"))
        n = 2;
    if (__builtin_mul_overflow(n, count(self, ds, TAG_BITS, ""), &n) ||
        __builtin_mul_overflow(n, count(self, ds, TAG_ROWS, ""), &n) ||
        __builtin_mul_overflow(n, count(self, ds, TAG_COLUMNS, ""), &n) ||
        __builtin_mul_overflow(n, count(self, ds, TAG_FRAMES, "1"), &n))
        return 0;
    return n / 8 + (n % 8 != 0);
}

/* What stands behind the last pixel is shown by no viewer, and could be anything. */
static int has_wrong_length(struct sendit_stage_state *self, struct sendit_dataset *ds,
                            const struct pixels *pixels)
{
    uint64_t wanted = wanted_length(self, ds);

    return !wanted || (pixels->length != wanted && pixels->length != wanted + wanted % 2);
}

/* Findings about what stands beside the pixels of a compressed image. */
static unsigned look_into_stream(struct sendit_stage_state *self, struct sendit_dataset *ds,
                                 const char *syntax)
{
    const struct sendit_file *file;

    if (self->files->view(ds, &file) != SENDIT_OK)
        return 1u << OPAQUE;
    for (uint32_t i = 0; i < file->n_parts; i++) {
        if (file->parts[i].data)
            continue;
        switch (pixel_stream_look(syntax, &file->parts[i])) {
        case PIXEL_STREAM_CLEAN:
            return 0;
        case PIXEL_STREAM_COMMENT:
            return 1u << COMMENT;
        default:
            return 1u << OPAQUE;
        }
    }
    return 1u << OPAQUE;
}

/* Findings about the pixel data itself. */
static unsigned look_at_pixels(struct sendit_stage_state *self, struct sendit_dataset *ds)
{
    const char *syntax = text(self, ds, TAG_TRANSFER_SYNTAX, "");
    struct pixels pixels = {.self = self};
    unsigned found = 0;

    if (self->dicom->walk(ds, note_pixels, &pixels) != SENDIT_ESTOPPED)
        return 1u << LENGTH;
    if (pixels.in_pixels)
        found |= 1u << OVERLAY;
    if (pixels.offset > pixels.length)
        found |= 1u << COMMENT;
    if (pixels.tag != TAG_PIXELS || is_native(syntax))
        return has_wrong_length(self, ds, &pixels) ? found | 1u << LENGTH : found;
    return found | (pixels.length ? look_into_stream(self, ds, syntax) : 1u << LENGTH);
}

static int32_t find_pixels(void *ctx, struct sendit_dataset *parent,
                           const struct sendit_element *element)
{
    (void)ctx, (void)parent;
    if (element->tag == TAG_ICON)
        return SENDIT_KEEP_WHOLE; /* removed by every profile */
    if (element->tag == TAG_PIXELS || element->tag == TAG_FLOAT_PIXELS ||
        element->tag == TAG_DOUBLE_PIXELS)
        return SENDIT_STOP;
    return SENDIT_KEEP;
}

/* ---- callbacks ---- */

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "pixel.memory", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->files = SENDIT_SERVICE(host, files);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->strict = config->number(host, "strict") != 0;
    for (int i = 0; i < N_FINDINGS; i++)
        self->pass[i] = config->number(host, findings[i].option) == 1;
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    (void)batch, (void)why;
    self->n_passed = 0;
    return SENDIT_PASS;
}

/* The findings about an image, one bit each. */
static sendit_verdict look(struct sendit_stage_state *self, struct sendit_dataset *ds,
                           unsigned *ret_found, struct sendit_why *why)
{
    const char *sop_class, *burned_in;
    unsigned found = 0;
    sendit_result r;

    if (self->dicom->get(ds, TAG_SOP_CLASS, &sop_class) != SENDIT_OK || !*sop_class)
        return sendit_because(why, SENDIT_QUARANTINE, "pixel.no_sop_class",
                              "It has no SOP Class UID: what it is, is not known.");
    r = self->dicom->get(ds, TAG_BURNED_IN, &burned_in);
    if (r != SENDIT_EABSENT && (r != SENDIT_OK || self->strict || !is_plain_no(burned_in)))
        found |= 1u << BURNED_IN;
    if (strncmp(sop_class, UID_STANDARD, sizeof(UID_STANDARD) - 1))
        found |= 1u << PRIVATE_CLASS;
    if (is_of_family(sop_class, UID_DOCUMENT) || has(self, ds, TAG_DOCUMENT))
        found |= 1u << DOCUMENT;
    if (is_of_family(sop_class, UID_AUDIO))
        found |= 1u << AUDIO;
    if (has(self, ds, TAG_PIXELS) || has(self, ds, TAG_FLOAT_PIXELS) ||
        has(self, ds, TAG_DOUBLE_PIXELS)) {
        if (is_screen_save(self, ds))
            found |= 1u << SCREEN_SAVE;
        if (is_secondary(self, ds, sop_class))
            found |= 1u << SECONDARY;
        if (r == SENDIT_EABSENT && shows_names(self, ds, sop_class))
            found |= 1u << UNKNOWN;
        found |= look_at_pixels(self, ds);
    } else {
        r = self->dicom->walk(ds, find_pixels, NULL);
        if (r == SENDIT_ESTOPPED)
            return sendit_because(why, SENDIT_QUARANTINE, "pixel.nested",
                                  "It has pixels inside a sequence only, where nobody looks.");
        if (r != SENDIT_OK)
            return sendit_because(why, r == SENDIT_ENOMEM ? SENDIT_RETRY : SENDIT_QUARANTINE,
                                  "pixel.walk", "Its elements cannot be gone through.");
        /* It was an image, and its end is missing; spectra have rows, and no pixels. */
        if (has(self, ds, TAG_ROWS) && !has(self, ds, TAG_SPECTRA))
            found |= 1u << LENGTH;
    }
    *ret_found = found;
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    unsigned found = 0;
    sendit_verdict verdict;

    self->starved = 0;
    verdict = look(self, item->ds, &found, why);
    if (self->starved)
        return sendit_because(why, SENDIT_RETRY, "pixel.memory", "There is no memory.");
    if (verdict != SENDIT_PASS || !found)
        return verdict;
    for (int i = 0; i < N_FINDINGS; i++) {
        if (!(found & 1u << i))
            continue;
        self->metrics->add(self->host, findings[i].metric, 1);
        if (!self->pass[i])
            return sendit_because(why, SENDIT_QUARANTINE, findings[i].code, "%s", findings[i].text);
    }
    /* The site lets it through, and nobody checked it: it goes on without the label. */
    self->n_passed++;
    return SENDIT_SKIP;
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    char line[128];

    (void)batch, (void)why;
    if (self->n_passed) {
        snprintf(line, sizeof(line), "%" PRIu64 " images went on unchecked, as an option says.",
                 self->n_passed);
        self->host->log(self->host, SENDIT_WARN, "pixel.passed", line);
    }
    self->n_passed = 0;
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS, SENDIT_OPTIONS(options), .name = "pixel-check",
              .version = "1.0.0", .summary = "Holds images back whose pixels may show a name.",
              .grants = "pixels.checked", .open = start, .begin = begin, .process = process,
              .finish = finish, .close = stop);
