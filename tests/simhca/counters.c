// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters, gauges and notes about violations
 *
 * Counters are per processor, so counting costs one instruction and does not
 * disturb what is measured.  Of violations only the first ones of each kind
 * leave a note and a line in the log: a consumer that does something wrong
 * usually does it all the time.
 */
#include <linux/percpu.h>
#include <linux/seq_file.h>

#include "simhca.h"

#define SIM_COUNTER(name) __stringify(name),
static const char * const counter_names[] = {
#include "counter_list.h"
};

#define SIM_GAUGE(name) __stringify(name),
static const char * const gauge_names[] = {
#include "gauge_list.h"
};

/* of each kind of violation so many are noted, and so many told in the log */
#define NOTED	16
#define TOLD	2

static u64 total(struct sim_adapter *ad, int c)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu_ptr(ad->counters, cpu)[c];
	return sum;
}

/**
 * sim_violation - the consumer did what a correct one never does
 * @ad: the adapter
 * @c: the counter of this kind of violation
 * @fmt: what exactly happened
 *
 * Any context.
 */
void sim_violation(struct sim_adapter *ad, enum sim_counter c,
		   const char *fmt, ...)
{
	struct sim_notes *notes = &ad->notes;
	char text[SIM_NOTE_LEN];
	struct va_format vaf;
	unsigned long flags;
	unsigned int seen;
	va_list args;

	if (ad->provoking && current == ad->engine.thread && !in_hardirq()) {
		sim_count(ad, provoked);
		return;
	}
	this_cpu_inc(ad->counters[c]);
	if (READ_ONCE(notes->seen[c]) >= NOTED)
		return;
	va_start(args, fmt);
	vaf.fmt = fmt;
	vaf.va = &args;
	snprintf(text, sizeof(text), "%s: %pV", counter_names[c], &vaf);
	va_end(args);
	spin_lock_irqsave(&notes->lock, flags);
	seen = notes->seen[c]++;
	if (notes->count < SIM_NOTES) {
		notes->note[notes->count].when = ktime_get_ns();
		strscpy(notes->note[notes->count].text, text, SIM_NOTE_LEN);
		notes->count++;
	}
	spin_unlock_irqrestore(&notes->lock, flags);
	if (seen < TOLD)
		pr_warn("%s: violation: %s\n", ad->name, text);
}

/**
 * sim_notes_show - list the first violations of each kind
 * @ad: the adapter
 * @m: where to
 */
void sim_notes_show(struct sim_adapter *ad, struct seq_file *m)
{
	struct sim_notes *notes = &ad->notes;
	unsigned int i;

	spin_lock_irq(&notes->lock);
	for (i = 0; i < notes->count; i++)
		seq_printf(m, "%llu %s\n", notes->note[i].when,
			   notes->note[i].text);
	spin_unlock_irq(&notes->lock);
}

/**
 * sim_counters_show - list counters and gauges
 * @ad: the adapter
 * @m: where to
 */
void sim_counters_show(struct sim_adapter *ad, struct seq_file *m)
{
	int i;

	seq_printf(m, "dma_ops=%d\n", !!ad->dma.maps);
	seq_printf(m, "engine_ns=%llu\n", READ_ONCE(ad->engine.busy_ns));
	for (i = 0; i < SIM_NR_COUNTERS; i++)
		seq_printf(m, "%s=%llu\n", counter_names[i], total(ad, i));
	for (i = 0; i < SIM_NR_GAUGES; i++)
		seq_printf(m, "%s=%d\n", gauge_names[i],
			   atomic_read(&ad->gauges[i]));
}

static void reset_counters(void *arg)
{
	struct sim_adapter *ad = arg;
	int cpu;

	WRITE_ONCE(ad->engine.busy_ns, 0);
	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(ad->counters, cpu), 0,
		       SIM_NR_COUNTERS * sizeof(u64));
	atomic_set(&ad->gauges[SIM_G_mrs_peak], sim_gauge(ad, mrs));
}

/**
 * sim_counters_reset - begin to count anew
 * @ad: the adapter
 *
 * Process context.  What is counted meanwhile may survive or not.
 */
void sim_counters_reset(struct sim_adapter *ad)
{
	sim_engine_call(ad, reset_counters, ad);
	spin_lock_irq(&ad->notes.lock);
	ad->notes.count = 0;
	memset(ad->notes.seen, 0, sizeof(ad->notes.seen));
	spin_unlock_irq(&ad->notes.lock);
}
