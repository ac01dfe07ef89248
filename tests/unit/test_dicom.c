/* SPDX-License-Identifier: Apache-2.0 */
/* The DICOM face: opening, looking, editing, taking back, and the file that comes out. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "dicom/dicom.h"
#include "make_dicom.h"

#define NAME 0x00100010u
#define PATIENT_ID 0x00100020u
#define ROWS 0x00280010u
#define REFERENCES 0x00081140u
#define REFERENCED_UID 0x00081155u
#define PIXELS 0x7fe00010u
#define MAX_INFLATE (1u << 20)

static struct dicom *dicom;
static char folder[] = "/tmp/test_dicom.XXXXXX", path[64];

static int set_up(void **state)
{
    const struct dicom_limits limits = {.max_inflate = MAX_INFLATE};
    struct err err = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    dicom = dicom_new(&limits, folder, &err);
    assert_non_null(dicom);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    dicom_free(dicom);
    unlink(path);
    return rmdir(folder); /* no scratch file stays */
}

static void write_file(const void *data, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, data, length), 0);
    close(fd);
}

static struct dicom_refusal refusal;

static struct dicom_object *open_path(void)
{
    struct dicom_object *object = NULL;
    struct stat st;

    if (dicom_open(dicom, path, &object, &st, &refusal)) {
        assert_true(refusal.code[0] && refusal.text[0]);
        return NULL;
    }
    assert_true(S_ISREG(st.st_mode));
    return object;
}

static struct dicom_object *open_bytes(const void *data, size_t length)
{
    write_file(data, length);
    return open_path();
}

/* Writes the file, forgets the maker. */
static struct dicom_object *open_made(struct maker *m)
{
    struct dicom_object *object = open_bytes(m->buf.data, m->buf.len);

    buf_fini(&m->buf);
    return object;
}

static struct dicom_object *must_open(struct maker *m)
{
    struct dicom_object *object = open_made(m);

    if (!object)
        fail_msg("%s: %s", refusal.code, refusal.text);
    return object;
}

static void must_refuse(struct maker *m, int what, const char *code)
{
    assert_null(open_made(m));
    assert_string_equal(refusal.code, code);
    assert_int_equal(refusal.what, what);
}

/* An object with a bit of all. */
static void make_object(struct maker *m, const char *syntax)
{
    make_meta(m, syntax);
    if (m->buf.len && !strcmp(syntax, BIG_ENDIAN_UID))
        m->big = true;
    make_element(m, 0x00080005, "CS", "ISO_IR 100", 10);
    make_identity(m);
    make_header(m, REFERENCES, "SQ", UNDEFINED_LENGTH);
    for (int i = 0; i < 2; i++) {
        make_header(m, ITEM_TAG, "", UNDEFINED_LENGTH);
        make_text(m, 0x00081150, "UI", CT_CLASS);
        make_text(m, REFERENCED_UID, "UI", i ? "1.2.2" : "1.2.1");
        make_header(m, ITEM_END_TAG, "", 0);
    }
    make_header(m, SEQUENCE_END_TAG, "", 0);
    make_text(m, 0x00090010, "LO", "SENDIT TEST");
    make_text(m, 0x00091001, "LO", "private");
    make_text(m, NAME, "PN", "M\xfcller^Eva");
    make_text(m, PATIENT_ID, "LO", "12345");
    make_us(m, ROWS, 512);
    make_text(m, 0x00280030, "DS", "0.5 \\0.75");
    if (!strcmp(syntax, JPEG_BASELINE)) {
        make_header(m, PIXELS, "OB", UNDEFINED_LENGTH);
        make_header(m, ITEM_TAG, "", 0);
        make_header(m, ITEM_TAG, "", 6);
        buf_add(&m->buf, "PIXELS", 6);
        make_header(m, SEQUENCE_END_TAG, "", 0);
    } else {
        make_element(m, PIXELS, "OW", "PIXELS", 6);
    }
    make_text(m, 0x7fe10010, "LO", "SENDIT TEST");
}

static void make_deflated_object(struct maker *m)
{
    struct maker plain = {0};
    size_t from;

    make_object(&plain, EXPLICIT);
    make_meta(m, EXPLICIT);
    from = m->buf.len;
    buf_fini(&m->buf);
    make_meta(m, DEFLATED);
    make_deflated(m, plain.buf.data + from, plain.buf.len - from);
    buf_fini(&plain.buf);
}

static void read_view(const struct sendit_file *file, struct buf *out)
{
    assert_true(file->n_parts <= SENDIT_FILE_PARTS);
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (part->data) {
            buf_add(out, part->data, part->length);
            continue;
        }
        assert_true(buf_reserve(out, part->length));
        assert_int_equal(pread(part->fd, out->data + out->len, part->length, (off_t)part->offset),
                         part->length);
        out->len += part->length;
    }
    assert_int_equal(out->len, file->total);
}

static struct buf view_of(struct dicom_object *object)
{
    const struct sendit_file *file;
    struct buf out = {0};

    assert_int_equal(dicom_view(dicom_dataset(object), &file), SENDIT_OK);
    read_view(file, &out);
    return out;
}

static void assert_text(struct sendit_dataset *ds, uint32_t tag, const char *expected)
{
    const char *text = NULL;

    assert_int_equal(dicom_get(ds, tag, &text), SENDIT_OK);
    assert_string_equal(text, expected);
}

static void assert_get(struct sendit_dataset *ds, uint32_t tag, sendit_result expected)
{
    const char *text = NULL;

    assert_int_equal(dicom_get(ds, tag, &text), expected);
    assert_null(text);
}

static const char *const syntaxes[] = {EXPLICIT, IMPLICIT, BIG_ENDIAN_UID, JPEG_BASELINE};
#define N_SYNTAXES (sizeof(syntaxes) / sizeof(syntaxes[0]))

/* ---- open ---- */

static void only_regular_files_are_opened(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock;

    (void)state;
    unlink(path);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.vanished");
    assert_int_equal(refusal.what, DICOM_FAILED);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.not_regular");
    assert_int_equal(refusal.what, DICOM_IGNORED);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.not_regular");
    rmdir(path);
    assert_int_equal(symlink("/etc/hostname", path), 0);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.not_regular");
    unlink(path);
    assert_int_equal(symlink(path, path), 0);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.not_regular");
    unlink(path);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.not_regular");
    close(sock);
    unlink(path);
    assert_null(open_bytes("", 0));
    assert_string_equal(refusal.code, "import.empty");
    assert_int_equal(refusal.what, DICOM_IGNORED);
    if (geteuid() == 0) {
        print_message("skipped for root: a file without the right to read it\n");
        return;
    }
    assert_int_equal(chmod(path, 0), 0);
    assert_null(open_path());
    assert_string_equal(refusal.code, "import.unreadable");
    unlink(path);
}

