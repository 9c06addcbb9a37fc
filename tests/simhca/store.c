// SPDX-License-Identifier: GPL-2.0-only
/*
 * The media behind the logical units: sparse memory
 *
 * A store is an array of pages, present where something was written.  It has
 * no size of its own; the knob says how large the logical unit is.  Each
 * adapter has its own stores, or, with the module parameter "shared", all
 * adapters have the same ones and are several ways to them.
 *
 * Pages are found and used within one burst of an engine, which RCU takes for
 * a reader, and freed after a grace period; so engines that share a store need
 * no lock.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "simhca.h"

static DEFINE_XARRAY(shared_stores);

static struct xarray *stores_of(struct sim_adapter *ad)
{
	return !ad || sim_shared() ? &shared_stores : &ad->target.stores;
}

/**
 * sim_store_size - size of a logical unit
 * @ad: the adapter
 *
 * Return: the number of bytes.
 */
u64 sim_store_size(struct sim_adapter *ad)
{
	return (u64)sim_knob(ad, capacity_mb) * SZ_1M;
}

/**
 * sim_store_get - the store of a logical unit
 * @ad: the adapter
 * @target: number of the target
 * @lun: number of the unit
 *
 * Engine context.
 *
 * Return: the store, or NULL without memory.
 */
struct sim_store *sim_store_get(struct sim_adapter *ad, int target, u32 lun)
{
	struct xarray *stores = stores_of(ad);
	unsigned long index = (unsigned long)target << 16 | lun;
	struct sim_store *store = xa_load(stores, index);
	struct sim_store *old;

	if (store)
		return store;
	store = kzalloc(sizeof(*store), GFP_ATOMIC);
	if (!store)
		return NULL;
	xa_init(&store->pages);
	old = xa_cmpxchg(stores, index, NULL, store, GFP_ATOMIC);
	if (!old)
		return store;
	kfree(store);
	return xa_is_err(old) ? NULL : old;
}

static struct page *new_page(struct sim_adapter *ad)
{
	gfp_t gfp = GFP_NOWAIT | __GFP_NOWARN | __GFP_ZERO;
	struct page *page = alloc_page(gfp);

	if (page)
		return page;
	/* we may be what memory is being cleaned through: no I/O from here */
	sim_engine_relax(ad);
	return alloc_page(GFP_ATOMIC | __GFP_NOWARN | __GFP_ZERO);
}

/**
 * sim_store_page - the page at a position
 * @ad: the adapter
 * @store: the store
 * @pos: position in bytes
 * @alloc: make a page where there is none
 *
 * Engine context.  The page may be used until the burst ends.
 *
 * Return: its memory, or NULL.
 */
void *sim_store_page(struct sim_adapter *ad, struct sim_store *store, u64 pos,
		     bool alloc)
{
	unsigned long index = pos >> PAGE_SHIFT;
	struct page *page = xa_load(&store->pages, index);
	struct page *old;

	if (page || !alloc)
		return page ? page_address(page) : NULL;
	page = new_page(ad);
	if (!page)
		return NULL;
	old = xa_cmpxchg(&store->pages, index, NULL, page, GFP_ATOMIC);
	if (!old)
		return page_address(page);
	__free_page(page);
	return xa_is_err(old) ? NULL : page_address(old);
}

/**
 * sim_store_write - put data where they belong
 * @ad: the adapter
 * @store: the store
 * @pos: position in bytes
 * @data: the data
 * @len: how many bytes
 *
 * Engine context.
 *
 * Return: false where there was no memory for all of them.
 */
bool sim_store_write(struct sim_adapter *ad, struct sim_store *store, u64 pos,
		     const void *data, u32 len)
{
	void *page;
	u32 n;

	for (; len; pos += n, data += n, len -= n) {
		n = min_t(u32, len, PAGE_SIZE - offset_in_page(pos));
		page = sim_store_page(ad, store, pos, true);
		if (!page)
			return false;
		memcpy(page + offset_in_page(pos), data, n);
	}
	return true;
}

static void free_page_rcu(struct rcu_head *head)
{
	__free_page(container_of(head, struct page, rcu_head));
}

static void unmap_part(struct sim_store *store, u64 pos, u64 len)
{
	struct page *page = xa_load(&store->pages, pos >> PAGE_SHIFT);

	if (page)
		memset(page_address(page) + offset_in_page(pos), 0, len);
}

/**
 * sim_store_unmap - make a range read as zeros and free its pages
 * @store: the store
 * @pos: position in bytes
 * @len: number of bytes
 *
 * Engine context.
 */
void sim_store_unmap(struct sim_store *store, u64 pos, u64 len)
{
	u64 end = pos + len, first = round_up(pos, PAGE_SIZE);
	u64 last = round_down(end, PAGE_SIZE);
	unsigned long index;
	struct page *page;

	if (first > last) {
		unmap_part(store, pos, len);
		return;
	}
	unmap_part(store, pos, first - pos);
	unmap_part(store, last, end - last);
	if (first == last)
		return;
	xa_for_each_range(&store->pages, index, page, first >> PAGE_SHIFT,
			  (last >> PAGE_SHIFT) - 1) {
		page = xa_erase(&store->pages, index);
		if (page)
			call_rcu(&page->rcu_head, free_page_rcu);
	}
}

static void free_store(struct sim_store *store)
{
	unsigned long index;
	struct page *page;

	xa_for_each(&store->pages, index, page)
		__free_page(page);
	xa_destroy(&store->pages);
	kfree(store);
}

/**
 * sim_stores_free - free the stores of an adapter, or the shared ones
 * @ad: the adapter; NULL for the shared ones
 *
 * Process context; no engine uses them any more.
 */
void sim_stores_free(struct sim_adapter *ad)
{
	struct xarray *stores = ad ? &ad->target.stores : &shared_stores;
	struct sim_store *store;
	unsigned long index;

	xa_for_each(stores, index, store)
		free_store(store);
	xa_destroy(stores);
}
