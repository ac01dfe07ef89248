// SPDX-License-Identifier: Apache-2.0
// black-box: a scrubber in small.  Draws black boxes over the pixels of the devices that the site
// names, where it knows that they write names.  C++20; nothing here throws past the border.
#include <sendit/stage.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

struct sendit_stage_state {
    const sendit_dicom *dicom;
    const sendit_pixels *pixels;
    const char *const *models; // the host's, until close()
    std::vector<sendit_box> boxes;
};

namespace
{

constexpr uint32_t model_name = 0x00081090, burned_in = 0x00280301;

const sendit_option options[] = {
    {"models", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED | SENDIT_OPT_MANY, nullptr, nullptr,
     "Manufacturer's Model Names whose images have text in the boxes."},
    {"boxes", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED | SENDIT_OPT_MANY, nullptr, nullptr,
     "What to make black: \"X,Y,WIDTH,HEIGHT\" in pixels, from the upper left corner."},
};

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

sendit_verdict process(sendit_stage_state *self, const sendit_item *item, sendit_why *why) noexcept
{
    const char *model = nullptr;
    uint32_t frames = 0;
    sendit_result r = self->dicom->get(item->ds, model_name, &model);

    if (r == SENDIT_EABSENT || r == SENDIT_EINVAL || (r == SENDIT_OK && !is_meant(self, model)))
        return SENDIT_SKIP; // pixel-check will have its say
    if (r == SENDIT_OK)
        r = self->pixels->count(item->ds, &frames);
    if (r == SENDIT_OK && !frames)
        return SENDIT_SKIP;
    for (size_t i = 0; r == SENDIT_OK && i < self->boxes.size(); i++)
        r = self->pixels->blank(item->ds, SENDIT_ALL_FRAMES, &self->boxes[i]);
    if (r == SENDIT_OK) // which the site vouches for, by naming model and boxes
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
              .before = "pixel-check pixels.checked", .check = check, .open = start,
              .process = process, .close = stop);
