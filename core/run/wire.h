/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - messages between the supervisor and a worker, over a stream socket pair.
 *
 * A frame is a uint32_t length, a uint32_t type and a payload of numbers (8 bytes, host order: both
 * ends are the same program) and strings (a number, the bytes, a NUL).  A reader that runs past
 * the end of a payload gets 0 and "" and sets `bad`, which the caller checks once.
 */
#ifndef SENDIT_RUN_WIRE_H
#define SENDIT_RUN_WIRE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define WIRE_MAX_FRAME (4u << 20) /* more than pipeline.json or the largest value of a store */

/* The types.  What the worker asks (Q) is answered by one WIRE_ANSWER; the rest is told. */
enum wire_type {
    WIRE_SETUP = 1,    /* S->W: role, pipeline, overrides, folders, digests, key */
    WIRE_BATCH,        /* S->W: a batch to do, where it goes on, its facts */
    WIRE_SETTLE,       /* S->W: call settle() of this stage; is it the last call? */
    WIRE_ANSWER,       /* S->W: result, then what the question asked for */
    WIRE_READY,        /* W->S: the plan is the supervisor's; give me work */
    WIRE_BROKEN,       /* W->S: no work is possible: status, sentence */
    WIRE_ITEMS,        /* Q: the next items of the batch in hand, with facts and releases */
    WIRE_INSTANCE,     /* an item with that UID goes out; Q if the batch asks */
    WIRE_PASSED,       /* W->S: an item went through every stage */
    WIRE_DECIDED,      /* W->S: an item ended: quarantined, failed, ignored; its labels so far */
    WIRE_CHANGED,      /* W->S: the file is not what was queued: what it is now */
    WIRE_LEAVING,      /* W->S: the worker ends when the batch in hand is reported */
    WIRE_SYNC,         /* Q: may the batch finish?  All that was told is durable then */
    WIRE_FINISHING,    /* W->S: finish() of this stage, which has settle(), is about to be called */
    WIRE_FINISHED,     /* Q: the stages have finished; which of them said LATER */
    WIRE_SETTLED,      /* W->S: what settle() says of a batch */
    WIRE_SETTLE_END,   /* Q: it has returned: verdict, code, text, when to try again */
    WIRE_DIFFERS,      /* W->S: what compare() found */
    WIRE_COUNTED,      /* W->S: how many it compared */
    WIRE_COMPARED,     /* Q: it has returned: index of the stage, -1 when all have, verdict, ... */
    WIRE_STOPPED,      /* Q: a stage stopped the batch: stage, code, text */
    WIRE_GAVE_UP,      /* Q: put the batch back: stage, code, text */
    WIRE_FACT,         /* W->S */
    WIRE_STORE_GET,    /* Q */
    WIRE_STORE_PUT,    /* Q */
    WIRE_STORE_NEXT,   /* Q */
    WIRE_STORE_LOCK,   /* Q: answered when the lock is free */
    WIRE_STORE_UNLOCK, /* W->S */
    WIRE_AUDIT,        /* Q */
    WIRE_WALK_GET,     /* Q: crosswalk */
    WIRE_WALK_PUT,     /* Q: crosswalk */
    WIRE_WALK_NOTE,    /* W->S: crosswalk */
    WIRE_METRIC,       /* W->S */
    WIRE_MESSAGE,      /* W->S: a log line that `sendit log` shows */
    WIRE_FEED_OPEN,    /* W->S, as the rest of the feed but the close */
    WIRE_FEED_ADD,
    WIRE_FEED_DONE,  /* when_done */
    WIRE_FEED_CLOSE, /* Q */
    WIRE_FEED_FORGET,
    WIRE_FED /* Q: the source has no more: verdict, code, text */
};

/* What a worker is for. */
enum wire_role { WIRE_WORKS, WIRE_FEEDS, WIRE_COMPARES };

/* The supervisor's end never waits: what does not fit into the socket stays in `out` until
 * wire_flush().  The worker's end waits, and gathers what it tells until it asks something. */
enum wire_side { WIRE_ANSWERS, WIRE_ASKS };

struct wire {
    int fd;
    struct buf in;        /* bytes read and not yet taken */
    size_t taken;         /* of `in` */
    struct buf out;       /* what could not be written yet, then the frame that is being made */
    size_t frame;         /* where in `out` that frame begins */
    pthread_mutex_t lock; /* guards `out`: a stage may log from any thread */
    enum wire_side side;
};

void wire_init(struct wire *wire, int fd, enum wire_side side);
void wire_fini(struct wire *wire); /* closes fd */

/* One frame at a time: begin, its fields, send.  begin takes the lock and send gives it back.  -1
 * from send: the other side is gone, or no memory. */
void wire_begin(struct wire *wire, enum wire_type type);
void wire_put_u64(struct wire *wire, uint64_t n);
void wire_put_i64(struct wire *wire, int64_t n);
void wire_put_str(struct wire *wire, const char *text); /* NULL goes as "" */
void wire_put_bytes(struct wire *wire, const void *data, size_t len);
int wire_send(struct wire *wire);
/* Write what is queued.  0 all is out, 1 the socket is full, -1 the other side is gone. */
int wire_flush(struct wire *wire);

struct wire_msg {
    enum wire_type type;
    const char *at, *end; /* borrowed from the wire, until the next wire_next() */
    bool bad;
};
uint64_t wire_u64(struct wire_msg *msg);
int64_t wire_i64(struct wire_msg *msg);
const char *wire_str(struct wire_msg *msg);
const void *wire_bytes(struct wire_msg *msg, size_t *ret_len);

/* The next whole frame: 1 there is one, 0 not yet, -1 the other side is gone or sent nonsense. */
int wire_next(struct wire *wire, struct wire_msg *ret_msg);
/* Read what there is, without waiting if the descriptor does not block: 1 something came, 0
 * nothing now, -1 the end. */
int wire_fill(struct wire *wire);
/* Send what has gathered, then wait for a frame: 0 or -1. */
int wire_wait(struct wire *wire, struct wire_msg *ret_msg);

#endif
