/* SPDX-License-Identifier: Apache-2.0 */
#include "dicom/charset.h"

#include <iconv.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TERMS 8
#define MAX_SETS 64
#define ESC '\x1b'

/* A code element of ISO 2022 as an 8-bit encoding that iconv knows: a byte of G0 gets its high bit
 * set, one of JIS X 0212 and of the katakana set its single shift, too. */
enum { SINGLE = 1, PAIR = 2 };
struct element {
    int ir;             /* its number in the ISO registry, as the defined terms have it */
    const char *escape; /* behind ESC */
    const char *name;   /* of the iconv encoding; NULL for ASCII */
    unsigned char shift;
    int g; /* into G0 or G1 */
    int width;
};
static const struct element elements[] = {
    {6, "(B", NULL, 0, 0, SINGLE},
    {14, "(J", NULL, 0, 0, SINGLE}, /* JIS X 0201 romaji, read as ASCII: "\\" is the delimiter */
    {13, ")I", "EUC-JP", 0x8e, 1, SINGLE},
    {87, "$B", "EUC-JP", 0, 0, PAIR},
    {159, "$(D", "EUC-JP", 0x8f, 0, PAIR},
    {149, "$)C", "EUC-KR", 0, 1, PAIR},
    {58, "$)A", "GB2312", 0, 1, PAIR},
    {100, "-A", "ISO-8859-1", 0, 1, SINGLE},
    {101, "-B", "ISO-8859-2", 0, 1, SINGLE},
    {109, "-C", "ISO-8859-3", 0, 1, SINGLE},
    {110, "-D", "ISO-8859-4", 0, 1, SINGLE},
    {144, "-L", "ISO-8859-5", 0, 1, SINGLE},
    {127, "-G", "ISO-8859-6", 0, 1, SINGLE},
    {126, "-F", "ISO-8859-7", 0, 1, SINGLE},
    {138, "-H", "ISO-8859-8", 0, 1, SINGLE},
    {148, "-M", "ISO-8859-9", 0, 1, SINGLE},
    {203, "-b", "ISO-8859-15", 0, 1, SINGLE},
    {166, "-T", "TIS-620", 0, 1, SINGLE},
};
#define N_ELEMENTS (sizeof(elements) / sizeof(elements[0]))
#define ASCII (&elements[0])

/* Converters of one encoding, opened when they are first used. */
struct converter {
    const char *name;
    iconv_t decode, encode;
};

struct charset {
    char specific[256];
    size_t length;
    bool known, extended;     /* extended: ISO 2022 escapes may come */
    const char *whole;        /* the encoding of all, UTF-8, GB18030 or GBK; else NULL */
    const struct element *g1; /* at the beginning, NULL for none */
    const struct element *terms[MAX_TERMS];
    size_t n_terms;
    struct charset_table *table;
};

struct charset_table {
    struct charset *sets[MAX_SETS];
    size_t n_sets;
    struct converter converters[N_ELEMENTS + 4];
    size_t n_converters;
    struct charset unknown; /* for what is more than MAX_SETS or too long to keep */
};

struct charset_table *charset_table_new(void)
{
    struct charset_table *table = calloc(1, sizeof(*table));

    if (table)
        table->unknown.table = table;
    return table;
}

void charset_table_free(struct charset_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->n_converters; i++) {
        if (table->converters[i].decode != (iconv_t)-1)
            iconv_close(table->converters[i].decode);
        if (table->converters[i].encode != (iconv_t)-1)
            iconv_close(table->converters[i].encode);
    }
    for (size_t i = 0; i < table->n_sets; i++)
        free(table->sets[i]);
    free(table);
}

static const struct converter *converter_of(struct charset_table *table, const char *name)
{
    struct converter *converter;

    for (size_t i = 0; i < table->n_converters; i++)
        if (strcmp(table->converters[i].name, name) == 0)
            return &table->converters[i];
    converter = &table->converters[table->n_converters++];
    converter->name = name;
    converter->decode = iconv_open("UTF-8", name);
    converter->encode = iconv_open(name, "UTF-8");
    return converter;
}

