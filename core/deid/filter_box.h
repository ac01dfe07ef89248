/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter_box.h - what is to be blanked, as a list of rectangles.
 *
 * Boxes come in the order of the recipe and the later ones win: one to blank is added, one to keep
 * is cut out of what is there.  For the files of this folder only.
 */
#ifndef SENDIT_DEID_FILTER_BOX_H
#define SENDIT_DEID_FILTER_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct box_list {
    struct box {
        uint32_t x1, y1, x2, y2; /* half open, never empty */
    } * boxes;                   /* owned */
    size_t n, room;
    uint32_t columns, rows; /* of the frame, to which all are clipped */
};

/* -1 if the list gets longer than FILTER_MAX_BOXES, or without memory. */
int box_blank(struct box_list *list, struct box box);
int box_keep(struct box_list *list, struct box box);
void box_list_fini(struct box_list *list);

#endif
