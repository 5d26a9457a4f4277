//go:build linux && cgo

package uring

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// fileKeep keeps memory that the kernel uses until the test ends.
func fileKeep[T any](t *testing.T, v T) T {
	t.Cleanup(func() { runtime.KeepAlive(v) })
	return v
}

// filePath is path for a string that stays until the test ends.
func filePath(t *testing.T, elem ...string) *byte {
	t.Helper()
	return fileKeep(t, path(t, filepath.Join(elem...)))
}

// fileBytes returns a copy of the string that stays until the test ends.
func fileBytes(t *testing.T, s string) []byte { return fileKeep(t, []byte(s)) }

// fileDir returns a directory. If the system's one cannot do much, as a ramfs, it is on a tmpfs.
func fileDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &fs))
	if fs.Type == unix.RAMFS_MAGIC {
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	}
	return dir
}

// fileNew makes a file and opens it.
func fileNew(t *testing.T, content string) (fd int, name string) {
	t.Helper()
	name = filepath.Join(fileDir(t), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return fileOpen(t, name, unix.O_RDWR), name
}

func fileOpen(t *testing.T, name string, flags int) int {
	t.Helper()
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func fileContent(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

// fileSize returns the size of an open file.
func fileSize(t *testing.T, fd int) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	return st.Size
}

// filePut writes to a pipe.
func filePut(t *testing.T, fd int, s string) {
	t.Helper()
	n, err := unix.Write(fd, []byte(s))
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

// fileGet reads from a pipe what is there.
func fileGet(t *testing.T, fd int) string {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := unix.Read(fd, b)
	require.NoError(t, err)
	return string(b[:n])
}

// fileFull fills a pipe, so that a write to it waits.
func fileFull(t *testing.T, w int) {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(w), unix.F_SETPIPE_SZ, os.Getpagesize())
	require.NoError(t, err)
	filePut(t, w, strings.Repeat("x", n))
}

// fileCancelled begins a request that waits, cancels it and returns both completions.
func fileCancelled(t *testing.T, r *Ring, prep func(*SQE)) (waiter, cancel CQE) {
	t.Helper()
	queue(t, r, 1, prep)
	_, err := r.Submit()
	require.NoError(t, err)
	require.Zero(t, r.Pending(), "it waits")
	if os.Getenv("SLOW") != "" {
		time.Sleep(50*time.Millisecond)
	}
	queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
	for _, c := range reap(t, r, 2) {
		if c.UserData == 1 {
			waiter = c
		} else {
			cancel = c
		}
	}
	return waiter, cancel
}

// fileResults returns the results of the next n completions by user data, which begins with 0.
func fileResults(t *testing.T, r *Ring, n int) []int32 {
	t.Helper()
	results := make([]int32, n)
	for _, c := range reap(t, r, n) {
		results[c.UserData] = c.Res
	}
	return results
}

// fileChain queues requests, each linked to the next, and returns their results.
func fileChain(t *testing.T, r *Ring, preps ...func(*SQE)) []int32 {
	t.Helper()
	for i, prep := range preps {
		queue(t, r, uint64(i), func(s *SQE) {
			prep(s)
			if i < len(preps)-1 {
				s.Flags |= SQELink
			}
		})
	}
	return fileResults(t, r, len(preps))
}

func fileErr(e syscall.Errno) int32 { return -int32(e) }

// fileTable gives the ring a table of n registered files.
func fileTable(t *testing.T, r *Ring, n int) {
	t.Helper()
	if err := r.RegisterFilesSparse(n); err != nil {
		skip.Unless(t, "sparse tables of files", "5.19", err)
	}
}

// fileBuffers gives the ring a group of provided buffers.
func fileBuffers(t *testing.T, r *Ring, group uint16, n, size int) [][]byte {
	t.Helper()
	br, err := r.SetupBufRing(n, group, 0)
	if err != nil {
		skip.Unless(t, "rings of provided buffers", "5.19", err)
	}
	t.Cleanup(func() { assert.NoError(t, br.Free()) })
	buffers := fileKeep(t, make([][]byte, n))
	for i := range buffers {
		buffers[i] = make([]byte, size)
		br.Add(buffers[i], uint16(i))
	}
	br.Advance()
	return buffers
}

func TestOpReadAndWrite(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpWrite, "5.6")
		f, name := fileNew(t, "0123456789")
		b := fileKeep(t, make([]byte, 4))
		read := func(off int64) string {
			n := succeed(t, r, func(s *SQE) { s.PrepRead(f, b, off) })
			return string(b[:n])
		}
		assert.Equal(t, "3456", read(3))
		assert.Equal(t, "89", read(8), "what there is")
		assert.Empty(t, read(100), "behind the end")
		assert.Equal(t, "0123", read(-1), "at the position")
		assert.Equal(t, "4567", read(-1), "which has moved")
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepRead(f, nil, 0) }))

		write := func(text string, off int64) int {
			b := fileBytes(t, text)
			return succeed(t, r, func(s *SQE) { s.PrepWrite(f, b, off) })
		}
		assert.Equal(t, 2, write("ab", 2))
		assert.Equal(t, 3, write("XYZ", -1))
		assert.Equal(t, "01ab4567XYZ", fileContent(t, name))
		assert.Equal(t, 1, write("!", 5<<30), "behind 4 GiB")
		assert.EqualValues(t, 5<<30+1, fileSize(t, f))
	})
}

