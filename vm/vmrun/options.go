//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/zcrx-go/zcrx/vm"
)

// options is a parsed command line.
type options struct {
	config       vm.Config
	quiet        bool // hide the console
	fetchOnly    bool
	printPackage bool
}

// lists are the flags that can be given several times.
type lists struct{ env, files, sysctls, modules []string }

const usage = `Usage: vmrun [FLAGS] PROGRAM [ARGUMENTS...]

Runs a statically linked program on a Debian kernel in a virtual machine and
exits with its status (124: timeout, 125: vmrun or the guest failed, 128 and more:
a signal ended the program or vmrun).

After the timeout and on SIGQUIT, the guest first prints on standard error where the
program hangs: what each thread waits for in the kernel, the blocked tasks, and the
goroutines of a Go program. SIGINT and SIGTERM end it at once.

Each flag can also be set by an environment variable: VMRUN_KERNEL for --kernel,
VMRUN_TCG_THREAD for --tcg-thread and so on. A flag overrides its variable. The variable
of a flag that is repeatable may have several values with semicolons between them; values
of the flag are added after these.

Flags:
`

// parse reads the command line and the environment.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	var l lists
	var out string
	c := &o.config
	flags := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.Kernel, "kernel", vm.DefaultSeries, "run on the newest patch release of the kernel `SERIES`")
	flags.BoolVar(&c.Update, "update", false, "look for a newer patch release than the cached one")
	flags.StringVar(&c.Memory, "memory", vm.DefaultMemory, "`SIZE` of the guest's memory")
	flags.IntVar(&c.CPUs, "cpus", vm.DefaultCPUs, "`NUMBER` of the guest's processors")
	flags.DurationVar(&c.Timeout, "timeout", vm.DefaultTimeout, "end the guest after this `DURATION`, and print where it hangs")
	flags.StringVar((*string)(&c.Accel), "accel", string(vm.AccelAuto), "`HOW` to run: auto, kvm or tcg")
	flags.StringVar((*string)(&c.TCGThread), "tcg-thread", string(vm.TCGThreadAuto), "`HOW` to use threads under tcg: auto, multi or single; auto is multi from QEMU 8.1 on")
	flags.StringVar(&c.Append, "append", "", "more kernel `PARAMETERS`")
	flags.IntVar(&c.UID, "user", 0, "run the program as this user and group `ID`")
	flags.StringVar(&out, "out", "", "copy the guest's folder /out to the folder `DIR` at the end")
	flags.BoolVar(&o.quiet, "quiet", false, "hide the kernel's console unless the guest fails")
	flags.BoolVar(&o.fetchOnly, "fetch-only", false, "fetch the kernel, print its version and its files, and exit")
	flags.BoolVar(&o.printPackage, "print-package", false, "fetch the kernel, print the path of its package, and exit")
	many := map[string]*[]string{"env": &l.env, "file": &l.files, "sysctl": &l.sysctls, "module": &l.modules}
	help := map[string]string{
		"env":    "set the program's environment variable `KEY=VALUE`; KEY alone takes the value from vmrun's environment (repeatable)",
		"file":   "copy a file or folder `HOST[:GUEST]` into the guest, by default into the program's working directory (repeatable)",
		"sysctl": "set `KEY=VALUE` before the program runs (repeatable)",
		"module": "load the kernel module `FILE` before the program runs (repeatable)",
	}
	for name, list := range many {
		flags.Func(name, help[name], func(value string) error {
			*list = append(*list, value)
			return nil
		})
	}

	if err := fromEnvironment(flags, many, getenv); err != nil {
		return o, err
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.fetchOnly || o.printPackage {
		return o, nil
	}
	err := complete(&o, l, out, flags.Args(), getenv)
	return o, err
}

// fromEnvironment sets the flags whose variables are set.
func fromEnvironment(flags *flag.FlagSet, many map[string]*[]string, getenv func(string) string) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		variable := "VMRUN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(variable)
		if value == "" || err != nil {
			return
		}
		values := []string{value}
		if many[f.Name] != nil {
			values = strings.Split(value, ";")
		}
		for _, v := range values {
			if setErr := flags.Set(f.Name, v); setErr != nil {
				err = fmt.Errorf("%s=%q: %w", variable, value, setErr)
			}
		}
	})
	return err
}

// complete fills in o.config from the parsed flags and arguments.
func complete(o *options, l lists, out string, args []string, getenv func(string) string) error {
	c := &o.config
	if len(args) == 0 {
		return errors.New("no program to run (vmrun -h explains)")
	}
	program, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return err
	}
	c.Program, c.Args = program, args[1:]
	for _, assignment := range l.env {
		if !strings.Contains(assignment, "=") {
			assignment += "=" + getenv(assignment)
		}
		c.Env = append(c.Env, assignment)
	}
	c.Sysctls, c.Modules = l.sysctls, l.modules
	if info, err := os.Stat("testdata"); err == nil && info.IsDir() {
		c.Files = append(c.Files, vm.File{Host: "testdata"})
	}
	for _, file := range l.files {
		c.Files = append(c.Files, splitFile(file))
	}
	if out != "" {
		c.Outputs = append(c.Outputs, vm.Output{Guest: "/out/", Host: out})
	}
	c.Outputs = append(c.Outputs, testOutputs(c.Args)...)
	return nil
}

// splitFile parses HOST[:GUEST]. If HOST contains a colon, GUEST must be given.
func splitFile(value string) vm.File {
	i := strings.LastIndexByte(value, ':')
	if i < 0 {
		return vm.File{Host: value}
	}
	return vm.File{Host: value[:i], Guest: value[i+1:]}
}

// testOutputs returns the files that the flags of a Go test binary name for writing. The
// program writes them to the same paths in the guest.
func testOutputs(args []string) []vm.Output {
	values := make(map[string]string)
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		name, isTest := strings.CutPrefix(strings.TrimLeft(name, "-"), "test.")
		if ok && isTest && value != "" {
			values[name] = value
		}
	}
	var outputs []vm.Output
	if dir := values["gocoverdir"]; filepath.IsAbs(dir) {
		outputs = append(outputs, vm.Output{Guest: dir + "/", Host: dir})
	}
	for _, name := range []string{"coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace"} {
		file := values[name]
		if file != "" && !filepath.IsAbs(file) {
			file = filepath.Join(values["outputdir"], file)
		}
		if filepath.IsAbs(file) {
			outputs = append(outputs, vm.Output{Guest: file, Host: file})
		}
	}
	return outputs
}
