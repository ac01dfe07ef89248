/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressed frames, one at a time: JPEG and JPEG-LS by DCMTK, JPEG 2000 by OpenJPEG, RLE by hand:
 * DCMTK leaves what it happened to find in memory where an RLE frame breaks off.
 *
 * A code stream says its own size.  That is compared with what the data set says before a library
 * sees the stream, so that it makes room for nothing else.
 */
#include "dicom/pixels.h"

#include <cerrno>
#include <cstring>
#include <unistd.h>

#include <dcmtk/dcmdata/dcpixel.h>
#include <dcmtk/dcmdata/dcpixseq.h>
#include <dcmtk/dcmdata/dcpxitem.h>
#include <dcmtk/dcmjpeg/djdecode.h>
#include <dcmtk/dcmjpls/djdecode.h>
#include <openjpeg.h>

namespace
{
enum class Codec { none, rle, jpeg, jpeg_ls, jpeg_2000 };

struct Syntax {
    const char *uid; /* behind 1.2.840.10008.1.2. */
    Codec codec;
    bool is_lossy; /* or may be */
};
const Syntax syntaxes[] = {
    {"5", Codec::rle, false},           {"4.50", Codec::jpeg, true},
    {"4.51", Codec::jpeg, true},        {"4.53", Codec::jpeg, true},
    {"4.55", Codec::jpeg, true},        {"4.57", Codec::jpeg, false},
    {"4.70", Codec::jpeg, false},       {"4.80", Codec::jpeg_ls, false},
    {"4.81", Codec::jpeg_ls, true},     {"4.90", Codec::jpeg_2000, false},
    {"4.91", Codec::jpeg_2000, true},   {"4.201", Codec::jpeg_2000, false},
    {"4.202", Codec::jpeg_2000, false}, {"4.203", Codec::jpeg_2000, true},
};

const Syntax *find_syntax(const char *uid)
{
    static const char root[] = "1.2.840.10008.1.2.";

    if (strncmp(uid, root, sizeof(root) - 1) == 0)
        for (const Syntax &syntax : syntaxes)
            if (strcmp(syntax.uid, uid + sizeof(root) - 1) == 0)
                return &syntax;
    return nullptr;
}

uint32_t u16(const uint8_t *at)
{
    return static_cast<uint32_t>(at[0] << 8 | at[1]);
}

uint32_t u32(const uint8_t *at)
{
    return u16(at) << 16 | u16(at + 2);
}

uint32_t u32_little(const uint8_t *at)
{
    return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
           static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24;
}

/* ---- fragments ---- */

constexpr uint32_t ITEM = 0xe000fffe, SEQUENCE_END = 0xe0ddfffe; /* as bytes in little endian */

/* The first item is the offset table: where each frame's first fragment begins, or empty. */
sendit_result read_items(const PixelPlace &place, Fragment *ret_table, Fragments *ret)
{
    uint64_t at = place.at, end = place.at + place.length;
    bool table = true;
    uint8_t head[8];

    while (end - at >= 8) {
        uint32_t length;

        if (!read_at(place.fd, head, 8, at))
            return SENDIT_EIO;
        at += 8;
        length = u32_little(head + 4);
        if (u32_little(head) == SEQUENCE_END)
            return table ? SENDIT_ECORRUPT : SENDIT_OK;
        if (u32_little(head) != ITEM || length > end - at ||
            ret->all.size() >= PIXELS_MAX_FRAGMENTS)
            return SENDIT_ECORRUPT;
        if (table)
            *ret_table = {at, length};
        else
            ret->all.push_back({at, length});
        table = false;
        at += length;
    }
    return SENDIT_ECORRUPT;
}

/* Frames by the offset table; each offset must be that of a fragment. */
sendit_result by_table(const PixelPlace &place, const Fragment &table, uint32_t frames,
                       Fragments *ret)
{
    std::vector<uint8_t> offsets(table.length);
    size_t fragment = 0;
    uint64_t base = ret->all[0].at - 8;

    if (table.length / 4 != frames || table.length % 4)
        return SENDIT_ECORRUPT;
    if (!read_at(place.fd, offsets.data(), offsets.size(), table.at))
        return SENDIT_EIO;
    for (uint32_t i = 0; i < frames; i++) {
        uint64_t offset = u32_little(&offsets[4 * static_cast<size_t>(i)]);

        while (fragment < ret->all.size() && ret->all[fragment].at - 8 - base < offset)
            fragment++;
        if (fragment == ret->all.size() || ret->all[fragment].at - 8 - base != offset ||
            (i == 0) != (fragment == 0) || (i && fragment == ret->first.back()))
            return SENDIT_ECORRUPT;
        ret->first.push_back(fragment);
    }
    return SENDIT_OK;
}

/* Frames by how code streams begin: FFD8 is a JPEG or JPEG-LS, FF4F a JPEG 2000. */
sendit_result by_beginnings(const PixelPlace &place, uint32_t frames, Fragments *ret)
{
    for (size_t i = 0; i < ret->all.size(); i++) {
        uint8_t two[2] = {0, 0};

        if (ret->all[i].length >= 2 && !read_at(place.fd, two, 2, ret->all[i].at))
            return SENDIT_EIO;
        if (two[0] == 0xff && (two[1] == 0xd8 || two[1] == 0x4f))
            ret->first.push_back(i);
    }
    return ret->first.size() == frames && ret->first[0] == 0 ? SENDIT_OK : SENDIT_ECORRUPT;
}

/* The bytes of one frame, of which there are an even number. */
sendit_result read_stream(const PixelPlace &place, const Fragments &fragments, uint32_t index,
                          std::vector<uint8_t> *ret_stream)
{
    uint64_t total = 0, done = 0;

    for (size_t i = fragments.first[index]; i < fragments.first[index + 1]; i++)
        total += fragments.all[i].length;
    if (!total || total > PIXELS_MAX_FRAME)
        return SENDIT_ECORRUPT;
    ret_stream->resize(static_cast<size_t>(total + (total & 1)));
    for (size_t i = fragments.first[index]; i < fragments.first[index + 1]; i++) {
        const Fragment &fragment = fragments.all[i];

        if (!read_at(place.fd, ret_stream->data() + done, fragment.length, fragment.at))
            return SENDIT_EIO;
        done += fragment.length;
    }
    return SENDIT_OK;
}

/* ---- what a code stream says of itself ---- */

/* SOF markers of JPEG, and the one of JPEG-LS; DHT, JPG and DAC lie between them. */
bool is_frame_marker(uint8_t marker)
{
    return (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 &&
            marker != 0xcc) ||
           marker == 0xf7;
}

bool jpeg_fits(const std::vector<uint8_t> &stream, const Shape &shape)
{
    size_t at = 2, n = stream.size();

    if (n < 4 || stream[0] != 0xff || stream[1] != 0xd8)
        return false;
    while (at + 4 <= n && stream[at] == 0xff) {
        uint8_t marker = stream[at + 1];
        size_t length;

        if (marker == 0xff) { /* a byte to fill */
            at++;
            continue;
        }
        length = u16(&stream[at + 2]);
        if (length < 2 || length > n - at - 2)
            return false;
        if (is_frame_marker(marker))
            return length >= 8 && stream[at + 4] <= shape.allocated &&
                   u16(&stream[at + 5]) == shape.rows && u16(&stream[at + 7]) == shape.columns &&
                   stream[at + 9] == shape.samples;
        if (marker == 0xda || marker == 0xd9)
            return false;
        at += 2 + length;
    }
    return false;
}

/* The end is there, with nothing but padding behind it: libraries make up what is missing. */
bool jpeg_ends(const std::vector<uint8_t> &stream)
{
    size_t n = stream.size();

    while (n && (stream[n - 1] == 0 || stream[n - 1] == 0xff))
        n--;
    return n >= 4 && stream[n - 2] == 0xff && stream[n - 1] == 0xd9;
}

/* SOC, then SIZ: one image of that size, its components not made smaller. */
bool jpeg_2000_fits(const std::vector<uint8_t> &stream, const Shape &shape)
{
    const uint8_t *at = stream.data();

    if (stream.size() < 4 + 38 + 3 * static_cast<size_t>(shape.samples) || u32(at) != 0xff4fff51u ||
        u16(at + 4) < 38 + 3 * shape.samples)
        return false;
    if (u32(at + 8) < u32(at + 16) || u32(at + 12) < u32(at + 20) ||
        u32(at + 8) - u32(at + 16) != shape.columns || u32(at + 12) - u32(at + 20) != shape.rows ||
        u16(at + 40) != shape.samples)
        return false;
    for (uint32_t i = 0; i < shape.samples; i++)
        if ((at[42 + 3 * i] & 0x7fu) + 1 > shape.allocated || at[43 + 3 * i] != 1 ||
            at[44 + 3 * i] != 1)
            return false;
    return true;
}

/* ---- RLE (PS3.5 annex G) ---- */

/* One segment, which must give `n` bytes: each goes to every `step`th place of `to`. */
bool unpack(const uint8_t *at, const uint8_t *end, uint8_t *to, uint64_t n, size_t step)
{
    while (n) {
        unsigned head, length;

        if (at == end)
            return false;
        head = *at++;
        if (head == 128)
            continue;
        length = head < 128 ? head + 1 : 257 - head;
        if (length > n || static_cast<size_t>(end - at) < (head < 128 ? length : 1))
            return false;
        for (unsigned i = 0; i < length; i++, to += step)
            *to = head < 128 ? *at++ : *at;
        if (head > 128)
            at++;
        n -= length;
    }
    return end - at <= 2; /* one to an even number, and one of our own */
}

/* A segment for each byte of each sample, the most significant first. */
sendit_result decode_rle(const std::vector<uint8_t> &stream, const Shape &shape,
                         const std::string &photometric, Decoded *ret)
{
    uint32_t bytes = shape.allocated / 8, segments = shape.samples * bytes;
    uint64_t pixels = static_cast<uint64_t>(shape.rows) * shape.columns;

    if (stream.size() < 64 || u32_little(&stream[0]) != segments || segments > 15)
        return SENDIT_ECORRUPT;
    ret->shape = shape;
    ret->shape.planar = false;
    ret->photometric = photometric;
    if (shape.photometric == Photometric::ybr_full_422) {
        ret->shape.photometric = Photometric::ybr_full; /* each pixel has its colour */
        ret->photometric = "YBR_FULL";
    }
    ret->bytes.resize(static_cast<size_t>(pixels * segments));
    for (uint32_t i = 0; i < segments; i++) {
        size_t from = u32_little(&stream[4 + 4 * static_cast<size_t>(i)]);
        size_t to =
            i + 1 < segments ? u32_little(&stream[8 + 4 * static_cast<size_t>(i)]) : stream.size();
        uint32_t sample = i / bytes, byte = bytes - 1 - i % bytes;

        if (from < 64 || from > to || to > stream.size() ||
            !unpack(stream.data() + from, stream.data() + to,
                    ret->bytes.data() + sample * bytes + byte, pixels, segments))
            return SENDIT_ECORRUPT;
    }
    return SENDIT_OK;
}

/* ---- DCMTK ---- */

struct Registered {
    Registered()
    {
        DJDecoderRegistration::registerCodecs(EDC_photometricInterpretation, EUC_never,
                                              EPC_colorByPixel);
        DJLSDecoderRegistration::registerCodecs(EJLSUC_never, EJLSPC_colorByPixel);
    }
    ~Registered()
    {
        DJDecoderRegistration::cleanup();
        DJLSDecoderRegistration::cleanup();
    }
    Registered(const Registered &) = delete;
    Registered &operator=(const Registered &) = delete;
};

bool put_u16(DcmItem *item, const DcmTagKey &key, unsigned value)
{
    return item->putAndInsertUint16(key, static_cast<Uint16>(value)).good();
}

/* A data set of one frame, for what DCMTK's codecs look at. */
bool describe(DcmDataset *dataset, const Shape &shape, const std::string &photometric)
{
    return put_u16(dataset, DCM_SamplesPerPixel, shape.samples) &&
           dataset->putAndInsertString(DCM_PhotometricInterpretation, photometric.c_str()).good() &&
           (shape.samples == 1 || put_u16(dataset, DCM_PlanarConfiguration, shape.planar)) &&
           dataset->putAndInsertString(DCM_NumberOfFrames, "1").good() &&
           put_u16(dataset, DCM_Rows, shape.rows) && put_u16(dataset, DCM_Columns, shape.columns) &&
           put_u16(dataset, DCM_BitsAllocated, shape.allocated) &&
           put_u16(dataset, DCM_BitsStored, shape.stored) &&
           put_u16(dataset, DCM_HighBit, shape.high) &&
           put_u16(dataset, DCM_PixelRepresentation, shape.is_signed);
}

bool add_stream(DcmDataset *dataset, E_TransferSyntax xfer, const std::vector<uint8_t> &stream)
{
    std::unique_ptr<DcmPixelSequence> sequence(new DcmPixelSequence(DcmTag(DCM_PixelData, EVR_OB)));
    std::unique_ptr<DcmPixelData> data(new DcmPixelData(DCM_PixelData));
    DcmPixelItem *table = new DcmPixelItem(DcmTag(DCM_Item, EVR_OB));
    DcmPixelItem *item;

    sequence->insert(table);
    item = new DcmPixelItem(DcmTag(DCM_Item, EVR_OB));
    sequence->insert(item);
    if (item->putUint8Array(stream.data(), static_cast<unsigned long>(stream.size())).bad())
        return false;
    data->putOriginalRepresentation(xfer, nullptr, sequence.release());
    if (dataset->insert(data.get(), OFTrue).bad())
        return false;
    data.release();
    return true;
}

/* What came out, if it is as many bytes as its attributes say. */
sendit_result take_pixels(DcmDataset *dataset, Decoded *ret)
{
    DcmElement *element = nullptr;
    Uint8 *bytes = nullptr;
    uint64_t want;

    if (read_shape(dataset, &ret->shape) ||
        dataset->findAndGetElement(DCM_PixelData, element).bad())
        return SENDIT_ECORRUPT;
    if (ret->shape.photometric == Photometric::ybr_full_422)
        ret->shape.photometric = Photometric::ybr_full; /* each pixel has its colour now */
    want = ret->shape.frame_bits() / 8;
    if (element->getLength() != want + (want & 1))
        return SENDIT_ECORRUPT;
    if (element->ident() == EVR_OW || element->getVR() == EVR_OW) {
        Uint16 *words = nullptr;

        if (element->getUint16Array(words).bad() || !words)
            return SENDIT_ECORRUPT;
        bytes = reinterpret_cast<Uint8 *>(words);
    } else if (element->getUint8Array(bytes).bad() || !bytes) {
        return SENDIT_ECORRUPT;
    }
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are taken as bytes");
    ret->bytes.assign(bytes, bytes + want);
    ret->photometric =
        ret->shape.photometric == Photometric::ybr_full ? "YBR_FULL" : photometric_name(dataset);
    return SENDIT_OK;
}

sendit_result decode_by_dcmtk(const PixelPlace &place, const std::vector<uint8_t> &stream,
                              const Shape &shape, const std::string &photometric, Decoded *ret)
{
    static const Registered registered;
    E_TransferSyntax xfer = DcmXfer(place.syntax->uid).getXfer();
    DcmDataset dataset;

    if (!describe(&dataset, shape, photometric))
        return SENDIT_ENOMEM;
    if (!add_stream(&dataset, xfer, stream) ||
        dataset.chooseRepresentation(EXS_LittleEndianExplicit, nullptr).bad())
        return SENDIT_ECORRUPT;
    return take_pixels(&dataset, ret);
}

/* ---- OpenJPEG ---- */

struct Memory {
    const std::vector<uint8_t> &bytes;
    size_t at;
};

OPJ_SIZE_T read_memory(void *to, OPJ_SIZE_T n, void *ctx)
{
    auto *memory = static_cast<Memory *>(ctx);
    size_t left = memory->bytes.size() - memory->at;

    if (!left)
        return static_cast<OPJ_SIZE_T>(-1);
    n = n < left ? n : left;
    memcpy(to, memory->bytes.data() + memory->at, n);
    memory->at += n;
    return n;
}

OPJ_OFF_T skip_memory(OPJ_OFF_T n, void *ctx)
{
    auto *memory = static_cast<Memory *>(ctx);

    if (n < 0 || static_cast<uint64_t>(n) > memory->bytes.size() - memory->at)
        return -1;
    memory->at += static_cast<size_t>(n);
    return n;
}

OPJ_BOOL seek_memory(OPJ_OFF_T to, void *ctx)
{
    auto *memory = static_cast<Memory *>(ctx);

    if (to < 0 || static_cast<uint64_t>(to) > memory->bytes.size())
        return OPJ_FALSE;
    memory->at = static_cast<size_t>(to);
    return OPJ_TRUE;
}

struct Image {
    opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
    opj_image_t *image = nullptr;

