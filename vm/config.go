package vm

import (
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// Accel is how QEMU runs the guest's instructions.
type Accel string

// The accelerators.
const (
	AccelAuto Accel = "auto" // KVM if a probe boot under it works, else TCG
	AccelKVM  Accel = "kvm"  // the host's processor
	AccelTCG  Accel = "tcg"  // software, anywhere
)

// TCGThread is how many threads run a guest's CPUs under TCG.
type TCGThread string

// The ways of threading. With several threads, QEMU before version 8.1 may run a stale
// translation of code that another CPU has changed (fixed by its commit deba78709ae8).
// About one boot in a hundred then dies with "Oops: int3", and more if the kernel often
// switches static keys.
const (
	TCGThreadAuto   TCGThread = "auto"   // multi if QEMU is 8.1 or newer, else single
	TCGThreadMulti  TCGThread = "multi"  // a thread for each CPU
	TCGThreadSingle TCGThread = "single" // one thread for all of them
)

// Defaults of [Config], for programs that offer them as flags.
const (
	DefaultSeries  = "7.3"
	DefaultMemory  = "1G"
	DefaultCPUs    = 2
	DefaultTimeout = 5 * time.Minute
)

// File is a file or folder of the host that is copied into the guest.
type File struct {
	Host string
	// Guest is the path in the guest, relative to the program's working
	// directory if it is not absolute. Empty means the base name of Host.
	Guest string
}

// Output is a file or folder of the guest that is copied to the host after the program has
// ended, whatever its exit status.
type Output struct {
	// Guest is an absolute path in the guest. If it ends in a slash, it is a folder
	// that exists before the program runs, else only its parent does. It is no error
	// if the program writes nothing there.
	Guest string
	// Host is the path on the host. Files that are there already are overwritten, not
	// removed.
	Host string
}

// Config has the parameters of a run in a virtual machine. Only Program is required.
type Config struct {
	// Kernel is the series of the kernel, for instance 7.3. Default: [DefaultSeries].
	Kernel string
	// Update asks the archive for a newer patch release of a cached series.
	Update bool

	// Program is the path of a statically linked ELF executable for x86-64.
	Program string
	// Args are its arguments, without its name.
	Args []string
	// Env are additions to its environment, KEY=VALUE. Without them it has PATH, HOME,
	// TMPDIR and USER only, and nothing of the host's environment.
	Env []string
	// UID is the user and group id of the program. Default: 0, root.
	UID int

	// Files are copied into the guest before the program starts. They lie in the guest's
	// memory.
	Files []File
	// Outputs are copied to the host after the program has ended.
	Outputs []Output
	// Sysctls are set before the program starts, KEY=VALUE, in order.
	Sysctls []string
	// Modules are kernel modules (uncompressed .ko files of the host) that are
	// loaded before the sysctls are set, in order.
	Modules []string

	// Memory of the guest: a number and M or G. Default: [DefaultMemory].
	Memory string
	// CPUs of the guest. Default: [DefaultCPUs].
	CPUs int
	// Accel is the accelerator. Default: [AccelAuto].
	Accel Accel
	// TCGThread matters under TCG only. Default: [TCGThreadAuto].
	TCGThread TCGThread
	// Append are additional kernel parameters, for instance "loglevel=7".
	Append string
	// Timeout is the longest time from the boot to the end of the program.
	// Default: [DefaultTimeout].
	Timeout time.Duration
	// Quit, when it is closed, ends the run as the timeout does.
	Quit <-chan struct{}

	// Stdout and Stderr receive what the program prints, as it prints it. Nil
	// discards it.
	Stdout, Stderr io.Writer
	// Console receives what the kernel and QEMU print. If it is nil, the last lines are
	// in the error of a guest that died.
	Console io.Writer
	// Notices receives remarks of this package, a line each: that it fetches a kernel,
	// that KVM does not work, that the guest's kernel has printed a warning.
	Notices io.Writer

	// Init is a statically linked executable whose main function calls
	// [GuestInit] first; vmrun is one. Default: the running executable.
	Init string
}

// withDefaults returns a copy with all defaults set, or an error for a bad value.
func (c Config) withDefaults() (Config, error) {
	if c.Program == "" {
		return c, errors.New("no program to run")
	}
	if c.Kernel == "" {
		c.Kernel = DefaultSeries
	}
	if c.Memory == "" {
		c.Memory = DefaultMemory
	}
	if !regexp.MustCompile(`^[1-9][0-9]*[MG]$`).MatchString(c.Memory) {
		return c, fmt.Errorf("memory %q: want a number and M or G, such as 512M or 2G", c.Memory)
	}
	if c.CPUs == 0 {
		c.CPUs = DefaultCPUs
	}
	// The q35 machine allows 255 without an interrupt remapper.
	if c.CPUs < 1 || c.CPUs > 255 {
		return c, fmt.Errorf("%d cpus: want 1 to 255", c.CPUs)
	}
	if c.UID < 0 || c.UID > 1<<31-2 {
		return c, fmt.Errorf("user id %d: want 0 to %d", c.UID, 1<<31-2)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Timeout < 0 {
		return c, fmt.Errorf("timeout %v: want a positive duration", c.Timeout)
	}
	switch c.Accel {
	case "":
		c.Accel = AccelAuto
	case AccelAuto, AccelKVM, AccelTCG:
	default:
		return c, fmt.Errorf("accelerator %q: want auto, kvm or tcg", c.Accel)
	}
	switch c.TCGThread {
	case "":
		c.TCGThread = TCGThreadAuto
	case TCGThreadAuto, TCGThreadMulti, TCGThreadSingle:
	default:
		return c, fmt.Errorf("tcg thread %q: want auto, multi or single", c.TCGThread)
	}
	for _, list := range [][]string{c.Env, c.Sysctls} {
		for _, assignment := range list {
			if key, _, ok := strings.Cut(assignment, "="); !ok || key == "" {
				return c, fmt.Errorf("%q: want KEY=VALUE", assignment)
			}
		}
	}
	for _, output := range c.Outputs {
		if !path.IsAbs(output.Guest) {
			return c, fmt.Errorf("output %q: want an absolute path in the guest", output.Guest)
		}
	}
	c.Stdout, c.Stderr = orDiscard(c.Stdout), orDiscard(c.Stderr)
	c.Notices = orDiscard(c.Notices)
	return c, nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// job returns the job for the guest, and all files to copy (the program, the modules and the
// user's files) with absolute paths in the guest.
func (c Config) job() (wire.Job, []File) {
	job := wire.Job{
		Path:    path.Join("/bin", filepath.Base(c.Program)),
		Args:    c.Args,
		Env:     c.environment(),
		UID:     c.UID,
		Sysctls: c.Sysctls,
	}
	files := []File{{Host: c.Program, Guest: job.Path}}
	for i, module := range c.Modules {
		name := fmt.Sprintf("/lib/modules/%02d-%s", i, filepath.Base(module))
		files = append(files, File{Host: module, Guest: name})
		job.Modules = append(job.Modules, name)
	}
	for _, file := range c.Files {
		if file.Guest == "" {
			file.Guest = filepath.Base(file.Host)
		}
		if !path.IsAbs(file.Guest) {
			file.Guest = path.Join(wire.WorkDir, file.Guest)
		}
		files = append(files, file)
	}
	for _, output := range c.Outputs {
		job.Outputs = append(job.Outputs, output.Guest)
	}
	return job, files
}

// environment returns the program's environment: the defaults, and then the user's variables,
// which replace those with the same key.
func (c Config) environment() []string {
	home, user := "/root", "root"
	if c.UID != 0 {
		home, user = wire.WorkDir, "user"
	}
	all := append([]string{"PATH=/bin", "HOME=" + home, "USER=" + user, "TMPDIR=/tmp"}, c.Env...)
	var env []string
	seen := make(map[string]bool)
	for i := len(all) - 1; i >= 0; i-- {
		key, _, _ := strings.Cut(all[i], "=")
		if !seen[key] {
			seen[key] = true
			env = append([]string{all[i]}, env...)
		}
	}
	return env
}
