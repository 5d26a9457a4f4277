//go:build linux

// Package guest is the init of the virtual machine: the same executable as
// vmrun, started by the kernel as process 1 of an initramfs.
package guest

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// Is tells whether this process is the init of a guest. If so, main must call
// [Main] and nothing else.
func Is() bool {
	// The last one: kernel parameters that nobody knows come before it.
	return os.Getpid() == 1 && os.Args[len(os.Args)-1] == wire.GuestArgument
}

// Main is the whole life of a guest: set the system up, run one job, report,
// power off. It does not return. A failure before the port to the host is open
// ends init, hence panics the kernel, which the host reports with the console.
func Main() {
	if err := mountAll(); err != nil {
		die(err)
	}
	if err := loadFolder(wire.ModuleDir); err != nil {
		die(err)
	}
	port, err := openPort(wire.PortName)
	if err != nil {
		die(err)
	}
	sender := wire.NewSender(port)
	if err := sender.Send(wire.Ready, nil); err != nil {
		die(err)
	}

	var exit wire.Exit
	if exit.Code, err = work(port, sender); err != nil {
		exit.Error = err.Error()
	}
	exit.Taint = taint()
	if err := sender.SendEnd(exit); err != nil {
		die(err)
	}
	// The host ends the machine as soon as it has the last frame; what follows is
	// for a host that only closes the port. It ends all reads, listen's too.
	_, _ = io.Copy(io.Discard, port)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		die(err)
	}
	select {}
}

func die(err error) {
	fmt.Fprintln(os.Stderr, "vmrun: guest init:", err)
	os.Exit(1)
}

// work receives the job, does it and sends the outputs.
func work(port *port, sender *wire.Sender) (code int, err error) {
	in := bufio.NewReaderSize(port, 1<<16)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("receiving the job: %w", err)
	}
	var job wire.Job
	if err := json.Unmarshal(line, &job); err != nil {
		return 0, fmt.Errorf("receiving the job: %w", err)
	}
	if err := unpack(tar.NewReader(in)); err != nil {
		return 0, fmt.Errorf("unpacking the files: %w", err)
	}
	var s subject
	go listen(in, &s, sender) // which has the port's input to itself from here on
	if err := prepare(&job); err != nil {
		return 0, err
	}
	if code, err = execute(&job, &s, sender); err != nil {
		return 0, err
	}
	if err := pack(sender.Stream(wire.Output), job.Outputs); err != nil {
		return 0, fmt.Errorf("sending the outputs: %w", err)
	}
	return code, nil
}

// prepare does what the job wants done before the program starts.
func prepare(job *wire.Job) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	if err := writeEtc(job.UID); err != nil {
		return err
	}
	// Modules first: they may bring the keys that are set next.
	for _, module := range job.Modules {
		if err := loadModule(module); err != nil {
			return err
		}
	}
	for _, s := range job.Sysctls {
		if err := setSysctl(s); err != nil {
			return err
		}
	}
	for _, output := range job.Outputs {
		if err := makeOutput(output, job.UID); err != nil {
			return err
		}
	}
	return os.Chown(wire.WorkDir, job.UID, job.UID)
}

// makeOutput creates the folder of an output and gives it to the user.
func makeOutput(output string, uid int) error {
	dir := path.Dir(output) // without the slash: the folder itself
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// A folder that everyone may write to, /tmp say, stays as it is.
	if info, err := os.Stat(dir); err != nil || info.Mode()&os.ModeSticky != 0 {
		return err
	}
	return os.Chown(dir, uid, uid)
}

func setSysctl(assignment string) error {
	key, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return fmt.Errorf("sysctl %q: want KEY=VALUE", assignment)
	}
	name := key
	// As in sysctl(8): slashes separate if there are any, for names with dots.
	if !strings.Contains(key, "/") {
		name = strings.ReplaceAll(key, ".", "/")
	}
	err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value+"\n"), 0)
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", key, value, err)
	}
	return nil
}

// taint returns why the kernel considers itself tainted, 0 if it does not.
func taint() uint64 {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return 0
	}
	flags, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return flags
}
