// SPDX-License-Identifier: GPL-2.0-only
/*
 * The logical units: what a command means
 *
 * sim_scsi_decode() turns a CDB into a kind of data phase, a position and a
 * length, or into a status.  Commands that answer from memory fill the
 * target's buffer.  Commands with a parameter list are acted upon by
 * sim_scsi_params() when the list is complete.
 *
 * The unit is a plain disk with, if the knobs say so, a volatile write cache
 * and thin provisioning.
 */
#include <linux/slab.h>
#include <scsi/scsi_proto.h>

#include "simhca.h"

#define INVALID_FIELD_CDB	SIM_SENSE(ILLEGAL_REQUEST, 0x24, 0x00)
#define INVALID_FIELD_PARAM	SIM_SENSE(ILLEGAL_REQUEST, 0x26, 0x00)
#define INVALID_OPCODE		SIM_SENSE(ILLEGAL_REQUEST, 0x20, 0x00)
#define LBA_OUT_OF_RANGE	SIM_SENSE(ILLEGAL_REQUEST, 0x21, 0x00)
#define NO_SUCH_LUN		SIM_SENSE(ILLEGAL_REQUEST, 0x25, 0x00)
#define PARAM_LIST_LENGTH	SIM_SENSE(ILLEGAL_REQUEST, 0x1a, 0x00)

#define UNMAP_BLOCKS_MAX	0x400000
#define UNMAP_DESCS_MAX		64

static void check(struct sim_task *task, u32 sense)
{
	task->xfer = SIM_XFER_NONE;
	task->len = 0;
	sim_task_fail(task, SAM_STAT_CHECK_CONDITION, sense);
}

static struct sim_adapter *task_ad(struct sim_task *task)
{
	return task->conn->ad;
}

static u64 blocks(struct sim_task *task)
{
	struct sim_adapter *ad = task_ad(task);

	return div_u64(sim_store_size(ad), sim_knob(ad, block_size));
}

/* ---- answers from memory ----------------------------------------------- */

/* Answer with @len bytes of the target's buffer, cut to what was allocated. */
static void answer(struct sim_task *task, u32 len, u32 alloc)
{
	task->xfer = SIM_XFER_BUF_IN;
	task->len = min(len, alloc);
}

static u8 *answer_buf(struct sim_task *task)
{
	u8 *b = task_ad(task)->target.buf;

	memset(b, 0, SIM_TARGET_BUF);
	return b;
}

/* The same through every adapter where the stores are shared. */
static u32 unit_hash(struct sim_task *task)
{
	char name[ISCSI_NAME_LEN];
	u32 hash = 0;
	char *c;

	sim_target_name(task_ad(task), max(task->conn->target, 0), name,
			sizeof(name));
	for (c = name; *c; c++)
		hash = hash * 31 + *c;
	return hash;
}

static u32 vpd_serial(struct sim_task *task, u8 *b)
{
	return sprintf(b, "%08x%04x", unit_hash(task), task->lun);
}

static u32 vpd_device_id(struct sim_task *task, u8 *b)
{
	u32 len;

	b[0] = 0x01;		/* binary */
	b[1] = 0x03;		/* NAA, logical unit */
	b[3] = 8;
	put_unaligned_be64(3ULL << 60 | (u64)unit_hash(task) << 16 |
			   task->lun, b + 4);
	b += 12;
	b[0] = 0x02;		/* ASCII */
	b[1] = 0x01;		/* T10 vendor identification, logical unit */
	memcpy(b + 4, "SIMHCA  ", 8);
	len = vpd_serial(task, b + 12);
	b[3] = 8 + len;
	return 12 + 4 + b[3];
}

static u32 vpd_block_limits(struct sim_task *task, u8 *b)
{
	put_unaligned_be16(1, b + 2);	/* optimal granularity */
	put_unaligned_be32(sim_knob(task_ad(task), max_xfer_blocks), b + 4);
	if (sim_knob(task_ad(task), thin)) {
		put_unaligned_be32(UNMAP_BLOCKS_MAX, b + 16);
		put_unaligned_be32(UNMAP_DESCS_MAX, b + 20);
		put_unaligned_be32(8, b + 24);
		put_unaligned_be64(UNMAP_BLOCKS_MAX, b + 32);
	}
	return 60;
}

