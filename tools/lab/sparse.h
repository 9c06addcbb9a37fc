/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the sparse of Debian 12 (0.6.4) lacks for the headers of newer kernels;
 * `lab lint` has sparse include this first. Nothing else reads it.
 */

/* 7.x: the type without its qualifiers; sparse gets along with them. */
#define __typeof_unqual__ __typeof__

/* 7.x: MODULE_INFO() wants this to be a constant, as it is for gcc. */
#define __builtin_strlen(string) (sizeof(string) - 1)
