// SPDX-License-Identifier: GPL-2.0-only
/*
 * The adapter's view of memory: DMA mappings
 *
 * Where the kernel allows a device its own DMA operations, every mapping that
 * the consumer makes is one slot of a table, and the address it gets is made
 * up: generation, slot, and a page-aligned place with the offset of the memory
 * in it.  No two mappings get the same address until the generation wraps, so
 * an access after dma_unmap_*() is caught exactly, as an IOMMU would catch it,
 * even if the memory has been mapped again meanwhile.  A slot also knows how
 * many valid rkeys, unfinished Sends and posted receives refer to it, so that
 * an unmap which comes too early is caught too.
 *
 *	63 ........ 49 48 ...... 32 31 ................................ 0
 *	  generation       slot      start = slot << 13, then page offset
 *
 * (The slot appears once more in the low half because DMA-API debug hashes
 * those bits.)
 *
 * With the knob dma_bounce a mapping gets a buffer of its own and data only
 * pass between it and the memory where the DMA API says that they do: at map,
 * unmap and sync.  A consumer that forgets a sync then sees stale data, as it
 * would on a machine whose caches are not coherent.
 *
 * With the module parameter dma_device the adapter is behind that PCI device's
 * IOMMU instead: the kernel's own driver maps for it, and each access looks in
 * the IOMMU's page tables.
 *
 * Where there is neither that nor are own operations to be had (an x86 kernel
 * with neither XEN nor GART_IOMMU) addresses are physical addresses and nothing
 * of this is checked or counted, but an access to what is no memory; the
 * counters file says "dma_ops=0".
 *
 * Recovery: what is still mapped when the adapter goes is told and released.
 */
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "simhca.h"

#define SIM_DMA_SLOT_SHIFT	32
#define SIM_DMA_SLOT_BITS	17
#define SIM_DMA_SLOTS		BIT(SIM_DMA_SLOT_BITS)
#define SIM_DMA_GEN_SHIFT	(SIM_DMA_SLOT_SHIFT + SIM_DMA_SLOT_BITS)
#define SIM_DMA_GENS		BIT(14)
#define SIM_DMA_START_SHIFT	13

/**
 * struct sim_dma_map - one mapping
 * @addr: its first address; 0 while the slot is free
 * @mem: the memory
 * @bounce: what the adapter sees instead, or NULL
 * @len: number of bytes
 * @dir: enum dma_data_direction
 * @users: how many of each &enum sim_dma_user refer to it (engine)
 * @next: next free slot
 */
struct sim_dma_map {
	u64 addr;
	void *mem;
	void *bounce;
	u32 len;
	u8 dir;
	u16 users[SIM_DMA_USERS];
	u32 next;
};

#if SIM_DMA_OPS

static struct sim_dma_map *slot_of(struct sim_dma *dma, u64 addr)
{
	return &dma->maps[(addr >> SIM_DMA_SLOT_SHIFT) & (SIM_DMA_SLOTS - 1)];
}

static bool same_slot(u64 a, u64 b)
{
	return a >> SIM_DMA_SLOT_SHIFT == b >> SIM_DMA_SLOT_SHIFT;
}

static struct sim_adapter *dev_ad(struct device *dev)
{
	return platform_get_drvdata(to_platform_device(dev));
}

static bool to_device(int dir)
{
	return dir == DMA_TO_DEVICE || dir == DMA_BIDIRECTIONAL;
}

static bool from_device(int dir)
{
	return dir == DMA_FROM_DEVICE || dir == DMA_BIDIRECTIONAL;
}

static struct sim_dma_map *slot_alloc(struct sim_dma *dma)
{
	struct sim_dma_map *map = NULL;
	unsigned long flags;

	spin_lock_irqsave(&dma->lock, flags);
	if (dma->free) {
		map = &dma->maps[dma->free];
		dma->free = map->next;
		if (++dma->generation == SIM_DMA_GENS)
			dma->generation = 1;
		map->addr = (u64)dma->generation << SIM_DMA_GEN_SHIFT;
	}
	spin_unlock_irqrestore(&dma->lock, flags);
	return map;
}

static void slot_free(struct sim_dma *dma, struct sim_dma_map *map)
{
	unsigned long flags;

	spin_lock_irqsave(&dma->lock, flags);
	WRITE_ONCE(map->addr, 0);
	map->next = dma->free;
	dma->free = map - dma->maps;
	spin_unlock_irqrestore(&dma->lock, flags);
}

static bool slot_bounce(struct sim_dma_map *map)
{
	map->bounce = kmalloc(map->len, GFP_ATOMIC | __GFP_NOWARN);
	if (!map->bounce)
		return false;
	/* also what the device is to write: it may not write all of it */
	memcpy(map->bounce, map->mem, map->len);
	return true;
}

