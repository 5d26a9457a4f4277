package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A path, and any other *byte here, is the address of a string that ends with a zero byte, as
// unix.BytePtrFromString makes it. The kernel reads it when the entry is submitted. A path that
// is relative begins at the directory dirfd, or at the working directory with unix.AT_FDCWD.

func (s *SQE) path(p *byte) uint64 { return s.address(unsafe.Pointer(p)) }

// PrepOpenat prepares openat(2): flags are unix.O_*, mode is that of a new file. The
// completion's Res is the fd. The kernel first tries it without waiting: a FIFO without another
// end is then opened for reading, and ENXIO for writing, unless SQEAsync is set (Linux 5.6).
//
// Implements: void io_uring_prep_openat(struct io_uring_sqe *sqe, int dfd, const char *path, int flags, mode_t mode)
func (s *SQE) PrepOpenat(dirfd int, path *byte, flags int, mode uint32) {
	s.prep(OpOpenat, dirfd, s.path(path), mode, 0)
	s.OpFlags = uint32(flags)
}

// PrepOpenatDirect is PrepOpenat into the table of registered files, at place index or with
// FileIndexAlloc at one that the kernel chooses: Res is its number then, and 0 otherwise.
// unix.O_CLOEXEC is EINVAL (Linux 5.15).
//
// Implements: void io_uring_prep_openat_direct(struct io_uring_sqe *sqe, int dfd, const char *path, int flags, mode_t mode, unsigned file_index)
func (s *SQE) PrepOpenatDirect(dirfd int, path *byte, flags int, mode, index uint32) {
	s.PrepOpenat(dirfd, path, flags, mode)
	s.direct(index)
}

// PrepOpen is PrepOpenat at the working directory.
//
// Implements: void io_uring_prep_open(struct io_uring_sqe *sqe, const char *path, int flags, mode_t mode)
func (s *SQE) PrepOpen(path *byte, flags int, mode uint32) {
	s.PrepOpenat(unix.AT_FDCWD, path, flags, mode)
}

// PrepOpenDirect is PrepOpenatDirect at the working directory.
//
// Implements: void io_uring_prep_open_direct(struct io_uring_sqe *sqe, const char *path, int flags, mode_t mode, unsigned file_index)
func (s *SQE) PrepOpenDirect(path *byte, flags int, mode, index uint32) {
	s.PrepOpenatDirect(unix.AT_FDCWD, path, flags, mode, index)
}

// PrepOpenat2 prepares openat2(2) (Linux 5.6).
//
// Implements: void io_uring_prep_openat2(struct io_uring_sqe *sqe, int dfd, const char *path, const struct open_how *how)
func (s *SQE) PrepOpenat2(dirfd int, path *byte, how *unix.OpenHow) {
	s.prep(OpOpenat2, dirfd, s.path(path), uint32(unsafe.Sizeof(*how)), s.address(unsafe.Pointer(how)))
}

// PrepOpenat2Direct is PrepOpenat2 into the table of registered files, as PrepOpenatDirect
// (Linux 5.15).
//
// Implements: void io_uring_prep_openat2_direct(struct io_uring_sqe *sqe, int dfd, const char *path, const struct open_how *how, unsigned file_index)
func (s *SQE) PrepOpenat2Direct(dirfd int, path *byte, how *unix.OpenHow, index uint32) {
	s.PrepOpenat2(dirfd, path, how)
	s.direct(index)
}

// PrepStatx prepares statx(2) into stat: flags are unix.AT_*, mask is unix.STATX_* (Linux 5.6).
//
// Implements: void io_uring_prep_statx(struct io_uring_sqe *sqe, int dfd, const char *path, int flags, unsigned mask, struct statx *statxbuf)
func (s *SQE) PrepStatx(dirfd int, path *byte, flags int, mask uint32, stat *unix.Statx_t) {
	s.prep(OpStatx, dirfd, s.path(path), mask, s.address(unsafe.Pointer(stat)))
	s.OpFlags = uint32(flags)
}

// PrepUnlinkat prepares unlinkat(2); with unix.AT_REMOVEDIR it removes a directory (Linux 5.11).
//
// Implements: void io_uring_prep_unlinkat(struct io_uring_sqe *sqe, int dfd, const char *path, int flags)
func (s *SQE) PrepUnlinkat(dirfd int, path *byte, flags int) {
	s.prep(OpUnlinkat, dirfd, s.path(path), 0, 0)
	s.OpFlags = uint32(flags)
}

// PrepUnlink is PrepUnlinkat at the working directory.
//
// Implements: void io_uring_prep_unlink(struct io_uring_sqe *sqe, const char *path, int flags)
func (s *SQE) PrepUnlink(path *byte, flags int) { s.PrepUnlinkat(unix.AT_FDCWD, path, flags) }

// PrepRenameat prepares renameat2(2): flags are unix.RENAME_* (Linux 5.11).
//
// Implements: void io_uring_prep_renameat(struct io_uring_sqe *sqe, int olddfd, const char *oldpath, int newdfd, const char *newpath, unsigned int flags)
func (s *SQE) PrepRenameat(oldDirfd int, oldPath *byte, newDirfd int, newPath *byte, flags uint32) {
	s.prep(OpRenameat, oldDirfd, s.path(oldPath), uint32(newDirfd), s.path(newPath))
	s.OpFlags = flags
}

