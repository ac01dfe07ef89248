// SPDX-License-Identifier: Apache-2.0
// black-box: a scrubber in small.  Draws black boxes where deid-filter found that a device writes
// names, or where the site knows that its devices do.  C++20; nothing here throws past the border.
#include <sendit/stage.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

struct sendit_stage_state {
    const sendit_host *host;
    const sendit_facts *facts;
    const sendit_dicom *dicom;
    const sendit_pixels *pixels;
    const char *const *models; // the host's, until close()
    std::vector<sendit_box> boxes;
};

namespace
{

constexpr uint32_t model_name = 0x00081090, burned_in = 0x00280301;

const sendit_option options[] = {
    {"models", SENDIT_OPT_STRING, SENDIT_OPT_MANY, nullptr, nullptr,
     "Manufacturer's Model Names whose images have text in the boxes."},
    {"boxes", SENDIT_OPT_STRING, SENDIT_OPT_MANY, nullptr, nullptr,
     "What to make black: \"X,Y,WIDTH,HEIGHT\" in pixels, from the upper left corner."},
};

// Who may draw: the fact of deid-filter, else the options of the site; else nobody.
enum class source { nobody, options, fact };

bool parse(const char *text, sendit_box *ret_box)
{
    unsigned n[4];
    int used = 0;

    if (std::strspn(text, "0123456789,") != std::strlen(text) || std::strlen(text) > 40 ||
        std::sscanf(text, "%5u,%5u,%5u,%5u%n", &n[0], &n[1], &n[2], &n[3], &used) != 4 ||
        text[used])
        return false;
    *ret_box = {n[0], n[1], n[2], n[3]};
    return n[2] && n[3];
}

sendit_verdict check(const sendit_host *host, int, sendit_why *why) noexcept
{
    const auto *config = SENDIT_SERVICE(host, config);
    sendit_box box;

    if (!*config->list(host, "models") != !*config->list(host, "boxes"))
        return sendit_because(why, SENDIT_FAIL, "box.option",
                              "models and boxes go together: give both, or neither");
    for (auto text = config->list(host, "boxes"); *text; text++)
        if (!parse(*text, &box))
            return sendit_because(why, SENDIT_FAIL, "box.option",
                                  "boxes: \"X,Y,WIDTH,HEIGHT\" was expected, not \"%.40s\"", *text);
    return SENDIT_PASS;
}

sendit_verdict start(const sendit_host *host, sendit_stage_state **ret_self,
                     sendit_why *why) noexcept
{
    const auto *config = SENDIT_SERVICE(host, config);
    auto self = std::unique_ptr<sendit_stage_state>(new (std::nothrow) sendit_stage_state{});

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "box.memory", "There is no memory.");
    self->host = host;
    self->facts = SENDIT_SERVICE(host, facts);
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->pixels = SENDIT_SERVICE(host, pixels);
    self->models = config->list(host, "models");
    try {
        for (auto text = config->list(host, "boxes"); *text; text++) {
            sendit_box box;
            if (parse(*text, &box))
                self->boxes.push_back(box);
        }
    } catch (const std::bad_alloc &) {
        return sendit_because(why, SENDIT_RETRY, "box.memory", "There is no memory.");
    }
    *ret_self = self.release();
    return SENDIT_PASS;
}

bool is_meant(const sendit_stage_state *self, std::string_view model)
{
    for (auto name = self->models; *name; name++)
        if (model == *name)
            return true;
    return false;
}

// A LABEL that names an image without a box says nothing about where its text is: nobody draws.
sendit_result find_source(const sendit_stage_state *self, const sendit_item *item,
                          const char **ret_fact, source *ret_source)
{
    const char *model = nullptr;
    sendit_result r = self->facts->get(self->host, item->id, "deid.boxes", ret_fact);

    *ret_source = r == SENDIT_OK && **ret_fact ? source::fact : source::nobody;
    if (r != SENDIT_EABSENT)
        return r;
    r = self->dicom->get(item->ds, model_name, &model);
    if (r == SENDIT_OK && is_meant(self, model))
        *ret_source = source::options;
    return r == SENDIT_EABSENT || r == SENDIT_ECORRUPT ? SENDIT_OK : r;
}

// "x,y,width,height" with blanks between.
sendit_result draw_fact(const sendit_stage_state *self, sendit_dataset *ds, std::string_view fact)
{
    sendit_result r = SENDIT_OK;

    while (r == SENDIT_OK && !fact.empty()) {
        size_t n = std::min(fact.find(' '), fact.size());
        char text[48];
        sendit_box box;

        if (n >= sizeof(text))
            return SENDIT_EINVAL;
        text[fact.copy(text, n)] = '\0';
        fact.remove_prefix(std::min(n + 1, fact.size()));
        if (!parse(text, &box))
            return SENDIT_EINVAL;
        r = self->pixels->blank(ds, SENDIT_ALL_FRAMES, &box);
    }
    return r;
}

sendit_verdict process(sendit_stage_state *self, const sendit_item *item, sendit_why *why) noexcept
{
    const char *fact = nullptr;
    source from = source::nobody;
    uint32_t frames = 0;
    sendit_result r = find_source(self, item, &fact, &from);

    if (r == SENDIT_OK && from != source::nobody)
        r = self->pixels->count(item->ds, &frames);
    if (r == SENDIT_OK && !frames)
        return SENDIT_SKIP; // without our label; pixel-check will have its say
    if (r == SENDIT_OK && from == source::fact) {
        r = draw_fact(self, item->ds, fact);
        if (r == SENDIT_EINVAL)
            return sendit_because(why, SENDIT_QUARANTINE, "box.fact",
                                  "What deid.boxes says of it is no list of boxes.");
    }
    for (size_t i = 0; r == SENDIT_OK && from == source::options && i < self->boxes.size(); i++)
        r = self->pixels->blank(item->ds, SENDIT_ALL_FRAMES, &self->boxes[i]);
    if (r == SENDIT_OK) // which the site vouches for, by its recipe or by naming model and boxes
        r = self->dicom->put(item->ds, burned_in, "NO");
    if (r == SENDIT_ECORRUPT)
        return sendit_because(why, SENDIT_QUARANTINE, "box.pixels",
                              "Its pixels cannot be decoded, so no box can be drawn.");
    return sendit_verdict_of(r);
}

void stop(sendit_stage_state *self) noexcept
{
    delete self;
}

} // namespace

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_MUTATES | SENDIT_PIXELS, SENDIT_OPTIONS(options),
              .name = "black-box", .version = "1.0.0",
              .summary = "Draws black boxes over what some devices write into pixels.",
              .grants = "filters.passed", .before = "pixel-check pixels.checked", .check = check,
              .open = start, .process = process, .close = stop);