/*
 * Map @len bytes at @mem; coherent memory is the adapter's and the processor's
 * at the same time, wherever it is.  Return 0 where that cannot be done.
 */
static u64 map_mem(struct sim_adapter *ad, void *mem, u32 len, int dir,
		   bool coherent)
{
	struct sim_dma *dma = &ad->dma;
	struct sim_dma_map *map;
	u64 slot;

	if (sim_verb_fault(ad, SIM_AT(dma_map)))
		return 0;
	map = slot_alloc(dma);
	if (!map)
		return 0;
	slot = map - dma->maps;
	map->mem = mem;
	map->len = len;
	map->dir = dir;
	memset(map->users, 0, sizeof(map->users));
	map->bounce = NULL;
	if (!coherent && sim_knob(ad, dma_bounce) && len && !slot_bounce(map)) {
		slot_free(dma, map);
		return 0;
	}
	WRITE_ONCE(map->addr, map->addr | slot << SIM_DMA_SLOT_SHIFT |
			      slot << SIM_DMA_START_SHIFT |
			      offset_in_page(mem));
	sim_gauge_inc(ad, dma_mapped);
	return map->addr;
}

/* What ought to have come to its end before a mapping does. */
static const struct {
	enum sim_counter violation;
	const char *what;
} uses[SIM_DMA_USERS] = {
	[SIM_DMA_KEY] = { SIM_C_v_unmap_live_rkey, "valid MR(s) cover it" },
	[SIM_DMA_SEND] = { SIM_C_v_unmap_in_flight, "unfinished Send(s) need it" },
	[SIM_DMA_RECV] = { SIM_C_v_unmap_posted, "posted receive(s) name it" },
};

static void check_users(struct sim_adapter *ad, struct sim_dma_map *map)
{
	int i, n;

	for (i = 0; i < SIM_DMA_USERS; i++) {
		n = READ_ONCE(map->users[i]);
		if (n)
			sim_violation(ad, uses[i].violation,
				      "unmap of %#llx+%u while %d %s",
				      map->addr, map->len, n, uses[i].what);
	}
}

static void unmap_addr(struct sim_adapter *ad, u64 addr, u32 len, int dir,
		       unsigned long attrs)
{
	struct sim_dma_map *map = slot_of(&ad->dma, addr);

	if (READ_ONCE(map->addr) != addr || map->len != len ||
	    map->dir != dir) {
		sim_violation(ad, SIM_C_v_unmap_unknown,
			      "unmap of %#llx+%u, direction %d: no such mapping",
			      addr, len, dir);
		return;
	}
	check_users(ad, map);
	if (map->bounce) {
		if (from_device(dir) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
			memcpy(map->mem, map->bounce, len);
		kfree(map->bounce);
		map->bounce = NULL;
	}
	slot_free(&ad->dma, map);
	sim_gauge_dec(ad, dma_mapped);
}

static void sync_addr(struct sim_adapter *ad, u64 addr, u32 len, int dir,
		      bool for_cpu)
{
	struct sim_dma_map *map = slot_of(&ad->dma, addr);
	u64 base = READ_ONCE(map->addr);
	u64 off = addr - base;

	sim_count(ad, dma_sync);
	if (!base || !same_slot(addr, base) || addr < base ||
	    off + len > map->len) {
		sim_violation(ad, SIM_C_v_sync_unknown,
			      "sync of %#llx+%u: no such mapping", addr, len);
		return;
	}
	if (!map->bounce)
		return;
	if (for_cpu && from_device(dir))
		memcpy(map->mem + off, map->bounce + off, len);
	else if (!for_cpu && to_device(dir))
		memcpy(map->bounce + off, map->mem + off, len);
}

static void *op_alloc(struct device *dev, size_t size, dma_addr_t *handle,
		      gfp_t gfp, unsigned long attrs)
{
	struct sim_adapter *ad = dev_ad(dev);
	void *mem = alloc_pages_exact(size, gfp | __GFP_ZERO);
	u64 addr;

	if (!mem)
		return NULL;
	addr = map_mem(ad, mem, size, DMA_BIDIRECTIONAL, true);
	if (!addr) {
		free_pages_exact(mem, size);
		return NULL;
	}
	sim_count(ad, dma_alloc);
	*handle = addr;
	return mem;
}

static void op_free(struct device *dev, size_t size, void *mem,
		    dma_addr_t handle, unsigned long attrs)
{
	unmap_addr(dev_ad(dev), handle, size, DMA_BIDIRECTIONAL, attrs);
	free_pages_exact(mem, size);
}

static dma_addr_t map_one(struct device *dev, void *mem, size_t size,
			  enum dma_data_direction dir)
{
	struct sim_adapter *ad = dev_ad(dev);
	u64 addr = map_mem(ad, mem, size, dir, false);

	if (!addr)
		return DMA_MAPPING_ERROR;
	sim_count(ad, dma_map_single);
	return addr;
}

#if SIM_DMA_MAP_PHYS
static dma_addr_t op_map(struct device *dev, phys_addr_t phys, size_t size,
			 enum dma_data_direction dir, unsigned long attrs)
{
	return map_one(dev, phys_to_virt(phys), size, dir);
}
#else
static dma_addr_t op_map(struct device *dev, struct page *page,
			 unsigned long offset, size_t size,
			 enum dma_data_direction dir, unsigned long attrs)
{
	return map_one(dev, page_address(page) + offset, size, dir);
}
#endif

static void op_unmap(struct device *dev, dma_addr_t addr, size_t size,
		     enum dma_data_direction dir, unsigned long attrs)
{
	struct sim_adapter *ad = dev_ad(dev);

	sim_count(ad, dma_unmap_single);
	unmap_addr(ad, addr, size, dir, attrs);
}

static int op_map_sg(struct device *dev, struct scatterlist *sgl, int nents,
		     enum dma_data_direction dir, unsigned long attrs)
{
	struct sim_adapter *ad = dev_ad(dev);
	struct scatterlist *sg;
	u64 addr;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		addr = map_mem(ad, sg_virt(sg), sg->length, dir, false);
		if (!addr)
			goto undo;
		sg_dma_address(sg) = addr;
		sg_dma_len(sg) = sg->length;
	}
	sim_count(ad, dma_map_sg);
	sim_count_n(ad, dma_map_sg_entries, nents);
	return nents;
undo:
	nents = i;
	for_each_sg(sgl, sg, nents, i)
		unmap_addr(ad, sg_dma_address(sg), sg_dma_len(sg), dir,
			   DMA_ATTR_SKIP_CPU_SYNC);
	return -ENOMEM;
}

