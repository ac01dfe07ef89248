/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codes.h - coding schemes that are public, so that a code of theirs says nothing about anybody.
 *
 * A private scheme, or a value that no code of the scheme looks like, may hold whatever a site
 * wrote into it.
 */
#ifndef SENDIT_DEID_CODES_H
#define SENDIT_DEID_CODES_H

#include <stdbool.h>

bool codes_is_public(const char *scheme, const char *value);

#endif
