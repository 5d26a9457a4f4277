//go:build linux && cgo

package uring

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// filePath is path for a string that stays until the test ends.
func filePath(t *testing.T, elem ...string) *byte {
	t.Helper()
	return keep(t, path(t, filepath.Join(elem...)))
}

// fileBytes returns a copy of the string that stays until the test ends.
func fileBytes(t *testing.T, s string) []byte { return keep(t, []byte(s)) }

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

// fileClose closes what an fd stands for. The fd stays, for who closes it later.
func fileClose(t *testing.T, fd int) {
	t.Helper()
	null := fileOpen(t, "/", unix.O_PATH)
	require.NoError(t, unix.Dup3(null, fd, unix.O_CLOEXEC))
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
	buffers := keep(t, make([][]byte, n))
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
		b := keep(t, make([]byte, 4))
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
		b := keep(t, make([]byte, 4))
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
		list := keep(t, Iovecs(mem[:2], mem[2:5]))
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
		b := keep(t, make([]byte, 4))
		in, out := pipe(t)
		queue(t, r, 1, func(s *SQE) { s.PrepRead(in, b, 0) })
		_, err := r.Submit()
		require.NoError(t, err)
		fileClose(t, out)
		assert.Zero(t, reap(t, r, 1)[0].Res, "the end")
		in, out = pipe(t)
		fileClose(t, in)
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
		b := keep(t, make([]byte, 8))
		list := keep(t, Iovecs(b[5:8], b[:1]))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepReadv(f, list, 2) }))
		assert.Equal(t, "5\x00\x00\x00\x00234", string(b))
		assert.Equal(t, 2, succeed(t, r, func(s *SQE) { s.PrepReadv(f, list, 8) }))
		assert.Equal(t, "5\x00\x00\x00\x00894", string(b))
		assert.Equal(t, 4, succeed(t, r, func(s *SQE) { s.PrepWritev(f, list, 0) }))
		assert.Equal(t, "8945456789", fileContent(t, name))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepReadv(f, nil, 0) }))

		many := keep(t, make([]Iovec, 1025))
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
		list := keep(t, Iovecs(b))
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
		list := keep(t, Iovecs(mem[9:11], mem[:3]))
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepReadvFixed(f, list, 0, 0, 0) })
		require.NoError(t, r.RegisterBuffers(mem[:page], nil))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepReadvFixed(f, list, 1, 0, 0) }))
		assert.Equal(t, "345", string(mem[:3]))
		assert.Equal(t, "12", string(mem[9:11]))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepWritevFixed(f, list, 5, 0, 0) }))
		assert.Equal(t, "0123412345", fileContent(t, name))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepWritevFixed(f, list, 0, unix.RWF_APPEND, 0) }))
		assert.Equal(t, "012341234512345", fileContent(t, name))

		outside := keep(t, Iovecs(mem[:3], mem[page:page+1]))
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

		queue(t, r, 3, func(s *SQE) { s.PrepReadMultishot(in, 0, -1, 1) }) // the position, which a pipe has not
		filePut(t, out, "hello")
		got, c := next()
		assert.Equal(t, "hello", got)
		assert.EqualValues(t, 2, c.BufferID())
		fileClose(t, out)
		_, c = next()
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
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepReadMultishot(in, 2, 0, 1) }) // a length
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
		}
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFadvise(f, 0, 4, 77) })
		in, _ := pipe(t)
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepFadvise(in, 0, 4, unix.FADV_NORMAL) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFadvise(-1, 0, 4, unix.FADV_NORMAL) })

		if c := one(t, r, func(s *SQE) { s.PrepFadvise64(f, 2, 5<<30, unix.FADV_NORMAL) }); c.Res != 0 {
			skip.Unless(t, "lengths of 64 bits of advice", "6.11", c.Errno())
		}
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFadvise64(f, 0, 4, 77) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFadvise64(f, 0, -1, unix.FADV_NORMAL) })
		failWith(t, r, unix.ESPIPE, func(s *SQE) { s.PrepFadvise64(in, 0, 4, unix.FADV_NORMAL) })
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
	assert.Equal(t, []int32{0, 0}, fileChain(t, r,
		func(s *SQE) { s.PrepFsync(f, 0) },
		func(s *SQE) { s.PrepFadvise(f, 0, uint32(os.Getpagesize()), unix.FADV_DONTNEED) },
	))
	assert.Equal(t, !disk, fileCached(t, f))
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
			skip.Unless(t, "lengths of 64 bits of advice", "6.11", c.Errno())
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
		skip.Unless(t, "lengths of 64 bits of advice", "6.11", c.Errno())
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
		assert.Equal(t, []int32{3, failed(unix.ECANCELED)}, fileChain(t, r,
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

// fileInterrupted cancels a request for which a worker waits.
func fileInterrupted(t *testing.T, r *Ring, prep func(*SQE)) {
	t.Helper()
	waiter, cancel := fileCancelled(t, r, prep)
	if waiter.Errno() == unix.ECANCELED { // no worker had begun with it
		assert.Zero(t, cancel.Res)
		return
	}
	const restart = syscall.Errno(512) // ERESTARTSYS, which the kernel has for itself otherwise
	assert.Contains(t, []syscall.Errno{unix.EINTR, restart}, waiter.Errno())
	want := []syscall.Errno{unix.EALREADY}
	if r.Flags()&SetupSQPoll != 0 {
		want = append(want, unix.ENOENT) // although it was found
	}
	assert.Contains(t, want, cancel.Errno())
}

// A splice and a tee wait in a worker.
func TestOpSpliceAndTeeWait(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpTee, "5.8")
		in, out := pipe(t)
		in2, out2 := pipe(t)
		for _, prep := range []func(*SQE){
			func(s *SQE) { s.PrepSplice(in, -1, out2, -1, 5, 0) },
			func(s *SQE) { s.PrepTee(in, out2, 5, 0) },
		} {
			fileInterrupted(t, r, prep)
			queue(t, r, 3, prep)
			_, err := r.Submit()
			require.NoError(t, err)
			require.Zero(t, r.Pending(), "it waits")
			filePut(t, out, "hello")
			assert.EqualValues(t, 5, reap(t, r, 1)[0].Res)
			assert.Equal(t, "hello", fileGet(t, in2))
		}
	})
}

