// Command matrix runs the library on each kernel series that it supports, in several
// situations (as root, as an ordinary user, under seccomp), and writes the results to
// docs/kernels.md.
//
//	matrix [-vmrun bin/vmrun] [-test bin/matrix.test] [-doc docs/kernels.md] [-timeout 2m] [-parallel 2] [-check] [SERIES...]
//
// It prints a line for each kernel and situation: "ok" if the results are those that the
// kernel's version and the situation call for. With -check it does not write the document,
// and fails if the document differs from this run. Patch releases are not compared, because
// the archive replaces them.
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

// supported are the series that Debian's archive has, all at the same time.
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
	// A boot takes seconds, and the tests on one kernel half a minute under emulation.
	timeout := flags.Duration("timeout", 2*time.Minute, "how long one kernel may take; after that it prints where it hangs")
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
	return writeOrCheck(*doc, render(series, kernels), *check, out)
}

// writeOrCheck writes now to the document or, with check, compares the document with it.
func writeOrCheck(doc, now string, check bool, out io.Writer) error {
	if !check {
		return os.WriteFile(doc, []byte(now), 0o644)
	}
	committed, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	if withoutVersions(string(committed)) != withoutVersions(now) {
		fmt.Fprintf(out, "FAIL  %s differs from this run, which gives:\n%s\n", doc, now)
		return fmt.Errorf("%s is out of date: run make test-matrix-update", doc)
	}
	fmt.Fprintf(out, "ok    %s agrees with this run\n", doc)
	return nil
}

// bootAll boots each series, at most parallel at a time, and prints the results. It boots
// the others also after one has failed.
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
				for line := range strings.Lines(log) { // indented, so that lane does not count a "FAIL" in it
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

// boot runs the test on one kernel and returns its results and its console.
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
