/* SPDX-License-Identifier: Apache-2.0 */
/* Frames decoded for a stage, and boxes of them made black. */
#include "dicom/pixels.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace
{
constexpr uint32_t TAG_PIXELS = 0x7fe00010, TAG_ICON = 0x00880200;
constexpr uint32_t TAG_OFFSETS = 0x7fe00001, TAG_LENGTHS = 0x7fe00002;
constexpr uint32_t TAG_PHOTOMETRIC = 0x00280004, TAG_PLANAR = 0x00280006;
constexpr uint32_t TAG_ALLOCATED = 0x00280100, TAG_STORED = 0x00280101, TAG_HIGH = 0x00280102;
constexpr uint32_t TAG_LOSSY = 0x00282110, TAG_RATIO = 0x00282112, TAG_METHOD = 0x00282114;
constexpr uint64_t MAX_NATIVE = 0xfffffffe; /* bytes of a value with a length */
constexpr size_t COPY_BLOCK = 1u << 20;
const char EXPLICIT_LITTLE[] = "1.2.840.10008.1.2.1";

Cells native_cells(const PixelPlace &place, const Shape &shape)
{
    bool big = place.syntax->big_endian;

    return {shape.allocated, big, big && shape.allocated <= 8 && strcmp(place.vr, "OW") == 0};
}

/* Native pixel data that is as long as it should be. */
sendit_result check_native(const PixelPlace &place, const Shape &shape)
{
    uint64_t bytes = (shape.frame_bits() * shape.frames + 7) / 8;

    if (shape.frame_bits() > MAX_NATIVE * 8 / shape.frames || place.length != bytes + (bytes & 1) ||
        (shape.photometric == Photometric::ybr_full_422 && (shape.planar || shape.columns % 2)) ||
        (place.syntax->big_endian && shape.allocated == 32))
        return SENDIT_ECORRUPT;
    return SENDIT_OK;
}

sendit_result shape_of(struct dicom_object *object, Shape *ret_shape)
{
    if (object->pixels != Pixels::kept)
        return SENDIT_EABSENT;
    if (object->scan.pixel_tag != TAG_PIXELS)
        return SENDIT_ECORRUPT; /* real numbers are no pixels that one could show */
    return read_shape(object->dataset.get(), ret_shape);
}

/* ---- a frame, as it is shown ---- */

/* The cells of one frame, and where in `bytes` the first of them is. */
struct Raw {
    std::vector<uint8_t> bytes;
    uint64_t bit;
    Shape shape;
    Cells cells;

    uint32_t stored(uint64_t cell) const /* without what is not part of the value */
    {
        uint32_t value = cells.get(bytes.data(), bit + cell * shape.allocated) >>
                         (shape.high + 1 - shape.stored);

        return shape.stored < 32 ? value & ((1u << shape.stored) - 1) : value;
    }
};

sendit_result read_native(struct dicom_object *object, uint32_t index, const Shape &shape, Raw *ret)
{
    const PixelPlace &place = object->place;
    uint64_t from = shape.frame_bits() * index, to = from + shape.frame_bits();
    uint64_t first = from / 8 & ~1ull, last = std::min((to + 15) / 16 * 2, place.length);
    sendit_result r = check_native(place, shape);

    if (r)
        return r;
    if (last - first > PIXELS_MAX_FRAME)
        return SENDIT_ECORRUPT;
    ret->bytes.resize(static_cast<size_t>(last - first));
    if (!read_at(place.fd, ret->bytes.data(), ret->bytes.size(), place.at + first))
        return SENDIT_EIO;
    ret->bit = from - first * 8;
    ret->shape = shape;
    ret->cells = native_cells(place, shape);
    return SENDIT_OK;
}

/* Fragments are looked for once, and again when the pixels are elsewhere. */
sendit_result fragments_of(struct dicom_object *object, uint32_t frames)
{
    if (object->fragments && object->fragments->first.size() == frames + size_t{1})
        return SENDIT_OK;
    auto found = std::make_shared<Fragments>();
    sendit_result r = find_fragments(object->place, frames, found.get());
    if (r == SENDIT_OK)
        object->fragments = found;
    return r;
}

sendit_result decode(struct dicom_object *object, uint32_t index, uint32_t frames, Decoded *ret)
{
    sendit_result r = fragments_of(object, frames);

    return r ? r
             : decode_frame(object->place, *object->fragments, object->dataset.get(), index, ret);
}

sendit_result read_raw(struct dicom_object *object, uint32_t index, const Shape &shape, Raw *ret)
{
    Decoded decoded;
    sendit_result r;

    if (!object->place.syntax->encapsulated)
        return read_native(object, index, shape, ret);
    r = decode(object, index, shape.frames, &decoded);
    if (r)
        return r;
    ret->bytes = std::move(decoded.bytes);
    ret->bit = 0;
    ret->shape = decoded.shape;
    ret->cells = {decoded.shape.allocated, false, false};
    return SENDIT_OK;
}

uint32_t clamped(double value, uint32_t max)
{
    return value <= 0 ? 0 : value >= max ? max : static_cast<uint32_t>(value + 0.5);
}

/* ITU-R BT.601 over the full range, as PS3.3 C.7.6.3.1.2 has it. */
void to_rgb(uint32_t y, uint32_t cb, uint32_t cr, unsigned stored, uint32_t ret_rgb[3])
{
    uint32_t max = (1u << stored) - 1;
    double half = 1u << (stored - 1), b = cb - half, r = cr - half;

    ret_rgb[0] = clamped(y + 1.402 * r, max);
    ret_rgb[1] = clamped(y - 0.344136 * b - 0.714136 * r, max);
    ret_rgb[2] = clamped(y + 1.772 * b, max);
}

/* The tables of PALETTE COLOR: red, green and blue. */
struct Palette {
    uint32_t n;
    int32_t first;
    unsigned bits; /* 8 or 16 */
    std::vector<uint16_t> colours[3];

    uint32_t colour(unsigned which, int64_t value) const
    {
        int64_t at = value - first;

        return colours[which][static_cast<size_t>(std::clamp<int64_t>(at, 0, n - 1))];
    }
};

bool read_descriptor(DcmItem *item, uint16_t element, bool is_signed, Palette *ret)
{
    unsigned numbers[3];

    for (unsigned i = 0; i < 3; i++) {
        Uint16 plain = 0;
        Sint16 with_sign = 0;
        const DcmTagKey key(0x0028, element);

        if (item->findAndGetUint16(key, plain, i).good())
            numbers[i] = plain;
        else if (item->findAndGetSint16(key, with_sign, i).good())
            numbers[i] = static_cast<uint16_t>(with_sign);
        else
            return false;
    }
    ret->n = numbers[0] ? numbers[0] : 65536;
    ret->first = is_signed ? static_cast<int16_t>(numbers[1]) : static_cast<int32_t>(numbers[1]);
    ret->bits = numbers[2];
    return ret->bits == 8 || ret->bits == 16;
}

/* One table; entries of 8 bits come one or two to a word.  Segmented ones are not read. */
bool read_colours(DcmItem *item, uint16_t element, const Palette &palette,
                  std::vector<uint16_t> *ret)
{
    DcmElement *found = nullptr;
    const uint8_t *bytes;
    size_t length = 0;
    bool packed;

    if (item->findAndGetElement(DcmTagKey(0x0028, element), found).bad() || !found)
        return false;
    bytes = static_cast<const uint8_t *>(raw_value(found, &length));
    packed = palette.bits == 8 && length == palette.n + (palette.n & 1);
    if (!bytes || (!packed && length != size_t{2} * palette.n))
        return false;
    for (size_t i = 0; i < palette.n; i++) {
        auto word = static_cast<uint16_t>(packed ? bytes[i] : bytes[2 * i + 1] << 8 | bytes[2 * i]);

        ret->push_back(word);
    }
    return true;
}

sendit_result read_palette(DcmItem *item, const Shape &shape, Palette *ret)
{
    Palette other = {};

    for (uint16_t i = 0; i < 3; i++) {
        Palette *palette = i ? &other : ret;

        if (!read_descriptor(item, static_cast<uint16_t>(0x1101 + i), shape.is_signed, palette) ||
            palette->n != ret->n || palette->first != ret->first || palette->bits != ret->bits ||
            !read_colours(item, static_cast<uint16_t>(0x1201 + i), *ret, &ret->colours[i]))
            return SENDIT_ECORRUPT;
    }
    return SENDIT_OK;
}

int64_t with_sign(uint32_t value, const Shape &shape)
{
    if (shape.is_signed && value >> (shape.stored - 1) & 1)
        return static_cast<int64_t>(value) - (int64_t{1} << shape.stored);
    return value;
}

/* Samples in host order, one behind the other. */
struct Out {
    std::vector<uint8_t> &bytes;
    unsigned bits;
    size_t at = 0;

    void add(uint32_t value)
    {
        memcpy(bytes.data() + at, &value, bits / 8); /* little endian */
        at += bits / 8;
    }
};

void show_pixel(const Raw &raw, const Palette &palette, uint32_t row, uint32_t column, Out *out)
{
    const Shape &shape = raw.shape;
    uint32_t value[3] = {0, 0, 0}, rgb[3];

    for (uint32_t s = 0; s < shape.samples; s++)
        value[s] = raw.stored(shape.cell(row, column, s));
    switch (shape.photometric) {
    case Photometric::monochrome1:
    case Photometric::monochrome2:
        out->add(static_cast<uint32_t>(with_sign(value[0], shape)));
        return;
    case Photometric::palette:
        for (unsigned i = 0; i < 3; i++)
            rgb[i] = palette.colour(i, with_sign(value[0], shape));
        break;
    case Photometric::rgb:
        std::copy(value, value + 3, rgb);
        break;
    default:
        to_rgb(value[0], value[1], value[2], shape.stored, rgb);
    }
    for (uint32_t colour : rgb)
        out->add(colour);
}

sendit_result show(struct dicom_object *object, const Raw &raw)
{
    const Shape &shape = raw.shape;
    bool grey = shape.photometric == Photometric::monochrome1 ||
                shape.photometric == Photometric::monochrome2;
    Palette palette = {};
    unsigned bits = shape.allocated < 8 ? 8 : shape.allocated;
    uint64_t size;

    if (shape.photometric == Photometric::palette) {
        sendit_result r = read_palette(object->dataset.get(), shape, &palette);

        if (r)
            return r;
        bits = palette.bits;
    }
    size = static_cast<uint64_t>(shape.rows) * shape.columns * (grey ? 1 : 3) * bits / 8;
    if (size > PIXELS_MAX_FRAME)
        return SENDIT_ECORRUPT;
    object->frame_bytes.resize(static_cast<size_t>(size));
    Out out = {object->frame_bytes, bits};
    for (uint32_t row = 0; row < shape.rows; row++)
        for (uint32_t column = 0; column < shape.columns; column++)
            show_pixel(raw, palette, row, column, &out);
    object->frame = {};
    object->frame.rows = shape.rows;
    object->frame.columns = shape.columns;
    object->frame.samples = grey ? 1 : 3;
    object->frame.bits = bits;
    object->frame.data = object->frame_bytes.data();
    return SENDIT_OK;
}

/* ---- pixel data that may be written into ---- */

sendit_result write_at(int fd, const void *data, size_t length, uint64_t at)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = pwrite(fd, static_cast<const char *>(data) + done, length - done,
                           static_cast<off_t>(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SENDIT_EIO;
        done += static_cast<size_t>(n);
    }
    return SENDIT_OK;
}

/* Through memory, where the kernel cannot copy from one file system to the other. */
sendit_result copy_by_hand(int from, uint64_t at, int to, uint64_t length)
{
    std::vector<char> block(COPY_BLOCK);

    for (uint64_t done = 0; done < length;) {
        size_t n = static_cast<size_t>(std::min<uint64_t>(block.size(), length - done));

        if (!read_at(from, block.data(), n, at + done) || write_at(to, block.data(), n, done))
            return SENDIT_EIO;
        done += n;
    }
    return SENDIT_OK;
}

sendit_result copy_range(int from, uint64_t at, int to, uint64_t length)
{
    auto in = static_cast<off64_t>(at);
    off64_t out = 0;

    while (static_cast<uint64_t>(out) < length) {
        ssize_t n = copy_file_range(from, &in, to, &out, length - static_cast<uint64_t>(out), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return copy_by_hand(from, at, to, length);
    }
    return SENDIT_OK;
}

/* All frames after another, cells in little endian; each must be like the first. */
sendit_result decode_all(struct dicom_object *object, const Shape &shape, int to,
                         Decoded *ret_first, uint64_t *ret_length)
{
    uint64_t frame = 0;

    for (uint32_t i = 0; i < shape.frames; i++) {
        Decoded decoded;
        sendit_result r = decode(object, i, shape.frames, &decoded);

        if (r)
            return r;
        if (i == 0) {
            frame = decoded.bytes.size();
            if (frame > MAX_NATIVE / shape.frames)
                return SENDIT_ECORRUPT;
        } else if (decoded.bytes.size() != frame || decoded.photometric != ret_first->photometric ||
                   decoded.shape.allocated != ret_first->shape.allocated ||
                   decoded.shape.planar != ret_first->shape.planar) {
            return SENDIT_ECORRUPT;
        }
        r = write_at(to, decoded.bytes.data(), decoded.bytes.size(), frame * i);
        if (r)
            return r;
        if (i == 0)
            *ret_first = std::move(decoded);
    }
    *ret_length = frame * shape.frames;
    if (*ret_length & 1)
        return write_at(to, "", 1, (*ret_length)++);
    return SENDIT_OK;
}

sendit_result put_number(struct dicom_object *object, uint32_t tag, unsigned value)
{
    return dicom_put(&object->top, tag, std::to_string(value).c_str());
}

bool is_empty(struct dicom_object *object, uint32_t tag)
{
    DcmElement *element = find_element(&object->top, tag);

    return !element || element->getLength() == 0;
}

/* PS3.3 C.7.6.1.1.5: what was compressed with a loss stays known for it. */
sendit_result declare_lossy(struct dicom_object *object, uint64_t length)
{
    const char *method = lossy_method(object->place.syntax->uid);
    char ratio[32];
    sendit_result r;

    if (!method || !is_empty(object, TAG_LOSSY))
        return SENDIT_OK;
    snprintf(ratio, sizeof(ratio), "%.2f",
             static_cast<double>(length) / static_cast<double>(object->place.length));
    r = dicom_put(&object->top, TAG_LOSSY, "01");
    if (r == SENDIT_OK && is_empty(object, TAG_RATIO))
        r = dicom_put(&object->top, TAG_RATIO, ratio);
    if (r == SENDIT_OK && is_empty(object, TAG_METHOD))
        r = dicom_put(&object->top, TAG_METHOD, method);
    return r;
}

/* What the data set says of pixels that are not compressed any more. */
sendit_result describe(struct dicom_object *object, const Decoded &decoded, uint64_t length)
{
    const Shape &shape = decoded.shape;
    sendit_result r = declare_lossy(object, length);

    if (r == SENDIT_OK)
        r = dicom_put(&object->top, TAG_PHOTOMETRIC, decoded.photometric.c_str());
    if (r == SENDIT_OK && shape.samples > 1)
        r = put_number(object, TAG_PLANAR, shape.planar);
    if (r == SENDIT_OK)
        r = put_number(object, TAG_ALLOCATED, shape.allocated);
    if (r == SENDIT_OK)
        r = put_number(object, TAG_STORED, shape.stored);
    if (r == SENDIT_OK)
        r = put_number(object, TAG_HIGH, shape.high);
    for (uint32_t tag : {TAG_OFFSETS, TAG_LENGTHS})
        if (r == SENDIT_OK && dicom_erase(&object->top, tag) == SENDIT_ENOMEM)
            r = SENDIT_ENOMEM;
    return r;
}

/* From here on the pixels are in a file of the object's own, native, which no one else reads. */
sendit_result make_own(struct dicom_object *object, const Shape &shape)
{
    PixelPlace own = object->place;
    Decoded first;
    sendit_result r;

    if (object->place_is_fresh)
        return SENDIT_OK;
    own.own = std::make_shared<Scratch>();
    own.own->fd = own.fd = scratch_file(object->dicom);
    if (own.fd < 0)
        return SENDIT_EIO;
    own.at = 0;
    if (object->place.syntax->encapsulated) {
        r = decode_all(object, shape, own.fd, &first, &own.length);
        if (r == SENDIT_OK) {
            r = describe(object, first, own.length);
            object->broken |= r != SENDIT_OK;
        }
        own.undefined = false;
        own.syntax = scan_find_syntax(EXPLICIT_LITTLE);
        snprintf(own.vr, sizeof(own.vr), "%s", first.shape.allocated > 8 ? "OW" : "OB");
    } else {
        r = check_native(object->place, shape);
        if (r == SENDIT_OK)
            r = copy_range(object->place.fd, object->place.at, own.fd, own.length);
    }
    /* a small picture of the same pixels shows the same */
    if (r == SENDIT_OK && dicom_erase(&object->top, TAG_ICON) == SENDIT_ENOMEM)
        r = SENDIT_ENOMEM;
    if (r)
        return r;
    object->place = std::move(own);
    object->place_is_fresh = true;
    object->fragments.reset();
    return SENDIT_OK;
}

/* ---- black ---- */

/* The darkest entry of a palette, as the value that names it. */
sendit_result darkest(struct dicom_object *object, const Shape &shape, int64_t *ret_value)
{
    Palette palette = {};
    sendit_result r = read_palette(object->dataset.get(), shape, &palette);
    int64_t low = shape.is_signed ? -(int64_t{1} << (shape.stored - 1)) : 0;
    int64_t high = low + (int64_t{1} << shape.stored) - 1;
    uint64_t best = UINT64_MAX;

    if (r)
        return r;
    for (uint32_t i = 0; i < palette.n; i++) {
        int64_t value = int64_t{palette.first} + i;
        uint64_t light = 299ull * palette.colours[0][i] + 587ull * palette.colours[1][i] +
                         114ull * palette.colours[2][i];

        if (light < best && value >= low && value <= high) {
            best = light;
            *ret_value = value;
        }
    }
    return best == UINT64_MAX ? SENDIT_ECORRUPT : SENDIT_OK;
}

/* The cell that is black, for each sample. */
sendit_result black_of(struct dicom_object *object, const Shape &shape, uint32_t ret_cells[3])
{
    int64_t low = shape.is_signed ? -(int64_t{1} << (shape.stored - 1)) : 0, value[3] = {0, 0, 0};
    sendit_result r = SENDIT_OK;

    switch (shape.photometric) {
    case Photometric::monochrome1:
        value[0] = low + (int64_t{1} << shape.stored) - 1;
        break;
    case Photometric::monochrome2:
        value[0] = low;
        break;
    case Photometric::palette:
        r = darkest(object, shape, &value[0]);
        break;
    case Photometric::rgb:
        break;
    default:
        value[1] = value[2] = int64_t{1} << (shape.stored - 1);
    }
    /* the sign goes on into the bits above the value; what else was in them is gone */
    for (unsigned i = 0; i < 3; i++)
        ret_cells[i] = static_cast<uint32_t>(static_cast<uint64_t>(value[i])
                                             << (shape.high + 1 - shape.stored));
    return r;
}

/* One row of a box, of one plane or of all samples: read, changed, written. */
sendit_result blank_row(struct dicom_object *object, const Shape &shape, uint64_t frame_bit,
                        uint32_t row, const struct sendit_box &box, uint32_t plane, bool whole,
                        const uint32_t black[3])
{
    Cells cells = native_cells(object->place, shape);
    uint32_t past = box.x + box.width, first_sample = whole ? 0 : plane;
    uint32_t past_sample = whole ? shape.samples : plane + 1;
    uint64_t from = UINT64_MAX, to = 0;
    sendit_result r;

    for (uint32_t s = first_sample; s < past_sample; s++) {
        from = std::min(from, frame_bit + shape.cell(row, box.x, s) * shape.allocated);
        to = std::max(to, frame_bit + (shape.cell(row, past - 1, s) + 1) * shape.allocated);
    }
    from = from / 16 * 2;
    to = std::min((to + 15) / 16 * 2, object->place.length);
    std::vector<uint8_t> bytes(static_cast<size_t>(to - from));
    if (!read_at(object->place.fd, bytes.data(), bytes.size(), from))
        return SENDIT_EIO;
    for (uint32_t column = box.x; column < past; column++)
        for (uint32_t s = first_sample; s < past_sample; s++)
            cells.set(bytes.data(),
                      frame_bit + shape.cell(row, column, s) * shape.allocated - from * 8,
                      black[s]);
    r = write_at(object->place.fd, bytes.data(), bytes.size(), from);
    return r;
}

sendit_result blank_frame(struct dicom_object *object, const Shape &shape, uint32_t index,
                          const struct sendit_box &box, const uint32_t black[3])
{
    uint32_t planes = shape.planar ? shape.samples : 1;
    sendit_result r = SENDIT_OK;

    for (uint32_t plane = 0; plane < planes; plane++)
        for (uint32_t row = box.y; r == SENDIT_OK && row < box.y + box.height; row++)
            r = blank_row(object, shape, shape.frame_bits() * index, row, box, plane, !shape.planar,
                          black);
    return r;
}

/* The part of the box that is in the frame; two pixels that share their colours go together. */
bool clip(const Shape &shape, const struct sendit_box &box, struct sendit_box *ret)
{
    uint64_t right = std::min<uint64_t>(uint64_t{box.x} + box.width, shape.columns);
    uint64_t low = std::min<uint64_t>(uint64_t{box.y} + box.height, shape.rows);
    uint32_t x = box.x;

    if (box.x >= right || box.y >= low)
        return false;
    if (shape.photometric == Photometric::ybr_full_422) {
        x &= ~1u;
        right += right & 1;
    }
    *ret = {x, box.y, static_cast<uint32_t>(right) - x, static_cast<uint32_t>(low) - box.y};
    return true;
}

sendit_result blank(struct dicom_object *object, uint32_t index, const struct sendit_box &box)
{
    Shape shape = {};
    struct sendit_box clipped = {};
    uint32_t black[3];
    sendit_result r = begin_edit(object);

    if (r == SENDIT_OK)
        r = shape_of(object, &shape);
    if (r)
        return r;
    if (index != SENDIT_ALL_FRAMES && index >= shape.frames)
        return SENDIT_EABSENT;
    if (!clip(shape, box, &clipped))
        return SENDIT_OK;
    r = make_own(object, shape);
    if (r == SENDIT_OK)
        r = shape_of(object, &shape); /* as it is in that file */
    if (r == SENDIT_OK)
        r = check_native(object->place, shape);
    if (r == SENDIT_OK)
        r = black_of(object, shape, black);
    if (r || !clip(shape, box, &clipped))
        return r;
    for (uint32_t i = 0; r == SENDIT_OK && i < shape.frames; i++)
        if (index == SENDIT_ALL_FRAMES || index == i)
            r = blank_frame(object, shape, i, clipped, black);
    object->broken |= r != SENDIT_OK; /* half a box must not pass for one */
    return r;
}
} // namespace

sendit_result dicom_frames(struct sendit_dataset *ds, uint32_t *ret_frames)
{
    return guarded([&]() -> sendit_result {
        Shape shape = {};
        sendit_result r = ds->parent ? SENDIT_EINVAL : shape_of(ds->object, &shape);

        if (r == SENDIT_OK || r == SENDIT_EABSENT)
            *ret_frames = r == SENDIT_OK ? shape.frames : 0;
        return r == SENDIT_EABSENT ? SENDIT_OK : r;
    });
}

sendit_result dicom_frame(struct sendit_dataset *ds, uint32_t index,
                          const struct sendit_frame **ret_frame)
{
    return guarded([&]() -> sendit_result {
        struct dicom_object *object = ds->object;
        Shape shape = {};
        Raw raw;
        sendit_result r = ds->parent ? SENDIT_EINVAL : shape_of(object, &shape);

        if (r)
            return r;
        if (index >= shape.frames)
            return SENDIT_EABSENT;
        r = read_raw(object, index, shape, &raw);
        if (r == SENDIT_OK)
            r = show(object, raw);
        if (r == SENDIT_OK)
            *ret_frame = &object->frame;
        return r;
    });
}

sendit_result dicom_blank(struct sendit_dataset *ds, uint32_t index, const struct sendit_box *box)
{
    return guarded([&]() { return ds->parent ? SENDIT_EINVAL : blank(ds->object, index, *box); });
}
