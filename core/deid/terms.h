/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terms.h - code strings that say nothing about anybody, since the standard or a maker's program
 * wrote them.
 *
 * The form of a code string is that of any word; in an attribute that has defined terms, a word
 * that is none of them may be what somebody typed.  Case does not matter here.
 */
#ifndef SENDIT_DEID_TERMS_H
#define SENDIT_DEID_TERMS_H

#include <stdbool.h>
#include <stddef.h>

/* A term without which an object is not what it was, or a part of the body.  Somebody may be called
 * so, research data often is: the term does not tell. */
bool terms_is_common(const char *text, size_t len);
/* A defined term of Modality, PS3.3 C.7.3.1.1.1, a retired one too. */
bool terms_is_modality(const char *text, size_t len);
/* "M", "F" or "O", which are all that Patient's Sex may be. */
bool terms_is_sex(const char *text, size_t len);
/* A defined term of PhotometricInterpretation. */
bool terms_is_photometric(const char *text, size_t len);
/* A value of ImageType or FrameType: of words that the standard and makers have there, of numbers
 * of up to four digits, and of up to three letters, with a number or without. */
bool terms_is_image_type(const char *text, size_t len);

#endif
