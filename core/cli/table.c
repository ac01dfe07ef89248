/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define GAP 2

void table_init(struct table *table, const char *const *heads)
{
    memset(table, 0, sizeof(*table));
    table->heads = heads;
    while (heads[table->n_columns] && table->n_columns < TABLE_MAX_COLUMNS)
        table->n_columns++;
}

void table_fini(struct table *table)
{
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    memset(table, 0, sizeof(*table));
}

static void add(struct table *table, const char *text)
{
    if (table->failed)
        return;
    if (table->n_cells == table->cap) {
        size_t cap = table->cap ? 2 * table->cap : 64;
        char **cells = reallocarray(table->cells, cap, sizeof(*cells));

        table->failed = !cells;
        if (!cells)
            return;
        table->cells = cells;
        table->cap = cap;
    }
    table->cells[table->n_cells] = strdup(text);
    table->failed = !table->cells[table->n_cells];
    table->n_cells += !table->failed;
}

void table_add(struct table *table, const char *text)
{
    add(table, text && *text ? text : "-");
}

void table_add_blank(struct table *table)
{
    add(table, "");
}

void table_add_number(struct table *table, unsigned long long n)
{
    char text[32];

    table_add(table, cli_number(n, text));
}

void table_addf(struct table *table, const char *text, ...)
{
    char said[1200];
    va_list ap;

    va_start(ap, text);
    vsnprintf(said, sizeof(said), text, ap);
    va_end(ap);
    table_add(table, said);
}

/* ---- printing ---- */

/* The bytes of the character of UTF-8 that begins here and may be shown; 0: show the byte in hex.
 */
static size_t tame(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t n = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : 4;

    if (n == 1)
        return at[0] >= ' ' && at[0] != 127;
    if (at[0] < 0xc2 || at[0] > 0xf4 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (at[i] >> 6 != 2)
            return 0;
    /* U+0080 to U+009F are commands, as escapes are. */
    return at[0] == 0xc2 && at[1] < 0xa0 ? 0 : n;
}

/* Returns the columns that it takes; `out` NULL: only that. */
static size_t put_safe(const char *text, size_t len, FILE *out)
{
    size_t width = 0, n;

    for (size_t i = 0; i < len; i += n ? n : 1) {
        n = tame(text + i, len - i);
        if (out && n)
            fwrite(text + i, 1, n, out);
        else if (out)
            fprintf(out, "\\x%02x", (unsigned char)text[i]);
        width += n ? 1 : 4;
    }
    return width;
}

void table_print_safe(const char *text, FILE *out)
{
    put_safe(text, strlen(text), out);
}

char *table_safe(const char *text)
{
    char *safe = NULL;
    size_t len;
    FILE *out = open_memstream(&safe, &len);

    if (!out)
        return NULL;
    put_safe(text, strlen(text), out);
    if (!fclose(out))
        return safe;
    free(safe);
    return NULL;
}

static size_t cell_width(const char *text)
{
    size_t widest = 0;

    while (*text) {
        size_t n = strcspn(text, "\n"), width = put_safe(text, n, NULL);

        widest = width > widest ? width : widest;
        text += n + (text[n] == '\n');
    }
    return widest;
}

static void pad(size_t n, FILE *out)
{
    while (n--)
        putc(' ', out);
}

/* Line `line` of each cell of a row; false if no cell has so many.  `cells` is moved on. */
static bool print_line(const struct table *table, const char **cells, const size_t *widths,
                       FILE *out)
{
    size_t owed = 0; /* blanks before the next text: none at the end of a line */
    bool any = false;

    for (size_t i = 0; i < table->n_columns; i++)
        any = any || *cells[i];
    for (size_t i = 0; any && i < table->n_columns; i++) {
        size_t n = strcspn(cells[i], "\n"), width = put_safe(cells[i], n, NULL);
        size_t room = widths[i] - width;
        bool right = table->heads[i][0] == '>';

        if (n) {
            pad(owed + (right ? room : 0), out);
            put_safe(cells[i], n, out);
            owed = (right ? 0 : room) + GAP;
        } else {
            owed += room + GAP;
        }
        cells[i] += n + (cells[i][n] == '\n');
    }
    if (any)
        putc('\n', out);
    return any;
}

static const char *head(const struct table *table, size_t column)
{
    return table->heads[column] + (table->heads[column][0] == '>');
}

void table_print(const struct table *table, FILE *out)
{
    size_t widths[TABLE_MAX_COLUMNS], rows = table->n_cells / table->n_columns;
    const char *cells[TABLE_MAX_COLUMNS];

    if (table->failed) {
        fputs("(no memory)\n", out);
        return;
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        widths[i] = strlen(head(table, i));
        for (size_t row = 0; row < rows; row++) {
            size_t width = cell_width(table->cells[row * table->n_columns + i]);

            widths[i] = width > widths[i] ? width : widths[i];
        }
        cells[i] = head(table, i);
    }
    if (out == stdout)
        fputs(cli_style(CLI_BOLD), out);
    print_line(table, cells, widths, out);
    if (out == stdout)
        fputs(cli_style(CLI_PLAIN), out);
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < table->n_columns; i++)
            cells[i] = table->cells[row * table->n_columns + i];
        while (print_line(table, cells, widths, out))
            ;
    }
}
