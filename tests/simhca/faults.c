// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault rules: at the Nth time that this happens, do that
 *
 * A rule is written as words to the debugfs file "faults":
 *
 *	at=rsp_read nth=5 do=drop
 *	at=post_send nth=3 count=2 do=fail errno=ENOMEM
 *	at=wr_reg do=wc status=LOC_PROT_ERR
 *	at=connect do=refuse errno=ECONNREFUSED bytes=0001
 *	at=now do=remove
 *
 * at	the point, see point_list.h
 * op	only commands with this SCSI opcode
 * nth	the first time that it acts, counted from 1 (default 1)
 * every	and again every so many times after that (default: each time)
 * count	how often it acts in all (default 1; 0: without end)
 * do	the verb, see verb_list.h; its arguments are
 *	errno= us= val= val2= off= bytes= text= mode= status= key= asc=
 *	ascq= class= detail= seed=
 *
 * Rules act in the order in which they were written; the first that acts at an
 * event is the only one, but all of them count it.  Where no rule names a
 * point, passing it costs a test of one word.
 */
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <scsi/scsi_proto.h>

#include "simhca.h"

struct sim_rule {
	struct list_head node;
	enum sim_point point;
	int op;
	u64 nth;
	u64 every;
	u64 count;
	u64 seen;
	u64 hits;
	struct sim_act act;
};

#define SIM_POINT(name) __stringify(name),
static const char * const point_names[] = {
#include "point_list.h"
};

#define SIM_VERB(name) __stringify(name),
static const char * const verb_names[] = {
#include "verb_list.h"
};

static const char * const inv_names[] = {
	[SIM_INV_NONE] = "none",
	[SIM_INV_OTHER] = "other",
	[SIM_INV_FOREIGN] = "foreign",
	[SIM_INV_STALE] = "stale",
	[SIM_INV_LIE] = "lie",
	[SIM_INV_SILENT] = "silent",
};

static const char * const wc_names[] = {
	[IB_WC_SUCCESS] = "SUCCESS",
	[IB_WC_LOC_LEN_ERR] = "LOC_LEN_ERR",
	[IB_WC_LOC_QP_OP_ERR] = "LOC_QP_OP_ERR",
	[IB_WC_LOC_EEC_OP_ERR] = "LOC_EEC_OP_ERR",
	[IB_WC_LOC_PROT_ERR] = "LOC_PROT_ERR",
	[IB_WC_WR_FLUSH_ERR] = "WR_FLUSH_ERR",
	[IB_WC_MW_BIND_ERR] = "MW_BIND_ERR",
	[IB_WC_BAD_RESP_ERR] = "BAD_RESP_ERR",
	[IB_WC_LOC_ACCESS_ERR] = "LOC_ACCESS_ERR",
	[IB_WC_REM_INV_REQ_ERR] = "REM_INV_REQ_ERR",
	[IB_WC_REM_ACCESS_ERR] = "REM_ACCESS_ERR",
	[IB_WC_REM_OP_ERR] = "REM_OP_ERR",
	[IB_WC_RETRY_EXC_ERR] = "RETRY_EXC_ERR",
	[IB_WC_RNR_RETRY_EXC_ERR] = "RNR_RETRY_EXC_ERR",
	[IB_WC_LOC_RDD_VIOL_ERR] = "LOC_RDD_VIOL_ERR",
	[IB_WC_REM_INV_RD_REQ_ERR] = "REM_INV_RD_REQ_ERR",
	[IB_WC_REM_ABORT_ERR] = "REM_ABORT_ERR",
	[IB_WC_INV_EECN_ERR] = "INV_EECN_ERR",
	[IB_WC_INV_EEC_STATE_ERR] = "INV_EEC_STATE_ERR",
	[IB_WC_FATAL_ERR] = "FATAL_ERR",
	[IB_WC_RESP_TIMEOUT_ERR] = "RESP_TIMEOUT_ERR",
	[IB_WC_GENERAL_ERR] = "GENERAL_ERR",
};

static const struct {
	const char *name;
	int value;
} errnos[] = {
	{ "EAGAIN", EAGAIN }, { "EBUSY", EBUSY }, { "ECONNREFUSED",
	ECONNREFUSED }, { "ECONNRESET", ECONNRESET }, { "EINVAL", EINVAL },
	{ "EIO", EIO }, { "ENODEV", ENODEV }, { "ENOMEM", ENOMEM },
	{ "EHOSTUNREACH", EHOSTUNREACH }, { "ETIMEDOUT", ETIMEDOUT },
};

/* ---- acting ------------------------------------------------------------ */

static bool rule_applies(const struct sim_rule *rule, u64 points, int op)
{
	return BIT_ULL(rule->point) & points &&
	       (rule->op == SIM_ANY_OP || rule->op == op);
}

static bool rule_is_due(const struct sim_rule *rule)
{
	if (rule->seen < rule->nth || (rule->count && rule->hits >= rule->count))
		return false;
	return !rule->every || (rule->seen - rule->nth) % rule->every == 0;
}

