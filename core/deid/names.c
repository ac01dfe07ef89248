/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/near.h"
#include "dicom/dicom.h"

#define MAX_NAMES 20000
#define LONGEST 63 /* of a word for which a hint is looked for */

struct names {
    struct name *by_tag;            /* owned */
    const struct name **by_keyword; /* owned; into by_tag, by keyword without case */
    size_t n, room;
};

/* Attributes of E.1-1 (2026c) that DCMTK 3.6.7 does not know yet. */
static const struct name newer[] = {
    {"PrincipalDiagnosisCodeSequence", 0x00081301, "SQ"},
    {"PrimaryDiagnosisCodeSequence", 0x00081302, "SQ"},
    {"SecondaryDiagnosesCodeSequence", 0x00081303, "SQ"},
    {"HistologicalDiagnosesCodeSequence", 0x00081304, "SQ"},
    {"PersonNamesToUseSequence", 0x00100011, "SQ"},
    {"NameToUse", 0x00100012, "LT"},
    {"NameToUseComment", 0x00100013, "UT"},
    {"ThirdPersonPronounsSequence", 0x00100014, "SQ"},
    {"PronounCodeSequence", 0x00100015, "SQ"},
    {"PronounComment", 0x00100016, "UT"},
    {"GenderIdentitySequence", 0x00100041, "SQ"},
    {"SexParametersForClinicalUseCategoryComment", 0x00100042, "UT"},
    {"SexParametersForClinicalUseCategorySequence", 0x00100043, "SQ"},
    {"GenderIdentityCodeSequence", 0x00100044, "SQ"},
    {"GenderIdentityComment", 0x00100045, "UT"},
    {"SexParametersForClinicalUseCategoryCodeSequence", 0x00100046, "SQ"},
    {"SexParametersForClinicalUseCategoryReference", 0x00100047, "UR"},
    {"EthnicGroupCodeSequence", 0x00102161, "SQ"},
    {"EthnicGroups", 0x00102162, "UC"},
    {"IssuerOfClinicalTrialProtocolID", 0x00120022, "LO"},
    {"OtherClinicalTrialProtocolIDsSequence", 0x00120023, "SQ"},
    {"IssuerOfClinicalTrialSiteID", 0x00120032, "LO"},
    {"IssuerOfClinicalTrialSubjectID", 0x00120041, "LO"},
    {"IssuerOfClinicalTrialSubjectReadingID", 0x00120043, "LO"},
    {"IssuerOfClinicalTrialTimePointID", 0x00120055, "LO"},
    {"IssuerOfClinicalTrialSeriesID", 0x00120073, "LO"},
    {"DateOfManufacture", 0x00181204, "DA"},
    {"DateOfInstallation", 0x00181205, "DA"},
    {"WaveformFilterDescription", 0x003a0329, "LO"},
    {"FilterLookupTableDescription", 0x003a032b, "LO"},
    {"EffectiveStartDateTime", 0x0040a034, "DT"},
    {"EffectiveStopDateTime", 0x0040a035, "DT"},
    {"AnnotationDateTime", 0x0040b034, "DT"},
    {"SegmentDefinitionDateTime", 0x0040b036, "DT"},
    {"MontageName", 0x0040b03b, "LO"},
    {"MontageChannelLabel", 0x0040b03f, "LO"},
    {"DisplayURI", 0x0040e012, "UR"},
    {"PositionAcquisitionTemplateName", 0x30020121, "LO"},
    {"PositionAcquisitionTemplateDescription", 0x30020123, "LT"},
    {"ROIDateTime", 0x3006002d, "DT"},
    {"ROIObservationDateTime", 0x3006002e, "DT"},
    {"ROICreatorSequence", 0x3006004d, "SQ"},
    {"ROIInterpreterSequence", 0x3006004e, "SQ"},
    {"TableTopPositionAlignmentUID", 0x300a0054, "UI"},
};

/* So that pydicom/deid's own recipes load. */
static const struct {
    const char *wrong, *right;
} aliases[] = {{"PatientsName", "PatientName"},
               {"Manfacturer", "Manufacturer"},
               {"Manufacture", "Manufacturer"}};

