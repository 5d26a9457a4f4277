/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receiver in C on a real ring, with which the benchmarks compare the library's
 * Receiver, and a sender.
 */
#ifndef CBENCH_STREAM_H
#define CBENCH_STREAM_H

#include <pthread.h>
#include "zcrx_shim.h"

/* Functions return 0 or a negative errno. */

/* A TCP connection over loopback: fds[0] sends, fds[1] receives. */
int cbench_pair(int fds[2]);

/* A thread that writes chunks of 256 KiB to fd until the connection ends. */
struct cbench_sender {
	pthread_t thread;
	int fd;
	char *chunk;
};

int cbench_sender_start(struct cbench_sender *s, int fd);
/* Ends the connection, waits for the thread and closes fd. */
void cbench_sender_stop(struct cbench_sender *s);

enum cbench_mode { CBENCH_PROVIDED, CBENCH_DEVICE_LESS, CBENCH_ZERO_COPY };

struct cbench_stream {
	struct zcx_ring *owned;
	enum cbench_mode mode;
	int fd;
	int armed; /* the receive is in flight */
	int cancelling; /* its cancellation is in flight */
	unsigned char *area;
	long long received;
	unsigned long long sum; /* of first bytes, so that the compiler keeps the reads */

	/* CBENCH_PROVIDED */
	struct io_uring_buf_ring *buffers;

	/* CBENCH_DEVICE_LESS, CBENCH_ZERO_COPY */
	void *region;
	struct io_uring_zcrx_rq rq;
	__u32 zcrx_id;
	int flush_now;
};

/*
 * The thread that opens a stream owns its ring, and must also run and close the stream.
 * The caller still has to close fd. A stream that could not be opened needs no close.
 * if_idx and if_rxq are the interface and its receive queue for CBENCH_ZERO_COPY.
 */
int cbench_stream_open(struct cbench_stream *s, int fd, enum cbench_mode mode,
		       unsigned if_idx, unsigned if_rxq);
/* Receives at least that many bytes; returns -ENODATA if the peer ends before. */
int cbench_stream_run(struct cbench_stream *s, long long bytes);
void cbench_stream_close(struct cbench_stream *s);

#endif
