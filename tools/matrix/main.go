// Command matrix runs the library on every kernel series that it supports, in
// every situation that users run it in, and makes docs/kernels.md of the answers.
//
//	matrix -vmrun bin/vmrun -test matrix.test -doc docs/kernels.md [-timeout 2m] [-check] [SERIES...]
//
// One line is printed per kernel and situation: "ok" if the answers were as the
// kernel's number and the situation demand. With -check the document is not
// written: it fails if it says something else than this run. Exact versions do
// not count there, for patch releases come and go.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/zcrx-go/zcrx/tools/matrix/answers"
)

// supported are the series that Debian carries side by side.
var supported = []string{"6.1", "6.12", "6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3"}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "matrix: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	vmrun := flags.String("vmrun", "bin/vmrun", "the program that boots a kernel")
	test := flags.String("test", "bin/matrix.test", "the test that runs on it, statically linked, with the tag matrix")
	doc := flags.String("doc", "docs/kernels.md", "the document")
	check := flags.Bool("check", false, "compare the document instead of writing it")
	// A boot takes seconds; some hundred tests under emulation half a minute.
	timeout := flags.Duration("timeout", 2*time.Minute, "how long one kernel may take; then it is asked where it hangs")
	parallel := flags.Int("parallel", 2, "how many kernels run at the same time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	series := flags.Args()
	if len(series) == 0 {
		series = supported
	}
	kernels, err := bootAll(ctx, series, *parallel, out, func(ctx context.Context, series string) (answers.Kernel, string, error) {
		return boot(ctx, *vmrun, *test, series, *timeout)
	})
	if err != nil {
		return err
	}
	return settle(*doc, render(series, kernels), *check, out)
}

// settle writes the document, or holds it against the run.
func settle(doc, now string, check bool, out io.Writer) error {
	if !check {
		return os.WriteFile(doc, []byte(now), 0o644)
	}
	committed, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	if withoutVersions(string(committed)) != withoutVersions(now) {
		fmt.Fprintf(out, "FAIL  %s says something else than this run, which says:\n%s\n", doc, now)
		return fmt.Errorf("%s is out of date: run make test-matrix-update", doc)
	}
	fmt.Fprintf(out, "ok    %s says what this run says\n", doc)
	return nil
}

// bootAll runs every series, some at a time, and reports on each. All run, also
// after a failure: one run tells everything.
func bootAll(ctx context.Context, series []string, parallel int, out io.Writer,
	boot func(context.Context, string) (answers.Kernel, string, error)) ([]answers.Kernel, error) {
	kernels, errs := make([]answers.Kernel, len(series)), make([]error, len(series))
	limit := make(chan struct{}, max(1, parallel))
	var printing sync.Mutex
	var wg sync.WaitGroup
	for i, s := range series {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			k, log, err := boot(ctx, s)
			kernels[i], errs[i] = k, err
			printing.Lock()
			defer printing.Unlock()
			if err != nil {
				fmt.Fprintf(out, "FAIL  Linux %s: %v\n", s, err)
				for line := range strings.Lines(log) { // set in, for its "FAIL" is no check of ours
					fmt.Fprint(out, "      ", strings.TrimSuffix(line, "\n"), "\n")
				}
				return
			}
			for _, a := range k.Situations {
				fmt.Fprintf(out, "ok    Linux %s, %s\n", s, a.Situation)
			}
		})
	}
	wg.Wait()
	return kernels, errors.Join(errs...)
}

// boot runs the test on one kernel and takes its answers.
func boot(ctx context.Context, vmrun, test, series string, timeout time.Duration) (k answers.Kernel, log string, err error) {
	dir, err := os.MkdirTemp("", "zcrx-matrix-")
	if err != nil {
		return k, "", err
	}
	defer os.RemoveAll(dir)
	var console bytes.Buffer
	cmd := exec.CommandContext(ctx, vmrun, "--quiet", "--timeout", timeout.String(), "--kernel", series, "--out", dir,
		"--env", "ZCRX_MATRIX_OUT=/out", test, "-test.run", "^TestMatrix$")
	cmd.Stdout, cmd.Stderr = &console, &console
	if err := cmd.Run(); err != nil {
		return k, console.String(), err
	}
	b, err := os.ReadFile(filepath.Join(dir, answers.File))
	if err != nil {
		return k, console.String(), err
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return k, console.String(), err
	}
	if !strings.HasPrefix(k.Release, series+".") {
		return k, console.String(), fmt.Errorf("asked for Linux %s, booted %s", series, k.Release)
	}
	return k, console.String(), nil
}
