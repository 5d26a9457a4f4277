package nic

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysctlFolder has the settings of the calling thread's network namespace.
const sysctlFolder = "/proc/sys/net/ipv4"

// portRange is what the kernel chooses source ports from. The kernel refuses settings for
// which privileged ports are among them.
type portRange struct {
	low, high int
	reserved  [][2]int // first and last port of each group that the kernel leaves out
}

// localPorts returns the range of a folder of settings. What cannot be read has the
// kernel's default.
func localPorts(folder string) portRange {
	r := portRange{low: 32768, high: 60999}
	var low, high int
	b, err := os.ReadFile(filepath.Join(folder, "ip_local_port_range"))
	if err == nil {
		_, err = fmt.Sscan(string(b), &low, &high)
	}
	if err == nil && 1 <= low && low <= high && high <= 65535 {
		r.low, r.high = low, high
	}
	b, err = os.ReadFile(filepath.Join(folder, "ip_local_reserved_ports"))
	if err == nil {
		r.reserved = parsePorts(string(b))
	}
	return r
}

// parsePorts returns the groups of a list such as "8080,9000-9010".
func parsePorts(list string) [][2]int {
	var groups [][2]int
	for entry := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isGroup := strings.Cut(entry, "-")
		if !isGroup {
			last = first
		}
		low, lowErr := strconv.Atoi(first)
		high, highErr := strconv.Atoi(last)
		if lowErr == nil && highErr == nil { // the list may be empty
			groups = append(groups, [2]int{low, high})
		}
	}
	return groups
}

func (r portRange) count() int { return r.high - r.low + 1 }

func (r portRange) isReserved(port int) bool {
	for _, group := range r.reserved {
		if group[0] <= port && port <= group[1] {
			return true
		}
	}
	return false
}
