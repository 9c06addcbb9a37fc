/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User space's stand-in for the kernel's header: what the kernel's
 * scsi/iscsi_proto.h, which is used as it is, takes from there.
 */
#ifndef ISER_FUZZ_SCSI_H
#define ISER_FUZZ_SCSI_H

#include <linux/types.h>

#define SCSI_MAX_VARLEN_CDB_SIZE	260

struct scsi_lun {
	__u8 scsi_lun[8];
};

#endif /* ISER_FUZZ_SCSI_H */
