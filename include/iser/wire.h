/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What goes over the wire: pure functions that encode, decode and validate.
 *
 * Nothing here touches a device, takes a lock or allocates, so KUnit and
 * user-space fuzzers call the very code that the module runs.
 *
 * Normal operation: the module fills the iSER header in front of every PDU
 * that it sends, and passes every PDU that it receives through
 * iser_pdu_check() before one field of it is used.
 *
 * Recovery: there is none. A PDU that does not pass is a protocol error and
 * the caller drops the connection; iser_fault_text() names what was wrong.
 */
#ifndef ISER_WIRE_H
#define ISER_WIRE_H

#include <linux/string.h>
#include <linux/types.h>
#include <scsi/iscsi_proto.h>
#include <scsi/iser.h>

/* iSER header and iSCSI basic header segment: the least a PDU consists of */
#define ISER_HEADERS_LEN	(sizeof(struct iser_ctrl) + \
				 sizeof(struct iscsi_hdr))

/* The upper four bits of the first octet tell the iSER message type */
#define ISER_OPCODE_MASK	0xf0

/*
 * Initiator task tag: index of the task, generation of its slot, session age.
 * libiscsi fixes the width of the index and of the age (4 bits, on top); the
 * generation tells a late response from the response to the slot's next user,
 * and an answer from a guess.
 */
#define ISER_ITT_INDEX_BITS	13
#define ISER_ITT_INDEX_MASK	((1u << ISER_ITT_INDEX_BITS) - 1)
#define ISER_ITT_GEN_BITS	15
#define ISER_ITT_GEN_MASK	((1u << ISER_ITT_GEN_BITS) - 1)
#define ISER_ITT_AGE_SHIFT	(ISER_ITT_INDEX_BITS + ISER_ITT_GEN_BITS)
#define ISER_ITT_AGE_MASK	0xfu

/* What can be wrong with a PDU by itself, whatever it belongs to */
enum iser_fault {
	ISER_FAULT_NONE,
	ISER_FAULT_SHORT,
	ISER_FAULT_HELLO,
	ISER_FAULT_TYPE,
	ISER_FAULT_OPCODE,
	ISER_FAULT_DATA_PDU,
	ISER_FAULT_LENGTH,
	ISER_FAULT_TRAILING,
	ISER_FAULT_COUNT
};

/**
 * struct iser_pdu - a received PDU, taken apart
 * @hdr: iSCSI basic header segment
 * @data: data segment, valid for @datalen bytes
 * @datalen: bytes in the data segment, padding not counted
 * @opcode: iSCSI opcode without the immediate bit
 */
struct iser_pdu {
	struct iscsi_hdr *hdr;
	void *data;
	u32 datalen;
	u8 opcode;
};

static inline const char *iser_fault_text(enum iser_fault fault)
{
	static const char * const text[ISER_FAULT_COUNT] = {
		[ISER_FAULT_NONE]	= "no fault",
		[ISER_FAULT_SHORT]	= "shorter than its headers",
		[ISER_FAULT_HELLO]	= "Hello message that nobody asked for",
		[ISER_FAULT_TYPE]	= "unknown iSER message type",
		[ISER_FAULT_OPCODE]	= "opcode that no target may send",
		[ISER_FAULT_DATA_PDU]	= "Data-In or R2T, which iSER does not have",
		[ISER_FAULT_LENGTH]	= "data segment longer than the message",
		[ISER_FAULT_TRAILING]	= "message longer than its data segment",
	};

	return text[fault];
}

/**
 * iser_ctrl_init - write the iSER header of a PDU that advertises no memory
 * @ctrl: where to
 *
 * RFC 7145, section 9.3: control-type message, no STag valid.
 */
static inline void iser_ctrl_init(struct iser_ctrl *ctrl)
{
	memset(ctrl, 0, sizeof(*ctrl));
	ctrl->flags = ISCSI_CTRL;
}

/**
 * iser_ctrl_read - advertise the memory that a READ is to fill
 * @ctrl: header that iser_ctrl_init() has written
 * @rkey: steering tag
 * @va: address of the first byte
 *
 * RFC 7145, sections 7.3.1 and 9.3.
 */
static inline void iser_ctrl_read(struct iser_ctrl *ctrl, u32 rkey, u64 va)
{
	ctrl->flags |= ISER_RSV;
	ctrl->read_stag = cpu_to_be32(rkey);
	ctrl->read_va = cpu_to_be64(va);
}

/**
 * iser_ctrl_write - advertise the memory that a WRITE is fetched from
 * @ctrl: header that iser_ctrl_init() has written
 * @rkey: steering tag
 * @va: address of the first byte that is solicited, that is behind the
 *	immediate and the unsolicited data
 *
 * RFC 7145, sections 7.3.1 and 9.3 (TaggedBufferForSolicitedDataOnly=Yes).
 */
static inline void iser_ctrl_write(struct iser_ctrl *ctrl, u32 rkey, u64 va)
{
	ctrl->flags |= ISER_WSV;
	ctrl->write_stag = cpu_to_be32(rkey);
	ctrl->write_va = cpu_to_be64(va);
}