// PrepRename is PrepRenameat at the working directory.
//
// Implements: void io_uring_prep_rename(struct io_uring_sqe *sqe, const char *oldpath, const char *newpath)
func (s *SQE) PrepRename(oldPath, newPath *byte) {
	s.PrepRenameat(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, 0)
}

// PrepMkdirat prepares mkdirat(2) (Linux 5.15).
//
// Implements: void io_uring_prep_mkdirat(struct io_uring_sqe *sqe, int dfd, const char *path, mode_t mode)
func (s *SQE) PrepMkdirat(dirfd int, path *byte, mode uint32) {
	s.prep(OpMkdirat, dirfd, s.path(path), mode, 0)
}

// PrepMkdir is PrepMkdirat at the working directory.
//
// Implements: void io_uring_prep_mkdir(struct io_uring_sqe *sqe, const char *path, mode_t mode)
func (s *SQE) PrepMkdir(path *byte, mode uint32) { s.PrepMkdirat(unix.AT_FDCWD, path, mode) }

// PrepSymlinkat prepares symlinkat(2): a link at path whose text is target (Linux 5.15).
//
// Implements: void io_uring_prep_symlinkat(struct io_uring_sqe *sqe, const char *target, int newdirfd, const char *linkpath)
func (s *SQE) PrepSymlinkat(target *byte, dirfd int, path *byte) {
	s.prep(OpSymlinkat, dirfd, s.path(target), 0, s.path(path))
}

// PrepSymlink is PrepSymlinkat at the working directory.
//
// Implements: void io_uring_prep_symlink(struct io_uring_sqe *sqe, const char *target, const char *linkpath)
func (s *SQE) PrepSymlink(target, path *byte) { s.PrepSymlinkat(target, unix.AT_FDCWD, path) }

// PrepLinkat prepares linkat(2): flags are unix.AT_SYMLINK_FOLLOW and AT_EMPTY_PATH
// (Linux 5.15).
//
// Implements: void io_uring_prep_linkat(struct io_uring_sqe *sqe, int olddfd, const char *oldpath, int newdfd, const char *newpath, int flags)
func (s *SQE) PrepLinkat(oldDirfd int, oldPath *byte, newDirfd int, newPath *byte, flags int) {
	s.prep(OpLinkat, oldDirfd, s.path(oldPath), uint32(newDirfd), s.path(newPath))
	s.OpFlags = uint32(flags)
}

// PrepLink is PrepLinkat at the working directory.
//
// Implements: void io_uring_prep_link(struct io_uring_sqe *sqe, const char *oldpath, const char *newpath, int flags)
func (s *SQE) PrepLink(oldPath, newPath *byte, flags int) {
	s.PrepLinkat(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, flags)
}

// xattr prepares an operation on an extended attribute.
func (s *SQE) xattr(op Opcode, fd int, name *byte, value []byte) {
	s.prep(op, fd, s.path(name), uint32(len(value)), s.address(unsafe.Pointer(unsafe.SliceData(value))))
}

// PrepGetxattr prepares getxattr(2): the completion's Res is the attribute's length. With an
// empty value it only tells that (Linux 5.19).
//
// Implements: void io_uring_prep_getxattr(struct io_uring_sqe *sqe, const char *name, char *value, const char *path, unsigned int len)
func (s *SQE) PrepGetxattr(name *byte, value []byte, path *byte) {
	s.xattr(OpGetxattr, 0, name, value)
	s.Addr3 = s.path(path)
}

// PrepSetxattr prepares setxattr(2): flags are unix.XATTR_* (Linux 5.19).
//
// Implements: void io_uring_prep_setxattr(struct io_uring_sqe *sqe, const char *name, const char *value, const char *path, int flags, unsigned int len)
func (s *SQE) PrepSetxattr(name *byte, value []byte, path *byte, flags int) {
	s.xattr(OpSetxattr, 0, name, value)
	s.Addr3 = s.path(path)
	s.OpFlags = uint32(flags)
}

// PrepFGetxattr is PrepGetxattr for an open file (Linux 5.19).
//
// Implements: void io_uring_prep_fgetxattr(struct io_uring_sqe *sqe, int fd, const char *name, char *value, unsigned int len)
func (s *SQE) PrepFGetxattr(fd int, name *byte, value []byte) { s.xattr(OpFGetxattr, fd, name, value) }

// PrepFSetxattr is PrepSetxattr for an open file (Linux 5.19).
//
// Implements: void io_uring_prep_fsetxattr(struct io_uring_sqe *sqe, int fd, const char *name, const char *value, int flags, unsigned int len)
func (s *SQE) PrepFSetxattr(fd int, name *byte, value []byte, flags int) {
	s.xattr(OpFSetxattr, fd, name, value)
	s.OpFlags = uint32(flags)
}