static void every_syntax_opens(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SYNTAXES; i++) {
        struct dicom_object *object;
        struct maker m = {0};

        make_object(&m, syntaxes[i]);
        object = must_open(&m);
        assert_string_equal(dicom_transfer_syntax(object), syntaxes[i]);
        assert_text(dicom_dataset(object), NAME, "M\xc3\xbcller^Eva");
        assert_text(dicom_dataset(object), ROWS, "512");
        assert_text(dicom_nested(dicom_dataset(object), REFERENCES, 1), REFERENCED_UID, "1.2.2");
        dicom_close(object);
    }
}

static void a_file_cut_anywhere_is_never_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i <= N_SYNTAXES; i++) {
        struct maker m = {0};
        size_t n_whole = 0;

        if (i < N_SYNTAXES)
            make_object(&m, syntaxes[i]);
        else
            make_deflated_object(&m);
        for (size_t cut = 1; cut < m.buf.len; cut++) {
            struct dicom_object *object = open_bytes(m.buf.data, cut);

            if (object) {
                struct buf view = view_of(object);

                n_whole++;
                buf_fini(&view);
            }
            dicom_close(object);
        }
        /* the borders of elements at the top, as test_scan has them one by one */
        assert_int_equal(n_whole, i < N_SYNTAXES ? 13 - 1 : 0);
        buf_fini(&m.buf);
    }
}

static void what_dcmtk_would_overflow_on_is_refused_before(void **state)
{
    static const size_t depths[] = {65, 1000, 10000};

    (void)state;
    for (size_t i = 0; i < N_SYNTAXES; i++)
        for (size_t j = 0; j < 3; j++) {
            struct maker m = {0};

            make_meta(&m, syntaxes[i]);
            make_identity(&m);
            make_nest(&m, j & 1 ? 0x00091001 : REFERENCES, "SQ", depths[j], j == 2);
            must_refuse(&m, DICOM_QUARANTINED, "dicom.too_deep");
        }
}

static void deflated_data_is_bounded(void **state)
{
    struct dicom_object *object;
    struct maker m = {0}, bomb = {0};
    char *zeros = calloc(1, MAX_INFLATE);
    const size_t just_fits = MAX_INFLATE - 200;

    (void)state;
    assert_non_null(zeros);
    make_deflated_object(&m);
    object = must_open(&m);
    assert_text(dicom_dataset(object), NAME, "M\xc3\xbcller^Eva");
    assert_string_equal(dicom_transfer_syntax(object), DEFLATED);
    dicom_close(object);
    for (int large = 0; large < 2; large++) {
        make_identity(&bomb);
        make_element(&bomb, 0x00091001, "OB", zeros, large ? MAX_INFLATE : just_fits);
        make_meta(&m, DEFLATED);
        make_deflated(&m, bomb.buf.data, bomb.buf.len);
        assert_true(m.buf.len < 8192);
        if (large)
            must_refuse(&m, DICOM_QUARANTINED, "dicom.inflate");
        else
            dicom_close(must_open(&m));
        buf_fini(&bomb.buf);
    }
    free(zeros);
    make_nest(&bomb, REFERENCES, "SQ", 10000, false);
    make_meta(&m, DEFLATED);
    make_deflated(&m, bomb.buf.data, bomb.buf.len);
    must_refuse(&m, DICOM_QUARANTINED, "dicom.too_deep");
    buf_fini(&bomb.buf);
    make_meta(&m, DEFLATED);
    buf_str(&m.buf, "this was never deflated, it is only said to be");
    must_refuse(&m, DICOM_QUARANTINED, "dicom.inflate");
    make_meta(&m, DEFLATED); /* the meta group alone */
    must_refuse(&m, DICOM_QUARANTINED, "dicom.truncated");
    make_meta(&m, DEFLATED); /* and an empty data set */
    make_deflated(&m, "", 0);
    must_refuse(&m, DICOM_QUARANTINED, "dicom.truncated");
}

static void what_follows_deflated_data(void **state)
{
    static const char zeros[4097];
    static const struct {
        const char *bytes;
        size_t length;
        bool taken;
    } tails[] = {{zeros, 1, true},
                 {zeros, 4096, true},
                 {zeros, 4097, false},
                 {"garbage", 7, false},
                 {"\0M\xfcller^Eva", 11, false}};

    (void)state;
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        struct maker m = {0};

        make_deflated_object(&m);
        buf_add(&m.buf, tails[i].bytes, tails[i].length);
        if (tails[i].taken)
            dicom_close(must_open(&m));
        else
            must_refuse(&m, DICOM_QUARANTINED, "dicom.corrupt");
    }
}

/* Some writers deflate with gzip and leave its last eight bytes in the file. */
static void the_end_of_gzip_may_follow_deflated_data(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 10; wrong++) {
        struct maker m = {0}, plain = {0};
        size_t from;

        make_object(&plain, EXPLICIT);
        make_meta(&m, EXPLICIT);
        from = m.buf.len;
        buf_fini(&m.buf);
        make_deflated_object(&m);
        make_u32(&m, (uint32_t)crc32(0, (const Bytef *)plain.buf.data + from,
                                     (uInt)(plain.buf.len - from)));
        make_u32(&m, (uint32_t)(plain.buf.len - from));
        buf_fini(&plain.buf);
        if (wrong < 8)
            m.buf.data[m.buf.len - 8 + (size_t)wrong] ^= 1;
        else if (wrong == 8)
            buf_add(&m.buf, "\0\0\0", 4);
        if (wrong < 8)
            must_refuse(&m, DICOM_QUARANTINED, "dicom.corrupt");
        else
            dicom_close(must_open(&m));
    }
}

/* ---- look ---- */

struct seen {
    char lines[64][96];
    size_t n;
};

static int32_t note(void *ctx, struct sendit_dataset *parent, const struct sendit_element *element)
{
    struct seen *seen = ctx;

    (void)parent;
    assert_true(seen->n < 64);
    snprintf(seen->lines[seen->n++], 96, "%u %08x %s %s %llu%s", element->depth, element->tag,
             element->vr, element->creator ? element->creator : "-",
             (unsigned long long)element->length, element->value ? "" : " no value");
    return SENDIT_KEEP;
}