func TestOpPipe(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpPipe, "6.16")
		fds := keep(t, new([2]int32))
		for _, flags := range []int{0, unix.O_CLOEXEC | unix.O_NONBLOCK} {
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepPipe(fds, flags) }))
			in, out := int(fds[0]), int(fds[1])
			filePut(t, out, "hello")
			assert.Equal(t, "hello", fileGet(t, in))
			for _, fd := range []int{in, out} {
				status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
				require.NoError(t, err)
				assert.Equal(t, flags&unix.O_NONBLOCK, status&unix.O_NONBLOCK)
				assert.Equal(t, flags&unix.O_CLOEXEC != 0, fileCloexec(t, fd))
				require.NoError(t, unix.Close(fd))
			}
		}
		open := countFDs(t)
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPipe(fds, unix.O_APPEND) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepPipe(nil, 0) })
		assert.Equal(t, open, countFDs(t))
	})
}

// fileCloexec reports whether an fd is closed on exec.
func fileCloexec(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	return flags&unix.FD_CLOEXEC != 0
}

func TestOpPipeDirect(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpPipe, "6.16")
		fds := keep(t, new([2]int32))
		failWith(t, r, unix.ENXIO, func(s *SQE) { s.PrepPipeDirect(fds, 0, 0) }) // no table
		fileTable(t, r, 4)
		b := fileBytes(t, "hello")
		through := func(in, out int) {
			t.Helper()
			copy(b, "hello")
			assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepWrite(out, b, 0); s.Flags |= SQEFixedFile }))
			clear(b)
			assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepRead(in, b, 0); s.Flags |= SQEFixedFile }))
			assert.Equal(t, "hello", string(b))
		}
		open := countFDs(t)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepPipeDirect(fds, unix.O_NONBLOCK, 2) }))
		through(2, 3)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepPipeDirect(fds, 0, FileIndexAlloc) }))
		assert.Equal(t, [2]int32{0, 1}, *fds)
		through(0, 1)
		failWith(t, r, unix.ENFILE, func(s *SQE) { s.PrepPipeDirect(fds, 0, FileIndexAlloc) }) // no place is free
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPipeDirect(fds, 0, 4) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPipeDirect(fds, unix.O_CLOEXEC, 0) })
		assert.Equal(t, open, countFDs(t))
	})
}

func TestOpOpenat(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpOpenat, "5.6")
		_, name := fileNew(t, "hello")
		file, missing, other := filePath(t, name), filePath(t, name+"-missing"), filePath(t, name+"-other")
		below, dir := filePath(t, name, "below"), filePath(t, filepath.Dir(name))
		base, dirfd := filePath(t, filepath.Base(name)), fileOpen(t, filepath.Dir(name), unix.O_RDONLY)
		for _, prep := range []func(*SQE){
			func(s *SQE) { s.PrepOpen(file, unix.O_RDONLY|unix.O_CLOEXEC, 0) },
			func(s *SQE) { s.PrepOpenat(unix.AT_FDCWD, file, unix.O_RDONLY|unix.O_CLOEXEC, 0) },
			func(s *SQE) { s.PrepOpenat(dirfd, base, unix.O_RDONLY, 0) },
		} {
			fd := succeed(t, r, prep)
			assert.Equal(t, "hello", fileGet(t, fd))
			_, err := unix.Write(fd, []byte("x"))
			assert.Equal(t, unix.EBADF, err)
			require.NoError(t, unix.Close(fd))
		}
		fd := succeed(t, r, func(s *SQE) { s.PrepOpen(other, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o640) })
		assert.True(t, fileCloexec(t, fd))
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(fd, &st))
		assert.EqualValues(t, unix.S_IFREG|0o640&^fileUmask(t), st.Mode)
		require.NoError(t, unix.Close(fd))

		open := countFDs(t)
		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepOpen(other, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o640) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepOpen(missing, unix.O_RDONLY, 0) })
		failWith(t, r, unix.ENOTDIR, func(s *SQE) { s.PrepOpen(below, unix.O_RDONLY, 0) })
		failWith(t, r, unix.EISDIR, func(s *SQE) { s.PrepOpen(dir, unix.O_WRONLY, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepOpenat(-1, base, unix.O_RDONLY, 0) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepOpen(nil, unix.O_RDONLY, 0) })
		assert.Equal(t, open, countFDs(t))
	})
}

