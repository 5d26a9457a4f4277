package uring

import (
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// An offset is in bytes from the beginning of the file; -1 is the file's position.

// vector prepares an operation on a list of slices.
func (s *SQE) vector(op Opcode, fd int, iovecs []Iovec, off int64) {
	s.prep(op, fd, s.address(unsafe.Pointer(unsafe.SliceData(iovecs))), uint32(len(iovecs)), uint64(off))
}

// direct has the kernel put a new file at a place of the table of registered files.
func (s *SQE) direct(index uint32) {
	if index == FileIndexAlloc {
		index--
	}
	s.FileIndex = index + 1
}

// PrepReadv prepares to read into several slices, in order (Linux 5.1).
//
// Implements: void io_uring_prep_readv(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64 offset)
func (s *SQE) PrepReadv(fd int, iovecs []Iovec, off int64) { s.vector(OpReadv, fd, iovecs, off) }

// PrepReadv2 is PrepReadv with unix.RWF_* flags (Linux 5.1).
//
// Implements: void io_uring_prep_readv2(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64 offset, int flags)
func (s *SQE) PrepReadv2(fd int, iovecs []Iovec, off int64, flags int) {
	s.PrepReadv(fd, iovecs, off)
	s.OpFlags = uint32(flags)
}

// PrepReadFixed prepares to read into b, which lies in the registered buffer at place index
// (Linux 5.1).
//
// Implements: void io_uring_prep_read_fixed(struct io_uring_sqe *sqe, int fd, void *buf, unsigned nbytes, __u64 offset, int buf_index)
func (s *SQE) PrepReadFixed(fd int, b []byte, off int64, index uint16) {
	s.transfer(OpReadFixed, fd, b, uint64(off))
	s.BufferGroup = index
}

// PrepReadvFixed is PrepReadv2 into slices that lie in a registered buffer (Linux 6.15).
//
// Implements: void io_uring_prep_readv_fixed(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64 offset, int flags, int buf_index)
func (s *SQE) PrepReadvFixed(fd int, iovecs []Iovec, off int64, flags int, index uint16) {
	s.vector(OpReadvFixed, fd, iovecs, off)
	s.OpFlags = uint32(flags)
	s.BufferGroup = index
}

// PrepReadMultishot prepares to read into a provided buffer of the group each time that there is
// something, until it is cancelled, the end comes or an error occurs. n must be 0: the buffers
// bound a read. fd must be pollable, such as a pipe (Linux 6.7).
//
// Implements: void io_uring_prep_read_multishot(struct io_uring_sqe *sqe, int fd, unsigned nbytes, __u64 offset, int buf_group)
func (s *SQE) PrepReadMultishot(fd int, n uint32, off int64, group uint16) {
	s.prep(OpReadMultishot, fd, 0, n, uint64(off))
	s.BufferGroup = group
	s.Flags = SQEBufferSelect
}

// PrepWrite prepares to write b (Linux 5.6).
//
// Implements: void io_uring_prep_write(struct io_uring_sqe *sqe, int fd, const void *buf, unsigned nbytes, __u64 offset)
func (s *SQE) PrepWrite(fd int, b []byte, off int64) { s.transfer(OpWrite, fd, b, uint64(off)) }

// PrepWritev prepares to write several slices, in order (Linux 5.1).
//
// Implements: void io_uring_prep_writev(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64 offset)
func (s *SQE) PrepWritev(fd int, iovecs []Iovec, off int64) { s.vector(OpWritev, fd, iovecs, off) }

// PrepWritev2 is PrepWritev with unix.RWF_* flags (Linux 5.1).
//
// Implements: void io_uring_prep_writev2(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64 offset, int flags)
func (s *SQE) PrepWritev2(fd int, iovecs []Iovec, off int64, flags int) {
	s.PrepWritev(fd, iovecs, off)
	s.OpFlags = uint32(flags)
}

// PrepWriteFixed prepares to write b, which lies in the registered buffer at place index
// (Linux 5.1).
//
// Implements: void io_uring_prep_write_fixed(struct io_uring_sqe *sqe, int fd, const void *buf, unsigned nbytes, __u64 offset, int buf_index)
func (s *SQE) PrepWriteFixed(fd int, b []byte, off int64, index uint16) {
	s.transfer(OpWriteFixed, fd, b, uint64(off))
	s.BufferGroup = index
}

// PrepWritevFixed is PrepWritev2 of slices that lie in a registered buffer (Linux 6.15).
//
// Implements: void io_uring_prep_writev_fixed(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64 offset, int flags, int buf_index)
func (s *SQE) PrepWritevFixed(fd int, iovecs []Iovec, off int64, flags int, index uint16) {
	s.vector(OpWritevFixed, fd, iovecs, off)
	s.OpFlags = uint32(flags)
	s.BufferGroup = index
}

// FsyncDatasync for PrepFsync is fdatasync(2).
const FsyncDatasync uint32 = uapi.IORING_FSYNC_DATASYNC

// PrepFsync prepares fsync(2), or fdatasync(2) with FsyncDatasync. It does not wait for writes
// that are under way: link it behind them (Linux 5.1).
//
// Implements: void io_uring_prep_fsync(struct io_uring_sqe *sqe, int fd, unsigned fsync_flags)
func (s *SQE) PrepFsync(fd int, flags uint32) {
	s.prep(OpFsync, fd, 0, 0, 0)
	s.OpFlags = flags
}

// PrepSyncFileRange prepares sync_file_range(2) of n bytes from off on; flags are
// unix.SYNC_FILE_RANGE_* (Linux 5.2).
//
// Implements: void io_uring_prep_sync_file_range(struct io_uring_sqe *sqe, int fd, unsigned len, __u64 offset, int flags)
func (s *SQE) PrepSyncFileRange(fd int, n uint32, off int64, flags int) {
	s.prep(OpSyncFileRange, fd, 0, n, uint64(off))
	s.OpFlags = uint32(flags)
}

// PrepFallocate prepares fallocate(2): mode is unix.FALLOC_FL_* (Linux 5.6).
//
// Implements: void io_uring_prep_fallocate(struct io_uring_sqe *sqe, int fd, int mode, __u64 offset, __u64 len)
func (s *SQE) PrepFallocate(fd int, mode uint32, off, n int64) {
	s.prep(OpFallocate, fd, 0, mode, uint64(off))
	s.Addr = uint64(n)
}

// PrepFtruncate prepares ftruncate(2) to n bytes (Linux 6.9).
//
// Implements: void io_uring_prep_ftruncate(struct io_uring_sqe *sqe, int fd, loff_t len)
func (s *SQE) PrepFtruncate(fd int, n int64) { s.prep(OpFtruncate, fd, 0, 0, uint64(n)) }

// PrepFadvise prepares posix_fadvise(2) for n bytes from off on: advice is unix.FADV_*
// (Linux 5.6).
//
// Implements: void io_uring_prep_fadvise(struct io_uring_sqe *sqe, int fd, __u64 offset, __u32 len, int advice)
func (s *SQE) PrepFadvise(fd int, off int64, n uint32, advice int) {
	s.prep(OpFadvise, fd, 0, n, uint64(off))
	s.OpFlags = uint32(advice)
}

// PrepFadvise64 is PrepFadvise for more than 4 GiB (Linux 6.11).
//
// Implements: void io_uring_prep_fadvise64(struct io_uring_sqe *sqe, int fd, __u64 offset, off_t len, int advice)
func (s *SQE) PrepFadvise64(fd int, off, n int64, advice int) {
	s.prep(OpFadvise, fd, 0, 0, uint64(off))
	s.Addr = uint64(n)
	s.OpFlags = uint32(advice)
}

// PrepMadvise prepares madvise(2) for b, which begins with a page: advice is unix.MADV_*. Not
// for Go's heap, of which it takes what lies beside (Linux 5.6).
//
// Implements: void io_uring_prep_madvise(struct io_uring_sqe *sqe, void *addr, __u32 length, int advice)
func (s *SQE) PrepMadvise(b []byte, advice int) {
	s.transfer(OpMadvise, -1, b, 0)
	s.OpFlags = uint32(advice)
}

// PrepMadvise64 is PrepMadvise for more than 2 GiB (Linux 6.11).
//
// Implements: void io_uring_prep_madvise64(struct io_uring_sqe *sqe, void *addr, off_t length, int advice)
func (s *SQE) PrepMadvise64(b []byte, advice int) {
	s.prep(OpMadvise, -1, s.address(unsafe.Pointer(unsafe.SliceData(b))), 0, uint64(len(b)))
	s.OpFlags = uint32(advice)
}

// SpliceFDInFixed among the flags of PrepSplice and PrepTee says that the fd to read from is
// the place of a registered file.
const SpliceFDInFixed uint32 = uapi.SPLICE_F_FD_IN_FIXED

// PrepSplice prepares splice(2) of n bytes; the offset of a pipe is -1. flags are unix.SPLICE_F_*
// and SpliceFDInFixed. SQEFixedFile is for the fd to write to (Linux 5.7).
//
// Implements: void io_uring_prep_splice(struct io_uring_sqe *sqe, int fd_in, int64_t off_in, int fd_out, int64_t off_out, unsigned int nbytes, unsigned int splice_flags)
func (s *SQE) PrepSplice(fdIn int, offIn int64, fdOut int, offOut int64, n, flags uint32) {
	s.prep(OpSplice, fdOut, 0, n, uint64(offOut))
	s.Addr = uint64(offIn)
	s.FileIndex = uint32(fdIn)
	s.OpFlags = flags
}

// PrepTee prepares tee(2) of n bytes of a pipe to another (Linux 5.8).
//
// Implements: void io_uring_prep_tee(struct io_uring_sqe *sqe, int fd_in, int fd_out, unsigned int nbytes, unsigned int splice_flags)
func (s *SQE) PrepTee(fdIn, fdOut int, n, flags uint32) {
	s.prep(OpTee, fdOut, 0, n, 0)
	s.FileIndex = uint32(fdIn)
	s.OpFlags = flags
}

// PrepPipe prepares pipe2(2), which puts both ends into fds; flags are unix.O_* (Linux 6.16).
//
// Implements: void io_uring_prep_pipe(struct io_uring_sqe *sqe, int *fds, int pipe_flags)
func (s *SQE) PrepPipe(fds *[2]int32, flags int) {
	s.prep(OpPipe, 0, s.address(unsafe.Pointer(fds)), 0, 0)
	s.OpFlags = uint32(flags)
}

// PrepPipeDirect is PrepPipe into the table of registered files: at place index and the next
// one, or with FileIndexAlloc at two that the kernel chooses. It puts their numbers into fds.
// unix.O_CLOEXEC is EINVAL (Linux 6.16).
//
// Implements: void io_uring_prep_pipe_direct(struct io_uring_sqe *sqe, int *fds, int pipe_flags, unsigned int file_index)
func (s *SQE) PrepPipeDirect(fds *[2]int32, flags int, index uint32) {
	s.PrepPipe(fds, flags)
	s.direct(index)
}

// PrepCloseDirect prepares to empty a place of the table of registered files (Linux 5.15).
//
// Implements: void io_uring_prep_close_direct(struct io_uring_sqe *sqe, unsigned file_index)
func (s *SQE) PrepCloseDirect(index uint32) {
	s.PrepClose(0)
	s.direct(index) // liburing does not take FileIndexAlloc for a place either, but closes fd 0
}

// PrepFilesUpdate prepares to put files at the places from offset on; with -1 as offset, which
// is FileIndexAlloc, the kernel chooses them and puts their numbers into fds. The completion's
// Res is how many it did before an error, which comes alone only if it did none; the place of a
// bad fd is emptied (Linux 5.6).
//
// Implements: void io_uring_prep_files_update(struct io_uring_sqe *sqe, int *fds, unsigned nr_fds, int offset)
func (s *SQE) PrepFilesUpdate(fds []int32, offset int) {
	s.prep(OpFilesUpdate, -1, s.address(unsafe.Pointer(unsafe.SliceData(fds))), uint32(len(fds)), uint64(int64(offset)))
}

// FixedFDNoCloexec for PrepFixedFDInstall makes an fd without O_CLOEXEC.
const FixedFDNoCloexec uint32 = uapi.IORING_FIXED_FD_NO_CLOEXEC

// PrepFixedFDInstall prepares to make an fd of the registered file at place index. The
// completion's Res is the fd (Linux 6.8).
//
// Implements: void io_uring_prep_fixed_fd_install(struct io_uring_sqe *sqe, int fd, unsigned int flags)
func (s *SQE) PrepFixedFDInstall(index int, flags uint32) {
	s.prep(OpFixedFDInstall, index, 0, 0, 0)
	s.Flags = SQEFixedFile
	s.OpFlags = flags
}
