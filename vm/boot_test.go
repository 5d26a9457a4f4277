//go:build vmtest

// These tests boot kernels: go test -tags vmtest. They need QEMU and, unless
// the kernels are cached, the Debian archive.

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// guestFiles are the executables that a boot needs, built once for all tests.
type guestFiles struct{ init, program string }

func buildGuest(t *testing.T) guestFiles {
	t.Helper()
	dir := t.TempDir()
	build := func(name, source string) string {
		out := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-o", out, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, string(text))
		return out
	}
	return guestFiles{build("vmrun", "./vmrun"), build("program", "./testdata/program")}
}

func (g guestFiles) config(args ...string) Config {
	return Config{Program: g.program, Init: g.init, Args: args, Timeout: 2 * time.Minute}
}

// run calls Run, and also returns what the program printed.
func run(t *testing.T, c Config) (status int, stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	c.Notices = testLog{t}
	status, err = Run(t.Context(), c)
	return status, out.String(), errs.String(), err
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p))
	return len(p), nil
}

// TestBoot boots three kernels, or the one that ZCRX_VM_KERNEL names, as the lane vm does.
func TestBoot(t *testing.T) {
	g := buildGuest(t)
	kernels := []string{"6.1", "6.18", "7.3"}
	if one := os.Getenv("ZCRX_VM_KERNEL"); one != "" {
		kernels = []string{one}
	}
	for _, series := range kernels {
		t.Run(series, func(t *testing.T) {
			c := g.config("system")
			c.Kernel = series
			c.Sysctls = []string{"net.core.somaxconn=1234"}
			status, stdout, _, err := run(t, c)
			require.NoError(t, err)
			assert.Zero(t, status)
			assert.Contains(t, stdout, "release="+series+".")
			assert.Contains(t, stdout, "somaxconn=1234\nnofile=1048576\nmemlock=8388608\nuid=0 gid=0\n"+
				"addresses=[127.0.0.1/8 ::1/128]\ndir=/guest\nstdin=0\n")
		})
	}
}

func TestExitStatus(t *testing.T) {
	g := buildGuest(t)
	for want, args := range map[int][]string{0: {"exit", "0"}, 3: {"exit", "3"}, 128 + 9: {"die"}} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			status, _, _, err := run(t, g.config(args...))
			require.NoError(t, err)
			assert.Equal(t, want, status)
		})
	}
}

func TestArgumentsAndEnvironment(t *testing.T) {
	g := buildGuest(t)
	args := []string{"two words", `"quoted" 'twice'`, "", "$HOME", "line\nbreak", "--flag=v", "ü"}
	status, stdout, _, err := run(t, g.config(append([]string{"args"}, args...)...))
	require.NoError(t, err)
	assert.Zero(t, status)
	assert.Equal(t, fmt.Sprintf("%q\n", args), stdout)

	c := g.config("env")
	c.Env = []string{"KEY=a value = that", "EMPTY="}
	_, stdout, _, err = run(t, c)
	require.NoError(t, err)
	assert.Contains(t, stdout, "KEY=a value = that\nEMPTY=\n")
}

func TestStreams(t *testing.T) {
	g := buildGuest(t)
	_, stdout, stderr, err := run(t, g.config("streams"))
	require.NoError(t, err)
	assert.Equal(t, "out\n", stdout, "no carriage returns, nothing of the kernel")
	assert.Equal(t, "err\n", stderr)

	const lines = 50_000
	_, stdout, _, err = run(t, g.config("flood", fmt.Sprint(lines)))
	require.NoError(t, err)
	assert.Equal(t, lines, strings.Count(stdout, "\n"))
	assert.True(t, strings.HasSuffix(stdout, fmt.Sprintf("\n%d\n", lines-1)))
}

func TestFilesInAndOut(t *testing.T) {
	g := buildGuest(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in", "sub", "f"), "inside", 0o644)
	single := write(t, filepath.Join(dir, "single"), "alone", 0o644)

	c := g.config("cat", "in/sub/f", "/data/renamed")
	c.Files = []File{{Host: filepath.Join(dir, "in")}, {Host: single, Guest: "/data/renamed"}}
	status, stdout, stderr, err := run(t, c)
	require.NoError(t, err)
	assert.Zero(t, status, stderr)
	assert.Equal(t, "in/sub/f: inside\n/data/renamed: alone\n", stdout)

	c = g.config("write", "/out/a", "/out/deep/er/b", "/elsewhere/cover")
	c.Outputs = []Output{
		{Guest: "/out/", Host: filepath.Join(dir, "back")},
		{Guest: "/elsewhere/cover", Host: filepath.Join(dir, "cover")},
		{Guest: "/elsewhere/never-written", Host: filepath.Join(dir, "never")},
	}
	status, _, stderr, err = run(t, c)
	require.NoError(t, err)
	assert.Zero(t, status, stderr)
	for name, want := range map[string]string{
		"back/a": "/out/a", "back/deep/er/b": "/out/deep/er/b", "cover": "/elsewhere/cover",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
	}
	assert.NoFileExists(t, filepath.Join(dir, "never"))
}

func TestUser(t *testing.T) {
	g := buildGuest(t)
	c := g.config("system")
	c.UID = 1000
	_, stdout, _, err := run(t, c)
	require.NoError(t, err)
	assert.Contains(t, stdout, "uid=1000 gid=1000\n")

	// The output folder and the working directory are the user's, /etc is not.
	dir := t.TempDir()
	c = g.config("write", "/out/x", "here")
	c.UID, c.Outputs = 1000, []Output{{Guest: "/out/", Host: dir}}
	status, _, stderr, err := run(t, c)
	require.NoError(t, err)
	assert.Zero(t, status, stderr)
	assert.FileExists(t, filepath.Join(dir, "x"))
	c.Args = []string{"write", "/etc/x"}
	status, _, stderr, err = run(t, c)
	require.NoError(t, err)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "permission denied")
}

