/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - columns of text, aligned, with two blanks between them.
 *
 * A cell may have several lines.  Bytes that a terminal would obey (escapes, newlines in a name)
 * are shown as \xNN.  Without memory `failed` is set and nothing is printed but that.
 */
#ifndef SENDIT_CLI_TABLE_H
#define SENDIT_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_MAX_COLUMNS 12

struct table {
    const char *const *heads; /* borrowed; one that begins with '>' stands on the right */
    size_t n_columns;
    char **cells; /* owned, row by row */
    size_t n_cells, cap;
    bool failed;
};

/* `heads` ends with NULL. */
void table_init(struct table *table, const char *const *heads);
void table_fini(struct table *table);
/* The next cell; NULL and "" are shown as "-".  Lines are separated by '\n'. */
void table_add(struct table *table, const char *text);
void table_add_blank(struct table *table);
void table_add_number(struct table *table, unsigned long long n);
__attribute__((format(printf, 2, 3))) void table_addf(struct table *table, const char *text, ...);
void table_print(const struct table *table, FILE *out);

/* `text` with what a terminal would obey made visible, '\n' too. */
void table_print_safe(const char *text, FILE *out);
/* The same as text; the caller frees it, NULL without memory. */
char *table_safe(const char *text);

#endif
