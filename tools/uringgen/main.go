// Command uringgen writes what packages uring/uapi, uring and internal/cprep have of liburing's
// headers: constants, structs, the calls into C and the oracle for the Prep methods. It reads
// the headers alone, and asks the C compiler for values and layouts. It also writes
// docs/liburing.md, the table of liburing's functions and their Go forms, and fails if that has
// a gap.
//
//	uringgen            write the files
//	uringgen -check     fail if they differ from what it would write
//	uringgen -diff DIR  print what differs in another liburing's include folder
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const pinned = "third_party/liburing/dist/include"

func main() {
	check := flag.Bool("check", false, "fail if the files differ, and write nothing")
	other := flag.String("diff", "", "print what differs in the headers of `folder`, and write nothing")
	flag.Parse()
	if err := run(os.Stdout, *check, *other); err != nil {
		fmt.Fprintln(os.Stderr, "uringgen:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, check bool, other string) error {
	api, err := read(pinned)
	if err != nil {
		return err
	}
	if other != "" {
		theirs, err := read(other)
		if err != nil {
			return err
		}
		printDifference(out, api, theirs)
		return nil
	}
	files, err := generate(api)
	if err != nil {
		return err
	}
	table, incomplete := table(api)
	files["docs/liburing.md"] = table
	if check {
		return errors.Join(compare(files), incomplete)
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d constants, %d structs, %d functions\n", len(api.constants), len(api.structs), len(api.functions))
	return incomplete
}

// table returns docs/liburing.md, and what is missing in it.
func table(a *api) ([]byte, error) {
	c, err := readCode("uring")
	if err != nil {
		return nil, err
	}
	reasons, err := readReasons("tools/uringgen/reasons.txt")
	if err != nil {
		return nil, err
	}
	return parity(a, c, reasons)
}

// compare returns an error that names the files that are not as generated.
func compare(files map[string][]byte) error {
	var stale []error
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%s is not what the headers say: run make generate", name)
		}
		stale = append(stale, err)
	}
	return errors.Join(stale...)
}

// generate returns the content of each file.
func generate(a *api) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, write := range map[string]func(*api) ([]byte, error){
		"uring/uapi/constants.go":     goConstants,
		"uring/uapi/structs.go":       goStructs,
		"uring/calls.go":              goCalls,
		"internal/cprep/functions.go": goPreps,
		"csrc/uapi_check.h":           cChecks,
		"csrc/uring_calls.h":          cCalls,
		"internal/cprep/prep.h":       cPreps,
	} {
		content, err := write(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = content
	}
	return files, nil
}