/**
 * sim_fault_slow - look for a rule
 * @ad: the adapter
 * @points: bits of every point that this event is
 * @op: SCSI opcode, or SIM_ANY_OP
 * @act: receives what to do
 *
 * Any context; called through sim_fault().
 *
 * Return: true where a rule acts.
 */
bool sim_fault_slow(struct sim_adapter *ad, u64 points, int op,
		    struct sim_act *act)
{
	struct sim_faults *f = &ad->faults;
	struct sim_rule *rule;
	unsigned long flags;
	bool found = false;

	spin_lock_irqsave(&f->lock, flags);
	list_for_each_entry(rule, &f->rules, node) {
		if (!rule_applies(rule, points, op))
			continue;
		rule->seen++;
		if (found || !rule_is_due(rule))
			continue;
		rule->hits++;
		*act = rule->act;
		found = true;
	}
	spin_unlock_irqrestore(&f->lock, flags);
	if (!found)
		return false;
	sim_count(ad, faults_injected);
	if (act->verb == SIM_DO_random)
		sim_fuzz_act(ad, points, act);
	return true;
}

struct now {
	struct sim_adapter *ad;
	const struct sim_act *act;
};

static void act_now(void *arg)
{
	struct now *now = arg;

	sim_target_now(now->ad, now->act);
}

/* ---- parsing ----------------------------------------------------------- */

static int find_name(const char * const *names, int n, const char *name)
{
	int i;

	for (i = 0; i < n; i++)
		if (names[i] && !strcasecmp(names[i], name))
			return i;
	return -ENOENT;
}

static int parse_errno(const char *text)
{
	int i, value;

	for (i = 0; i < ARRAY_SIZE(errnos); i++)
		if (!strcasecmp(errnos[i].name, text))
			return errnos[i].value;
	return kstrtoint(text, 0, &value) || value <= 0 ? -EINVAL : value;
}

static int parse_bytes(struct sim_act *act, const char *text)
{
	size_t len = strlen(text);

	if (len % 2 || len > 2 * SIM_ACT_BYTES)
		return -EINVAL;
	act->len = len / 2;
	return hex2bin(act->bytes, text, act->len);
}

/* text=Key:Value, as '=' and ',' are taken */
static int parse_text(struct sim_act *act, const char *text)
{
	size_t len = strlen(text);

	if (len >= SIM_ACT_BYTES || !strchr(text, ':'))
		return -EINVAL;
	strscpy(act->bytes, text, SIM_ACT_BYTES);
	strreplace(act->bytes, ':', '=');
	act->len = len;
	return 0;
}

/* status= is a work completion's by name, or a number: a SCSI status */
static int parse_status(struct sim_act *act, const char *text)
{
	int status = find_name(wc_names, ARRAY_SIZE(wc_names), text);

	if (status < 0)
		return kstrtou64(text, 0, &act->val);
	act->val = status;
	return 0;
}

static int take_name(const char * const *names, int n, const char *text,
		     int *result)
{
	*result = find_name(names, n, text);
	return *result < 0 ? *result : 0;
}

static int parse_number_arg(struct sim_adapter *ad, struct sim_rule *rule,
			    const char *key, const char *text)
{
	struct sim_act *act = &rule->act;
	u64 v;

	if (kstrtou64(text, 0, &v))
		return -EINVAL;
	if (!strcmp(key, "nth"))
		rule->nth = v;
	else if (!strcmp(key, "every"))
		rule->every = v;
	else if (!strcmp(key, "count"))
		rule->count = v;
	else if (!strcmp(key, "op"))
		rule->op = v;
	else if (!strcmp(key, "us"))
		act->us = v;
	else if (!strcmp(key, "val") || !strcmp(key, "class"))
		act->val = v;
	else if (!strcmp(key, "val2") || !strcmp(key, "detail"))
		act->val2 = v;
	else if (!strcmp(key, "off"))
		act->off = v;
	else if (!strcmp(key, "key"))
		act->val |= v << 16;
	else if (!strcmp(key, "asc"))
		act->val |= v << 8;
	else if (!strcmp(key, "ascq"))
		act->val |= v;
	else if (!strcmp(key, "seed"))
		ad->faults.seed = v ?: 1;
	else
		return -ENOENT;
	return 0;
}

static int parse_arg(struct sim_adapter *ad, struct sim_rule *rule,
		     const char *key, const char *text)
{
	int n, ret;

	if (!strcmp(key, "at")) {
		ret = take_name(point_names, SIM_NR_POINTS, text, &n);
		if (!ret)
			rule->point = n;
		return ret;
	}
	if (!strcmp(key, "do")) {
		ret = take_name(verb_names, SIM_NR_VERBS, text, &n);
		if (!ret)
			rule->act.verb = n;
		return ret;
	}
	if (!strcmp(key, "mode")) {
		ret = take_name(inv_names, ARRAY_SIZE(inv_names), text, &n);
		if (!ret)
			rule->act.mode = n;
		return ret;
	}
	if (!strcmp(key, "errno")) {
		rule->act.err = parse_errno(text);
		return rule->act.err < 0 ? rule->act.err : 0;
	}
	if (!strcmp(key, "bytes"))
		return parse_bytes(&rule->act, text);
	if (!strcmp(key, "text"))
		return parse_text(&rule->act, text);
	if (!strcmp(key, "status"))
		return parse_status(&rule->act, text);
	return parse_number_arg(ad, rule, key, text);
}