static void a_walk_shows_all_in_order(void **state)
{
    static const char *const expected[] = {
        "0 00080005 CS - 10",         "0 00080016 UI - 26",          "0 00080018 UI - 8",
        "0 00080060 CS - 2",          "0 00081140 SQ - 0 no value",  "1 00081150 UI - 26",
        "1 00081155 UI - 6",          "1 00081150 UI - 26",          "1 00081155 UI - 6",
        "0 00090010 LO - 12",         "0 00091001 LO SENDIT TEST 8", "0 00100010 PN - 10",
        "0 00100020 LO - 6",          "0 00280010 US - 2",           "0 00280030 DS - 10",
        "0 7fe00010 OW - 6 no value", "0 7fe10010 LO - 12"};

    (void)state;
    for (int big = 0; big < 2; big++) {
        struct dicom_object *object;
        struct seen seen = {.n = 0};
        struct maker m = {0};

        make_object(&m, big ? BIG_ENDIAN_UID : EXPLICIT);
        object = must_open(&m);
        assert_int_equal(dicom_walk(dicom_dataset(object), note, &seen), SENDIT_OK);
        assert_int_equal(seen.n, sizeof(expected) / sizeof(expected[0]));
        for (size_t i = 0; i < seen.n; i++)
            assert_string_equal(seen.lines[i], expected[i]);
        dicom_close(object);
    }
}

static int32_t deepest(void *ctx, struct sendit_dataset *parent,
                       const struct sendit_element *element)
{
    uint32_t *max = ctx;

    (void)parent;
    if (element->depth > *max)
        *max = element->depth;
    return element->depth < 100 ? SENDIT_KEEP : SENDIT_STOP;
}

static void the_deepest_that_is_allowed_is_walked(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    uint32_t max = 0;
    struct buf view;

    (void)state;
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    make_nest(&m, REFERENCES, "SQ", DICOM_MAX_DEPTH, true);
    object = must_open(&m);
    assert_int_equal(dicom_walk(dicom_dataset(object), deepest, &max), SENDIT_OK);
    assert_int_equal(max, DICOM_MAX_DEPTH - 1);
    view = view_of(object);
    buf_fini(&view);
    dicom_close(object);
}

static int32_t stop_at_once(void *ctx, struct sendit_dataset *parent,
                            const struct sendit_element *element)
{
    (void)parent, (void)element;
    ++*(int *)ctx;
    return SENDIT_STOP;
}

static int32_t unknown_answer(void *ctx, struct sendit_dataset *parent,
                              const struct sendit_element *element)
{
    (void)parent, (void)element;
    ++*(int *)ctx;
    return 77;
}

static int32_t no_entry(void *ctx, struct sendit_dataset *parent,
                        const struct sendit_element *element)
{
    (void)parent;
    *(int *)ctx += element->depth > 0;
    return SENDIT_KEEP_WHOLE;
}

static void visitors_answer(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    int n = 0;

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    assert_int_equal(dicom_walk(dicom_dataset(object), stop_at_once, &n), SENDIT_ESTOPPED);
    assert_int_equal(n, 1);
    assert_int_equal(dicom_walk(dicom_dataset(object), unknown_answer, &n), SENDIT_ESTOPPED);
    assert_int_equal(n, 2);
    n = 0;
    assert_int_equal(dicom_walk(dicom_dataset(object), no_entry, &n), SENDIT_OK);
    assert_int_equal(n, 0);
    dicom_close(object);
}

static void values_are_read_as_text(void **state)
{
    struct dicom_object *object;
    struct sendit_dataset *ds;
    struct maker m = {0};
    const void *bytes;
    size_t length;

    (void)state;
    make_meta(&m, BIG_ENDIAN_UID);
    make_identity(&m);
    make_element(&m, 0x00080070, "LO", "", 0);
    make_text(&m, 0x00081030, "LO", "  two \\ values  ");
    make_text(&m, 0x00081080, "LO", "a\0b ");
    make_element(&m, 0x00081090, "LO", "a\0b ", 4);
    make_text(&m, NAME, "PN", "A^B==");
    make_element(&m, PATIENT_ID, "LO", "caf\xe9", 4); /* no character set says what that is */
    make_element(&m, 0x00100030, "DA",
                 "2001\xe9"
                 "23 ",
                 8);
    make_text(&m, 0x00104000, "LT", " one\\value ");
    make_header(&m, 0x00189219, "SS", 4);
    make_u16(&m, 0xffff);
    make_u16(&m, 7);
    make_header(&m, 0x00200062, "US", 3);
    buf_add(&m.buf, "\0\1\2", 3);
    make_header(&m, 0x00209161, "AT", 4);
    make_u16(&m, 0x0010);
    make_u16(&m, 0x0020);
    make_header(&m, 0x00281055, "FD", 8);
    buf_add(&m.buf, "\x3f\xe0\0\0\0\0\0\0", 8);
    make_element(&m, 0x00420011, "OB", "%PDF", 4);
    object = must_open(&m);
    ds = dicom_dataset(object);
    assert_text(ds, 0x00080070, "");
    assert_text(ds, 0x00081030, "  two\\ values");
    assert_text(ds, 0x00081080, "a");
    assert_get(ds, 0x00081090, SENDIT_ECORRUPT);
    assert_text(ds, NAME, "A^B");
    assert_get(ds, PATIENT_ID, SENDIT_ECORRUPT);
    assert_get(ds, 0x00100030, SENDIT_ECORRUPT);
    assert_text(ds, 0x00104000, " one\\value");
    assert_text(ds, 0x00189219, "-1\\7");
    assert_get(ds, 0x00200062, SENDIT_ECORRUPT);
    assert_text(ds, 0x00209161, "(0010,0020)");
    assert_text(ds, 0x00281055, "0.5");
    assert_get(ds, 0x00420011, SENDIT_EINVAL);
    assert_get(ds, 0x00100040, SENDIT_EABSENT);
    assert_text(ds, 0x00020010, BIG_ENDIAN_UID); /* the meta group can be read */
    assert_get(ds, 0x00020016, SENDIT_EABSENT);
    assert_int_equal(dicom_bytes(ds, 0x00189219, &bytes, &length), SENDIT_OK);
    assert_int_equal(length, 4);
    assert_int_equal(((const int16_t *)bytes)[0], -1); /* in host order */
    assert_int_equal(dicom_bytes(ds, 0x00420011, &bytes, &length), SENDIT_OK);
    assert_memory_equal(bytes, "%PDF", 4);
    dicom_close(object);
}

static void pixel_data_is_not_read(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    const void *bytes;
    size_t length;

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    assert_get(dicom_dataset(object), PIXELS, SENDIT_EINVAL);
    assert_int_equal(dicom_bytes(dicom_dataset(object), PIXELS, &bytes, &length), SENDIT_EINVAL);
    dicom_close(object);
}