func TestOpReadAndWriteRefused(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpWrite, "5.6")
		f, name := fileNew(t, "0123456789")
		b := fileKeep(t, make([]byte, 4))
		readOnly, writeOnly := fileOpen(t, name, unix.O_RDONLY), fileOpen(t, name, unix.O_WRONLY)
		dir := fileOpen(t, filepath.Dir(name), unix.O_RDONLY)
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepRead(-1, b, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepRead(writeOnly, b, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepWrite(readOnly, b, 0) })
		failWith(t, r, unix.EISDIR, func(s *SQE) { s.PrepRead(dir, b, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRead(f, b, -2) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepWrite(f, b, -2) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepRead(f, b, 0); s.Addr = 1 })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepWrite(f, b, 0); s.Addr = 1 })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepRead(0, b, 0); s.Flags |= SQEFixedFile })
		assert.Equal(t, "0123456789", fileContent(t, name))
	})
}

// A worker does the same.
func TestOpReadAndWriteByWorker(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpWrite, "5.6")
		f, name := fileNew(t, "0123456789")
		b := fileBytes(t, "abcd")
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepWrite(f, b, 1); s.Flags |= SQEAsync }))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepRead(f, b, 3); s.Flags |= SQEAsync }))
		assert.Equal(t, "cd56", string(b))
		assert.Equal(t, "0abcd56789", fileContent(t, name))
	})
}

// The requests that can wait for a pipe: they go on when it is ready, and can be cancelled.
func TestOpReadAndWriteWait(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRead, "5.6")
		page := os.Getpagesize()
		mem := mapped(t, page)
		require.NoError(t, r.RegisterBuffers(mem))
		b := mem[:5]
		list := fileKeep(t, Iovecs(mem[:2], mem[2:5]))
		copy(b, "hello")
		reads := map[Opcode]func(s *SQE, fd int){
			OpRead:       func(s *SQE, fd int) { s.PrepRead(fd, b, 0) },
			OpReadv:      func(s *SQE, fd int) { s.PrepReadv(fd, list, 0) },
			OpReadFixed:  func(s *SQE, fd int) { s.PrepReadFixed(fd, b, 0, 0) },
			OpReadvFixed: func(s *SQE, fd int) { s.PrepReadvFixed(fd, list, 0, 0, 0) },
		}
		writes := map[Opcode]func(s *SQE, fd int){
			OpWrite:       func(s *SQE, fd int) { s.PrepWrite(fd, b, 0) },
			OpWritev:      func(s *SQE, fd int) { s.PrepWritev(fd, list, 0) },
			OpWriteFixed:  func(s *SQE, fd int) { s.PrepWriteFixed(fd, b, 0, 0) },
			OpWritevFixed: func(s *SQE, fd int) { s.PrepWritevFixed(fd, list, 0, 0, 0) },
		}
		probe, err := r.Probe()
		require.NoError(t, err)
		wait := func(op Opcode, prep func(s *SQE, fd int), fd int, ready func()) {
			t.Helper()
			waiter, cancel := fileCancelled(t, r, func(s *SQE) { prep(s, fd) })
			assert.Equal(t, unix.ECANCELED, waiter.Errno(), "operation %d", op)
			assert.Zero(t, cancel.Res, "operation %d", op)
			queue(t, r, 3, func(s *SQE) { prep(s, fd) })
			_, err := r.Submit()
			require.NoError(t, err)
			require.Zero(t, r.Pending(), "operation %d waits", op)
			ready()
			assert.EqualValues(t, 5, reap(t, r, 1)[0].Res, "operation %d", op)
		}
		for op, prep := range reads {
			if probe.Supports(op) {
				in, out := pipe(t)
				clear(b)
				wait(op, prep, in, func() { filePut(t, out, "hello") })
				assert.Equal(t, "hello", string(b), "operation %d", op)
			}
		}
		for op, prep := range writes {
			if probe.Supports(op) {
				in, out := pipe(t)
				fileFull(t, out)
				wait(op, prep, out, func() { assert.Len(t, fileGet(t, in), page) })
				assert.Equal(t, "hello", fileGet(t, in), "operation %d", op)
			}
		}
	})
}