// fileUmask returns the mode bits that new files do not get.
func fileUmask(t *testing.T) int {
	t.Helper()
	mask := unix.Umask(0)
	unix.Umask(mask)
	return mask
}

// The open of a FIFO waits for the other end in a worker, as the system call does.
func TestOpOpenatWaits(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpOpenat, "5.6")
		name := filepath.Join(fileDir(t), "fifo")
		require.NoError(t, unix.Mkfifo(name, 0o600))
		p := filePath(t, name)
		prep := func(s *SQE) { s.PrepOpen(p, unix.O_RDONLY|unix.O_CLOEXEC, 0); s.Flags |= SQEAsync }
		fileInterrupted(t, r, prep)
		queue(t, r, 3, prep)
		_, err := r.Submit()
		require.NoError(t, err)
		require.Zero(t, r.Pending(), "it waits")
		out := fileOpen(t, name, unix.O_WRONLY)
		in := int(reap(t, r, 1)[0].Res)
		filePut(t, out, "hello")
		assert.Equal(t, "hello", fileGet(t, in))
		require.NoError(t, unix.Close(in))
	})
}

// Otherwise the kernel tries first not to wait, and that a FIFO answers as with O_NONBLOCK.
func TestOpOpenatOfAFIFO(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpOpenat, "5.6")
		name := filepath.Join(fileDir(t), "fifo")
		require.NoError(t, unix.Mkfifo(name, 0o600))
		p := filePath(t, name)
		failWith(t, r, unix.ENXIO, func(s *SQE) { s.PrepOpen(p, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
		fd := succeed(t, r, func(s *SQE) { s.PrepOpen(p, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
		status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		require.NoError(t, err)
		assert.Zero(t, status&unix.O_NONBLOCK)
		require.NoError(t, unix.Close(fd))
	})
}

func TestOpOpenatDirect(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpOpenat, "5.6")
		_, name := fileNew(t, "hello")
		file, missing := filePath(t, name), filePath(t, name+"-missing")
		base, dirfd := filePath(t, filepath.Base(name)), fileOpen(t, filepath.Dir(name), unix.O_RDONLY)
		how := keep(t, &unix.OpenHow{Flags: unix.O_RDONLY})
		failWith(t, r, unix.ENXIO, func(s *SQE) { s.PrepOpenDirect(file, unix.O_RDONLY, 0, 0) }) // no table
		fileTable(t, r, 4)
		b := keep(t, make([]byte, 8))
		read := func(place int) {
			t.Helper()
			clear(b)
			assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepRead(place, b, 0); s.Flags |= SQEFixedFile }))
			assert.Equal(t, "hello", string(b[:5]))
		}
		open := countFDs(t)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepOpenatDirect(dirfd, base, unix.O_RDONLY, 0, 2) }))
		read(2)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepOpenDirect(file, unix.O_RDONLY, 0, 2) }), "in place of it")
		read(2)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepOpenat2Direct(dirfd, base, how, 0) }))
		read(0)
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepOpenDirect(file, unix.O_RDONLY, 0, FileIndexAlloc) }))
		read(1)
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepOpenat2Direct(unix.AT_FDCWD, file, how, FileIndexAlloc) }))
		read(3)
		failWith(t, r, unix.ENFILE, func(s *SQE) { s.PrepOpenDirect(file, unix.O_RDONLY, 0, FileIndexAlloc) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepOpenDirect(file, unix.O_RDONLY, 0, 4) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepOpenDirect(file, unix.O_RDONLY|unix.O_CLOEXEC, 0, 0) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepOpenDirect(missing, unix.O_RDONLY, 0, 2) })
		read(2)
		assert.Equal(t, open, countFDs(t))
	})
}

