package uring

import (
	"runtime"
)

// Registered files are named in SQE.FD by their place, with SQEFixedFile. The kernel keeps them
// open until they are taken out, also after the fds were closed.

// FileIndexAlloc as the place of a new file has the kernel choose a free one.
const FileIndexAlloc = ^uint32(0)

// FilesSkip in place of an fd leaves a place as it is, and -1 empties it.
const FilesSkip = -2

// RegisterFiles registers open files at the places from 0 on. -1 leaves a place empty
// (Linux 5.1). It returns EBUSY if the ring has registered files.
//
// Implements: int io_uring_register_files(struct io_uring *ring, const int *files, unsigned nr_files)
func (r *Ring) RegisterFiles(fds ...int) error {
	list := int32s(fds)
	_, err := r.call(fnRegisterFiles, sliceAddress(list), uint64(len(list)))
	runtime.KeepAlive(list)
	return err
}

// RegisterFilesTags is RegisterFiles with a tag for each file, of which there must be as many.
// A completion with a tag other than 0 as its user data comes when the file has left the table
// and no request uses it any more (Linux 5.13).
//
// Implements: int io_uring_register_files_tags(struct io_uring *ring, const int *files, const __u64 *tags, unsigned nr)
func (r *Ring) RegisterFilesTags(fds []int, tags []uint64) error {
	if err := sameLength("tags", len(tags), len(fds)); err != nil {
		return err
	}
	list := int32s(fds)
	_, err := r.call(fnRegisterFilesTags, sliceAddress(list), sliceAddress(tags), uint64(len(list)))
	runtime.KeepAlive(list)
	runtime.KeepAlive(tags)
	return err
}

// RegisterFilesSparse makes a table of n empty places (Linux 5.19).
//
// Implements: int io_uring_register_files_sparse(struct io_uring *ring, unsigned nr)
func (r *Ring) RegisterFilesSparse(n int) error {
	if err := inRange("number of files", n, 1, maxFiles); err != nil {
		return err
	}
	_, err := r.call(fnRegisterFilesSparse, uint64(n))
	return err
}

// maxFiles is how many files a ring can have registered (IORING_MAX_FIXED_FILES).
const maxFiles = 1 << 20

// RegisterFilesUpdate puts files at the places from offset on, and returns how many
// (Linux 5.5).
//
// Implements: int io_uring_register_files_update(struct io_uring *ring, unsigned off, const int *files, unsigned nr_files)
func (r *Ring) RegisterFilesUpdate(offset int, fds ...int) (int, error) {
	if err := inRange("offset", offset, 0, maxFiles); err != nil {
		return 0, err
	}
	list := int32s(fds)
	n, err := r.call(fnRegisterFilesUpdate, uint64(offset), sliceAddress(list), uint64(len(list)))
	runtime.KeepAlive(list)
	return n, err
}

// RegisterFilesUpdateTag is RegisterFilesUpdate with tags, as for RegisterFilesTags
// (Linux 5.13).
//
// Implements: int io_uring_register_files_update_tag(struct io_uring *ring, unsigned off, const int *files, const __u64 *tags, unsigned nr_files)
func (r *Ring) RegisterFilesUpdateTag(offset int, fds []int, tags []uint64) (int, error) {
	if err := inRange("offset", offset, 0, maxFiles); err != nil {
		return 0, err
	}
	if err := sameLength("tags", len(tags), len(fds)); err != nil {
		return 0, err
	}
	list := int32s(fds)
	n, err := r.call(fnRegisterFilesUpdateTag, uint64(offset), sliceAddress(list), sliceAddress(tags), uint64(len(list)))
	runtime.KeepAlive(list)
	runtime.KeepAlive(tags)
	return n, err
}

// UnregisterFiles takes all files out of the table and the table away.
//
// Implements: int io_uring_unregister_files(struct io_uring *ring)
func (r *Ring) UnregisterFiles() error {
	_, err := r.call(fnUnregisterFiles)
	return err
}

// RegisterFileAllocRange has FileIndexAlloc choose among n places from offset on (Linux 6.0).
//
// Implements: int io_uring_register_file_alloc_range(struct io_uring *ring, unsigned off, unsigned len)
func (r *Ring) RegisterFileAllocRange(offset, n int) error {
	if err := inRange("offset", offset, 0, maxFiles); err != nil {
		return err
	}
	if err := inRange("number of places", n, 0, maxFiles); err != nil {
		return err
	}
	_, err := r.call(fnRegisterFileAllocRange, uint64(offset), uint64(n))
	return err
}

func int32s(fds []int) []int32 {
	list := make([]int32, len(fds))
	for i, fd := range fds {
		list[i] = int32(fd)
	}
	return list
}
