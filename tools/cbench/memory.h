/* SPDX-License-Identifier: Apache-2.0 */
/* Memory to receive into, mapped as the library maps it and with the same advice. */
#ifndef CBENCH_MEMORY_H
#define CBENCH_MEMORY_H

#include <stddef.h>

/* Returns zeroed memory, aligned to a huge page if it is that large, NULL if there is none. */
void *cbench_map(size_t size);
/* mem may be NULL. */
void cbench_unmap(void *mem, size_t size);

#endif
