// SPDX-License-Identifier: GPL-2.0-only
/*
 * Orders, and listening
 *
 * One thread takes the connection manager's events, one takes orders; each
 * connection has one of its own.  A connection is freed when its peer has gone and its thread
 * has ended, whichever is last: the thread is joined at the event.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

uint8_t *disk;

static const char usage[] =
	"usage: hostile PORT\n"
	"Each line of standard input orders an attack: [options] NAME\n"
	"  --times N      so often, then be honest (1)\n"
	"  --trusted      not to the first such command of a connection\n"
	"  --wait MS      where an attack waits (500); 0: not even for what it sent just before\n"
	"  --patience MS  for the connection to go (500)\n"
	"  --row N        do it so often at once, not one after the other (1)\n"
	"  --rows N       so many of these, in a flood (1)\n"
	"  --refuse N     and refuse the next N connections, or until the next order\n"
	"  --invalidate   answer with Send with Invalidate\n"
	"which memory, if not the command's own:\n"
	"  --at BYTES     behind the beginning of the memory; may be negative\n"
	"  --from-end     behind its end\n"
	"  --length BYTES so much (512)\n"
	"  --ago N        that of so many commands before, over the same connection\n"
	"  --held         that of the command that is kept by the attack `hold`\n"
	"  --own-va       with this command's address, but that one's key\n"
	"  --other-va     with that one's address, but this command's key\n"
	"  --change BITS  other bits in the key\n"
	"  --each         the next number of BITS each time\n"
	"  --index N      the key of an index so far away, with the address that it had last\n"
	"for the attack `memory`:\n"
	"  --write        write there; else read\n"
	"  --after        after the answer; else before\n"
	"attacks:\n";

static const struct option options[] = {
	{ "after", no_argument, NULL, 'A' },
	{ "ago", required_argument, NULL, 'g' },
	{ "at", required_argument, NULL, 'a' },
	{ "change", required_argument, NULL, 'c' },
	{ "each", no_argument, NULL, 'E' },
	{ "from-end", no_argument, NULL, 'e' },
	{ "held", no_argument, NULL, 'h' },
	{ "index", required_argument, NULL, 'i' },
	{ "invalidate", no_argument, NULL, 'I' },
	{ "length", required_argument, NULL, 'l' },
	{ "other-va", no_argument, NULL, 'O' },
	{ "own-va", no_argument, NULL, 'o' },
	{ "patience", required_argument, NULL, 'p' },
	{ "refuse", required_argument, NULL, 'r' },
	{ "row", required_argument, NULL, 'R' },
	{ "rows", required_argument, NULL, 'S' },
	{ "times", required_argument, NULL, 't' },
	{ "trusted", no_argument, NULL, 'T' },
	{ "wait", required_argument, NULL, 'm' },
	{ "write", no_argument, NULL, 'w' },
	{ 0 },
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* A line of what happens. */
void say(const char *format, ...)
{
	va_list words;

	va_start(words, format);
	flockfile(stdout);
	vprintf(format, words);
	putchar('\n');
	fflush(stdout);
	funlockfile(stdout);
	va_end(words);
}

static bool take_option(struct plan *plan, int option)
{
	long number = optarg ? strtol(optarg, NULL, 0) : 0;

	switch (option) {
	case 'A':
		plan->after = true;
		break;
	case 'E':
		plan->each = true;
		break;
	case 'I':
		plan->invalidate = true;
		break;
	case 'O':
		plan->other_va = true;
		break;
	case 'R':
		plan->row = number;
		break;
	case 'S':
		plan->rows = number;
		break;
	case 'T':
		plan->trusted = true;
		break;
	case 'a':
		plan->at = number;
		break;
	case 'c':
		plan->change = number;
		break;
	case 'e':
		plan->from_end = true;
		break;
	case 'g':
		plan->ago = number;
		break;
	case 'h':
		plan->held = true;
		break;
	case 'i':
		plan->index = number;
		break;
	case 'l':
		plan->length = number;
		break;
	case 'm':
		plan->wait_ms = number;
		break;
	case 'o':
		plan->own_va = true;
		break;
	case 'p':
		plan->patience_ms = number;
		break;
	case 'r':
		plan->refuse = number;
		break;
	case 't':
		plan->times = number;
		break;
	case 'w':
		plan->write = true;
		break;
	default:
		return false;
	}
	return true;
}

#define BLANK	" \t\n"

static int split(char *line, char **words, int most)
{
	int n = 0;

	for (char *word = strtok(line, BLANK); word && n < most; word = strtok(NULL, BLANK))
		words[n++] = word;
	return n;
}

/* Take an order.  Returns whether it makes sense. */
static bool take_order(char *line)
{
	struct plan plan = { .times = 1, .row = 1, .rows = 1, .wait_ms = 500, .patience_ms = 500,
			     .length = BLOCK };
	char *words[32] = { "order" };
	int n = 1 + split(line, words + 1, 30), option;

	optind = 0;	/* begin anew */
	while ((option = getopt_long(n, words, "", options, NULL)) != -1)
		if (!take_option(&plan, option))
			return false;
	if (n - optind != 1 || plan.length > SCRATCH || plan.row >= SENDS)
		return false;
	plan.attack = attack_find(words[optind]);
	if (!plan.attack)
		return false;
	attack_order(&plan);
	return true;
}

static void *take_orders(void *unused)
{
	char line[512];

	while (fgets(line, sizeof(line), stdin))
		say(take_order(line) ? "ready" : "not understood");
	return unused;
}

static void *run(void *connection)
{
	serve(connection);
	return NULL;
}

static void connect_requested(struct rdma_cm_event *event)
{
	struct rdma_cm_id *id = event->id;
	struct rdma_conn_param param = event->param.conn;
	struct connection *c;

	param.private_data = NULL;
	rdma_ack_cm_event(event);
	if (attack_connect()) {
		rdma_reject(id, NULL, 0);
		rdma_destroy_id(id);
		return;
	}
	c = connection_accept(id, &param);
	if (!c)
		return;
	id->context = c;
	if (pthread_create(&c->thread, NULL, run, c))
		fail("pthread_create");
}

/* The peer has gone, or never came. */
static void gone(struct rdma_cm_event *event)
{
	struct connection *c = event->id->context;

	rdma_ack_cm_event(event);
	if (!c)
		return;
	hang_up(c);
	pthread_join(c->thread, NULL);
	connection_free(c);
}

static void handle(struct rdma_cm_event *event)
{
	switch (event->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		connect_requested(event);
		return;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		gone(event);
		return;
	default:
		rdma_ack_cm_event(event);
	}
}

static void listen_on(struct rdma_event_channel *channel, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct rdma_cm_id *id;

	if (rdma_create_id(channel, &id, NULL, RDMA_PS_TCP))
		fail("rdma_create_id");
	if (rdma_bind_addr(id, (struct sockaddr *)&address))
		fail("rdma_bind_addr");
	if (rdma_listen(id, 16))
		fail("rdma_listen");
}

int main(int argc, char **argv)
{
	struct rdma_event_channel *channel;
	struct rdma_cm_event *event;
	pthread_t orders;

	if (argc != 2) {
		fputs(usage, stderr);
		attack_list(stderr);
		return 2;
	}
	disk = calloc(BLOCKS, BLOCK);
	channel = rdma_create_event_channel();
	if (!disk || !channel)
		fail("hostile");
	listen_on(channel, atoi(argv[1]));
	if (pthread_create(&orders, NULL, take_orders, NULL))
		fail("pthread_create");
	say("listening");
	while (!rdma_get_cm_event(channel, &event))
		handle(event);
	fail("rdma_get_cm_event");
}
