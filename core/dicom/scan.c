/* SPDX-License-Identifier: Apache-2.0 */
#include "dicom/scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dicom/dicom.h"

#define PREAMBLE 132 /* 128 bytes and "DICM" */
#define BLOCK (16u << 10)
#define UNDEFINED 0xffffffffu
#define MAX_LEVELS (2 * DICOM_MAX_DEPTH + 3)
#define ITEM 0xfffee000u
#define ITEM_END 0xfffee00du
#define SEQUENCE_END 0xfffee0ddu

#define SOP_CLASS 0x00080016u
#define DICOMDIR_CLASS "1.2.840.10008.1.3.10"

/* PS3.6 table A-1, less what has its pixel data elsewhere (JPIP, SMPTE ST 2110). */
#define ENCAPSULATED(uid)                                                                          \
    {                                                                                              \
        "1.2.840.10008.1.2." uid, true, false, false, true                                         \
    }
static const struct scan_syntax syntaxes[] = {
    {"1.2.840.10008.1.2", false, false, false, false},
    {"1.2.840.10008.1.2.1", true, false, false, false},
    {"1.2.840.10008.1.2.1.99", true, false, true, false},
    {"1.2.840.10008.1.2.2", true, true, false, false},
    ENCAPSULATED("1.98"), /* uncompressed */
    ENCAPSULATED("4.50"), /* JPEG, the retired processes among them */
    ENCAPSULATED("4.51"),
    ENCAPSULATED("4.52"),
    ENCAPSULATED("4.53"),
    ENCAPSULATED("4.54"),
    ENCAPSULATED("4.55"),
    ENCAPSULATED("4.56"),
    ENCAPSULATED("4.57"),
    ENCAPSULATED("4.58"),
    ENCAPSULATED("4.59"),
    ENCAPSULATED("4.60"),
    ENCAPSULATED("4.61"),
    ENCAPSULATED("4.62"),
    ENCAPSULATED("4.63"),
    ENCAPSULATED("4.64"),
    ENCAPSULATED("4.65"),
    ENCAPSULATED("4.66"),
    ENCAPSULATED("4.70"),
    ENCAPSULATED("4.80"), /* JPEG-LS */
    ENCAPSULATED("4.81"),
    ENCAPSULATED("4.90"), /* JPEG 2000 */
    ENCAPSULATED("4.91"),
    ENCAPSULATED("4.92"),
    ENCAPSULATED("4.93"),
    ENCAPSULATED("4.100"), /* MPEG-2, MPEG-4, HEVC; .1 are the fragmentable ones */
    ENCAPSULATED("4.100.1"),
    ENCAPSULATED("4.101"),
    ENCAPSULATED("4.101.1"),
    ENCAPSULATED("4.102"),
    ENCAPSULATED("4.102.1"),
    ENCAPSULATED("4.103"),
    ENCAPSULATED("4.103.1"),
    ENCAPSULATED("4.104"),
    ENCAPSULATED("4.104.1"),
    ENCAPSULATED("4.105"),
    ENCAPSULATED("4.105.1"),
    ENCAPSULATED("4.106"),
    ENCAPSULATED("4.106.1"),
    ENCAPSULATED("4.107"),
    ENCAPSULATED("4.108"),
    ENCAPSULATED("4.110"), /* JPEG XL */
    ENCAPSULATED("4.111"),
    ENCAPSULATED("4.112"),
    ENCAPSULATED("4.201"), /* HTJ2K */
    ENCAPSULATED("4.202"),
    ENCAPSULATED("4.203"),
    ENCAPSULATED("5"),   /* RLE */
    ENCAPSULATED("8.1"), /* deflated image frames */
};

/* VRs that there are, and whether their length has four bytes in Explicit VR. */
static const char vrs_short[] = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US ";
static const char vrs_long[] = "OB OD OF OL OV OW SQ SV UC UN UR UT UV ";

enum kind { DATASET, SEQUENCE, ITEM_OF, FRAGMENTS };

/* One open container; `end` is meant only if its length is defined, `limit` always. */
struct level {
    uint64_t end, limit;
    enum kind kind;
    bool undefined, explicit_vr, big_endian;
    uint32_t last; /* tag of the element before, 0 at first */
};

/* Bytes of the source that are kept: data[0] lies at `base` in the source. */
struct kept {
    const struct scan_source *source;
    struct buf *buf;
    uint64_t base, max;
};

