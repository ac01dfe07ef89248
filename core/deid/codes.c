/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/codes.h"

#include <stddef.h>
#include <string.h>

#define DIGITS "0123456789"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SMALL "abcdefghijklmnopqrstuvwxyz"

/* A code is `begin`, then characters of `rest`, `longest` in all; `dashes` of them "-" (16: any
 * number). */
static const struct {
    const char *scheme, *begin, *rest;
    size_t longest, dashes;
} schemes[] = {
    {"DCM", "", DIGITS, 6, 0},
    {"SCT", "", DIGITS, 18, 0},
    {"SRT", "", CAPITALS DIGITS "-", 8, 1},
    {"SNM3", "", CAPITALS DIGITS "-", 8, 1},
    {"99SDM", "", CAPITALS DIGITS "-", 8, 1},
    {"LN", "", DIGITS "-", 9, 1},
    {"RADLEX", "RID", DIGITS, 10, 0},
    {"FMA", "", DIGITS, 8, 0},
    {"NCIt", "C", DIGITS, 8, 0},
    {"UMLS", "C", DIGITS, 8, 0},
    {"MDC", "", DIGITS, 8, 0},
    {"UCUM", "", CAPITALS SMALL DIGITS "%/.*'[]{}()+-_", 16, 16},
};

bool codes_is_public(const char *scheme, const char *value)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t begin = strlen(schemes[i].begin), len = strlen(value), dashes = 0;

        if (strcmp(scheme, schemes[i].scheme) != 0)
            continue;
        if (len <= begin || len > schemes[i].longest ||
            strncmp(value, schemes[i].begin, begin) != 0)
            return false;
        for (const char *p = value + begin; *p; p++) {
            if (!strchr(schemes[i].rest, *p))
                return false;
            dashes += *p == '-';
        }
        return schemes[i].dashes == 16 || dashes == schemes[i].dashes;
    }
    return false;
}
