/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pixels.h - what pixels.cc, shape.cc and codec.cc share: how the pixels of an image are laid out,
 * and one frame of them.  Nobody else includes it.
 */
#ifndef SENDIT_DICOM_PIXELS_H
#define SENDIT_DICOM_PIXELS_H

#include "dicom/object.h"

/* Bytes of one frame, compressed or not: it stands in memory up to three times. */
constexpr uint64_t PIXELS_MAX_FRAME = 256u << 20;
constexpr size_t PIXELS_MAX_FRAGMENTS = 1u << 20; /* of one image */

enum class Photometric { monochrome1, monochrome2, palette, rgb, ybr_full, ybr_full_422 };

/* What the attributes say of the pixels, checked: numbers fit each other. */
struct Shape {
    uint32_t rows, columns, samples, frames;
    unsigned allocated, stored, high; /* bits of a cell, bits of a value, its highest bit */
    bool planar, is_signed;
    Photometric photometric;

    uint64_t cells() const; /* of one frame */
    uint64_t frame_bits() const
    {
        return cells() * allocated;
    }
    /* The cell of one sample; where two pixels share their colours, that of the pair. */
    uint64_t cell(uint32_t row, uint32_t column, uint32_t sample) const;
};

/* ECORRUPT for what is missing, does not fit, or is not known. */
sendit_result read_shape(DcmItem *item, Shape *ret_shape);
/* (0028,0004) without padding. */
std::string photometric_name(DcmItem *item);

/* Cells in bytes as a file has them. */
struct Cells {
    unsigned allocated;
    bool big, swapped; /* swapped: bytes in words of big endian */

    uint32_t get(const uint8_t *bytes, uint64_t bit) const;
    void set(uint8_t *bytes, uint64_t bit, uint32_t value) const;
};

/* A frame as it was decompressed: cells in little endian, its own shape. */
struct Decoded {
    std::vector<uint8_t> bytes;
    Shape shape;
    std::string photometric; /* that the cells have now */
};

/* codec.cc */
/* Where the fragments of each frame are: `first` of frame i in `fragments`, up to that of i + 1. */
struct Fragment {
    uint64_t at;
    uint32_t length;
};
struct Fragments {
    std::vector<Fragment> all;
    std::vector<size_t> first; /* frames + 1 of them */
};
sendit_result find_fragments(const PixelPlace &place, uint32_t frames, Fragments *ret_fragments);
/* One frame of what `item` describes. */
sendit_result decode_frame(const PixelPlace &place, const Fragments &fragments, DcmItem *item,
                           uint32_t index, Decoded *ret_decoded);
/* What a decoder may have lost: the word for (0028,2114), or NULL if it is lossless by its UID. */
const char *lossy_method(const char *uid);

/* All `length` bytes at `at`; false if there are not so many. */
bool read_at(int fd, void *to, size_t length, uint64_t at);

#endif
