/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_object.h - the file of a stage, before any code of it runs: may others write to it, is it
 * a shared object for this machine, and what does it export?
 */
#ifndef SENDIT_LOAD_SHARED_OBJECT_H
#define SENDIT_LOAD_SHARED_OBJECT_H

#include <stddef.h>

#include "base/err.h"

#define SHARED_OBJECT_MAX (256u << 20) /* bytes */

/* Nobody but its owner may write into the folder; -1 with one sentence. */
int shared_object_check_folder(const char *folder, struct err *err);

/*
 * The bytes of a regular file, as they are now, in memory that nobody can change: *ret_fd is the
 * caller's to close.  A file that is overwritten later changes neither what was hashed nor the
 * code that is loaded through the descriptor.  `name` is shown in /proc/PID/maps.
 */
int shared_object_read(const char *path, const char *name, int *ret_fd, struct err *err);

/* Is what shared_object_read() gave a shared object for this machine?  `ret_more` says how many
 * symbols it exports besides sendit_stage, `ret_first` the first of them, "" for none. */
int shared_object_check(int fd, const char *path, size_t *ret_more, char ret_first[64],
                        struct err *err);

#endif
