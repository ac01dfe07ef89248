/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/page.h"

#include <ctype.h>
#include <string.h>

#include "cli/options.h"

#define COLUMN 24 /* where the text behind an option begins */

static const char about[] =
    "sendit takes folders of DICOM images that a hospital exports, removes what identifies the\n"
    "patient, and puts the images where researchers use them. pipeline.json says which stages an\n"
    "image goes through, in which order. Before a file is touched, sendit proves that no image "
    "can\n"
    "leave without the labels that the policy asks for. What cannot be judged is held, never\n"
    "passed.";

static const char *const statuses[][2] = {
    {"0", "done; quarantined images are counted and shown, they are no error"},
    {"1", "a batch is in ERROR; lint has findings; a case is red"},
    {"2", "the command line is wrong"},
    {"3", "pipeline, stage, recipe, key or state was refused; no file was touched"},
    {"4", "no room, or a place that cannot be read or written"},
    {"75", "a service is away, and run.retry_for has passed"},
    {"130, 143", "stopped by a signal; what is left waits for the next run"},
};
#define N_STATUSES (sizeof(statuses) / sizeof(statuses[0]))

static const char *const variables[][2] = {
    {"SENDIT_LOG", "level of log lines: debug, info, warn (the default), error, off; -v and -q go "
                   "before it"},
    {"NO_COLOR", "if it is set, no colours"},
};
#define N_VARIABLES (sizeof(variables) / sizeof(variables[0]))

static const char *const files[][2] = {
    {"pipeline.json", "the pipeline, in the current folder"},
    {"/etc/sendit/pipeline.json", "the pipeline, if there is none in the current folder"},
    {"plugins.d/", "a site's own stages, beside the pipeline"},
    {"state/", "ledger and site key, for their owner only (\"state\" of the pipeline)"},
};
#define N_FILES (sizeof(files) / sizeof(files[0]))

static bool takes(const struct cli_command *command, const struct cli_option *option)
{
    return option->help && (!option->takes || (command && (option->takes & command->takes)));
}

/* "-p, --pipeline FILE". */
static void name_option(const struct cli_option *option, char *text, size_t size)
{
    char letter[8] = "";

    if (option->letter)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(text, size, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
}

/* What comes behind the name in the usage line. */
static const char *operands(const struct cli_command *command)
{
    return command->usage + strlen(command->name);
}

/* The next line of a text; NULL at the end. */
static const char *next_line(const char **at, size_t *ret_len)
{
    const char *line = *at;

    if (!*line)
        return NULL;
    *ret_len = strcspn(line, "\n");
    *at = line + *ret_len + (line[*ret_len] == '\n');
    return line;
}

/* ---- as plain text ---- */

static void heading(FILE *out, const char *text)
{
    bool terminal = out == stdout;

    fprintf(out, "\n%s%s%s\n", terminal ? cli_style(CLI_BOLD) : "", text,
            terminal ? cli_style(CLI_PLAIN) : "");
}

/* "  NAME   text", the text on a line of its own if NAME is long. */
static void entry(FILE *out, const char *name, const char *text)
{
    if (strlen(name) + 2 < COLUMN)
        fprintf(out, "  %-*s%s\n", COLUMN - 2, name, text);
    else
        fprintf(out, "  %s\n%*s%s\n", name, COLUMN, "", text);
}

static void show_options(const struct cli_command *command, FILE *out)
{
    char name[64];

    heading(out, "Options");
    for (const struct cli_option *option = cli_options; option->name; option++)
        if (takes(command, option)) {
            name_option(option, name, sizeof(name));
            entry(out, name, option->help);
        }
}

static void show_commands(FILE *out)
{
    heading(out, "Commands");
    for (const struct cli_command *const *at = cli_commands; *at; at++)
        entry(out, (*at)->name, (*at)->summary);
}

static void show_pairs(FILE *out, const char *title, const char *const (*pairs)[2], size_t n)
{
    heading(out, title);
    for (size_t i = 0; i < n; i++)
        entry(out, pairs[i][0], pairs[i][1]);
}

void page_short(FILE *out)
{
    fputs("usage: sendit COMMAND [OPTION...]\n", out);
    show_commands(out);
    fputs("\nMore: sendit --help, sendit COMMAND --help\n", out);
}

static void show_examples(const char *examples, FILE *out)
{
    const char *line;
    size_t n;

    heading(out, "Examples");
    while ((line = next_line(&examples, &n))) {
        const char *tab = memchr(line, '\t', n);

        fprintf(out, "  %.*s\n", (int)(tab ? tab - line : (long)n), line);
        if (tab)
            fprintf(out, "      %.*s\n", (int)(n - (size_t)(tab - line) - 1), tab + 1);
    }
}

void page_help(const struct cli_command *command, FILE *out)
{
    if (command)
        fprintf(out, "usage: sendit %s [OPTION...]%s\n\n%s\n", command->name, operands(command),
                command->help);
    else
        fprintf(out, "usage: sendit COMMAND [OPTION...]\n\n%s\n", about);
    if (!command)
        show_commands(out);
    show_options(command, out);
    if (command && command->examples)
        show_examples(command->examples, out);
    show_pairs(out, "Exit status", statuses, N_STATUSES);
    if (command)
        return;
    show_pairs(out, "Environment", variables, N_VARIABLES);
    show_pairs(out, "Files", files, N_FILES);
    fputs("\nMore: sendit COMMAND --help, man sendit-COMMAND\n", out);
}

/* ---- as troff ---- */

static void roff(FILE *out, const char *text, size_t len)
{
    if (len && (text[0] == '.' || text[0] == '\''))
        fputs("\\&", out);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\\')
            fputs("\\e", out);
        else if (text[i] == '-')
            fputs("\\-", out);
        else if (text[i] == '"')
            fputs("\\(dq", out);
        else
            putc(text[i], out);
    }
}

