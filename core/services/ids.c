/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ids.c - table ids of services.h: deid/identity.h, and the crosswalk behind it.
 *
 * What is keyed is computed once in a batch and put into the crosswalk then.  Of a pseudonym the
 * ledger is asked, so that two originals that come to the same one are noticed; a UID is told, not
 * asked: its 122 bits do not collide, and an image has many.  An original value stays in memory no
 * longer than its batch.
 */
#include "services/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_PATIENT_ID 0x00100020u
#define TAG_ISSUER_OF_PATIENT 0x00100021u
#define UID_DOMAIN "uid" /* what uid() makes; nobody else may write there */

void ids_trim(struct host_env *env, size_t max)
{
    if (env->uids.n > max)
        map_clear(&env->uids);
    if (env->pseudonyms.n > max)
        map_clear(&env->pseudonyms);
}

/* ---- who ---- */

static sendit_result patient(struct sendit_dataset *ds, const char **ret_patient)
{
    const char *id, *issuer = "", *copy;
    char *who = NULL;
    sendit_result r;

    if (!table_may_use(ds) || !ret_patient)
        return SENDIT_EINVAL;
    r = dicom_get(ds, TAG_PATIENT_ID, &id);
    if (r != SENDIT_OK)
        return r;
    r = dicom_get(ds, TAG_ISSUER_OF_PATIENT, &issuer);
    if (r == SENDIT_EABSENT)
        issuer = "";
    else if (r != SENDIT_OK)
        return r;
    if (identity_patient(issuer, id, &who))
        return SENDIT_ENOMEM;
    if (!who)
        return SENDIT_EABSENT;
    copy = dicom_dup(ds, who);
    free(who);
    if (!copy)
        return SENDIT_ENOMEM;
    *ret_patient = copy;
    return SENDIT_OK;
}

/* ---- keyed ---- */

/* EINVAL, a bug of the stage, without an original; ECORRUPT, the image's, with one too long. */
static sendit_result check_original(struct host *host, const char *original)
{
    if (!original || !*original)
        return table_misuse(host, "The stage asked for the identity of nothing", NULL);
    return strlen(original) > HOST_MAX_ORIGINAL ? SENDIT_ECORRUPT : SENDIT_OK;
}

static sendit_result check_domain(struct host *host, const char *domain)
{
    if (!domain || !table_is_word(domain))
        return table_misuse(host, "The stage named a domain that is no word", NULL);
    return SENDIT_OK;
}

static bool is_free(const char *domain)
{
    return strcmp(domain, UID_DOMAIN) != 0;
}

/* "DOMAIN\nORIGINAL", which no other pair gives: a domain has no newline. */
static void cache_key(char *ret_key, size_t size, const char *domain, const char *original)
{
    snprintf(ret_key, size, "%s\n%s", domain, original);
}

/* Into the crosswalk, if nothing stands there for `original`; ECONFLICT if the pseudonym is
 * another's. */
static sendit_result note(struct host *host, const char *domain, const char *original,
                          const char *pseudonym)
{
    const struct host_link *link = host->env->link;
    const char *stands;

    if (!link || !link->crosswalk_put)
        return SENDIT_EIO;
    return link->crosswalk_put(link->ctx, domain, original, pseudonym, &stands);
}

static sendit_result make_pseudonym(struct host *host, const char *domain, const char *original,
                                    const char **ret_pseudonym)
{
    char key[HOST_MAX_WORD + HOST_MAX_ORIGINAL + 2], made[IDENTITY_PSEUDONYM];
    struct map *cache = &host->env->pseudonyms;
    const char *known;
    sendit_result r;

    cache_key(key, sizeof(key), domain, original);
    known = map_get(cache, key);
    if (known)
        return table_text(host, known, ret_pseudonym);
    if (identity_pseudonym(host->env->key, domain, original, made))
        return SENDIT_ENOMEM;
    if (host->env->comparing)
        return table_text(host, made, ret_pseudonym);
    r = note(host, domain, original, made);
    if (r == SENDIT_OK && cache->n < HOST_MAX_CACHED && map_put(cache, key, made))
        r = SENDIT_ENOMEM;
    return r == SENDIT_OK ? table_text(host, made, ret_pseudonym) : r;
}

static sendit_result pseudonym(const struct sendit_host *handle, const char *domain,
                               const char *original, const char **ret_pseudonym)
{
    struct host *host = table_enter(handle);
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    r = check_domain(host, domain);
    if (r == SENDIT_OK)
        r = check_original(host, original);
    if (r != SENDIT_OK)
        return r;
    if (!ret_pseudonym || !is_free(domain))
        return table_misuse(host, "The stage called ids->pseudonym() with what it does not take",
                            NULL);
    if (!host->env->key)
        return SENDIT_EDENIED;
    return make_pseudonym(host, domain, original, ret_pseudonym);
}

