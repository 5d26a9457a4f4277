// Package skip skips tests that need a feature of a newer kernel. Start with Unless. No
// test of this project skips itself in another way, so that each skip names the missing
// feature, and a test fails on a kernel that must have it.
package skip

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Unless skips the test if err, from the use of a feature, is not nil. It fails the test
// instead if the kernel is minKernel or newer and the test runs as root, because the
// feature must work then. minKernel is a release such as "7.1".
func Unless(t testing.TB, feature, minKernel string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Geteuid() == 0 && !Older(release(), minKernel) {
		t.Fatalf("%s must work on Linux %s, which has it since %s: %v", feature, release(), minKernel, err)
	}
	t.Skipf("needs %s (Linux %s, root): %v", feature, minKernel, err)
}

// Older reports whether the kernel release is older than minKernel.
func Older(release, minKernel string) bool {
	var major, minor, wantMajor, wantMinor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor)
	_, _ = fmt.Sscanf(minKernel, "%d.%d", &wantMajor, &wantMinor)
	return major < wantMajor || (major == wantMajor && minor < wantMinor)
}

// release returns the release of the running kernel, empty off Linux.
func release() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
