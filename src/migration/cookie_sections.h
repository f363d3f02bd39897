/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cookie_sections.h: the rows of a cookie's sections, for cookie.c and cookie_sections.c */
#pragma once

#include "migration/cookie.h"

#include <libxml/tree.h>

#define MIG_STEP_BIT(step) (1U << (step))

/* One section that is being read. */
typedef struct {
    xmlNode *node;
    migStep step;
    const char *where;           /* what to call it in errors */
    GError **error;
} migCookieReader;

typedef struct {
    const char *element;
    unsigned since;              /* cookie version that brought it; for the documentation */
    unsigned written;            /* steps in which the writer adds it, if it has anything to say */
    unsigned required;           /* steps in which the reader insists on it */
    bool mandatory;              /* a reader that does not know it must refuse the cookie */
    /* Fill the fresh @node; false: nothing to say, leave the section out. */
    bool (*format)(const migCookie *cookie, xmlNode *node);
    bool (*parse)(migCookie *cookie, const migCookieReader *reader);
} migCookieSection;

extern const migCookieSection migCookieSections[];
extern const size_t migCookieSectionCount;
