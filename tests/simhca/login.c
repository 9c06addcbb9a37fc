// SPDX-License-Identifier: GPL-2.0-only
/*
 * Login and text negotiation
 *
 * Normal operation: the security stage is passed without authentication, the
 * operational stage answers each key by a table, and the transition that the
 * initiator asks for is granted.  A discovery session then may send text
 * requests; SendTargets names every target with every portal.
 *
 * Recovery: a login that cannot be answered gets a status class other than
 * success, after which the initiator gives up the connection.
 */
#include <linux/slab.h>

#include "simhca.h"

#define LOGIN_TEXT_MAX 8192
#define TEXT_SEGMENT 8192

struct reply {
	char *buf;
	u32 len;
	u32 size;
};

static void __printf(2, 3) add(struct reply *r, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(r->buf + r->len, r->size - r->len, fmt, args);
	va_end(args);
	/* each key=value pair ends with a zero byte */
	r->len = min(r->len + n + 1, r->size);
}

/* ---- keys -------------------------------------------------------------- */

enum key_kind {
	KEY_FIXED,	/* always answered with the same value */
	KEY_MIN,	/* the lower number counts */
	KEY_AND,	/* Yes if both say so */
	KEY_OR,		/* Yes if one says so */
	KEY_ECHO,	/* whatever the initiator wants */
	KEY_DECLARED,	/* no answer */
	KEY_AUTH,
	KEY_INITIATOR,
	KEY_SESSION,
	KEY_TARGET,
};

struct text_key {
	const char *name;
	enum key_kind kind;
	const char *fixed;
	size_t field;		/* u32 in struct sim_conn */
	enum sim_knob_name knob;
};

#define FIXED(n, v) { .name = n, .kind = KEY_FIXED, .fixed = v }
#define SAID(n, k) { .name = n, .kind = KEY_##k }
#define NUMBER(n, k, f, kn) { .name = n, .kind = KEY_##k,		\
	.field = offsetof(struct sim_conn, f),				\
	.knob = SIM_K_##kn }

static const struct text_key keys[] = {
	SAID("AuthMethod", AUTH),
	SAID("InitiatorName", INITIATOR),
	SAID("InitiatorAlias", DECLARED),
	SAID("SessionType", SESSION),
	SAID("TargetName", TARGET),
	FIXED("HeaderDigest", "None"),
	FIXED("DataDigest", "None"),
	FIXED("MaxConnections", "1"),
	FIXED("ErrorRecoveryLevel", "0"),
	FIXED("DataPDUInOrder", "Yes"),
	FIXED("DataSequenceInOrder", "Yes"),
	FIXED("IFMarker", "No"),
	FIXED("OFMarker", "No"),
	FIXED("DefaultTime2Retain", "0"),
	SAID("DefaultTime2Wait", ECHO),
	NUMBER("InitialR2T", OR, initial_r2t, initial_r2t),
	NUMBER("ImmediateData", AND, imm_data, imm_data),
	NUMBER("FirstBurstLength", MIN, first_burst, first_burst),
	NUMBER("MaxBurstLength", MIN, max_burst, max_burst),
	NUMBER("MaxOutstandingR2T", MIN, max_r2t, max_r2t),
	FIXED("RDMAExtensions", "Yes"),
	FIXED("iSERHelloRequired", "No"),
	FIXED("TaggedBufferForSolicitedDataOnly", "Yes"),
	NUMBER("TargetRecvDataSegmentLength", MIN, recv_dsl, recv_dsl),
	SAID("InitiatorRecvDataSegmentLength", ECHO),
	SAID("MaxRecvDataSegmentLength", DECLARED),
	SAID("MaxOutstandingUnexpectedPDUs", DECLARED),
};

static u32 knob_at(struct sim_conn *conn, const struct text_key *key)
{
	return READ_ONCE(conn->ad->knobs[key->knob]);
}

static void set_field(struct sim_conn *conn, const struct text_key *key, u32 value)
{
	*(u32 *)((char *)conn + key->field) = value;
}