    Image() = default;
    ~Image()
    {
        opj_image_destroy(image);
        opj_stream_destroy(stream);
        opj_destroy_codec(codec);
    }
    Image(const Image &) = delete;
    Image &operator=(const Image &) = delete;
};

/* A stream that breaks off is refused: half an image is none. */
bool run_openjpeg(Image *image, Memory *memory)
{
    opj_dparameters_t parameters;

    opj_set_default_decoder_parameters(&parameters);
    opj_stream_set_user_data(image->stream, memory, nullptr);
    opj_stream_set_user_data_length(image->stream, memory->bytes.size());
    opj_stream_set_read_function(image->stream, read_memory);
    opj_stream_set_skip_function(image->stream, skip_memory);
    opj_stream_set_seek_function(image->stream, seek_memory);
    return opj_setup_decoder(image->codec, &parameters) &&
           opj_decoder_set_strict_mode(image->codec, OPJ_TRUE) &&
           opj_read_header(image->stream, image->codec, &image->image) &&
           opj_decode(image->codec, image->stream, image->image) &&
           opj_end_decompress(image->codec, image->stream);
}

sendit_result decode_by_openjpeg(const std::vector<uint8_t> &stream, const Shape &shape,
                                 const std::string &photometric, Decoded *ret)
{
    Memory memory = {stream, 0};
    Image image;
    Cells cells = {shape.allocated, false, false};
    uint64_t pixels = static_cast<uint64_t>(shape.rows) * shape.columns;

    if (!image.codec || !image.stream)
        return SENDIT_ENOMEM;
    if (!run_openjpeg(&image, &memory) || image.image->numcomps != shape.samples)
        return SENDIT_ECORRUPT;
    ret->shape = shape;
    ret->shape.planar = false;
    ret->photometric = photometric == "YBR_RCT" || photometric == "YBR_ICT" ? "RGB" : photometric;
    if (shape.photometric == Photometric::ybr_full_422) {
        ret->shape.photometric = Photometric::ybr_full;
        ret->photometric = "YBR_FULL";
    }
    ret->bytes.resize(static_cast<size_t>(ret->shape.frame_bits() / 8));
    for (uint32_t c = 0; c < shape.samples; c++) {
        const opj_image_comp_t &component = image.image->comps[c];

        if (!component.data || component.w != shape.columns || component.h != shape.rows)
            return SENDIT_ECORRUPT;
        for (uint64_t i = 0; i < pixels; i++)
            cells.set(ret->bytes.data(), (i * shape.samples + c) * shape.allocated,
                      static_cast<uint32_t>(component.data[i]));
    }
    return SENDIT_OK;
}
} // namespace