func TestOpOpenat2(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpOpenat2, "5.6")
		_, name := fileNew(t, "hello")
		dir := filepath.Dir(name)
		require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
		dirfd := fileOpen(t, dir, unix.O_RDONLY)
		file, link, up := filePath(t, "file"), filePath(t, "link"), filePath(t, "..")
		made := filePath(t, "new")
		try := func(p *byte, how unix.OpenHow) func(*SQE) {
			kept := keep(t, &how)
			return func(s *SQE) { s.PrepOpenat2(dirfd, p, kept) }
		}
		for _, prep := range []func(*SQE){
			try(file, unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}),
			try(link, unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}),
			try(file, unix.OpenHow{Flags: unix.O_RDONLY, Resolve: unix.RESOLVE_IN_ROOT}),
		} {
			fd := succeed(t, r, prep)
			assert.Equal(t, "hello", fileGet(t, fd))
			require.NoError(t, unix.Close(fd))
		}
		fd := succeed(t, r, try(made, unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o600}))
		require.NoError(t, unix.Close(fd))
		failWith(t, r, unix.ELOOP, try(link, unix.OpenHow{Resolve: unix.RESOLVE_NO_SYMLINKS}))
		failWith(t, r, unix.EXDEV, try(up, unix.OpenHow{Resolve: unix.RESOLVE_BENEATH}))
		failWith(t, r, unix.EINVAL, try(file, unix.OpenHow{Resolve: 1 << 40}))
		failWith(t, r, unix.EINVAL, try(file, unix.OpenHow{Flags: 1 << 40}))
		failWith(t, r, unix.EINVAL, try(file, unix.OpenHow{Mode: 0o600})) // of a file that is not made
		how := keep(t, &unix.OpenHow{})
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepOpenat2(dirfd, file, how); s.Len = 8 })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepOpenat2(dirfd, file, nil) })
	})
}

func TestOpClose(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpClose, "5.6")
		in, out := pipe(t)
		fd, err := unix.FcntlInt(uintptr(out), unix.F_DUPFD_CLOEXEC, 500) // that nobody else will get
		require.NoError(t, err)
		fileClose(t, out)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepClose(fd) }))
		n, err := unix.Read(in, make([]byte, 1))
		require.NoError(t, err)
		assert.Zero(t, n, "it was the last writer")
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepClose(fd) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepClose(-1) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepClose(r.FD()) }) // no ring is closed so
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepClose(in); s.Flags |= SQEFixedFile })
		_, err = unix.FcntlInt(uintptr(in), unix.F_GETFD, 0)
		assert.NoError(t, err)
	})
}

func TestOpCloseDirect(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpClose, "5.6")
		failWith(t, r, unix.ENXIO, func(s *SQE) { s.PrepCloseDirect(0) }) // no table
		fileTable(t, r, 4)
		in, out := pipe(t)
		_, err := r.RegisterFilesUpdate(3, out)
		require.NoError(t, err)
		fileClose(t, out)
		require.NoError(t, unix.SetNonblock(in, true))
		_, err = unix.Read(in, make([]byte, 1))
		require.Equal(t, unix.EAGAIN, err, "the table has the last writer")
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepCloseDirect(3) }))
		assert.Eventually(t, func() bool {
			n, err := unix.Read(in, make([]byte, 1))
			return n == 0 && err == nil
		}, eventuallyWithin, eventuallyEvery)
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepCloseDirect(3) }) // it is empty
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepCloseDirect(4) })
	})
}

// FileIndexAlloc is no place to empty, and above all it is not fd 0.
func TestOpCloseDirectOfNoPlace(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4})
	need(t, r, OpClose, "5.6")
	fileTable(t, r, 4)
	var s SQE
	s.PrepCloseDirect(FileIndexAlloc)
	require.NotZero(t, s.FileIndex, "it would close fd 0")
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepCloseDirect(FileIndexAlloc) })
}

// A chain opens a file into the table, writes, reads and closes it.
func TestOpFileChain(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		if r.Features()&FeatLinkedFile == 0 {
			skip.Unless(t, "chains that find a file just opened", "5.17", unix.EOPNOTSUPP)
		}
		fileTable(t, r, 2)
		name := filepath.Join(fileDir(t), "new")
		p, text, b := filePath(t, name), fileBytes(t, "hello"), keep(t, make([]byte, 5))
		of := func(prep func(*SQE)) func(*SQE) { return func(s *SQE) { prep(s); s.Flags |= SQEFixedFile } }
		assert.Equal(t, []int32{0, 5, 0, 5, 0}, fileChain(t, r,
			func(s *SQE) { s.PrepOpenDirect(p, unix.O_RDWR|unix.O_CREAT, 0o600, 1) },
			of(func(s *SQE) { s.PrepWrite(1, text, 0) }),
			of(func(s *SQE) { s.PrepFsync(1, 0) }),
			of(func(s *SQE) { s.PrepRead(1, b, 0) }),
			func(s *SQE) { s.PrepCloseDirect(1) },
		))
		assert.Equal(t, "hello", string(b))
		assert.Equal(t, "hello", fileContent(t, name))

		// What opens nothing ends the chain.
		missing, none := filePath(t, name, "missing"), failed(unix.ECANCELED)
		assert.Equal(t, []int32{failed(unix.ENOTDIR), none, none}, fileChain(t, r,
			func(s *SQE) { s.PrepOpenDirect(missing, unix.O_RDONLY, 0, 1) },
			of(func(s *SQE) { s.PrepRead(1, b, 0) }),
			func(s *SQE) { s.PrepCloseDirect(1) },
		))
	})
}

