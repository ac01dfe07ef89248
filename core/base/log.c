/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

/* How many bytes of UTF-8 the character at `p` has; 0 if it is none, or none that can be shown. */
static size_t utf8_len(const char *p)
{
    const unsigned char *c = (const unsigned char *)p;
    size_t n = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;

    if (c[0] < 0x20 || c[0] == 0x7f || c[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((c[0] == 0xc2 && c[1] < 0xa0) || (c[0] == 0xe0 && c[1] < 0xa0) ||
        (c[0] == 0xed && c[1] >= 0xa0) || (c[0] == 0xf0 && c[1] < 0x90) ||
        (c[0] == 0xf4 && c[1] >= 0x90))
        return 0; /* C1 controls, overlong forms, surrogates, past the last one */
    return n;
}

/* A line is for programs and terminals: what neither would take is shown as '?', white space as
 * what it is. */
static void add_text(struct buf *line, const char *text, bool json)
{
    for (const char *p = text; *p;) {
        size_t n = utf8_len(p);

        if (json && (*p == '"' || *p == '\\'))
            buf_printf(line, "\\%c", *p);
        else if (n)
            buf_add(line, p, n);
        else if (*p == '\n' || *p == '\t' || *p == '\r')
            buf_str(line, !json ? " " : *p == '\n' ? "\\n" : *p == '\t' ? "\\t" : "\\r");
        else
            buf_str(line, "?");
        p += n ? n : 1;
    }
}

static void add_member(struct buf *line, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(line, ",\"%s\":\"", key);
    add_text(line, value, true);
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

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);

    return value && *value;
}

static void add_plain(struct buf *line, enum log_level level, const struct log_who *who,
                      const char *text)
{
    static const char *const colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};
    const char *term = getenv("TERM");
    bool obeys = term && *term && strcmp(term, "dumb") != 0;
    bool coloured = obeys && !is_set("NO_COLOR") && *colours[level];

    /* "\r\033[K" takes a progress bar's line away first. */
    buf_printf(line, "%s%s%s%s", obeys ? "\r\033[K" : "", coloured ? colours[level] : "",
               level_name(level), coloured ? "\033[0m" : "");
    if (who && who->stage && *who->stage)
        buf_printf(line, " %s", who->stage);
    if (who && who->image && *who->image)
        buf_printf(line, " %s", who->image);
    else if (who && who->batch && *who->batch)
        buf_printf(line, " %s", who->batch);
    buf_str(line, ": ");
    add_text(line, text, false);
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