bool read_at(int fd, void *to, size_t length, uint64_t at)
{
    for (size_t done = 0; done < length;) {
        ssize_t n =
            pread(fd, static_cast<char *>(to) + done, length - done, static_cast<off_t>(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += static_cast<size_t>(n);
    }
    return true;
}

const char *lossy_method(const char *uid)
{
    const Syntax *syntax = find_syntax(uid);

    if (!syntax || !syntax->is_lossy)
        return nullptr;
    if (syntax->codec == Codec::jpeg_ls)
        return "ISO_14495_1";
    if (syntax->codec == Codec::jpeg_2000)
        return strcmp(syntax->uid, "4.203") == 0 ? "ISO_15444_15" : "ISO_15444_1";
    return "ISO_10918_1";
}

sendit_result find_fragments(const PixelPlace &place, uint32_t frames, Fragments *ret_fragments)
{
    Fragments fragments;
    Fragment table = {};
    sendit_result r = read_items(place, &table, &fragments);

    if (r)
        return r;
    if (frames > fragments.all.size())
        return SENDIT_ECORRUPT;
    if (frames == 1)
        fragments.first.push_back(0);
    else if (frames == fragments.all.size())
        for (uint32_t i = 0; i < frames; i++)
            fragments.first.push_back(i);
    else
        r = table.length ? by_table(place, table, frames, &fragments)
                         : by_beginnings(place, frames, &fragments);
    if (r)
        return r;
    fragments.first.push_back(fragments.all.size());
    *ret_fragments = std::move(fragments);
    return SENDIT_OK;
}

sendit_result decode_frame(const PixelPlace &place, const Fragments &fragments, DcmItem *item,
                           uint32_t index, Decoded *ret_decoded)
{
    const Syntax *syntax = find_syntax(place.syntax->uid);
    std::vector<uint8_t> stream;
    std::string photometric = photometric_name(item);
    Shape shape = {};
    sendit_result r = read_shape(item, &shape);

    if (r)
        return r;
    if (!syntax || shape.allocated == 1 || shape.frame_bits() / 8 > PIXELS_MAX_FRAME)
        return SENDIT_ECORRUPT;
    r = read_stream(place, fragments, index, &stream);
    if (r)
        return r;
    if (syntax->codec == Codec::jpeg_2000)
        r = jpeg_2000_fits(stream, shape)
                ? decode_by_openjpeg(stream, shape, photometric, ret_decoded)
                : SENDIT_ECORRUPT;
    else if (syntax->codec == Codec::rle)
        r = decode_rle(stream, shape, photometric, ret_decoded);
    else if (jpeg_fits(stream, shape) && jpeg_ends(stream))
        r = decode_by_dcmtk(place, stream, shape, photometric, ret_decoded);
    else
        r = SENDIT_ECORRUPT;
    if (r == SENDIT_OK &&
        (ret_decoded->shape.rows != shape.rows || ret_decoded->shape.columns != shape.columns))
        r = SENDIT_ECORRUPT;
    if (r == SENDIT_OK)
        ret_decoded->shape.frames = shape.frames;
    return r;
}