func TestOpReadAndWriteOfAClosedPipe(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRead, "5.6")
		b := fileKeep(t, make([]byte, 4))
		in, out := pipe(t)
		queue(t, r, 1, func(s *SQE) { s.PrepRead(in, b, 0) })
		_, err := r.Submit()
		require.NoError(t, err)
		require.NoError(t, unix.Close(out))
		assert.Zero(t, reap(t, r, 1)[0].Res, "the end")
		in, out = pipe(t)
		require.NoError(t, unix.Close(in))
		failWith(t, r, unix.EPIPE, func(s *SQE) { s.PrepWrite(out, b, 0) })
	})
}

// A read can take a provided buffer: only when there is data.
func TestOpReadIntoProvidedBuffer(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRead, "5.6")
		f, _ := fileNew(t, "0123456789")
		buffers := fileBuffers(t, r, 3, 2, 8)
		c := one(t, r, func(s *SQE) { s.PrepRead(f, nil, 1); s.SetBufferGroup(3) })
		require.EqualValues(t, 8, c.Res, "as much as fits")
		require.NotZero(t, c.Flags&CQEBuffer)
		assert.Equal(t, "12345678", string(buffers[c.BufferID()]))
		in, out := pipe(t)
		queue(t, r, 1, func(s *SQE) { s.PrepRead(in, nil, 0); s.Len = 3; s.SetBufferGroup(3) })
		_, err := r.Submit()
		require.NoError(t, err)
		filePut(t, out, "hello")
		c = reap(t, r, 1)[0]
		assert.EqualValues(t, 3, c.Res)
		assert.EqualValues(t, 1, c.BufferID())
		assert.Equal(t, "hel", string(buffers[1][:3]))
		failWith(t, r, unix.ENOBUFS, func(s *SQE) { s.PrepRead(f, nil, 0); s.SetBufferGroup(3) })
		failWith(t, r, unix.ENOBUFS, func(s *SQE) { s.PrepRead(f, nil, 0); s.SetBufferGroup(9) })
	})
}

func TestOpReadvAndWritev(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		f, name := fileNew(t, "0123456789")
		b := fileKeep(t, make([]byte, 8))
		list := fileKeep(t, Iovecs(b[5:8], b[:1]))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepReadv(f, list, 2) }))
		assert.Equal(t, "5\x00\x00\x00\x00234", string(b))
		assert.Equal(t, 2, succeed(t, r, func(s *SQE) { s.PrepReadv(f, list, 8) }))
		assert.Equal(t, "5\x00\x00\x00\x00894", string(b))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepWritev(f, list, 0) }))
		assert.Equal(t, "8945456789", fileContent(t, name))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepReadv(f, nil, 0) }))

		many := fileKeep(t, make([]Iovec, 1025))
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepReadv(f, many, 0) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepWritev(f, list, 0); s.Addr = 1 })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepReadv(-1, list, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepWritev(f, list, -2) })
	})
}

