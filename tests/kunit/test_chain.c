// SPDX-License-Identifier: GPL-2.0-only
/*
 * The shape of what a command turns into: which work requests, in which
 * order, with which data, rights, and advertised memory.
 *
 * A case says what the session negotiated, what the command looks like, and
 * what is to be posted. One function compares all of it, down to every
 * address.
 */
#include "rig.h"

#define MAX_SEGS 24

struct chain_case {
	const char *name;
	struct rig_params params;
	bool merge;
	enum dma_data_direction dir;
	/* whole pages; or segments, and so many single sectors behind them */
	unsigned int len;
	struct rig_seg segs[4];
	unsigned int sectors;
	/* expected */
	unsigned int imm;
	unsigned int imm_sges;
	unsigned int dataouts;
	unsigned int unsolicited;
	unsigned int registered;
	unsigned int solicited_only;
};

#define READS(...) .dir = DMA_FROM_DEVICE, __VA_ARGS__
#define WRITES(...) .dir = DMA_TO_DEVICE, __VA_ARGS__

static const struct chain_case chain_cases[] = {
	{ "no data", .dir = DMA_NONE },

	{ "read 512", READS(.len = 512), .registered = 512 },
	{ "read 4k", READS(.len = 4096), .registered = 4096 },
	{ "read 512k", READS(.len = 524288), .registered = 524288 },
	{ "read, not page aligned",
	  READS(.segs = { { 512, 3584 }, { 0, 4096 }, { 0, 512 } }),
	  .registered = 8192 },
	{ "read, scattered", .params = { .gaps = true },
	  READS(.sectors = 8), .registered = 4096 },
	{ "read, merged by the IOMMU", .merge = true, READS(.len = 65536),
	  .registered = 65536 },
	{ "read, ImmediateData=No", .params = { .no_imm = true },
	  READS(.len = 4096), .registered = 4096 },

	{ "write 512, immediate", WRITES(.len = 512), .imm = 512,
	  .imm_sges = 1 },
	{ "write 4k, immediate", WRITES(.len = 4096), .imm = 4096,
	  .imm_sges = 1 },
	{ "write as much as is immediate", WRITES(.len = 8192), .imm = 8192,
	  .imm_sges = 2 },
	{ "write one sector more", WRITES(.len = 8704), .imm = 8192,
	  .imm_sges = 2, .registered = 512 },
	{ "write 64k", WRITES(.len = 65536), .imm = 8192, .imm_sges = 2,
	  .registered = 57344 },
	{ "write 512k", WRITES(.len = 524288), .imm = 8192, .imm_sges = 2,
	  .registered = 516096 },
	{ "write, first burst below segment length",
	  .params = { .first_burst = 4096 }, WRITES(.len = 16384),
	  .imm = 4096, .imm_sges = 1, .registered = 12288 },
	{ "write, immediate data ends within a page",
	  .params = { .first_burst = 1024 }, WRITES(.len = 8192),
	  .imm = 1024, .imm_sges = 1, .registered = 7168 },
	{ "write, not page aligned",
	  WRITES(.segs = { { 512, 3584 }, { 0, 4096 }, { 0, 4096 } }),
	  .imm = 8192, .imm_sges = 3, .registered = 3584 },
	{ "write, merged by the IOMMU", .merge = true, WRITES(.len = 65536),
	  .imm = 8192, .imm_sges = 1, .registered = 57344 },
	{ "write, ImmediateData=No", .params = { .no_imm = true },
	  WRITES(.len = 4096), .registered = 4096 },

	{ "write in four gather elements", .params = { .gaps = true },
	  WRITES(.sectors = 4),
	  .imm = 2048, .imm_sges = 4 },
	{ "write in five gather elements", .params = { .gaps = true },
	  WRITES(.sectors = 5),
	  .registered = 2560, .solicited_only = 1 },
	{ "write, no gather elements for data", .params = { .send_sges = 1 },
	  WRITES(.len = 512), .registered = 512, .solicited_only = 1 },
	{ "write, one gather element for data", .params = { .send_sges = 2 },
	  WRITES(.len = 4096), .imm = 4096, .imm_sges = 1 },
	{ "write, one gather element too few", .params = { .send_sges = 2 },
	  WRITES(.len = 8192), .registered = 8192, .solicited_only = 1 },

	{ "unsolicited: immediate data is enough",
	  .params = { .unsolicited = true }, WRITES(.len = 8192), .imm = 8192,
	  .imm_sges = 2 },
	{ "unsolicited: one Data-Out", .params = { .unsolicited = true },
	  WRITES(.len = 16384), .imm = 8192, .imm_sges = 2, .dataouts = 1,
	  .unsolicited = 8192 },
	{ "unsolicited: a short second Data-Out",
	  .params = { .unsolicited = true }, WRITES(.len = 16896), .imm = 8192,
	  .imm_sges = 2, .dataouts = 2, .unsolicited = 8704 },
	{ "unsolicited: a full first burst", .params = { .unsolicited = true },
	  WRITES(.len = 65536), .imm = 8192, .imm_sges = 2, .dataouts = 7,
	  .unsolicited = 57344 },
	{ "unsolicited: and the rest solicited",
	  .params = { .unsolicited = true, .first_burst = 16384 },
	  WRITES(.len = 65536), .imm = 8192, .imm_sges = 2, .dataouts = 1,
	  .unsolicited = 8192, .registered = 49152 },
	{ "unsolicited: ImmediateData=No",
	  .params = { .unsolicited = true, .no_imm = true,
		      .first_burst = 16384 },
	  WRITES(.len = 32768), .dataouts = 2, .unsolicited = 16384,
	  .registered = 16384 },
	{ "unsolicited: too scattered for immediate data",
	  .params = { .unsolicited = true, .gaps = true },
	  WRITES(.sectors = 16),
	  .registered = 8192, .solicited_only = 1 },
	{ "unsolicited: too scattered for the second PDU",
	  .params = { .unsolicited = true, .gaps = true, .max_xmit = 4096 },
	  WRITES(.segs = { { 0, 4096 } }, .sectors = 9),
	  .imm = 4096, .imm_sges = 1, .registered = 4608 },
	{ "unsolicited: small segments",
	  .params = { .unsolicited = true, .max_xmit = 512,
		      .first_burst = 4096 },
	  WRITES(.len = 8192), .imm = 512, .imm_sges = 1, .dataouts = 7,
	  .unsolicited = 3584, .registered = 4096 },
	{ "unsolicited: more Data-Outs than a connection has",
	  .params = { .unsolicited = true, .max_xmit = 512 },
	  WRITES(.len = 65536), .imm = 512, .imm_sges = 1,
	  .registered = 65024 },
};

