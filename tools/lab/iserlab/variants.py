# SPDX-License-Identifier: GPL-2.0-only
"""Variants of the module, made to be compared with it and for nothing else.

Owns: edits of its sources (module.py makes them in a copy). ALONE changes what the target is told.
The next ones take a guarantee away, so that the bench can tell what that costs; they are unsafe,
and some of them break rules of the verbs. The last ones take an idea away that was to make the
module cheaper, to tell what it is worth.

Recovery: an edit whose text is not there any more is an error of the build.
"""

import dataclasses

from . import module

TOP = "drivers/infiniband/ulp/iser"

# It says in its connect request that it does not want remote invalidation.
ALONE = ((f"{TOP}/endpoint.c", "{ .flags = ISER_ZBVA_NOT_SUP }",
          "{ .flags = ISER_ZBVA_NOT_SUP | ISER_SEND_W_INV_NOT_SUP }"),)

# A command ends with its response, whether or not its key is dead; what is left alive is
# invalidated when the MR is used again, as some initiators do.
LIVE_KEYS = (
    (f"{TOP}/iser.h", "	struct ib_cqe inv_cqe;\n	struct iscsi_task *task;\n",
     "	struct ib_cqe inv_cqe;\n	struct iscsi_task *task;\n	u32 alive;\n"),
    (f"{TOP}/response.c", "	} else {\n		iser_mr_invalidate(conn, task);\n	}\n",
     "	} else if (it->rkey_live) {\n		it->mr->alive = it->mr->mr->rkey;\n"
     "		it->rkey_live = false;\n		__iscsi_put_task(task);\n	}\n"),
    (f"{TOP}/task.c", "		iser_chain(conn, &it->mr->reg.wr);\n",
     "		if (it->mr->alive) {\n			it->mr->inv.send_flags = 0;\n"
     "			it->mr->inv.ex.invalidate_rkey = it->mr->alive;\n"
     "			it->mr->alive = 0;\n			conn->unsignalled++;\n"
     "			iser_chain(conn, &it->mr->inv);\n		}\n"
     "		iser_chain(conn, &it->mr->reg.wr);\n"),
)

# A command ends with its response, whether or not the Send of its data was acknowledged.
UNWAITED_SENDS = ((f"{TOP}/task.c", "	if (holds_ref || data_sge || conn->",
                   "	if (holds_ref || conn->"),)


# A target is given all rights to a command's memory, whatever the command is.
ALL_RIGHTS = ((f"{TOP}/mr.c", "		IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE :\n"
               "		IB_ACCESS_REMOTE_READ;\n",
               "		IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE :\n"
               "		IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE |\n"
               "		IB_ACCESS_REMOTE_READ;\n"),)


def _tags(step):
    """Tags whose generations are made by something else."""
    return ((f"{TOP}/task.c", "slot->gen += iser_gen_step(conn);", f"slot->gen += {step};"),
            (f"{TOP}/task.c", "static u32 iser_gen_step(",
             "static u32 __maybe_unused iser_gen_step("),
            (f"{TOP}/task.c", "#include <scsi/scsi_cmnd.h>\n",
             "#include <linux/random.h>\n#include <scsi/scsi_cmnd.h>\n"))


# A target knows which tag comes next.
COUNTED_TAGS = _tags("1")

# One key opens all memory, to read and to write, as long as the connection lives. What is in one
# piece is not registered.
GLOBAL_KEY = (
    (f"{TOP}/queue.c", "ib_alloc_pd(device, 0)", "ib_alloc_pd(device, IB_PD_UNSAFE_GLOBAL_RKEY)"),
    (f"{TOP}/task.c", "	imr = iser_mr_get(conn);\n",
     "	if (plan->nents == 1) {\n"
     "		u64 at = sg_dma_address(scsi_sglist(task->sc)) + skip;\n\n"
     "		if (dir == DMA_FROM_DEVICE)\n"
     "			iser_ctrl_read(&slot->headers.ctrl, conn->pd->unsafe_global_rkey, at);\n"
     "		else\n"
     "			iser_ctrl_write(&slot->headers.ctrl, conn->pd->unsafe_global_rkey, at);\n"
     "		return 0;\n	}\n"
     "	imr = iser_mr_get(conn);\n"),
)

# The adapter reads headers where they are built: what it sends again may be the next task's.
IN_PLACE = (
    (f"{TOP}/queue.c", "		iser_init_send(conn, &slot->send, slot->sge);\n",
     "		iser_init_send(conn, &slot->send, slot->sge);\n"
     "		slot->sge[0].addr = ib_dma_map_single(conn->device, &slot->headers,\n"
     "						      sizeof(slot->headers), DMA_TO_DEVICE);\n"),
    (f"{TOP}/task.c", """\
	unsigned int at = conn->tx_next % ISER_TX_PER_CHUNK;
	struct iser_chunk *chunk =
		&conn->tx_ring.chunks[conn->tx_next / ISER_TX_PER_CHUNK];

	((struct iser_headers *)chunk->va)[at] = slot->headers;
	slot->sge[0].addr = chunk->dma + at * sizeof(slot->headers);
	slot->sge[0].length = len;
	conn->tx_sent++;
	if (++conn->tx_next == conn->nr_tx)
		conn->tx_next = 0;
""", "	slot->sge[0].length = len;\n"),
)

# A key is the same each time.
SAME_KEYS = ((f"{TOP}/mr.c", "	ib_update_fast_reg_key(mr, ib_inc_rkey(mr->rkey));\n", ""),)

# Tags are made of the kernel's own random numbers.
RANDOM_TAGS = _tags("1 + get_random_u16() % ISER_ITT_GEN_MASK")


