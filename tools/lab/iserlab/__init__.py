# SPDX-License-Identifier: GPL-2.0-only
"""The lab: kernels, a root filesystem and guests to try ib_iser in.

guest.py is what tests use; everything else makes the things that a guest
is booted from, in a cache outside the checkout (see paths.py).
"""