/* All of `text` through `how`, or -1. */
static int convert(iconv_t how, const char *text, size_t length, struct buf *out)
{
    char *in = (char *)(uintptr_t)text; /* iconv does not write into it, but says so nowhere */

    if (how == (iconv_t)-1)
        return -1;
    iconv(how, NULL, NULL, NULL, NULL);
    while (length) {
        size_t room = length * 4 + 16, left;
        char *to;

        if (!buf_reserve(out, room))
            return -1;
        to = out->data + out->len;
        left = room;
        if (iconv(how, &in, &length, &to, &left) == (size_t)-1)
            return -1;
        out->len += room - left;
        out->data[out->len] = '\0';
    }
    return 0;
}

bool charset_is_utf8(const char *text, size_t length)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + length;

    while (p < end) {
        uint32_t c = *p++;
        int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
        static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};

        if (c >= 0x80 && (c < 0xc2 || c > 0xf4))
            return false;
        c &= more == 0 ? 0x7f : more == 1 ? 0x1f : more == 2 ? 0x0f : 0x07;
        for (int i = 0; i < more; i++) {
            if (p == end || (*p & 0xc0) != 0x80)
                return false;
            c = c << 6 | (*p++ & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
    }
    return true;
}

static const struct element *element_of(int ir)
{
    for (size_t i = 0; i < N_ELEMENTS; i++)
        if (elements[i].ir == ir)
            return &elements[i];
    return NULL;
}

/* "ISO_IR 100", "ISO 2022 IR 87", and how sloppy writers spell them.  0 for what is unknown. */
static int term_number(const char *term, bool *ret_2022)
{
    char word[64];
    size_t n = strlen(term);
    int ir = 0, used = 0;

    if (n >= sizeof(word))
        return 0;
    for (size_t i = 0; i <= n; i++)
        word[i] = term[i] == '_' || term[i] == '-' ? ' ' : term[i];
    *ret_2022 = false;
    if (sscanf(word, "ISO IR %d%n", &ir, &used) == 1 && word[used] == '\0')
        return ir;
    *ret_2022 = true;
    if (sscanf(word, "ISO 2022 IR %d%n", &ir, &used) == 1 && word[used] == '\0')
        return ir;
    return 0;
}

/* One term; the first says what is there without an escape. */
static bool add_term(struct charset *set, const char *term, bool first)
{
    const struct element *element;
    bool is_2022 = false;
    int ir = *term ? term_number(term, &is_2022) : 6;

    if (ir == 192 || strcmp(term, "GB18030") == 0 || strcmp(term, "GBK") == 0) {
        set->whole = ir == 192 ? "UTF-8" : strcmp(term, "GBK") == 0 ? "GBK" : "GB18030";
        return first;
    }
    element = ir > 0 ? element_of(ir) : NULL;
    if (!element || ir == 14 || set->n_terms == MAX_TERMS)
        return false;
    if (first && element->g == 1 && element->width == SINGLE)
        set->g1 = element;
    if (is_2022 || !first)
        set->extended = true;
    set->terms[set->n_terms++] = element;
    return true;
}

static void understand(struct charset *set)
{
    const char *p = set->specific, *end = p + set->length;
    bool first = true;

    set->known = true;
    for (;; first = false) {
        const char *stop = memchr(p, '\\', (size_t)(end - p));
        const char *from = p, *to = stop ? stop : end;
        char term[64];

        while (from < to && *from == ' ')
            from++;
        while (to > from && (to[-1] == ' ' || to[-1] == '\0'))
            to--;
        if ((size_t)(to - from) >= sizeof(term) || memchr(from, '\0', (size_t)(to - from))) {
            set->known = false;
            return;
        }
        memcpy(term, from, (size_t)(to - from));
        term[to - from] = '\0';
        /* UTF-8, GB18030 and GBK have no code extensions: they stand alone */
        if (!add_term(set, term, first) || (set->whole && stop)) {
            set->known = false;
            return;
        }
        if (!stop)
            return;
        p = stop + 1;
    }
}

bool charset_is_known(const char *specific, size_t length)
{
    struct charset set = {.length = length};

    if (length >= sizeof(set.specific))
        return false;
    if (length)
        memcpy(set.specific, specific, length);
    understand(&set);
    return set.known;
}