struct walk {
    struct kept *kept;
    struct scan *scan;
    struct dicom_refusal *refusal;
    uint64_t at; /* offset in the source */
    int n_levels, depth;
    struct level levels[MAX_LEVELS];
};

struct element {
    uint32_t tag, length;
    char vr[3];
    unsigned header; /* bytes before the value */
};

static uint16_t u16(const unsigned char *p, bool big)
{
    return (uint16_t)(big ? p[0] << 8 | p[1] : p[1] << 8 | p[0]);
}

static uint32_t u32(const unsigned char *p, bool big)
{
    return big ? (uint32_t)u16(p, big) << 16 | u16(p + 2, big)
               : (uint32_t)u16(p + 2, big) << 16 | u16(p, big);
}

static uint32_t tag_at(const unsigned char *p, bool big)
{
    return (uint32_t)u16(p, big) << 16 | u16(p + 2, big);
}

__attribute__((format(printf, 4, 5))) static int refuse(struct dicom_refusal *refusal, int what,
                                                        const char *code, const char *text, ...)
{
    va_list ap;

    refusal->what = what;
    snprintf(refusal->code, sizeof(refusal->code), "%s", code);
    va_start(ap, text);
    vsnprintf(refusal->text, sizeof(refusal->text), text, ap);
    va_end(ap);
    return -1;
}

static int truncated(struct dicom_refusal *refusal, uint64_t at)
{
    return refuse(refusal, DICOM_QUARANTINED, "dicom.truncated",
                  "the file breaks off in the element at offset %llu", (unsigned long long)at);
}

static int corrupt(struct dicom_refusal *refusal, uint64_t at, const char *what)
{
    return refuse(refusal, DICOM_QUARANTINED, "dicom.corrupt", "at offset %llu: %s",
                  (unsigned long long)at, what);
}

const struct scan_syntax *scan_find_syntax(const char *uid)
{
    size_t len = strlen(uid);

    while (len && uid[len - 1] == ' ')
        len--;
    for (size_t i = 0; i < sizeof(syntaxes) / sizeof(syntaxes[0]); i++)
        if (strlen(syntaxes[i].uid) == len && memcmp(syntaxes[i].uid, uid, len) == 0)
            return &syntaxes[i];
    return NULL;
}

/* All of `len` bytes at `offset`, or -1 with a refusal. */
static int read_at(const struct scan_source *source, uint64_t offset, void *data, size_t len,
                   struct dicom_refusal *refusal)
{
    size_t done = 0;

