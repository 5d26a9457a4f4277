package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// process is a process as /proc shows it.
type process struct {
	id
	ppid  int
	state byte // R, S, D, Z and so on: proc(5)
}

// id is what a process is told by: its number alone may be given to another one
// after its end.
type id struct {
	pid   int
	start uint64 // clock ticks after the boot
}

// alive tells whether the process can still do anything.
func (p process) alive() bool { return p.state != 'Z' && p.state != 'X' }

// processOf returns the process with a number.
func processOf(pid int) (process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	return parseStat(string(text))
}

// processes returns all processes by their numbers.
func processes() map[int]process {
	all := make(map[int]process)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return all
	}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if p, ok := parseStat(string(text)); ok {
			all[p.pid] = p
		}
	}
	return all
}

// parseStat reads /proc/PID/stat. The name, in parentheses, may contain anything.
func parseStat(text string) (process, bool) {
	var p process
	number, _, _ := strings.Cut(text, " ")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return p, false
	}
	var errs [3]error
	p.pid, errs[0] = strconv.Atoi(number)
	p.state = fields[0][0]
	p.ppid, errs[1] = strconv.Atoi(fields[1])
	p.start, errs[2] = strconv.ParseUint(fields[19], 10, 64)
	return p, errs == [3]error{}
}

// family is the command that lane started and everything that descends from it.
type family struct {
	root id // the command
	// adopter is lane's own number if orphans of the family become its children
	// (adoptOrphans), else 0. It has no other children than those and the command.
	adopter int
}

// members returns the living processes of the family, parents before children.
func (f family) members() []process {
	all := processes()
	children := make(map[int][]process)
	for _, p := range all {
		children[p.ppid] = append(children[p.ppid], p)
	}
	var found []process
	if root := all[f.root.pid]; root.id == f.root {
		found = append(found, root)
	}
	if f.adopter != 0 {
		for _, p := range children[f.adopter] {
			if p.id != f.root {
				found = append(found, p)
			}
		}
	}
	for i := 0; i < len(found); i++ { // found grows
		found = append(found, children[found[i].pid]...)
	}
	return slices.DeleteFunc(found, func(p process) bool { return !p.alive() })
}

// tests returns the members that run the tests of a package, or of any if pkg is
// empty: test binaries, and what go test -exec puts in front of them.
func (f family) tests(pkg string) []process {
	return slices.DeleteFunc(f.members(), func(p process) bool {
		binaries := testBinaries(arguments(p.pid))
		return !slices.ContainsFunc(binaries, func(binary string) bool {
			return pkg == "" || testsPackage(binary, pkg)
		})
	})
}

// testBinaries returns the paths in the command line of what runs a test binary.
// What only builds one has no flags that begin with -test.
func testBinaries(args []string) []string {
	if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-test.") }) {
		return nil
	}
	return slices.DeleteFunc(args, func(arg string) bool { return !strings.HasSuffix(arg, ".test") })
}

// testsPackage tells whether a test binary is the one of a package. Next to it
// go test keeps the main function that it made up, which names the package.
// Without that file the names must do, which two packages may share.
func testsPackage(binary, pkg string) bool {
	source, err := os.ReadFile(filepath.Join(filepath.Dir(binary), "_testmain.go"))
	if err != nil {
		return filepath.Base(binary) == filepath.Base(pkg)+".test"
	}
	return strings.Contains(string(source), fmt.Sprintf("testdeps.ImportPath = %q\n", pkg))
}

func arguments(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// signal sends s to exactly this process. The handle is of whatever has the
// number now; if the number still belongs to this process after that, it did all
// the time, and so does the handle.
func (p process) signal(s syscall.Signal) {
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return
	}
	defer func() { _ = handle.Release() }()
	if now, ok := processOf(p.pid); ok && now.id == p.id {
		_ = handle.Signal(s) // it may just have ended
	}
}

// String is a line of a list: number, state and command line.
func (p process) String() string {
	const width = 150 // QEMU's line has a thousand
	line := strings.Join(arguments(p.pid), " ")
	if len(line) > width {
		line = line[:width] + "..."
	}
	where, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", p.pid)) // "0" or nothing if it runs
	return fmt.Sprintf("%d %c %s: %s", p.pid, p.state, where, line)
}
