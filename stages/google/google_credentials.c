/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google_credentials.c - who we are to Google: the file that GOOGLE_APPLICATION_CREDENTIALS names,
 * else gcloud's, else the account of the machine.  A file that is there and is not right is never
 * passed over.
 */
#include "google_parts.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#define MIN_KEY_BITS 2048

static sendit_verdict refuse(struct sendit_why *why, const char *text)
{
    return sendit_because(why, SENDIT_FAIL, "google.credentials", "%s", text);
}

/* ---- what is in them ---- */

/* A text of 1 to 4,096 characters that can be printed; NULL for anything else. */
static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    for (const char *at = text; at && *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at > 126)
            return NULL;
    return text && *text && strlen(text) <= 4096 ? text : NULL;
}

/* No key is worth a question on the terminal. */
static int no_password(char *to, int size, int writing, void *ctx)
{
    (void)to, (void)size, (void)writing, (void)ctx;
    return -1;
}

static sendit_verdict read_key(struct credentials *credentials, const char *pem,
                               struct sendit_why *why)
{
    BIO *bio = pem && strlen(pem) <= 32768 ? BIO_new_mem_buf(pem, -1) : NULL;

    if (bio)
        credentials->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (!credentials->key)
        return refuse(why, "The private_key of the credentials is no PEM key without a password: "
                           "make a new key for the account, as JSON.");
    if (!EVP_PKEY_is_a(credentials->key, "RSA"))
        return refuse(why, "The private_key of the credentials is no RSA key, and Google takes no "
                           "other: make a new key for the account, as JSON.");
    if (EVP_PKEY_get_bits(credentials->key) < MIN_KEY_BITS)
        return refuse(why, "The private_key of the credentials has less than 2048 bits: make a new "
                           "key for the account, as JSON.");
    return SENDIT_PASS;
}

static sendit_verdict read_service_account(struct credentials *credentials, struct sendit_why *why)
{
    const json_t *json = credentials->json;

    credentials->kind = KIND_SERVICE_ACCOUNT;
    credentials->email = text_of(json, "client_email");
    credentials->key_id = text_of(json, "private_key_id");
    if (!credentials->email)
        return refuse(why, "The credentials of a service account have no client_email: make a new "
                           "key for the account, as JSON.");
    if (!json_is_string(json_object_get(json, "private_key")))
        return refuse(why, "The credentials of a service account have no private_key: make a new "
                           "key for the account, as JSON.");
    return read_key(credentials, json_string_value(json_object_get(json, "private_key")), why);
}

static sendit_verdict read_user(struct credentials *credentials, struct sendit_why *why)
{
    credentials->kind = KIND_AUTHORIZED_USER;
    credentials->refresh_token = text_of(credentials->json, "refresh_token");
    credentials->client_id = text_of(credentials->json, "client_id");
    credentials->client_secret = text_of(credentials->json, "client_secret");
    if (credentials->refresh_token && credentials->client_id && credentials->client_secret)
        return SENDIT_PASS;
    return refuse(why, "The credentials of a user lack refresh_token, client_id or client_secret: "
                       "run gcloud auth application-default login.");
}

static sendit_verdict read_type(struct credentials *credentials, struct sendit_why *why)
{
    static const struct {
        const char *type, *text;
    } refused[] = {
        {"external_account",
         "The credentials are of the type external_account (workload identity federation), which "
         "is not supported: use the key of a service account."},
        {"external_account_authorized_user",
         "The credentials are of the type external_account_authorized_user (workforce identity "
         "federation), which is not supported: use the key of a service account."},
        {"impersonated_service_account",
         "The credentials are of the type impersonated_service_account, and impersonation is not "
         "supported: use the key of that service account."},
        {"gdch_service_account",
         "The credentials are of the type gdch_service_account, for clouds of one's own, which is "
         "not supported: use the key of a service account."},
    };
    const char *type = text_of(credentials->json, "type");

    if (type && !strcmp(type, "service_account"))
        return read_service_account(credentials, why);
    if (type && !strcmp(type, "authorized_user"))
        return read_user(credentials, why);
    for (size_t i = 0; type && i < sizeof(refused) / sizeof(refused[0]); i++)
        if (!strcmp(type, refused[i].type))
            return refuse(why, refused[i].text);
    if (!type && (json_object_get(credentials->json, "installed") ||
                  json_object_get(credentials->json, "web")))
        return refuse(why,
                      "The credentials name an application (OAuth client), and no account: use "
                      "the key of a service account.");
    return refuse(why, type
                           ? "The credentials are of a type that is not known: service_account and "
                             "authorized_user are."
                           : "The credentials have no type: use the key of a service account, as "
                             "Google's console makes it.");
}