func TestOrphansDoNotHoldTheGuest(t *testing.T) {
	status, _, _, err := run(t, buildGuest(t).config("orphan"))
	require.NoError(t, err)
	assert.Zero(t, status)
}

func TestTimeoutAndCancel(t *testing.T) {
	g := buildGuest(t)
	c := g.config("sleep")
	c.Timeout = 20 * time.Second
	status, stdout, _, err := run(t, c)
	require.ErrorIs(t, err, ErrTimeout)
	assert.ErrorContains(t, err, "within 20s")
	assert.Zero(t, status)
	assert.Equal(t, "sleeping\n", stdout, "output is live")

	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	c = g.config("sleep")
	c.Stdout = writerFunc(func() { cancel(reason) })
	_, err = Run(ctx, c)
	require.ErrorIs(t, err, reason)
}

func TestTimeoutTellsWhere(t *testing.T) {
	c := buildGuest(t).config("hang")
	c.Timeout = 20 * time.Second
	_, _, stderr, err := run(t, c)
	require.ErrorIs(t, err, ErrTimeout)
	require.EqualError(t, err, "the guest did not end within 20s: timeout", "it did react")
	assert.Regexp(t, `thread \d+ \(program\): state S, wchan \w+\n      \w+\+0x`, stderr)
	kernels, program, found := strings.Cut(stderr, "vmrun: the program gets SIGQUIT\n")
	require.True(t, found, stderr)
	assert.Contains(t, kernels, "sysrq: Show Blocked State")
	assert.Contains(t, program, "SIGQUIT: quit")
	assert.Contains(t, program, "main.hangsHere()")
	t.Log(stderr)
}

// quit runs and closes c.Quit when the program prints something.
func quit(t *testing.T, c Config) (stderr string, err error) {
	t.Helper()
	asked := make(chan struct{})
	c.Quit = asked
	var errs bytes.Buffer
	c.Stdout, c.Stderr = writerFunc(func() { close(asked) }), &errs
	start := time.Now()
	_, err = Run(t.Context(), c)
	require.ErrorIs(t, err, ErrQuit)
	t.Logf("%v after %v\n%s", err, time.Since(start), errs.String())
	return errs.String(), err
}

func TestQuitTellsWhere(t *testing.T) {
	stderr, err := quit(t, buildGuest(t).config("hang"))
	require.EqualError(t, err, "the guest was ended: asked to quit")
	assert.Contains(t, stderr, "main.hangsHere()")
}

func TestQuitShowsWhatTheKernelBlocks(t *testing.T) {
	for _, series := range []string{"6.1", "7.3"} {
		t.Run(series, func(t *testing.T) {
			c := buildGuest(t).config("block")
			c.Kernel = series
			stderr, err := quit(t, c)
			require.EqualError(t, err, "the guest was ended: asked to quit")
			assert.Regexp(t, `\(program\): state D, wchan \w+\n(      .*\n)*      \w*clone`, stderr)
			assert.Regexp(t, `\(sysrq w\):\n.*Show Blocked State\n(    .*\n)*    task:program +state:D`, stderr)
			assert.Contains(t, stderr, "main.hangsHere()")
		})
	}
}

func TestQuitKillsWhatIgnoresIt(t *testing.T) {
	stderr, err := quit(t, buildGuest(t).config("ignore"))
	require.EqualError(t, err, "the guest was ended: asked to quit")
	assert.Contains(t, stderr, "did not end within 10s of SIGQUIT: it is killed")
}

// TestQuitOfADeadGuest stops QEMU in the place of a kernel that hangs.
func TestQuitOfADeadGuest(t *testing.T) {
	c := buildGuest(t).config("hang")
	asked := make(chan struct{})
	c.Quit = asked
	c.Stdout = writerFunc(func() {
		children, err := exec.Command("pgrep", "-P", fmt.Sprint(os.Getpid()), "qemu").Output()
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		close(asked)
	})
	start := time.Now()
	_, err := Run(t.Context(), c)
	require.ErrorIs(t, err, ErrQuit)
	require.ErrorContains(t, err, "it did not react when it was asked where it hangs")
	t.Logf("%v after %v", err, time.Since(start))
}

// writerFunc calls itself for each write.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestKernelPanicIsReported(t *testing.T) {
	_, _, _, err := run(t, buildGuest(t).config("panic"))
	require.ErrorContains(t, err, "the guest's kernel panicked")
	assert.ErrorContains(t, err, "sysrq triggered crash")
}

func TestInitThatEndsIsReported(t *testing.T) {
	g := buildGuest(t)
	c := g.config("exit", "0")
	c.Init = g.program // does not call GuestInit, and ends at once
	_, _, _, err := run(t, c)
	require.ErrorContains(t, err, "the guest's kernel panicked")
	assert.ErrorContains(t, err, "Attempted to kill init")
}

func TestFailuresInTheGuest(t *testing.T) {
	g := buildGuest(t)
	c := g.config("exit", "0")
	c.Sysctls = []string{"no.such.key=1"}
	_, _, _, err := run(t, c)
	require.ErrorContains(t, err, "in the guest: sysctl no.such.key=1:")

	c = g.config("exit", "0")
	c.Modules = []string{g.program}
	_, _, _, err = run(t, c)
	require.ErrorContains(t, err, "in the guest: loading the module /lib/modules/00-program:")

	c = g.config("exit", "0")
	c.Files = []File{{Host: filepath.Join(t.TempDir(), "none")}}
	_, _, _, err = run(t, c)
	require.ErrorIs(t, err, os.ErrNotExist)
}
