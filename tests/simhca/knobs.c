// SPDX-License-Identifier: GPL-2.0-only
/*
 * The knobs: a table of names, bounds and explanations
 *
 * The values are words that everybody reads with sim_knob(); they take effect
 * at the moment that knob_list.h names.  A few have something to be done when they
 * change, and that is done here.
 */
#include <linux/seq_file.h>
#include <linux/string.h>

#include "simhca.h"

struct knob {
	const char *name;
	const char *when;
	const char *help;
	s64 def;
	s64 lowest;
	s64 highest;
};

#define SIM_KNOB(n, w, d, lo, hi, h)					\
	{ .name = #n, .when = #w, .help = h,				\
	  .def = d, .lowest = lo, .highest = hi },
static const struct knob table[] = {
#include "knob_list.h"
};

static s64 *value_of(struct sim_adapter *ad, const struct knob *knob)
{
	return &ad->knobs[knob - table];
}

/**
 * sim_next_pair - take the next name=value off a text
 * @text: the text; is advanced
 * @key: receives the name
 * @value: receives the value, an empty string where there is none
 *
 * Return: false at the end.
 */
bool sim_next_pair(char **text, char **key, char **value)
{
	char *word;

	do {
		word = strsep(text, " \t\n,");
	} while (word && !*word);
	if (!word)
		return false;
	*key = word;
	*value = strchr(word, '=');
	if (*value)
		*(*value)++ = 0;
	else
		*value = word + strlen(word);
	return true;
}

static const struct knob *find_knob(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static void link_changed(void *arg)
{
	struct sim_adapter *ad = arg;
	bool up = sim_knob(ad, link);

	if (sim_knob(ad, port_events)) {
		sim_netdev_link(ad, up);
		sim_device_event(ad, up ? IB_EVENT_PORT_ACTIVE :
					  IB_EVENT_PORT_ERR);
	}
	sim_qp_kick_all(ad);
}

static int set(struct sim_adapter *ad, const char *name, const char *text)
{
	const struct knob *knob = find_knob(name);
	s64 value;

	if (!knob) {
		pr_err("%s: there is no knob \"%s\"\n", ad->name, name);
		return -ENOENT;
	}
	if (kstrtos64(text, 0, &value) || value < knob->lowest ||
	    value > knob->highest) {
		pr_err("%s: %s=%s: wants a number from %lld to %lld\n",
		       ad->name, name, text, knob->lowest, knob->highest);
		return -EINVAL;
	}
	WRITE_ONCE(*value_of(ad, knob), value);
	return 0;
}

/**
 * sim_knobs_write - set knobs
 * @ad: the adapter, its engine running
 * @text: name=value, any number of them, or "reset"; is taken apart
 *
 * Process context.
 *
 * Return: 0 or a negative error number; what stood before the error is set.
 */
int sim_knobs_write(struct sim_adapter *ad, char *text)
{
	bool link = sim_knob(ad, link);
	char *key, *value;
	int ret = 0;

	if (!strcmp(text, "reset"))
		sim_knobs_init(ad);
	else
		while (!ret && sim_next_pair(&text, &key, &value))
			ret = set(ad, key, value);
	if (link != sim_knob(ad, link) && ad->netdev)
		sim_engine_call(ad, link_changed, ad);
	sim_engine_set_prio(ad);
	return ret;
}

/**
 * sim_knobs_show - list all knobs
 * @ad: the adapter
 * @m: where to
 */
void sim_knobs_show(struct sim_adapter *ad, struct seq_file *m)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		seq_printf(m, "%s=%lld\t# %s [%s, %lld..%lld, default %lld]\n",
			   table[i].name, READ_ONCE(*value_of(ad, &table[i])),
			   table[i].help, table[i].when, table[i].lowest,
			   table[i].highest, table[i].def);
}

/**
 * sim_knobs_init - set all knobs to their defaults
 * @ad: the adapter
 */
void sim_knobs_init(struct sim_adapter *ad)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		WRITE_ONCE(*value_of(ad, &table[i]), table[i].def);
}