// A read of less than was asked for ends a chain as a failure does, but not a hard one.
func TestOpShortReadEndsAChain(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRead, "5.6")
		f, _ := fileNew(t, "01234")
		b := keep(t, make([]byte, 8))
		list := keep(t, Iovecs(b))
		for _, read := range []func(*SQE){
			func(s *SQE) { s.PrepRead(f, b, 0) },
			func(s *SQE) { s.PrepReadv(f, list, 0) },
		} {
			assert.Equal(t, []int32{5, failed(unix.ECANCELED)}, fileChain(t, r, read, (*SQE).PrepNop))
			queue(t, r, 0, func(s *SQE) { read(s); s.Flags |= SQEHardLink })
			queue(t, r, 1, (*SQE).PrepNop)
			assert.Equal(t, []int32{5, 0}, fileResults(t, r, 2))
		}
	})
}

// A drained write begins when the read before it, which waits, has completed.
func TestOpWriteDrained(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRead, "5.6")
		f, name := fileNew(t, "")
		in, out := pipe(t)
		b := keep(t, make([]byte, 5))
		queue(t, r, 0, func(s *SQE) { s.PrepRead(in, b, 0) })
		queue(t, r, 1, func(s *SQE) { s.PrepWrite(f, b, 0); s.Flags |= SQEDrain })
		queue(t, r, 2, (*SQE).PrepNop)
		_, err := r.Submit()
		require.NoError(t, err)
		require.Zero(t, r.Pending(), "all wait")
		filePut(t, out, "hello")
		var order []uint64
		for _, c := range reap(t, r, 3) {
			require.Zero(t, c.Errno())
			order = append(order, c.UserData)
		}
		assert.Equal(t, []uint64{0, 1, 2}, order)
		assert.Equal(t, "hello", fileContent(t, name))
	})
}

// Only failures have completions with SQECQESkipSuccess.
func TestOpWriteWithoutCompletion(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		if r.Features()&FeatCQESkip == 0 {
			skip.Unless(t, "requests without a completion", "5.17", unix.EOPNOTSUPP)
		}
		f, name := fileNew(t, "")
		b := fileBytes(t, "hello")
		queue(t, r, 1, func(s *SQE) { s.PrepWrite(f, b, 0); s.Flags |= SQECQESkipSuccess | SQELink })
		queue(t, r, 2, func(s *SQE) { s.PrepFsync(f, 0) })
		c := reap(t, r, 1)[0]
		assert.EqualValues(t, 2, c.UserData)
		assert.Zero(t, c.Res)
		assert.Zero(t, r.Pending())
		assert.Equal(t, "hello", fileContent(t, name))
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepWrite(f, b, -2); s.Flags |= SQECQESkipSuccess })
	})
}

func TestOpStatx(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpStatx, "5.6")
		f, name := fileNew(t, "hello")
		dir := filepath.Dir(name)
		require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
		dirfd := fileOpen(t, dir, unix.O_RDONLY)
		base, link, empty := filePath(t, "file"), filePath(t, "link"), keep(t, path(t, ""))
		abs, missing := filePath(t, name), filePath(t, "missing")
		stat := keep(t, new(unix.Statx_t))
		stat1 := func(prep func(*SQE)) *unix.Statx_t {
			t.Helper()
			*stat = unix.Statx_t{}
			assert.Zero(t, succeed(t, r, prep))
			return stat
		}
		for _, prep := range []func(*SQE){
			func(s *SQE) { s.PrepStatx(unix.AT_FDCWD, abs, 0, unix.STATX_BASIC_STATS, stat) },
			func(s *SQE) { s.PrepStatx(dirfd, base, 0, unix.STATX_BASIC_STATS, stat) },
			func(s *SQE) { s.PrepStatx(dirfd, link, 0, unix.STATX_BASIC_STATS, stat) },
			func(s *SQE) { s.PrepStatx(f, empty, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, stat) },
		} {
			st := stat1(prep)
			assert.EqualValues(t, unix.STATX_BASIC_STATS, st.Mask&unix.STATX_BASIC_STATS)
			assert.EqualValues(t, 5, st.Size)
			assert.EqualValues(t, unix.S_IFREG|0o600, st.Mode)
			assert.EqualValues(t, 1, st.Nlink)
		}
		st := stat1(func(s *SQE) { s.PrepStatx(dirfd, link, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, stat) })
		assert.EqualValues(t, unix.S_IFLNK, st.Mode&unix.S_IFMT)
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepStatx(dirfd, missing, 0, unix.STATX_BASIC_STATS, stat) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepStatx(dirfd, empty, 0, unix.STATX_BASIC_STATS, stat) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepStatx(-1, base, 0, unix.STATX_BASIC_STATS, stat) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepStatx(dirfd, base, 1<<30, unix.STATX_BASIC_STATS, stat) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepStatx(dirfd, base, 0, unix.STATX__RESERVED, stat) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepStatx(dirfd, base, 0, unix.STATX_BASIC_STATS, nil) })
	})
}

