/* SPDX-License-Identifier: Apache-2.0 */
#include "load/shared_object.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define BLOCK 65536

/* Of the word size of this program: files of another one are refused by their first bytes. */
typedef ElfW(Ehdr) elf_header;
typedef ElfW(Phdr) elf_segment;
typedef ElfW(Shdr) elf_section;
typedef ElfW(Sym) elf_symbol;

/* ---- who may write ---- */

/* All users may, or a group that is not just the user's own. */
static bool others_may_write(const struct stat *st)
{
    bool group = (st->st_mode & S_IWGRP) && st->st_gid != getegid() && st->st_gid != 0;

    return (st->st_mode & S_IWOTH) || group;
}

int shared_object_check_folder(const char *folder, struct err *err)
{
    struct stat st;

    if (stat(folder, &st))
        return err_set(err, ERR_REFUSED, "%s: %s", folder, strerror(errno));
    if (others_may_write(&st))
        return err_set(err, ERR_REFUSED,
                       "%s: others may write into this folder, and could change a stage; take "
                       "that away with chmod go-w",
                       folder);
    return 0;
}

/* ---- the bytes ---- */

static int check_file(const char *path, const struct stat *st, struct err *err)
{
    if (S_ISDIR(st->st_mode))
        return err_set(err, ERR_REFUSED,
                       "%s: it is a folder, expected a shared object; put the file itself here",
                       path);
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_REFUSED,
                       "%s: it is no regular file, expected a shared object; remove it", path);
    if (others_may_write(st))
        return err_set(err, ERR_REFUSED,
                       "%s: others may write to this file, and could change it; take that away "
                       "with chmod go-w",
                       path);
    if (!st->st_size)
        return err_set(err, ERR_REFUSED, "%s: it is empty, expected a shared object; copy it again",
                       path);
    if (st->st_size > (off_t)SHARED_OBJECT_MAX)
        return err_set(
            err, ERR_REFUSED,
            "%s: it has more than %u MiB, expected less; strip it of what debuggers need", path,
            SHARED_OBJECT_MAX >> 20);
    return 0;
}

static int copy(int from, int to, off_t size)
{
    char block[BLOCK];
    off_t done = 0;

    while (done < size) {
        ssize_t n = read(from, block, sizeof(block));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || n > size - done || file_write_all(to, block, (size_t)n))
            return -1;
        done += n;
    }
    return 0;
}

/* Half of a file and half of the one that replaced it are no stage. */
static bool is_same(int fd, const struct stat *before)
{
    struct stat now;

    return !fstat(fd, &now) && now.st_size == before->st_size &&
           now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

static int seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

int shared_object_read(const char *path, const char *name, int *ret_fd, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), memory = -1;
    struct stat st;

    if (fd < 0 && errno == ELOOP)
        return err_set(err, ERR_REFUSED,
                       "%s: it is a symbolic link, expected a file; put the file itself here",
                       path);
    if (fd < 0 || fstat(fd, &st)) {
        err_set(err, ERR_REFUSED, "%s: %s", path, strerror(errno));
        goto fail;
    }
    if (check_file(path, &st, err))
        goto fail;
    memory = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || copy(fd, memory, st.st_size)) {
        err_set(err, ERR_REFUSED, "%s: it cannot be read: %s", path, strerror(errno));
        goto fail;
    }
    if (!is_same(fd, &st) || seal(memory)) {
        err_set(err, ERR_REFUSED, "%s: it changed while it was read; start again", path);
        goto fail;
    }
    close(fd);
    *ret_fd = memory;
    return 0;
fail:
    if (fd >= 0)
        close(fd);
    if (memory >= 0)
        close(memory);
    return -1;
}

/* ---- what kind of file ---- */

static const char *machine_name(unsigned machine, char text[24])
{
    static const struct {
        unsigned machine;
        const char *name;
    } names[] = {
        {EM_X86_64, "x86-64"}, {EM_386, "i386"},    {EM_AARCH64, "arm64"}, {EM_ARM, "arm"},
        {EM_PPC64, "ppc64"},   {EM_RISCV, "riscv"}, {EM_S390, "s390x"},    {EM_MIPS, "mips"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].machine == machine)
            return names[i].name;
    snprintf(text, 24, "machine %u", machine);
    return text;
}

/* The header of this program: what runs here looks so. */
static int own_header(elf_header *ret_header)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, ret_header, sizeof(*ret_header), 0);

    if (fd >= 0)
        close(fd);
    return n == (ssize_t)sizeof(*ret_header) ? 0 : -1;
}

static unsigned swap_bytes(unsigned value)
{
    return (value >> 8 & 0xff) | (value & 0xff) << 8;
}

