/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

static enum log_level threshold = LOG_WARN;

void log_init(enum log_level level)
{
    threshold = level;
}

enum log_level log_threshold(void)
{
    return threshold;
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    return names[level > LOG_ERROR ? LOG_ERROR : level];
}

static void add_member(struct buf *line, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(line, ",\"%s\":\"", key);
    for (const char *p = value; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            buf_printf(line, "\\%c", c);
        else if (c < 0x20)
            buf_printf(line, "\\u%04x", c);
        else
            buf_add(line, p, 1);
    }
    buf_str(line, "\"");
}

static void add_json(struct buf *line, enum log_level level, const struct log_who *who,
                     const char *event, const char *text)
{
    struct timespec now;
    struct tm tm;
    char time[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(line, "{\"time\":\"%s.%03ldZ\"", time, now.tv_nsec / 1000000);
    add_member(line, "level", level_name(level));
    if (who) {
        add_member(line, "stage", who->stage);
        add_member(line, "batch", who->batch);
        add_member(line, "image", who->image);
    }
    add_member(line, "event", event);
    add_member(line, "text", text);
    buf_str(line, "}\n");
}

static void add_plain(struct buf *line, enum log_level level, const struct log_who *who,
                      const char *text)
{
    static const char *const colour[] = {"\033[2m", "", "\033[33m", "\033[31m"};

    /* "\r\033[K" takes a progress bar's line away first. */
    buf_printf(line, "\r\033[K%s%s\033[0m", colour[level], level_name(level));
    if (who && who->stage && *who->stage)
        buf_printf(line, " %s", who->stage);
    if (who && who->image && *who->image)
        buf_printf(line, " %s", who->image);
    else if (who && who->batch && *who->batch)
        buf_printf(line, " %s", who->batch);
    buf_str(line, ": ");
    for (const char *p = text; *p; p++)
        buf_add(line, (unsigned char)*p < 0x20 ? " " : p, 1);
    buf_str(line, "\n");
}

void log_event(enum log_level level, const struct log_who *who, const char *event, const char *text,
               ...)
{
    struct buf line = {0};
    char said[1200];
    va_list ap;

    if (level < threshold)
        return;
    va_start(ap, text);
    vsnprintf(said, sizeof(said), text, ap);
    va_end(ap);
    if (isatty(STDERR_FILENO))
        add_plain(&line, level > LOG_ERROR ? LOG_ERROR : level, who, said);
    else
        add_json(&line, level, who, event, said);
    /* One write, so that lines of several processes do not mix. */
    if (!line.failed && write(STDERR_FILENO, line.data, line.len) < 0)
        threshold = LOG_OFF; /* stderr is gone: nobody is there to be told */
    buf_fini(&line);
}
