/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one row of state per point.  A point that is not armed costs one atomic read
 * of the once-flag and one of the row's action, so points may stand in hot paths of test builds;
 * with a fault file it costs a stat() as well.
 */
#include "base/fault.h"

#ifdef SV_FAULT_POINTS

# include <errno.h>
# include <fcntl.h>
# include <signal.h>
# include <string.h>
# include <sys/stat.h>
# include <unistd.h>

# include "base/enumname.h"
# include "base/error.h"

# include "base/gettext.h"

typedef enum {
    FAULT_ACTION_NONE,
    FAULT_ACTION_FAIL,
    FAULT_ACTION_KILL,
    FAULT_ACTION_HANG,
    FAULT_ACTION_DELAY,
    FAULT_ACTION_LAST
} faultAction;

static const char *const faultActionNames[] = { "none", "fail", "kill", "hang", "delay" };
G_STATIC_ASSERT(G_N_ELEMENTS(faultActionNames) == FAULT_ACTION_LAST);

static const char *const faultNames[] = {
# define FAULT_POINT(id, name, meaning) name,
# include "base/fault-points.def"
# undef FAULT_POINT
};
G_STATIC_ASSERT(G_N_ELEMENTS(faultNames) == FAULT_LAST);

typedef struct {
    faultAction action;
    guint64 number;          /* which passage, or milliseconds; 0: not given */
} faultRow;

static faultRow faultRows[FAULT_LAST];
static gint faultPassages[FAULT_LAST];   /* atomic */

static bool
faultParseOne(const char *item, faultRow *rows, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(item, ":", -1);
    guint count = g_strv_length(parts);
    int point = baseEnumValue(faultNames, FAULT_LAST, parts[0]);
    int action = FAULT_ACTION_FAIL;
    guint64 number = 0;

    if (point < 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("There is no fault point named '%1$s'."), parts[0] ? parts[0] : "");
        return false;
    }
    if (count > 1)
        action = baseEnumValue(faultActionNames, FAULT_ACTION_LAST, parts[1]);
    if (action <= FAULT_ACTION_NONE) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("There is no fault action named '%1$s'."), parts[1]);
        return false;
    }
    if (count > 3 ||
        (count == 3 && !g_ascii_string_to_unsigned(parts[2], 10, 1, G_MAXINT, &number, NULL))) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The number in the fault '%1$s' is malformed."), item);
        return false;
    }
    rows[point].action = action;
    rows[point].number = number;
    return true;
}

static bool
faultParse(const char *text, GError **error)
{
    faultRow rows[FAULT_LAST] = { 0 };
    g_auto(GStrv) items = NULL;

    if (text && *text)
        items = g_strsplit(text, ",", -1);
    for (char **item = items; item && *item; item++) {
        if (!faultParseOne(*item, rows, error))
            return false;
    }
    memcpy(faultRows, rows, sizeof(rows));
    memset(faultPassages, 0, sizeof(faultPassages));
    return true;
}

/* The fault file as it was when it was last read; nothing if there was none. */
typedef struct {
    dev_t dev;
    ino_t ino;
    struct timespec changed;
} faultStamp;

static const char *faultFile;
static GMutex faultLock;                 /* the two below, and the rows when there is a file */
static faultStamp faultFileStamp;
static gint faultGeneration;             /* atomic; of what is armed */

static void
faultParseOrDie(const char *text, const char *where)
{
    g_autoptr(GError) err = NULL;

    if (!faultParse(text, &err))
        g_error("%s: %s", where, err->message);
}

/* Arms what the fault file says, if it has come, changed or gone since the last look; with faultLock. */
static void
faultFileRead(void)
{
    g_autofree char *text = NULL;
    faultStamp stamp;
    struct stat st;

    memset(&stamp, 0, sizeof(stamp));
    if (stat(faultFile, &st) == 0) {
        stamp.dev = st.st_dev;
        stamp.ino = st.st_ino;
        stamp.changed = st.st_ctim;
    }
    if (memcmp(&stamp, &faultFileStamp, sizeof(stamp)) == 0)
        return;
    if (stamp.ino && !g_file_get_contents(faultFile, &text, NULL, NULL))
        return;                          /* gone again: the next passage sees that */
    faultParseOrDie(text ? g_strstrip(text) : g_getenv("LIBVIRT_STRATOVIRT_FAULT"), faultFile);
    faultFileStamp = stamp;
    g_atomic_int_inc(&faultGeneration);
}

static void
faultInit(bool fromEnvironment)
{
    static gsize once = 0;

    if (g_once_init_enter(&once)) {
        if (fromEnvironment) {
            faultParseOrDie(g_getenv("LIBVIRT_STRATOVIRT_FAULT"), "LIBVIRT_STRATOVIRT_FAULT");
            faultFile = g_getenv("LIBVIRT_STRATOVIRT_FAULT_FILE");
        }
        g_once_init_leave(&once, 1);
    }
}

/* What is armed at @point now. */
static faultRow
faultLook(faultPoint point)
{
    g_autoptr(GMutexLocker) locker = NULL;

    if (faultFile) {
        locker = g_mutex_locker_new(&faultLock);
        faultFileRead();
    }
    return faultRows[point];
}

/* Tells whoever armed @point by the file that a thread has come there. */
static void
faultTell(faultPoint point)
{
    g_autofree char *path = NULL;
    g_autofree char *line = NULL;
    int fd;

    if (!faultFile)
        return;
    path = g_strconcat(faultFile, ".passed", NULL);
    line = g_strconcat(faultNames[point], "\n", NULL);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, strlen(line)) < 0)
        g_warning("%s: %s", path, g_strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* Ends early when something else is armed. */
static void
faultDelay(faultPoint point, guint64 milliseconds)
{
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    gint generation = g_atomic_int_get(&faultGeneration);

    while (g_get_monotonic_time() < end && g_atomic_int_get(&faultGeneration) == generation) {
        g_usleep(faultFile ? MIN(10000, milliseconds * 1000) : milliseconds * 1000);
        faultLook(point);
    }
}

bool
faultArm(const char *text, GError **error)
{
    faultInit(false);
    return faultParse(text, error);
}

bool
faultPass(faultPoint point)
{
    faultRow row;
    guint64 passage;

    faultInit(true);
    row = faultLook(point);
    if (G_LIKELY(row.action == FAULT_ACTION_NONE))
        return false;

    faultTell(point);
    passage = (guint64)g_atomic_int_add(&faultPassages[point], 1) + 1;
    switch (row.action) {
    case FAULT_ACTION_FAIL:
        return row.number == 0 || passage == row.number;
    case FAULT_ACTION_KILL:
        if (passage == MAX(row.number, 1))
            raise(SIGKILL);
        return false;
    case FAULT_ACTION_HANG:
        while (passage == MAX(row.number, 1))
            pause();
        return false;
    case FAULT_ACTION_DELAY:
        faultDelay(point, row.number ? row.number : 1000);
        return false;
    case FAULT_ACTION_NONE:
    case FAULT_ACTION_LAST:
        break;
    }
    return false;
}

bool
faultPassError(faultPoint point, GError **error)
{
    if (!faultPass(point))
        return false;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The fault '%1$s' was injected here."), faultNames[point]);
    return true;
}

#else

/* ISO C wants a declaration in every source file. */
typedef int faultNotBuilt;

#endif