    if (source->fd < 0) {
        memcpy(data, (const char *)source->data + offset, len);
        return 0;
    }
    while (done < len) {
        ssize_t n = pread(source->fd, (char *)data + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return refuse(refusal, DICOM_FAILED, "import.io", "reading it failed: %s",
                          strerror(errno));
        if (n == 0)
            return truncated(refusal, offset + done);
        done += (size_t)n;
    }
    return 0;
}

/* Keep all bytes up to `upto`, which lies inside the source.  Reads ahead by a block. */
static int keep_to(struct kept *kept, uint64_t upto, struct dicom_refusal *refusal)
{
    struct buf *buf = kept->buf;
    uint64_t have = kept->base + buf->len, want;

    if (upto <= have)
        return 0;
    if (upto - kept->base > kept->max)
        return refuse(refusal, DICOM_QUARANTINED, "dicom.too_large",
                      "it has more than %llu bytes that are not pixel data",
                      (unsigned long long)kept->max);
    want = upto + BLOCK > kept->source->size ? kept->source->size : upto + BLOCK;
    if (!buf_reserve(buf, (size_t)(want - have)))
        return refuse(refusal, DICOM_QUARANTINED, "dicom.too_large",
                      "it needs more memory than run.worker_memory allows");
    if (read_at(kept->source, have, buf->data + buf->len, (size_t)(want - have), refusal))
        return -1;
    buf->len += (size_t)(want - have);
    buf->data[buf->len] = '\0';
    return 0;
}

static const unsigned char *bytes_at(const struct kept *kept, uint64_t at)
{
    return (const unsigned char *)kept->buf->data + (at - kept->base);
}

/* 2 or 4, the bytes of its length field in Explicit VR; 0 if there is no such VR. */
static unsigned vr_width(const unsigned char *vr)
{
    char word[4] = {(char)vr[0], (char)vr[1], ' ', '\0'};

    if (vr[0] < 'A' || vr[0] > 'Z' || vr[1] < 'A' || vr[1] > 'Z')
        return 0;
    if (strstr(vrs_short, word))
        return 2;
    return strstr(vrs_long, word) ? 4 : 0;
}

/*
 * Tag, VR and length at walk->at; `limit` is where the container ends.  What has no VR (items,
 * delimiters, Implicit VR) gets "".
 */
static int read_header(struct walk *walk, const struct level *top, struct element *element)
{
    uint64_t at = walk->at, left = top->limit - at;
    bool ends_file = top->limit == walk->kept->source->size;
    const unsigned char *p;
    unsigned width;

    if (left < 8)
        goto too_short;
    if (keep_to(walk->kept, at + 8, walk->refusal))
        return -1;
    p = bytes_at(walk->kept, at);
    *element = (struct element){.tag = tag_at(p, top->big_endian), .header = 8};
    if (!top->explicit_vr || element->tag >> 16 == 0xfffe) {
        element->length = u32(p + 4, top->big_endian);
        return 0;
    }
    width = vr_width(p + 4);
    if (!width)
        return corrupt(walk->refusal, at, "an element has a VR that does not exist");
    memcpy(element->vr, p + 4, 2);
    if (width == 2) {
        element->length = u16(p + 6, top->big_endian);
        return 0;
    }
    if (left < 12)
        goto too_short;
    if (keep_to(walk->kept, at + 12, walk->refusal))
        return -1;
    element->header = 12;
    element->length = u32(bytes_at(walk->kept, at) + 8, top->big_endian);
    return 0;
too_short:
    return ends_file ? truncated(walk->refusal, at)
                     : corrupt(walk->refusal, at, "an element does not fit into its item");
}

/* `syntax` says how what is inside is encoded. */
static int push(struct walk *walk, enum kind kind, uint32_t length, const struct level *syntax)
{
    const struct level *top = &walk->levels[walk->n_levels - 1];
    struct level level = {.kind = kind,
                          .undefined = length == UNDEFINED,
                          .explicit_vr = syntax->explicit_vr,
                          .big_endian = syntax->big_endian,
                          .limit = top->limit};

    if (kind == SEQUENCE && walk->depth++ >= DICOM_MAX_DEPTH)
        return refuse(walk->refusal, DICOM_QUARANTINED, "dicom.too_deep",
                      "its sequences are nested more than %d deep", DICOM_MAX_DEPTH);
    if (!level.undefined)
        level.limit = level.end = walk->at + length;
    if (walk->n_levels == MAX_LEVELS)
        return corrupt(walk->refusal, walk->at, "too many open items");
    walk->levels[walk->n_levels++] = level;
    return 0;
}

static void pop(struct walk *walk)
{
    if (walk->levels[--walk->n_levels].kind == SEQUENCE)
        walk->depth--;
}

/* Does a value of `length` bytes at `at` fit? */
static int check_fits(struct walk *walk, const struct level *top, uint64_t at, uint32_t length)
{
    if (length <= top->limit - at)
        return 0;
    if (top->limit == walk->kept->source->size)
        return truncated(walk->refusal, walk->at);
    return corrupt(walk->refusal, walk->at, "a length goes beyond what it lies in");
}

/* What may stand in a sequence, or between the fragments of pixel data: items and its end. */
static int step_in_sequence(struct walk *walk)
{
    const struct level *top = &walk->levels[walk->n_levels - 1];
    struct element element;

    if (read_header(walk, top, &element))
        return -1;
    if (element.tag == SEQUENCE_END) {
        if (!top->undefined || element.length != 0)
            return corrupt(walk->refusal, walk->at, "a sequence delimiter is out of place");
        walk->at += 8;
        pop(walk);
        return 0;
    }
    if (element.tag != ITEM)
        return corrupt(walk->refusal, walk->at, "a sequence has something that is no item");
    if (element.length == UNDEFINED && top->kind == FRAGMENTS)
        return corrupt(walk->refusal, walk->at, "a fragment has no length");
    if (element.length != UNDEFINED && check_fits(walk, top, walk->at + 8, element.length))
        return -1;
    walk->at += 8;
    if (top->kind == FRAGMENTS) {
        walk->at += element.length;
        return keep_to(walk->kept, walk->at, walk->refusal);
    }
    return push(walk, ITEM_OF, element.length, top);
}

/* What is in UN, be the file in big endian or not: PS3.5 6.2.2. */
static const struct level implicit_little = {.kind = SEQUENCE};

/* An element of undefined length: a sequence, or the fragments of an icon's pixel data. */
static int enter_undefined(struct walk *walk, const struct level *top,
                           const struct element *element)
{
    bool pixels = element->tag == 0x7fe00010u;

    walk->at += element->header;
    if (strcmp(element->vr, "SQ") == 0 || (!top->explicit_vr && !pixels))
        return push(walk, SEQUENCE, UNDEFINED, top);
    if (strcmp(element->vr, "UN") == 0)
        return push(walk, SEQUENCE, UNDEFINED, &implicit_little);
    if (pixels && (strcmp(element->vr, "OB") == 0 || strcmp(element->vr, "OW") == 0))
        return push(walk, FRAGMENTS, UNDEFINED, top);
    return corrupt(walk->refusal, walk->at, "an element that is no sequence has no length");
}

/*
 * An element with a length.  Where the stream does not say what is a sequence (Implicit VR, UN),
 * a value that begins with an item is one: a reader with a dictionary may go into it, and its
 * depth and its lengths must hold.
 */
static int enter_defined(struct walk *walk, const struct level *top, const struct element *element)
{
    uint64_t value = walk->at + element->header;
    const struct level *inside = strcmp(element->vr, "SQ") == 0 ? top : NULL;

    if (check_fits(walk, top, value, element->length) ||
        keep_to(walk->kept, value + element->length, walk->refusal))
        return -1;
    if (element->length >= 8 && (!top->explicit_vr || strcmp(element->vr, "UN") == 0))
        inside = tag_at(bytes_at(walk->kept, value), false) == ITEM ? &implicit_little : NULL;
    walk->at = value;
    if (inside)
        return push(walk, SEQUENCE, element->length, inside);
    walk->at = value + element->length;
    return 0;
}

/* Is what is left only zeros?  Some writers fill the file up with them. */
static int only_zeros(struct walk *walk, bool *ret_zeros)
{
    uint64_t end = walk->kept->source->size;
    const unsigned char *p;

    *ret_zeros = false;
    if (keep_to(walk->kept, walk->at + (end - walk->at < 8 ? end - walk->at : 8), walk->refusal))
        return -1;
    p = bytes_at(walk->kept, walk->at);
    if (end - walk->at >= 8 && memcmp(p, "\0\0\0\0\0\0\0\0", 8) != 0)
        return 0;
    if (keep_to(walk->kept, end, walk->refusal))
        return -1;
    p = bytes_at(walk->kept, walk->at);
    for (uint64_t i = 0; i < end - walk->at; i++)
        if (p[i])
            return 0;
    *ret_zeros = true;
    return 0;
}

/* The level at the bottom: 1 at its end, 0 when there may be more. */
static int step_at_top(struct walk *walk, struct element *element)
{
    const struct level *top = &walk->levels[0];
    bool zeros;

    if (walk->at == top->limit)
        return 1;
    if (only_zeros(walk, &zeros))
        return -1;
    /* One zero may be the beginning of a tag in big endian. */
    if (zeros && top->big_endian && top->limit - walk->at == 1)
        return truncated(walk->refusal, walk->at);
    if (zeros) {
        walk->kept->buf->len = (size_t)(walk->at - walk->kept->base);
        return 1;
    }
    return read_header(walk, top, element);
}

/* Commands, the meta group, and what PS3.5 7.8.1 forbids: no data set has them, at no depth. */
static bool is_foreign(uint32_t group)
{
    return group == 0x0000 || group == 0x0002 || group == 0xffff;
}

/*
 * Is it an element that may stand here?  Of a tag that stands twice readers take the first or the
 * last, and a private element before its creator is nobody's: their order must be right.
 */
static int check_tag(struct walk *walk, struct level *top, uint32_t tag)
{
    if (tag >> 16 == 0xfffe)
        return corrupt(walk->refusal, walk->at, "an item or a delimiter is out of place");
    if (is_foreign(tag >> 16))
        return corrupt(walk->refusal, walk->at,
                       "a data set has an element of group 0000, 0002 or FFFF");
    if (tag == top->last)
        return corrupt(walk->refusal, walk->at, "an element stands twice");
    if (tag < top->last)
        return corrupt(walk->refusal, walk->at, "its elements are not in the order of their tags");
    top->last = tag;
    return 0;
}

static bool is_pixels(uint32_t tag)
{
    return tag == 0x7fe00010u || tag == 0x7fe00008u || tag == 0x7fe00009u;
}

/* Walk until top-level pixel data (1, with *ret_pixels) or until the end (0). */
static int walk_dataset(struct walk *walk, struct element *ret_pixels)
{
    while (walk->n_levels) {
        struct level *top = &walk->levels[walk->n_levels - 1];
        struct element element;
        int r;

        if (walk->n_levels > 1 && !top->undefined && walk->at == top->end) {
            pop(walk);
            continue;
        }
        if (top->kind == SEQUENCE || top->kind == FRAGMENTS) {
            if (step_in_sequence(walk))
                return -1;
            continue;
        }
        r = top->kind == DATASET ? step_at_top(walk, &element) : read_header(walk, top, &element);
        if (r)
            return r < 0 ? -1 : 0;
        if (element.tag == ITEM_END && top->kind == ITEM_OF && top->undefined &&
            element.length == 0) {
            walk->at += 8;
            pop(walk);
            continue;
        }
        if (check_tag(walk, top, element.tag))
            return -1;
        if (top->kind == DATASET && element.tag == SOP_CLASS && element.length)
            walk->scan->has_sop_class = true;
        if (top->kind == DATASET && is_pixels(element.tag)) {
            *ret_pixels = element;
            return 1;
        }
        r = element.length == UNDEFINED ? enter_undefined(walk, top, &element)
                                        : enter_defined(walk, top, &element);
        if (r)
            return -1;
    }
    return 0;
}

/* Find the end of encapsulated pixel data at `at`, from fragment to fragment. */
static int skip_fragments(const struct scan_source *source, uint64_t at, bool big,
                          struct dicom_refusal *refusal, uint64_t *ret_end)
{
    unsigned char window[4096];
    uint64_t from = 0, have = 0;

