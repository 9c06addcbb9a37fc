/* SPDX-License-Identifier: GPL-2.0-only */
/* User space's stand-in for the kernel's header. */
#include <string.h>
