// Package debian downloads packages of any suite of the Debian archive onto a
// Debian machine of any release, without touching the machine's apt set-up.
//
// The work is done by the script "download" beside this file, which can be
// called on its own. It needs bash, apt and the Debian archive keyring, takes
// the mirror's address from the machine's own apt sources and keeps its lists
// below the user's cache folder. Super-user rights are not needed.
package debian

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

//go:embed download
var script string

// Package is a binary package in a suite of the Debian archive.
type Package struct {
	Name    string
	Version string // Debian version, see [CompareVersions]
}

// Search lists the binary packages of suite whose name matches the extended
// regular expression, the newest version last. No match is an empty list.
func Search(ctx context.Context, suite, regex string) ([]Package, error) {
	out, err := download(ctx, "search", suite, regex)
	if err != nil {
		return nil, err
	}
	return parseSearch(out)
}

// Binary downloads the package name of suite into the folder dir and returns
// the path of the .deb. A file that is already there is kept if its checksum
// is right.
func Binary(ctx context.Context, suite, name, dir string) (string, error) {
	out, err := download(ctx, "binary", suite, name, dir)
	return strings.TrimSpace(out), err
}

// Source downloads the files of the source package name of suite, unpacking
// nothing, into the folder dir.
func Source(ctx context.Context, suite, name, dir string) error {
	_, err := download(ctx, "source", suite, name, dir)
	return err
}

func parseSearch(out string) ([]Package, error) {
	var packages []Package
	for line := range strings.Lines(out) {
		name, version, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return nil, fmt.Errorf("unexpected line %q from the package search", line)
		}
		packages = append(packages, Package{Name: name, Version: version})
	}
	return packages, nil
}

// lastLine returns the sentence that the script died with; remarks come before.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "download: ")
}

// download runs the script and returns its standard output; its one sentence
// on standard error becomes the error.
func download(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, args...)
}

// run is download with additions to the environment.
func run(ctx context.Context, env []string, args ...string) (string, error) {
	// The script goes in as an argument: no temporary file to clean up.
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", script, "download"}, args...)...)
	cmd.Env = append(cmd.Environ(), env...)
	// bash's children may outlive it when the context ends.
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("downloading from the Debian archive: %w", ctx.Err())
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("downloading from the Debian archive: install bash: %w", err)
	case stderr.Len() > 0:
		return "", errors.New(lastLine(stderr.String()))
	default:
		return "", fmt.Errorf("downloading from the Debian archive: %w", err)
	}
}
