/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What opcodes a target may send, by the numbers of the RFC: an opinion of its
 * own for the unit tests and for the fuzzer to compare <iser/wire.h> with.
 */
#ifndef OPCODES_H
#define OPCODES_H

#include <iser/wire.h>

/* RFC 7143, section 11.1.1.2 */
static inline enum iser_fault opcode_fault(u8 opcode)
{
	switch (opcode) {
	case 0x20 ... 0x24:
	case 0x26:
	case 0x32:
	case 0x3f:
		return ISER_FAULT_NONE;
	case 0x25:
	case 0x31:
		return ISER_FAULT_DATA_PDU;
	default:
		return ISER_FAULT_OPCODE;
	}
}

#endif /* OPCODES_H */
