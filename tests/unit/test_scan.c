/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded scan: what it accepts, what it finds, and why it refuses the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dicom/dicom.h"
#include "dicom/scan.h"
#include "make_dicom.h"

#define MAX_HEAD (16u << 20)

/* The reason, "" for what is accepted.  The bytes get a block of their own, so that a sanitizer
 * sees whoever reads past them. */
static const char *scan_bytes(const void *data, size_t length, struct scan *scan)
{
    static struct dicom_refusal refusal;
    char *copy = malloc(length + 1);
    struct scan_source source = {.fd = -1, .size = length};
    int result;

    assert_non_null(copy);
    copy = realloc(copy, length ? length : 1);
    assert_non_null(copy);
    if (length)
        memcpy(copy, data, length);
    source.data = copy;
    result = scan_run(&source, MAX_HEAD, scan, &refusal);
    free(copy);
    if (result) {
        assert_true(refusal.what != 0);
        assert_true(refusal.code[0] && refusal.text[0]);
    }
    return result ? refusal.code : "";
}

static const char *reason(const struct maker *m)
{
    struct scan scan;
    const char *code = scan_bytes(m->buf.data, m->buf.len, &scan);

    scan_fini(&scan);
    return code;
}

#define assert_reason(m, code)                                                                     \
    do {                                                                                           \
        assert_string_equal(reason(m), code);                                                      \
        buf_fini(&(m)->buf);                                                                       \
    } while (0)

/* ---- what is found ---- */

static void head_pixels_and_tail_are_told_apart(void **state)
{
    struct maker m = {0};
    struct scan scan;
    size_t from;

    (void)state;
    make_meta(&m, EXPLICIT);
    from = m.buf.len;
    make_identity(&m);
    make_element(&m, 0x7fe00010, "OW", "abcdef", 6);
    make_element(&m, 0xfffcfffc, "OB", "\0\0", 2);
    assert_string_equal(scan_bytes(m.buf.data, m.buf.len, &scan), "");
    assert_true(scan.preamble);
    assert_true(scan.has_sop_class);
    assert_string_equal(scan.syntax->uid, EXPLICIT);
    assert_string_equal(scan.media_sop_class, CT_CLASS);
    assert_int_equal(scan.dataset_at, from);
    assert_true(scan.has_pixels);
    assert_int_equal(scan.pixel_tag, 0x7fe00010);
    assert_string_equal(scan.pixel_vr, "OW");
    assert_int_equal(scan.pixel_length, 6);
    assert_false(scan.pixel_undefined);
    assert_memory_equal(m.buf.data + scan.pixel_at, "abcdef", 6);
    assert_int_equal(scan.head.len, scan.pixel_at - 12 - from);
    assert_memory_equal(scan.head.data, m.buf.data + from, scan.head.len);
    assert_int_equal(scan.tail.len, 14);
    scan_fini(&scan);
    buf_fini(&m.buf);
}

static void every_kind_of_pixel_data_is_found(void **state)
{
    static const struct {
        uint32_t tag;
        const char *vr;
    } kinds[] = {{0x7fe00008, "OF"}, {0x7fe00009, "OD"}, {0x7fe00010, "OB"}, {0x7fe00010, "UN"}};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct maker m = {0};
        struct scan scan;

        make_meta(&m, EXPLICIT);
        make_identity(&m);
        make_element(&m, kinds[i].tag, kinds[i].vr, "12345678", 8);
        assert_string_equal(scan_bytes(m.buf.data, m.buf.len, &scan), "");
        assert_int_equal(scan.pixel_tag, kinds[i].tag);
        assert_string_equal(scan.pixel_vr, kinds[i].vr);
        scan_fini(&scan);
        buf_fini(&m.buf);
    }
}

static void make_fragments(struct maker *m)
{
    make_header(m, 0x7fe00010, "OB", UNDEFINED_LENGTH);
    make_header(m, ITEM_TAG, "", 0);
    make_header(m, ITEM_TAG, "", 6);
    buf_add(&m->buf,
            "\xff\xd8"
            "\xfe\xff\xdd\xe0",
            6); /* the delimiter's bytes inside */
    make_header(m, SEQUENCE_END_TAG, "", 0);
}

