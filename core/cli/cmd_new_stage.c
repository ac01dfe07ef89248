/* SPDX-License-Identifier: Apache-2.0 */
/* sendit new-stage: a stage to begin with, from stages/_template. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "load/load.h"
#include "run/run.h"

#define TEMPLATE "stages/_template"
#define KEBAB "my-stage" /* what stands in the template for the name, and for it in C */
#define SNAKE "my_stage"
#define MAX_NAME 22 /* so that the reason "NAME.unknown" fits whole into 31 bytes */
#define MAX_DEPTH 4 /* folders of the template in each other */
#define MAX_FILES 200
#define MAX_FILE (1u << 20)

struct job {
    const char *name;
    char snake[MAX_NAME + 1];
    char *folder;  /* that is made */
    bool in_tree;  /* beside the stages that ship */
    bool is_built; /* this program runs where it was built */
    char *made[MAX_FILES];
    size_t n_made;
    json_t *files; /* names of those, from `folder` */
    struct err *err;
};

/* ---- names ---- */

static int check_name(struct job *job, struct loader *loader)
{
    static const char *const ours[] = {"core", "hold", "run"};
    char path[PATH_MAX];

    if (!loader_is_name(job->name) || strlen(job->name) > MAX_NAME)
        return err_set(job->err, ERR_USAGE,
                       "a stage is called by [a-z][a-z0-9-]*, up to %d letters, not \"%.60s\"",
                       MAX_NAME, job->name);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!strcmp(ours[i], job->name))
            return err_set(job->err, ERR_USAGE,
                           "\"%s\" is a word of sendit's own; call it "
                           "something else",
                           job->name);
    snprintf(path, sizeof(path), "%s/%s.so", loader_own_folder(loader), job->name);
    if (!access(path, F_OK))
        return err_set(job->err, ERR_USAGE,
                       "\"%s\" is a stage that ships, which yours would hide; "
                       "call it something else",
                       job->name);
    for (size_t i = 0; job->name[i]; i++)
        job->snake[i] = job->name[i] == '-' ? '_' : job->name[i];
    return 0;
}

static int check_folder(const struct job *job)
{
    size_t n = strlen(job->folder);

    while (n > 1 && job->folder[n - 1] == '/')
        job->folder[--n] = '\0';
    return n ? 0 : err_set(job->err, ERR_USAGE, "the name of the folder is empty");
}

/* `text` with the name in place of the template's. */
static int put_name(const struct job *job, const char *text, size_t len, struct buf *out)
{
    const size_t n = sizeof(KEBAB) - 1;

    for (size_t i = 0; i < len;) {
        if (len - i >= n && !memcmp(text + i, KEBAB, n)) {
            buf_str(out, job->name);
            i += n;
        } else if (len - i >= n && !memcmp(text + i, SNAKE, n)) {
            buf_str(out, job->snake);
            i += n;
        } else {
            buf_add(out, text + i++, 1);
        }
    }
    return out->failed ? -1 : 0;
}

/* In the tree nothing is installed that could be found. */
static void put_include(const struct job *job, const char *base, struct buf *text)
{
    static const char package[] = "find_package(sendit REQUIRED)\n";
    char *at = strcmp(base, "CMakeLists.txt") ? NULL : strstr(text->data, package);
    struct buf out = {0};

    if (!job->in_tree || !at)
        return;
    buf_add(&out, text->data, (size_t)(at - text->data));
    buf_str(&out, "include(../SenditStage.cmake)\n");
    buf_str(&out, at + sizeof(package) - 1);
    buf_fini(text);
    *text = out;
}

/* ---- making ---- */

/* "folder/name", relative as `folder` is; NULL without memory. */
static char *join(const char *folder, const char *name)
{
    struct buf path = {0};

    buf_printf(&path, "%s/%s", folder, name);
    return buf_take(&path);
}

/* Whatever is made is noted first, to be taken away if something fails.  The path is taken. */
static int note(struct job *job, char *path)
{
    if (!path || job->n_made == MAX_FILES) {
        free(path);
        return err_set(job->err, ERR_PLACE, path ? "the template has too many files" : "no memory");
    }
    job->made[job->n_made++] = path;
    return 0;
}

static void undo(struct job *job)
{
    while (job->n_made) {
        char *path = job->made[--job->n_made];

        (void)remove(path);
        free(path);
    }
}

static int make_folder(struct job *job, const char *path)
{
    if (!mkdir(path, 0777))
        return note(job, strdup(path));
    if (errno == EEXIST)
        return err_set(job->err, ERR_REFUSED,
                       "%s is there already, and new-stage overwrites nothing; name another folder",
                       path);
    return err_set(job->err, ERR_PLACE, "%s cannot be made: %s", path, strerror(errno));
}

static int make_file(struct job *job, const char *path, const struct buf *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), failed;

    if (fd < 0)
        return err_set(job->err, ERR_PLACE, "%s cannot be made: %s", path, strerror(errno));
    if (note(job, strdup(path))) {
        close(fd);
        unlink(path);
        return -1;
    }
    failed = file_write_all(fd, text->data, text->len);
    if (close(fd) || failed)
        return err_set(job->err, ERR_PLACE, "%s cannot be written: %s", path, strerror(errno));
    if (json_array_append_new(job->files, json_string(path + strlen(job->folder) + 1)))
        return err_set(job->err, ERR_PLACE, "no memory");
    return 0;
}

static int copy_file(struct job *job, const char *from, const char *to)
{
    struct buf text = {0};
    char *data = NULL;
    size_t len;
    int result;

    if (file_read(from, MAX_FILE, &data, &len))
        return err_set(job->err, ERR_PLACE, "%s, of the template, cannot be read: %s", from,
                       strerror(errno));
    buf_str(&text, "");
    result = put_name(job, data, len, &text);
    if (!result)
        put_include(job, strrchr(to, '/') + 1, &text);
    if (result || text.failed)
        result = err_set(job->err, ERR_PLACE, "no memory");
    else
        result = make_file(job, to, &text);
    buf_fini(&text);
    free(data);
    return result;
}

