/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters on odd data sets: the input is a file, or a script that builds one of the attributes that
 * filters ask, with values, VRs, character sets and nesting in any combination.  Whatever it is,
 * the answer is the same twice, boxes lie in the image, what stops has a reason, and nothing passes
 * deid.dicom that its plainest rules name.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../unit/make_dicom.h"
#include "base/file.h"
#include "deid/deid.h"
#include "dicom/dicom.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_DEPTH 4
#define IMAGE_TYPE 0x00080008u
#define ROWS 0x00280010u
#define COLUMNS 0x00280011u
#define BURNED_IN 0x00280301u

#define F "FORMAT dicom\n"
#define G F "%filter greylist\nLABEL one\n"

/* A test and its contrary: at least one of the two holds, or the image is stopped. */
static const char *const pairs[][2] = {
    {G "contains ImageType second\n", G "notcontains ImageType second\n"},
    {G "equals Rows 512\n", G "notequals Rows 512\n"},
    {G "missing Manufacturer\n", G "present Manufacturer\n"},
    {G "contains PatientComments ^(a+)+$\n", G "notcontains PatientComments ^(a+)+$\n"},
    {G "contains CTDIPhantomTypeCodeSequence__CodeMeaning head\n",
     G "notcontains CTDIPhantomTypeCodeSequence__CodeMeaning head\n"},
    {G "contains (0033,\"MINE\",1E) a\n", G "notcontains (0033,\"MINE\",1E) a\n"},
    {G "present OverlayRows\n", G "missing OverlayRows\n"},
};

/* Boxes of every kind, and what is cut out of them. */
static const char boxes[] = F
    "%filter whitelist\nLABEL w\nequals Modality CT + contains Manufacturer acme\n"
    "%filter blacklist\nLABEL b\nequals Modality US\ncoordinates from:SequenceOfUltrasoundRegions\n"
    "%filter greylist\nLABEL all\nmatches Modality CT|MR || empty Modality\ncoordinates all\n"
    "keepcoordinates from:SequenceOfUltrasoundRegions\nLABEL some\npresent Rows\n"
    "coordinates 0,0,100,100\nctpcoordinates 50,50,1000,10\nctpkeepcoordinates 10,10,30,70\n"
    "coordinates 400,0,600,1000000\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dicom *dicom;
static struct deid_plan *shipped, *boxed, *tests[COUNT(pairs)][2];
static char folder[64] = "/dev/shm/fuzz_filter.XXXXXX", path[96];

static void write_file(const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || file_write_all(fd, data, size) || close(fd))
        abort();
}

static struct deid_plan *compile(const char *recipe, const char *text)
{
    const char *const recipes[] = {recipe, NULL};
    struct deid_plan *plan;
    struct err err = {0};