uint32_t names_canonical(uint32_t tag)
{
    uint32_t group = tag >> 24;

    return (group == 0x50 || group == 0x60) && !(tag >> 16 & 1) ? tag & 0xff00ffff : tag;
}

static int add(void *ctx, const char *keyword, uint32_t tag, const char *vr)
{
    struct names *names = ctx;
    struct name *name;

    if (names->n == names->room) {
        size_t room = names->room ? 2 * names->room : 8192;
        struct name *more =
            room > MAX_NAMES * 2 ? NULL : realloc(names->by_tag, room * sizeof(*more));

        if (!more)
            return -1;
        names->by_tag = more;
        names->room = room;
    }
    name = &names->by_tag[names->n++];
    *name = (struct name){.keyword = keyword, .tag = names_canonical(tag)};
    memcpy(name->vr, vr, 2);
    return 0;
}

static int compare_tags(const void *a, const void *b)
{
    const struct name *left = a, *right = b;

    if (left->tag != right->tag)
        return left->tag < right->tag ? -1 : 1;
    return strcmp(left->keyword, right->keyword);
}

static int compare_keywords(const void *a, const void *b)
{
    const struct name *left = *(const struct name *const *)a;
    const struct name *right = *(const struct name *const *)b;
    int order = strcasecmp(left->keyword, right->keyword);

    return order ? order : compare_tags(left, right);
}

struct names *names_new(void)
{
    struct names *names = calloc(1, sizeof(*names));

    if (!names || dicom_each_keyword(add, names))
        goto fail;
    for (size_t i = 0; i < sizeof(newer) / sizeof(newer[0]); i++)
        if (add(names, newer[i].keyword, newer[i].tag, newer[i].vr))
            goto fail;
    names->by_keyword = malloc(names->n * sizeof(const struct name *));
    if (!names->by_keyword)
        goto fail;
    qsort(names->by_tag, names->n, sizeof(*names->by_tag), compare_tags);
    for (size_t i = 0; i < names->n; i++)
        names->by_keyword[i] = &names->by_tag[i];
    qsort(names->by_keyword, names->n, sizeof(const struct name *), compare_keywords);
    return names;
fail:
    names_free(names);
    return NULL;
}

void names_free(struct names *names)
{
    if (!names)
        return;
    free(names->by_tag);
    free(names->by_keyword);
    free(names);
}

static int compare_word(const char *word, size_t len, const char *keyword)
{
    int order = strncasecmp(word, keyword, len);

    return order ? order : -(keyword[len] != '\0');
}

static const struct name *find(const struct names *names, const char *word, size_t len)
{
    size_t from = 0, to = names->n;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = compare_word(word, len, names->by_keyword[middle]->keyword);

        if (!order)
            return names->by_keyword[middle];
        if (order > 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

const struct name *names_find(const struct names *names, const char *keyword, size_t len)
{
    const struct name *name = find(names, keyword, len);

    for (size_t i = 0; !name && i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (!compare_word(keyword, len, aliases[i].wrong))
            name = find(names, aliases[i].right, strlen(aliases[i].right));
    return name;
}

const struct name *names_of(const struct names *names, uint32_t tag)
{
    size_t from = 0, to = names->n;

    tag = names_canonical(tag);
    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (names->by_tag[middle].tag < tag)
            from = middle + 1;
        else
            to = middle;
    }
    return from < names->n && names->by_tag[from].tag == tag ? &names->by_tag[from] : NULL;
}

const char *names_hint(const struct names *names, const char *word, char *text, size_t size)
{
    struct near near;

    near_start(&near, word);
    for (size_t i = 0; strlen(word) <= LONGEST && i < names->n; i++)
        near_try(&near, names->by_keyword[i]->keyword);
    return near_hint(&near, text, size);
}

size_t names_count(const struct names *names)
{
    return names->n;
}

const struct name *names_at(const struct names *names, size_t index)
{
    return &names->by_tag[index];
}