static u32 vpd_lbp(struct sim_task *task, u8 *b)
{
	if (sim_knob(task_ad(task), thin)) {
		b[1] = 0xe4;	/* LBPU, LBPWS, LBPWS10, LBPRZ */
		b[2] = 0x02;	/* thin */
	}
	return 4;
}

static void inquiry_vpd(struct sim_task *task, u8 *b, u32 alloc)
{
	static const u8 pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
	u8 page = task->cdb[2];
	u32 len;

	switch (page) {
	case 0x00:
		memcpy(b + 4, pages, sizeof(pages));
		len = sizeof(pages);
		break;
	case 0x80:
		len = vpd_serial(task, b + 4);
		break;
	case 0x83:
		len = vpd_device_id(task, b + 4);
		break;
	case 0xb0:
		len = vpd_block_limits(task, b + 4);
		break;
	case 0xb1:
		put_unaligned_be16(1, b + 4);	/* does not rotate */
		len = 60;
		break;
	case 0xb2:
		len = vpd_lbp(task, b + 4);
		break;
	default:
		check(task, INVALID_FIELD_CDB);
		return;
	}
	b[1] = page;
	put_unaligned_be16(len, b + 2);
	answer(task, 4 + len, alloc);
}

static void inquiry(struct sim_task *task, bool lun_exists)
{
	u32 alloc = get_unaligned_be16(task->cdb + 3);
	u8 *b = answer_buf(task);

	if (!lun_exists)
		b[0] = 0x7f;
	if (task->cdb[1] & 1) {
		inquiry_vpd(task, b, alloc);
		return;
	}
	if (task->cdb[2]) {
		check(task, INVALID_FIELD_CDB);
		return;
	}
	b[2] = 0x06;		/* SPC-4 */
	b[3] = 0x12;		/* HISUP, format 2 */
	b[4] = 91;
	b[7] = 0x02;		/* CMDQUE */
	memcpy(b + 8, "SIMHCA  ", 8);
	memcpy(b + 16, "Simulated disk  ", 16);
	memcpy(b + 32, "1.0 ", 4);
	put_unaligned_be16(0x0960, b + 58);	/* iSCSI */
	put_unaligned_be16(0x0460, b + 60);	/* SPC-4 */
	put_unaligned_be16(0x04c0, b + 62);	/* SBC-3 */
	answer(task, 96, alloc);
}

static void report_luns(struct sim_task *task)
{
	u32 alloc = get_unaligned_be32(task->cdb + 6);
	u32 n = sim_knob(task_ad(task), luns), i;
	u8 *b = answer_buf(task);

	put_unaligned_be32(8 * n, b);
	for (i = 0; i < n; i++)
		b[8 + 8 * i + 1] = i;
	answer(task, 8 + 8 * n, alloc);
}

static void read_capacity10(struct sim_task *task)
{
	u8 *b = answer_buf(task);

	put_unaligned_be32(min_t(u64, blocks(task) - 1, U32_MAX), b);
	put_unaligned_be32(sim_knob(task_ad(task), block_size), b + 4);
	answer(task, 8, 8);
}

static void read_capacity16(struct sim_task *task)
{
	u8 *b = answer_buf(task);

	put_unaligned_be64(blocks(task) - 1, b);
	put_unaligned_be32(sim_knob(task_ad(task), block_size), b + 8);
	if (sim_knob(task_ad(task), thin))
		b[14] = 0xc0;	/* LBPME, LBPRZ */
	answer(task, 32, get_unaligned_be32(task->cdb + 10));
}

static u32 mode_page(struct sim_task *task, u8 page, u8 *b)
{
	switch (page) {
	case 0x08:		/* caching */
		b[0] = 0x08;
		b[1] = 18;
		b[2] = sim_knob(task_ad(task), wce) ? 0x04 : 0;
		return 20;
	case 0x0a:		/* control */
		b[0] = 0x0a;
		b[1] = 10;
		b[3] = 0x10;	/* unrestricted reordering */
		return 12;
	default:
		return 0;
	}
}