static void answer_number(struct sim_conn *conn, const struct text_key *key,
			  const char *value, struct reply *r)
{
	u32 ours = knob_at(conn, key), theirs = 0, result;

	if (kstrtou32(value, 0, &theirs)) {
		add(r, "%s=Reject", key->name);
		return;
	}
	result = min(ours, theirs);
	set_field(conn, key, result);
	add(r, "%s=%u", key->name, result);
}

static void answer_bool(struct sim_conn *conn, const struct text_key *key,
			const char *value, struct reply *r)
{
	u32 ours = knob_at(conn, key), theirs = !strcmp(value, "Yes");
	u32 result = key->kind == KEY_AND ? ours & theirs : ours | theirs;

	set_field(conn, key, result);
	add(r, "%s=%s", key->name, result ? "Yes" : "No");
}

static int target_by_name(struct sim_conn *conn, const char *name)
{
	char own[ISCSI_NAME_LEN];
	int i;

	for (i = 0; i < sim_knob(conn->ad, targets); i++) {
		sim_target_name(conn->ad, i, own, sizeof(own));
		if (!strcmp(own, name))
			return i;
	}
	return -1;
}

/* Return false where the login has to fail. */
static bool answer(struct sim_conn *conn, const struct text_key *key,
		   const char *value, struct reply *r, u16 *status)
{
	switch (key->kind) {
	case KEY_FIXED:
		add(r, "%s=%s", key->name, key->fixed);
		return true;
	case KEY_MIN:
		answer_number(conn, key, value, r);
		return true;
	case KEY_AND:
	case KEY_OR:
		answer_bool(conn, key, value, r);
		return true;
	case KEY_ECHO:
		add(r, "%s=%s", key->name, value);
		return true;
	case KEY_DECLARED:
		return true;
	case KEY_AUTH:
		add(r, "%s=None", key->name);
		*status = ISCSI_STATUS_CLS_INITIATOR_ERR << 8 |
			  ISCSI_LOGIN_STATUS_AUTH_FAILED;
		return strstr(value, "None");
	case KEY_INITIATOR:
		strscpy(conn->initiator, value, sizeof(conn->initiator));
		return true;
	case KEY_SESSION:
		conn->discovery = !strcmp(value, "Discovery");
		return true;
	case KEY_TARGET:
		conn->target = target_by_name(conn, value);
		*status = ISCSI_STATUS_CLS_INITIATOR_ERR << 8 |
			  ISCSI_LOGIN_STATUS_TGT_NOT_FOUND;
		return conn->target >= 0;
	}
	return true;
}