static void keywords_are_looked_up(void **state)
{
    uint32_t tag = 0;

    (void)state;
    assert_int_equal(dicom_tag("PatientID", &tag), SENDIT_OK);
    assert_int_equal(tag, PATIENT_ID);
    assert_int_equal(dicom_tag("OtherPatientIDs", &tag), SENDIT_OK); /* retired */
    assert_int_equal(tag, 0x00101000);
    assert_int_equal(dicom_tag("PatientIdd", &tag), SENDIT_EABSENT);
    assert_string_equal(dicom_keyword(PATIENT_ID), "PatientID");
    assert_string_equal(dicom_keyword(0x00101000), "OtherPatientIDs");
    assert_null(dicom_keyword(0x00091001));
    assert_string_equal(dicom_vr(REFERENCES), "SQ");
    assert_null(dicom_vr(0x00091001));
    assert_null(dicom_vr(0x00080003));
}

static void creators_have_blocks(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    uint32_t tag = 0;

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    assert_int_equal(dicom_locate(dicom_dataset(object), 0x00090001, "SENDIT TEST", &tag),
                     SENDIT_OK);
    assert_int_equal(tag, 0x00091001);
    assert_int_equal(dicom_locate(dicom_dataset(object), 0x00090001, "OTHER", &tag),
                     SENDIT_EABSENT);
    assert_int_equal(dicom_locate(dicom_dataset(object), 0x000b0001, "SENDIT TEST", &tag),
                     SENDIT_EABSENT);
    assert_int_equal(dicom_locate(dicom_dataset(object), 0x00091001, "SENDIT TEST", &tag),
                     SENDIT_EINVAL);
    assert_int_equal(dicom_locate(dicom_dataset(object), 0x00080001, "SENDIT TEST", &tag),
                     SENDIT_EINVAL);
    dicom_close(object);
}

static void json_has_no_bulk_data(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    const char *json = NULL;

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    assert_int_equal(dicom_json(dicom_dataset(object), &json), SENDIT_OK);
    assert_non_null(strstr(json, "\"00100010\":{\"vr\":\"PN\",\"Value\":[{\"Alphabetic\":"
                                 "\"M\xc3\xbcller^Eva\"}]}"));
    assert_non_null(strstr(json, "\"00280010\":{\"vr\":\"US\",\"Value\":[512]}"));
    assert_non_null(strstr(json, "\"00280030\":{\"vr\":\"DS\",\"Value\":[0.5,0.75]}"));
    assert_non_null(strstr(json, "\"7FE00010\":{\"vr\":\"OW\"}"));
    assert_non_null(strstr(json, "\"00081155\":{\"vr\":\"UI\",\"Value\":[\"1.2.2\"]}"));
    dicom_close(object);
}

/* ---- the file that comes out ---- */

/* Element by element through an Explicit VR Little Endian file of ours. */
static void assert_fresh_meta(const struct buf *view, const char *syntax)
{
    static const char zeros[128];
    struct maker m = {0};
    struct buf expected;

    make_u32(&m, 0);
    buf_fini(&m.buf);
    make_element(&m, 0x00020001, "OB", "\0\1", 2);
    make_text(&m, 0x00020002, "UI", CT_CLASS);
    make_text(&m, 0x00020003, "UI", "1.2.3.4");
    make_text(&m, 0x00020010, "UI", syntax);
    make_text(&m, 0x00020012, "UI", DICOM_IMPLEMENTATION_UID);
    make_text(&m, 0x00020013, "SH", DICOM_IMPLEMENTATION_VERSION);
    expected = m.buf;
    m.buf = (struct buf){0};
    make_header(&m, 0x00020000, "UL", 4);
    make_u32(&m, (uint32_t)expected.len);
    assert_memory_equal(view->data, zeros, 128);
    assert_memory_equal(view->data + 128, "DICM", 4);
    assert_memory_equal(view->data + 132, m.buf.data, 12);
    assert_memory_equal(view->data + 144, expected.data, expected.len);
    buf_fini(&m.buf);
    buf_fini(&expected);
}

static void a_fresh_file_is_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SYNTAXES; i++) {
        struct dicom_object *object, *again;
        struct maker m = {0};
        struct buf view, second;

        make_object(&m, syntaxes[i]);
        memset(m.buf.data, 'X', 128); /* who knows what stands in a preamble */
        object = must_open(&m);
        view = view_of(object);
        assert_fresh_meta(&view, syntaxes[i]);
        again = open_bytes(view.data, view.len);
        assert_non_null(again);
        second = view_of(again);
        assert_int_equal(view.len, second.len);
        assert_memory_equal(view.data, second.data, view.len);
        assert_text(dicom_dataset(again), NAME, "M\xc3\xbcller^Eva");
        dicom_close(again);
        dicom_close(object);
        buf_fini(&view);
        buf_fini(&second);
    }
}

static void pixels_are_a_range_of_the_file(void **state)
{
    struct dicom_object *object;
    const struct sendit_file *file;
    struct maker m = {0};
    char bytes[6];

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    assert_int_equal(dicom_view(dicom_dataset(object), &file), SENDIT_OK);
    assert_int_equal(file->n_parts, 3);
    assert_null(file->parts[1].data);
    assert_int_equal(file->parts[1].length, 6);
    assert_int_equal(pread(file->parts[1].fd, bytes, 6, (off_t)file->parts[1].offset), 6);
    assert_memory_equal(bytes, "PIXELS", 6);
    assert_int_equal(dicom_view(dicom_nested(dicom_dataset(object), REFERENCES, 0), &file),
                     SENDIT_EINVAL);
    dicom_close(object);
}

static void group_lengths_and_padding_are_left_out(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    struct buf view;

    (void)state;
    make_meta(&m, EXPLICIT);
    make_element(&m, 0x00080000, "UL", "\x11\x22\x33\x44", 4);
    make_identity(&m);
    make_header(&m, REFERENCES, "SQ", UNDEFINED_LENGTH);
    make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
    make_element(&m, 0x00080000, "UL", "\x11\x22\x33\x44", 4);
    make_text(&m, REFERENCED_UID, "UI", "1.2.1");
    make_element(&m, 0xfffcfffc, "OB", "TRAILING", 8);
    make_header(&m, ITEM_END_TAG, "", 0);
    make_header(&m, SEQUENCE_END_TAG, "", 0);
    make_element(&m, PIXELS, "OW", "PIXELS", 6);
    make_element(&m, 0x7fe10000, "UL", "\x11\x22\x33\x44", 4);
    make_element(&m, 0xfffcfffc, "OB", "TRAILING", 8);
    object = must_open(&m);
    view = view_of(object);
    assert_null(memmem(view.data, view.len, "\x11\x22\x33\x44", 4));
    assert_null(memmem(view.data, view.len, "TRAILING", 8));
    assert_memory_equal(view.data + view.len - 6, "PIXELS", 6); /* and nothing after it */
    buf_fini(&view);
    dicom_close(object);
}