static void op_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents,
			enum dma_data_direction dir, unsigned long attrs)
{
	struct sim_adapter *ad = dev_ad(dev);
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		unmap_addr(ad, sg_dma_address(sg), sg_dma_len(sg), dir, attrs);
	sim_count(ad, dma_unmap_sg);
}

static void op_sync_cpu(struct device *dev, dma_addr_t addr, size_t size,
			enum dma_data_direction dir)
{
	sync_addr(dev_ad(dev), addr, size, dir, true);
}

static void op_sync_device(struct device *dev, dma_addr_t addr, size_t size,
			   enum dma_data_direction dir)
{
	sync_addr(dev_ad(dev), addr, size, dir, false);
}

static void op_sync_sg_cpu(struct device *dev, struct scatterlist *sgl,
			   int nents, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		sync_addr(dev_ad(dev), sg_dma_address(sg), sg_dma_len(sg), dir,
			  true);
}

static void op_sync_sg_device(struct device *dev, struct scatterlist *sgl,
			      int nents, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		sync_addr(dev_ad(dev), sg_dma_address(sg), sg_dma_len(sg), dir,
			  false);
}

static int op_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static const struct dma_map_ops sim_dma_ops = {
	.alloc = op_alloc,
	.free = op_free,
#if SIM_DMA_MAP_PHYS
	.map_phys = op_map,
	.unmap_phys = op_unmap,
#else
	.map_page = op_map,
	.unmap_page = op_unmap,
#endif
	.map_sg = op_map_sg,
	.unmap_sg = op_unmap_sg,
	.sync_single_for_cpu = op_sync_cpu,
	.sync_single_for_device = op_sync_device,
	.sync_sg_for_cpu = op_sync_sg_cpu,
	.sync_sg_for_device = op_sync_sg_device,
	.dma_supported = op_supported,
};

static void *mapped_at(struct sim_adapter *ad, u64 addr, u32 len, bool write)
{
	struct sim_dma_map *map = slot_of(&ad->dma, addr);
	u64 base = READ_ONCE(map->addr);
	u64 off = addr - base;

	if (!base || !same_slot(addr, base) || addr < base ||
	    off + len > map->len) {
		sim_violation(ad, SIM_C_v_dma_unmapped,
			      "%s of unmapped address %#llx+%u",
			      write ? "write" : "read", addr, len);
		return NULL;
	}
	if (write ? !from_device(map->dir) : !to_device(map->dir)) {
		sim_violation(ad, SIM_C_v_dma_direction,
			      "%s of %#llx+%u, which is mapped for the other direction",
			      write ? "write" : "read", addr, len);
		return NULL;
	}
	return (map->bounce ?: map->mem) + off;
}

static bool hold(struct sim_adapter *ad, u64 addr, enum sim_dma_user user,
		 int delta)
{
	struct sim_dma_map *map = slot_of(&ad->dma, addr);

	if (!same_slot(READ_ONCE(map->addr), addr))
		return false;
	WRITE_ONCE(map->users[user], map->users[user] + delta);
	return true;
}