static void fragments_are_walked_not_searched(void **state)
{
    struct maker m = {0};
    struct scan scan;

    (void)state;
    make_meta(&m, JPEG_BASELINE);
    make_identity(&m);
    make_fragments(&m);
    make_text(&m, 0x7fe10010, "LO", "behind");
    assert_string_equal(scan_bytes(m.buf.data, m.buf.len, &scan), "");
    assert_true(scan.pixel_undefined);
    assert_int_equal(scan.pixel_length, 8 + 8 + 6 + 8);
    assert_int_equal(scan.tail.len, 8 + 6);
    scan_fini(&scan);
    buf_fini(&m.buf);
}

static void pixel_data_in_a_sequence_is_not_the_image(void **state)
{
    struct maker m = {0};
    struct scan scan;

    (void)state;
    make_meta(&m, JPEG_BASELINE);
    make_identity(&m);
    make_header(&m, 0x00880200, "SQ", UNDEFINED_LENGTH);
    make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
    make_fragments(&m);
    make_header(&m, ITEM_END_TAG, "", 0);
    make_header(&m, SEQUENCE_END_TAG, "", 0);
    assert_string_equal(scan_bytes(m.buf.data, m.buf.len, &scan), "");
    assert_false(scan.has_pixels);
    scan_fini(&scan);
    buf_fini(&m.buf);
}

static void zeros_at_the_end_are_dropped(void **state)
{
    static const char zeros[64];
    const size_t lengths[] = {1, 2, 7, 8, 64};

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct maker m = {0};
        struct scan scan;
        size_t whole;

        make_meta(&m, EXPLICIT);
        whole = m.buf.len;
        make_identity(&m);
        whole = m.buf.len - whole;
        buf_add(&m.buf, zeros, lengths[i]);
        assert_string_equal(scan_bytes(m.buf.data, m.buf.len, &scan), "");
        assert_int_equal(scan.head.len, whole);
        scan_fini(&scan);
        buf_fini(&m.buf);
    }
}

static void zeros_alone_are_no_data_set(void **state)
{
    static const char zeros[64];

    (void)state;
    for (size_t n = 0; n <= sizeof(zeros); n++) {
        struct maker m = {0};

        make_meta(&m, EXPLICIT);
        buf_add(&m.buf, zeros, n);
        assert_reason(&m, "dicom.truncated");
    }
}

static void a_wrong_group_length_does_not_matter(void **state)
{
    const unsigned char wrong[] = {0, 1, 0x7f, 0xff};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong); i++) {
        struct maker m = {0};

        make_meta(&m, EXPLICIT);
        m.buf.data[140] = (char)wrong[i];
        m.buf.data[142] = (char)wrong[i];
        make_identity(&m);
        assert_reason(&m, "");
    }
}

static void files_without_preamble_or_meta_group_tell_themselves(void **state)
{
    static const char preamble[128];

    (void)state;
    for (int implicit = 0; implicit < 2; implicit++)
        for (int with_preamble = 0; with_preamble < 2; with_preamble++) {
            struct maker m = {.implicit = implicit != 0};
            struct scan scan;

            if (with_preamble) {
                buf_add(&m.buf, preamble, 128);
                buf_str(&m.buf, "DICM");
            }
            make_identity(&m);
            assert_string_equal(scan_bytes(m.buf.data, m.buf.len, &scan), "");
            assert_string_equal(scan.syntax->uid, implicit ? IMPLICIT : EXPLICIT);
            assert_int_equal(scan.preamble, with_preamble);
            scan_fini(&scan);
            buf_fini(&m.buf);
        }
    for (int empty = 0; empty < 2; empty++) { /* no SOP class, or an empty one */
        struct maker m = {0};

        if (empty)
            make_text(&m, 0x00080016, "UI", "");
        make_text(&m, 0x00080060, "CS", "CT");
        assert_reason(&m, "dicom.not_dicom");
    }
}