static void a_deflated_file_stays_deflated(void **state)
{
    struct dicom_object *object, *again;
    struct buf view, second;
    struct maker m = {0};

    (void)state;
    make_deflated_object(&m);
    object = must_open(&m);
    view = view_of(object);
    assert_fresh_meta(&view, DEFLATED);
    again = open_bytes(view.data, view.len);
    assert_non_null(again);
    assert_text(dicom_dataset(again), NAME, "M\xc3\xbcller^Eva");
    second = view_of(again);
    assert_int_equal(view.len, second.len);
    assert_memory_equal(view.data, second.data, view.len);
    buf_fini(&view);
    buf_fini(&second);
    dicom_close(again);
    dicom_close(object);
}

static void what_is_kept_outlives_the_object(void **state)
{
    const struct sendit_file *kept[2];
    struct buf before, after = {0};
    struct dicom_object *object;

    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        struct maker m = {0};

        if (deflated)
            make_deflated_object(&m);
        else
            make_object(&m, EXPLICIT);
        object = must_open(&m);
        before = view_of(object);
        assert_int_equal(dicom_keep(dicom_dataset(object), &kept[deflated]), SENDIT_OK);
        dicom_begin(object, true);
        assert_int_equal(dicom_put(dicom_dataset(object), NAME, "New"), SENDIT_OK);
        dicom_end(object, true);
        dicom_close(object);
        unlink(path);
        read_view(kept[deflated], &after);
        assert_int_equal(before.len, after.len);
        assert_memory_equal(before.data, after.data, before.len);
        buf_fini(&before);
        buf_fini(&after);
    }
    assert_true(dicom_drop(dicom, kept[0]));
    assert_false(dicom_drop(dicom, kept[0])); /* no longer one of its own */
    assert_true(dicom_drop(dicom, NULL));
    dicom_drop_all(dicom);
}

/* ---- edit ---- */

static struct dicom_object *open_to_edit(const char *syntax)
{
    struct dicom_object *object;
    struct maker m = {0};

    make_object(&m, syntax);
    object = must_open(&m);
    dicom_begin(object, true);
    return object;
}

static void edits_come_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SYNTAXES; i++) {
        struct dicom_object *object = open_to_edit(syntaxes[i]), *again;
        struct sendit_dataset *ds = dicom_dataset(object), *item = NULL;
        const unsigned char pair[4] = {1, 0, 2, 0};
        struct buf view;
        uint32_t tag = 0;

        assert_int_equal(dicom_put(ds, NAME,
                                   "Gr\xc3\xbc\xc3\x9f"
                                   "e^X"),
                         SENDIT_OK);
        assert_int_equal(dicom_put(ds, 0x00100030, "20010203"), SENDIT_OK); /* new */
        assert_int_equal(dicom_put(ds, PATIENT_ID, ""), SENDIT_OK);
        assert_int_equal(dicom_put(ds, ROWS, "7"), SENDIT_OK);
        assert_int_equal(dicom_put_as(ds, 0x00181310, NULL, "US", pair, 4), SENDIT_OK);
        assert_int_equal(dicom_put_as(ds, 0x000b0007, "MINE", "LO", "v\xc3\xa9", 3), SENDIT_OK);
        assert_int_equal(dicom_put(dicom_nested(ds, REFERENCES, 0), REFERENCED_UID, "2.25.1"),
                         SENDIT_OK);
        assert_int_equal(dicom_erase(ds, 0x00091001), SENDIT_OK);
        assert_int_equal(dicom_erase(ds, 0x00091001), SENDIT_EABSENT);
        assert_int_equal(dicom_append(ds, 0x00082112, &item), SENDIT_OK); /* a new sequence */
        assert_int_equal(dicom_put(item, REFERENCED_UID, "2.25.2"), SENDIT_OK);
        assert_text(ds, NAME,
                    "Gr\xc3\xbc\xc3\x9f"
                    "e^X"); /* seen at once */
        assert_true(dicom_edited(object));
        assert_int_equal(dicom_end(object, true), 0);
        assert_false(dicom_tampered(object));
        view = view_of(object);
        assert_null(memmem(view.data, view.len, "private", 7));
        again = open_bytes(view.data, view.len);
        assert_non_null(again);
        buf_fini(&view);
        ds = dicom_dataset(again);
        assert_text(ds, NAME,
                    "Gr\xc3\xbc\xc3\x9f"
                    "e^X");
        assert_text(ds, 0x00100030, "20010203");
        assert_text(ds, PATIENT_ID, "");
        assert_text(ds, ROWS, "7");
        assert_text(ds, 0x00181310, "1\\2");
        assert_int_equal(dicom_locate(ds, 0x000b0007, "MINE", &tag), SENDIT_OK);
        assert_int_equal(tag, 0x000b1007);
        if (strcmp(syntaxes[i], IMPLICIT)) /* where a VR is written */
            assert_text(ds, tag, "v\xc3\xa9");
        assert_get(ds, 0x00091001, SENDIT_EABSENT);
        assert_text(dicom_nested(ds, REFERENCES, 0), REFERENCED_UID, "2.25.1");
        assert_text(dicom_nested(ds, 0x00082112, 0), REFERENCED_UID, "2.25.2");
        assert_null(dicom_nested(ds, 0x00082112, 1));
        dicom_close(again);
        dicom_close(object);
    }
}