static bool is_pair(const u8 *text)
{
	return strnlen(text, SIM_ACT_BYTES) < SIM_ACT_BYTES &&
	       strchr(text, '=');
}

static int parse_rule(struct sim_adapter *ad, struct sim_rule *rule, char *text)
{
	char *key, *value;
	int ret;

	rule->point = SIM_NR_POINTS;
	rule->op = SIM_ANY_OP;
	rule->nth = 1;
	rule->count = 1;
	while (sim_next_pair(&text, &key, &value)) {
		ret = parse_arg(ad, rule, key, value);
		if (ret) {
			pr_err("%s: fault rule: %s=%s is not understood\n",
			       ad->name, key, value);
			return ret;
		}
	}
	if (!rule->act.err)
		rule->act.err = rule->act.verb == SIM_DO_refuse ?
				ECONNREFUSED : ENOMEM;
	if (rule->point == SIM_NR_POINTS || rule->act.verb == SIM_DO_none) {
		pr_err("%s: fault rule wants at= and do=\n", ad->name);
		return -EINVAL;
	}
	if (rule->act.verb == SIM_DO_key && !is_pair(rule->act.bytes)) {
		pr_err("%s: fault rule with do=key wants text=NAME:VALUE\n",
		       ad->name);
		return -EINVAL;
	}
	return 0;
}

static void add_rule(struct sim_adapter *ad, struct sim_rule *rule)
{
	struct sim_faults *f = &ad->faults;

	spin_lock_irq(&f->lock);
	list_add_tail(&rule->node, &f->rules);
	WRITE_ONCE(f->armed, f->armed | BIT_ULL(rule->point));
	spin_unlock_irq(&f->lock);
}

/**
 * sim_faults_write - add a rule, or remove all
 * @ad: the adapter
 * @text: the rule, or "clear"; is taken apart
 *
 * Process context.
 *
 * Return: 0 or a negative error number.
 */
int sim_faults_write(struct sim_adapter *ad, char *text)
{
	struct sim_rule *rule;
	int ret;

	if (!strcmp(text, "clear")) {
		sim_faults_clear(ad);
		return 0;
	}
	rule = kzalloc(sizeof(*rule), GFP_KERNEL);
	if (!rule)
		return -ENOMEM;
	ret = parse_rule(ad, rule, text);
	if (!ret && rule->point == SIM_AT_now) {
		struct now now = { .ad = ad, .act = &rule->act };

		sim_count(ad, faults_injected);
		sim_engine_call(ad, act_now, &now);
	} else if (!ret) {
		add_rule(ad, rule);
		return 0;
	}
	kfree(rule);
	return ret;
}

/**
 * sim_faults_show - list the rules and how often they met and acted
 * @ad: the adapter
 * @m: where to
 */
void sim_faults_show(struct sim_adapter *ad, struct seq_file *m)
{
	struct sim_rule *rule;

	spin_lock_irq(&ad->faults.lock);
	list_for_each_entry(rule, &ad->faults.rules, node) {
		seq_printf(m, "at=%s nth=%llu every=%llu count=%llu do=%s",
			   point_names[rule->point], rule->nth, rule->every,
			   rule->count, verb_names[rule->act.verb]);
		if (rule->op != SIM_ANY_OP)
			seq_printf(m, " op=%#x", rule->op);
		if (rule->act.us)
			seq_printf(m, " us=%u", rule->act.us);
		if (rule->act.val)
			seq_printf(m, " val=%#llx", rule->act.val);
		seq_printf(m, " # seen=%llu hits=%llu\n", rule->seen,
			   rule->hits);
	}
	spin_unlock_irq(&ad->faults.lock);
}

/**
 * sim_faults_clear - remove all rules
 * @ad: the adapter
 */
void sim_faults_clear(struct sim_adapter *ad)
{
	struct sim_rule *rule, *next;
	LIST_HEAD(old);

	spin_lock_irq(&ad->faults.lock);
	list_splice_init(&ad->faults.rules, &old);
	WRITE_ONCE(ad->faults.armed, 0);
	spin_unlock_irq(&ad->faults.lock);
	list_for_each_entry_safe(rule, next, &old, node)
		kfree(rule);
}

/**
 * sim_faults_init - prepare an adapter for fault rules
 * @ad: the adapter
 */
void sim_faults_init(struct sim_adapter *ad)
{
	spin_lock_init(&ad->faults.lock);
	INIT_LIST_HEAD(&ad->faults.rules);
	ad->faults.seed = 0x9e3779b97f4a7c15ULL + ad->index;
}