    if (text)
        write_file(text, strlen(text));
    if (deid_compile(NULL, recipes, SENDIT_SOURCE_DIR "/filters", &plan, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return plan;
}

static void set_up(void)
{
    const struct dicom_limits limits = {.max_inflate = 1u << 20};
    struct err err = {0};

    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof(path), "%s/file", folder);
    dicom = dicom_new(&limits, folder, &err);
    if (!dicom)
        abort();
    shipped = compile("dicom", NULL);
    boxed = compile(path, boxes);
    for (size_t i = 0; i < COUNT(pairs); i++)
        for (size_t k = 0; k < 2; k++)
            tests[i][k] = compile(path, pairs[i][k]);
}

/* ---- a data set from a script ---- */

/* A script, read byte by byte; zeros at its end. */
struct script {
    const uint8_t *data;
    size_t size;
};

static unsigned next(struct script *s)
{
    if (!s->size)
        return 0;
    s->size--;
    return *s->data++;
}

static void add_text(struct maker *m, struct script *s, uint32_t tag, const char *vr)
{
    static const char *const values[] = {"ORIGINAL\\PRIMARY",
                                         "DERIVED\\SECONDARY",
                                         "secondary ",
                                         "YES",
                                         "no",
                                         "CT",
                                         "US",
                                         "OT",
                                         "CT\\MR",
                                         "",
                                         "  ",
                                         "\\",
                                         "ACME",
                                         "Philips",
                                         "dose report",
                                         "512",
                                         "512.0",
                                         "-1",
                                         "4294967295",
                                         "99999999999999999999999",
                                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
                                         "M\xfcller",
                                         "\x1b$B;3ED\x1b(B",
                                         "ISO_IR 192",
                                         "ISO_IR 100",
                                         "ISO 2022 IR 87",
                                         "nonsense",
                                         "MINE"};
    unsigned which = next(s) % (COUNT(values) + 1);
    char own[16] = "";

    if (which < COUNT(values)) {
        make_text(m, tag, vr, values[which]);
        return;
    }
    for (unsigned n = next(s) % sizeof(own), i = 0; i < n; i++)
        own[i] = (char)next(s);
    make_element(m, tag, vr, own, 2 * (next(s) % (sizeof(own) / 2)));
}

static void add_item(struct maker *m, struct script *s, const uint32_t *tags, size_t n, int depth);

static void add_element(struct maker *m, struct script *s, uint32_t tag, int depth)
{
    static const uint32_t inner[] = {0x00080104, 0x00104000, 0x00186018, 0x0018601a,
                                     0x0018601c, 0x0018601e, 0x00189346, 0x00280010};
    static const char *const vrs[] = {"CS", "LO", "SQ", "UN", "OB", "US", "UL", "DS", "PN", "UT"};
    unsigned how = next(s);
    const char *vr = dicom_vr(tag);

    if (!vr || how % 8 == 7)
        vr = vrs[next(s) % COUNT(vrs)];
    if (!strcmp(vr, "SQ")) {
        make_header(m, tag, "SQ", UNDEFINED_LENGTH);
        for (unsigned k = how >> 4 & 3; depth < MAX_DEPTH && k; k--) {
            make_header(m, ITEM_TAG, "", UNDEFINED_LENGTH);
            add_item(m, s, inner, COUNT(inner), depth + 1);
            make_header(m, ITEM_END_TAG, "", 0);
        }
        make_header(m, SEQUENCE_END_TAG, "", 0);
    } else if (!strcmp(vr, "US")) {
        make_us(m, tag, how & 8 ? 512 : next(s) << (how >> 4 & 7));
    } else if (!strcmp(vr, "UL")) {
        make_header(m, tag, "UL", 4);
        make_u32(m, (uint32_t)next(s) << (how >> 3));
    } else {
        add_text(m, s, tag, vr);
    }
}

static void add_item(struct maker *m, struct script *s, const uint32_t *tags, size_t n, int depth)
{
    for (size_t i = next(s) % 4; i < n && s->size; i += 1 + next(s) % 4)
        add_element(m, s, tags[i], depth);
}

static void build(struct script *s)
{
    static const uint32_t first[] = {0x00080005, IMAGE_TYPE};
    static const uint32_t rest[] = {0x00080060, 0x00080070, 0x0008103e, 0x00081090, 0x00104000,
                                    0x00181012, 0x00181016, 0x00181018, 0x00181019, 0x00186011,
                                    0x00189346, ROWS,       COLUMNS,    BURNED_IN,  0x00330010,
                                    0x0033101e, 0x60000010, 0x60020010, 0x7fe00010};
    struct maker m = {0};

    make_meta(&m, EXPLICIT);
    for (size_t i = 0; i < COUNT(first); i++)
        if (next(s) & 1)
            add_element(&m, s, first[i], 0);
    make_text(&m, 0x00080016, "UI", CT_CLASS);
    make_text(&m, 0x00080018, "UI", "1.2.3.4");
    add_item(&m, s, rest, COUNT(rest), 0);
    if (m.buf.failed)
        abort();
    write_file(m.buf.data, m.buf.len);
    buf_fini(&m.buf);
}

/* ---- what must hold ---- */

static bool is_listed(const struct deid_plan *plan, const struct sendit_match *match)
{
    const struct sendit_match *label;

    for (size_t i = 0; (label = deid_label(plan, i)); i++)
        if (!strcmp(label->label, match->label) && !strcmp(label->group, match->group) &&
            !label->flagged == !match->flagged)
            return true;
    return false;
}

static uint64_t count_of(struct sendit_dataset *ds, uint32_t tag)
{
    const char *text;

    return dicom_get(ds, tag, &text) ? 0 : strtoull(text, NULL, 10);
}

static void check_boxes(const struct sendit_match *match, struct sendit_dataset *ds)
{
    uint64_t rows = count_of(ds, ROWS), columns = count_of(ds, COLUMNS);

    if (!match->flagged && match->n_boxes)
        abort();
    for (uint32_t i = 0; i < match->n_boxes; i++) {
        const struct sendit_box *box = &match->boxes[i];

        if (!box->width || !box->height || (uint64_t)box->x + box->width > columns ||
            (uint64_t)box->y + box->height > rows)
            abort();
    }
}

/* The answer, which is the same a second time. */
static sendit_result ask(const struct deid_plan *plan, struct sendit_dataset *ds)
{
    const struct sendit_match *match = NULL;
    struct sendit_why why = {0}, again = {0};
    sendit_result result = deid_filter(plan, ds, &match, &why);
    const char *label = result ? NULL : match->label;
    uint32_t n = result ? 0 : match->n_boxes;

    if (!result && !is_listed(plan, match))
        abort();
    if (!result)
        check_boxes(match, ds);
    if (result && result != SENDIT_EABSENT && (!why.code[0] || !why.text[0]))
        abort(); /* stopped without a word */
    if (deid_filter(plan, ds, &match, &again) != result || strcmp(why.code, again.code) != 0 ||
        (!result && (match->label != label || match->n_boxes != n)))
        abort();
    return result;
}

/* Rules that need no table to be understood. */
static void check_passed(struct sendit_dataset *ds)
{
    const char *text;

    if (!dicom_get(ds, BURNED_IN, &text) && strcasestr(text, "yes"))
        abort();
    if (dicom_get(ds, IMAGE_TYPE, &text)) {
        if (dicom_get(ds, ROWS, &text) != SENDIT_EABSENT)
            abort();
    } else if (!text[strspn(text, " ")] || strcasestr(text, "secondary")) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {data, size};
    struct dicom_refusal refusal = {0};
    struct dicom_object *object;
    struct sendit_dataset *ds;
    struct stat st;

    if (!dicom)
        set_up();
    if (size > 132 && !memcmp(data + 128, "DICM", 4))
        write_file(data, size);
    else
        build(&script);
    if (dicom_open(dicom, path, &object, &st, &refusal))
        return 0; /* what cannot be parsed is quarantined */
    ds = dicom_dataset(object);
    if (ask(shipped, ds) == SENDIT_EABSENT)
        check_passed(ds);
    ask(boxed, ds);
    for (size_t i = 0; i < COUNT(pairs); i++)
        if (ask(tests[i][0], ds) == SENDIT_EABSENT && ask(tests[i][1], ds) == SENDIT_EABSENT)
            abort();
    dicom_close(object);
    return 0;
}