func TestOpReadv2AndWritev2(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		f, name := fileNew(t, "01234")
		b := fileBytes(t, "abc")
		list := fileKeep(t, Iovecs(b))
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepWritev2(f, list, 0, unix.RWF_APPEND) }))
		assert.Equal(t, "01234abc", fileContent(t, name))
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepWritev2(f, list, 0, unix.RWF_DSYNC) }))
		assert.Equal(t, "abc34abc", fileContent(t, name))
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepReadv2(f, list, 2, 0) }))
		assert.Equal(t, "c34", string(b))
		in, _ := pipe(t)
		failWith(t, r, unix.EAGAIN, func(s *SQE) { s.PrepReadv2(in, list, 0, unix.RWF_NOWAIT) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepReadv2(f, list, 0, unix.RWF_HIPRI) }) // for SetupIOPoll
		failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepReadv2(f, list, 0, 1<<30) })
	})
}

func TestOpReadFixedAndWriteFixed(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		f, name := fileNew(t, "0123456789")
		page := os.Getpagesize()
		mem := mapped(t, 2*page)
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadFixed(f, mem[:4], 0, 0) })
		require.NoError(t, r.RegisterBuffers(mem[:page], nil, mem[page:]))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepReadFixed(f, mem[100:104], 2, 0) }))
		assert.Equal(t, "2345", string(mem[100:104]))
		assert.Zero(t, mem[104])
		copy(mem[2*page-3:], "end")
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepWriteFixed(f, mem[2*page-3:], 10, 2) }))
		assert.Equal(t, "0123456789end", fileContent(t, name))
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepWriteFixed(f, mem[2*page-3:], -1, 2) }))
		assert.Equal(t, "end3456789end", fileContent(t, name), "at the position")

		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadFixed(f, mem[page-2:page+2], 0, 0) }) // beyond the buffer
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadFixed(f, mem[:4], 0, 2) })            // in another
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepWriteFixed(f, mem[:4], 0, 1) })           // an empty place
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepWriteFixed(f, mem[:4], 0, 3) })           // no place
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepWriteFixed(-1, mem[:4], 0, 0) })
		require.NoError(t, r.UnregisterBuffers())
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadFixed(f, mem[:4], 0, 0) })
		assert.Equal(t, "end3456789end", fileContent(t, name))
	})
}

func TestOpReadvFixedAndWritevFixed(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpReadvFixed, "6.15")
		f, name := fileNew(t, "0123456789")
		page := os.Getpagesize()
		mem := mapped(t, 2*page)
		list := fileKeep(t, Iovecs(mem[9:11], mem[:3]))
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadvFixed(f, list, 0, 0, 0) })
		require.NoError(t, r.RegisterBuffers(mem[:page], nil))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepReadvFixed(f, list, 1, 0, 0) }))
		assert.Equal(t, "345", string(mem[:3]))
		assert.Equal(t, "12", string(mem[9:11]))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepWritevFixed(f, list, 5, 0, 0) }))
		assert.Equal(t, "0123412345", fileContent(t, name))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepWritevFixed(f, list, 0, unix.RWF_APPEND, 0) }))
		assert.Equal(t, "012341234512345", fileContent(t, name))

		outside := fileKeep(t, Iovecs(mem[:3], mem[page:page+1]))
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadvFixed(f, outside, 0, 0, 0) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepWritevFixed(f, list, 0, 0, 1) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepWritevFixed(f, list, 0, 0, 2) })
		failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepReadvFixed(f, list, 0, 1<<30, 0) })
		assert.Equal(t, "012341234512345", fileContent(t, name))
	})
}