static void values_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        uint32_t tag;
        const char *value;
    } bad[] = {
        {0x00020010, EXPLICIT}, /* the host writes that group */
        {0x00080000, "1"},      /* a group length */
        {ITEM_TAG, "x"},        /* no element at all */
        {0xffff0010, "x"},
        {PIXELS, ""},            /* is for the pixels service */
        {REFERENCES, "x"},       /* a sequence */
        {0x00080003, "x"},       /* no VR known */
        {0x00092001, "x"},       /* private and not there */
        {0x00080018, "1.2.abc"}, /* no UID */
        {0x00080018, "1.2345678901234567890123456789012345678901234567890123456789012345"},
        {0x00080060, "12345678901234567"}, /* CS has 16 */
        {0x00100030, "1. May"},            /* no date */
        {ROWS, "65536"},
        {ROWS, "-1"},
        {ROWS, "1.5"},
        {ROWS, "7\\"},
        {ROWS, "x"},
        {NAME, "\xff"},                 /* no UTF-8 */
        {NAME, "\xc3\xbc\xed\xa0\x80"}, /* a surrogate */
        {NAME, "\xe6\xbc\xa2"},         /* not in ISO_IR 100 */
        {NAME, "A\x1b$B"},              /* an escape of one's own */
        {NAME, "A\nB"},
        {0x00189087, "1e999"},
    };
    struct dicom_object *object = open_to_edit(EXPLICIT);
    struct sendit_dataset *ds = dicom_dataset(object), *item = NULL;
    struct buf before, after;

    (void)state;
    before = view_of(object);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (dicom_put(ds, bad[i].tag, bad[i].value) != SENDIT_EINVAL)
            fail_msg("case %zu was taken", i);
    assert_int_equal(dicom_put(ds, NAME, NULL), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, NAME, NULL, "XX", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, NAME, NULL, "P", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, NAME, NULL, "PN", "a\0b", 3), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, NAME, "MINE", "PN", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, 0x00090001, NULL, "LO", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, 0x00091001, "MINE", "LO", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, 0x00090001, "", "LO", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, 0x00090001, "A\\B", "LO", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, ROWS, NULL, "US", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, REFERENCES, NULL, "SQ", "x", 1), SENDIT_EINVAL);
    assert_int_equal(dicom_put_as(ds, PATIENT_ID, NULL, "LO", NULL, 1), SENDIT_EINVAL);
    assert_int_equal(dicom_append(ds, PATIENT_ID, &item), SENDIT_EINVAL);
    assert_int_equal(dicom_append(ds, 0x00092001, &item), SENDIT_EINVAL);
    assert_int_equal(dicom_erase(ds, 0x00020010), SENDIT_EINVAL);
    assert_null(item);
    after = view_of(object);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    buf_fini(&before);
    buf_fini(&after);
    assert_int_equal(dicom_end(object, true), 0);
    dicom_close(object);
}

static void appended_items_are_not_too_deep_either(void **state)
{
    struct dicom_object *object = open_to_edit(EXPLICIT), *again;
    struct sendit_dataset *at = dicom_dataset(object);
    struct buf view;
    int depth = 0;

    (void)state;
    while (depth < 1000 && !dicom_append(at, REFERENCES, &at))
        depth++;
    assert_int_equal(depth, DICOM_MAX_DEPTH);
    assert_int_equal(dicom_end(object, true), 0);
    view = view_of(object);
    again = open_bytes(view.data, view.len);
    assert_non_null(again);
    dicom_close(again);
    dicom_close(object);
    buf_fini(&view);
}

static int32_t ruin(void *ctx, struct sendit_dataset *parent, const struct sendit_element *element)
{
    (void)ctx;
    dicom_put_as(parent, 0x000b0001, "RUIN", "LO", "ruined", 6);
    dicom_put(parent, element->tag, "9");
    return element->tag & 1 ? SENDIT_EMPTY : SENDIT_ERASE;
}

static void edits_are_taken_back(void **state)
{
    (void)state;
    for (size_t i = 0; i <= N_SYNTAXES; i++) {
        struct dicom_object *object;
        struct buf before, after;
        struct maker m = {0};

        if (i < N_SYNTAXES)
            make_object(&m, syntaxes[i]);
        else
            make_deflated_object(&m);
        object = must_open(&m);
        for (int round = 0; round < 4; round++) { /* from the file, then from an edit that stays */
            before = view_of(object);
            dicom_begin(object, true);
            assert_int_equal(dicom_walk(dicom_dataset(object), ruin, NULL), SENDIT_OK);
            assert_int_equal(dicom_end(object, false), 0);
            after = view_of(object);
            assert_int_equal(before.len, after.len);
            assert_memory_equal(before.data, after.data, before.len);
            buf_fini(&before);
            buf_fini(&after);
            dicom_begin(object, true);
            assert_int_equal(dicom_put(dicom_dataset(object), PATIENT_ID, round & 1 ? "A" : "B"),
                             SENDIT_OK);
            if (round == 2)
                assert_int_equal(dicom_erase(dicom_dataset(object), PIXELS), SENDIT_OK);
            assert_int_equal(dicom_end(object, true), 0);
            assert_text(dicom_dataset(object), PATIENT_ID, round & 1 ? "A" : "B");
        }
        dicom_close(object);
    }
}

/* What is found is what is there, whatever came, went and was taken back before. */
static void elements_are_found_after_every_edit(void **state)
{
    static const uint32_t tags[] = {0x00080050, 0x00080080, 0x00080090, 0x00100010,
                                    0x00100020, 0x00100030, 0x00104000, 0x00200010};
    enum { N = sizeof(tags) / sizeof(tags[0]) };
    struct dicom_object *object;
    struct maker m = {0};
    bool there[N] = {false}, kept[N];
    uint32_t dice = 1;

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    dicom_begin(object, true);
    for (size_t i = 0; i < N; i++)
        dicom_erase(dicom_dataset(object), tags[i]);
    assert_int_equal(dicom_end(object, true), 0);
    for (int round = 0; round < 300; round++) {
        bool keep;

        memcpy(kept, there, sizeof(kept));
        dicom_begin(object, true);
        for (int edit = 0; edit < 4; edit++) {
            size_t at = (dice = dice * 1664525 + 1013904223) >> 16 & (N - 1);
            const char *text;

            if (dice >> 30) {
                assert_int_equal(dicom_put(dicom_dataset(object), tags[at],
                                           tags[at] == 0x00100030 ? "19610307" : "x"),
                                 SENDIT_OK);
                there[at] = true;
            } else {
                assert_int_equal(dicom_erase(dicom_dataset(object), tags[at]),
                                 there[at] ? SENDIT_OK : SENDIT_EABSENT);
                there[at] = false;
            }
            for (size_t i = 0; i < N; i++)
                assert_int_equal(dicom_get(dicom_dataset(object), tags[i], &text),
                                 there[i] ? SENDIT_OK : SENDIT_EABSENT);
        }
        keep = dice >> 28 & 1;
        assert_int_equal(dicom_end(object, keep), 0);
        if (!keep)
            memcpy(there, kept, sizeof(kept));
    }
    dicom_close(object);
}