static int take_over(struct sim_adapter *ad)
{
	struct sim_dma *dma = &ad->dma;
	u32 i;

	spin_lock_init(&dma->lock);
	dma->maps = vcalloc(SIM_DMA_SLOTS, sizeof(*dma->maps));
	if (!dma->maps)
		return -ENOMEM;
	/* slot 0 stays unused: its number means "none" */
	for (i = 1; i < SIM_DMA_SLOTS - 1; i++)
		dma->maps[i].next = i + 1;
	dma->free = 1;
	set_dma_ops(ad->dma_dev, &sim_dma_ops);
	return 0;
}

static void give_back(struct sim_adapter *ad)
{
	u32 i;

	for (i = 1; i < SIM_DMA_SLOTS; i++) {
		if (!ad->dma.maps[i].addr)
			continue;
		sim_violation(ad, SIM_C_v_dma_leak, "mapping %#llx+%u leaked",
			      ad->dma.maps[i].addr, ad->dma.maps[i].len);
		kfree(ad->dma.maps[i].bounce);
	}
	set_dma_ops(ad->dma_dev, NULL);
	vfree(ad->dma.maps);
	ad->dma.maps = NULL;
}

#else /* !SIM_DMA_OPS */

static void *mapped_at(struct sim_adapter *ad, u64 addr, u32 len, bool write)
{
	return NULL;
}

static bool hold(struct sim_adapter *ad, u64 addr, enum sim_dma_user user,
		 int delta)
{
	return true;
}

static int take_over(struct sim_adapter *ad)
{
	return 0;
}

static void give_back(struct sim_adapter *ad)
{
}

#endif

/* What the IOMMU makes of an address, up to the end of the page. */
static void *translated_at(struct sim_adapter *ad, u64 addr, u32 *len,
			   bool write)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(ad->dma_dev);
	phys_addr_t phys = domain ? iommu_iova_to_phys(domain, addr) : addr;

	if (!phys || !pfn_valid(PHYS_PFN(phys))) {
		sim_violation(ad, SIM_C_v_dma_unmapped,
			      "%s of address %#llx+%u, which is no memory",
			      write ? "write" : "read", addr, *len);
		return NULL;
	}
	*len = min_t(u32, *len, PAGE_SIZE - offset_in_page(addr));
	return phys_to_virt(phys);
}

/**
 * sim_dma_at - the memory behind a DMA address
 * @ad: the adapter
 * @addr: address
 * @len: number of bytes, all of one mapping; receives how many of them are
 *       contiguous
 * @write: the adapter is about to write
 *
 * Engine context.
 *
 * Return: the memory, or NULL where the adapter has no business there; that
 * is counted and noted.
 */
void *sim_dma_at(struct sim_adapter *ad, u64 addr, u32 *len, bool write)
{
	return ad->dma.maps ? mapped_at(ad, addr, *len, write) :
			      translated_at(ad, addr, len, write);
}

/**
 * sim_dma_hold - something begins or ceases to need a mapping
 * @ad: the adapter
 * @addr: address in the mapping's first page or later
 * @user: what
 * @delta: 1 or -1
 *
 * Engine context.
 *
 * Return: false where it is known that there is no such mapping.
 */
bool sim_dma_hold(struct sim_adapter *ad, u64 addr, enum sim_dma_user user,
		  int delta)
{
	return !ad->dma.maps || hold(ad, addr, user, delta);
}

static struct pci_dev *find_pci(const char *name)
{
	struct pci_dev *pci = NULL;

	for_each_pci_dev(pci)
		if (!strcmp(pci_name(pci), name))
			return pci;
	return NULL;
}

static int share_iommu(struct sim_adapter *ad, const char *name)
{
	struct device *dev;

	ad->dma.pci = find_pci(name);
	if (!ad->dma.pci) {
		pr_err("simhca: dma_device=%s is no PCI device\n", name);
		return -ENODEV;
	}
	dev = &ad->dma.pci->dev;
	ad->dma_dev = dev;
	dma_set_max_seg_size(dev, SZ_2G);
	return dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
}

/**
 * sim_dma_init - decide who maps memory for the adapter
 * @ad: the adapter
 *
 * Return: 0 or a negative error number.
 */
int sim_dma_init(struct sim_adapter *ad)
{
	const char *pci = sim_dma_device();

	ad->dma_dev = &ad->pdev->dev;
	return pci ? share_iommu(ad, pci) : take_over(ad);
}

/**
 * sim_dma_exit - forget all mappings
 * @ad: the adapter; no device is registered any more
 */
void sim_dma_exit(struct sim_adapter *ad)
{
	if (ad->dma.maps)
		give_back(ad);
	pci_dev_put(ad->dma.pci);
}
