/* SPDX-License-Identifier: Apache-2.0 */
/* The program: a worker, or a command. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "run/run.h"

/* A descriptor 0 to 2 that is closed would be given to the next file that is opened, which printf()
 * would then write into. */
static int fill_standard_files(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
            return -1;
    return 0;
}

int main(int argc, char **argv)
{
    int status;

    /* Another program's dictionary would let elements stay that sendit takes for unknown, and the
     * same folder would come out differently on another machine. */
    unsetenv("DCMDICTPATH");
    if (argc == 2 && !strcmp(argv[1], RUN_WORKER_ARGUMENT))
        return run_worker();
    if (fill_standard_files())
        return ERR_PLACE;
    /* Whoever reads may go away, as `head` does: a run goes on, and nothing is killed. */
    signal(SIGPIPE, SIG_IGN);
    status = cli_main(argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && errno != EPIPE && !status) {
        fprintf(stderr, "sendit: the answer could not be written: %s\n", strerror(errno));
        status = ERR_PLACE;
    }
    return status;
}