static void a_meta_group_without_preamble_is_read(void **state)
{
    struct maker m = {0}, bare = {0};

    (void)state;
    make_meta(&m, IMPLICIT);
    make_identity(&m);
    buf_add(&bare.buf, m.buf.data + 132, m.buf.len - 132);
    buf_fini(&m.buf);
    assert_reason(&bare, "");
}

/* ---- what is refused ---- */

static void what_is_no_dicom(void **state)
{
    static const char text[] = "Patient notes, which are long enough to be looked at as a header.";
    struct maker m = {0};

    (void)state;
    buf_str(&m.buf, text);
    assert_reason(&m, "dicom.not_dicom");
    buf_str(&m.buf, "x");
    assert_reason(&m, "dicom.not_dicom");
    buf_str(&m.buf, "");
    assert_reason(&m, "import.empty");
    for (int i = 0; i < 40; i++) /* random tags whose group is not 0008 */
        make_us(&m, 0x00100010, 1);
    assert_reason(&m, "dicom.not_dicom");
}

static void transfer_syntaxes_that_are_not_ours(void **state)
{
    static const char *const uids[] = {
        "1.2.840.10008.1.2.99",     "1.2.840.10008.1.2.4.94",  "1.2.840.113619.5.2", "",
        "1.2.840.10008.1.2.1.98.1", "1.2.840.10008.1.2.1 .99", "1.2.840.10008.1.20"};

    (void)state;
    for (size_t i = 0; i < sizeof(uids) / sizeof(uids[0]); i++) {
        struct maker m = {0};

        make_meta(&m, uids[i]);
        make_identity(&m);
        assert_reason(&m, "dicom.transfer_syntax");
    }
    assert_non_null(scan_find_syntax(EXPLICIT));
    assert_non_null(scan_find_syntax(EXPLICIT " "));
    assert_null(scan_find_syntax(""));
    assert_null(scan_find_syntax(" " EXPLICIT));
}

/* Wherever its meta group is cut, a file is cut short: no lack of a transfer syntax is to blame. */
static void a_cut_meta_group(void **state)
{
    struct maker whole = {0};

    (void)state;
    make_meta(&whole, EXPLICIT);
    for (size_t n = 140; n <= whole.buf.len; n++) {
        struct maker m = {0};

        buf_add(&m.buf, whole.buf.data, n);
        assert_reason(&m, "dicom.truncated");
    }
    buf_fini(&whole.buf);
}

/* Of a transfer syntax that stands twice one reader takes the first, another the last. */
static void a_meta_group_out_of_order(void **state)
{
    static const uint32_t tags[][2] = {{0x00020013, 0x00020013}, {0x00020013, 0x00020010}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct maker m = {0};

        make_meta(&m, EXPLICIT);
        make_text(&m, tags[i][0], "SH", "A");
        make_text(&m, tags[i][1], "UI", JPEG_BASELINE);
        make_identity(&m);
        assert_reason(&m, "dicom.corrupt");
    }
}

static void a_dicomdir_is_told_by_its_content(void **state)
{
    struct maker m = {0};
    const char *class_at;

    (void)state;
    make_meta(&m, EXPLICIT);
    class_at = memmem(m.buf.data, m.buf.len, CT_CLASS, strlen(CT_CLASS));
    assert_non_null(class_at);
    memcpy(m.buf.data + (class_at - m.buf.data), "1.2.840.10008.1.3.10\0\0\0\0\0", 25);
    make_text(&m, 0x00041130, "CS", "A");
    assert_reason(&m, "dicom.dicomdir");
}