func TestOpReadMultishot(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpReadMultishot, "6.7")
		in, out := pipe(t)
		buffers := fileBuffers(t, r, 1, 8, 8)
		next := func() (string, CQE) {
			c := reap(t, r, 1)[0]
			if c.Res <= 0 {
				return "", c
			}
			require.NotZero(t, c.Flags&CQEBuffer)
			require.True(t, c.More())
			return string(buffers[c.BufferID()][:c.Res]), c
		}
		queue(t, r, 1, func(s *SQE) { s.PrepReadMultishot(in, 0, 0, 1) })
		_, err := r.Submit()
		require.NoError(t, err)
		for i, text := range []string{"one", "two"} {
			filePut(t, out, text)
			got, c := next()
			assert.Equal(t, text, got)
			assert.EqualValues(t, i, c.BufferID())
		}
		queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
		for _, c := range reap(t, r, 2) {
			if c.UserData == 1 {
				assert.Equal(t, unix.ECANCELED, c.Errno())
				assert.False(t, c.More())
			} else {
				assert.Zero(t, c.Res)
			}
		}

		filePut(t, out, "hello") // two bytes at a time
		queue(t, r, 3, func(s *SQE) { s.PrepReadMultishot(in, 2, 0, 1) })
		for _, want := range []string{"he", "ll", "o"} {
			got, _ := next()
			assert.Equal(t, want, got)
		}
		require.NoError(t, unix.Close(out))
		_, c := next()
		assert.Zero(t, c.Res, "the end")
		assert.False(t, c.More())
	})
}

func TestOpReadMultishotEnds(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpReadMultishot, "6.7")
		in, out := pipe(t)
		fileBuffers(t, r, 1, 2, 4)
		queue(t, r, 1, func(s *SQE) { s.PrepReadMultishot(in, 0, 0, 1) })
		filePut(t, out, "0123456789")
		all := reap(t, r, 3)
		for i, c := range all[:2] {
			assert.EqualValues(t, 4, c.Res)
			assert.EqualValues(t, i, c.BufferID())
			assert.True(t, c.More())
		}
		assert.Equal(t, unix.ENOBUFS, all[2].Errno(), "no buffer is left")
		assert.False(t, all[2].More())
		assert.Equal(t, "89", fileGet(t, in), "nothing is lost")

		f, name := fileNew(t, "0123456789")
		failWith(t, r, unix.EBADFD, func(s *SQE) { s.PrepReadMultishot(f, 0, 0, 1) }) // a file cannot be polled
		writeOnly := fileOpen(t, name, unix.O_WRONLY)
		failWith(t, r, unix.EBADFD, func(s *SQE) { s.PrepReadMultishot(writeOnly, 0, 0, 1) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepReadMultishot(-1, 0, 0, 1) })
		filePut(t, out, "x")
		failWith(t, r, unix.ENOBUFS, func(s *SQE) { s.PrepReadMultishot(in, 0, 0, 9) }) // no group
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepReadMultishot(in, 0, 0, 1); s.Flags = 0 })
	})
}

func TestOpFsync(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		f, name := fileNew(t, "0123456789")
		dir := fileOpen(t, filepath.Dir(name), unix.O_RDONLY)
		for _, fd := range []int{f, dir, fileOpen(t, name, unix.O_RDONLY)} {
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFsync(fd, 0) }))
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFsync(fd, FsyncDatasync) }))
		}
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFsync(f, 0); s.Off, s.Len = 2, 4 }), "a part")
		in, _ := pipe(t)
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFsync(in, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFsync(-1, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFsync(f, 2) })
	})
}

func TestOpSyncFileRange(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSyncFileRange, "5.2")
		f, _ := fileNew(t, "0123456789")
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		for _, flags := range []int{0, unix.SYNC_FILE_RANGE_WRITE, all} {
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepSyncFileRange(f, 4, 2, flags) }))
		}
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepSyncFileRange(f, 0, 0, all) }), "to the end")
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSyncFileRange(f, 4, -1, all) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSyncFileRange(f, 4, 0, 8) })
		in, _ := pipe(t)
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepSyncFileRange(in, 4, 0, all) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSyncFileRange(-1, 4, 0, all) })
	})
}

