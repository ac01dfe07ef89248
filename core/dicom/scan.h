/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.h - a bounded look over the structure of a DICOM stream, in C, before anything parses it.
 *
 * Works on a descriptor (or, in tests and fuzzers, on bytes in memory): reads forward in blocks,
 * keeps all bytes but those of the top level's pixel data, checks that each length fits into its
 * parent and into the file, that sequences are at most DICOM_MAX_DEPTH deep (an iterative walk,
 * no recursion), and that the last element ends where the file ends.  What is wrong has a reason
 * code; nothing is ever guessed.  This is the seed of a reader of our own.
 */
#ifndef SENDIT_DICOM_SCAN_H
#define SENDIT_DICOM_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dicom_refusal;

/* How a transfer syntax is encoded; a row of the table of those that we know (PS3.6 table A-1). */
struct scan_syntax {
    const char *uid;
    bool explicit_vr, big_endian, deflated, encapsulated;
};
/* NULL for one that is not in the table; trailing blanks and NULs of `uid` do not count. */
const struct scan_syntax *scan_find_syntax(const char *uid);

/* Where the bytes come from: pread() of `fd`, or `data`, up to `size` bytes. */
struct scan_source {
    int fd; /* -1: data */
    const void *data;
    uint64_t size;
};

struct scan {
    const struct scan_syntax *syntax;
    bool preamble;            /* 128 bytes and "DICM" were there */
    uint64_t dataset_at;      /* offset in the file of the first byte behind group 0002 */
    char media_sop_class[65]; /* (0002,0002), "" if absent */
    bool has_sop_class;       /* (0008,0016) is there and not empty */
    struct buf head;          /* bytes from dataset_at up to pixel data, or up to the end */
    bool has_pixels;
    uint32_t pixel_tag;    /* 0x7FE00008, 0x7FE00009 or 0x7FE00010 */
    char pixel_vr[3];      /* "OW"; of implicit VR what PS3.5 A.1 says */
    uint64_t pixel_at;     /* offset in the file of the first byte of the value */
    uint64_t pixel_length; /* of the value; of an encapsulated one with its delimiter */
    bool pixel_undefined;  /* its length field says FFFFFFFF */
    struct buf tail;       /* bytes behind the pixel data */
};

/*
 * A whole file: preamble, meta group and data set.  Without a meta group it is DICOM if it begins
 * with group 0008, parses to its end in Implicit or Explicit VR Little Endian and has a SOP class;
 * a deflated one always has a meta group.  0, or -1 with the reason in `refusal`.
 * scan_fini() in both cases.  A deflated data set is not looked into: `head` stays empty, and what
 * begins at dataset_at is for the caller to inflate and to give to scan_dataset().
 */
int scan_run(const struct scan_source *source, uint64_t max_head, struct scan *scan,
             struct dicom_refusal *refusal);
/* A data set alone, from the first byte of `source` on, in a syntax that is known. */
int scan_dataset(const struct scan_source *source, const struct scan_syntax *syntax,
                 uint64_t max_head, struct scan *scan, struct dicom_refusal *refusal);
void scan_fini(struct scan *scan);

#ifdef __cplusplus
}
#endif
#endif