    for (;;) {
        uint32_t tag, length;
        const unsigned char *p;

        if (source->size - at < 8)
            return truncated(refusal, at);
        if (at < from || at + 8 > from + have) {
            from = at;
            have = source->size - at < sizeof(window) ? source->size - at : sizeof(window);
            if (read_at(source, from, window, (size_t)have, refusal))
                return -1;
        }
        p = window + (at - from);
        tag = tag_at(p, big);
        length = u32(p + 4, big);
        at += 8;
        if (tag == SEQUENCE_END && length == 0) {
            *ret_end = at;
            return 0;
        }
        if (tag != ITEM || length == UNDEFINED)
            return corrupt(refusal, at - 8, "pixel data has something that is no fragment");
        if (length > source->size - at)
            return truncated(refusal, at);
        at += length;
    }
}

/* Note where the pixel data is; *ret_end is the first byte behind it. */
static int note_pixels(struct walk *walk, const struct element *pixels, uint64_t *ret_end)
{
    const struct scan_source *source = walk->kept->source;
    struct scan *scan = walk->scan;
    static const char implicit_vr[3][3] = {"OF", "OD", "OW"};
    int which = pixels->tag == 0x7fe00008u ? 0 : pixels->tag == 0x7fe00009u ? 1 : 2;

    if (scan->has_pixels)
        return corrupt(walk->refusal, walk->at, "there is a second element with pixel data");
    memcpy(scan->pixel_vr, pixels->vr[0] ? pixels->vr : implicit_vr[which], 3);
    if (strcmp(scan->pixel_vr, implicit_vr[which]) != 0 && strcmp(scan->pixel_vr, "UN") != 0 &&
        (which != 2 || strcmp(scan->pixel_vr, "OB") != 0))
        return corrupt(walk->refusal, walk->at, "the pixel data has an impossible VR");
    scan->has_pixels = true;
    scan->pixel_tag = pixels->tag;
    scan->pixel_at = walk->at + pixels->header;
    scan->pixel_undefined = pixels->length == UNDEFINED;
    if (scan->pixel_undefined && (!scan->syntax->encapsulated || which != 2))
        return corrupt(walk->refusal, walk->at, "the pixel data has no length");
    if (!scan->pixel_undefined && scan->syntax->encapsulated && which == 2 && pixels->length)
        return corrupt(walk->refusal, walk->at,
                       "the pixel data is not encapsulated, as its transfer syntax wants");
    if (scan->pixel_undefined) {
        if (skip_fragments(source, scan->pixel_at, scan->syntax->big_endian, walk->refusal,
                           ret_end))
            return -1;
    } else {
        if (pixels->length > source->size - scan->pixel_at)
            return truncated(walk->refusal, walk->at);
        *ret_end = scan->pixel_at + pixels->length;
    }
    scan->pixel_length = *ret_end - scan->pixel_at;
    return 0;
}

/* `last` is the tag of the element before, 0 for none. */
static void walk_from(struct walk *walk, uint64_t at, uint32_t last)
{
    const struct scan_syntax *syntax = walk->scan->syntax;

    walk->at = at;
    walk->n_levels = 1;
    walk->depth = 0;
    walk->levels[0] = (struct level){.kind = DATASET,
                                     .undefined = true,
                                     .limit = walk->kept->source->size,
                                     .explicit_vr = syntax->explicit_vr,
                                     .big_endian = syntax->big_endian,
                                     .last = last};
}

/* The data set from `at` on; what `head` has before that is dropped in the end. */
static int scan_from(struct kept *kept, uint64_t at, struct scan *scan,
                     struct dicom_refusal *refusal)
{
    struct walk walk = {.kept = kept, .scan = scan, .refusal = refusal};
    struct element pixels;
    uint64_t behind;
    size_t drop = (size_t)(at - kept->base);
    struct kept tail = {.source = kept->source, .buf = &scan->tail, .max = kept->max};
    int r;

