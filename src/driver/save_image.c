/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver/save_image.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/gettext.h"

#define MAGIC "StratoVirt-Save\n"
#define MAGIC_BYTES 16
#define IMAGE_VERSION 1
/* Magic, version, size of a slot. */
#define PREFIX_BYTES (MAGIC_BYTES + 4 + 4)
/* Length, number, checksum. */
#define SLOT_HEAD 48
#define SLOTS 2
/* A header may grow by as much as that when its definition is changed later. */
#define SLOT_SPARE (64 * 1024)
#define SLOT_MAX (16 * 1024 * 1024)
#define SUM_BYTES 32
#define TEXT_MAX 1024

/* Files that people mistake for ours. */
static const struct {
    const char *magic;
    const char *what;
} foreignImages[] = {
    { "LibvirtQemudSave", N_("a guest saved by libvirt's QEMU driver; restore it over a qemu:/// connection") },
    { "LibvirtQemudPart", N_("an incomplete image of libvirt's QEMU driver") },
    { "libvirt-xml\n", N_("a guest saved by libvirt's Xen driver") },
    { "QEVM", N_("a bare stream of QEMU") },
    { "QFI\xfb", N_("a disk image in the qcow2 format") },
};

void
saveHeaderClear(saveHeader *header)
{
    g_free(header->id);
    g_free(header->vmm);
    g_free(header->name);
    g_free(header->uuid);
    g_free(header->xml);
    memset(header, 0, sizeof(*header));
}

/* ---- the header's text ------------------------------------------------------------------------------- */

char *
saveHeaderFormat(const saveHeader *header)
{
    /* The definition is a text of its own: it comes out as it went in. */
    g_autofree char *text =
        g_markup_printf_escaped("<save id='%s'>\n"
                                "  <vmm name='%s' version='%" G_GUINT64_FORMAT "'/>\n"
                                "  <state running='%s' complete='%s'/>\n"
                                "  <data bytes='%" G_GUINT64_FORMAT "'/>\n"
                                "  <saved at='%" G_GINT64_FORMAT "'/>\n"
                                "  <domain name='%s' uuid='%s'>%s</domain>\n"
                                "</save>\n",
                                header->id, header->vmm, header->vmmVersion, header->running ? "yes" : "no",
                                header->complete ? "yes" : "no", header->dataBytes, header->savedAt,
                                header->name, header->uuid, header->xml);
    /* A parser makes line feeds of these unless they are escaped. */
    g_auto(GStrv) parts = g_strsplit(text, "\r", -1);

    return g_strjoinv("&#13;", parts);
}

static bool
headerError(GError **error, const char *what)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("the header has no valid '%1$s'"), what);
    return false;
}

static xmlNode *
headerChild(xmlNode *root, const char *name)
{
    for (xmlNode *node = root ? root->children : NULL; node; node = node->next) {
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0)
            return node;
    }
    return NULL;
}

/* Both of these: a copy; NULL if it is missing or unfit for messages. */
static char *
headerText(xmlNode *node, const char *name)
{
    xmlChar *value = node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;
    char *ret = NULL;

    if (value && *value && strlen((const char *)value) <= TEXT_MAX && !strpbrk((const char *)value, "\n\r\t\x1b"))
        ret = g_strdup((const char *)value);
    xmlFree(value);
    return ret;
}

static char *
headerContent(xmlNode *node)
{
    xmlChar *value = node ? xmlNodeGetContent(node) : NULL;
    char *ret = value && *value ? g_strdup((const char *)value) : NULL;

    xmlFree(value);
    return ret;
}

static bool
headerNumber(xmlNode *node, const char *name, uint64_t *ret)
{
    g_autofree char *text = headerText(node, name);

    return text && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, ret, NULL);
}

static bool
headerYes(xmlNode *node, const char *name, bool *ret)
{
    g_autofree char *text = headerText(node, name);

    *ret = g_strcmp0(text, "yes") == 0;
    return *ret || g_strcmp0(text, "no") == 0;
}

