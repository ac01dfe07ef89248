/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/harness.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "harness/always.h"
#include "harness/case.h"
#include "harness/recipe_trial.h"
#include "harness/trial.h"
#include "harness/work.h"

#define MAX_CASES 10000
#define MAX_OUTPUT 65536 /* of what a stage says, the end of which is shown */
#define MAX_TEXT (1u << 20)

/* What the process of a trial tells, behind it a text. */
enum { TOLD_FAILED = '0', TOLD_PASSED = '1', TOLD_UPDATED = '2', TOLD_SKIPPED = '3' };

struct harness {
    const struct harness_request *request;
    char *stage;  /* absolute path */
    char *folder; /* that it lies in */
    char name[SENDIT_ID_SIZE];
    char **cases; /* absolute paths */
    size_t n_cases;
    char *config;
    size_t config_len;
    const char *sample; /* of `cases`, one that passes */
    char *progress;     /* shared with the process of a trial */
    struct harness_summary *summary;
    harness_told_fn *told;
    void *ctx;
};

/* ---- which cases ---- */

static int add_case(struct harness *h, const char *path, struct err *err)
{
    char **cases;

    if (h->n_cases == MAX_CASES)
        return err_set(err, ERR_REFUSED, "there are more than %d cases", MAX_CASES);
    cases = realloc(h->cases, (h->n_cases + 1) * sizeof(*cases));
    if (cases)
        h->cases = cases;
    if (!cases || !(cases[h->n_cases] = realpath(path, NULL)))
        return err_set(err, ERR_REFUSED, "%s: %s", path, strerror(errno));
    h->n_cases++;
    return 0;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static bool is_folder(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

static int add_inside(struct harness *h, const char *folder, struct err *err)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_visible, alphasort), result = 0;
    size_t before = h->n_cases;

    if (n < 0)
        return err_set(err, ERR_REFUSED, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *path = file_join(folder, entries[i]->d_name);

        if (!result && path && is_folder(path))
            result = add_case(h, path, err);
        free(path);
        free(entries[i]);
    }
    free(entries);
    if (!result && h->n_cases == before)
        result =
            err_set(err, ERR_REFUSED,
                    "%s: it is no case and has none: a case is a folder with expect.json", folder);
    return result;
}

static int find_cases(struct harness *h, struct err *err)
{
    for (size_t i = 0; i < h->request->n_cases; i++) {
        const char *given = h->request->cases[i];
        char *path = realpath(given, NULL);
        int bad;

        if (!path || !is_folder(path))
            bad =
                err_set(err, ERR_REFUSED, "%s: there is no such folder; a case is a folder", given);
        else
            bad = case_is_one(path) ? add_case(h, path, err) : add_inside(h, path, err);
        free(path);
        if (bad)
            return -1;
    }
    return 0;
}

/* ---- one trial in its process ---- */

struct job {
    const struct harness *h;
    const char *case_folder; /* NULL: a check */
    size_t check;
    const char *work; /* its folder */
};

static char try_job(const struct job *job, struct buf *text)
{
    const struct harness *h = job->h;
    const char *const folders[] = {h->folder};
    const struct stage_file *file;
    struct trial trial = {.filters = h->request->filters,
                          .folder = job->work,
                          .config = h->config,
                          .config_len = h->config_len,
                          .sample = h->sample,
                          .progress = h->progress,
                          .update = h->request->update};
    struct err err = {0};
    struct loader *loader;
    bool updated = false;
    int result = -1;

    if (!h->stage) {
        result = recipe_trial(&trial, job->case_folder, &updated, text);
        return result ? TOLD_FAILED : updated ? TOLD_UPDATED : TOLD_PASSED;
    }
    loader = loader_new(folders, 1, &err);

    if (loader && h->request->in_process)
        loader_by_name(loader);
    if (!loader || loader_find(loader, h->name, &file, &err)) {
        buf_printf(text, "%s\n", err.text);
    } else {
        trial.file = file;
        result = job->case_folder ? trial_case(&trial, job->case_folder, &updated, text)
                                  : always_try(&trial, job->check, text);
    }
    loader_free(loader);
    if (result > 0)
        return TOLD_SKIPPED;
    return result ? TOLD_FAILED : updated ? TOLD_UPDATED : TOLD_PASSED;
}

