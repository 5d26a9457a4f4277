/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Includes liburing, or stops the build with one error that says what to run.
 * The cgo files include liburing through this header only.
 */
#ifndef ZCRX_LIBURING_H
#define ZCRX_LIBURING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#if !__has_include(<liburing.h>)
#error "zcrx needs liburing 2.15 or newer and found none: run 'make liburing' in the zcrx checkout, or 'third_party/liburing/build --prefix /usr/local' to install it for every consumer"
#else

#if __has_include(<liburing/io_uring_version.h>)
#include <liburing/io_uring_version.h>
#endif

#if !defined(IO_URING_VERSION_MAJOR) || \
	IO_URING_VERSION_MAJOR * 1000 + IO_URING_VERSION_MINOR < 2015
#error "zcrx needs liburing 2.15 or newer and found an older one: run 'make liburing' in the zcrx checkout, or 'third_party/liburing/build --prefix /usr/local' to install it for every consumer"
#else
#include <liburing.h>
#include <liburing/io_uring/query.h>
#endif
#endif

#endif
