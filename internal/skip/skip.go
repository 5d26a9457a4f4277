// Package skip is the only way for a test of this project to be skipped. A skip
// names the feature that is missing; on a kernel that must have it, the test
// fails instead.
package skip

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Unless skips the test if err says that the feature is missing here. It fails
// the test instead where the kernel is minKernel or newer and the test runs as
// root: there the feature must be found. minKernel is a release such as "7.1".
func Unless(t testing.TB, feature, minKernel string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Geteuid() == 0 && !Older(release(), minKernel) {
		t.Fatalf("%s must be here: Linux %s has it since %s: %v", feature, release(), minKernel, err)
	}
	t.Skipf("needs %s (Linux %s, root): %v", feature, minKernel, err)
}

// Older tells whether the kernel release is before minKernel.
func Older(release, minKernel string) bool {
	var major, minor, wantMajor, wantMinor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor)
	_, _ = fmt.Sscanf(minKernel, "%d.%d", &wantMajor, &wantMinor)
	return major < wantMajor || (major == wantMajor && minor < wantMinor)
}

// release is the running kernel's, empty where there is none.
func release() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
