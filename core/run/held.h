/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held.h - files of images that rest at a hold entry: STATE/held/BATCH/HOLD/ITEM.dcm.
 *
 * Folders are 0700, files 0600.  A worker writes them; they count once the batch is HELD, which is
 * told after held_sync().  What an attempt left that did not come so far is written again.  Whoever
 * has the ledger takes away what no image needs any more.
 */
#ifndef SENDIT_RUN_HELD_H
#define SENDIT_RUN_HELD_H

#include <sys/stat.h>

#include "base/digest.h"
#include "base/err.h"
#include "ledger/ledger.h"
#include "sendit/stage.h"

/* ---- of a worker ---- */

/* The folder of one batch and hold entry, made if it is not there; a descriptor or -1 with errno.
 */
int held_folder(const char *state, const char *batch, const char *hold);
/* Write the file of an item.  -1 with errno: EBADMSG if the source ends too early.  *ret_digest is
 * what held_digest() finds. */
int held_write(int folder, const char *item, const struct sendit_file *file,
               char ret_digest[DIGEST_HEX]);
/* Make all that was written there durable, and that it is there; `alive` is called between files.
 */
int held_sync(const char *state, const char *batch, const char *hold, void (*alive)(void *ctx),
              void *ctx);
/* The path of an item's file; the caller frees it, NULL without memory. */
char *held_path(const char *state, const char *batch, const char *hold, const char *item);
/* The digest of all of it: that it is what was written; and which file that was.  -1 if it is no
 * regular file or cannot be read. */
int held_digest(const char *path, char ret_digest[DIGEST_HEX], struct stat *ret_st);

/* ---- of whoever has the ledger ---- */

/* Take away the files of a batch but for those of images that wait, are quarantined and not
 * dropped, or failed, at the hold entry where they came to rest last.  -1: the ledger cannot be
 * read. */
int held_clean(struct ledger *ledger, const char *state, const char *batch, struct err *err);
/* The same for every batch, when no worker is there. */
int held_sweep(struct ledger *ledger, const char *state, struct err *err);

#endif