/* Sequences in each other: standard and private, as UN, in UN, of both kinds of length. */
static void depth_is_bounded(void **state)
{
    static const struct {
        const char *syntax, *vr;
        uint32_t tag;
        bool defined;
    } ways[] = {
        {EXPLICIT, "SQ", 0x00081140, false},      {EXPLICIT, "SQ", 0x00081140, true},
        {EXPLICIT, "SQ", 0x00091001, false},      {IMPLICIT, "", 0x00081140, false},
        {IMPLICIT, "", 0x00091001, false},        {IMPLICIT, "", 0x00091001, true},
        {IMPLICIT, "", 0x00081140, true},         {BIG_ENDIAN_UID, "SQ", 0x00081140, false},
        {BIG_ENDIAN_UID, "SQ", 0x00091001, true}, {JPEG_BASELINE, "SQ", 0x00081140, false},
    };
    static const size_t depths[] = {1, 63, 64, 65, 1000, 10000};

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        for (size_t j = 0; j < sizeof(depths) / sizeof(depths[0]); j++) {
            struct maker m = {0};

            make_meta(&m, ways[i].syntax);
            make_identity(&m);
            make_nest(&m, ways[i].tag, ways[i].vr, depths[j], ways[i].defined);
            assert_reason(&m, depths[j] > 64 ? "dicom.too_deep" : "");
        }
}

static void depth_in_un_is_bounded(void **state)
{
    static const size_t depths[] = {63, 64, 1000, 10000};

    (void)state;
    /* Implicit VR inside, in little endian by the standard; what some big endian writers do, too */
    for (int how = 0; how < 6; how++)
        for (size_t j = 0; j < sizeof(depths) / sizeof(depths[0]); j++) {
            struct maker m = {0}, in = {.implicit = true, .big = how >= 4};
            bool defined = how & 1;

            make_meta(&m, how >= 2 ? BIG_ENDIAN_UID : EXPLICIT);
            make_identity(&m);
            make_header(&in, ITEM_TAG, "", UNDEFINED_LENGTH);
            make_nest(&in, 0x00091001, "", depths[j], defined);
            make_header(&in, ITEM_END_TAG, "", 0);
            if (!defined)
                make_header(&in, SEQUENCE_END_TAG, "", 0);
            make_header(&m, 0x00091001, "UN", defined ? (uint32_t)in.buf.len : UNDEFINED_LENGTH);
            buf_add(&m.buf, in.buf.data, in.buf.len);
            buf_fini(&in.buf);
            if (how == 4) /* it must be little endian */
                assert_reason(&m, "dicom.corrupt");
            else if (how == 5) /* to DCMTK and to us these are bytes */
                assert_reason(&m, "");
            else
                assert_reason(&m, depths[j] > 63 ? "dicom.too_deep" : "");
        }
}

