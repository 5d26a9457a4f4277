package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// minDefaultSize is the least size of the default file, in bytes. A smaller one does not
// use each buffer of the pool several times.
const minDefaultSize = 20_000_000

// From Linux 6.19 on, Debian has the image and the modules of a kernel in two packages, of
// which that of the image is too small.
const (
	modulesSuite = "trixie-backports"
	modulesName  = "linux-modules-%s.*cloud-amd64"
	download     = "tools/debian/download"
)

// chooseFile returns the user's file, or a package of the kernel: the one that the virtual
// machine boots from, or if that is too small the one with the modules.
func chooseFile(ctx context.Context, file, vmrun, kernel string) (string, error) {
	if file != "" {
		return file, nil
	}
	path, err := output(ctx, vmrun, "--kernel", kernel, "--print-package")
	if err != nil {
		return "", fmt.Errorf("fetching the kernel %s: %w", kernel, err)
	}
	if large(path) {
		return path, nil
	}
	path, err = modules(ctx, kernel)
	if err != nil {
		return "", fmt.Errorf("fetching a file to send: %w (FILE= names one of your own)", err)
	}
	return path, nil
}

// modules returns the path of a package with the modules of a kernel of the series, of any
// patch release. It downloads one if the cache has none.
func modules(ctx context.Context, series string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "zcrx", "demo")
	cached, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf(modulesName, series)+"_*.deb"))
	if err != nil {
		return "", err
	}
	for _, path := range cached {
		if large(path) {
			return path, nil
		}
	}
	pattern := fmt.Sprintf("^linux-modules-%s\\.[0-9][^ ]*-cloud-amd64$", regexp.QuoteMeta(series))
	found, err := output(ctx, download, "search", modulesSuite, pattern)
	if err != nil {
		return "", err
	}
	// "NAME VERSION" lines, the newest last.
	lines := strings.Fields(found[strings.LastIndexByte(found, '\n')+1:])
	if len(lines) == 0 {
		return "", fmt.Errorf("%s has no modules of a kernel %s", modulesSuite, series)
	}
	path, err := output(ctx, download, "binary", modulesSuite, lines[0], dir)
	if err != nil {
		return "", err
	}
	if !large(path) {
		return "", errors.New(filepath.Base(path) + " is too small for a demonstration")
	}
	return path, nil
}

func large(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() >= minDefaultSize
}

// output runs a program and returns its standard output, without surrounding blanks. The
// program's standard error goes to this program's.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