// fileThere reports whether there is a file in the directory.
func fileThere(t *testing.T, dirfd int, name string) bool {
	t.Helper()
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		require.Equal(t, unix.ENOENT, err)
	}
	return err == nil
}

// fileTree makes a directory with the files a and b, which have their names as content, and
// the directory d with the file f.
func fileTree(t *testing.T) (dirfd int, dir string) {
	t.Helper()
	dir = fileDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	for _, name := range []string{"a", "b", "d/f"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	return fileOpen(t, dir, unix.O_RDONLY), dir
}

func TestOpUnlinkat(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpUnlinkat, "5.11")
		dirfd, dir := fileTree(t)
		a, b, d, f := filePath(t, "a"), filePath(t, dir, "b"), filePath(t, "d"), filePath(t, "d/f")
		failWith(t, r, unix.ENOTEMPTY, func(s *SQE) { s.PrepUnlinkat(dirfd, d, unix.AT_REMOVEDIR) })
		failWith(t, r, unix.EISDIR, func(s *SQE) { s.PrepUnlinkat(dirfd, d, 0) })
		failWith(t, r, unix.ENOTDIR, func(s *SQE) { s.PrepUnlinkat(dirfd, a, unix.AT_REMOVEDIR) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepUnlinkat(dirfd, a, 1) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepUnlinkat(-1, a, 0) })
		assert.True(t, fileThere(t, dirfd, "a"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepUnlinkat(dirfd, a, 0) }))
		assert.False(t, fileThere(t, dirfd, "a"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepUnlink(b, 0) }))
		assert.False(t, fileThere(t, dirfd, "b"))
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepUnlink(b, 0) })
		assert.Equal(t, []int32{0, 0}, fileChain(t, r,
			func(s *SQE) { s.PrepUnlinkat(dirfd, f, 0) },
			func(s *SQE) { s.PrepUnlinkat(dirfd, d, unix.AT_REMOVEDIR) },
		))
		assert.False(t, fileThere(t, dirfd, "d"))
	})
}

func TestOpRenameat(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRenameat, "5.11")
		dirfd, dir := fileTree(t)
		sub := fileOpen(t, filepath.Join(dir, "d"), unix.O_RDONLY)
		a, b, d, c := filePath(t, "a"), filePath(t, "b"), filePath(t, "d"), filePath(t, "c")
		absA, absC := filePath(t, dir, "a"), filePath(t, dir, "d", "c")
		content := func(name string) string { return fileContent(t, filepath.Join(dir, name)) }

		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepRenameat(dirfd, a, dirfd, b, unix.RENAME_NOREPLACE) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepRenameat(dirfd, c, dirfd, b, 0) })
		failWith(t, r, unix.EISDIR, func(s *SQE) { s.PrepRenameat(dirfd, a, dirfd, d, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRenameat(dirfd, a, dirfd, b, 1<<10) })
		failWith(t, r, unix.EINVAL, func(s *SQE) {
			s.PrepRenameat(dirfd, a, dirfd, b, unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE)
		})
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepRenameat(dirfd, a, -1, b, 0) })
		assert.Equal(t, "a", content("a"))

		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepRenameat(dirfd, a, dirfd, b, unix.RENAME_EXCHANGE) }))
		assert.Equal(t, "b", content("a"))
		assert.Equal(t, "a", content("b"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepRenameat(dirfd, b, sub, c, unix.RENAME_NOREPLACE) }))
		assert.False(t, fileThere(t, dirfd, "b"))
		assert.Equal(t, "a", content("d/c"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepRename(absA, absC) }))
		assert.False(t, fileThere(t, dirfd, "a"))
		assert.Equal(t, "b", content("d/c"))
	})
}

func TestOpMkdirat(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpMkdirat, "5.15")
		dirfd, dir := fileTree(t)
		a, x, y, z := filePath(t, "a"), filePath(t, "x"), filePath(t, dir, "y"), filePath(t, "none/z")
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMkdirat(dirfd, x, 0o751) }))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMkdir(y, 0o700) }))
		for name, mode := range map[string]int{"x": 0o751, "y": 0o700} {
			var st unix.Stat_t
			require.NoError(t, unix.Fstatat(dirfd, name, &st, 0))
			assert.EqualValues(t, unix.S_IFDIR|mode&^fileUmask(t), st.Mode)
		}
		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepMkdirat(dirfd, x, 0o700) })
		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepMkdirat(dirfd, a, 0o700) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepMkdirat(dirfd, z, 0o700) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepMkdirat(-1, x, 0o700) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepMkdirat(dirfd, nil, 0o700) })
	})
}

func TestOpSymlinkat(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSymlinkat, "5.15")
		dirfd, dir := fileTree(t)
		a, x, y := filePath(t, "a"), filePath(t, "x"), filePath(t, dir, "y")
		target, empty := filePath(t, "some/where"), keep(t, path(t, ""))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepSymlinkat(target, dirfd, x) }))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepSymlink(target, y) }))
		for _, name := range []string{"x", "y"} {
			got, err := os.Readlink(filepath.Join(dir, name))
			require.NoError(t, err)
			assert.Equal(t, "some/where", got)
		}
		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepSymlinkat(target, dirfd, a) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepSymlinkat(empty, dirfd, a) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSymlinkat(target, -1, x) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepSymlinkat(nil, dirfd, x) })
	})
}