static void edits_that_were_not_declared_are_noted(void **state)
{
    struct dicom_object *object;
    struct sendit_dataset *ds, *item = NULL;
    struct buf before, after;
    struct maker m = {0};

    (void)state;
    make_object(&m, EXPLICIT);
    object = must_open(&m);
    ds = dicom_dataset(object);
    before = view_of(object);
    for (int how = 0; how < 8; how++) {
        sendit_result result = SENDIT_OK;
        int n = 0;

        dicom_begin(object, false);
        assert_false(dicom_tampered(object));
        switch (how) {
        case 0:
            result = dicom_put(ds, NAME, "X");
            break;
        case 1:
            result = dicom_put_as(ds, NAME, NULL, "PN", "X", 1);
            break;
        case 2:
            result = dicom_put_as(ds, 0x000b0001, "X", "LO", "X", 1);
            break;
        case 3:
            result = dicom_erase(ds, NAME);
            break;
        case 4:
            result = dicom_erase(ds, PIXELS);
            break;
        case 5:
            result = dicom_append(ds, REFERENCES, &item);
            break;
        case 6:
            result = dicom_walk(ds, ruin, NULL);
            break;
        case 7: /* looking is no edit */
            result = dicom_walk(ds, no_entry, &n);
        }
        assert_int_equal(result, how == 7 ? SENDIT_OK : SENDIT_EDENIED);
        assert_int_equal(dicom_tampered(object), how != 7);
        assert_false(dicom_edited(object));
        assert_int_equal(dicom_end(object, true), 0);
    }
    after = view_of(object);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    buf_fini(&before);
    buf_fini(&after);
    dicom_close(object);
}

static int32_t empty_pixels(void *ctx, struct sendit_dataset *parent,
                            const struct sendit_element *element)
{
    (void)ctx, (void)parent;
    return element->tag == PIXELS ? SENDIT_EMPTY : SENDIT_KEEP;
}

static void pixels_can_be_emptied_and_erased(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SYNTAXES; i++) {
        struct dicom_object *object = open_to_edit(syntaxes[i]), *again;
        struct buf view;

        assert_int_equal(dicom_walk(dicom_dataset(object), empty_pixels, NULL), SENDIT_OK);
        assert_int_equal(dicom_end(object, true), 0);
        view = view_of(object);
        assert_null(memmem(view.data, view.len, "PIXELS", 6));
        again = open_bytes(view.data, view.len);
        assert_non_null(again);
        dicom_close(again);
        buf_fini(&view);
        dicom_begin(object, true);
        assert_int_equal(dicom_erase(dicom_dataset(object), PIXELS), SENDIT_OK);
        assert_get(dicom_dataset(object), PIXELS, SENDIT_EABSENT);
        assert_int_equal(dicom_end(object, true), 0);
        dicom_close(object);
    }
}

static int32_t edit_while_walking(void *ctx, struct sendit_dataset *parent,
                                  const struct sendit_element *element)
{
    struct seen *seen = ctx;

    note(seen, parent, element);
    switch (element->tag) {
    case 0x00080060: /* before and behind: neither is shown */
        assert_int_equal(dicom_put(parent, 0x00080020, "20010101"), SENDIT_OK);
        assert_int_equal(dicom_put(parent, 0x00100030, "20010101"), SENDIT_OK);
        return SENDIT_KEEP;
    case NAME:
        assert_int_equal(dicom_put(parent, NAME, "In^Place"), SENDIT_OK);
        return SENDIT_KEEP;
    case 0x00090010: /* the creator goes, its elements are still shown as its */
    case REFERENCES:
        return SENDIT_ERASE;
    case ROWS:
        return SENDIT_EMPTY;
    default:
        return SENDIT_KEEP;
    }
}

static void a_walk_goes_on_over_edits(void **state)
{
    static const char *const expected[] = {
        "0 00080005 CS - 10",          "0 00080016 UI - 26",         "0 00080018 UI - 8",
        "0 00080060 CS - 2",           "0 00081140 SQ - 0 no value", "0 00090010 LO - 12",
        "0 00091001 LO SENDIT TEST 8", "0 00100010 PN - 10",         "0 00100020 LO - 6",
        "0 00280010 US - 2",           "0 00280030 DS - 10",         "0 7fe00010 OW - 6 no value",
        "0 7fe10010 LO - 12"};
    struct dicom_object *object = open_to_edit(EXPLICIT);
    struct sendit_dataset *ds = dicom_dataset(object);
    struct seen seen = {.n = 0};

    (void)state;
    assert_int_equal(dicom_walk(ds, edit_while_walking, &seen), SENDIT_OK);
    assert_int_equal(seen.n, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < seen.n; i++)
        assert_string_equal(seen.lines[i], expected[i]);
    assert_int_equal(dicom_end(object, true), 0);
    assert_text(ds, 0x00080020, "20010101");
    assert_text(ds, NAME, "In^Place");
    assert_text(ds, ROWS, "");
    assert_get(ds, REFERENCES, SENDIT_EABSENT);
    dicom_close(object);
}

struct pair {
    uint32_t at, erase; /* when `at` is shown, `erase` goes */
    bool inside;        /* in the first item of REFERENCES */
    struct seen seen;
};

static int32_t erase_another(void *ctx, struct sendit_dataset *parent,
                             const struct sendit_element *element)
{
    struct pair *pair = ctx;

    note(&pair->seen, parent, element);
    if (element->tag == pair->at && element->depth == pair->inside) {
        if (pair->erase == pair->at)
            return SENDIT_ERASE;
        assert_int_equal(dicom_erase(parent, pair->erase), SENDIT_OK);
    }
    return SENDIT_KEEP;
}

/* Whatever is erased while whatever is shown: all that stays is shown, once and in order. */
static void a_walk_misses_nothing(void **state)
{
    static const uint32_t top[] = {0x00080005, 0x00080016, 0x00080018, 0x00080060, REFERENCES,
                                   0x00090010, 0x00091001, NAME,       PATIENT_ID, ROWS,
                                   0x00280030, PIXELS,     0x7fe10010};
    const size_t n_top = sizeof(top) / sizeof(top[0]);

    (void)state;
    for (size_t i = 0; i < n_top * n_top + 4; i++) {
        struct dicom_object *object = open_to_edit(EXPLICIT);
        struct pair pair = {.at = top[i / n_top % n_top], .erase = top[i % n_top]};
        struct seen after = {.n = 0};
        size_t found = 0;

        if (i >= n_top * n_top) {
            pair.inside = true;
            pair.at = i & 1 ? 0x00081150 : REFERENCED_UID;
            pair.erase = i & 2 ? 0x00081150 : REFERENCED_UID;
            /* the second item is empty, so that one in the first is the last of all */
            for (int j = 0; j < 2; j++)
                assert_int_equal(dicom_erase(dicom_nested(dicom_dataset(object), REFERENCES, 1),
                                             j ? REFERENCED_UID : 0x00081150),
                                 SENDIT_OK);
        }
        assert_int_equal(dicom_walk(dicom_dataset(object), erase_another, &pair), SENDIT_OK);
        assert_int_equal(dicom_walk(dicom_dataset(object), note, &after), SENDIT_OK);
        for (size_t j = 0; j < pair.seen.n && found < after.n; j++)
            /* an element without creator is now shown as such */
            found += !strncmp(pair.seen.lines[j], after.lines[found], 13);
        assert_int_equal(found, after.n);
        for (size_t j = 1; j < pair.seen.n; j++) /* none twice at the top */
            if (pair.seen.lines[j][0] == '0')
                for (size_t k = 0; k < j; k++)
                    assert_memory_not_equal(pair.seen.lines[j], pair.seen.lines[k], 10);
        assert_int_equal(dicom_end(object, true), 0);
        dicom_close(object);
    }
}

