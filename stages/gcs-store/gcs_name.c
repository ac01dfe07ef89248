/* SPDX-License-Identifier: Apache-2.0 */
#include "gcs_name.h"

#include <ctype.h>
#include <string.h>

#define NUMBER_SIZE 12 /* "-4294967295" */

enum word {
    WORD_UPPER,
    WORD_COLLECTION,
    WORD_ENTITY,
    WORD_ITEM,
    WORD_DATE,
    WORD_ACCESSION,
    WORD_PATIENT,
    WORD_STUDY,
    WORD_SERIES,
    WORD_INSTANCE,
    N_WORDS
};

static const char *const all_words[] = {"COLLECTION", "collection", "entity",  "item",
                                        "date",       "accession",  "patient", "study",
                                        "series",     "instance",   NULL};
static const struct name_words words = {
    .words = all_words,
    .unknown = "between { and } may stand COLLECTION, collection, entity, item, date, accession, "
               "patient, study, series, instance",
    .max_words = NAME_TEMPLATE_MAX_WORDS,
    .max_part = GCS_MAX_NAME};

/* Where a value comes from: a fact, an attribute, and the other if that one is lacking. */
static const struct {
    const char *fact;
    uint32_t tag;
    int tag_first;
} sources[N_WORDS] = {
    [WORD_ENTITY] = {"ids.entity", 0x00100020u, 0}, [WORD_ITEM] = {"ids.item", 0x00080050u, 0},
    [WORD_DATE] = {NULL, 0x00080020u, 1},           [WORD_ACCESSION] = {"ids.item", 0x00080050u, 1},
    [WORD_PATIENT] = {NULL, 0x00100020u, 1},        [WORD_STUDY] = {NULL, 0x0020000Du, 1},
    [WORD_SERIES] = {NULL, 0x0020000Eu, 1},         [WORD_INSTANCE] = {NULL, 0x00080018u, 1},
};

struct named {
    const struct gcs_names *names;
    const struct sendit_item *item;
};

/* ---- options ---- */

static sendit_verdict judge(const char *option, const char *template, const char *extra,
                            struct sendit_why *why)
{
    const char *wrong = name_template_judge(&words, template);

    if (!wrong)
        wrong = extra;
    return wrong ? sendit_because(why, SENDIT_FAIL, "gcs.template", "\"%s\" is wrong: %s.", option,
                                  wrong)
                 : SENDIT_PASS;
}

static const char *judge_archive(const char *template)
{
    size_t n = strlen(template), suffix = strlen(GCS_SUFFIX);

    if (n <= suffix || strcmp(template + n - suffix, GCS_SUFFIX) != 0 ||
        template[n - suffix - 1] == '/')
        return "it has to end in a name and " GCS_SUFFIX;
    if (name_template_has(template, "series") || name_template_has(template, "instance"))
        return "an archive has a study, not a {series} or an {instance}";
    if (!name_template_has(template, "item") && !name_template_has(template, "study") &&
        !name_template_has(template, "accession"))
        return "without {item}, {study} or {accession} studies would have one name";
    return NULL;
}

static const char *judge_instance(const char *template)
{
    return name_template_has(template, "instance")
               ? NULL
               : "without {instance} images would have one name";
}

/* As Google has it: 3 to 63 small letters, digits, "-", "_"; with dots up to 222. */
static int is_bucket(const char *bucket)
{
    size_t n = strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

    return n >= 3 && n <= 222 && !bucket[n] && isalnum((unsigned char)bucket[0]) &&
           isalnum((unsigned char)bucket[n - 1]) && !strstr(bucket, "..");
}

static void to_upper(char *to, const char *from)
{
    do
        *to++ = (char)(*from >= 'a' && *from <= 'z' ? *from - 'a' + 'A' : *from);
    while (*from++);
}

sendit_verdict gcs_names_init(struct gcs_names *names, const struct sendit_host *host,
                              struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const char *collection = config->text(host, "collection");
    sendit_verdict verdict;

    *names = (struct gcs_names){.host = host,
                                .dicom = SENDIT_SERVICE(host, dicom),
                                .facts = SENDIT_SERVICE(host, facts),
                                .bucket = config->text(host, "bucket"),
                                .archive = config->text(host, "archive_name"),
                                .member = config->text(host, "member_name"),
                                .instance = config->text(host, "instance_name")};
    if (!is_bucket(names->bucket))
        return sendit_because(why, SENDIT_FAIL, "gcs.bucket",
                              "\"%.80s\" is no name of a bucket: it has 3 to 63 small letters, "
                              "digits, \"-\", \"_\" and \".\", without gs://.",
                              names->bucket);
    if (!name_template_is_value(collection))
        return sendit_because(why, SENDIT_FAIL, "gcs.collection",
                              "\"collection\" has up to 64 letters, digits, \".\", \"_\" and "
                              "\"-\", such as IRB12345.");
    memcpy(names->collection, collection, strlen(collection) + 1);
    to_upper(names->upper, collection);
    verdict = judge("archive_name", names->archive, judge_archive(names->archive), why);
    if (verdict == SENDIT_PASS)
        verdict = judge("member_name", names->member, judge_instance(names->member), why);
    if (verdict == SENDIT_PASS)
        verdict = judge("instance_name", names->instance, judge_instance(names->instance), why);
    return verdict;
}

