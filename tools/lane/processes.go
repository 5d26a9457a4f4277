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

// id identifies a process. Its number alone does not, because the kernel may give it to
// another process later.
type id struct {
	pid   int
	start uint64 // clock ticks after the boot
}

// alive reports whether the process has not ended.
func (p process) alive() bool { return p.state != 'Z' && p.state != 'X' }

// processOf returns the process with that number, and false if there is none.
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

// parseStat parses /proc/PID/stat. The program's name in it, in parentheses, may contain
// any character.
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

// family is the command that lane started with all its descendants.
type family struct {
	root id // the command
	// adopter is lane's own process number if orphans of the family become its children
	// (adoptOrphans), else 0. Lane has no other children than these and the command.
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

// tests returns the members that run the tests of a package, or of all packages if pkg is
// empty: test binaries, and the programs that go test -exec runs them with.
func (f family) tests(pkg string) []process {
	return slices.DeleteFunc(f.members(), func(p process) bool {
		binaries := testBinaries(arguments(p.pid))
		return !slices.ContainsFunc(binaries, func(binary string) bool {
			return pkg == "" || testsPackage(binary, pkg)
		})
	})
}

// testBinaries returns the test binaries in a command line that runs tests. Commands that
// build a test binary have no flag that begins with -test.
func testBinaries(args []string) []string {
	if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-test.") }) {
		return nil
	}
	return slices.DeleteFunc(args, func(arg string) bool { return !strings.HasSuffix(arg, ".test") })
}

// testsPackage reports whether a test binary is that of a package. go test keeps the main
// function that it generated beside the binary, and that names the package. Without it,
// only the base names are compared, which two packages may share.
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

// signal sends s to this process, never to another one that has got its number. The handle
// is of the process that has the number when it is opened. If this process still has the
// number after that, the handle is its own.
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

// String returns number, state, the kernel function that the process waits in, and the
// beginning of its command line.
func (p process) String() string {
	const width = 150 // QEMU's command line has a thousand bytes
	line := strings.Join(arguments(p.pid), " ")
	if len(line) > width {
		line = line[:width] + "..."
	}
	where, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", p.pid)) // "0" or nothing if it runs
	return fmt.Sprintf("%d %c %s: %s", p.pid, p.state, where, line)
}