static int check_header(const unsigned char *bytes, size_t len, const char *path, struct err *err)
{
    char found[24], expected[24];
    elf_header header, own;
    unsigned machine;

    if (len < sizeof(header) || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return err_set(err, ERR_REFUSED,
                       "%s: it is no shared object; put what the compiler made here, not a source "
                       "or a script",
                       path);
    memcpy(&header, bytes, sizeof(header)); /* the machine lies at one place in every kind */
    if (own_header(&own))
        return err_set(err, ERR_PLACE, "/proc/self/exe cannot be read");
    machine = header.e_ident[EI_DATA] == own.e_ident[EI_DATA] ? header.e_machine
                                                              : swap_bytes(header.e_machine);
    if (machine != own.e_machine || header.e_ident[EI_CLASS] != own.e_ident[EI_CLASS] ||
        header.e_ident[EI_DATA] != own.e_ident[EI_DATA])
        return err_set(err, ERR_REFUSED,
                       "%s: it was built for %s, %s bits, expected %s, %s bits; compile it for "
                       "this machine",
                       path, machine_name(machine, found),
                       header.e_ident[EI_CLASS] == ELFCLASS64 ? "64" : "32",
                       machine_name(own.e_machine, expected), sizeof(void *) == 8 ? "64" : "32");
    if (header.e_type != ET_DYN)
        return err_set(err, ERR_REFUSED,
                       "%s: it is an object file or a program, expected a shared object; link it "
                       "with -shared",
                       path);
    return 0;
}

/* Does the file have all that would be mapped?  The loader of the system would die on the rest. */
static bool is_whole(const unsigned char *bytes, size_t len)
{
    elf_header header;

    memcpy(&header, bytes, sizeof(header));
    if (header.e_phentsize != sizeof(elf_segment) || !header.e_phnum || header.e_phoff > len ||
        (len - header.e_phoff) / sizeof(elf_segment) < header.e_phnum)
        return false;
    for (size_t i = 0; i < header.e_phnum; i++) {
        elf_segment segment;

        memcpy(&segment, bytes + header.e_phoff + i * sizeof(segment), sizeof(segment));
        if (segment.p_type != PT_NULL &&
            (segment.p_offset > len || segment.p_filesz > len - segment.p_offset))
            return false;
    }
    return true;
}

/* ---- what it exports ---- */

/* Section `index`, if all of it lies in the file. */
static bool get_section(const unsigned char *bytes, size_t len, size_t index, elf_section *ret)
{
    elf_header header;

    memcpy(&header, bytes, sizeof(header));
    if (header.e_shentsize != sizeof(*ret) || index >= header.e_shnum || header.e_shoff > len ||
        (len - header.e_shoff) / sizeof(*ret) <= index)
        return false;
    memcpy(ret, bytes + header.e_shoff + index * sizeof(*ret), sizeof(*ret));
    return ret->sh_type == SHT_NOBITS ||
           (ret->sh_offset <= len && ret->sh_size <= len - ret->sh_offset);
}

/* Linkers and C++ add names that nobody chose: weak ones, and those that begin with "_". */
static bool is_export(const elf_symbol *symbol, const char *name)
{
    unsigned visibility = symbol->st_other & 3;

    return symbol->st_shndx != SHN_UNDEF && symbol->st_info >> 4 == STB_GLOBAL &&
           (visibility == STV_DEFAULT || visibility == STV_PROTECTED) && name[0] &&
           (name[0] != '_' || name[1] == 'Z') && strcmp(name, "sendit_stage") != 0;
}

static size_t count_exports(const unsigned char *bytes, const elf_section *symbols,
                            const elf_section *names, char ret_first[64])
{
    const char *text = (const char *)bytes + names->sh_offset;
    size_t more = 0;

    for (size_t at = 0; at + sizeof(elf_symbol) <= symbols->sh_size; at += sizeof(elf_symbol)) {
        elf_symbol symbol;

        memcpy(&symbol, bytes + symbols->sh_offset + at, sizeof(symbol));
        if (symbol.st_name >= names->sh_size ||
            !memchr(text + symbol.st_name, '\0', names->sh_size - symbol.st_name) ||
            !is_export(&symbol, text + symbol.st_name))
            continue;
        if (!more++)
            snprintf(ret_first, 64, "%s", text + symbol.st_name);
    }
    return more;
}

/* None can be seen where the section headers were stripped. */
static size_t look_for_exports(const unsigned char *bytes, size_t len, char ret_first[64])
{
    elf_section symbols, names;

    for (size_t i = 0; get_section(bytes, len, i, &symbols); i++)
        if (symbols.sh_type == SHT_DYNSYM)
            return get_section(bytes, len, symbols.sh_link, &names) && names.sh_type == SHT_STRTAB
                       ? count_exports(bytes, &symbols, &names, ret_first)
                       : 0;
    return 0;
}

int shared_object_check(int fd, const char *path, size_t *ret_more, char ret_first[64],
                        struct err *err)
{
    struct stat st;
    unsigned char *bytes;
    size_t len;
    int result;

    ret_first[0] = '\0';
    if (fstat(fd, &st) || st.st_size <= 0)
        return err_set(err, ERR_REFUSED, "%s: it cannot be read", path);
    len = (size_t)st.st_size;
    bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return err_set(err, ERR_PLACE, "no memory");
    result = check_header(bytes, len, path, err);
    if (!result && !is_whole(bytes, len))
        result = err_set(err, ERR_REFUSED, "%s: it is cut short; copy it again", path);
    if (!result)
        *ret_more = look_for_exports(bytes, len, ret_first);
    munmap(bytes, len);
    return result;
}
