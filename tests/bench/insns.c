// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin for qemu: counts the instructions that a guest executes, by address.
 *
 *	qemu-system-x86_64 -plugin libinsns.so,counts=FILE ...
 *
 * Normally: FILE is a table in memory that whoever is interested maps, too (insns.py). Each block
 * of translated code has an entry with the address of its first instruction, and counts there
 * whenever it is executed: the times, and the instructions. Programs of the guest have one entry
 * in all, number 0. Nobody is interrupted to look where he is, as a sampling profiler does, so a
 * figure does not depend on when interrupts are off, and is exact.
 *
 * A string instruction (rep movsq) counts once for each word that it moves.
 *
 * Recovery: none; what does not fit into the table is counted in entry 1. One processor of the
 * guest may run: additions are not atomic.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "qemu.h"

/* insns.py knows all but the last */
#define ENTRIES		262144
#define PROGRAMS	0
#define NO_ROOM		1
#define FIRST		2
#define ARGUMENT	"counts="

static struct entry {
	uint64_t address;
	uint64_t times;
	uint64_t insns;
} *table;

PLUGIN_EXPORT int qemu_plugin_version = PLUGIN_VERSION;

/* The entry of an address: the first from where it belongs that is its own, or free */
static struct entry *entry_of(uint64_t address)
{
	uint32_t at = (address * 0x9e3779b97f4a7c15ull) >> 40;

	if ((int64_t)address >= 0)
		return &table[PROGRAMS];
	for (unsigned int tries = 0; tries < ENTRIES - FIRST; tries++) {
		struct entry *entry = &table[FIRST + (at + tries) % (ENTRIES - FIRST)];

		if (!entry->address)
			entry->address = address;
		if (entry->address == address)
			return entry;
	}
	return &table[NO_ROOM];
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	struct entry *entry = entry_of(qemu_plugin_tb_vaddr(tb));

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_ADD_U64, &entry->times, 1);
	qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_ADD_U64, &entry->insns,
						 qemu_plugin_tb_n_insns(tb));
}

static bool map_table(const char *path)
{
	size_t size = ENTRIES * sizeof(*table);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, size))
		return false;
	table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return table != MAP_FAILED;
}

PLUGIN_EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc,
				      char **argv)
{
	const char *path = argc == 1 ? argv[0] : "";

	(void)info;
	if (strncmp(path, ARGUMENT, strlen(ARGUMENT))) {
		fprintf(stderr, "insns: wants counts=FILE\n");
		return -1;
	}
	if (!map_table(path + strlen(ARGUMENT))) {
		perror(path);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