/* Ours alone is asked: a file must not choose who sees what was made with its key. */
static sendit_verdict check_uri(const struct credentials *credentials, const char *token_url,
                                struct sendit_why *why)
{
    const json_t *uri = json_object_get(credentials->json, "token_uri");
    const json_t *universe = json_object_get(credentials->json, "universe_domain");
    const char *said = json_string_value(uri), *domain = json_string_value(universe);

    if (universe && (!domain || strcmp(domain, "googleapis.com") != 0))
        return refuse(why, "The credentials belong to another universe_domain than "
                           "googleapis.com, which is not supported.");
    if (uri && (!said || strcmp(said, token_url) != 0))
        return refuse(why, "The token_uri of the credentials is not the option token_url: if you "
                           "trust it, write it there.");
    return SENDIT_PASS;
}

sendit_verdict credentials_parse(struct credentials *credentials, const char *text,
                                 const char *token_url, struct sendit_why *why)
{
    sendit_verdict verdict;

    if (!text[strspn(text, " \t\r\n")])
        return refuse(why, "The file of credentials is empty: put the key of a service account "
                           "into it.");
    credentials->json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(credentials->json))
        return refuse(why, "The file of credentials is no JSON object: it is cut off, or another "
                           "file than Google's console makes.");
    verdict = read_type(credentials, why);
    if (verdict == SENDIT_PASS)
        verdict = check_uri(credentials, token_url, why);
    credentials->project = text_of(credentials->json, "project_id");
    credentials->quota_project = text_of(credentials->json, "quota_project_id");
    return verdict;
}

static void wipe(json_t *json, const char *name)
{
    const json_t *value = json_object_get(json, name);
    char *text = (char *)(uintptr_t)json_string_value(value);

    if (text)
        explicit_bzero(text, json_string_length(value));
}

void credentials_fini(struct credentials *credentials)
{
    if (json_is_object(credentials->json)) {
        wipe(credentials->json, "private_key");
        wipe(credentials->json, "refresh_token");
        wipe(credentials->json, "client_secret");
    }
    json_decref(credentials->json);
    EVP_PKEY_free(credentials->key);
    memset(credentials, 0, sizeof(*credentials));
}

/* ---- where they are ---- */

static enum kind without(const struct google *google)
{
    bool usual = !strcmp(google->metadata_url, GOOGLE_METADATA_URL);

    return usual && google_is_loopback(google->endpoint) ? KIND_ANONYMOUS : KIND_METADATA;
}

sendit_verdict credentials_read(struct credentials *credentials, const struct google *google,
                                struct sendit_why *why)
{
    const char *text;
    sendit_result r = google->secrets->get(google->host, "credentials", &text);

    switch (r) {
    case SENDIT_OK:
        return credentials_parse(credentials, text, google->token_url, why);
    case SENDIT_EABSENT:
        credentials->kind = without(google);
        return SENDIT_PASS;
    case SENDIT_EDENIED:
        return refuse(why, "The file of credentials can be read by others, or is a link or no "
                           "file: make it a file that is yours alone (chmod 600).");
    case SENDIT_ECORRUPT:
        return refuse(why,
                      "The file of credentials is larger than 64 KiB or has a NUL in it: it is "
                      "not what Google's console makes.");
    case SENDIT_EIO:
        return refuse(why,
                      "The credentials cannot be read: is the file there, may this user read it, "
                      "is the variable set?");
    case SENDIT_ENOMEM:
        return sendit_because(why, SENDIT_RETRY, "google.memory", "There is no memory.");
    case SENDIT_ECANCELED:
        return sendit_because(why, SENDIT_RETRY, "google.canceled", "The host is stopping.");
    default:
        return refuse(why, "The credentials cannot be asked for: see the option credentials.");
    }
}