func TestOpLinkat(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpLinkat, "5.15")
		dirfd, dir := fileTree(t)
		require.NoError(t, os.Symlink("a", filepath.Join(dir, "link")))
		sub, fileA := fileOpen(t, filepath.Join(dir, "d"), unix.O_RDONLY), fileOpen(t, filepath.Join(dir, "a"), unix.O_RDONLY)
		a, b, d, x, y, z := filePath(t, "a"), filePath(t, "b"), filePath(t, "d"), filePath(t, "x"), filePath(t, "y"), filePath(t, "z")
		link, empty := filePath(t, "link"), keep(t, path(t, ""))
		absB, absY := filePath(t, dir, "b"), filePath(t, dir, "y")
		inode := func(name string) uint64 {
			var st unix.Stat_t
			require.NoError(t, unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW))
			return st.Ino
		}
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepLinkat(dirfd, a, sub, x, 0) }))
		assert.Equal(t, inode("a"), inode("d/x"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepLink(absB, absY, 0) }))
		assert.Equal(t, inode("b"), inode("y"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepLinkat(dirfd, link, sub, y, 0) }))
		assert.Equal(t, inode("link"), inode("d/y"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepLinkat(dirfd, link, sub, z, unix.AT_SYMLINK_FOLLOW) }))
		assert.Equal(t, inode("a"), inode("d/z"))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepLinkat(fileA, empty, dirfd, z, unix.AT_EMPTY_PATH) }))
		assert.Equal(t, inode("a"), inode("z"))

		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepLinkat(dirfd, a, dirfd, b, 0) })
		failWith(t, r, unix.EPERM, func(s *SQE) { s.PrepLinkat(dirfd, d, dirfd, x, 0) }) // a directory
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepLinkat(sub, a, dirfd, x, 0) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepLinkat(dirfd, a, dirfd, x, 1) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepLinkat(-1, a, dirfd, x, 0) })
		assert.False(t, fileThere(t, dirfd, "x"))
	})
}

// fileWithAttributes makes a file on a file system with extended attributes, and returns the
// beginning of their names.
func fileWithAttributes(t *testing.T) (fd int, name, prefix string) {
	t.Helper()
	fd, name = fileNew(t, "")
	for _, prefix := range []string{"user.", "trusted."} {
		if err := unix.Fsetxattr(fd, prefix+"probe", nil, 0); err == nil {
			return fd, name, prefix
		}
	}
	require.Fail(t, "no file system with extended attributes")
	return 0, "", ""
}

func TestOpXattr(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpGetxattr, "5.19")
		fd, name, prefix := fileWithAttributes(t)
		file := filePath(t, name)
		attr := func(name string) *byte { return filePath(t, prefix+name) }
		first, second, third, none := attr("one"), attr("two"), attr("three"), attr("none")
		hello, bye := fileBytes(t, "hello"), fileBytes(t, "goodbye")
		for _, prep := range []func(*SQE){
			func(s *SQE) { s.PrepSetxattr(first, hello, file, 0) },
			func(s *SQE) { s.PrepSetxattr(first, bye, file, unix.XATTR_REPLACE) },
			func(s *SQE) { s.PrepFSetxattr(fd, second, hello, unix.XATTR_CREATE) },
			func(s *SQE) { s.PrepFSetxattr(fd, third, nil, 0) },
		} {
			assert.Zero(t, succeed(t, r, prep))
		}
		b := keep(t, make([]byte, 16))
		for want, attr := range map[string]*byte{"goodbye": first, "hello": second, "": third} {
			for _, prep := range []func([]byte) func(*SQE){
				func(b []byte) func(*SQE) { return func(s *SQE) { s.PrepGetxattr(attr, b, file) } },
				func(b []byte) func(*SQE) { return func(s *SQE) { s.PrepFGetxattr(fd, attr, b) } },
			} {
				n := succeed(t, r, prep(b))
				assert.Equal(t, want, string(b[:n]))
				assert.Equal(t, len(want), succeed(t, r, prep(nil)), "only the length")
			}
		}
		failWith(t, r, unix.ERANGE, func(s *SQE) { s.PrepGetxattr(first, b[:3], file) })
		failWith(t, r, unix.ERANGE, func(s *SQE) { s.PrepFGetxattr(fd, first, b[:3]) })
		failWith(t, r, unix.ENODATA, func(s *SQE) { s.PrepGetxattr(none, b, file) })
		failWith(t, r, unix.ENODATA, func(s *SQE) { s.PrepFGetxattr(fd, none, b) })
		failWith(t, r, unix.ENODATA, func(s *SQE) { s.PrepSetxattr(none, hello, file, unix.XATTR_REPLACE) })
		failWith(t, r, unix.EEXIST, func(s *SQE) { s.PrepFSetxattr(fd, first, hello, unix.XATTR_CREATE) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSetxattr(first, hello, file, 8) })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFSetxattr(fd, first, hello, 8) })

		missing, strange := filePath(t, name+"-missing"), filePath(t, "strange.one")
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepGetxattr(first, b, missing) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepSetxattr(first, hello, missing, 0) })
		failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepSetxattr(strange, hello, file, 0) })
		failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepFGetxattr(fd, strange, b) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFGetxattr(-1, first, b) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFSetxattr(-1, first, hello, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepGetxattr(first, b, file); s.Flags |= SQEFixedFile })
		got := make([]byte, 16)
		n, err := unix.Fgetxattr(fd, prefix+"one", got)
		require.NoError(t, err)
		assert.Equal(t, "goodbye", string(got[:n]))
	})
}

