/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded scan over the structure of a DICOM stream: any bytes, from memory. */
#include <stdint.h>
#include <stdlib.h>

#include "dicom/dicom.h"
#include "dicom/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct scan_source source = {.fd = -1, .data = data, .size = size};
    struct dicom_refusal refusal = {0};
    struct scan scan = {0};

    if (scan_run(&source, 1u << 20, &scan, &refusal)) {
        if (!refusal.code[0] || !refusal.text[0])
            abort(); /* refused without a word */
    } else if (!scan.syntax || scan.head.len > size || scan.tail.len > size ||
               (scan.has_pixels &&
                (scan.pixel_at > size || scan.pixel_length > size - scan.pixel_at))) {
        abort();
    }
    scan_fini(&scan);
    return 0;
}
