// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verb "random": something bad, chosen by a sequence of numbers
 *
 * What is chosen depends on the seed and on how often something was chosen
 * before (each login's first StatSN is, too), and on nothing else; with the
 * same seed and the same order of events the same things happen, on every
 * kernel.  Points that the consumer reaches in its own context know no random
 * fault, as their order is not the engine's.
 *
 * Where a PDU is about to be sent, most choices are mutations of it; where a
 * work request is executed, it is a status; where a command has arrived, it
 * is an odd way to treat it; at a connect, an odd answer, and another pace for
 * what comes: when completions, flushes and the end of a connection are told.
 *
 * Recovery: a device that was removed, and a wire that is down when its
 * connection goes, stay so; whoever lets this run brings them back.
 */
#include <scsi/scsi_proto.h>

#include "simhca.h"

/**
 * sim_random - next number of the adapter's own sequence
 * @ad: the adapter
 *
 * Engine context.  The same on every kernel, for the same seed.
 *
 * Return: the number.
 */
u32 sim_random(struct sim_adapter *ad)
{
	u64 x = ad->faults.seed;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	ad->faults.seed = x;
	return x >> 16;
}

static u32 below(struct sim_adapter *ad, u32 n)
{
	return sim_random(ad) % n;
}

static enum sim_verb pick(struct sim_adapter *ad, const u8 *verbs, int n)
{
	return verbs[below(ad, n)];
}

/* ---- what to do at a point --------------------------------------------- */

static void fuzz_wr(struct sim_adapter *ad, struct sim_act *act)
{
	act->verb = SIM_DO_wc;
	act->val = 1 + below(ad, IB_WC_GENERAL_ERR);
}

/* Nothing of it is wrong, and mostly it is as usual. */
static void fuzz_pace(struct sim_adapter *ad)
{
	static const struct {
		enum sim_knob_name knob;
		u32 values[4];
	} paces[] = {
		{ SIM_K_close_delay_us, { 0, 0, 1000, 100000 } },
		{ SIM_K_flush_delay_us, { 0, 0, 1000, 100000 } },
		{ SIM_K_ack_delay_us, { 0, 0, 200, 5000 } },
		{ SIM_K_resend, { 0, 0, 1, 1 } },
		{ SIM_K_irq_delay_us, { 0, 0, 100, 2000 } },
		{ SIM_K_remote_inv, { 1, 1, 1, 0 } },
		{ SIM_K_initial_r2t, { 1, 1, 0, 0 } },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(paces); i++)
		WRITE_ONCE(ad->knobs[paces[i].knob],
			   paces[i].values[below(ad, 4)]);
}

static void fuzz_connect(struct sim_adapter *ad, struct sim_act *act)
{
	static const u8 verbs[] = {
		SIM_DO_refuse, SIM_DO_delay, SIM_DO_close, SIM_DO_abort,
		SIM_DO_qp_fatal, SIM_DO_drop,
	};
	static const int errnos[] = {
		ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM,
	};

	/* all sessions are busy with it for long */
	if (below(ad, 32))
		act->verb = pick(ad, verbs, ARRAY_SIZE(verbs));
	else
		act->verb = SIM_DO_remove;
	act->err = errnos[below(ad, ARRAY_SIZE(errnos))];
	act->us = below(ad, 200000);
	fuzz_pace(ad);
}

static void fuzz_cmd(struct sim_adapter *ad, struct sim_act *act)
{
	static const u8 verbs[] = {
		SIM_DO_hold, SIM_DO_delay, SIM_DO_check, SIM_DO_status,
		SIM_DO_response, SIM_DO_early, SIM_DO_nodata, SIM_DO_partial,
		SIM_DO_touch, SIM_DO_nopin, SIM_DO_async, SIM_DO_reject,
		SIM_DO_close, SIM_DO_abort, SIM_DO_qp_fatal, SIM_DO_cq_error,
		SIM_DO_dev_fatal, SIM_DO_port_down,
	};
	bool long_val;

	act->verb = pick(ad, verbs, ARRAY_SIZE(verbs));
	long_val = act->verb == SIM_DO_check || act->verb == SIM_DO_port_down;
	act->us = below(ad, 2) ? below(ad, 20000) : 0;
	act->val = below(ad, long_val ? 1 << 20 : 256);
	act->val2 = below(ad, 8);
}

/* One time in 256 something happens to the PDU as a whole. */
static void fuzz_rsp(struct sim_adapter *ad, struct sim_act *act)
{
	static const u8 verbs[] = {
		SIM_DO_drop, SIM_DO_delay, SIM_DO_dup, SIM_DO_stale,
		SIM_DO_inv, SIM_DO_nopin, SIM_DO_async, SIM_DO_reject,
		SIM_DO_close, SIM_DO_abort, SIM_DO_qp_fatal, SIM_DO_cq_error,
		SIM_DO_dev_fatal, SIM_DO_port_down, SIM_DO_remove,
	};

	if (below(ad, 256))
		return;
	act->verb = pick(ad, verbs, ARRAY_SIZE(verbs));
	act->us = below(ad, 2) ? below(ad, 20000) : 0;
	act->val = below(ad, 1 << 20);
	act->mode = below(ad, SIM_INV_SILENT + 1);
}

/**
 * sim_fuzz_act - choose what to do at a point
 * @ad: the adapter
 * @points: what the event is
 * @act: what to do; "random" remains where a PDU is to be mutated
 *
 * Engine context.
 */
void sim_fuzz_act(struct sim_adapter *ad, u64 points, struct sim_act *act)
{
	sim_count(ad, fuzzed);
	if (points & (SIM_AT(wr) | SIM_AT(recv)))
		fuzz_wr(ad, act);
	else if (points & SIM_AT(connect))
		fuzz_connect(ad, act);
	else if (points & SIM_AT(rsp))
		fuzz_rsp(ad, act);
	else
		fuzz_cmd(ad, act);
}

/* ---- mutations of a PDU ------------------------------------------------ */

static void flip_bits(struct sim_adapter *ad, struct sim_pdu *pdu)
{
	u32 n = 1 + below(ad, 4);

	while (n-- && pdu->len)
		pdu->buf[below(ad, pdu->len)] ^= 1 << below(ad, 8);
}

/* Bytes that often matter at boundaries, in the header more than in data. */
static void odd_word(struct sim_adapter *ad, struct sim_pdu *pdu)
{
	static const u32 words[] = {
		0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xfffffffe,
		0xffffffff,
	};
	u32 room = min_t(u32, pdu->len, 80);

	if (room >= 4)
		put_unaligned_be32(words[below(ad, ARRAY_SIZE(words))],
				   pdu->buf + below(ad, room - 3));
}

/*
 * What a target may say, and an initiator cannot know to be wrong: status,
 * flags, numbers, sense.  It costs a command, and seldom the connection.
 */
static void odd_field(struct sim_adapter *ad, struct sim_pdu *pdu)
{
	/* of the basic header segment: offset, length */
	static const u8 fields[][2] = {
		{ 1, 1 }, { 2, 1 }, { 3, 1 }, { 8, 8 }, { 20, 4 }, { 24, 4 },
		{ 28, 4 }, { 32, 4 }, { 36, 4 }, { 40, 4 }, { 44, 4 },
	};
	u8 *bhs = (u8 *)sim_pdu_bhs(pdu);
	u32 data = pdu->len > HDR_LEN ? 2 : 0;
	u32 n = below(ad, ARRAY_SIZE(fields) + data), i;

	if (n < ARRAY_SIZE(fields))
		for (i = 0; i < fields[n][1]; i++)
			bhs[fields[n][0] + i] = sim_random(ad);
	else
		pdu->buf[HDR_LEN + below(ad, pdu->len - HDR_LEN)] =
			sim_random(ad);
}

/* What a PDU is made of: its length, what it is, and whose. */
static void odd_pdu(struct sim_adapter *ad, struct sim_pdu *pdu)
{
	struct iscsi_hdr *hdr = sim_pdu_bhs(pdu);
	u32 n;

	switch (below(ad, 10)) {
	case 0:
		pdu->len = below(ad, pdu->len + 1);
		return;
	case 1:
		hdr->itt = (__force itt_t)sim_random(ad);
		return;
	case 2:
		hdr->opcode = 0x20 + below(ad, 0x20);
		return;
	case 3:
		n = sim_random(ad);
		n >>= 8 + below(ad, 24);
		hton24(hdr->dlength, n);
		return;
	case 4:
		pdu->lie = true;
		pdu->invalidate = true;
		pdu->inv_key = sim_random(ad);
		return;
	case 5:
	case 6:
		odd_word(ad, pdu);
		return;
	default:
		flip_bits(ad, pdu);
	}
}

/**
 * sim_fuzz_pdu - change a PDU in some bad way
 * @ad: the adapter
 * @pdu: the PDU, complete
 * @odds: one in so many is of another structure, which mostly ends the
 *	connection
 *
 * Engine context.
 *
 * Return: true where it is.
 */
bool sim_fuzz_pdu(struct sim_adapter *ad, struct sim_pdu *pdu, u32 odds)
{
	bool odd = !below(ad, odds);

	if (odd)
		odd_pdu(ad, pdu);
	else
		odd_field(ad, pdu);
	return odd;
}
