/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dicom.h - the C face on DICOM: open an object, look at it, edit it, write it as a virtual file.
 *
 * The pixel data of the top level ((7FE0,0010), (7FE0,0008) or (7FE0,0009)) never comes into
 * memory: a scan of our own (scan.h) finds where it lies, DCMTK parses what is before and behind
 * it, and dicom_view() names it again as a range of the descriptor.  Nothing here shows DCMTK to
 * the caller, so that a reader in C can take its place.
 *
 * One `struct dicom` per process, one thread.  Functions that begin with `dicom_` and take a
 * `struct sendit_dataset` have the meaning, the results and the lifetimes that sendit_dicom and
 * sendit_files in services.h give them; strings live until dicom_end() or dicom_close().
 */
#ifndef SENDIT_DICOM_DICOM_H
#define SENDIT_DICOM_DICOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "sendit/stage.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DICOM_MAX_DEPTH 64 /* sequences in each other */
/* Bytes that are not pixel data, of one object.  An edited object stands in memory three times: as
 * it was read, as DCMTK has it, as it is written. */
#define DICOM_MAX_HEADER (256ull << 20)
#define DICOM_IMPLEMENTATION_UID "2.25.302837263254934203562373942098273651281"
#define DICOM_IMPLEMENTATION_VERSION "SENDIT_0_1" /* SH, up to 16 characters */

struct dicom;        /* what a process has once: dictionary, converters, limits */
struct dicom_object; /* one open DICOM object */

struct dicom_limits {
    uint64_t max_inflate; /* bytes a deflated data set may have when inflated */
};

/* `scratch` is a folder for unnamed files (O_TMPFILE, else made and unlinked). */
struct dicom *dicom_new(const struct dicom_limits *limits, const char *scratch, struct err *err);
void dicom_free(struct dicom *dicom);
/* The version of DCMTK, for `sendit --version`. */
const char *dicom_library(void);

/* Why an object could not be opened. */
enum dicom_refused {
    DICOM_QUARANTINED = 1, /* read, but not fit to pass */
    DICOM_IGNORED = 2,     /* a DICOMDIR, an empty file */
    DICOM_FAILED = 3       /* could not be read: permission, I/O, vanished */
};
struct dicom_refusal {
    int what;       /* enum dicom_refused */
    char code[32];  /* dicom.not_dicom, dicom.truncated, dicom.too_deep, dicom.transfer_syntax,
                     * dicom.inflate, dicom.corrupt, dicom.too_large; dicom.dicomdir, import.empty,
                     * import.not_regular (ignored); import.unreadable, import.vanished,
                     * import.io (failed) */
    char text[160]; /* one sentence without a value of the file or its name */
};

/*
 * Open a file: regular ones only (O_NOFOLLOW, O_NONBLOCK, fstat), each byte read once.  On success
 * *ret_stat is the fstat of the open file and 0 is returned; -1 fills `refusal`.
 */
int dicom_open(struct dicom *dicom, const char *path, struct dicom_object **ret_object,
               struct stat *ret_stat, struct dicom_refusal *refusal);
void dicom_close(struct dicom_object *object); /* closes the descriptor, too; NULL is fine */

/* fstat() of the open file as it is now; 0 or -1. */
int dicom_stat(const struct dicom_object *object, struct stat *ret_stat);

struct sendit_dataset *dicom_dataset(struct dicom_object *object);
/* The transfer syntax UID that the file has, and that it will be written in. */
const char *dicom_transfer_syntax(const struct dicom_object *object);

/*
 * A callback of a stage comes: between begin and end edits may be made if `may_edit`, and can be
 * taken back.  dicom_end(object, false) makes the data set what it was at begin.  Both end the
 * life of strings and views.  -1 without memory: the object is then unusable.
 */
void dicom_begin(struct dicom_object *object, bool may_edit);
int dicom_end(struct dicom_object *object, bool keep);
bool dicom_edited(const struct dicom_object *object);   /* since begin */
bool dicom_tampered(const struct dicom_object *object); /* an edit was tried that was not allowed */
/* Until dicom_end() dicom_native() may hand out DCMTK's own object; it is edited from then on, or
 * a copy if it may not be. */
void dicom_allow_native(struct dicom_object *object);
void *dicom_native(struct sendit_dataset *ds, const char *build);
/* Before dicom_end(): can what a stage left of DCMTK's own object be written?  True without one. */
bool dicom_is_sound(const struct dicom_object *object);

