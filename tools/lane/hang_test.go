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

// role says in the environment what the test binary is to be instead: "lane", and
// after a blank the role for what that runs.
const role = "LANE_TEST_ROLE"

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
	case "stubborn": // and so is its child
		signal.Ignore(syscall.SIGTERM, syscall.SIGQUIT)
		if next == "" {
			os.Setenv(role, "stubborn again")
			exec.Command(os.Args[0]).Start()
		}
		time.Sleep(time.Hour)
	case "runner": // of go test -exec
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

// start starts lane as a process of its own, which plays a role to what it runs.
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

// lane runs it to its end.
func lane(t *testing.T, plays string, env []string, args ...string) (status int, out string) {
	t.Helper()
	wait, _, _ := start(t, plays, env, args...)
	return wait()
}

// marked returns the numbers of the processes with that in their environment.
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

// goTest is a command line with two packages, of which the first hangs. They have
// been compiled, so that the limits are theirs alone.
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
		"What its processes said", "SIGQUIT: quit", "hang.neverEnds", "testdata/hang/hang_test.go:",
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

// What go test -exec puts in front of the test binary is asked too: vmrun has to.
func TestRunnerIsAsked(t *testing.T) {
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
		pids := marked(t, "LANE_TEST_CHILD") // which the test starts before it hangs
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

func TestOwnTimeOfSubtests(t *testing.T) {
	const limit = 10 * time.Second
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestA")
	for i := range 5 {
		name := fmt.Sprintf("TestA/%d", i)
		c.events("run " + name)
		if hung := c.pass(8*time.Second, limit); hung != nil {
			t.Fatalf("%v hung, a parent of subtests and the subtests within their limit", hung)
		}
		c.events("pass " + name)
	}
	c.events("run TestA/slow", "run TestA/slow/leaf/with a slash")
	if hung := c.pass(11*time.Second, limit); !slices.Equal(hung, []string{"TestA/slow/leaf/with a slash"}) {
		t.Errorf("%v hung, want the leaf", hung)
	}
}

func TestOwnTimeWithoutSubtests(t *testing.T) {
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestA", "run TestA/x")
	// test2json holds the event of a subtest's end back until the next line.
	c.add(event{Action: "output", Package: "p", Test: "TestA/x", Output: "    --- PASS: TestA/x (0.00s)\n"})
	if hung := c.pass(11*time.Second, 10*time.Second); !slices.Equal(hung, []string{"TestA"}) {
		t.Errorf("%v hung, want the parent", hung)
	}
}

func TestPausedTestsAreNotBlamed(t *testing.T) {
	const limit = 10 * time.Second
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestP", "pause TestP", "run TestQ", "run TestQ/sub", "pause TestQ/sub")
	// TestQ has returned, or waits for something: only when nothing else runs is
	// that known to be its own doing.
	for i := range 3 {
		name := fmt.Sprintf("TestS%d", i)
		c.events("run " + name)
		if hung := c.pass(8*time.Second, limit); hung != nil {
			t.Fatalf("%v hung", hung)
		}
		c.events("pass " + name)
	}
	c.events("cont TestP")
	if hung := c.pass(11*time.Second, limit); !slices.Equal(hung, []string{"TestP"}) {
		t.Errorf("%v hung, want the one that goes on", hung)
	}
}

func TestIdlePackageIsEnded(t *testing.T) {
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestA", "pass TestA")
	c.pass(9*time.Second, 10*time.Second)
	c.events("run TestB", "pass TestB")
	c.pass(9*time.Second, 10*time.Second)
	wantCounts(t, c.collector, 0, 0, 0)
	c.pass(12*time.Second, 10*time.Second)
	c.add(event{Action: "output", Package: "p", Output: "in TestMain\n"})
	c.events("fail")
	wantCounts(t, c.collector, 2, 1, 0)
	wantText(t, c.out.String(), "FAIL  p: none of its tests has run for 10s\n", "in TestMain")
}

// clock feeds events and lets time pass.
type clock struct {
	*collector
	out strings.Builder
}

func (c *clock) events(lines ...string) {
	for _, line := range lines {
		action, test, _ := strings.Cut(line, " ")
		c.add(event{Action: action, Package: "p", Test: test})
	}
}

// pass lets d pass and returns the tests that hung in it.
func (c *clock) pass(d, limit time.Duration) (hung []string) {
	for range d / time.Second {
		c.overdue(time.Second, limit)
	}
	for _, test := range c.packages["p"].order {
		if test.hung != "" {
			hung = append(hung, test.name)
		}
	}
	return hung
}
