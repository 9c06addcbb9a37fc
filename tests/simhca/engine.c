// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine: the one thread that does an adapter's work
 *
 * Normal operation: a doorbell, a connect request or a debugfs command puts a
 * job on a lock-free list and wakes the thread, which runs the jobs in the
 * order of their arrival.  What shall happen later hangs on a sorted list of
 * timers; the thread sleeps until the next one is due.  All state of
 * connections and of the target belongs to this thread, so it needs no locks.
 *
 * A batch of jobs runs with bottom halves disabled.  What the handlers of the
 * completion interrupts that it raises put off to a softirq or a work item
 * therefore begins when the batch is over, and the time between
 * local_bh_disable() and local_bh_enable() is the adapter's own, but for those
 * interrupts themselves: its sum is the counter "engine_ns", which a benchmark
 * subtracts to see what the consumer alone cost.  It also makes RCU readers of
 * all engine code.
 *
 * Recovery: there is nothing to recover.  sim_engine_stop() is called when no
 * device is registered any more and hence no job can come.
 */
#include <linux/bottom_half.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <uapi/linux/sched/types.h>

#include "simhca.h"

#define SIM_PRIO_FIFO 100

struct sim_call {
	struct sim_job job;
	struct completion done;
	void (*fn)(void *arg);
	void *arg;
};

static void burst_begin(struct sim_engine *e)
{
	local_bh_disable();
	e->burst_start = local_clock();
}

static void burst_end(struct sim_engine *e)
{
	WRITE_ONCE(e->busy_ns, e->busy_ns + local_clock() - e->burst_start);
	local_bh_enable();
}

/**
 * sim_engine_kick - have the engine run a job
 * @ad: the adapter
 * @job: the job; nothing happens if it is queued already
 *
 * Any context.
 */
void sim_engine_kick(struct sim_adapter *ad, struct sim_job *job)
{
	if (test_and_set_bit(0, &job->queued))
		return;
	if (llist_add(&job->node, &ad->engine.jobs))
		wake_up_process(ad->engine.thread);
}

static void call_fn(struct sim_job *job)
{
	struct sim_call *call = container_of(job, struct sim_call, job);

	call->fn(call->arg);
	complete(&call->done);
}

/**
 * sim_engine_call - run a function in the engine and wait for its end
 * @ad: the adapter
 * @fn: the function; must not sleep
 * @arg: its argument
 *
 * Process context, not the engine's own.
 */
void sim_engine_call(struct sim_adapter *ad, void (*fn)(void *arg), void *arg)
{
	struct sim_call call = { .fn = fn, .arg = arg };

	init_completion(&call.done);
	sim_job_init(&call.job, call_fn);
	sim_engine_kick(ad, &call.job);
	wait_for_completion(&call.done);
}

/**
 * sim_engine_relax - let interrupts and the scheduler in
 * @ad: the adapter
 *
 * Engine context, in the middle of a job.  The caller must be prepared for
 * any change that does not need the engine, and for nothing else.
 */
void sim_engine_relax(struct sim_adapter *ad)
{
	burst_end(&ad->engine);
	cond_resched();
	burst_begin(&ad->engine);
}

/**
 * sim_timer_init - prepare a timer
 * @timer: the timer
 * @fn: what to do when it is due
 */
void sim_timer_init(struct sim_timer *timer,
		    void (*fn)(struct sim_timer *timer))
{
	INIT_LIST_HEAD(&timer->node);
	timer->fn = fn;
}

/**
 * sim_timer_start - do something later
 * @ad: the adapter
 * @timer: a timer; a pending one is moved
 * @due: when, in nanoseconds of ktime_get()
 *
 * Engine context.  Timers that are due at the same time run in the order in
 * which they were started.
 */
void sim_timer_start(struct sim_adapter *ad, struct sim_timer *timer, u64 due)
{
	struct sim_timer *t;

	list_del_init(&timer->node);
	timer->due = due;
	list_for_each_entry_reverse(t, &ad->engine.timers, node)
		if (t->due <= due)
			break;
	list_add(&timer->node, &t->node);
}

/**
 * sim_timer_stop - forget a timer
 * @timer: the timer, pending or not
 *
 * Engine context.
 */
void sim_timer_stop(struct sim_timer *timer)
{
	list_del_init(&timer->node);
}

static struct sim_timer *next_timer(struct sim_engine *e)
{
	return list_first_entry_or_null(&e->timers, struct sim_timer, node);
}

static bool has_work(struct sim_engine *e)
{
	struct sim_timer *t = next_timer(e);

	return !llist_empty(&e->jobs) || (t && t->due <= ktime_get_ns());
}

static void wait_for_work(struct sim_engine *e)
{
	struct sim_timer *t = next_timer(e);
	ktime_t due;

	set_current_state(TASK_IDLE);
	if (!has_work(e) && !kthread_should_stop()) {
		if (t) {
			due = ns_to_ktime(t->due);
			schedule_hrtimeout(&due, HRTIMER_MODE_ABS);
		} else {
			schedule();
		}
	}
	__set_current_state(TASK_RUNNING);
}

static void run_jobs(struct sim_engine *e)
{
	struct llist_node *batch = llist_del_all(&e->jobs);
	struct sim_job *job, *next;

	batch = llist_reverse_order(batch);
	llist_for_each_entry_safe(job, next, batch, node) {
		/* from here on a new doorbell queues the job again */
		clear_bit(0, &job->queued);
		smp_mb__after_atomic();	/* pairs with sim_engine_kick() */
		job->fn(job);
	}
}

static void run_timers(struct sim_engine *e)
{
	u64 now = ktime_get_ns();
	struct sim_timer *t;

	while ((t = next_timer(e)) && t->due <= now) {
		list_del_init(&t->node);
		t->fn(t);
	}
}

static int engine_main(void *arg)
{
	struct sim_adapter *ad = arg;
	struct sim_engine *e = &ad->engine;

	while (!kthread_should_stop()) {
		wait_for_work(e);
		burst_begin(e);
		sim_count(ad, engine_runs);
		run_jobs(e);
		run_timers(e);
		burst_end(e);
		cond_resched();
	}
	return 0;
}

/**
 * sim_engine_set_prio - give the engine the priority that its knob asks for
 * @ad: the adapter
 *
 * Process context.
 */
void sim_engine_set_prio(struct sim_adapter *ad)
{
	int prio = sim_knob(ad, engine_prio);
	struct sim_engine *e = &ad->engine;

	if (prio == e->prio)
		return;
	e->prio = prio;
	if (prio == SIM_PRIO_FIFO)
		sched_set_fifo(e->thread);
	else
		sched_set_normal(e->thread, min(prio, 19));
}

/**
 * sim_engine_start - create the engine of an adapter
 * @ad: the adapter
 *
 * Return: 0 or a negative error number.
 */
int sim_engine_start(struct sim_adapter *ad)
{
	struct sim_engine *e = &ad->engine;
	struct task_struct *thread;

	init_llist_head(&e->jobs);
	INIT_LIST_HEAD(&e->timers);
	thread = kthread_create(engine_main, ad, "%s/engine", ad->name);
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	e->thread = thread;
	sim_engine_set_prio(ad);
	wake_up_process(thread);
	return 0;
}

/**
 * sim_engine_stop - end the engine
 * @ad: the adapter; nobody gives it work any more
 */
void sim_engine_stop(struct sim_adapter *ad)
{
	if (!ad->engine.thread)
		return;
	kthread_stop(ad->engine.thread);
	ad->engine.thread = NULL;
	WARN_ON(!llist_empty(&ad->engine.jobs));
}