/* ---- sendit_dicom ---- */
sendit_result dicom_tag(const char *keyword, uint32_t *ret_tag);
/* The other way: "PatientID", or NULL if the dictionary does not know it.  For messages. */
const char *dicom_keyword(uint32_t tag);
/* Each keyword of the dictionary, with its VR, until `each` does not return 0, which is returned.
 * Private ones are left out; one that stands for a range of tags comes with the first. */
int dicom_each_keyword(int (*each)(void *ctx, const char *keyword, uint32_t tag, const char *vr),
                       void *ctx);
/* The VR that the dictionary gives a standard tag ("SQ"; ambiguous ones as DCMTK resolves them,
 * such as "US" or "OB"), NULL if it does not know it. */
const char *dicom_vr(uint32_t tag);
/* Does the dictionary give the standard tag one value at most? */
bool dicom_is_single(uint32_t tag);
sendit_result dicom_locate(struct sendit_dataset *ds, uint32_t tag, const char *creator,
                           uint32_t *ret_tag);
sendit_result dicom_get(struct sendit_dataset *ds, uint32_t tag, const char **ret_value);
sendit_result dicom_bytes(struct sendit_dataset *ds, uint32_t tag, const void **ret_value,
                          size_t *ret_length);
/* A copy of `text` that lives as long as what dicom_get() returns; NULL without memory. */
const char *dicom_dup(struct sendit_dataset *ds, const char *text);
sendit_result dicom_put(struct sendit_dataset *ds, uint32_t tag, const char *value);
sendit_result dicom_put_as(struct sendit_dataset *ds, uint32_t tag, const char *creator,
                           const char *vr, const void *value, size_t length);
sendit_result dicom_erase(struct sendit_dataset *ds, uint32_t tag);
struct sendit_dataset *dicom_nested(struct sendit_dataset *ds, uint32_t tag, size_t index);
/* Which item of its sequence it is, from 0; 0 for the top level. */
size_t dicom_index(const struct sendit_dataset *item);
sendit_result dicom_append(struct sendit_dataset *ds, uint32_t tag,
                           struct sendit_dataset **ret_item);
/* How many items the sequence has; 0 if it is none. */
size_t dicom_items(struct sendit_dataset *ds, uint32_t tag);
/* A visitor may get(), bytes() and put() the element that it is shown, through `parent`, in
 * constant time. */
sendit_result dicom_walk(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx);
/* The same for a data set that nobody has edited, with what is never written: group lengths and
 * padding.  A visitor may look, and answer KEEP, KEEP_WHOLE or STOP. */
sendit_result dicom_walk_file(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx);
/* Shows the elements of group 0002 as the file came with them, if it did; `ds` is the top level.
 * They can be looked at, not edited: any answer but SENDIT_STOP goes on. */
sendit_result dicom_walk_meta(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx);
sendit_result dicom_json(struct sendit_dataset *ds, const char **ret_json);

/* ---- sendit_pixels ---- */
sendit_result dicom_frames(struct sendit_dataset *ds, uint32_t *ret_frames);
sendit_result dicom_frame(struct sendit_dataset *ds, uint32_t index,
                          const struct sendit_frame **ret_frame);
/* The first box of a callback copies the pixel data into a scratch file, decompressed if need be:
 * the original and what was kept before stay as they are. */
sendit_result dicom_blank(struct sendit_dataset *ds, uint32_t index, const struct sendit_box *box);

/* ---- sendit_files ---- */
/*
 * A fresh Part 10 file: zero preamble, a new meta group with our implementation, the data set in
 * the transfer syntax of the file (for a deflated one the parts are a scratch file), no group
 * lengths, no data set trailing padding, nothing after the last element.  Parts in memory come
 * with `data`, pixel data as a range of `fd`.  The same data set gives the same bytes.
 */
sendit_result dicom_view(struct sendit_dataset *ds, const struct sendit_file **ret_file);
/* The same with memory and descriptor of its own, until dicom_drop(). */
sendit_result dicom_keep(struct sendit_dataset *ds, const struct sendit_file **ret_file);
/* False if `kept` is none of them: dropped before, or no such file at all.  NULL is fine. */
bool dicom_drop(struct dicom *dicom, const struct sendit_file *kept);
/* All that dicom_keep() made and nobody dropped: at the end of a batch. */
void dicom_drop_all(struct dicom *dicom);

#ifdef __cplusplus
}
#endif
#endif
