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

// kvmAnswer is what a probe found out; it holds until the host boots again.
type kvmAnswer struct {
	BootID string
	Works  bool
}

// chooseAccel replaces [AccelAuto] in s. That /dev/kvm exists does not mean
// that a stock kernel boots under it, in a nested machine for example: only a
// boot tells. Its answer is cached.
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

	answer := readAnswer(name)
	if bootID := strings.TrimSpace(string(id)); answer.BootID != bootID {
		answer = kvmAnswer{BootID: bootID, Works: probe(ctx, s)}
		if err := ctx.Err(); err != nil {
			return "", err // it proves nothing
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return "", err
		}
		if err := writeAtomic(name, text); err != nil {
			return "", err
		}
		if !answer.Works {
			fmt.Fprintln(notices, "/dev/kvm boots no kernel here: using software emulation until the next boot of this host")
		}
	}
	if answer.Works {
		return AccelKVM, nil
	}
	return AccelTCG, nil
}

// chooseThread replaces [TCGThreadAuto] by what this version of QEMU does well.
func chooseThread(ctx context.Context, s spec) (TCGThread, error) {
	if s.thread != TCGThreadAuto || s.accel != AccelTCG {
		return s.thread, nil
	}
	text, err := exec.CommandContext(ctx, s.qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", qemuName, err)
	}
	if threadsWell(string(text)) {
		return TCGThreadMulti, nil
	}
	return TCGThreadSingle, nil
}

// threadsWell reads the output of qemu --version; see [TCGThread].
func threadsWell(text string) bool {
	match := regexp.MustCompile(`version (\d+)\.(\d+)`).FindStringSubmatch(text)
	if match == nil {
		return false
	}
	major, errMajor := strconv.Atoi(match[1])
	minor, errMinor := strconv.Atoi(match[2])
	return errMajor == nil && errMinor == nil && (major > 8 || major == 8 && minor >= 1)
}

// readAnswer returns the cached answer; a damaged one is as good as none.
func readAnswer(name string) kvmAnswer {
	text, err := os.ReadFile(name)
	if err != nil {
		return kvmAnswer{}
	}
	var answer kvmAnswer
	if json.Unmarshal(text, &answer) != nil {
		return kvmAnswer{}
	}
	return answer
}

// probe tells whether init comes up under KVM.
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
