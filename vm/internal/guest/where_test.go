//go:build linux

package guest

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	name, state, kernels, ok := parseStat("7 (a) (b) S 1 7 7 0 -1 4194560 1 0\n")
	assert.True(t, ok)
	assert.Equal(t, "a) (b", name)
	assert.Equal(t, byte('S'), state)
	assert.False(t, kernels)
	_, _, kernels, ok = parseStat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0\n")
	assert.True(t, ok)
	assert.True(t, kernels)
	for _, bad := range []string{"", "1 (x", "1 (x) S", "1 )x( S 1 1 1 1 1 1", "1 (x) S 1 1 1 0 -1 flags"} {
		_, _, _, ok := parseStat(bad)
		assert.False(t, ok, bad)
	}
}

func TestThreadsOfThisProcess(t *testing.T) {
	runtime.LockOSThread() // so that the thread is there as long as the test
	defer runtime.UnlockOSThread()
	var b strings.Builder
	writeThreads(&b, os.Getpid())
	assert.Regexp(t, `(?m)^  process \d+, thread \d+ \(.*\): state [RSD], wchan .+$`, b.String())

	b.Reset()
	writeThreads(&b, 2) // kthreadd, or no process in a container
	assert.Empty(t, b.String())
}

func TestDrainTakesTheTexts(t *testing.T) {
	records := []any{
		"6,1,10,-;sysrq: Show Blocked State\n", unix.EINTR,
		"4,2,11,-;task:x state:D\n SUBSYSTEM=none\n", unix.EPIPE, "4,3,12,c;one; two\n", unix.EAGAIN,
	}
	log := drain(func(b []byte) (int, error) {
		r := records[0]
		records = records[1:]
		if err, ok := r.(unix.Errno); ok {
			return -1, err
		}
		text, _ := r.(string)
		return copy(b, text), nil
	})
	assert.Equal(t, "sysrq: Show Blocked State\ntask:x state:D\none; two\n", log)
}

func TestSubjectIsKilledWhileItRuns(t *testing.T) {
	var s subject
	assert.False(t, s.kill(unix.SIGQUIT), "not started")
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	s.begin(cmd.Process.Pid)
	assert.True(t, s.kill(unix.SIGQUIT))
	require.Error(t, cmd.Wait())
	s.end()
	assert.False(t, s.kill(unix.SIGQUIT), "ended")
}
