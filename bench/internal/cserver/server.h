//go:build linux && cgo

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSERVER_H
#define CSERVER_H

struct cserver_options {
	int listener;         /* a listening socket, which the server takes over */
	unsigned threads;     /* each with a ring and buffers of its own */
	unsigned buffers;     /* of each thread, a power of two up to 32768 */
	unsigned buffer_size; /* in bytes */
	int echo;             /* 0: bytes are read and dropped */
	int ring_sends;       /* echoes by entries of the ring, else by send(2) */
};

struct cserver;

/* Returns 0, or a negative errno; then the listener is still the caller's. */
int cserver_start(struct cserver **out, const struct cserver_options *options);

/* Bytes received so far. From any thread. */
long long cserver_received(struct cserver *s);

/* Ends the threads, closes all sockets and frees s. */
void cserver_stop(struct cserver *s);

#endif