static void mode_sense(struct sim_task *task, bool ten)
{
	u32 alloc = ten ? get_unaligned_be16(task->cdb + 7) : task->cdb[4];
	u32 head = ten ? 8 : 4, len = head;
	u8 page = task->cdb[2] & 0x3f, subpage = task->cdb[3];
	u8 *b = answer_buf(task);

	/* there are none, and all of them are the pages themselves */
	if (subpage && subpage != 0xff) {
		check(task, INVALID_FIELD_CDB);
		return;
	}
	if (page == 0x3f) {
		len += mode_page(task, 0x08, b + len);
		len += mode_page(task, 0x0a, b + len);
	} else {
		len += mode_page(task, page, b + len);
		if (len == head) {
			check(task, INVALID_FIELD_CDB);
			return;
		}
	}
	/* DPOFUA: FUA is honoured, there is nothing but memory anyway */
	if (ten) {
		put_unaligned_be16(len - 2, b);
		b[3] = 0x10;
	} else {
		b[0] = len - 1;
		b[2] = 0x10;
	}
	answer(task, len, alloc);
}

static void request_sense(struct sim_task *task)
{
	u8 *b = answer_buf(task);

	b[0] = 0x70;
	b[7] = 10;
	answer(task, 18, task->cdb[4]);
}

/* ---- media ------------------------------------------------------------- */

/* Fill in position and length.  Return false where they are out of range. */
static bool range(struct sim_task *task, u64 lba, u64 n)
{
	u64 bs = sim_knob(task_ad(task), block_size);

	if (lba > blocks(task) || n > blocks(task) - lba) {
		check(task, LBA_OUT_OF_RANGE);
		return false;
	}
	task->pos = lba * bs;
	task->len = n * bs;
	return true;
}

static void media(struct sim_task *task, u64 lba, u64 n, bool write)
{
	u64 max = sim_knob(task_ad(task), max_xfer_blocks);

	if (max && n > max) {
		check(task, INVALID_FIELD_CDB);
		return;
	}
	if (range(task, lba, n))
		task->xfer = write ? SIM_XFER_MEDIA_OUT : SIM_XFER_MEDIA_IN;
}

/* The command reads a list of @len bytes, unless that is nonsense. */
static bool params(struct sim_task *task, u32 len)
{
	if (len > SIM_TARGET_BUF) {
		check(task, PARAM_LIST_LENGTH);
		return false;
	}
	task->len = len;
	if (!len)
		return false;
	task->xfer = SIM_XFER_PARAM_OUT;
	task->param_len = len;
	task->param = kzalloc(len, GFP_ATOMIC);
	if (!task->param)
		sim_task_fail(task, SAM_STAT_TASK_SET_FULL, 0);
	return task->param;
}

static void write_same(struct sim_task *task, u64 lba, u64 n)
{
	if (!sim_knob(task_ad(task), thin)) {
		check(task, INVALID_OPCODE);
		return;
	}
	if (range(task, lba, n ?: blocks(task) - min(lba, blocks(task))))
		params(task, sim_knob(task_ad(task), block_size));
}

static void do_write_same(struct sim_task *task)
{
	u64 bs = task->param_len;
	u64 lba = task->cdb[0] == WRITE_SAME_16 ?
		  get_unaligned_be64(task->cdb + 2) :
		  get_unaligned_be32(task->cdb + 2);
	u64 n = task->cdb[0] == WRITE_SAME_16 ?
		get_unaligned_be32(task->cdb + 10) :
		get_unaligned_be16(task->cdb + 7);
	u64 pos = lba * bs, end;

	/* the disk may have become smaller since */
	end = pos + (n ?: blocks(task) - min(lba, blocks(task))) * bs;
	sim_store_unmap(task->store, pos, end - pos);
	if (!memchr_inv(task->param, 0, bs))
		return;
	for (; pos < end; pos += bs) {
		if (!sim_store_write(task_ad(task), task->store, pos,
				     task->param, bs)) {
			sim_task_fail(task, SAM_STAT_TASK_SET_FULL, 0);
			return;
		}
	}
}

static void do_unmap(struct sim_task *task)
{
	u64 bs = sim_knob(task_ad(task), block_size), lba, n;
	u32 len, i;

	if (task->param_len < 8) {
		check(task, PARAM_LIST_LENGTH);
		return;
	}
	len = min_t(u32, get_unaligned_be16(task->param + 2),
		    task->param_len - 8);
	for (i = 0; i + 16 <= len; i += 16) {
		lba = get_unaligned_be64(task->param + 8 + i);
		n = get_unaligned_be32(task->param + 16 + i);
		if (lba > blocks(task) || n > blocks(task) - lba) {
			sim_task_fail(task, SAM_STAT_CHECK_CONDITION,
				      INVALID_FIELD_PARAM);
			return;
		}
		sim_store_unmap(task->store, lba * bs, n * bs);
	}
}

