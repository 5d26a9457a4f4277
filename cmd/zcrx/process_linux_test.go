package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// process is the command as a process of its own. Its file is found through
// /proc, because another user may not reach the folder of the test binary.
func process(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), actAsCommand+"=1")
	return cmd
}

// runProcess returns the exit status and what was printed.
func runProcess(t *testing.T, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		_, exited := errors.AsType[*exec.ExitError](err)
		require.True(t, exited, "%v", err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Without CAP_NET_ADMIN the kernel's zcrx interface is out of reach; the copying
// mode is not.
func TestUnprivileged(t *testing.T) {
	const nobody = 65534
	unprivileged := func(args string) *exec.Cmd {
		cmd := process(t.Context(), strings.Fields(args)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	refused := []string{"demo --mode zerocopy -i lo", "recv --mode zerocopy -i lo", "probe --require zerocopy"}
	if inVM() {
		refused = append(refused, "demo --mode deviceless", "probe --require deviceless")
	}
	for _, args := range refused {
		status, _, stderr := runProcess(t, unprivileged(args))
		assert.Equal(t, exitFailed, status, args)
		assert.Contains(t, stderr, "(privilege)", args)
		assert.Contains(t, stderr, "CAP_NET_ADMIN", args)
	}
	status, stdout, stderr := runProcess(t, unprivileged("demo --json --size 1MiB -i lo"))
	require.Equal(t, exitOK, status, stderr)
	r := decode[demoReport](t, stdout)[0]
	assert.Equal(t, "provided", r.Mode)
	assert.Contains(t, r.ModeReason, "CAP_NET_ADMIN")
}

func TestIOUringDisabled(t *testing.T) {
	const sysctl = "/proc/sys/kernel/io_uring_disabled"
	if !inVM() {
		// It is the whole machine's.
		before, err := os.ReadFile(sysctl)
		require.NoError(t, err)
		require.NotEqual(t, "2\n", string(before), "io_uring is forbidden here")
		return
	}
	require.NoError(t, os.WriteFile(sysctl, []byte("2"), 0))
	defer func() { require.NoError(t, os.WriteFile(sysctl, []byte("0"), 0)) }()
	for _, args := range []string{"demo --mode provided", "recv --mode provided", "demo --mode deviceless", "probe --require provided"} {
		status, _, stderr := runProcess(t, process(t.Context(), strings.Fields(args)...))
		assert.Equal(t, exitFailed, status, args)
		assert.Contains(t, stderr, "(sandbox)", args)
		assert.Contains(t, stderr, "kernel.io_uring_disabled", args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	status, stdout, stderr := runProcess(t, process(t.Context(), "demo", "--json", "--size", "1MiB"))
	require.Equal(t, exitOK, status, stderr)
	r := decode[demoReport](t, stdout)[0]
	assert.Equal(t, "socket", r.Mode)
	assert.Contains(t, r.ModeReason, "kernel.io_uring_disabled")
	status, stdout, _ = runProcess(t, process(t.Context(), "probe"))
	assert.Equal(t, exitOK, status)
	assert.Contains(t, stdout, "sandbox: ")
}

// The first signal ends recv in order.
func TestSignal(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		recv := process(t.Context(), "recv", "-l", "127.0.0.1:0")
		var stderr lockedBuffer
		recv.Stderr = &stderr
		require.NoError(t, recv.Start())
		address(t, &stderr)
		require.NoError(t, recv.Process.Signal(signal))
		require.NoError(t, recv.Wait(), stderr.String())
	}
}

// fullPipe returns a pipe that takes not a byte more.
func fullPipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	for _, size := range []int{4096, 1} {
		for err := error(nil); !errors.Is(err, unix.EAGAIN); _, err = unix.Write(fds[1], make([]byte, size)) {
			require.NoError(t, err)
		}
	}
	require.NoError(t, unix.SetNonblock(fds[1], false))
	read, write = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() { _ = errors.Join(read.Close(), write.Close()) })
	return read, write
}

// One signal is enough also while nobody takes the output.
func TestSignalWhileOutputBlocks(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer reader.Close()
	_, stdout := fullPipe(t)
	for _, args := range [][]string{{"-o", "-"}, {"-o", fifo}, nil} {
		recv := process(t.Context(), append([]string{"recv", "-l", "127.0.0.1:0", "--once"}, args...)...)
		recv.Stdout = stdout
		var stderr lockedBuffer
		recv.Stderr = &stderr
		require.NoError(t, recv.Start())
		conn := connect(t, address(t, &stderr))
		_, err = conn.Write(make([]byte, 1<<20)) // more than a pipe holds
		require.NoError(t, err)
		time.Sleep(200 * time.Millisecond) // it writes by then
		require.NoError(t, recv.Process.Signal(syscall.SIGTERM))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = recv.Wait()
		}()
		select {
		case <-ended:
			assert.Equal(t, exitFailed, recv.ProcessState.ExitCode())
			assert.Contains(t, lastLine(stderr.String()), "interrupted", "%v", args)
		case <-time.After(time.Minute):
			t.Errorf("recv %v does not end", args)
			_ = recv.Process.Kill()
			<-ended
		}
		require.NoError(t, conn.Close())
	}
}

// A command that is stuck, because nobody takes what it prints to standard error, is killed
// by the second signal.
func TestSecondSignalKills(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := ln.Addr().String()
	require.NoError(t, ln.Close())
	recv := process(t.Context(), "recv", "-l", at)
	_, recv.Stderr = fullPipe(t) // what it prints first waits for ever
	require.NoError(t, recv.Start())
	require.Eventually(t, func() bool { // it takes signals in order before it listens
		conn, err := net.Dial("tcp", at)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, time.Minute, time.Millisecond)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = recv.Process.Wait()
	}()
	signals := 0
	for {
		signals++
		if recv.Process.Signal(syscall.SIGTERM) != nil {
			break
		}
		select {
		case <-ended:
		case <-time.After(200 * time.Millisecond):
			continue
		}
		break
	}
	<-ended
	assert.GreaterOrEqual(t, signals, 2)
}