    if (at == kept->source->size)
        return truncated(refusal, at);
    walk_from(&walk, at, 0);
    r = walk_dataset(&walk, &pixels);
    if (r < 0)
        return -1;
    scan->head.len = (size_t)(walk.at - kept->base);
    if (drop) {
        memmove(scan->head.data, scan->head.data + drop, scan->head.len - drop);
        scan->head.len -= drop;
    }
    if (r == 0) /* nothing but zeros is no data set */
        return scan->head.len ? 0 : truncated(refusal, at);
    if (note_pixels(&walk, &pixels, &behind))
        return -1;
    tail.base = behind;
    tail.max = kept->max - scan->head.len;
    walk.kept = &tail;
    walk_from(&walk, behind, pixels.tag);
    r = walk_dataset(&walk, &pixels);
    if (r > 0)
        return note_pixels(&walk, &pixels, &behind);
    if (r == 0)
        scan->tail.len = (size_t)(walk.at - behind);
    return r;
}

/* A UID of the meta group, without its padding. */
static void copy_uid(char ret_uid[65], const unsigned char *value, uint32_t length)
{
    size_t n = length > 64 ? 64 : length;

    while (n && (value[n - 1] == '\0' || value[n - 1] == ' '))
        n--;
    memcpy(ret_uid, value, n);
    ret_uid[n] = '\0';
}

/* Group 0002 from `at` on, Explicit VR Little Endian; dataset_at is where it ends. */
static int read_meta(struct kept *kept, uint64_t at, struct scan *scan, char ret_syntax[65],
                     struct dicom_refusal *refusal)
{
    const struct level top = {.limit = kept->source->size, .explicit_vr = true};
    struct walk walk = {.kept = kept, .scan = scan, .refusal = refusal, .at = at};
    uint32_t last = 0;

