/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for the kernel to receive into, mapped and advised as the library does. */
#ifndef CBENCH_MEMORY_H
#define CBENCH_MEMORY_H

#include <stddef.h>

/* Zeroed memory, aligned to a huge page if it holds one; NULL if there is none. */
void *cbench_map(size_t size);
/* mem may be NULL. */
void cbench_unmap(void *mem, size_t size);

#endif