KUNIT_ARRAY_PARAM_DESC(chain, chain_cases, name);

static struct scsi_cmnd *make_command(struct rig *rig,
				      const struct chain_case *c)
{
	struct rig_seg segs[MAX_SEGS] = {};
	unsigned int n = 0, i;

	while (n < ARRAY_SIZE(c->segs) && c->segs[n].len) {
		segs[n] = c->segs[n];
		n++;
	}
	for (i = 0; i < c->sectors; i++)
		segs[n++].len = 512;
	return n ? rig_command(rig, c->dir, segs, n) :
		   rig_pages(rig, c->dir, c->len);
}

/* Where byte @offset of the command's data is, for the adapter */
static u64 data_addr(struct scsi_cmnd *sc, unsigned int offset)
{
	struct scatterlist *sg = scsi_sglist(sc);

	while (offset >= sg->length) {
		offset -= sg->length;
		sg = sg_next(sg);
	}
	return (u64)(uintptr_t)sg_virt(sg) + offset;
}

/* Gather elements from the second on hold these bytes, and no others */
static void expect_data(struct kunit *test, struct fake_send *send,
			struct scsi_cmnd *sc, unsigned int offset,
			unsigned int len)
{
	int i;

	for (i = 1; i < send->wr.num_sge; i++) {
		KUNIT_EXPECT_EQ(test, data_addr(sc, offset), send->sge[i].addr);
		KUNIT_EXPECT_EQ(test, FAKE_LKEY, send->sge[i].lkey);
		KUNIT_EXPECT_GT(test, send->sge[i].length, 0);
		offset += send->sge[i].length;
		len -= send->sge[i].length;
	}
	KUNIT_EXPECT_EQ(test, 0, len);
}

