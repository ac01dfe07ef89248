/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.h - a sendit_feed that writes down what a source hands over.
 */
#ifndef SENDIT_HARNESS_FEED_H
#define SENDIT_HARNESS_FEED_H

#include <jansson.h>
#include <stdbool.h>

#include "sendit/stage.h"

struct feed_book {
    struct sendit_feed table;
    const char *folder; /* paths below it are written without it */
    json_t *batches;    /* [{ "key", "files", "ignored", "when_done" }], the closed ones; owned */
    json_t *open;       /* the one in hand, or NULL; owned */
    bool failed;        /* no memory */
};

/* -1 without memory; feed_fini() in both cases. */
int feed_init(struct feed_book *book, const char *folder);
void feed_fini(struct feed_book *book);
/* produce() has returned: a batch that is still open is forgotten. */
void feed_forget(struct feed_book *book);

#endif