    while (kept->source->size - walk.at >= 8) {
        struct element element;
        uint64_t value;

        if (keep_to(kept, walk.at + 8, refusal))
            return -1;
        if (tag_at(bytes_at(kept, walk.at), false) >> 16 != 0x0002)
            break;
        if (read_header(&walk, &top, &element))
            return -1;
        value = walk.at + element.header;
        /* Of a transfer syntax that stands twice this reader and DCMTK might take another one. */
        if (element.tag <= last)
            return corrupt(refusal, walk.at, "its meta group is not in the order of its tags");
        last = element.tag;
        if (element.length == UNDEFINED)
            return corrupt(refusal, walk.at, "an element of the meta group has no length");
        if (check_fits(&walk, &top, value, element.length) ||
            keep_to(kept, value + element.length, refusal))
            return -1;
        if (element.tag == 0x00020002)
            copy_uid(scan->media_sop_class, bytes_at(kept, value), element.length);
        if (element.tag == 0x00020010)
            copy_uid(ret_syntax, bytes_at(kept, value), element.length);
        walk.at = value + element.length;
    }
    scan->dataset_at = walk.at;
    /* No element and no data set is as short as what is left. */
    return kept->source->size - walk.at < 8 ? truncated(refusal, walk.at) : 0;
}

/*
 * The syntax of a data set that no meta group tells about, or NULL: Implicit or Explicit VR Little
 * Endian, if its first element is one of group 0008 as both would write it.
 */
static const struct scan_syntax *guess(struct kept *kept, uint64_t at,
                                       struct dicom_refusal *refusal)
{
    const unsigned char *p;
    uint32_t tag, length;

