package result

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and with what results were measured.
type Machine struct {
	Time        time.Time `json:"time"`
	Kernel      string    `json:"kernel"`
	Arch        string    `json:"arch"`
	CPU         string    `json:"cpu"` // the model's name
	CPUs        int       `json:"cpus"`
	LoadAverage string    `json:"load_average"` // over 1, 5 and 15 minutes, before the first run
	Go          string    `json:"go"`
	Modules     []string  `json:"modules"` // the servers that are compared, with their versions
	Threads     int       `json:"threads"` // event loops of each server
	Rounds      int       `json:"rounds"`
	Command     string    `json:"command"`
	Note        string    `json:"note,omitempty"`
}

// ThisMachine returns the machine that it runs on, with everything up to Modules.
func ThisMachine() Machine {
	m := Machine{
		Time: time.Now().UTC().Truncate(time.Second), Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Go: runtime.Version(), Kernel: kernelRelease(), CPU: cpuModel(), LoadAverage: loadAverage(),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			for _, path := range []string{"panjf2000/gnet", "cloudwego/netpoll", "valyala/fasthttp"} {
				if strings.HasPrefix(dep.Path, "github.com/"+path) {
					m.Modules = append(m.Modules, dep.Path+" "+dep.Version)
				}
			}
		}
	}
	return m
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for l := range bytes.Lines(text) {
		if name, value, ok := strings.Cut(string(l), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	words := strings.Fields(string(text))
	if len(words) < 3 {
		return "unknown"
	}
	return strings.Join(words[:3], " ")
}

// Quiet reports whether the machine had nothing else to do before the first run: a load
// average below a half over the last minute.
func (m Machine) Quiet() bool {
	var load float64
	_, err := fmt.Sscan(m.LoadAverage, &load)
	return err == nil && load < 0.5
}
