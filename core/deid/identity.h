/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - the site key and what is derived from it by HMAC-SHA-256.
 *
 * The same key gives the same pseudonyms, UIDs and shifts on every machine.  A key file holds
 * IDENTITY_KEY_MIN random bytes or more in base64 on one line; nobody but its owner may read it.
 */
#ifndef SENDIT_DEID_IDENTITY_H
#define SENDIT_DEID_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IDENTITY_KEY_MIN 32
#define IDENTITY_KEY_MAX 1024
#define IDENTITY_PSEUDONYM 17   /* 16 hex digits and a NUL */
#define IDENTITY_UID 65
#define IDENTITY_FINGERPRINT 24 /* "xxxx-xxxx-xxxx-xxxx" and a NUL */

struct identity_key {
    uint8_t bytes[IDENTITY_KEY_MAX];
    size_t len;
    char fingerprint[IDENTITY_FINGERPRINT]; /* keyed, safe to show */
};

/* Read a key file; ERR_REFUSED if it is absent, others can read it, or it holds anything else. */
int identity_load(const char *path, struct identity_key *ret_key, struct err *err);
/* Make one from the system's random source, mode 0600; never overwrites. */
int identity_make(const char *path, struct identity_key *ret_key, struct err *err);
void identity_wipe(struct identity_key *key);

/* -1 only if OpenSSL fails or `original` is not a UID. */
int identity_pseudonym(const struct identity_key *key, const char *domain, const char *original,
                       char ret_pseudonym[IDENTITY_PSEUDONYM]);
/* "2.25." and a UUID as a decimal number (PS3.5 B.2); a UID under 1.2.840.10008. as it is. */
int identity_uid(const struct identity_key *key, const char *original, char ret_uid[IDENTITY_UID]);
/* -3650 to -1. */
int identity_days(const struct identity_key *key, const char *patient, int32_t *ret_days);

/* Who a patient is: IssuerOfPatientID and PatientID as UTF-8, trimmed, "-" removed, case folded.
 * The caller frees *ret_patient; -1 without memory.  Empty id: *ret_patient is NULL. */
int identity_patient(const char *issuer, const char *id, char **ret_patient);

#endif
