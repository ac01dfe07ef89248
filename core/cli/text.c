/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, times and colours for people. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define TEXT 32 /* as cli.h says */

char *cli_number(unsigned long long n, char text[TEXT])
{
    char digits[TEXT];
    int len = snprintf(digits, sizeof(digits), "%llu", n);
    char *out = text;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

char *cli_bytes(unsigned long long n, char text[TEXT])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)n;
    size_t unit = 0;

    /* 999.95 would be printed as 1000.0. */
    while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000;
        unit++;
    }
    snprintf(text, TEXT, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

char *cli_time(long long ms, char text[TEXT])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    if (!ms || !localtime_r(&seconds, &tm) || !strftime(text, TEXT, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(text, TEXT, "-");
    return text;
}

bool cli_is_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb");
}

const char *cli_style(enum cli_style style)
{
    static const char *const escapes[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                          "\033[31m", "\033[33m", "\033[32m"};
    const char *no = getenv("NO_COLOR");

    return cli_is_terminal() && !(no && *no) ? escapes[style] : "";
}
