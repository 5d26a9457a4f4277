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

// Search returns the binary packages of suite whose names match the extended regular
// expression, the newest version last. If none matches, it returns an empty list.
func Search(ctx context.Context, suite, regex string) ([]Package, error) {
	out, err := download(ctx, "search", suite, regex)
	if err != nil {
		return nil, err
	}
	return parseSearch(out)
}

// Binary downloads the package name of suite into the folder dir and returns
// the path of the .deb. If the file is there already with the right checksum, it is not
// downloaded again.
func Binary(ctx context.Context, suite, name, dir string) (string, error) {
	out, err := download(ctx, "binary", suite, name, dir)
	return strings.TrimSpace(out), err
}

// Source downloads the files of the source package name of suite into the folder dir. It
// does not unpack them.
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

// lastLine returns the last line of the script's standard error, which says why it failed.
// Lines before it are remarks.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "download: ")
}

// download runs the script and returns its standard output. If the script fails, the error
// is the last line of its standard error.
func download(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, args...)
}

// run does what download does, with additions to the environment.
func run(ctx context.Context, env []string, args ...string) (string, error) {
	// The script is an argument, so there is no temporary file to remove.
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