static const struct text_key *find_key(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

static bool answer_all(struct sim_conn *conn, char *text, u32 len,
		       struct reply *r, u16 *status)
{
	char *end = text + len, *value;
	const struct text_key *key;

	for (; text < end; text = value + strlen(value) + 1) {
		value = text;
		if (!*text)
			continue;
		value = strchr(text, '=');
		if (!value) {
			sim_proto(conn, "login text without '=': %s", text);
			return true;
		}
		*value++ = 0;
		key = find_key(text);
		if (!key)
			add(r, "%s=NotUnderstood", text);
		else if (!answer(conn, key, value, r, status))
			return false;
	}
	return true;
}

/* ---- login ------------------------------------------------------------- */

static u16 new_tsih(struct sim_adapter *ad)
{
	if (!++ad->target.next_tsih)
		ad->target.next_tsih = 1;
	return ad->target.next_tsih;
}

/* The initiator comes back: whatever is left of its old session ends. */
static void reinstate(struct sim_conn *conn)
{
	struct sim_conn *c;

	list_for_each_entry(c, &conn->ad->target.conns, node)
		if (c != conn && c->tsih && c->target == conn->target &&
		    !memcmp(c->isid, conn->isid, sizeof(c->isid)) &&
		    !strcmp(c->initiator, conn->initiator))
			sim_conn_close(c, false);
}

static void enter_full_feature(struct sim_conn *conn)
{
	conn->phase = SIM_CONN_FULL;
	conn->tsih = new_tsih(conn->ad);
	sim_gauge_inc(conn->ad, sessions);
	if (conn->discovery) {
		sim_count(conn->ad, discoveries);
		return;
	}
	sim_count(conn->ad, logins);
	reinstate(conn);
}

static void first_request(struct sim_conn *conn, struct iscsi_login_req *req)
{
	memcpy(conn->isid, req->isid, sizeof(conn->isid));
	conn->cid = be16_to_cpu(req->cid);
	conn->exp_cmdsn = be32_to_cpu(req->cmdsn);
	conn->max_cmdsn = conn->exp_cmdsn - 1;
	conn->statsn = sim_random(conn->ad);
	/* what holds where the initiator does not ask */
	conn->initial_r2t = 1;
	conn->imm_data = 1;
	conn->recv_dsl = ISCSI_DEF_MAX_RECV_SEG_LEN;
	conn->first_burst = ISCSI_DEF_FIRST_BURST_LEN;
	conn->max_burst = ISCSI_DEF_MAX_BURST_LEN;
	conn->max_r2t = 1;
	if (!(req->opcode & ISCSI_OP_IMMEDIATE))
		sim_proto(conn, "login request is not immediate");
}

static void login_reply(struct sim_conn *conn, struct iscsi_login_req *req,
			const struct reply *r, u16 status)
{
	struct iscsi_login_rsp *rsp;
	struct sim_pdu *pdu;
	u8 csg = ISCSI_LOGIN_CURRENT_STAGE(req->flags);
	u8 nsg = ISCSI_LOGIN_NEXT_STAGE(req->flags);

	pdu = sim_pdu_start(conn, ISCSI_OP_LOGIN_RSP, r->len);
	if (!pdu)
		return;
	rsp = (struct iscsi_login_rsp *)sim_pdu_bhs(pdu);
	rsp->itt = req->itt;
	memcpy(rsp->isid, req->isid, sizeof(rsp->isid));
	rsp->status_class = status >> 8;
	rsp->status_detail = status & 0xff;
	rsp->flags = csg << 2;
	if (status) {
		sim_count(conn->ad, logins_failed);
		conn->phase = SIM_CONN_LOGOUT;
	} else if (req->flags & ISCSI_FLAG_LOGIN_TRANSIT) {
		rsp->flags |= ISCSI_FLAG_LOGIN_TRANSIT | nsg;
		if (nsg == ISCSI_FULL_FEATURE_PHASE)
			enter_full_feature(conn);
	}
	rsp->tsih = cpu_to_be16(conn->tsih);
	sim_pdu_data(pdu, r->buf, r->len);
	sim_pdu_send(conn, pdu, SIM_AT(rsp_login), SIM_ANY_OP);
}

/**
 * sim_login_rx - answer a login request
 * @conn: the connection
 * @buf: the PDU; its text is taken apart in place
 * @len: its length
 *
 * Engine context.
 */
void sim_login_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_login_req *req =
		(struct iscsi_login_req *)(buf + sizeof(struct iser_ctrl));
	struct reply r = { .size = LOGIN_TEXT_MAX };
	u32 dlen = ntoh24(req->dlength);
	u16 status = 0, fail = 0;

	r.buf = kzalloc(r.size, GFP_ATOMIC);
	if (!r.buf) {
		sim_conn_close(conn, false);
		return;
	}
	if (!conn->greeted)
		first_request(conn, req);
	buf[HDR_LEN + dlen] = 0;	/* rxbuf has room to spare */
	if (req->min_version != 0)
		status = ISCSI_STATUS_CLS_INITIATOR_ERR << 8 |
			 ISCSI_LOGIN_STATUS_NO_VERSION;
	else if (!answer_all(conn, buf + HDR_LEN, dlen, &r, &fail))
		status = fail;
	else if (!conn->initiator[0] || (!conn->discovery && conn->target < 0))
		status = ISCSI_STATUS_CLS_INITIATOR_ERR << 8 |
			 ISCSI_LOGIN_STATUS_MISSING_FIELDS;
	if (!conn->greeted && !conn->discovery && !status)
		add(&r, "TargetPortalGroupTag=%d",
		    sim_shared() ? conn->ad->index + 1 : 1);
	conn->greeted = true;
	login_reply(conn, req, &r, status);
	kfree(r.buf);
}

