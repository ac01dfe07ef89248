/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - log lines on stderr: JSON where it is no terminal, a plain line where it is one, in
 * colours unless NO_COLOR is set.
 *
 * error: someone must act; warn: degraded; info: a line per batch; debug: a line per image.  No
 * value of an image and no path found below one that the user wrote ever stands in a line.  The
 * level is the one mutable global outside main.c.
 */
#ifndef SENDIT_BASE_LOG_H
#define SENDIT_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

/* Who speaks: ids that are safe to show, each NULL or "" for none. */
struct log_who {
    const char *stage, *batch, *image;
};

void log_init(enum log_level level);
enum log_level log_threshold(void);
/* `event` is a stable slug, "batch.done"; `text` one sentence. */
__attribute__((format(printf, 4, 5))) void log_event(enum log_level level,
                                                     const struct log_who *who, const char *event,
                                                     const char *text, ...);

#endif