func TestOpFallocate(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFallocate, "5.6")
		f, name := fileNew(t, "0123456789")
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFallocate(f, 0, 8, 12) }))
		assert.Equal(t, "0123456789"+strings.Repeat("\x00", 10), fileContent(t, name))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFallocate(f, unix.FALLOC_FL_KEEP_SIZE, 0, 4096) }))
		assert.EqualValues(t, 20, fileSize(t, f))
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(f, &st))
		assert.GreaterOrEqual(t, st.Blocks, int64(8))
		const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFallocate(f, punch, 2, 3) }))
		assert.Equal(t, "01\x00\x00\x0056789", fileContent(t, name)[:10])

		// The offset and the length have 64 bits.
		require.NoError(t, unix.Ftruncate(f, 20<<30))
		_, err := unix.Pwrite(f, []byte("x"), 14<<30)
		require.NoError(t, err)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFallocate(f, punch, 9<<30, 6<<30) }))
		b := []byte("y")
		_, err = unix.Pread(f, b, 14<<30)
		require.NoError(t, err)
		assert.Zero(t, b[0])

		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFallocate(f, 0, 0, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFallocate(f, 0, -1, 4) })
		failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepFallocate(f, unix.FALLOC_FL_PUNCH_HOLE, 0, 4) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFallocate(-1, 0, 0, 4) })
		readOnly := fileOpen(t, name, unix.O_RDONLY)
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFallocate(readOnly, 0, 0, 4) })
		_, out := pipe(t)
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepFallocate(out, 0, 0, 4) })
	})
}

func TestOpFtruncate(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFtruncate, "6.9")
		f, name := fileNew(t, "0123456789")
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFtruncate(f, 4) }))
		assert.Equal(t, "0123", fileContent(t, name))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFtruncate(f, 5<<30) }))
		assert.EqualValues(t, 5<<30, fileSize(t, f))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFtruncate(f, 0) }))
		assert.Empty(t, fileContent(t, name))
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFtruncate(f, -1) })
		readOnly := fileOpen(t, name, unix.O_RDONLY)
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFtruncate(readOnly, 4) })
		_, out := pipe(t)
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFtruncate(out, 4) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFtruncate(-1, 4) })
	})
}

func TestOpFadvise(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFadvise, "5.6")
		f, _ := fileNew(t, "0123456789")
		for _, advice := range []int{unix.FADV_NORMAL, unix.FADV_RANDOM, unix.FADV_SEQUENTIAL, unix.FADV_WILLNEED, unix.FADV_DONTNEED, unix.FADV_NOREUSE} {
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFadvise(f, 2, 4, advice) }), "advice %d", advice)
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFadvise64(f, 2, 5<<30, advice) }), "advice %d", advice)
		}
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFadvise(f, 0, 4, 77) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFadvise64(f, 0, 4, 77) })
		in, _ := pipe(t)
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepFadvise(in, 0, 4, unix.FADV_NORMAL) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFadvise(-1, 0, 4, unix.FADV_NORMAL) })
		c := one(t, r, func(s *SQE) { s.PrepFadvise64(f, 0, -1, unix.FADV_NORMAL) })
		if c.Res == 0 { // an older kernel takes the length for 0
			skip.Unless(t, "fadvise of 64 bits", "6.11", unix.EOPNOTSUPP)
		}
		assert.Equal(t, unix.EINVAL, c.Errno())
	})
}

// fileCached reports whether the first page of a file is in the page cache.
func fileCached(t *testing.T, fd int) bool {
	t.Helper()
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(page)) }()
	state := []byte{0}
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), uintptr(unsafe.Pointer(&state[0])))
	require.Zero(t, errno)
	return state[0]&1 != 0
}

// On a disk FADV_DONTNEED takes what is written out of the page cache. In memory it cannot.
func TestOpFadviseDropsTheCache(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8})
	need(t, r, OpFadvise, "5.6")
	f, name := fileNew(t, strings.Repeat("x", os.Getpagesize()))
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(name, &fs))
	disk := fs.Type == unix.EXT4_SUPER_MAGIC || fs.Type == unix.XFS_SUPER_MAGIC || fs.Type == unix.BTRFS_SUPER_MAGIC
	for _, drop := range []func(*SQE){
		func(s *SQE) { s.PrepFadvise(f, 0, uint32(os.Getpagesize()), unix.FADV_DONTNEED) },
		func(s *SQE) { s.PrepFadvise64(f, 0, 5<<30, unix.FADV_DONTNEED) },
	} {
		assert.Equal(t, strings.Repeat("x", os.Getpagesize()), fileContent(t, name))
		assert.Equal(t, []int32{0, 0}, fileChain(t, r, func(s *SQE) { s.PrepFsync(f, 0) }, drop))
		assert.Equal(t, !disk, fileCached(t, f))
	}
}

