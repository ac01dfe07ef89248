/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - the site key and what is derived from it by HMAC-SHA-256.
 *
 * The same key gives the same pseudonyms, UIDs and shifts on every machine.  A key file holds
 * IDENTITY_KEY_MIN random bytes or more in base64 on one line; nobody but its owner may read it.
 *
 * What is signed, so that another program with the key can do the same: a purpose, its NUL, and the
 * original.  "sendit.pseudonym\0DOMAIN\0ORIGINAL" gives the first 8 bytes in hex;
 * "sendit.uid\0ORIGINAL" the first 16 bytes, marked as a UUID of version 8 (RFC 9562), as a decimal
 * number; "sendit.uuid\0ORIGINAL" likewise for what is no UID; "sendit.days\0PATIENT" the first 8
 * bytes, big-endian, modulo 3650; "sendit.fingerprint\0" the first 8 bytes in hex.  [any thread]
 */
#ifndef SENDIT_DEID_IDENTITY_H
#define SENDIT_DEID_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IDENTITY_KEY_MIN 32
#define IDENTITY_KEY_MAX 1024
#define IDENTITY_PSEUDONYM 17 /* 16 hex digits and a NUL */
#define IDENTITY_UID 65
#define IDENTITY_FINGERPRINT 24 /* "xxxx-xxxx-xxxx-xxxx" and a NUL */
#define IDENTITY_DAYS 3650
#define IDENTITY_UUID 16    /* bytes */
#define IDENTITY_DECIMAL 40 /* of a UUID as a number, with its NUL */

struct identity_key {
    uint8_t bytes[IDENTITY_KEY_MAX];
    size_t len;
    char fingerprint[IDENTITY_FINGERPRINT]; /* keyed, safe to show */
};

/* Read a key file; ERR_REFUSED if it is absent, others can read it, or it holds anything else.  A
 * symbolic link is refused, too. */
int identity_load(const char *path, struct identity_key *ret_key, struct err *err);
/* Make one from the system's random source, mode 0600, durable on return; never overwrites. */
int identity_make(const char *path, struct identity_key *ret_key, struct err *err);
void identity_wipe(struct identity_key *key);

/* -1 only if OpenSSL fails or, of the second, `original` is not a UID: 1 to 64 digits and dots. */
int identity_pseudonym(const struct identity_key *key, const char *domain, const char *original,
                       char ret_pseudonym[IDENTITY_PSEUDONYM]);
/* "2.25." and a UUID as a decimal number (PS3.5 B.2); a UID of the standard as it is. */
int identity_uid(const struct identity_key *key, const char *original, char ret_uid[IDENTITY_UID]);
/* A UUID for any text, in which nobody can find the text without the key. */
int identity_uuid(const struct identity_key *key, const char *original,
                  uint8_t ret_uuid[IDENTITY_UUID]);
void identity_decimal(const uint8_t bytes[IDENTITY_UUID], char ret_text[IDENTITY_DECIMAL]);
/* Is it one that PS3.6 could have registered: under 1.2.840.10008., with up to nine numbers of up
 * to three digits, four for a context group?  An instance that somebody numbered under that root
 * does not look like that. */
bool identity_is_standard_uid(const char *uid);
/* -IDENTITY_DAYS to -1. */
int identity_days(const struct identity_key *key, const char *patient, int32_t *ret_days);

/*
 * Who a patient is: IssuerOfPatientID and PatientID as UTF-8, each trimmed of blanks, "-" removed,
 * case folded, joined by "\"; the PatientID alone without an issuer.  A "\" inside becomes "/".
 * Letters of ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic are folded, and full-width ones
 * become ASCII, by code of ours: a locale would make the answer depend on the machine.  The caller
 * frees *ret_patient; -1 without memory.  Empty id: *ret_patient is NULL.
 */
int identity_patient(const char *issuer, const char *id, char **ret_patient);

#endif
