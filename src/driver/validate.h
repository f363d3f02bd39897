/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* validate.h: is everything in a definition understood? */
#pragma once

#include "internal.h"
#include "domain_conf.h"

#include "driver/machine.h"

/*
 * One kind of element that is understood.
 *
 * @path: names from below <domain>, with '/' between; "name:value" only where the attribute type is that value;
 *        a last part "**" is everything below
 * @attrs: attributes that may be there, blanks between; "name=a|b" limits the values. NULL: none
 * @text: the text it may have: "*" is any, "a|b" one of these. NULL: none
 * @machines: where it is understood; 0 is everywhere
 *
 * Rows with the same path are alternatives.
 */
typedef struct {
    const char *path;
    const char *attrs;
    const char *text;
    unsigned machines;
} validateRow;

/** validateRows: refuse @def, with VIR_ERR_CONFIG_UNSUPPORTED naming element and value, unless each of its elements fits a row. */
int validateRows(const virDomainDef *def, const validateRow *rows, size_t count);

/** validateQemuRows: the table itself, for docs/domain-xml.rst and its test. */
const validateRow *validateQemuRows(size_t *retCount);

/** validateStratovirtRows, validateStratovirt: the same for cmdline_stratovirt*.c. */
const validateRow *validateStratovirtRows(size_t *retCount);
int validateStratovirt(const virDomainDef *def);

/** validateQemu: what cmdline_qemu*.c can write: rows and what takes more than a row to say. */
int validateQemu(const virDomainDef *def);
