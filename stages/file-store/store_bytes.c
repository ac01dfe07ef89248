/* SPDX-License-Identifier: Apache-2.0 */
#include "store_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLONE_BLOCK 4096u /* file systems clone whole blocks only */

static int write_all(int fd, const void *data, size_t length, uint64_t at)
{
    const char *bytes = data;

    while (length) {
        ssize_t n = pwrite(fd, bytes, length, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        bytes += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

/* Up to `length` bytes; fewer only where the file ends.  -1 if it cannot be read. */
static ssize_t read_some(int fd, void *data, size_t length, uint64_t at)
{
    size_t have = 0;

    while (have < length) {
        ssize_t n = pread(fd, (char *)data + have, length - have, (off_t)(at + have));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (!n)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

/* How much of a range went over by itself, for the kernel knows how: a clone, or a copy that does
 * not come through here. */
static uint64_t copy_in_kernel(int fd, const struct sendit_part *part, uint64_t at)
{
    uint64_t whole = part->length - part->length % CLONE_BLOCK, done = 0;
    struct file_clone_range range = {
        .src_fd = part->fd, .src_offset = part->offset, .src_length = whole, .dest_offset = at};

    if (whole && !(part->offset % CLONE_BLOCK) && !(at % CLONE_BLOCK) &&
        !ioctl(fd, FICLONERANGE, &range))
        done = whole;
    while (done < part->length) {
        off_t from = (off_t)(part->offset + done), to = (off_t)(at + done);
        uint64_t left = part->length - done;
        ssize_t n = copy_file_range(part->fd, &from, fd, &to,
                                    (size_t)(left < SSIZE_MAX ? left : SSIZE_MAX), 0);

        if (n <= 0)
            break; /* the buffer finds out why, and on which side */
        done += (uint64_t)n;
    }
    return done;
}

/* 1: the original cannot be read any more. */
static int copy_range(int fd, const struct sendit_part *part, uint64_t at, void *buffer)
{
    uint64_t done = copy_in_kernel(fd, part, at);

    while (done < part->length) {
        uint64_t left = part->length - done;
        size_t length = left < STORE_BYTES_BUFFER ? (size_t)left : STORE_BYTES_BUFFER;

        if (read_some(part->fd, buffer, length, part->offset + done) != (ssize_t)length)
            return 1;
        if (write_all(fd, buffer, length, at + done))
            return -1;
        done += length;
    }
    return 0;
}

int store_bytes_copy(int fd, const struct sendit_file *file, void *buffer)
{
    uint64_t at = 0;
    int result = 0;

    for (uint32_t i = 0; !result && i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        result = part->data ? write_all(fd, part->data, (size_t)part->length, at)
                            : copy_range(fd, part, at, buffer);
        at += part->length;
    }
    return result;
}

int store_bytes_equal(int a, int b, void *buffer)
{
    const size_t half = STORE_BYTES_BUFFER / 2;
    char *x = buffer, *y = x + half;
    struct stat of_a, of_b;
    uint64_t at = 0;

    if (fstat(a, &of_a) || fstat(b, &of_b) || !S_ISREG(of_b.st_mode) ||
        of_a.st_size != of_b.st_size)
        return 0;
    for (;;) {
        ssize_t n = read_some(a, x, half, at), m = read_some(b, y, half, at);

        if (n < 0 || n != m || memcmp(x, y, (size_t)n))
            return 0;
        if ((size_t)n < half)
            return 1;
        at += (uint64_t)n;
    }
}