sendit_result host_uid(void *ctx_host, const char *original, const char **ret_uid)
{
    struct host *host = ctx_host;
    const struct host_link *link = host->env->link;
    struct map *cache = &host->env->uids;
    const char *known = map_get(cache, original);
    sendit_result r;

    if (known) {
        *ret_uid = known;
        return SENDIT_OK;
    }
    if (!host->env->key)
        return SENDIT_EDENIED;
    if (identity_uid(host->env->key, original, host->uid))
        return SENDIT_ECORRUPT;
    *ret_uid = host->uid;
    if (!strcmp(host->uid, original) || host->env->comparing)
        return SENDIT_OK; /* of the standard, or not to be kept */
    if (!link || !link->crosswalk_note)
        return SENDIT_EIO;
    r = link->crosswalk_note(link->ctx, UID_DOMAIN, original, host->uid);
    if (r == SENDIT_OK && cache->n < HOST_MAX_CACHED && map_put(cache, original, host->uid))
        r = SENDIT_ENOMEM;
    return r;
}

sendit_result host_uuid(void *ctx_host, const char *original, uint8_t ret_uuid[16])
{
    const struct host *host = ctx_host;

    if (!host->env->key)
        return SENDIT_EDENIED;
    return identity_uuid(host->env->key, original, ret_uuid) ? SENDIT_ENOMEM : SENDIT_OK;
}

static sendit_result uid(const struct sendit_host *handle, const char *original,
                         const char **ret_uid)
{
    struct host *host = table_enter(handle);
    const char *made;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    r = check_original(host, original);
    if (r != SENDIT_OK)
        return r;
    if (!ret_uid)
        return table_misuse(host, "The stage called ids->uid() without a place for it", NULL);
    r = host_uid(host, original, &made);
    return r == SENDIT_OK ? table_text(host, made, ret_uid) : r;
}

static sendit_result days(const struct sendit_host *handle, const char *who, int32_t *ret_days)
{
    struct host *host = table_enter(handle);
    int32_t made;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    r = check_original(host, who);
    if (r != SENDIT_OK)
        return r;
    if (!ret_days)
        return table_misuse(host, "The stage called ids->days() without a place for it", NULL);
    if (!host->env->key)
        return SENDIT_EDENIED;
    if (identity_days(host->env->key, who, &made))
        return SENDIT_ENOMEM;
    *ret_days = made;
    return SENDIT_OK;
}

/* ---- assigned ---- */

static sendit_result lookup(const struct sendit_host *handle, const char *domain,
                            const char *original, const char **ret_pseudonym, int64_t *ret_since_ms)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;
    const char *stands;
    int64_t since;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    r = check_domain(host, domain);
    if (r == SENDIT_OK)
        r = check_original(host, original);
    if (r != SENDIT_OK)
        return r;
    if (!ret_pseudonym || !ret_since_ms)
        return table_misuse(host, "The stage called ids->lookup() without a place for the answer",
                            NULL);
    link = host->env->link;
    if (!link || !link->crosswalk_get)
        return SENDIT_EIO;
    r = link->crosswalk_get(link->ctx, domain, original, &stands, &since);
    if (r == SENDIT_OK)
        r = table_text(host, stands, ret_pseudonym);
    if (r == SENDIT_OK)
        *ret_since_ms = since;
    return r;
}

static sendit_result assign(const struct sendit_host *handle, const char *domain,
                            const char *original, const char *proposed, const char **ret_pseudonym)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;
    const char *stands;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    r = check_domain(host, domain);
    if (r == SENDIT_OK)
        r = check_original(host, original);
    if (r != SENDIT_OK)
        return r;
    if (!proposed || !*proposed || !ret_pseudonym || !is_free(domain))
        return table_misuse(host, "The stage called ids->assign() with what it does not take",
                            NULL);
    if (strlen(proposed) > HOST_MAX_ORIGINAL)
        return SENDIT_ECORRUPT;
    if (host->env->comparing)
        return SENDIT_EDENIED;
    link = host->env->link;
    if (!link || !link->crosswalk_put)
        return SENDIT_EIO;
    r = link->crosswalk_put(link->ctx, domain, original, proposed, &stands);
    return r == SENDIT_OK ? table_text(host, stands, ret_pseudonym) : r;
}

const struct sendit_ids host_ids = {.patient = patient,
                                    .pseudonym = pseudonym,
                                    .uid = uid,
                                    .days = days,
                                    .lookup = lookup,
                                    .assign = assign};
