/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make.h - small DICOM files, for what is tried with every stage.
 */
#ifndef SENDIT_HARNESS_MAKE_H
#define SENDIT_HARNESS_MAKE_H

/* A CT image of four by four pixels, of a patient who does not exist; with `depth` there is a
 * sequence in it, so many deep.  0, or -1 with errno set. */
int make_image(const char *path, unsigned depth);
/* A file that has no attribute but the SOP class that its reader asks for. */
int make_empty(const char *path);

#endif
