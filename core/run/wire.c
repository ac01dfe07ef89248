/* SPDX-License-Identifier: Apache-2.0 */
#include "run/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a worker tells is sent in one go when it asks something, or when so much has gathered. */
#define GATHER 32768

struct frame_head {
    uint32_t length, type;
};

void wire_init(struct wire *wire, int fd, enum wire_side side)
{
    memset(wire, 0, sizeof(*wire));
    wire->fd = fd;
    wire->side = side;
    pthread_mutex_init(&wire->lock, NULL);
}

void wire_fini(struct wire *wire)
{
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    buf_fini(&wire->in);
    buf_fini(&wire->out);
    pthread_mutex_destroy(&wire->lock);
}

/* ---- writing ---- */

void wire_begin(struct wire *wire, enum wire_type type)
{
    struct frame_head head = {0, (uint32_t)type};

    pthread_mutex_lock(&wire->lock);
    wire->frame = wire->out.len;
    buf_add(&wire->out, &head, sizeof(head));
}

void wire_put_u64(struct wire *wire, uint64_t n)
{
    buf_add(&wire->out, &n, sizeof(n));
}

void wire_put_i64(struct wire *wire, int64_t n)
{
    buf_add(&wire->out, &n, sizeof(n));
}

void wire_put_bytes(struct wire *wire, const void *data, size_t len)
{
    wire_put_u64(wire, len);
    buf_add(&wire->out, data, len);
    buf_add(&wire->out, "", 1);
}

void wire_put_str(struct wire *wire, const char *text)
{
    wire_put_bytes(wire, text ? text : "", text ? strlen(text) : 0);
}

static int flush_locked(struct wire *wire)
{
    size_t at = 0;
    int result = 0;

    while (at < wire->out.len) {
        ssize_t n = send(wire->fd, wire->out.data + at, wire->out.len - at, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            result = errno == EAGAIN || errno == EWOULDBLOCK ? 1 : -1;
            break;
        }
        at += (size_t)n;
    }
    if (at)
        memmove(wire->out.data, wire->out.data + at, wire->out.len - at);
    wire->out.len -= at;
    return result;
}

int wire_send(struct wire *wire)
{
    uint32_t length;
    int result = -1;

    if (!wire->out.failed && wire->out.len - wire->frame <= WIRE_MAX_FRAME) {
        length = (uint32_t)(wire->out.len - wire->frame - sizeof(struct frame_head));
        memcpy(wire->out.data + wire->frame, &length, sizeof(length));
        result = 0;
        if (wire->side == WIRE_ANSWERS || wire->out.len >= GATHER)
            result = flush_locked(wire);
        if (result == 1)
            result = wire->side == WIRE_ANSWERS ? 0 : -1;
    } else {
        wire->out.len = wire->frame; /* what was queued before stays whole */
        wire->out.failed = false;
    }
    pthread_mutex_unlock(&wire->lock);
    return result;
}

int wire_flush(struct wire *wire)
{
    int result;

    pthread_mutex_lock(&wire->lock);
    result = flush_locked(wire);
    pthread_mutex_unlock(&wire->lock);
    return result;
}

/* ---- reading ---- */

uint64_t wire_u64(struct wire_msg *msg)
{
    uint64_t n;

    if (msg->bad || (size_t)(msg->end - msg->at) < sizeof(n)) {
        msg->bad = true;
        return 0;
    }
    memcpy(&n, msg->at, sizeof(n));
    msg->at += sizeof(n);
    return n;
}

int64_t wire_i64(struct wire_msg *msg)
{
    return (int64_t)wire_u64(msg);
}

const void *wire_bytes(struct wire_msg *msg, size_t *ret_len)
{
    uint64_t len = wire_u64(msg);
    const char *data = msg->at;

    *ret_len = 0;
    if (msg->bad || len >= (uint64_t)(msg->end - msg->at) || msg->at[len] != '\0') {
        msg->bad = true;
        return "";
    }
    msg->at += len + 1;
    *ret_len = (size_t)len;
    return data;
}

const char *wire_str(struct wire_msg *msg)
{
    size_t len;
    const char *text = wire_bytes(msg, &len);

    if (strlen(text) != len)
        msg->bad = true;
    return msg->bad ? "" : text;
}

int wire_next(struct wire *wire, struct wire_msg *ret_msg)
{
    struct frame_head head;
    size_t have = wire->in.len - wire->taken;

    if (have < sizeof(head))
        return 0;
    memcpy(&head, wire->in.data + wire->taken, sizeof(head));
    if (head.length > WIRE_MAX_FRAME)
        return -1;
    if (have < sizeof(head) + head.length)
        return 0;
    ret_msg->type = (enum wire_type)head.type;
    ret_msg->at = wire->in.data + wire->taken + sizeof(head);
    ret_msg->end = ret_msg->at + head.length;
    ret_msg->bad = false;
    wire->taken += sizeof(head) + head.length;
    return 1;
}

int wire_fill(struct wire *wire)
{
    ssize_t n;

    if (wire->taken) {
        memmove(wire->in.data, wire->in.data + wire->taken, wire->in.len - wire->taken);
        wire->in.len -= wire->taken;
        wire->taken = 0;
    }
    if (!buf_reserve(&wire->in, 65536))
        return -1;
    do
        n = read(wire->fd, wire->in.data + wire->in.len, wire->in.cap - wire->in.len - 1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    if (n == 0)
        return -1;
    wire->in.len += (size_t)n;
    return 1;
}

int wire_wait(struct wire *wire, struct wire_msg *ret_msg)
{
    if (wire_flush(wire))
        return -1;
    for (;;) {
        int have = wire_next(wire, ret_msg);

        if (have)
            return have > 0 ? 0 : -1;
        if (wire_fill(wire) < 0)
            return -1;
    }
}
