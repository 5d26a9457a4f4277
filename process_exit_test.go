//go:build linux && cgo

package zcrx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The address on which the child processes listen. Nothing else in these tests uses it, so
// the port of one child is free for the next.
const childAddress = "127.77.0.1"

const (
	exitMode   = "ZCRX_EXIT_MODE"
	exitPort   = "ZCRX_EXIT_PORT"
	exitItself = "ZCRX_EXIT_ITSELF"
)

// TestProcessExitChild is the child of TestExitAndKillWithRequestsInFlight: a process that
// exits, or is killed, with requests in flight and every buffer out.
func TestProcessExitChild(t *testing.T) {
	name, isChild := os.LookupEnv(exitMode)
	if !isChild {
		return
	}
	mode, err := ParseMode(name)
	require.NoError(t, err)
	ln, err := net.Listen("tcp", net.JoinHostPort(childAddress, os.Getenv(exitPort)))
	require.NoError(t, err)
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	p, err := OpenPool(t.Context(), l, mode, Queue{}, PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	// The first connection brings data, the second only waits.
	var receivers []*Receiver
	for range 2 {
		conn, err := ln.Accept()
		require.NoError(t, err)
		r, err := NewReceiver(p, conn.(*net.TCPConn))
		require.NoError(t, err)
		receivers = append(receivers, r)
	}
	holding := false
	_, err = newStream(1).receive(t, receivers[0], 0, func(Buffer) { // kept
		if p.Stats().Outstanding < p.NumBuffers() || holding {
			return
		}
		holding = true
		fmt.Println("holding")
		if os.Getenv(exitItself) != "" {
			os.Exit(0)
		}
	})
	require.NoError(t, err)
}

// runChild runs a child that receives, and exits or is killed with SIGKILL, and checks that
// its connections end. It returns the child's port.
func runChild(t *testing.T, mode Mode, port int, kill bool) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestProcessExitChild$")
	cmd.Env = append(os.Environ(), exitMode+"="+mode.String(), exitPort+"="+strconv.Itoa(port))
	if !kill {
		cmd.Env = append(cmd.Env, exitItself+"=1")
	}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "the child says its port")
	got, err := strconv.Atoi(lines.Text())
	require.NoError(t, err, "the child said %q", lines.Text())
	if port != 0 {
		require.Equal(t, port, got)
	}
	var conns []*net.TCPConn
	for range 2 {
		c, err := net.Dial("tcp", net.JoinHostPort(childAddress, strconv.Itoa(got)))
		require.NoError(t, err)
		defer c.Close()
		conns = append(conns, c.(*net.TCPConn))
	}
	ended := newStream(1).Flood(t, conns[0])
	require.True(t, lines.Scan(), "the child receives")
	require.Equal(t, "holding", lines.Text())
	if kill {
		require.NoError(t, cmd.Process.Kill())
	}
	err = cmd.Wait()
	if kill {
		require.Equal(t, syscall.SIGKILL, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	} else {
		require.NoError(t, err)
	}
	// The kernel ends what was in flight, and so both connections.
	<-ended
	require.NoError(t, conns[1].SetReadDeadline(time.Now().Add(patience)))
	_, err = conns[1].Read(make([]byte, 1))
	require.True(t, errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET), "%v", err)
	return got
}

// TestExitAndKillWithRequestsInFlight ends processes with requests in flight and every
// buffer out, and at once starts the next one on the same port.
func TestExitAndKillWithRequestsInFlight(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		port := 0
		for _, kill := range []bool{false, true, false, true} {
			port = runChild(t, mode, port, kill)
		}
		ln, err := net.Listen("tcp", net.JoinHostPort(childAddress, strconv.Itoa(port)))
		require.NoError(t, err)
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		sender, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		conn, err := ln.Accept()
		require.NoError(t, err)
		r, err := NewReceiver(p, conn.(*net.TCPConn))
		require.NoError(t, err)
		s := newStream(2)
		s.Send(t, sender.(*net.TCPConn), 1<<20)
		s.receiveExactly(t, r, 1<<20)
		require.NoError(t, r.Close())
		require.NoError(t, l.Close())
		require.NoError(t, sender.Close())
		require.NoError(t, ln.Close())
		settled(t, fds, goroutines)
	})
}