/* ---- values ---- */

static sendit_result get_one(const struct named *named, size_t which, int tag,
                             const char **ret_value)
{
    sendit_result r = SENDIT_EABSENT;

    if (tag)
        r = named->names->dicom->get(named->item->ds, sources[which].tag, ret_value);
    else if (sources[which].fact)
        r = named->names->facts->get(named->names->host, named->item->id, sources[which].fact,
                                     ret_value);
    return r == SENDIT_OK && !**ret_value ? SENDIT_EABSENT : r;
}

/* Eight digits; what is empty or absent has a word for it. */
static sendit_result see_date(sendit_result r, const char **value)
{
    if (r == SENDIT_EABSENT) {
        *value = GCS_UNDATED;
        return SENDIT_OK;
    }
    if (r == SENDIT_OK && (strlen(*value) != 8 || strspn(*value, "0123456789") != 8))
        return SENDIT_ECORRUPT;
    return r;
}

static sendit_verdict value_of(void *ctx, size_t which, const char **ret_value,
                               struct sendit_why *why)
{
    const struct named *named = ctx;
    sendit_result r;

    if (which == WORD_UPPER || which == WORD_COLLECTION) {
        *ret_value = which == WORD_UPPER ? named->names->upper : named->names->collection;
        return SENDIT_PASS;
    }
    r = get_one(named, which, sources[which].tag_first, ret_value);
    if (r == SENDIT_EABSENT)
        r = get_one(named, which, !sources[which].tag_first, ret_value);
    if (which == WORD_DATE)
        r = see_date(r, ret_value);
    if (r == SENDIT_ENOMEM || r == SENDIT_EIO || r == SENDIT_ECANCELED)
        return sendit_because(why, SENDIT_RETRY, "gcs.busy", "Its name could not be made.");
    if (r != SENDIT_OK || !name_template_is_value(*ret_value))
        return sendit_because(why, SENDIT_QUARANTINE, "gcs.name",
                              "Its {%s} is missing, or is no UID, no pseudonym and no date.",
                              all_words[which]);
    return SENDIT_PASS;
}

/* ---- names ---- */

static sendit_verdict too_long(struct sendit_why *why)
{
    return sendit_because(
        why, SENDIT_QUARANTINE, "gcs.name",
        "The name of its object would be longer than %d bytes; a shorter template "
        "helps.",
        GCS_MAX_NAME);
}

static int fits(const struct gcs_names *names, const char *name, size_t more)
{
    return strlen("gs:///") + strlen(names->bucket) + strlen(name) + more <= GCS_MAX_NAME;
}

sendit_verdict gcs_name_archive(const struct gcs_names *names, const struct sendit_item *item,
                                struct gcs_place *ret_place, struct sendit_why *why)
{
    struct named named = {names, item};
    char member[NAME_TEMPLATE_SIZE];
    const char *study, *slash;
    sendit_verdict verdict;

    verdict = name_template_fill(&words, names->archive, value_of, &named, ret_place->base, why);
    if (verdict == SENDIT_PASS)
        verdict = name_template_fill(&words, names->member, value_of, &named, member, why);
    if (verdict == SENDIT_PASS)
        verdict = value_of(&named, WORD_STUDY, &study, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (!fits(names, ret_place->base, NUMBER_SIZE))
        return too_long(why);
    ret_place->base[strlen(ret_place->base) - strlen(GCS_SUFFIX)] = '\0';
    memcpy(ret_place->study, study, strlen(study) + 1);
    slash = strrchr(ret_place->base, '/');
    snprintf(ret_place->member, sizeof(ret_place->member), "%s/%s",
             slash ? slash + 1 : ret_place->base, member);
    return SENDIT_PASS;
}

sendit_verdict gcs_name_instance(const struct gcs_names *names, const struct sendit_item *item,
                                 char ret_name[NAME_TEMPLATE_SIZE], struct sendit_why *why)
{
    struct named named = {names, item};
    sendit_verdict verdict =
        name_template_fill(&words, names->instance, value_of, &named, ret_name, why);

    if (verdict == SENDIT_PASS && !fits(names, ret_name, 0))
        return too_long(why);
    return verdict;
}

void gcs_name_object(const char *base, unsigned number, char ret_name[NAME_TEMPLATE_SIZE])
{
    char text[NUMBER_SIZE] = "";

    if (number > 1)
        snprintf(text, sizeof(text), "-%u", number);
    snprintf(ret_name, NAME_TEMPLATE_SIZE, "%.*s%s%s",
             (int)(NAME_TEMPLATE_SIZE - NUMBER_SIZE - sizeof(GCS_SUFFIX)), base, text, GCS_SUFFIX);
}

void gcs_name_prefix(const struct gcs_names *names, const char *template,
                     char ret_prefix[NAME_TEMPLATE_SIZE])
{
    size_t n = 0;

    while (*template) {
        if (!strncmp(template, "{COLLECTION}", 12) || !strncmp(template, "{collection}", 12)) {
            n += (size_t)snprintf(ret_prefix + n, NAME_TEMPLATE_SIZE - n, "%s",
                                  template[1] == 'C' ? names->upper : names->collection);
            template += 12;
        } else if (*template == '{') {
            break;
        } else {
            ret_prefix[n++] = *template ++;
        }
    }
    ret_prefix[n] = '\0';
}
