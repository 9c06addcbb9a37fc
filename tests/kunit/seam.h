/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place where the tests come between the driver and the kernel: the
 * DMA mapping of scatter lists and the disconnect, which the adapter's
 * operations don't include.
 *
 * Included by the compiler before the first line of the driver's task.c and
 * endpoint.c. The functions are adapter.c's; they keep count, and map as the
 * kernel does. There is no connection that a disconnect could end.
 */
#ifndef ISER_KUNIT_SEAM_H
#define ISER_KUNIT_SEAM_H

#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

int fake_map_sg(struct ib_device *ib, struct scatterlist *sg, int nents,
		enum dma_data_direction dir);
void fake_unmap_sg(struct ib_device *ib, struct scatterlist *sg, int nents,
		   enum dma_data_direction dir);
int fake_disconnect(struct rdma_cm_id *cm_id);

#define ib_dma_map_sg	fake_map_sg
#define ib_dma_unmap_sg	fake_unmap_sg
#define rdma_disconnect	fake_disconnect

#endif /* ISER_KUNIT_SEAM_H */