/* In the child: nobody else's descriptors are touched, the stage's words go to `output`. */
static void be_child(const struct job *job, int output, int pipe_fd)
{
    struct buf text = {0};
    char told;

    if (chdir(job->work) || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
        _exit(1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    told = try_job(job, &text);
    fflush(stdout);
    if (!file_write_all(pipe_fd, &told, 1) && text.len)
        (void)file_write_all(pipe_fd, text.data, text.len);
    buf_fini(&text);
    close(pipe_fd);
    exit(0); /* not _exit(): a sanitizer looks for leaks now */
}

static int64_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Read until the child closes its end; false if it takes too long. */
static bool read_told(int fd, struct buf *told)
{
    int64_t end = now_s() + HARNESS_TIMEOUT_S, left;

    while ((left = end - now_s()) > 0) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        char block[4096];
        ssize_t n;

        if (poll(&poll_fd, 1, (int)left * 1000) <= 0)
            continue;
        n = read(fd, block, sizeof(block));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
        if (told->len + (size_t)n <= MAX_TEXT)
            buf_add(told, block, (size_t)n);
    }
    return false;
}

/* The child may have closed its end and go on all the same. */
static int wait_for(pid_t pid)
{
    const struct timespec slice = {0, 2000000};
    int64_t end = now_s() + HARNESS_TIMEOUT_S;
    int status = -1;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_s() >= end) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        nanosleep(&slice, NULL);
    }
    return status;
}

static void blame_child(const struct harness *h, int status, bool in_time, const struct buf *told,
                        struct buf *text)
{
    if (!in_time)
        buf_printf(text, "it did not come to an end in %d s\n", HARNESS_TIMEOUT_S);
    else if (WIFSIGNALED(status))
        buf_printf(text, "the stage crashed: signal %d (%s)\n", WTERMSIG(status),
                   strsignal(WTERMSIG(status)));
    else if (!told->len)
        buf_printf(text, "the stage ended the process with status %d\n", WEXITSTATUS(status));
    else
        buf_printf(text, "the process ended with status %d\n", WEXITSTATUS(status));
    if (h->progress[0])
        buf_printf(text, "before that %s\n", h->progress);
}

/* The end of what the stage said; the caller frees it. */
static char *read_output(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END), from = size > MAX_OUTPUT ? size - MAX_OUTPUT : 0;
    char *text = calloc(1, MAX_OUTPUT + 1);
    ssize_t n = text && size > 0 ? pread(fd, text, MAX_OUTPUT, from) : 0;

    if (text)
        text[n > 0 ? n : 0] = '\0';
    return text;
}

static void report(struct harness *h, const char *name, char told, const char *text,
                   const char *output)
{
    const struct harness_result result = {.name = name,
                                          .passed = told != TOLD_FAILED,
                                          .updated = told == TOLD_UPDATED,
                                          .skipped = told == TOLD_SKIPPED ? text : NULL,
                                          .text = told == TOLD_SKIPPED ? "" : text,
                                          .output = output ? output : ""};

    h->summary->passed += told == TOLD_PASSED || told == TOLD_UPDATED;
    h->summary->updated += told == TOLD_UPDATED;
    h->summary->skipped += told == TOLD_SKIPPED;
    h->summary->failed += told == TOLD_FAILED;
    h->told(h->ctx, &result);
}

