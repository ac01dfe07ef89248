/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pixel_stream.h - looks through compressed pixel data for what is no pixel: comments, metadata of
 * a camera, an offset table that is none, bytes behind the end of a picture.
 *
 * No pixel is decoded.  What hides inside the entropy-coded bytes themselves is not found.
 */
#ifndef PIXEL_STREAM_H
#define PIXEL_STREAM_H

#include <sendit/stage.h>

enum pixel_stream {
    PIXEL_STREAM_CLEAN = 1, /* nothing but pixels, as far as can be told */
    PIXEL_STREAM_COMMENT,   /* something else: it may be text */
    PIXEL_STREAM_OPAQUE     /* cannot be looked into, or read */
};

/* `pixels` is the value of encapsulated pixel data, its items and their end, in a descriptor. */
enum pixel_stream pixel_stream_look(const char *syntax, const struct sendit_part *pixels);

#endif
