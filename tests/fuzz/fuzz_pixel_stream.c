/* SPDX-License-Identifier: Apache-2.0 */
/* Encapsulated pixel data: the first byte says the codec, the others are items, or one picture. */
#include "../../stages/pixel-check/pixel_stream.c"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const syntaxes[] = {UID_SYNTAX "4.50", UID_SYNTAX "4.80", UID_SYNTAX "4.90",
                                       UID_SYNTAX "5"};

static enum pixel_stream look(int fd, const char *syntax, uint64_t length)
{
    const struct sendit_part part = {.fd = fd, .offset = 3, .length = length};

    return pixel_stream_look(syntax, &part);
}

/* `bytes` as the one fragment behind an empty table. */
static void wrap(const uint8_t *bytes, size_t size, int fd)
{
    static const uint8_t table[8] = {0xFE, 0xFF, 0x00, 0xE0};
    uint8_t head[8] = {0xFE, 0xFF, 0x00, 0xE0};
    static const uint8_t end[8] = {0xFE, 0xFF, 0xDD, 0xE0};

    for (int i = 0; i < 4; i++)
        head[4 + i] = (uint8_t)(size >> 8 * i);
    if (pwrite(fd, table, 8, 3) != 8 || pwrite(fd, head, 8, 11) != 8 ||
        pwrite(fd, bytes, size, 19) != (ssize_t)size || pwrite(fd, end, 8, (off_t)(19 + size)) != 8)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    const char *syntax;

    if (fd < 0)
        fd = memfd_create("stream", 0);
    if (fd < 0 || size < 2 || size > 1 << 20)
        return 0;
    syntax = syntaxes[data[0] % 4];
    if (pwrite(fd, data + 1, size - 1, 3) != (ssize_t)(size - 1))
        abort();
    (void)look(fd, syntax, size - 1);
    wrap(data + 1, size - 1, fd);
    if (!look(fd, syntax, size - 1 + 24))
        abort(); /* no answer is one */
    return 0;
}
