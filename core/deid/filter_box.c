/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/filter_box.h"

#include <stdlib.h>

#include "deid/filter.h"

static int add(struct box_list *list, struct box box)
{
    if (box.x2 > list->columns)
        box.x2 = list->columns;
    if (box.y2 > list->rows)
        box.y2 = list->rows;
    if (box.x1 >= box.x2 || box.y1 >= box.y2)
        return 0;
    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        struct box *more =
            room > FILTER_MAX_BOXES ? NULL : realloc(list->boxes, room * sizeof(*more));

        if (!more)
            return -1;
        list->boxes = more;
        list->room = room;
    }
    list->boxes[list->n++] = box;
    return 0;
}

int box_blank(struct box_list *list, struct box box)
{
    return add(list, box);
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* What `keep` leaves of a box: up to four, above, below, left and right of it. */
static int cut(struct box_list *list, struct box box, struct box keep)
{
    uint32_t top = larger(box.y1, keep.y1), bottom = smaller(box.y2, keep.y2);

    if (keep.x1 >= box.x2 || keep.x2 <= box.x1 || top >= bottom)
        return add(list, box);
    if (add(list, (struct box){box.x1, box.y1, box.x2, top}) ||
        add(list, (struct box){box.x1, bottom, box.x2, box.y2}) ||
        add(list, (struct box){box.x1, top, smaller(keep.x1, box.x2), bottom}) ||
        add(list, (struct box){larger(keep.x2, box.x1), top, box.x2, bottom}))
        return -1;
    return 0;
}

int box_keep(struct box_list *list, struct box box)
{
    struct box_list left = {.columns = list->columns, .rows = list->rows};

    for (size_t i = 0; i < list->n; i++)
        if (cut(&left, list->boxes[i], box)) {
            box_list_fini(&left);
            return -1;
        }
    box_list_fini(list);
    *list = left;
    return 0;
}

void box_list_fini(struct box_list *list)
{
    free(list->boxes);
    list->boxes = NULL;
    list->n = list->room = 0;
}
