package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// probeTimeout is how long a probe boot under KVM may take. A working one takes
// about a second.
const probeTimeout = 10 * time.Second

// kvmResult is the result of a probe. It is valid until the host boots again.
type kvmResult struct {
	BootID string
	Works  bool
}

// chooseAccel returns the accelerator of s, with [AccelAuto] replaced. If /dev/kvm exists, it
// boots a kernel under KVM to find out whether that works, which it may not on a host that
// is a virtual machine itself. The result is cached.
func chooseAccel(ctx context.Context, s spec, notices io.Writer) (Accel, error) {
	if s.accel != AccelAuto {
		return s.accel, nil
	}
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return AccelTCG, nil
	}
	device.Close()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "kvm.json")
	unlock, err := lock(ctx, name+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()

	result := readResult(name)
	if bootID := strings.TrimSpace(string(id)); result.BootID != bootID {
		result = kvmResult{BootID: bootID, Works: probe(ctx, s)}
		if err := ctx.Err(); err != nil {
			return "", err // the probe was cut off: do not cache its result
		}
		text, err := json.Marshal(result)
		if err != nil {
			return "", err
		}
		if err := writeAtomic(name, text); err != nil {
			return "", err
		}
		if !result.Works {
			fmt.Fprintln(notices, "/dev/kvm boots no kernel here: using software emulation until the next boot of this host")
		}
	}
	if result.Works {
		return AccelKVM, nil
	}
	return AccelTCG, nil
}

// chooseThread returns the threading of s, with [TCGThreadAuto] replaced by what this version
// of QEMU can do without errors.
func chooseThread(ctx context.Context, s spec) (TCGThread, error) {
	if s.thread != TCGThreadAuto || s.accel != AccelTCG {
		return s.thread, nil
	}
	text, err := exec.CommandContext(ctx, s.qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", qemuName, err)
	}
	if canMultithread(string(text)) {
		return TCGThreadMulti, nil
	}
	return TCGThreadSingle, nil
}

// canMultithread reports whether a QEMU, whose --version printed text, is new enough for
// [TCGThreadMulti].
func canMultithread(text string) bool {
	match := regexp.MustCompile(`version (\d+)\.(\d+)`).FindStringSubmatch(text)
	if match == nil {
		return false
	}
	major, errMajor := strconv.Atoi(match[1])
	minor, errMinor := strconv.Atoi(match[2])
	return errMajor == nil && errMinor == nil && (major > 8 || major == 8 && minor >= 1)
}

// readResult returns the cached result, a zero one if there is none or it is damaged.
func readResult(name string) kvmResult {
	text, err := os.ReadFile(name)
	if err != nil {
		return kvmResult{}
	}
	var result kvmResult
	if json.Unmarshal(text, &result) != nil {
		return kvmResult{}
	}
	return result
}

// probe reports whether a guest boots under KVM.
func probe(ctx context.Context, s spec) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s.accel = AccelKVM
	m, err := s.start(newConsole(nil))
	if err != nil {
		return false
	}
	defer m.stop()
	defer context.AfterFunc(ctx, m.kill)()
	kind, _, err := wire.Receive(m.port)
	return err == nil && kind == wire.Ready
}