static void expect_registration(struct kunit *test, const struct chain_case *c,
				struct fake_send *reg, struct scsi_cmnd *sc)
{
	unsigned int skip = c->imm + c->unsolicited;

	KUNIT_ASSERT_EQ(test, IB_WR_REG_MR, reg->wr.opcode);
	KUNIT_EXPECT_FALSE(test, signalled(reg));
	KUNIT_EXPECT_EQ(test, c->registered, reg->length);
	KUNIT_EXPECT_EQ(test, data_addr(sc, skip), reg->start);
	KUNIT_EXPECT_EQ(test, fake_told_addr(reg->key, reg->start), reg->iova);
	/* RFC 7145, section 7.3.1: the least that the direction needs */
	KUNIT_EXPECT_EQ(test, c->dir == DMA_FROM_DEVICE ?
			IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE :
			IB_ACCESS_REMOTE_READ, reg->access);
}

static void expect_advertised(struct kunit *test, const struct chain_case *c,
			      struct fake_send *reg, struct fake_send *send)
{
	struct iser_ctrl want;

	iser_ctrl_init(&want);
	if (c->registered && c->dir == DMA_FROM_DEVICE)
		iser_ctrl_read(&want, reg->key, reg->iova);
	else if (c->registered)
		iser_ctrl_write(&want, reg->key, reg->iova);
	KUNIT_EXPECT_MEMEQ(test, sent_ctrl(send), &want, sizeof(want));
}

static u8 flags_of(const struct chain_case *c)
{
	u8 flags = ISCSI_ATTR_SIMPLE;

	if (c->dir == DMA_FROM_DEVICE)
		flags |= ISCSI_FLAG_CMD_READ;
	if (c->dir == DMA_TO_DEVICE)
		flags |= ISCSI_FLAG_CMD_WRITE;
	/* RFC 7143, section 11.3.1: unsolicited data follows, if not final */
	if (!c->dataouts)
		flags |= ISCSI_FLAG_CMD_FINAL;
	return flags;
}

static void expect_command(struct kunit *test, const struct chain_case *c,
			   struct fake_send *send, struct scsi_cmnd *sc)
{
	struct iscsi_scsi_req *req = sent_req(send);

	KUNIT_ASSERT_EQ(test, IB_WR_SEND, send->wr.opcode);
	KUNIT_ASSERT_EQ(test, 1 + c->imm_sges, (unsigned int)send->wr.num_sge);
	KUNIT_EXPECT_EQ(test, ISER_HEADERS_LEN, send->sge[0].length);
	KUNIT_EXPECT_EQ(test, FAKE_LKEY, send->sge[0].lkey);
	KUNIT_EXPECT_EQ(test, ISCSI_OP_SCSI_CMD, req->opcode);
	KUNIT_EXPECT_EQ(test, flags_of(c), req->flags);
	KUNIT_EXPECT_EQ(test, c->imm, ntoh24(req->dlength));
	KUNIT_EXPECT_EQ(test, scsi_bufflen(sc), be32_to_cpu(req->data_length));
	KUNIT_EXPECT_EQ(test, sc->cmnd[0], req->cdb[0]);
	KUNIT_EXPECT_EQ(test, 5, scsilun_to_int(&req->lun));
	/* A Send of user pages must be heard of; that of a header need not */
	KUNIT_EXPECT_EQ(test, c->imm > 0, signalled(send));
	expect_data(test, send, sc, 0, c->imm);
}

static void expect_dataouts(struct kunit *test, const struct chain_case *c,
			    struct rig *rig, struct fake_send *send,
			    struct scsi_cmnd *sc)
{
	struct iscsi_scsi_req *req = sent_req(send);
	unsigned int left = c->unsolicited, offset = c->imm, i;