/**
 * sim_scsi_params - act upon a complete parameter list
 * @task: the command
 *
 * Engine context.
 */
void sim_scsi_params(struct sim_task *task)
{
	switch (task->cdb[0]) {
	case UNMAP:
		do_unmap(task);
		break;
	case WRITE_SAME:
	case WRITE_SAME_16:
		do_write_same(task);
		break;
	default:
		break;		/* MODE SELECT: taken, without effect */
	}
}

/* ---- the table --------------------------------------------------------- */

static void service_action_in(struct sim_task *task)
{
	if ((task->cdb[1] & 0x1f) == SAI_READ_CAPACITY_16)
		read_capacity16(task);
	else
		check(task, INVALID_FIELD_CDB);
}

static void variable_length(struct sim_task *task)
{
	const u8 *c = task->cdb;
	u16 action = get_unaligned_be16(c + 8);

	if (action == READ_32 || action == WRITE_32)
		media(task, get_unaligned_be64(c + 12),
		      get_unaligned_be32(c + 28), action == WRITE_32);
	else
		check(task, INVALID_FIELD_CDB);
}

static void decode(struct sim_task *task)
{
	const u8 *c = task->cdb;

	switch (c[0]) {
	case TEST_UNIT_READY:
	case START_STOP:
	case SYNCHRONIZE_CACHE:
	case SYNCHRONIZE_CACHE_16:
	case VERIFY:
	case VERIFY_16:
	case ALLOW_MEDIUM_REMOVAL:
		break;
	case REQUEST_SENSE:
		request_sense(task);
		break;
	case MODE_SENSE:
		mode_sense(task, false);
		break;
	case MODE_SENSE_10:
		mode_sense(task, true);
		break;
	case MODE_SELECT:
		params(task, c[4]);
		break;
	case MODE_SELECT_10:
		params(task, get_unaligned_be16(c + 7));
		break;
	case READ_CAPACITY:
		read_capacity10(task);
		break;
	case SERVICE_ACTION_IN_16:
		service_action_in(task);
		break;
	case READ_6:
	case WRITE_6:
		media(task, get_unaligned_be24(c + 1) & 0x1fffff, c[4] ?: 256,
		      c[0] == WRITE_6);
		break;
	case READ_10:
	case WRITE_10:
		media(task, get_unaligned_be32(c + 2),
		      get_unaligned_be16(c + 7), c[0] == WRITE_10);
		break;
	case READ_12:
	case WRITE_12:
		media(task, get_unaligned_be32(c + 2),
		      get_unaligned_be32(c + 6), c[0] == WRITE_12);
		break;
	case READ_16:
	case WRITE_16:
		media(task, get_unaligned_be64(c + 2),
		      get_unaligned_be32(c + 10), c[0] == WRITE_16);
		break;
	case VARIABLE_LENGTH_CMD:
		variable_length(task);
		break;
	case UNMAP:
		if (sim_knob(task_ad(task), thin))
			params(task, get_unaligned_be16(c + 7));
		else
			check(task, INVALID_OPCODE);
		break;
	case WRITE_SAME:
		write_same(task, get_unaligned_be32(c + 2),
			   get_unaligned_be16(c + 7));
		break;
	case WRITE_SAME_16:
		write_same(task, get_unaligned_be64(c + 2),
			   get_unaligned_be32(c + 10));
		break;
	default:
		check(task, INVALID_OPCODE);
	}
}

/**
 * sim_scsi_decode - find out what a command wants
 * @task: the command; its transfer and status are filled in
 *
 * Engine context.
 */
void sim_scsi_decode(struct sim_task *task)
{
	struct sim_adapter *ad = task_ad(task);
	bool lun_exists = task->lun < sim_knob(ad, luns);

	task->xfer = SIM_XFER_NONE;
	task->len = 0;
	if (task->cdb[0] == INQUIRY) {
		inquiry(task, lun_exists);
		return;
	}
	if (task->cdb[0] == REPORT_LUNS) {
		report_luns(task);
		return;
	}
	if (!lun_exists) {
		check(task, NO_SUCH_LUN);
		return;
	}
	task->store = sim_store_get(ad, task->conn->target, task->lun);
	if (!task->store) {
		sim_task_fail(task, SAM_STAT_TASK_SET_FULL, 0);
		return;
	}
	decode(task);
}