func TestOpMadvise(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpMadvise, "5.6")
		page := os.Getpagesize()
		mem := mapped(t, 3*page)
		fill := func() {
			for i := range mem {
				mem[i] = 1
			}
		}
		fill()
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMadvise(mem[page:2*page], unix.MADV_DONTNEED) }))
		assert.Equal(t, []byte{1, 0, 0, 1}, []byte{mem[page-1], mem[page], mem[2*page-1], mem[2*page]})
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepMadvise(mem[1:page], unix.MADV_DONTNEED) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepMadvise(mem, 777) })
		hole, err := unix.Mmap(-1, 0, page, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		require.NoError(t, err)
		require.NoError(t, unix.Munmap(hole))
		failWith(t, r, unix.ENOMEM, func(s *SQE) { s.PrepMadvise(hole, unix.MADV_DONTNEED) })
		fill()
		if c := one(t, r, func(s *SQE) { s.PrepMadvise64(mem[page:2*page], unix.MADV_DONTNEED) }); c.Res != 0 {
			skip.Unless(t, "madvise of 64 bits", "6.11", c.Errno())
		}
		assert.Equal(t, []byte{1, 0, 0, 1}, []byte{mem[page-1], mem[page], mem[2*page-1], mem[2*page]})
	})
}

// More than 4 GiB, which takes no memory as none of it is written to, but for the ends.
func TestOpMadvise64(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8})
	need(t, r, OpMadvise, "5.6")
	const size = 5 << 30
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(mem)) })
	mem[0], mem[size-1] = 1, 1
	assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMadvise(mem, unix.MADV_DONTNEED) }))
	assert.Equal(t, []byte{0, 1}, []byte{mem[0], mem[size-1]}, "at most 2 GiB")
	mem[0] = 1
	if c := one(t, r, func(s *SQE) { s.PrepMadvise64(mem, unix.MADV_DONTNEED) }); c.Res != 0 {
		skip.Unless(t, "madvise of 64 bits", "6.11", c.Errno())
	}
	assert.Equal(t, []byte{0, 0}, []byte{mem[0], mem[size-1]})
}

func TestOpSplice(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSplice, "5.7")
		f, name := fileNew(t, "0123456789")
		in, out := pipe(t)
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepSplice(f, 3, out, -1, 4, 0) }), "from a file")
		assert.Equal(t, "3456", fileGet(t, in))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepSplice(f, -1, out, -1, 4, 0) }), "at the position")
		assert.Equal(t, 6, succeed(t, r, func(s *SQE) { s.PrepSplice(f, -1, out, -1, 100, 0) }), "to the end")
		assert.Equal(t, "0123456789", fileGet(t, in))
		filePut(t, out, "abc")
		assert.Equal(t, 2, succeed(t, r, func(s *SQE) { s.PrepSplice(in, -1, f, 5, 2, unix.SPLICE_F_MOVE) }), "to a file")
		assert.Equal(t, "01234ab789", fileContent(t, name))
		in2, out2 := pipe(t)
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepSplice(in, -1, out2, -1, 9, 0) }), "to a pipe")
		assert.Equal(t, "c", fileGet(t, in2))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepSplice(f, 0, out, -1, 0, 0) }))

		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSplice(f, 0, f, 0, 4, 0) }) // no pipe
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepSplice(f, 0, out, 0, 4, 0) })
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepSplice(in, 0, f, 0, 4, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSplice(in, -1, out, -1, 4, 0) }) // to itself
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSplice(f, 0, out, -1, 4, 1<<20) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSplice(-1, -1, out, -1, 4, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSplice(f, 0, -1, -1, 4, 0) })
		failWith(t, r, unix.EAGAIN, func(s *SQE) { s.PrepSplice(in, -1, f, 0, 4, unix.SPLICE_F_NONBLOCK) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSplice(f, 0, in, -1, 4, 0) })
	})
}

