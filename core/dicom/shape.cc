/* SPDX-License-Identifier: Apache-2.0 */
/* How the pixels of an image are laid out. */
#include "dicom/pixels.h"

#include <cstring>

namespace
{
bool get_u16(DcmItem *item, const DcmTagKey &key, unsigned *ret_value)
{
    Uint16 value = 0;

    if (item->findAndGetUint16(key, value).bad())
        return false;
    *ret_value = value;
    return true;
}

unsigned u16_or(DcmItem *item, const DcmTagKey &key, unsigned otherwise)
{
    unsigned value = otherwise;

    get_u16(item, key, &value);
    return value;
}

/* 1 if it is left out or empty, 0 for what is no such number. */
uint32_t frames_of(DcmItem *item)
{
    OFString text;
    char *end = nullptr;
    unsigned long long n;

    if (item->findAndGetOFString(DCM_NumberOfFrames, text).bad())
        return 1;
    while (!text.empty() && (text[text.size() - 1] == ' ' || text[text.size() - 1] == '\0'))
        text.erase(text.size() - 1);
    while (!text.empty() && text[0] == ' ')
        text.erase(0, 1);
    if (text.empty())
        return 1;
    if (text.size() > 12 || text.find_first_not_of("+0123456789") != OFString_npos)
        return 0;
    n = strtoull(text.c_str(), &end, 10);
    return *end || n >= SENDIT_ALL_FRAMES ? 0 : static_cast<uint32_t>(n);
}

bool find_photometric(const std::string &name, Photometric *ret_photometric)
{
    static const struct {
        const char *name;
        Photometric photometric;
    } known[] = {
        {"MONOCHROME1", Photometric::monochrome1},
        {"MONOCHROME2", Photometric::monochrome2},
        {"PALETTE COLOR", Photometric::palette},
        {"RGB", Photometric::rgb},
        {"YBR_FULL", Photometric::ybr_full},
        {"YBR_FULL_422", Photometric::ybr_full_422},
        {"YBR_RCT", Photometric::rgb},
        {"YBR_ICT", Photometric::rgb},
    };

    for (const auto &row : known)
        if (name == row.name) {
            *ret_photometric = row.photometric;
            return true;
        }
    return false;
}

bool fits(const Shape &shape)
{
    bool colour = shape.photometric == Photometric::rgb ||
                  shape.photometric == Photometric::ybr_full ||
                  shape.photometric == Photometric::ybr_full_422;
    unsigned bits = shape.allocated;

    if (shape.rows == 0 || shape.columns == 0 || shape.frames == 0 ||
        shape.samples != (colour ? 3u : 1u))
        return false;
    if (bits != 8 && bits != 16 &&
        !(bits == 32 && (!colour || shape.photometric == Photometric::rgb)) &&
        !(bits == 1 && !colour))
        return false;
    if (shape.stored == 0 || shape.stored > bits || shape.high >= bits ||
        shape.high + 1 < shape.stored)
        return false;
    return !colour || !shape.is_signed;
}
} // namespace

std::string photometric_name(DcmItem *item)
{
    OFString text;

    if (item->findAndGetOFString(DCM_PhotometricInterpretation, text).bad())
        return "";
    std::string name(text.c_str(), text.size());
    name.erase(name.find_last_not_of(std::string(" \0", 2)) + 1);
    return name;
}

uint64_t Shape::cells() const
{
    uint64_t pixels = static_cast<uint64_t>(rows) * columns;

    return photometric == Photometric::ybr_full_422 ? 2 * pixels : pixels * samples;
}

uint64_t Shape::cell(uint32_t row, uint32_t column, uint32_t sample) const
{
    uint64_t pixel = static_cast<uint64_t>(row) * columns + column;

    if (photometric == Photometric::ybr_full_422) /* Y Y Cb Cr, for two pixels */
        return sample ? (pixel & ~1ull) * 2 + 1 + sample : (pixel & ~1ull) * 2 + (pixel & 1);
    if (planar)
        return static_cast<uint64_t>(sample) * rows * columns + pixel;
    return pixel * samples + sample;
}

sendit_result read_shape(DcmItem *item, Shape *ret_shape)
{
    Shape shape = {};
    unsigned planar, is_signed;

    if (!get_u16(item, DCM_Rows, &shape.rows) || !get_u16(item, DCM_Columns, &shape.columns) ||
        !get_u16(item, DCM_BitsAllocated, &shape.allocated) ||
        !find_photometric(photometric_name(item), &shape.photometric))
        return SENDIT_ECORRUPT;
    shape.samples = u16_or(item, DCM_SamplesPerPixel, 1);
    shape.stored = u16_or(item, DCM_BitsStored, shape.allocated);
    shape.high = u16_or(item, DCM_HighBit, shape.stored - 1);
    shape.frames = frames_of(item);
    planar = shape.samples > 1 ? u16_or(item, DCM_PlanarConfiguration, 0) : 0;
    is_signed = u16_or(item, DCM_PixelRepresentation, 0);
    if (planar > 1 || is_signed > 1)
        return SENDIT_ECORRUPT;
    shape.planar = planar == 1;
    shape.is_signed = is_signed == 1;
    if (!fits(shape))
        return SENDIT_ECORRUPT;
    *ret_shape = shape;
    return SENDIT_OK;
}

uint32_t Cells::get(const uint8_t *bytes, uint64_t bit) const
{
    uint64_t at = bit / 8;

    switch (allocated) {
    case 1:
        return bytes[at ^ swapped] >> bit % 8 & 1u;
    case 8:
        return bytes[at ^ swapped];
    case 16:
        return big ? static_cast<uint32_t>(bytes[at] << 8 | bytes[at + 1])
                   : static_cast<uint32_t>(bytes[at + 1] << 8 | bytes[at]);
    default:
        return static_cast<uint32_t>(bytes[at]) | static_cast<uint32_t>(bytes[at + 1]) << 8 |
               static_cast<uint32_t>(bytes[at + 2]) << 16 |
               static_cast<uint32_t>(bytes[at + 3]) << 24;
    }
}

void Cells::set(uint8_t *bytes, uint64_t bit, uint32_t value) const
{
    uint64_t at = bit / 8;

    switch (allocated) {
    case 1:
        bytes[at ^ swapped] = static_cast<uint8_t>((bytes[at ^ swapped] & ~(1u << bit % 8)) |
                                                   (value & 1u) << bit % 8);
        break;
    case 8:
        bytes[at ^ swapped] = static_cast<uint8_t>(value);
        break;
    case 16:
        bytes[at + !big] = static_cast<uint8_t>(value >> 8);
        bytes[at + big] = static_cast<uint8_t>(value);
        break;
    default:
        for (unsigned i = 0; i < 4; i++)
            bytes[at + i] = static_cast<uint8_t>(value >> 8 * i);
    }
}
