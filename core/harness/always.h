/* SPDX-License-Identifier: Apache-2.0 */
/*
 * always.h - what every stage must stand, without a case being written for it.
 */
#ifndef SENDIT_HARNESS_ALWAYS_H
#define SENDIT_HARNESS_ALWAYS_H

#include "base/buf.h"
#include "harness/trial.h"

size_t always_n(void);
/* "open and close 100 times" */
const char *always_name(size_t check);
/* 0, -1 with text for a person, or 1 with the reason why it cannot be tried. */
int always_try(const struct trial *trial, size_t check, struct buf *ret_text);

#endif
