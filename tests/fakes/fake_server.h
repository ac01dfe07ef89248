/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_server.h - what the servers on loopback share: words of the command line, TLS, the log, and
 * when a fault is due.
 */
#ifndef SENDIT_TESTS_FAKE_SERVER_H
#define SENDIT_TESTS_FAKE_SERVER_H

#include <jansson.h>
#include <microhttpd.h>
#include <stddef.h>

struct fake_word {
    const char *name, **value;
};

/* PEM files; cert NULL: no TLS. */
struct fake_tls {
    const char *cert, *key, *priority, *client_ca;
};

/* The text of a file, of the heap; NULL if it cannot be read, or is empty. */
char *fake_read_file(const char *path);
/* NAME=VALUE from argv[first] on, cut up in place; -1 for what is not among the `n` words. */
int fake_read_words(int argc, char **argv, int first, const struct fake_word *words, size_t n);
/* WHEN is a number, "N-" from that one on, "A-B", or "N%" of all, by a sequence that `seed` sets.
 */
int fake_is_due(const char *when, unsigned number, unsigned seed);
/* A line in the file, by one write. */
void fake_log(const char *path, const json_t *line);

/* A thread for each connection, on 127.0.0.1.  `options` end with MHD_OPTION_END.  *ret_port gets
 * the port; NULL: it cannot be started. */
struct MHD_Daemon *fake_start(const struct fake_tls *tls, unsigned port,
                              MHD_AccessHandlerCallback handler,
                              const struct MHD_OptionItem *options, unsigned *ret_port);
/* Until standard input ends; then the process does. */
_Noreturn void fake_wait(void);

#endif