/* RFC 7143, section 11.1.1.2: opcodes of PDUs that a target sends */
static inline enum iser_fault iser_opcode_check(u8 opcode)
{
	switch (opcode) {
	case ISCSI_OP_NOOP_IN:
	case ISCSI_OP_SCSI_CMD_RSP:
	case ISCSI_OP_SCSI_TMFUNC_RSP:
	case ISCSI_OP_LOGIN_RSP:
	case ISCSI_OP_TEXT_RSP:
	case ISCSI_OP_LOGOUT_RSP:
	case ISCSI_OP_ASYNC_EVENT:
	case ISCSI_OP_REJECT:
		return ISER_FAULT_NONE;
	case ISCSI_OP_SCSI_DATA_IN:
	case ISCSI_OP_R2T:
		return ISER_FAULT_DATA_PDU;
	default:
		return ISER_FAULT_OPCODE;
	}
}

/**
 * iser_pdu_check - validate a received message and take it apart
 * @buf: the message, from its iSER header on
 * @len: bytes received, as the completion tells
 * @pdu: filled in when the message is sound
 *
 * The length of the message must be that of its headers plus the data
 * segment that the header tells, and may be up to three bytes of padding longer.
 * RFC 7145, section 9.3; RFC 7143, section 11.2.
 *
 * Return: ISER_FAULT_NONE, or what is wrong.
 */
static inline enum iser_fault iser_pdu_check(void *buf, u32 len,
					     struct iser_pdu *pdu)
{
	const struct iser_ctrl *ctrl = buf;
	struct iscsi_hdr *hdr = buf + sizeof(*ctrl);
	enum iser_fault fault;
	u32 headers, data;

	if (len < ISER_HEADERS_LEN)
		return ISER_FAULT_SHORT;

	switch (ctrl->flags & ISER_OPCODE_MASK) {
	case ISCSI_CTRL:
		break;
	case ISER_HELLO:
	case ISER_HELLORPLY:
		return ISER_FAULT_HELLO;
	default:
		return ISER_FAULT_TYPE;
	}

	fault = iser_opcode_check(hdr->opcode & ISCSI_OPCODE_MASK);
	if (fault)
		return fault;

	headers = ISER_HEADERS_LEN + hdr->hlength * ISCSI_PAD_LEN;
	data = ntoh24(hdr->dlength);
	if (len < headers || len - headers < data)
		return ISER_FAULT_LENGTH;
	if (len - headers - data >= ISCSI_PAD_LEN)
		return ISER_FAULT_TRAILING;

	pdu->hdr = hdr;
	pdu->data = buf + headers;
	pdu->datalen = data;
	pdu->opcode = hdr->opcode & ISCSI_OPCODE_MASK;
	return ISER_FAULT_NONE;
}

/**
 * iser_response_opcode - the opcode that answers a request
 * @request: opcode of the request, with or without the immediate bit
 *
 * RFC 7143, section 11.1.1.2: a response has its request's opcode plus 0x20.
 *
 * Return: the opcode.
 */
static inline u8 iser_response_opcode(u8 request)
{
	return (request & ISCSI_OPCODE_MASK) | 0x20;
}

static inline u32 iser_itt_make(u32 index, u32 gen, u32 age)
{
	return (index & ISER_ITT_INDEX_MASK) |
	       (gen & ISER_ITT_GEN_MASK) << ISER_ITT_INDEX_BITS |
	       (age & ISER_ITT_AGE_MASK) << ISER_ITT_AGE_SHIFT;
}

static inline u32 iser_itt_index(u32 itt)
{
	return itt & ISER_ITT_INDEX_MASK;
}

static inline u32 iser_itt_age(u32 itt)
{
	return itt >> ISER_ITT_AGE_SHIFT & ISER_ITT_AGE_MASK;
}

/**
 * iser_text_has - does a text segment hold exactly this key=value pair?
 * @text: login or text data segment: pairs, each ended by a zero byte
 * @len: bytes in @text
 * @pair: what to look for
 *
 * Return: true if it does.
 */
static inline bool iser_text_has(const char *text, u32 len, const char *pair)
{
	size_t want = strlen(pair) + 1;

	while (len) {
		size_t n = strnlen(text, len);

		if (n + 1 == want && n < len && !memcmp(text, pair, want))
			return true;
		if (n == len)
			return false;
		text += n + 1;
		len -= n + 1;
	}
	return false;
}

/**
 * iser_login_ends - does this login request ask for full-feature phase?
 * @hdr: login request
 *
 * RFC 7143, section 11.12: T bit set and NSG = FullFeaturePhase.
 *
 * Return: true if it does.
 */
static inline bool iser_login_ends(const struct iscsi_hdr *hdr)
{
	return (hdr->opcode & ISCSI_OPCODE_MASK) == ISCSI_OP_LOGIN &&
	       (hdr->flags & ISCSI_FLAG_LOGIN_TRANSIT) &&
	       (hdr->flags & ISCSI_FLAG_LOGIN_NEXT_STAGE_MASK) ==
			ISCSI_FULL_FEATURE_PHASE;
}

#endif /* ISER_WIRE_H */