/* ---- odd ones ---- */

static void odd_lengths_come_out_even(void **state)
{
    struct dicom_object *object, *again;
    struct maker m = {0};
    struct buf view;

    (void)state;
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    make_element(&m, NAME, "PN", "Odd^N", 5);
    make_element(&m, 0x00420011, "OB", "%PD", 3);
    object = must_open(&m);
    assert_text(dicom_dataset(object), NAME, "Odd^N");
    view = view_of(object);
    again = open_bytes(view.data, view.len);
    assert_non_null(again);
    assert_text(dicom_dataset(again), NAME, "Odd^N");
    assert_int_equal(view.len % 2, 0);
    dicom_close(again);
    dicom_close(object);
    buf_fini(&view);
}

static void private_groups_beyond_the_pixels_stay(void **state)
{
    struct dicom_object *object;
    struct seen seen = {.n = 0};
    struct maker m = {0};
    struct buf view;

    (void)state;
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    make_element(&m, PIXELS, "OW", "PIXELS", 6);
    make_text(&m, 0x7fe30010, "LO", "BEHIND");
    make_text(&m, 0x7fe31001, "LO", "secret behind");
    object = must_open(&m);
    assert_int_equal(dicom_walk(dicom_dataset(object), note, &seen), SENDIT_OK);
    assert_string_equal(seen.lines[seen.n - 1], "0 7fe31001 LO BEHIND 14");
    dicom_begin(object, true);
    assert_int_equal(dicom_erase(dicom_dataset(object), 0x7fe31001), SENDIT_OK);
    assert_int_equal(dicom_end(object, true), 0);
    view = view_of(object);
    assert_null(memmem(view.data, view.len, "secret", 6));
    buf_fini(&view);
    dicom_close(object);
}

static int32_t erase_half(void *ctx, struct sendit_dataset *parent,
                          const struct sendit_element *element)
{
    (void)parent;
    ++*(size_t *)ctx;
    return element->tag & 1 ? SENDIT_ERASE : SENDIT_KEEP;
}

static void a_hundred_thousand_elements_take_no_time(void **state)
{
    struct dicom_object *object;
    struct maker m = {0};
    size_t n = 0;
    struct buf view;

    (void)state;
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    for (uint32_t group = 0x0009; group < 0x0009 + 4; group += 2)
        for (uint32_t i = 0; i < 50000; i++)
            make_us(&m, group << 16 | (0x1000 + i), i & 0xffff);
    object = must_open(&m);
    dicom_begin(object, true);
    assert_int_equal(dicom_walk(dicom_dataset(object), erase_half, &n), SENDIT_OK);
    assert_int_equal(n, 3 + 100000);
    assert_int_equal(dicom_end(object, true), 0);
    view = view_of(object);
    buf_fini(&view);
    dicom_close(object);
}

static void pixel_data_never_comes_into_memory(void **state)
{
    const off_t size = (off_t)2 << 30;
    const struct sendit_file *file;
    struct dicom_object *object;
    struct rusage before, after;
    struct maker m = {0};

    (void)state;
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    make_header(&m, PIXELS, "OW", (uint32_t)size);
    write_file(m.buf.data, m.buf.len);
    if (truncate(path, (off_t)m.buf.len + size)) {
        print_message("skipped: no sparse file of 2 GiB can be made here\n");
        buf_fini(&m.buf);
        return;
    }
    getrusage(RUSAGE_SELF, &before);
    object = open_path();
    assert_non_null(object);
    assert_int_equal(dicom_view(dicom_dataset(object), &file), SENDIT_OK);
    assert_int_equal(file->parts[1].length, size);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 4096); /* KiB */
    dicom_close(object);
    buf_fini(&m.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(every_syntax_opens),
        cmocka_unit_test(a_file_cut_anywhere_is_never_whole),
        cmocka_unit_test(what_dcmtk_would_overflow_on_is_refused_before),
        cmocka_unit_test(deflated_data_is_bounded),
        cmocka_unit_test(what_follows_deflated_data),
        cmocka_unit_test(the_end_of_gzip_may_follow_deflated_data),
        cmocka_unit_test(a_walk_shows_all_in_order),
        cmocka_unit_test(the_deepest_that_is_allowed_is_walked),
        cmocka_unit_test(visitors_answer),
        cmocka_unit_test(values_are_read_as_text),
        cmocka_unit_test(pixel_data_is_not_read),
        cmocka_unit_test(keywords_are_looked_up),
        cmocka_unit_test(creators_have_blocks),
        cmocka_unit_test(json_has_no_bulk_data),
        cmocka_unit_test(a_fresh_file_is_written),
        cmocka_unit_test(pixels_are_a_range_of_the_file),
        cmocka_unit_test(group_lengths_and_padding_are_left_out),
        cmocka_unit_test(a_deflated_file_stays_deflated),
        cmocka_unit_test(what_is_kept_outlives_the_object),
        cmocka_unit_test(edits_come_out),
        cmocka_unit_test(values_that_do_not_fit_are_refused),
        cmocka_unit_test(appended_items_are_not_too_deep_either),
        cmocka_unit_test(edits_are_taken_back),
        cmocka_unit_test(elements_are_found_after_every_edit),
        cmocka_unit_test(edits_that_were_not_declared_are_noted),
        cmocka_unit_test(pixels_can_be_emptied_and_erased),
        cmocka_unit_test(a_walk_goes_on_over_edits),
        cmocka_unit_test(a_walk_misses_nothing),
        cmocka_unit_test(odd_lengths_come_out_even),
        cmocka_unit_test(private_groups_beyond_the_pixels_stay),
        cmocka_unit_test(a_hundred_thousand_elements_take_no_time),
        cmocka_unit_test(pixel_data_never_comes_into_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
