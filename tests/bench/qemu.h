/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of qemu's plugin interface that insns.c uses, written from its documentation
 * (docs/devel/tcg-plugins.rst): Debian has no package with the header.
 *
 * Normally: qemu calls qemu_plugin_install() once, and what was registered there for each block
 * of code that it translates. Recovery: a plugin for another version of the interface is refused
 * by qemu.
 */
#ifndef ISER_BENCH_QEMU_H
#define ISER_BENCH_QEMU_H

#include <stddef.h>
#include <stdint.h>

#define PLUGIN_VERSION	1
/* what a block of code does by itself when it is executed: *ptr += value */
#define PLUGIN_ADD_U64	0
#define PLUGIN_EXPORT	__attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_info;

typedef uint64_t plugin_id;
typedef void translated_cb(plugin_id id, struct qemu_plugin_tb *tb);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated_cb *cb);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *ptr,
					      uint64_t value);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv);

#endif /* ISER_BENCH_QEMU_H */
