/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_folder.h - folders of the store: made, synced, locked, emptied.
 *
 * Functions return 0 or a descriptor, or -1 with errno.
 */
#ifndef SENDIT_STORE_FOLDER_H
#define SENDIT_STORE_FOLDER_H

#define STORE_FOLDER_MODE 0750

/* mkdir -p of an absolute path; what is made is durable in the folder that it stands in. */
int store_folder_make(const char *path);
int store_folder_sync(int at, const char *path);
/* Remove all files of a staging folder; there is nothing else in one. */
int store_folder_empty(int fd);
/* The staging folder `name`, locked as long as it is open.  EWOULDBLOCK if another process has it,
 * ESTALE if one removed it meanwhile.  Where there are no such locks, it is ours if its name is. */
int store_folder_lock(int staging, const char *name, int ours);
/* Remove what a process left that died and whose batch will not come again. */
void store_folder_sweep(int staging);

#endif