static bool
headerFill(xmlNode *root, saveHeader *header, GError **error)
{
    xmlNode *vmm = headerChild(root, "vmm");
    xmlNode *state = headerChild(root, "state");
    xmlNode *domain = headerChild(root, "domain");
    uint64_t savedAt = 0;

    if (!root || strcmp((const char *)root->name, "save") != 0)
        return headerError(error, "save");
    header->id = headerText(root, "id");
    if (!header->id || !g_uuid_string_is_valid(header->id))
        return headerError(error, "id");
    if (!(header->vmm = headerText(vmm, "name")) || !headerNumber(vmm, "version", &header->vmmVersion))
        return headerError(error, "vmm");
    if (!headerYes(state, "running", &header->running) || !headerYes(state, "complete", &header->complete))
        return headerError(error, "state");
    if (!headerNumber(headerChild(root, "data"), "bytes", &header->dataBytes))
        return headerError(error, "data");
    if (!headerNumber(headerChild(root, "saved"), "at", &savedAt))
        return headerError(error, "saved");
    header->savedAt = (int64_t)savedAt;
    if (!(header->name = headerText(domain, "name")) || !(header->uuid = headerText(domain, "uuid")) ||
        !g_uuid_string_is_valid(header->uuid) || !(header->xml = headerContent(domain)))
        return headerError(error, "domain");
    return true;
}

bool
saveHeaderParse(const char *text, size_t len, saveHeader *header, GError **error)
{
    xmlDoc *doc = NULL;
    bool ok;

    memset(header, 0, sizeof(*header));
    if (len <= SLOT_MAX)
        doc = xmlReadMemory(text, (int)len, "save.xml", NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    ok = headerFill(doc ? xmlDocGetRootElement(doc) : NULL, header, error);
    xmlFreeDoc(doc);
    if (!ok)
        saveHeaderClear(header);
    return ok;
}

/* ---- slots ---------------------------------------------------------------------------------------------- */

static void
putNumber(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static uint64_t
getNumber(const uint8_t *at, unsigned bytes)
{
    uint64_t ret = 0;

    for (unsigned i = 0; i < bytes; i++)
        ret = ret << 8 | at[i];
    return ret;
}

/* Of the slot's size, its text's length, number and the text. */
static void
slotSum(const uint8_t *slot, uint32_t slotBytes, uint32_t len, uint8_t ret[SUM_BYTES])
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize got = SUM_BYTES;
    uint8_t size[4];

    putNumber(size, slotBytes, sizeof(size));
    g_checksum_update(sum, size, sizeof(size));
    g_checksum_update(sum, slot, SLOT_HEAD - SUM_BYTES);
    g_checksum_update(sum, slot + SLOT_HEAD, len);
    g_checksum_get_digest(sum, ret, &got);
    g_checksum_free(sum);
}

static uint8_t *
slotMake(const char *text, uint64_t generation, uint32_t slotBytes)
{
    uint8_t *slot = g_malloc0(slotBytes);
    uint32_t len = (uint32_t)strlen(text);

    putNumber(slot, len, 8);
    putNumber(slot + 8, generation, 8);
    memcpy(slot + SLOT_HEAD, text, len);
    slotSum(slot, slotBytes, len, slot + SLOT_HEAD - SUM_BYTES);
    return slot;
}

static bool
slotIsValid(const uint8_t *slot, uint32_t slotBytes)
{
    uint64_t len = getNumber(slot, 8);
    uint8_t sum[SUM_BYTES];

    if (len == 0 || len > slotBytes - SLOT_HEAD)
        return false;
    slotSum(slot, slotBytes, (uint32_t)len, sum);
    return memcmp(sum, slot + SLOT_HEAD - SUM_BYTES, SUM_BYTES) == 0;
}

static uint64_t
slotOffset(uint32_t slotBytes, uint64_t generation)
{
    return SAVE_IMAGE_ALIGN + (generation % SLOTS) * slotBytes;
}

/* ---- writing --------------------------------------------------------------------------------------------- */

static bool
imageWrite(int fd, const char *path, const uint8_t *data, size_t len, uint64_t offset, GError **error)
{
    while (len > 0) {
        ssize_t done = pwrite(fd, data, len, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            baseSetErrno(error, done < 0 ? errno : EIO, _("Cannot write the file '%1$s'"), path);
            return false;
        }
        data += done;
        len -= (size_t)done;
        offset += (uint64_t)done;
    }
    return true;
}

static bool
imageWriteSlot(int fd, const char *path, const saveLayout *layout, const char *text, GError **error)
{
    g_autofree uint8_t *slot = NULL;

    if (strlen(text) > layout->slotBytes - SLOT_HEAD) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG,
                    _("The definition with %1$zu bytes does not fit into '%2$s', which has room for %3$u."), strlen(text),
                    path, layout->slotBytes - SLOT_HEAD);
        return false;
    }
    slot = slotMake(text, layout->generation, layout->slotBytes);
    return imageWrite(fd, path, slot, layout->slotBytes, slotOffset(layout->slotBytes, layout->generation), error);
}

