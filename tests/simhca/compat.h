/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between kernel versions, and nothing else.
 *
 * The module is one source for 6.1 and later.  What moved in the kernel's
 * interfaces since then is named here once, so that the other files read as
 * if there were only one kernel.
 */
#ifndef SIMHCA_COMPAT_H
#define SIMHCA_COMPAT_H

#include <linux/kconfig.h>
#include <linux/version.h>

#if !IS_ENABLED(CONFIG_64BIT)
#error "simhca encodes its DMA addresses in 64 bits; build it for a 64-bit kernel"
#endif

/* hex2bin() moved out of kernel.h */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#include <linux/hex.h>
#else
#include <linux/kernel.h>
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/*
 * A device can have DMA operations of its own only where the architecture
 * keeps a pointer for them.  On x86 that is CONFIG_XEN or CONFIG_GART_IOMMU.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define SIM_DMA_OPS IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS)
#else
#define SIM_DMA_OPS IS_ENABLED(CONFIG_DMA_OPS)
#endif

/* struct dma_map_ops speaks of physical addresses since 6.19, of pages before */
#define SIM_DMA_MAP_PHYS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0))

/* the last argument of ib_device_ops::create_cq */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define sim_cq_udata uverbs_attr_bundle
#else
#define sim_cq_udata ib_udata
#endif

/* ib_device_ops::reg_user_mr takes a DMA handle since 6.17 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
#define SIM_DMAH_ARG struct ib_dmah *dmah,
#else
#define SIM_DMAH_ARG
#endif

#endif /* SIMHCA_COMPAT_H */
