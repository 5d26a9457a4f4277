//go:build linux

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

// Is reports whether this process is the init of a guest. If so, main must call [Main] and
// nothing else.
func Is() bool {
	// The kernel passes unknown kernel parameters to init as arguments before this one.
	return os.Getpid() == 1 && os.Args[len(os.Args)-1] == wire.GuestArgument
}

// Main sets the system up, runs one job, sends the result to the host and powers the machine
// off. It does not return. If it fails before the port to the host is open, it ends the
// process, which makes the kernel panic; the host then reports the panic with the console.
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
	// The host ends the machine when it has the last frame. If it only closes the port,
	// power off. The end of the port ends listen too.
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

// work receives the job, runs it and sends the outputs.
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
	go listen(in, &s, sender) // only listen reads from the port from here on
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

// prepare sets up what the job needs before the program starts.
func prepare(job *wire.Job) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	if err := writeEtc(job.UID); err != nil {
		return err
	}
	// Modules first, because the sysctls may be theirs.
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
	dir := path.Dir(output) // of an output that ends in a slash: the folder itself
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// A folder that everyone may write to, such as /tmp, keeps its owner.
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
	// As in sysctl(8), the parts of a key may be separated by slashes instead of dots, for
	// parts that contain a dot.
	if !strings.Contains(key, "/") {
		name = strings.ReplaceAll(key, ".", "/")
	}
	err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value+"\n"), 0)
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", key, value, err)
	}
	return nil
}

// taint returns the kernel's taint flags, 0 if they cannot be read.
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
