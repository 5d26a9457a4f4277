// Package hang has a test that hangs, for the tests of lane.
package hang

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary also run as its own child, which ends only if it is killed.
func TestMain(m *testing.M) {
	if os.Getenv("LANE_TEST_CHILD") != "" {
		signal.Ignore(syscall.SIGQUIT, syscall.SIGTERM)
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

func TestBefore(t *testing.T) { t.Log("before") }

func TestHangs(t *testing.T) {
	t.Run("here", func(t *testing.T) {
		if os.Getenv("LANE_TEST_IGNORE") != "" {
			signal.Ignore(syscall.SIGQUIT)
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "LANE_TEST_CHILD=1")
		child.Stdout = os.Stdout // go test waits until the child closes it
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		t.Log("about to hang")
		neverEnds()
	})
}

func TestAfter(t *testing.T) {}

//go:noinline
func neverEnds() { time.Sleep(time.Hour) }
