//go:build linux && cgo

/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "memory.h"

#include <stdint.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)

static size_t whole_pages(size_t size)
{
	return (size + PAGE - 1) & ~(PAGE - 1);
}

void *cbench_map(size_t size)
{
	size_t align = size >= HUGE_PAGE ? HUGE_PAGE : PAGE;
	size_t skip;
	char *mem;

	size = whole_pages(size);
	mem = mmap(NULL, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	/* Unmap what lies before and after the aligned part. */
	skip = -(uintptr_t)mem & (align - 1);
	if (skip)
		munmap(mem, skip);
	mem += skip;
	if (align - skip)
		munmap(mem + size, align - skip);
	madvise(mem, size, MADV_DONTDUMP);
	madvise(mem, size, MADV_DONTFORK);
	madvise(mem, size, MADV_HUGEPAGE);
	return mem;
}

void cbench_unmap(void *mem, size_t size)
{
	if (mem)
		munmap(mem, whole_pages(size));
}
