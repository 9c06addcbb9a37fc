// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is asked for on the command line; listening
 *
 * One thread takes the connection manager's events; each connection has one
 * of its own.  A connection is freed when its peer has gone and its thread
 * has ended, whichever is last: the thread is joined at the event.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

uint8_t *disk;

static const char usage[] =
	"usage: hostile [options] PORT ATTACK\n"
	"  --times N      attack so often, then be honest (1)\n"
	"  --wait MS      where an attack waits (500)\n"
	"  --invalidate   answer with Send with Invalidate\n"
	"for the attack `memory`:\n"
	"  --write        write there; else read\n"
	"  --after        after the answer; else before\n"
	"  --at BYTES     behind the beginning of the memory; may be negative\n"
	"  --from-end     behind its end\n"
	"  --length BYTES so much (512)\n"
	"  --ago N        that of so many commands before\n"
	"  --own-va       with this command's address, but that one's key\n"
	"  --change BITS  other bits in the key\n"
	"  --index N      the key of an index so far away\n"
	"attacks:\n";

static const struct option options[] = {
	{ "after", no_argument, NULL, 'A' },
	{ "ago", required_argument, NULL, 'g' },
	{ "at", required_argument, NULL, 'a' },
	{ "change", required_argument, NULL, 'c' },
	{ "from-end", no_argument, NULL, 'e' },
	{ "index", required_argument, NULL, 'i' },
	{ "invalidate", no_argument, NULL, 'I' },
	{ "length", required_argument, NULL, 'l' },
	{ "own-va", no_argument, NULL, 'o' },
	{ "times", required_argument, NULL, 't' },
	{ "wait", required_argument, NULL, 'm' },
	{ "write", no_argument, NULL, 'w' },
	{ 0 },
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void refuse_arguments(void)
{
	fputs(usage, stderr);
	attack_list(stderr);
	exit(2);
}

static void take_option(int option)
{
	long number = optarg ? strtol(optarg, NULL, 0) : 0;

	switch (option) {
	case 'A':
		plan.after = true;
		break;
	case 'I':
		plan.invalidate = true;
		break;
	case 'a':
		plan.at = number;
		break;
	case 'c':
		plan.change = number;
		break;
	case 'e':
		plan.from_end = true;
		break;
	case 'g':
		plan.ago = number;
		break;
	case 'i':
		plan.index = number;
		break;
	case 'l':
		plan.length = number;
		break;
	case 'm':
		plan.wait_ms = number;
		break;
	case 'o':
		plan.own_va = true;
		break;
	case 't':
		plan.times = number;
		break;
	case 'w':
		plan.write = true;
		break;
	default:
		refuse_arguments();
	}
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
	c = connection_accept(id, &param);
	id->context = c;
	if (c && pthread_create(&c->thread, NULL, run, c))
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
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(option);
	if (argc - optind != 2 || !attack_choose(argv[optind + 1]) || plan.length > SCRATCH)
		refuse_arguments();
	disk = calloc(BLOCKS, BLOCK);
	channel = rdma_create_event_channel();
	if (!disk || !channel)
		fail("hostile");
	listen_on(channel, atoi(argv[optind]));
	printf("listening\n");
	fflush(stdout);
	while (!rdma_get_cm_event(channel, &event))
		handle(event);
	fail("rdma_get_cm_event");
}
