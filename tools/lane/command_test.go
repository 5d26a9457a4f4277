package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// role is the environment variable that makes the test binary run as another program:
// "lane" or another role of play. After a blank it has the role for the programs that
// this one starts.
const role = "LANE_TEST_ROLE"

// play runs the test binary in a role.
func play(what string) {
	what, next, _ := strings.Cut(what, " ")
	if err := os.Setenv(role, next); err != nil {
		panic(err)
	}
	switch what {
	case "lane":
		main()
	case "sleeper":
		fmt.Println("ok one")
		time.Sleep(time.Hour)
	case "stubborn": // ignores signals, and starts a child that does
		signal.Ignore(syscall.SIGTERM, syscall.SIGQUIT)
		if next == "" {
			os.Setenv(role, "stubborn again")
			exec.Command(os.Args[0]).Start()
		}
		time.Sleep(time.Hour)
	case "runner": // a program for go test -exec
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGQUIT)
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err := cmd.Run()
		select {
		case <-asked:
			fmt.Println("the runner was asked")
		default:
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// start starts lane as a process, whose children run in the role plays. wait waits for its
// end; mark is in the environment of lane and of everything that it starts.
func start(t *testing.T, plays string, env []string, args ...string) (wait func() (status int, out string), cmd *exec.Cmd, mark string) {
	t.Helper()
	mark = fmt.Sprintf("LANE_TEST_MARK=%s-%d", t.Name(), time.Now().UnixNano())
	cmd = exec.Command(os.Args[0], append([]string{"-dir", t.TempDir()}, args...)...)
	cmd.Env = append(os.Environ(), role+"="+strings.TrimSpace("lane "+plays), mark)
	cmd.Env = append(cmd.Env, env...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (int, string) {
		t.Helper()
		_ = cmd.Wait() // it fails on purpose
		for _, pid := range marked(t, mark) {
			t.Errorf("left behind: process %d, %q", pid, arguments(pid))
		}
		return cmd.ProcessState.ExitCode(), b.String()
	}, cmd, mark
}

// lane runs lane to its end.
func lane(t *testing.T, plays string, env []string, args ...string) (status int, out string) {
	t.Helper()
	wait, _, _ := start(t, plays, env, args...)
	return wait()
}

// marked returns the numbers of the processes that have mark in their environment.
func marked(t *testing.T, mark string) (pids []int) {
	t.Helper()
	for pid := range processes() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && bytes.Contains(text, []byte(mark)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// goTest returns a command line that tests two packages, of which the first hangs. It
// compiles them before, so that the limits do not include that.
func goTest(t *testing.T, more ...string) []string {
	t.Helper()
	if out, err := exec.Command("go", "test", "-run=^$", "./testdata/hang", "./testdata/fine").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := append([]string{"t", "--", "go", "test", "-json", "-count=1", "-p=1"}, more...)
	return append(args, "./testdata/hang", "./testdata/fine")
}

const hangs = "FAIL  github.com/zcrx-go/zcrx/tools/lane/testdata/hang.TestHangs/here ("

func wantStatus(t *testing.T, status, want int, out string) {
	t.Helper()
	if status != want {
		t.Errorf("status %d, want %d:\n%s", status, want, out)
	}
}

func TestHungTestIsNamedAndShown(t *testing.T) {
	t.Parallel()
	status, out := lane(t, "", nil, append([]string{"-limit", "5s"}, goTest(t)...)...)
	wantStatus(t, status, 1, out)
	wantText(t, out, hangs, "hung, its limit is 5s", "about to hang",
		"What its processes printed after SIGQUIT:", "SIGQUIT: quit", "hang.neverEnds", "testdata/hang/hang_test.go:",
		"ok    github.com/zcrx-go/zcrx/tools/lane/testdata/fine (1 tests",
		"lane t: 3 ran, 1 failed, 0 skipped\n")
}

func TestStubbornTestIsKilled(t *testing.T) {
	t.Parallel()
	status, out := lane(t, "", []string{"LANE_TEST_IGNORE=1"},
		append([]string{"-limit", "5s", "-grace", "1s"}, goTest(t)...)...)
	wantStatus(t, status, 1, out)
	wantText(t, out, hangs, "signal: killed", "testdata/fine (1 tests", "3 ran, 1 failed")
}

// TestRunnerGetsSIGQUIT checks that the program of go test -exec gets the signal too, as
// vmrun must.
func TestRunnerGetsSIGQUIT(t *testing.T) {
	t.Parallel()
	status, out := lane(t, "runner", nil, append([]string{"-limit", "5s"}, goTest(t, "-exec", os.Args[0])...)...)
	wantStatus(t, status, 1, out)
	wantText(t, out, hangs, "the runner was asked", "hang.neverEnds", "testdata/fine (1 tests", "3 ran, 1 failed")
}

func TestLaneLimit(t *testing.T) {
	t.Parallel()
	status, out := lane(t, "", nil, append([]string{"-max", "15s"}, goTest(t)...)...)
	wantStatus(t, status, 1, out)
	wantText(t, out, "FAIL  the lane's limit of 15s passed\n", "go test -json",
		hangs, "still ran when the lane's limit of 15s passed", "hang.neverEnds")
}

func TestLaneLimitOfAScript(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"sleeper", "stubborn"} {
		t.Run(script, func(t *testing.T) {
			status, out := lane(t, script, nil, "-max", "1s", "-lines", "t", "--", os.Args[0])
			wantStatus(t, status, 1, out)
			wantText(t, out, "FAIL  the lane's limit of 1s passed\n", filepath.Base(os.Args[0]), "lane t: ")
		})
	}
}

func TestTerminatedLaneNamesWhatRan(t *testing.T) {
	t.Parallel()
	wait, cmd, mark := start(t, "", nil, goTest(t)...)
	begin := time.Now()
	begun := func() bool {
		pids := marked(t, "LANE_TEST_CHILD") // the child that the test starts before it hangs
		return slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(marked(t, mark), pid) })
	}
	for !begun() && time.Since(begin) < time.Minute {
		time.Sleep(look)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	status, out := wait()
	wantStatus(t, status, 1, out)
	wantText(t, out, "FAIL  the lane was terminated\n", hangs)
}
