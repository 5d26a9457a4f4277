package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/bench/internal/result"
)

// snapshot is what this process had used at a moment.
type snapshot struct {
	at       time.Time
	received int64
	rusage   unix.Rusage
	memory   runtime.MemStats
}

func takeSnapshot(received int64) (snapshot, error) {
	s := snapshot{at: time.Now(), received: received}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &s.rusage); err != nil {
		return s, fmt.Errorf("getrusage: %w", err)
	}
	runtime.ReadMemStats(&s.memory)
	return s, nil
}

// since returns what was used between an earlier snapshot and s.
func (s snapshot) since(earlier snapshot) result.Usage {
	return result.Usage{
		Seconds:     s.at.Sub(earlier.at).Seconds(),
		Received:    s.received - earlier.received,
		User:        seconds(s.rusage.Utime) - seconds(earlier.rusage.Utime),
		System:      seconds(s.rusage.Stime) - seconds(earlier.rusage.Stime),
		Voluntary:   s.rusage.Nvcsw - earlier.rusage.Nvcsw,
		Involuntary: s.rusage.Nivcsw - earlier.rusage.Nivcsw,
		Mallocs:     s.memory.Mallocs - earlier.memory.Mallocs,
		Allocated:   s.memory.TotalAlloc - earlier.memory.TotalAlloc,
	}
}

func seconds(t unix.Timeval) float64 { return float64(t.Nano()) / 1e9 }

// ownCPU returns the CPU seconds of this process.
func ownCPU() (float64, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return seconds(r.Utime) + seconds(r.Stime), nil
}

// peakMemory returns the largest number of resident bytes that this process had.
func peakMemory() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmHWM")
}

// machineCPU returns the CPU seconds of everything on the machine since it started, those
// without work left out.
func machineCPU() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return busyTicks(first)
}

// ticksPerSecond is the unit of /proc/stat, the same on all of Go's architectures.
const ticksPerSecond = 100

// busyTicks reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq
// and steal. Guests are in user.
func busyTicks(line string) (float64, error) {
	words := strings.Fields(line)
	if len(words) < 9 || words[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	ticks := 0.0
	for i, word := range words[1:9] {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat begins with %q", line)
		}
		if i != 3 && i != 4 { // idle and iowait
			ticks += float64(n)
		}
	}
	return ticks / ticksPerSecond, nil
}