bool
saveImageBegin(int fd, const char *path, const saveHeader *header, saveLayout *retLayout, GError **error)
{
    g_autofree uint8_t *prefix = g_malloc0(SAVE_IMAGE_ALIGN);
    g_autofree char *text = saveHeaderFormat(header);
    size_t want = strlen(text) + SLOT_HEAD + SLOT_SPARE;

    want = (want + SAVE_IMAGE_ALIGN - 1) / SAVE_IMAGE_ALIGN * SAVE_IMAGE_ALIGN;
    if (want > SLOT_MAX) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG, _("The definition of domain '%1$s' with %2$zu bytes is too large to be saved."),
                    header->name, strlen(text));
        return false;
    }
    retLayout->slotBytes = (uint32_t)want;
    retLayout->generation = 1;
    retLayout->dataOffset = SAVE_IMAGE_ALIGN + (uint64_t)SLOTS * want;
    memcpy(prefix, MAGIC, MAGIC_BYTES);
    putNumber(prefix + MAGIC_BYTES, IMAGE_VERSION, 4);
    putNumber(prefix + MAGIC_BYTES + 4, want, 4);
    return imageWrite(fd, path, prefix, SAVE_IMAGE_ALIGN, 0, error) && imageWriteSlot(fd, path, retLayout, text, error);
}

static bool
imageSync(int fd, const char *path, GError **error)
{
    if (fsync(fd) == 0)
        return true;
    baseSetErrno(error, errno, _("Cannot write the file '%1$s' to disk"), path);
    return false;
}

bool
saveImageUpdate(int fd, const char *path, saveLayout *layout, const saveHeader *header, GError **error)
{
    g_autofree char *text = saveHeaderFormat(header);
    saveLayout next = *layout;

    next.generation++;
    /* First the stream: a header that says "complete" must not be on the disk before it. */
    if (FAULT_ERROR(SAVE_IMAGE, error) || !imageSync(fd, path, error) || !imageWriteSlot(fd, path, &next, text, error) ||
        !imageSync(fd, path, error))
        return false;
    *layout = next;
    return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static bool
imageError(GError **error, int code, const char *path, const char *why)
{
    g_set_error(error, BASE_ERROR, code, _("The file '%1$s' cannot be used as a saved guest: it is %2$s."), path, why);
    return false;
}

/* The block that never changes: *retSlotBytes. */
static bool
imageParsePrefix(const uint8_t *data, size_t len, const char *path, uint32_t *retSlotBytes, GError **error)
{
    uint64_t slot;

    for (size_t i = 0; i < G_N_ELEMENTS(foreignImages); i++) {
        size_t n = strlen(foreignImages[i].magic);

        if (len >= n && memcmp(data, foreignImages[i].magic, n) == 0)
            return imageError(error, BASE_ERROR_CONFIG, path, _(foreignImages[i].what));
    }
    if (len < PREFIX_BYTES || memcmp(data, MAGIC, MAGIC_BYTES) != 0)
        return imageError(error, BASE_ERROR_OPERATION_FAILED, path, _("no image that this driver has saved"));
    if (getNumber(data + MAGIC_BYTES, 4) != IMAGE_VERSION) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG,
                    _("The file '%1$s' has version %2$u of the format of saved guests; only version %3$d is known here."), path,
                    (unsigned)getNumber(data + MAGIC_BYTES, 4), IMAGE_VERSION);
        return false;
    }
    slot = getNumber(data + MAGIC_BYTES + 4, 4);
    if (slot < SAVE_IMAGE_ALIGN || slot > SLOT_MAX || slot % SAVE_IMAGE_ALIGN != 0)
        return imageError(error, BASE_ERROR_OPERATION_FAILED, path, _("damaged: the size of its header makes no sense"));
    *retSlotBytes = (uint32_t)slot;
    return true;
}