# Two hardware queues: the block layer finishes a command at once, under libiscsi's locks.
TWO_QUEUES = ((f"{TOP}/transport.c", "	shost->max_id = 0;\n",
               "	shost->max_id = 0;\n	shost->nr_hw_queues = 2;\n	shost->host_tagset = 1;\n"),)

# All responses are libiscsi's to take apart.
LONG_WAY = ((f"{TOP}/response.c", "	if (!iser_is_plain(pdu))\n",
             "	if (!iser_is_plain(pdu) || conn)\n"),)

# Each Send has a completion.
ALL_SIGNALLED = ((f"{TOP}/iser.h", "#define ISER_SIGNAL_EVERY	64\n",
                  "#define ISER_SIGNAL_EVERY	1\n"),)

# One in so many has, half as many as usual.
FEW_SIGNALLED = ((f"{TOP}/iser.h", "#define ISER_SIGNAL_EVERY	64\n",
                  "#define ISER_SIGNAL_EVERY	128\n"),)

# Each command rings the doorbell.
OWN_DOORBELL = ((f"{TOP}/task.c",
                 "	if (task->sc->flags & SCMD_LAST)\n		iser_doorbell(conn);\n",
                 "	iser_doorbell(conn);\n"),)

# The registration goes to the adapter at once, not with the Send behind it.
REG_ALONE = ((f"{TOP}/task.c", "		iser_chain(conn, &it->mr->reg.wr);\n",
              "		iser_chain(conn, &it->mr->reg.wr);\n		iser_doorbell(conn);\n"),)

# Work requests are made anew for each command; nothing is kept of the last one.
BUILT = (
    (f"{TOP}/task.c", "	slot->send.num_sge = 1 + data_sge;\n",
     "	slot->send = (struct ib_send_wr){ .opcode = IB_WR_SEND, .sg_list = slot->sge };\n"
     "	for (unsigned int i = 0; i <= data_sge; i++)\n"
     "		slot->sge[i].lkey = conn->pd->local_dma_lkey;\n"
     "	slot->send.num_sge = 1 + data_sge;\n"),
    (f"{TOP}/mr.c", "	imr->reg.key = mr->rkey;\n",
     "	imr->reg = (struct ib_reg_wr){\n"
     "		.wr = { .opcode = IB_WR_REG_MR, .wr_cqe = &imr->reg_cqe },\n"
     "		.mr = mr,\n		.key = mr->rkey,\n	};\n"
     "	imr->inv = (struct ib_send_wr){\n"
     "		.opcode = IB_WR_LOCAL_INV,\n		.wr_cqe = &imr->inv_cqe,\n"
     "		.send_flags = IB_SEND_SIGNALED,\n	};\n"),
)

# Each receive is given back by itself.
OWN_RECEIVE = ((f"{TOP}/iser.h", "#define ISER_RX_BATCH		16\n",
                "#define ISER_RX_BATCH		1\n"),)

# The pool of MRs has a lock, and another one is taken for each doorbell.
LOCKED = (
    (f"{TOP}/mr.c", "	struct llist_node *node = llist_del_first(&conn->mr_free);\n\n",
     "	struct llist_node *node;\n\n	spin_lock(&conn->dataout_lock);\n"
     "	node = llist_del_first(&conn->mr_free);\n	spin_unlock(&conn->dataout_lock);\n"),
    (f"{TOP}/iser.h", "	llist_add(&imr->free, &conn->mr_free);\n",
     "	spin_lock(&conn->dataout_lock);\n	llist_add(&imr->free, &conn->mr_free);\n"
     "	spin_unlock(&conn->dataout_lock);\n"),
    (f"{TOP}/queue.c", "	conn->chain = NULL;\n	err = ib_post_send(",
     "	conn->chain = NULL;\n	spin_lock(&conn->iscsi->session->back_lock);\n"
     "	spin_unlock(&conn->iscsi->session->back_lock);\n	err = ib_post_send("),
)

# Headers and receives are handed to and fro, as those must be that are not coherent memory.
SYNCED = (
    (f"{TOP}/task.c", "	slot->send.num_sge = 1 + data_sge;\n",
     "	slot->send.num_sge = 1 + data_sge;\n"
     "	ib_dma_sync_single_for_device(conn->device, slot->sge[0].addr, slot->sge[0].length,\n"
     "				      DMA_TO_DEVICE);\n"),
    (f"{TOP}/response.c", "	why = iser_handle(conn, rx, wc, &pdu);\n",
     "	ib_dma_sync_single_for_cpu(conn->device, rx->sge.addr, rx->sge.length,\n"
     "				   DMA_FROM_DEVICE);\n"
     "	why = iser_handle(conn, rx, wc, &pdu);\n"),
)

# The SCSI layer clears what libiscsi has behind each command.
CLEARED = ((f"{TOP}/transport.c", "	.init_cmd_priv		= iser_init_cmd_priv,\n", ""),
           (f"{TOP}/transport.c", "static int iser_init_cmd_priv(",
            "static int __maybe_unused iser_init_cmd_priv("))

# The target fetches all that is written.
FETCHED = ((f"{TOP}/task.c", "	if (n < 0) {\n		task->imm_count = 0;\n",
            "	if (n < 0 || conn) {\n		task->imm_count = 0;\n"),)

# Immediate data of up to 16 pages, where a target takes that much.
GATHERED = ((f"{TOP}/iser.h", "#define ISER_DATA_SGE		4\n",
             "#define ISER_DATA_SGE		16\n"),)


def of(*edits):
    """The module with all these edits."""
    return dataclasses.replace(module.IB_ISER, edits=sum(edits, ()))