/* ---- text -------------------------------------------------------------- */

/**
 * sim_target_name - the name of a target
 * @ad: the adapter
 * @target: its number
 * @buf: receives the name
 * @n: room in @buf
 */
void sim_target_name(struct sim_adapter *ad, int target, char *buf, size_t n)
{
	snprintf(buf, n, "iqn.2026-11.example.simhca:%s.%d",
		 sim_shared() ? "shared" : ad->name, target);
}

static void add_portals(struct sim_adapter *ad, struct reply *r)
{
	__be32 addr;
	int i;

	for (i = 0; i < sim_knob(ad, portals); i++) {
		addr = cpu_to_be32(sim_subnet(ad->index) + 2 + i);
		add(r, "TargetAddress=%pI4:3260,%d", &addr,
		    sim_shared() ? ad->index + 1 : 1);
	}
}

static void add_target(struct sim_adapter *ad, int target, struct reply *r)
{
	char name[ISCSI_NAME_LEN];
	struct sim_adapter *other;
	int i;

	sim_target_name(ad, target, name, sizeof(name));
	add(r, "TargetName=%s", name);
	if (!sim_shared()) {
		add_portals(ad, r);
		return;
	}
	for (i = 0; (other = sim_adapter_get(i)); i++)
		add_portals(other, r);
}

static void send_targets(struct sim_conn *conn, const char *value)
{
	struct reply r = { .size = SZ_64K };
	int i;

	r.buf = kzalloc(r.size, GFP_ATOMIC);
	if (!r.buf)
		return;
	for (i = 0; i < sim_knob(conn->ad, targets); i++) {
		char name[ISCSI_NAME_LEN];

		sim_target_name(conn->ad, i, name, sizeof(name));
		if (!strcmp(value, "All") || !strcmp(value, name) ||
		    (!*value && i == conn->target))
			add_target(conn->ad, i, &r);
	}
	kfree(conn->text);
	conn->text = r.buf;
	conn->text_len = r.len;
	conn->text_pos = 0;
}

/* Send the next piece of a text answer. */
static void text_reply(struct sim_conn *conn, struct iscsi_text *req)
{
	u32 len = min_t(u32, conn->text_len - conn->text_pos, TEXT_SEGMENT);
	struct iscsi_text_rsp *rsp;
	struct sim_pdu *pdu;
	bool last = conn->text_pos + len == conn->text_len;

	pdu = sim_pdu_start(conn, ISCSI_OP_TEXT_RSP, len);
	if (!pdu)
		return;
	rsp = (struct iscsi_text_rsp *)sim_pdu_bhs(pdu);
	rsp->itt = req->itt;
	rsp->ttt = cpu_to_be32(last ? ISCSI_RESERVED_TAG : 1);
	rsp->flags = last ? ISCSI_FLAG_CMD_FINAL : ISCSI_FLAG_TEXT_CONTINUE;
	sim_pdu_data(pdu, conn->text + conn->text_pos, len);
	conn->text_pos += len;
	sim_pdu_send(conn, pdu, SIM_AT(rsp_text), SIM_ANY_OP);
}

/**
 * sim_text_rx - answer a text request
 * @conn: the connection
 * @buf: the PDU
 * @len: its length
 *
 * Engine context.
 */
void sim_text_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_text *req =
		(struct iscsi_text *)(buf + sizeof(struct iser_ctrl));
	u32 dlen = ntoh24(req->dlength);
	char *text = buf + HDR_LEN;

	sim_cmdsn(conn, (struct iscsi_hdr *)req);
	text[dlen] = 0;
	if (req->ttt == cpu_to_be32(ISCSI_RESERVED_TAG)) {
		conn->text_len = 0;
		conn->text_pos = 0;
		if (!strncmp(text, "SendTargets=", 12))
			send_targets(conn, text + 12);
	}
	text_reply(conn, req);
}