static void roff_entry(FILE *out, const char *name, const char *text)
{
    fputs(".TP\n.B ", out);
    roff(out, name, strlen(name));
    putc('\n', out);
    roff(out, text, strlen(text));
    putc('\n', out);
}

/* Paragraphs are filled by troff, lines that begin with two blanks stay as they are. */
static void roff_text(FILE *out, const char *text)
{
    bool kept = false;
    const char *line;
    size_t n;

    while ((line = next_line(&text, &n))) {
        bool keep = n >= 2 && !strncmp(line, "  ", 2);

        if (keep != kept)
            fputs(keep ? ".PP\n.nf\n" : ".fi\n", out);
        kept = keep;
        if (!n)
            fputs(".PP", out);
        else
            roff(out, line, n);
        putc('\n', out);
    }
    if (kept)
        fputs(".fi\n", out);
}

static void roff_pairs(FILE *out, const char *title, const char *const (*pairs)[2], size_t n)
{
    fprintf(out, ".SH %s\n", title);
    for (size_t i = 0; i < n; i++)
        roff_entry(out, pairs[i][0], pairs[i][1]);
}

static void roff_options(const struct cli_command *command, FILE *out)
{
    char name[64];

    fputs(".SH OPTIONS\n", out);
    for (const struct cli_option *option = cli_options; option->name; option++)
        if (takes(command, option)) {
            name_option(option, name, sizeof(name));
            roff_entry(out, name, option->help);
        }
}

static void roff_examples(const char *examples, FILE *out)
{
    const char *line;
    size_t n;

    fputs(".SH EXAMPLES\n", out);
    while ((line = next_line(&examples, &n))) {
        const char *tab = memchr(line, '\t', n);
        size_t first = tab ? (size_t)(tab - line) : n;

        fputs(".TP\n.B ", out);
        roff(out, line, first);
        putc('\n', out);
        if (tab)
            roff(out, tab + 1, n - first - 1);
        putc('\n', out);
    }
}

static void roff_see_also(const struct cli_command *command, FILE *out)
{
    fputs(".SH SEE ALSO\n", out);
    if (command)
        fputs(".BR sendit (1)", out);
    for (const struct cli_command *const *at = cli_commands; *at; at++)
        if (*at != command)
            fprintf(out, "%s.BR sendit\\-%s (1)", command || at != cli_commands ? ",\n" : "",
                    (*at)->name);
    putc('\n', out);
}

void page_man(const struct cli_command *command, FILE *out)
{
    const char *name = command ? command->name : "", *dash = command ? "\\-" : "";
    const char *summary = command ? command->summary : "de-identifies folders of DICOM images";

    fputs(".TH SENDIT", out);
    fputs(dash, out);
    for (const char *at = name; *at; at++)
        putc(toupper((unsigned char)*at), out);
    fprintf(out, " 1 \"\" \"sendit %s\" \"sendit manual\"\n", SENDIT_VERSION);
    fprintf(out, ".SH NAME\nsendit%s%s \\- ", dash, name);
    roff(out, summary, strlen(summary));
    fputs("\n.SH SYNOPSIS\n.B sendit ", out);
    if (command) {
        fprintf(out, "%s\n[OPTION...]", name);
        roff(out, operands(command), strlen(operands(command)));
        putc('\n', out);
    } else {
        fputs("\nCOMMAND [OPTION...]\n", out);
    }
    fputs(".SH DESCRIPTION\n", out);
    roff_text(out, command ? command->help : about);
    if (!command) {
        fputs(".SH COMMANDS\n", out);
        for (const struct cli_command *const *at = cli_commands; *at; at++)
            roff_entry(out, (*at)->name, (*at)->summary);
    }
    roff_options(command, out);
    if (command && command->examples)
        roff_examples(command->examples, out);
    roff_pairs(out, "EXIT STATUS", statuses, N_STATUSES);
    roff_pairs(out, "ENVIRONMENT", variables, N_VARIABLES);
    roff_pairs(out, "FILES", files, N_FILES);
    roff_see_also(command, out);
}

/* ---- as a script ---- */

void page_completion(FILE *out)
{
    fputs("# bash completion for sendit, made from its own tables\n"
          "_sendit() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} given i\n"
          "    local commands='",
          out);
    for (const struct cli_command *const *at = cli_commands; *at; at++)
        fprintf(out, "%s ", (*at)->name);
    fputs("help' options='", out);
    for (const struct cli_option *option = cli_options; option->name; option++)
        if (option->help)
            fprintf(out, "--%s ", option->name);
    fputs("'\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        [[ \" $commands \" == *\" ${COMP_WORDS[i]} \"* ]] && given=${COMP_WORDS[i]} && "
          "break\n"
          "    done\n"
          "    case $word,$before in\n"
          "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
          "    *,-p|*,--pipeline|*,--state|*,--plugins) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
          "    *,quarantine) COMPREPLY=($(compgen -W 'list show release drop' -- \"$word\")) ;;\n"
          "    *) if [[ -z $given || $given == help ]]; then\n"
          "           COMPREPLY=($(compgen -W \"$commands\" -- \"$word\"))\n"
          "       else\n"
          "           COMPREPLY=($(compgen -f -- \"$word\"))\n"
          "       fi ;;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -F _sendit sendit\n",
          out);
}