	for (i = 0; i < c->dataouts; i++) {
		struct fake_send *out = send + 1 + i;
		struct iscsi_data *hdr = (struct iscsi_data *)sent_req(out);
		unsigned int len = min_t(unsigned int, left,
					 rig->iscsi->max_xmit_dlength);
		bool last = i + 1 == c->dataouts;
		struct iser_ctrl plain;

		iser_ctrl_init(&plain);
		KUNIT_EXPECT_EQ(test, IB_WR_SEND, out->wr.opcode);
		KUNIT_EXPECT_TRUE(test, signalled(out));
		KUNIT_EXPECT_MEMEQ(test, sent_ctrl(out), &plain, sizeof(plain));
		KUNIT_EXPECT_EQ(test, ISER_HEADERS_LEN, out->sge[0].length);
		KUNIT_EXPECT_EQ(test, ISCSI_OP_SCSI_DATA_OUT, hdr->opcode);
		KUNIT_EXPECT_EQ(test, last ? ISCSI_FLAG_CMD_FINAL : 0,
				hdr->flags);
		KUNIT_EXPECT_EQ(test, len, ntoh24(hdr->dlength));
		KUNIT_EXPECT_EQ(test, offset, be32_to_cpu(hdr->offset));
		KUNIT_EXPECT_EQ(test, i, be32_to_cpu(hdr->datasn));
		KUNIT_EXPECT_EQ(test, ISCSI_RESERVED_TAG,
				be32_to_cpu(hdr->ttt));
		KUNIT_EXPECT_EQ(test, (__force u32)req->itt,
				(__force u32)hdr->itt);
		expect_data(test, out, sc, offset, len);
		offset += len;
		left -= len;
	}
	KUNIT_EXPECT_EQ(test, 0, left);
}

static void chain(struct kunit *test)
{
	const struct chain_case *c = test->param_value;
	struct rig *rig = rig_create(test, &c->params);
	struct fake_adapter *fake = rig->fake;
	struct fake_send *send = fake->sends;
	struct scsi_cmnd *sc = make_command(rig, c);

	fake->merge = c->merge;
	KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_ASSERT_EQ(test, !!c->registered + 1 + c->dataouts,
			fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 1, fake->doorbells);
	if (c->registered)
		expect_registration(test, c, send++, sc);
	expect_command(test, c, send, sc);
	expect_advertised(test, c, fake->sends, send);
	expect_dataouts(test, c, rig, send, sc);
	KUNIT_EXPECT_EQ(test, c->solicited_only,
			rig->conn->stats.solicited_only);

	/* And it can be answered */
	fake_complete_sends(fake);
	rig_answer(rig, sc, c->registered ? &fake->sends[0].key : NULL);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 0, fake->mapped);
}

/* The rest of a longer CDB follows the header: RFC 7143, section 11.2.2.3 */
static void long_cdb(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);
	struct fake_send *send = &rig->fake->sends[1];
	unsigned int i;

	sc->cmd_len = ISER_MAX_CDB;
	for (i = 0; i < ISER_MAX_CDB; i++)
		sc->cmnd[i] = 0x40 + i;
	KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, ISER_HEADERS_LEN + 20, send->sge[0].length);
	KUNIT_EXPECT_EQ(test, 5, sent_req(send)->hlength);
	KUNIT_EXPECT_MEMEQ(test, sent_req(send)->cdb, sc->cmnd, 16);
	KUNIT_EXPECT_MEMEQ(test, (u8 *)(sent_req(send) + 1) + 4, sc->cmnd + 16,
			   16);
}

/* Commands of a batch leave together, and in the order of their CmdSN */
static void batch_is_one_doorbell(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct fake_adapter *fake = rig->fake;
	struct scsi_cmnd *sc[4];
	u32 cmdsn;
	int i;

	for (i = 0; i < 4; i++) {
		sc[i] = rig_pages(rig, DMA_FROM_DEVICE, 4096);
		sc[i]->flags = i == 3 ? SCMD_LAST : 0;
		KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc[i]));
		KUNIT_EXPECT_EQ(test, i == 3, fake->doorbells);
	}
	KUNIT_ASSERT_EQ(test, 8, fake->nr_sends);
	cmdsn = be32_to_cpu(sent_req(&fake->sends[1])->cmdsn);
	for (i = 0; i < 4; i++) {
		struct fake_send *send = &fake->sends[2 * i + 1];

		KUNIT_EXPECT_EQ(test, IB_WR_REG_MR, (send - 1)->wr.opcode);
		KUNIT_EXPECT_EQ(test, cmdsn + i,
				be32_to_cpu(sent_req(send)->cmdsn));
		KUNIT_EXPECT_EQ(test, (__force u32)rig_task(sc[i])->hdr->itt,
				(__force u32)sent_req(send)->itt);
	}
}

