/* SPDX-License-Identifier: Apache-2.0 */
/*
 * De-identification: the input is a script that builds a data set, of attributes and VRs in any
 * combination and nesting, with the patient's name, number and date planted in them.  Whatever it
 * is, none of these may be in what would be written, nor anything private.
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
#include "deid/identity.h"
#include "dicom/dicom.h"

#define MAX_TAGS 8192
#define MAX_DEPTH 6
#define NAME "ZZYZXMARY"
#define NUMBER "98765432"
#define DATE "20040119"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dicom *dicom;
static struct deid_plan *plans[2];
static struct identity_key key = {.len = IDENTITY_KEY_MIN};
static uint32_t tags[MAX_TAGS];
static size_t n_tags;
static char folder[64] = "/dev/shm/fuzz_deid.XXXXXX", path[96];

/* What the dictionary knows, and of some groups what it does not: unknown attributes, private ones,
 * curves, overlays. */
static void collect_tags(void)
{
    static const uint16_t groups[][2] = {{0x0008, 0x00a0}, {0x0100, 0x0100}, {0x2000, 0x2030},
                                         {0x2100, 0x2120}, {0x2200, 0x2200}, {0x3002, 0x3010},
                                         {0x4000, 0x4010}, {0x4ffe, 0x5002}, {0x5200, 0x5200},
                                         {0x5400, 0x5400}, {0x5600, 0x5600}, {0x6000, 0x6002}};

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        for (uint32_t group = groups[i][0]; group <= groups[i][1]; group++)
            for (uint32_t element = 0x0001; element < 0xffff && n_tags < MAX_TAGS; element++) {
                uint32_t tag = group << 16 | element;

                if (dicom_vr(tag) || element == 0x0010 || element == 0x1010)
                    tags[n_tags++] = tag;
            }
}

static void set_up(void)
{
    static const char *const all[] = {"basic", "retain-patient-characteristics",
                                      "retain-modified-dates", NULL};
    static const char *const basic[] = {"basic", NULL};
    const struct dicom_limits limits = {.max_inflate = 1u << 20};
    struct err err = {0};

    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof(path), "%s/file", folder);
    dicom = dicom_new(&limits, folder, &err);
    if (!dicom || deid_compile(all, NULL, SENDIT_SOURCE_DIR "/filters", &plans[0], &err) ||
        deid_compile(basic, NULL, SENDIT_SOURCE_DIR "/filters", &plans[1], &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    collect_tags();
}

static sendit_result map_uid(void *ctx, const char *original, const char **ret_uid)
{
    static char uid[IDENTITY_UID];

    (void)ctx;
    if (identity_uid(&key, original, uid))
        return SENDIT_EINVAL;
    *ret_uid = uid;
    return SENDIT_OK;
}

static sendit_result make_uuid(void *ctx, const char *original, uint8_t ret_uuid[16])
{
    (void)ctx;
    return identity_uuid(&key, original, ret_uuid) ? SENDIT_EINVAL : SENDIT_OK;
}

static const struct deid_keyed keyed = {.uid = map_uid, .uuid = make_uuid};

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

static void add_value(struct maker *m, struct script *s, uint32_t tag, const char *vr)
{
    static const char *const values[] = {
        NAME,
        NAME "^JANE",
        "by " NAME,
        "zzyzxmary",
        NUMBER,
        DATE,
        DATE "072730",
        "1\\" NUMBER,
        NAME "\\A\\",
        "A\\B\\" NAME,
        "1.2.3.4",
        "",
        "045Y",
        DATE "-" DATE,
        "\x1b$B" NAME,
        NAME "=" NAME,
        "  " NAME,
        "12.5",
        NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME
            NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME NAME};

    make_text(m, tag, vr, values[next(s) % (sizeof(values) / sizeof(values[0]))]);
}

/* Elements of one item, by ascending tags. */
static void add_item(struct maker *m, struct script *s, int depth)
{
    static const char *const vrs[] = {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS",
                                      "LO", "LT", "OB", "OD", "OF", "OW", "PN", "SH", "SL", "SS",
                                      "ST", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT"};
    size_t at = 0;

    while (s->size && (at += 1 + next(s) * (next(s) & 1 ? 1u : 16u)) < n_tags) {
        unsigned how = next(s);
        uint32_t tag = tags[at];
        const char *vr = dicom_vr(tag);

        if (!depth && tag <= 0x00100020) /* behind what every object here has */
            continue;
        if (!vr || how & 0x40)
            vr = vrs[next(s) % (sizeof(vrs) / sizeof(vrs[0]))];
        if (!strcmp(vr, "SQ") || (how & 0x30) == 0x30) {
            if (depth == MAX_DEPTH)
                continue;
            make_header(m, tag, "SQ", UNDEFINED_LENGTH);
            for (unsigned n = 1 + (how & 1); n; n--) {
                make_header(m, ITEM_TAG, "", UNDEFINED_LENGTH);
                add_item(m, s, depth + 1);
                make_header(m, ITEM_END_TAG, "", 0);
            }
            make_header(m, SEQUENCE_END_TAG, "", 0);
        } else {
            add_value(m, s, tag, vr);
        }
        if (how & 0x08)
            break;
    }
}

static void forbid(const char *out, size_t length, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= length; i++)
        if (!strncasecmp(out + i, text, n)) {
            fprintf(stderr, "\"%s\" is at %zu\n", text, i);
            abort();
        }
}

static int32_t forbid_private(void *ctx, struct sendit_dataset *parent,
                              const struct sendit_element *element)
{
    (void)ctx, (void)parent;
    if (element->tag >> 16 & 1 || !dicom_vr(element->tag))
        abort();
    return SENDIT_KEEP;
}

static void check(struct sendit_dataset *ds)
{
    const struct sendit_file *file;

    if (dicom_walk(ds, forbid_private, NULL) || dicom_view(ds, &file))
        abort();
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (!part->data)
            continue;
        forbid(part->data, part->length, NAME);
        forbid(part->data, part->length, NUMBER);
        forbid(part->data, part->length, DATE);
    }
}

static void run(const struct deid_plan *plan)
{
    static const struct sendit_var vars[] = {{"entity_id", "0123456789abcdef"}, {"jitter", "-17"}};
    struct sendit_report report = {0};
    struct dicom_refusal refusal = {0};
    struct sendit_why why = {0};
    struct dicom_object *object;
    struct stat st;
    sendit_result result;

    if (dicom_open(dicom, path, &object, &st, &refusal))
        return; /* what DCMTK cannot parse is quarantined */
    dicom_begin(object, true);
    result = deid_apply(plan, dicom_dataset(object), vars, 2, &keyed, &report, &why);
    if (!result)
        check(dicom_dataset(object));
    else if (!why.code[0] || !why.text[0])
        abort(); /* refused without a word */
    if (dicom_end(object, !result))
        abort();
    dicom_close(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {data, size};
    struct maker m = {0};
    unsigned which;
    int fd;

    if (!dicom)
        set_up();
    which = next(&script) & 1;
    make_meta(&m, EXPLICIT);
    make_text(&m, 0x00080016, "UI", CT_CLASS);
    make_text(&m, 0x00080018, "UI", "1.2.3.4");
    make_text(&m, 0x00080020, "DA", DATE);
    make_text(&m, 0x00100010, "PN", NAME "^Jane");
    make_text(&m, 0x00100020, "LO", NUMBER);
    add_item(&m, &script, 0);
    if (m.buf.failed)
        abort();
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || file_write_all(fd, m.buf.data, m.buf.len) || close(fd))
        abort();
    run(plans[which]);
    buf_fini(&m.buf);
    return 0;
}