const struct charset *charset_get(struct charset_table *table, const char *specific, size_t length)
{
    struct charset *set;

    for (size_t i = 0; i < table->n_sets; i++)
        if (table->sets[i]->length == length &&
            (!length || memcmp(table->sets[i]->specific, specific, length) == 0))
            return table->sets[i];
    if (table->n_sets == MAX_SETS || length >= sizeof(set->specific))
        return &table->unknown;
    set = calloc(1, sizeof(*set));
    if (!set)
        return NULL;
    if (length)
        memcpy(set->specific, specific, length);
    set->length = length;
    set->table = table;
    understand(set);
    table->sets[table->n_sets++] = set;
    return set;
}

static bool is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= 0x80 || text[i] == ESC)
            return false;
    return true;
}

static bool resets(unsigned char c, enum charset_text kind)
{
    if (c == '\r' || c == '\n' || c == '\f' || c == '\t')
        return true;
    if (c == '\\')
        return kind != CHARSET_TEXT;
    return kind == CHARSET_NAME && (c == '^' || c == '=');
}

/* The element that an escape designates, and how long it is; NULL if there is none. */
static const struct element *escape_at(const char *text, size_t left, size_t *ret_len)
{
    for (size_t i = 0; i < N_ELEMENTS; i++) {
        size_t n = strlen(elements[i].escape);

        if (left > n && memcmp(text + 1, elements[i].escape, n) == 0) {
            *ret_len = n + 1;
            return &elements[i];
        }
    }
    return NULL;
}

/* Collects bytes of one encoding, so that iconv is called for runs, not for characters. */
struct run {
    const struct charset *set;
    const char *name; /* NULL: ASCII */
    struct buf bytes;
    struct buf *out;
};

static int flush(struct run *run)
{
    int r = 0;

    if (!run->bytes.len)
        return 0;
    if (!run->name)
        buf_add(run->out, run->bytes.data, run->bytes.len);
    else
        r = convert(converter_of(run->set->table, run->name)->decode, run->bytes.data,
                    run->bytes.len, run->out);
    run->bytes.len = 0;
    return r;
}

static int add(struct run *run, const char *name, const void *bytes, size_t length)
{
    if (name != run->name && flush(run))
        return -1;
    run->name = name;
    buf_add(&run->bytes, bytes, length);
    return 0;
}

/* One character of `element` at `p`: how many bytes it took, or 0 if it is none. */
static size_t add_character(struct run *run, const struct element *element, const char *p,
                            size_t left)
{
    unsigned char bytes[3];
    size_t n = 0;

    if (left < (size_t)element->width)
        return 0;
    if (element->shift)
        bytes[n++] = element->shift;
    for (int i = 0; i < element->width; i++) {
        unsigned char c = (unsigned char)p[i];

        if (element->g == 0 ? c < 0x21 || c > 0x7e : c < 0xa0)
            return 0; /* C1 controls are no text: most UTF-8 in a wrong set ends here */
        bytes[n++] = c | 0x80;
    }
    return add(run, element->name, bytes, n) ? 0 : (size_t)element->width;
}

/* With code extensions, or with one single-byte set, which is the same without escapes. */
static int decode_2022(const struct charset *set, const char *text, size_t length,
                       enum charset_text kind, struct run *run)
{
    const struct element *g0 = ASCII, *g1 = set->g1;
    size_t used;

    for (size_t i = 0; i < length; i += used) {
        unsigned char c = (unsigned char)text[i];
        const struct element *element;

        if (c == ESC) {
            element = set->extended ? escape_at(text + i, length - i, &used) : NULL;
            if (!element)
                return -1;
            if (element->g == 0)
                g0 = element;
            else
                g1 = element;
            continue;
        }
        used = 1;
        if (c < 0x80 && (g0->width == SINGLE || c <= 0x20 || c == 0x7f)) {
            if (add(run, NULL, text + i, 1))
                return -1;
            if (resets(c, kind)) {
                g0 = ASCII;
                g1 = set->g1;
            }
            continue;
        }
        element = c < 0x80 ? g0 : g1;
        used = element ? add_character(run, element, text + i, length - i) : 0;
        if (!used)
            return -1;
    }
    return flush(run);
}

int charset_decode(const struct charset *set, const char *text, size_t length,
                   enum charset_text kind, struct buf *out)
{
    struct run run = {.set = set, .out = out};
    int r;

