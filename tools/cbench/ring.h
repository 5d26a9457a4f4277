/* SPDX-License-Identifier: Apache-2.0 */
/* Loops over a ring in C, with which the benchmarks of package uring compare Go's. */
#ifndef CBENCH_RING_H
#define CBENCH_RING_H

#include "zcrx_liburing.h"

int cbench_ring_open(struct io_uring *r, unsigned entries);

/* These return how many nanoseconds they took, or a negative errno. */

/* n requests that do nothing, one at a time. */
long long cbench_nops(struct io_uring *r, long long n);

/*
 * n reads of a block at random places of the first blocks of fd, depth at a time, into memory
 * of depth blocks.
 */
long long cbench_reads(struct io_uring *r, int fd, char *memory, unsigned block,
		       unsigned long long blocks, unsigned depth, long long n);

#endif