    if (kept->source->size - at < 8 || keep_to(kept, at + 8, refusal))
        return NULL;
    p = bytes_at(kept, at);
    tag = tag_at(p, false);
    if (tag >> 16 != 0x0008 || (tag & 0xffff) > 0x0100)
        return NULL;
    if (vr_width(p + 4))
        return scan_find_syntax("1.2.840.10008.1.2.1");
    length = u32(p + 4, false);
    if (length > 0xffff || length > kept->source->size - at - 8)
        return NULL;
    return scan_find_syntax("1.2.840.10008.1.2");
}

static int not_dicom(struct dicom_refusal *refusal)
{
    return refuse(refusal, DICOM_QUARANTINED, "dicom.not_dicom", "it is no DICOM file");
}

/* Preamble, meta group and what they say; *ret_guessed if they do not say the syntax. */
static int begin(struct kept *kept, struct scan *scan, bool *ret_guessed,
                 struct dicom_refusal *refusal)
{
    char uid[65] = "";
    uint64_t at = 0, size = kept->source->size;

    if (keep_to(kept, size < PREAMBLE ? size : PREAMBLE, refusal))
        return -1;
    if (size >= PREAMBLE && memcmp(kept->buf->data + 128, "DICM", 4) == 0) {
        scan->preamble = true;
        at = PREAMBLE;
    }
    scan->dataset_at = at;
    if (size - at >= 8 && keep_to(kept, at + 8, refusal))
        return -1;
    if (size - at >= 8 && tag_at(bytes_at(kept, at), false) >> 16 == 0x0002 &&
        (scan->preamble || vr_width(bytes_at(kept, at) + 4))) {
        if (read_meta(kept, at, scan, uid, refusal))
            return -1;
        if (strcmp(scan->media_sop_class, DICOMDIR_CLASS) == 0)
            return refuse(refusal, DICOM_IGNORED, "dicom.dicomdir",
                          "it is a DICOMDIR, an index of other files");
        if (!uid[0])
            return refuse(refusal, DICOM_QUARANTINED, "dicom.transfer_syntax",
                          "its meta group names no transfer syntax");
        scan->syntax = scan_find_syntax(uid);
        if (!scan->syntax)
            return refuse(refusal, DICOM_QUARANTINED, "dicom.transfer_syntax",
                          "its transfer syntax is none that sendit knows");
        return 0;
    }
    *ret_guessed = true;
    scan->syntax = guess(kept, at, refusal);
    return scan->syntax || refusal->what ? (scan->syntax ? 0 : -1) : not_dicom(refusal);
}

int scan_run(const struct scan_source *source, uint64_t max_head, struct scan *scan,
             struct dicom_refusal *refusal)
{
    struct kept kept = {.source = source, .buf = &scan->head, .max = max_head};
    bool guessed = false;

    *scan = (struct scan){0};
    *refusal = (struct dicom_refusal){0};
    if (source->size == 0)
        return refuse(refusal, DICOM_IGNORED, "import.empty", "it is empty");
    if (begin(&kept, scan, &guessed, refusal))
        return -1;
    if (scan->syntax->deflated) {
        scan->head.len = 0;
        return 0;
    }
    if (scan_from(&kept, scan->dataset_at, scan, refusal))
        return -1;
    /* Bytes that parse by chance do not say what they are. */
    return guessed && !scan->has_sop_class ? not_dicom(refusal) : 0;
}

int scan_dataset(const struct scan_source *source, const struct scan_syntax *syntax,
                 uint64_t max_head, struct scan *scan, struct dicom_refusal *refusal)
{
    struct kept kept = {.source = source, .buf = &scan->head, .max = max_head};

    *scan = (struct scan){.syntax = syntax};
    *refusal = (struct dicom_refusal){0};
    return scan_from(&kept, 0, scan, refusal);
}

void scan_fini(struct scan *scan)
{
    buf_fini(&scan->head);
    buf_fini(&scan->tail);
}