// The file of an attribute can be a registered one.
func TestOpXattrOfARegisteredFile(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFGetxattr, "5.19")
		fd, _, prefix := fileWithAttributes(t)
		require.NoError(t, r.RegisterFiles(-1, fd))
		name, text := filePath(t, prefix+"one"), fileBytes(t, "hello")
		b := keep(t, make([]byte, 5))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFSetxattr(1, name, text, 0); s.Flags |= SQEFixedFile }))
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepFGetxattr(1, name, b); s.Flags |= SQEFixedFile }))
		assert.Equal(t, "hello", string(b))
	})
}

func TestOpFilesUpdate(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFilesUpdate, "5.6")
		var files [4]int
		for i := range files {
			files[i], _ = fileNew(t, string(rune('a'+i)))
		}
		a, b, c, d := int32(files[0]), int32(files[1]), int32(files[2]), int32(files[3])
		list := func(fds ...int32) []int32 { return keep(t, fds) }
		skipped, cd := list(c, FilesSkip, d), list(c, d)
		failWith(t, r, unix.ENXIO, func(s *SQE) { s.PrepFilesUpdate(cd, 0) }) // no table
		fileTable(t, r, 4)
		got := keep(t, make([]byte, 1))
		table := func(want string) {
			t.Helper()
			for i, w := range []byte(want) {
				c := one(t, r, func(s *SQE) { s.PrepRead(i, got, 0); s.Flags |= SQEFixedFile })
				if w == '-' {
					assert.Equal(t, unix.EBADF, c.Errno(), "place %d", i)
					continue
				}
				require.EqualValues(t, 1, c.Res, "place %d", i)
				assert.Equal(t, string(w), string(got), "place %d", i)
			}
		}
		update := func(offset int, fds ...int32) int {
			l := list(fds...)
			return succeed(t, r, func(s *SQE) { s.PrepFilesUpdate(l, offset) })
		}
		assert.Equal(t, 2, update(1, a, b))
		table("-ab-")
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepFilesUpdate(skipped, 0) }))
		table("cad-")
		assert.Equal(t, 1, update(1, -1))
		table("c-d-")
		// The kernel chooses places, and answers with them.
		free := list(a, b)
		assert.Equal(t, 2, succeed(t, r, func(s *SQE) { s.PrepFilesUpdate(free, -1) }))
		table("cadb")
		assert.Equal(t, []int32{1, 3}, free)
		full := list(a, b)
		failWith(t, r, unix.ENFILE, func(s *SQE) { s.PrepFilesUpdate(full, -1) })
		table("cadb")
		assert.Equal(t, 1, update(2, -1))
		table("ca-b")
		assert.Equal(t, 1, update(-1, a, b), "as many as there was room for")
		table("caab")

		bad := list(d, -7)
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepFilesUpdate(bad, 0) }), "those before the bad one")
		table("d-ab") // the bad one's place is emptied all the same
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFilesUpdate(bad[1:], 0) })
		table("--ab")
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFilesUpdate(cd, 3) }) // beyond the table
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFilesUpdate(nil, 0) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepFilesUpdate(cd, 0); s.Addr = 4 })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFilesUpdate(cd, 0); s.Flags |= SQEFixedFile })
		table("--ab")
	})
}

func TestOpFixedFDInstall(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFixedFDInstall, "6.8")
		f, _ := fileNew(t, "hello")
		require.NoError(t, r.RegisterFiles(-1, f))
		fileClose(t, f)
		for _, flags := range []uint32{0, FixedFDNoCloexec} {
			fd := succeed(t, r, func(s *SQE) { s.PrepFixedFDInstall(1, flags) })
			b := make([]byte, 5)
			_, err := unix.Pread(fd, b, 0)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(b))
			assert.Equal(t, flags == 0, fileCloexec(t, fd))
			require.NoError(t, unix.Close(fd))
		}
		open := countFDs(t)
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFixedFDInstall(0, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFixedFDInstall(7, 0) })
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepFixedFDInstall(1, 0); s.Flags = 0 })
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepFixedFDInstall(1, 2) })
		assert.Equal(t, open, countFDs(t))
	})
}