static int copy_folder(struct job *job, const char *from, const char *to, int depth);

static int copy_entry(struct job *job, const char *from, const char *to, const char *name,
                      int depth)
{
    struct buf base = {0};
    char *source = join(from, name), *target = NULL;
    struct stat st;
    int result = -1;

    if (!put_name(job, name, strlen(name), &base))
        target = join(to, base.data);
    if (!source || !target)
        err_set(job->err, ERR_PLACE, "no memory");
    else if (lstat(source, &st))
        err_set(job->err, ERR_PLACE, "%s, of the template, cannot be read: %s", source,
                strerror(errno));
    else if (S_ISDIR(st.st_mode))
        result = copy_folder(job, source, target, depth + 1);
    else
        result = copy_file(job, source, target);
    buf_fini(&base);
    free(source);
    free(target);
    return result;
}

static int is_no_dot(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int copy_folder(struct job *job, const char *from, const char *to, int depth)
{
    struct dirent **entries = NULL;
    int n, result;

    if (depth > MAX_DEPTH)
        return err_set(job->err, ERR_PLACE, "the template has too many folders in each other");
    n = scandir(from, &entries, is_no_dot, alphasort);
    if (n <= 0) {
        free(entries);
        return err_set(job->err, ERR_PLACE, "%s, the template, cannot be read: %s", from,
                       n ? strerror(errno) : "it is empty");
    }
    result = make_folder(job, to);
    for (int i = 0; i < n; i++) {
        if (!result)
            result = copy_entry(job, from, to, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free(entries);
    return result;
}

static bool is_beside(const char *folder, const char *file)
{
    const char *slash = strrchr(folder, '/');
    char path[PATH_MAX];
    int n =
        snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - folder) + 1 : 0, folder, file);

    return n < (int)sizeof(path) && !access(path, F_OK);
}

static int make(struct job *job)
{
    char *template = run_data_folder(TEMPLATE, &job->is_built);
    int result;

    if (!template)
        return err_set(job->err, ERR_PLACE, "no memory, or /proc is not mounted");
    result = copy_folder(job, template, job->folder, 0);
    free(template);
    return result;
}

/* ---- the answer ---- */

/* Where CMake finds this sendit: nothing to say for the usual prefixes. */
static void print_where(const struct job *job)
{
    char exe[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    if (job->in_tree || n <= 0)
        return;
    exe[n] = '\0';
    slash = strrchr(exe, '/');
    *slash = '\0';
    if (job->is_built) {
        printf(" -Dsendit_DIR=%s", exe);
        return;
    }
    slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    if (strcmp(exe, "/usr") != 0 && strcmp(exe, "/usr/local") != 0)
        printf(" -DCMAKE_PREFIX_PATH=%s", exe);
}

static int answer(const struct cli *cli, struct job *job)
{
    json_t *file;
    size_t i;

    if (cli->json)
        return cli_answer(json_pack("{s:s, s:o, s:O}", "name", job->name, "folder",
                                    cli_json_text(job->folder), "files", job->files));
    printf("%s is a stage to begin with:\n", job->folder);
    json_array_foreach(job->files, i, file) printf("  %s\n", json_string_value(file));
    printf("\nBuild it, then run its cases:\n  cmake -S %s -B %s/build", job->folder, job->folder);
    print_where(job);
    printf("\n  cmake --build %s/build\n", job->folder);
    printf("  sendit test-stage %s/build/plugins.d/%s.so %s/cases\n", job->folder, job->name,
           job->folder);
    return 0;
}

static int run(const struct cli *cli)
{
    const struct run_request request = {.plugins = cli->plugins, .n_plugins = cli->n_plugins};
    struct err err = {0};
    struct job job = {.name = cli->args[0], .err = &err, .files = json_array()};
    struct loader *loader = run_loader(&request, &err);
    int status = 0;

    job.folder = strdup(cli->args[cli->n_args - 1]);
    if (!loader || (!(job.files && job.folder) && err_set(&err, ERR_PLACE, "no memory")))
        goto fail;
    if (check_name(&job, loader) || check_folder(&job))
        goto fail;
    job.in_tree = is_beside(job.folder, "SenditStage.cmake");
    if (make(&job)) {
        undo(&job);
        goto fail;
    }
    status = answer(cli, &job);
    goto out;
fail:
    status = err.code == ERR_USAGE ? cli_usage(cli, "%s", err.text) : cli_error(cli, &err);
out:
    while (job.n_made)
        free(job.made[--job.n_made]);
    free(job.folder);
    json_decref(job.files);
    loader_free(loader);
    return status;
}

const struct cli_command cli_new_stage = {
    .name = "new-stage",
    .usage = "new-stage NAME [FOLDER]",
    .summary = "write a stage to begin with",
    .help =
        "Makes FOLDER, by default ./NAME, with a small stage in C that builds and passes its own\n"
        "cases at once: source, CMakeLists.txt, README.md and cases. Change it into yours. It is\n"
        "compiled against the headers of an installed sendit, by CMake or pkg-config; below\n"
        "stages/ of sendit's sources it is built with the rest.\n"
        "\n"
        "Nothing is overwritten: FOLDER must not be there yet. No pipeline is needed. NAME is of\n"
        "small letters, digits and \"-\", up to 22, and no stage of sendit's own.",
    .examples = "sendit new-stage keep-axial\tmakes the folder keep-axial\n"
                "sendit new-stage keep-axial src/axial\tmakes the folder src/axial",
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
