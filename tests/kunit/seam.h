/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place where the tests come between the driver and the kernel: the
 * DMA mapping of scatter lists, which the adapter's operations don't include.
 *
 * Included by the compiler before the first line of the driver's task.c. The
 * functions are adapter.c's; they call the kernel's and keep count.
 */
#ifndef ISER_KUNIT_SEAM_H
#define ISER_KUNIT_SEAM_H

#include <rdma/ib_verbs.h>

int fake_map_sg(struct ib_device *ib, struct scatterlist *sg, int nents,
		enum dma_data_direction dir);
void fake_unmap_sg(struct ib_device *ib, struct scatterlist *sg, int nents,
		   enum dma_data_direction dir);

#define ib_dma_map_sg	fake_map_sg
#define ib_dma_unmap_sg	fake_unmap_sg

#endif /* ISER_KUNIT_SEAM_H */
