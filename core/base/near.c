/* SPDX-License-Identifier: Apache-2.0 */
#include "base/near.h"

#include <stdio.h>
#include <string.h>

#define LONGEST 63
#define FAR 3

/* Levenshtein, but two letters exchanged count as one edit. */
static size_t edits(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][LONGEST + 2];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= m; j++)
        above[j] = before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *spare = before;

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[m];
}

void near_start(struct near *near, const char *word)
{
    near->word = word;
    near->best = NULL;
    near->distance = FAR;
}

void near_try(struct near *near, const char *candidate)
{
    size_t n = strlen(near->word), m = strlen(candidate), distance = FAR;

    if (!n || !m || n > LONGEST || m > LONGEST)
        return;
    if (n >= 3 && m >= 3 && !strncmp(near->word, candidate, n < m ? n : m))
        distance = FAR - 1;
    else if (n < m + FAR && m < n + FAR)
        distance = edits(near->word, n, candidate, m);
    /* Two edits of a word of two letters are another word. */
    if (distance < near->distance && distance < n) {
        near->distance = distance;
        near->best = candidate;
    }
}

const char *near_hint(const struct near *near, char *text, size_t size)
{
    text[0] = '\0';
    if (near->best)
        snprintf(text, size, "; did you mean \"%s\"?", near->best);
    return text;
}
