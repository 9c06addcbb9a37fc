/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernel versions that this source builds on
 * (6.1 LTS, 6.12 LTS, newest mainline), and nothing else.
 */
#ifndef ISER_COMPAT_H
#define ISER_COMPAT_H

#include <linux/version.h>

/* 6.3 made the SCSI host templates read-only */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define ISER_SHT_CONST	const
#else
#define ISER_SHT_CONST
#endif

/* 6.18 wants to be told that work shall run on the processor it is queued on */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define ISER_WQ_PERCPU	WQ_PERCPU
#else
#define ISER_WQ_PERCPU	0
#endif

#endif /* ISER_COMPAT_H */