/* Start the child, hear it out, and say what came of it. */
static int try_apart(struct harness *h, struct job *job, const char *name, int output)
{
    struct buf told = {0}, text = {0};
    char how = TOLD_FAILED, *said;
    int ends[2], status;
    bool in_time;
    pid_t pid;

    if (pipe(ends))
        return -1;
    fflush(stdout);
    pid = fork();
    if (!pid) {
        close(ends[0]);
        be_child(job, output, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return -1;
    }
    in_time = read_told(ends[0], &told);
    close(ends[0]);
    if (!in_time)
        kill(pid, SIGKILL);
    status = wait_for(pid);
    if (told.len)
        buf_str(&text, told.data + 1);
    if (in_time && WIFEXITED(status) && !WEXITSTATUS(status) && told.len)
        how = told.data[0];
    else
        blame_child(h, status, in_time, &told, &text);
    said = read_output(output);
    report(h, name, how, text.data ? text.data : "", said);
    free(said);
    buf_fini(&told);
    buf_fini(&text);
    return 0;
}

static int try_here(struct harness *h, struct job *job, const char *name)
{
    struct buf text = {0};
    char how;

    if (chdir(job->work))
        return -1;
    how = try_job(job, &text);
    report(h, name, how, text.data ? text.data : "", "");
    buf_fini(&text);
    return chdir("/");
}

static int try_one(struct harness *h, const char *case_folder, size_t check, struct err *err)
{
    const char *name = case_folder ? strrchr(case_folder, '/') + 1 : always_name(check);
    struct job job = {.h = h, .case_folder = case_folder, .check = check};
    char *work = work_folder();
    int output, result = -1;

    if (!work)
        return err_set(err, ERR_PLACE, "no folder can be made for a case: %s", strerror(errno));
    job.work = work;
    h->progress[0] = '\0';
    output = memfd_create("output", MFD_CLOEXEC);
    if (output >= 0)
        result =
            h->request->in_process ? try_here(h, &job, name) : try_apart(h, &job, name, output);
    if (result)
        err_set(err, ERR_PLACE, "a case cannot be started: %s", strerror(errno));
    if (output >= 0)
        close(output);
    work_remove(work);
    free(work);
    return result;
}

/* ---- the whole ---- */

static int find_stage(struct harness *h, struct err *err)
{
    const char *given = h->request->stage, *slash;
    size_t n;

    if (!given)
        return 0;
    h->stage = realpath(given, NULL);
    if (!h->stage)
        return err_set(err, ERR_REFUSED, "%s: %s", given, strerror(errno));
    slash = strrchr(h->stage, '/') + 1;
    n = strlen(slash);
    if (n < 4 || strcmp(slash + n - 3, ".so") || n - 3 >= sizeof(h->name))
        return err_set(err, ERR_REFUSED, "%s: a stage is a file NAME.so", given);
    snprintf(h->name, sizeof(h->name), "%.*s", (int)(n - 3), slash);
    h->folder = strndup(h->stage, (size_t)(slash - h->stage - (slash - h->stage > 1)));
    return h->folder ? 0 : err_set(err, ERR_PLACE, "no memory");
}

static int read_config(struct harness *h, struct err *err)
{
    if (!h->request->config ||
        !file_read(h->request->config, CASE_MAX_FILE, &h->config, &h->config_len))
        return 0;
    return err_set(err, ERR_REFUSED, "%s: %s", h->request->config, strerror(errno));
}

/* A case whose item passes, or whose source feeds, without a fault: what is tried without a case
 * has its options and input.  One that cannot be read is told when its turn comes. */
static void find_sample(struct harness *h)
{
    for (size_t i = 0; !h->sample && i < h->n_cases; i++) {
        struct test_case tc;
        struct err err;

        if (!case_read(&tc, h->cases[i], &err) && !tc.n_faults && !tc.cancel && !tc.abandon) {
            const char *verdict = json_string_value(case_expect(&tc, "verdict"));

            if ((verdict && !strcmp(verdict, "PASS")) || case_expect(&tc, "produced"))
                h->sample = h->cases[i];
        }
        case_fini(&tc);
    }
}

/* The descriptor is judged before anything is tried. */
static int look_at_stage(const struct harness *h, harness_planned_fn *planned, void *ctx, size_t n,
                         struct err *err)
{
    const char *const folders[] = {h->folder};
    const struct stage_file *file;
    struct loader *loader;
    int result = -1;

    if (!h->stage) {
        planned(ctx, NULL, NULL, n);
        return 0;
    }
    loader = loader_new(folders, 1, err);
    if (loader && h->request->in_process)
        loader_by_name(loader); /* a debugger opens /proc/self/fd/N as its own, and waits */
    if (loader && !loader_find(loader, h->name, &file, err)) {
        planned(ctx, file->plugin->name, file->plugin->version, n);
        result = 0;
    }
    loader_free(loader);
    return result;
}

static void harness_fini(struct harness *h)
{
    for (size_t i = 0; i < h->n_cases; i++)
        free(h->cases[i]);
    free(h->cases);
    free(h->stage);
    free(h->folder);
    free(h->config);
    munmap(h->progress, TRIAL_PROGRESS);
}

int harness_run(const struct harness_request *request, harness_planned_fn *planned,
                harness_told_fn *told, void *ctx, struct harness_summary *ret_summary,
                struct err *err)
{
    struct harness h = {.request = request, .summary = ret_summary, .told = told, .ctx = ctx};
    size_t checks = request->in_process || !request->stage ? 0 : always_n();
    int result = -1;

    memset(ret_summary, 0, sizeof(*ret_summary));
    h.progress =
        mmap(NULL, TRIAL_PROGRESS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h.progress == MAP_FAILED)
        return err_set(err, ERR_PLACE, "no memory");
    if (!find_stage(&h, err) && !find_cases(&h, err) && !read_config(&h, err))
        result = look_at_stage(&h, planned, ctx, checks + h.n_cases, err);
    if (request->stage)
        find_sample(&h);
    for (size_t i = 0; !result && i < checks; i++)
        result = try_one(&h, NULL, i, err);
    for (size_t i = 0; !result && i < h.n_cases; i++)
        result = try_one(&h, h.cases[i], 0, err);
    harness_fini(&h);
    return result;
}
