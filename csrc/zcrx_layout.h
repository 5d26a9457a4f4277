/* SPDX-License-Identifier: Apache-2.0 */
/* Stops the build if a kernel struct has not the layout that the Go side relies on. */
#ifndef ZCRX_LAYOUT_H
#define ZCRX_LAYOUT_H

#include <stddef.h>

#define ZCX_SIZE(type, size) \
	_Static_assert(sizeof(type) == (size), #type " has another size")
#define ZCX_OFFSET(type, field, offset) \
	_Static_assert(offsetof(type, field) == (offset), \
		       #type "." #field " has another offset")

#endif