// Two splices and a pipe copy a file.
func TestOpSpliceCopiesAFile(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSplice, "5.7")
		from, _ := fileNew(t, "0123456789")
		to, name := fileNew(t, "")
		in, out := pipe(t)
		assert.Equal(t, []int32{10, 10}, fileChain(t, r,
			func(s *SQE) { s.PrepSplice(from, 0, out, -1, 10, 0) },
			func(s *SQE) { s.PrepSplice(in, -1, to, 0, 10, 0) },
		))
		assert.Equal(t, "0123456789", fileContent(t, name))
		// Less than was asked for ends a chain.
		assert.Equal(t, []int32{3, fileErr(unix.ECANCELED)}, fileChain(t, r,
			func(s *SQE) { s.PrepSplice(from, 7, out, -1, 10, 0) },
			func(s *SQE) { s.PrepSplice(in, -1, to, 0, 10, 0) },
		))
	})
}

func TestOpSpliceAndTeeOfRegisteredFiles(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpTee, "5.8")
		f, _ := fileNew(t, "0123456789")
		in, out := pipe(t)
		in2, out2 := pipe(t)
		require.NoError(t, r.RegisterFiles(f, in, out, out2))
		const fixed = SpliceFDInFixed
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepSplice(0, 2, 2, -1, 4, fixed); s.Flags |= SQEFixedFile }))
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepTee(1, 3, 3, fixed); s.Flags |= SQEFixedFile }))
		assert.Equal(t, "234", fileGet(t, in2))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepSplice(in, -1, 3, -1, 4, 0); s.Flags |= SQEFixedFile }))
		assert.Equal(t, "2345", fileGet(t, in2))
		assert.Equal(t, 2, succeed(t, r, func(s *SQE) { s.PrepSplice(0, 0, out, -1, 2, fixed) }))
		assert.Equal(t, "01", fileGet(t, in))
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSplice(7, 0, out, -1, 2, fixed) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepTee(7, out, 2, fixed) })
	})
}

func TestOpTee(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpTee, "5.8")
		in, out := pipe(t)
		in2, out2 := pipe(t)
		filePut(t, out, "hello")
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepTee(in, out2, 3, 0) }))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepTee(in, out2, 100, 0) }))
		assert.Equal(t, "helhello", fileGet(t, in2))
		assert.Equal(t, "hello", fileGet(t, in), "it is still there")
		f, _ := fileNew(t, "x")
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepTee(f, out, 3, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepTee(in, f, 3, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepTee(in, out, 3, 0) })
		failWith(t, r, unix.EAGAIN, func(s *SQE) { s.PrepTee(in, out2, 3, unix.SPLICE_F_NONBLOCK) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepTee(in, out2, 3, 1<<20) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepTee(-1, out2, 3, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepTee(in, -1, 3, 0) })
	})
}

// A splice and a tee wait in a worker.
func TestOpSpliceAndTeeWait(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpTee, "5.8")
		in, out := pipe(t)
		in2, out2 := pipe(t)
		for _, prep := range []func(*SQE){
			func(s *SQE) { s.PrepTee(in, out2, 5, 0) },
			func(s *SQE) { s.PrepSplice(in, -1, out2, -1, 5, 0) },
		} {
			waiter, cancel := fileCancelled(t, r, prep)
			t.Log(waiter, cancel)
			queue(t, r, 3, prep)
			_, err := r.Submit()
			require.NoError(t, err)
			require.Zero(t, r.Pending(), "it waits")
			filePut(t, out, "hello")
			assert.EqualValues(t, 5, reap(t, r, 1)[0].Res)
			assert.Equal(t, "hello", fileGet(t, in2))
			if prep != nil {
				_ = in
			}
			_ = unix.SetNonblock(in, true)
			_, _ = unix.Read(in, make([]byte, 10))
			_ = unix.SetNonblock(in, false)
		}
	})
}