static void wrong_structure_is_corrupt(void **state)
{
    (void)state;
    for (int how = 0; how < 26; how++) {
        struct maker m = {0};
        const char *code = "dicom.corrupt";

        make_meta(&m, how == 7 || how == 8 ? JPEG_BASELINE : EXPLICIT);
        make_identity(&m);
        switch (how) {
        case 0: /* a VR that there is not */
            make_element(&m, 0x00100010, "XX", "", 0);
            break;
        case 1: /* a delimiter out of place */
            make_header(&m, ITEM_END_TAG, "", 0);
            break;
        case 2:
            make_header(&m, SEQUENCE_END_TAG, "", 0);
            break;
        case 3:
            make_header(&m, ITEM_TAG, "", 0);
            break;
        case 4: /* no sequence, but no length */
            make_header(&m, 0x00104000, "UT", UNDEFINED_LENGTH);
            make_header(&m, SEQUENCE_END_TAG, "", 0);
            break;
        case 5: /* native pixel data without length */
            make_fragments(&m);
            break;
        case 6: /* two elements with pixel data */
            make_element(&m, 0x7fe00008, "OF", "1234", 4);
            make_element(&m, 0x7fe00010, "OW", "1234", 4);
            break;
        case 7: /* encapsulated, says the syntax */
            make_element(&m, 0x7fe00010, "OW", "1234", 4);
            break;
        case 8: /* a fragment without length */
            make_header(&m, 0x7fe00010, "OB", UNDEFINED_LENGTH);
            make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
            make_header(&m, SEQUENCE_END_TAG, "", 0);
            break;
        case 9: /* pixel data as text */
            make_text(&m, 0x7fe00010, "LO", "1234");
            break;
        case 10: /* an element that goes beyond its item */
            make_header(&m, 0x00081140, "SQ", 18);
            make_header(&m, ITEM_TAG, "", 10);
            make_text(&m, 0x00081150, "UI", "1.2.3.");
            break;
        case 11: /* an item that goes beyond its sequence */
            make_header(&m, 0x00081140, "SQ", 8);
            make_header(&m, ITEM_TAG, "", 10);
            make_text(&m, 0x00081150, "UI", "1.");
            break;
        case 12: /* the meta group comes again */
            make_text(&m, 0x00020010, "UI", EXPLICIT);
            break;
        case 13: /* a command group */
            make_us(&m, 0x00000100, 1);
            break;
        case 14: /* something that is no item */
            make_header(&m, 0x00081140, "SQ", 10);
            make_text(&m, 0x00081150, "UI", "1.");
            break;
        case 15: /* longer than the file */
            make_header(&m, 0x00104000, "UT", 0x7fffffff);
            code = "dicom.truncated";
            break;
        case 16: /* a group that is forbidden */
            make_us(&m, 0xffffffff, 1);
            break;
        case 17: /* the meta group in an item */
            make_header(&m, 0x00081140, "SQ", UNDEFINED_LENGTH);
            make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
            make_text(&m, 0x00020016, "AE", "PATIENT");
            make_header(&m, ITEM_END_TAG, "", 0);
            make_header(&m, SEQUENCE_END_TAG, "", 0);
            break;
        case 18: /* twice */
            make_text(&m, 0x00100010, "PN", "First^Name");
            make_text(&m, 0x00100010, "PN", "Second^Name");
            break;
        case 19: /* out of order */
            make_text(&m, 0x00100010, "PN", "First^Name");
            make_text(&m, 0x00080070, "LO", "Maker");
            break;
        case 20: /* twice in an item */
            make_header(&m, 0x00081140, "SQ", UNDEFINED_LENGTH);
            make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
            make_us(&m, 0x00280010, 1);
            make_us(&m, 0x00280010, 2);
            make_header(&m, ITEM_END_TAG, "", 0);
            make_header(&m, SEQUENCE_END_TAG, "", 0);
            break;
        case 21: /* behind the pixel data what belongs before it */
            make_element(&m, 0x7fe00010, "OW", "1234", 4);
            make_text(&m, 0x00100010, "PN", "Late^Name");
            break;
        case 22: /* pixel data twice */
            make_element(&m, 0x7fe00010, "OW", "1234", 4);
            make_element(&m, 0x7fe00010, "OW", "1234", 4);
            break;
        case 23: /* a private element before its creator */
            make_text(&m, 0x00091001, "LO", "value");
            make_text(&m, 0x00090010, "LO", "CREATOR");
            break;
        case 24: /* fragments of what is no pixel data */
        case 25:
            make_header(&m, 0x00091001, how & 1 ? "OB" : "OW", UNDEFINED_LENGTH);
            make_header(&m, ITEM_TAG, "", 0);
            make_header(&m, SEQUENCE_END_TAG, "", 0);
        }
        assert_reason(&m, code);
    }
}

static void a_header_that_is_too_large_is_refused(void **state)
{
    struct maker m = {0};
    char *block = calloc(1, MAX_HEAD);

    (void)state;
    assert_non_null(block);
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    make_element(&m, 0x00091001, "OB", block, MAX_HEAD);
    free(block);
    assert_reason(&m, "dicom.too_large");
}

/* The borders at which elements of the top level end: only there a file may stop. */
static bool is_border(const size_t *borders, size_t n, size_t at)
{
    for (size_t i = 0; i < n; i++)
        if (borders[i] == at)
            return true;
    return false;
}

