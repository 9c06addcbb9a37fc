/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User space's stand-in for the kernel's header: the types that wire.h and
 * the iSCSI headers use, and the byte order of a little-endian machine.
 */
#ifndef ISER_FUZZ_TYPES_H
#define ISER_FUZZ_TYPES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef u16 __be16;
typedef u32 __be32;
typedef u64 __be64;

#define __bitwise
#define __packed		__attribute__((packed))
#define cpu_to_be32(x)		htobe32(x)
#define cpu_to_be64(x)		htobe64(x)

#endif /* ISER_FUZZ_TYPES_H */
