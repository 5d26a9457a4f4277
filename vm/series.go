package vm

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/zcrx-go/zcrx/tools/debian"
)

// cloudKernels matches the packages of Debian's cloud kernels, which are small and have what
// a virtual machine needs. From 6.19 on the image is in linux-binary, and linux-image is an
// empty package that depends on it.
const cloudKernels = `^linux-(image|binary)-[0-9].*-cloud-amd64$`

// suiteOf returns the Debian suite that has a series.
func suiteOf(series string) (string, error) {
	if !regexp.MustCompile(`^[0-9]+\.[0-9]+$`).MatchString(series) {
		return "", fmt.Errorf("kernel series %q: want two numbers, such as %s", series, DefaultSeries)
	}
	switch series {
	case "6.1":
		return "bookworm", nil
	case "6.12":
		return "trixie", nil
	default:
		return "trixie-backports", nil
	}
}

// seriesOf returns the series of a Debian version, 7.3 for 7.3.4-1~bpo13+1. The names of
// packages do not have the patch release: for every 6.1.x they are linux-image-6.1.0-N.
func seriesOf(version string) string {
	parts := strings.SplitN(debian.Upstream(version), ".", 3)
	if len(parts) < 2 {
		return ""
	}
	return parts[0] + "." + parts[1]
}

// releaseOf returns the release (uname -r) of the kernel in the package name.
func releaseOf(name string) string {
	name = strings.TrimPrefix(name, "linux-image-")
	return strings.TrimPrefix(name, "linux-binary-")
}

// newest returns the package of the newest patch release of a series.
func newest(packages []debian.Package, suite, series string) (debian.Package, error) {
	var best debian.Package
	seen := make(map[string]bool)
	for _, p := range packages {
		seen[seriesOf(p.Version)] = true
		if seriesOf(p.Version) == series && newer(p, best) {
			best = p
		}
	}
	if best.Name == "" {
		return best, fmt.Errorf("the suite %s has no cloud kernel of series %s; it has %s",
			suite, series, strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
	}
	return best, nil
}

// newer reports whether a is to be preferred to b, which may be the zero Package.
func newer(a, b debian.Package) bool {
	if b.Name == "" {
		return true
	}
	if c := debian.CompareVersions(a.Version, b.Version); c != 0 {
		return c > 0
	}
	// Debian may build one version several times, with a higher ABI number in the name
	// each time. Of two packages of one release, linux-binary has the image.
	if c := debian.CompareVersions(releaseOf(a.Name), releaseOf(b.Name)); c != 0 {
		return c > 0
	}
	return strings.HasPrefix(a.Name, "linux-binary-")
}
