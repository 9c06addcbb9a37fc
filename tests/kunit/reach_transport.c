// SPDX-License-Identifier: GPL-2.0-only
/*
 * The driver's transport.c, and a way to its statics. See reach.h.
 */
#include "transport.c"
#include "reach.h"

struct iscsi_transport *reach_transport(void)
{
	return &iser_transport;
}