    if (is_ascii(text, length)) {
        buf_add(out, text, length);
        return out->failed ? -1 : 0;
    }
    if (!set->known)
        return -1;
    if (set->whole) {
        if (strcmp(set->whole, "UTF-8") != 0)
            return convert(converter_of(set->table, set->whole)->decode, text, length, out);
        buf_add(out, text, length);
        return charset_is_utf8(text, length) && !out->failed ? 0 : -1;
    }
    /* In Latin-1 "Ã" and a symbol in place of each letter is UTF-8 that was declared wrongly. */
    if (set->g1 && set->g1->ir == 100 && !set->extended && charset_is_utf8(text, length))
        return -1;
    r = decode_2022(set, text, length, kind, &run);
    if (run.bytes.failed || out->failed)
        r = -1;
    buf_fini(&run.bytes);
    return r;
}

/* One character of UTF-8 as it stands in `element`; its bytes, or 0 if the element lacks it. */
static size_t encode_character(struct charset_table *table, const struct element *element,
                               const char *utf8, size_t length, unsigned char bytes[4])
{
    struct buf out = {0};
    size_t n = 0, skip = element->shift ? 1 : 0;

    if (!element->name)
        return 0;
    if (convert(converter_of(table, element->name)->encode, utf8, length, &out) == 0 &&
        out.len == skip + (size_t)element->width &&
        (!skip || (unsigned char)out.data[0] == element->shift)) {
        for (size_t i = skip; i < out.len; i++) {
            unsigned char c = (unsigned char)out.data[i];

            if (c < 0xa0) { /* of another element of the same encoding */
                n = 0;
                break;
            }
            bytes[n++] = (unsigned char)(element->g == 0 ? c & 0x7f : c);
        }
    }
    buf_fini(&out);
    return n;
}

static void designate(const struct element *element, struct buf *out)
{
    char esc = ESC;

    buf_add(out, &esc, 1);
    buf_str(out, element->escape);
}

struct encoder {
    const struct charset *set;
    const struct element *g0, *g1;
    struct buf *out;
};

/* A character beyond ASCII: by what is designated, else by the first term that has it. */
static int encode_beyond(struct encoder *encoder, const char *utf8, size_t length)
{
    const struct charset *set = encoder->set;
    unsigned char bytes[4];
    size_t n = 0;

    if (encoder->g1)
        n = encode_character(set->table, encoder->g1, utf8, length, bytes);
    if (!n && encoder->g0 != ASCII)
        n = encode_character(set->table, encoder->g0, utf8, length, bytes);
    for (size_t i = 0; !n && set->extended && i < set->n_terms; i++) {
        const struct element *element = set->terms[i];

        n = encode_character(set->table, element, utf8, length, bytes);
        if (!n)
            continue;
        designate(element, encoder->out);
        if (element->g == 0)
            encoder->g0 = element;
        else
            encoder->g1 = element;
    }
    buf_add(encoder->out, bytes, n);
    return n ? 0 : -1;
}

static int encode_2022(const struct charset *set, const char *utf8, size_t length,
                       enum charset_text kind, struct buf *out)
{
    struct encoder encoder = {.set = set, .g0 = ASCII, .g1 = set->g1, .out = out};

    for (size_t i = 0; i < length;) {
        unsigned char c = (unsigned char)utf8[i];
        size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

        if (c >= 0x80) {
            if (encode_beyond(&encoder, utf8 + i, n))
                return -1;
        } else {
            if (encoder.g0 != ASCII)
                designate(ASCII, out);
            encoder.g0 = ASCII;
            buf_add(out, utf8 + i, 1);
            if (resets(c, kind))
                encoder.g1 = set->g1;
        }
        i += n;
    }
    if (encoder.g0 != ASCII)
        designate(ASCII, out);
    return out->failed ? -1 : 0;
}

int charset_encode(const struct charset *set, const char *utf8, size_t length,
                   enum charset_text kind, struct buf *out)
{
    if (!charset_is_utf8(utf8, length) || memchr(utf8, ESC, length))
        return -1;
    if (is_ascii(utf8, length) || (set->known && set->whole && set->whole[0] == 'U')) {
        buf_add(out, utf8, length);
        return out->failed ? -1 : 0;
    }
    if (!set->known)
        return -1;
    if (set->whole)
        return convert(converter_of(set->table, set->whole)->encode, utf8, length, out);
    return encode_2022(set, utf8, length, kind, out);
}