static void a_file_that_breaks_off_is_told_wherever_it_does(void **state)
{
    static const char *const syntaxes[] = {EXPLICIT, IMPLICIT, BIG_ENDIAN_UID, JPEG_BASELINE};

    (void)state;
    for (size_t i = 0; i < sizeof(syntaxes) / sizeof(syntaxes[0]); i++) {
        size_t borders[16], n = 0, from;
        struct maker m = {0};

        make_meta(&m, syntaxes[i]);
        from = m.buf.len;
        make_text(&m, 0x00080016, "UI", CT_CLASS);
        borders[n++] = m.buf.len;
        make_text(&m, 0x00080018, "UI", "1.2.3.4");
        borders[n++] = m.buf.len;
        make_nest(&m, 0x00081140, "SQ", 3, false);
        borders[n++] = m.buf.len;
        make_nest(&m, 0x00081155, "SQ", 3, true);
        borders[n++] = m.buf.len;
        make_us(&m, 0x00280010, 512);
        borders[n++] = m.buf.len;
        if (i == 3)
            make_fragments(&m);
        else
            make_element(&m, 0x7fe00010, "OW", "abcdef", 6);
        borders[n++] = m.buf.len;
        make_text(&m, 0x7fe10010, "LO", "behind");
        borders[n++] = m.buf.len;
        for (size_t cut = 0; cut <= m.buf.len; cut++) {
            struct scan scan;
            const char *code = scan_bytes(m.buf.data, cut, &scan);

            scan_fini(&scan);
            if (is_border(borders, n, cut))
                assert_string_equal(code, "");
            else
                assert_string_not_equal(code, "");
            if (cut >= from && *code)
                assert_string_equal(code, "dicom.truncated");
        }
        buf_fini(&m.buf);
    }
}

static void a_descriptor_that_shrinks_is_truncated(void **state)
{
    struct dicom_refusal refusal;
    struct maker m = {0};
    struct scan_source source = {0};
    struct scan scan;
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    make_meta(&m, EXPLICIT);
    make_identity(&m);
    assert_int_equal(fwrite(m.buf.data, 1, m.buf.len, file), m.buf.len);
    assert_int_equal(fflush(file), 0);
    source.fd = fileno(file);
    source.size = m.buf.len;
    assert_int_equal(scan_run(&source, MAX_HEAD, &scan, &refusal), 0);
    scan_fini(&scan);
    source.size = m.buf.len + 100; /* as fstat() said it a moment ago */
    assert_int_equal(scan_run(&source, MAX_HEAD, &scan, &refusal), -1);
    assert_string_equal(refusal.code, "dicom.truncated");
    scan_fini(&scan);
    fclose(file);
    buf_fini(&m.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_pixels_and_tail_are_told_apart),
        cmocka_unit_test(every_kind_of_pixel_data_is_found),
        cmocka_unit_test(fragments_are_walked_not_searched),
        cmocka_unit_test(pixel_data_in_a_sequence_is_not_the_image),
        cmocka_unit_test(zeros_at_the_end_are_dropped),
        cmocka_unit_test(zeros_alone_are_no_data_set),
        cmocka_unit_test(a_wrong_group_length_does_not_matter),
        cmocka_unit_test(files_without_preamble_or_meta_group_tell_themselves),
        cmocka_unit_test(a_meta_group_without_preamble_is_read),
        cmocka_unit_test(what_is_no_dicom),
        cmocka_unit_test(transfer_syntaxes_that_are_not_ours),
        cmocka_unit_test(a_cut_meta_group),
        cmocka_unit_test(a_meta_group_out_of_order),
        cmocka_unit_test(a_dicomdir_is_told_by_its_content),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(depth_in_un_is_bounded),
        cmocka_unit_test(wrong_structure_is_corrupt),
        cmocka_unit_test(a_header_that_is_too_large_is_refused),
        cmocka_unit_test(a_file_that_breaks_off_is_told_wherever_it_does),
        cmocka_unit_test(a_descriptor_that_shrinks_is_truncated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
