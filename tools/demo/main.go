// Command demo is what `make demo` runs. It sends a file with `zcrx demo` twice: on this
// machine's kernel in the best mode that works, and on another kernel in a virtual machine
// through a device-less zero-copy pool. Then it prints a table of both runs. It fails
// unless every byte arrived and every buffer was returned.
//
//	demo [-kernel SERIES] [-file FILE] [-bin FOLDER]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// guestTimeout ends a guest that hangs. It is long enough for the largest file that a guest
// has memory for.
const guestTimeout = "20m"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	kernel := flags.String("kernel", "7.3", "kernel series of the virtual machine")
	file := flags.String("file", "", "file to send (default: a package of that kernel)")
	bin := flags.String("bin", "bin", "folder with zcrx, zcrx-static and vmrun")
	if err := flags.Parse(args); err != nil {
		return err
	}
	vmrun := filepath.Join(*bin, "vmrun")
	path, err := chooseFile(ctx, *file, vmrun, *kernel)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	fmt.Fprintf(out, "file: %s, %d bytes\n", path, info.Size())

	// In --file a colon separates the names on host and guest.
	guestFile := strings.ReplaceAll(filepath.Base(path), ":", "_")
	runs := []struct {
		where string
		argv  []string
	}{
		{"this kernel", []string{
			filepath.Join(*bin, "zcrx"), "demo", path, "--mode", "auto", "--json",
		}},
		{"Linux " + *kernel + " (VM)", []string{
			vmrun, "--quiet", "--kernel", *kernel, "--memory", guestMemory(info.Size()),
			"--timeout", guestTimeout, "--file", path + ":" + guestFile,
			filepath.Join(*bin, "zcrx-static"), "demo", guestFile, "--mode", "deviceless", "--json",
		}},
	}
	var reports []report
	var problems []error
	for _, r := range runs {
		fmt.Fprintf(out, "\n== %s: %s\n", r.where, strings.Join(r.argv, " "))
		rep, err := demonstrate(ctx, r.argv, out)
		if err == nil {
			err = rep.check(info.Size())
		}
		if err != nil {
			// The other run is made all the same.
			problems = append(problems, fmt.Errorf("%s: %w", r.where, err))
		}
		rep.where = r.where
		reports = append(reports, rep)
	}
	fmt.Fprintln(out)
	if err := printTable(out, reports); err != nil {
		return err
	}
	return errors.Join(problems...)
}

// guestMemory returns the size of the guest's memory for a file, which lies in memory there:
// 1 GiB and twice the size of the file.
func guestMemory(size int64) string {
	return fmt.Sprintf("%dM", 1024+2*(size>>20))
}

// demonstrate runs `zcrx demo --json`, prints its report as text and returns it.
func demonstrate(ctx context.Context, argv []string, out io.Writer) (report, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// An interrupt, unlike the default SIGKILL, lets vmrun clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	cmd.Stderr = os.Stderr
	runErr := cmd.Run()
	rep, err := parseReport(stdout.Bytes())
	if runErr != nil {
		// If there is no report, the output says what went wrong.
		if err != nil {
			fmt.Fprint(out, stdout.String())
		}
		err = runErr
	}
	rep.print(out)
	return rep, err
}