/* The SCSI layer stopped short of the command that it had marked as last */
static void commit_rings_the_doorbell(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);

	sc->flags = 0;
	KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->doorbells);
	rig->shost->hostt->commit_rqs(rig->shost, 0);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->doorbells);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->nr_sends);
	/* With nothing chained there is nothing to ring for */
	rig->shost->hostt->commit_rqs(rig->shost, 0);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->doorbells);
}

/* A PDU that can't wait takes along what is chained before it */
static void control_pdu_keeps_the_order(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);

	sc->flags = 0;
	KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_ASSERT_EQ(test, 0, rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
					      ISCSI_OP_IMMEDIATE,
					      ISCSI_FLAG_CMD_FINAL, 0, NULL,
					      0));
	KUNIT_EXPECT_EQ(test, 1, rig->fake->doorbells);
	KUNIT_ASSERT_EQ(test, 3, rig->fake->nr_sends);
	KUNIT_EXPECT_EQ(test, ISCSI_OP_SCSI_CMD,
			sent_req(&rig->fake->sends[1])->opcode);
	KUNIT_EXPECT_EQ(test, ISCSI_OP_NOOP_OUT | ISCSI_OP_IMMEDIATE,
			sent_req(&rig->fake->sends[2])->opcode);
}

/* No mapping to be had: later, perhaps */
static void no_mapping_is_busy(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);

	rig->fake->dma_fails_at = 0;
	KUNIT_EXPECT_EQ(test, SCSI_MLQUEUE_TARGET_BUSY, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 2, rig->fake->nr_sends);
}

/* Memory that the adapter can't describe: trying again would be for ever */
static void bad_memory_fails_the_command(struct kunit *test)
{
	static const struct rig_seg holes[] = { { 0, 512 }, { 0, 512 } };
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc;

	sc = rig_command(rig, DMA_FROM_DEVICE, holes, ARRAY_SIZE(holes));
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_NE(test, 0, sc->result);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));

	/* The MR that it had is to be had again */
	rig_send(rig, DMA_FROM_DEVICE, 4096);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->nr_sends);
}

/* Nobody else rings for the others of a batch when the last one fails */
static void bad_memory_at_the_end_of_a_batch(struct kunit *test)
{
	static const struct rig_seg holes[] = { { 0, 512 }, { 0, 512 } };
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *first = rig_pages(rig, DMA_FROM_DEVICE, 4096);
	struct scsi_cmnd *last = rig_command(rig, DMA_FROM_DEVICE, holes,
					     ARRAY_SIZE(holes));

	first->flags = 0;
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, first));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->doorbells);
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, last));
	KUNIT_EXPECT_TRUE(test, finished(last));
	KUNIT_EXPECT_EQ(test, 1, rig->fake->doorbells);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->nr_sends);
}

static struct kunit_case chain_kunit_cases[] = {
	KUNIT_CASE_PARAM(chain, chain_gen_params),
	KUNIT_CASE(long_cdb),
	KUNIT_CASE(batch_is_one_doorbell),
	KUNIT_CASE(commit_rings_the_doorbell),
	KUNIT_CASE(control_pdu_keeps_the_order),
	KUNIT_CASE(no_mapping_is_busy),
	KUNIT_CASE(bad_memory_fails_the_command),
	KUNIT_CASE(bad_memory_at_the_end_of_a_batch),
	{}
};

static struct kunit_suite chain_suite = {
	.name = "iser_chain",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = chain_kunit_cases,
};

kunit_test_suite(chain_suite);