/* The slot in force; NULL: none is whole. */
static const uint8_t *
imageFindSlot(const uint8_t *data, size_t len, uint32_t slotBytes, uint64_t *retGeneration)
{
    const uint8_t *best = NULL;

    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t offset = SAVE_IMAGE_ALIGN + (uint64_t)i * slotBytes;
        uint64_t generation;

        if (len < offset + slotBytes || !slotIsValid(data + offset, slotBytes))
            continue;
        generation = getNumber(data + offset + 8, 8);
        if (generation % SLOTS != i || generation == UINT64_MAX || (best && generation < *retGeneration))
            continue;
        best = data + offset;
        *retGeneration = generation;
    }
    return best;
}

bool
saveImageParse(const saveImageBytes *bytes, saveHeader *ret, saveLayout *retLayout, GError **error)
{
    const char *path = bytes->path;
    g_auto(saveHeader) header = { 0 };
    const uint8_t *slot;
    saveLayout layout;

    if (!imageParsePrefix(bytes->data, bytes->len, path, &layout.slotBytes, error))
        return false;
    layout.dataOffset = SAVE_IMAGE_ALIGN + (uint64_t)SLOTS * layout.slotBytes;
    if (!(slot = imageFindSlot(bytes->data, bytes->len, layout.slotBytes, &layout.generation)))
        return imageError(error, BASE_ERROR_OPERATION_FAILED, path, _("damaged or cut short: no header in it is whole"));
    if (!saveHeaderParse((const char *)slot + SLOT_HEAD, getNumber(slot, 8), &header, error)) {
        g_prefix_error(error, _("The file '%1$s' cannot be used as a saved guest: "), path);
        return false;
    }
    if (!header.complete)
        return imageError(error, BASE_ERROR_OPERATION_FAILED, path,
                          _("incomplete: saving the guest was interrupted, or the guest has been started from it and it could not be removed"));
    if (bytes->fileBytes < layout.dataOffset || bytes->fileBytes - layout.dataOffset < header.dataBytes) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The file '%1$s' cannot be used as a saved guest: it is cut short, with %2$llu bytes instead of %3$llu."), path,
                    (unsigned long long)bytes->fileBytes, (unsigned long long)(layout.dataOffset + header.dataBytes));
        return false;
    }
    *ret = header;
    memset(&header, 0, sizeof(header));
    *retLayout = layout;
    return true;
}

/* As much as there is, at most @len; -1 with errno set. */
static ssize_t
imageReadAll(int fd, uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t got = pread(fd, data + done, len - done, (off_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

bool
saveImageRead(int fd, const char *path, saveHeader *ret, saveLayout *retLayout, GError **error)
{
    g_autofree uint8_t *data = g_malloc0(SAVE_IMAGE_ALIGN);
    ssize_t got = imageReadAll(fd, data, SAVE_IMAGE_ALIGN);
    saveImageBytes bytes = { .path = path };
    uint32_t slotBytes = 0;
    struct stat st;
    size_t want;

    if (got < 0 || fstat(fd, &st) < 0) {
        baseSetErrno(error, errno, _("Cannot read the file '%1$s'"), path);
        return false;
    }
    if (!imageParsePrefix(data, (size_t)got, path, &slotBytes, error))
        return false;
    want = SAVE_IMAGE_ALIGN + (size_t)SLOTS * slotBytes;
    g_free(data);
    data = g_malloc0(want);
    if ((got = imageReadAll(fd, data, want)) < 0) {
        baseSetErrno(error, errno, _("Cannot read the file '%1$s'"), path);
        return false;
    }
    bytes.data = data;
    bytes.len = (size_t)got;
    bytes.fileBytes = (uint64_t)st.st_size;
    return saveImageParse(&bytes, ret, retLayout, error);
}
