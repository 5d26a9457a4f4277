package debian

import (
	"cmp"
	"strconv"
	"strings"
)

// CompareVersions compares two Debian versions, [epoch:]upstream[-revision], as dpkg does
// (deb-version(7)). It returns a negative number if a is older than b, a positive one if
// it is newer, and 0 if they are equal.
func CompareVersions(a, b string) int {
	epochA, upstreamA, revisionA := splitVersion(a)
	epochB, upstreamB, revisionB := splitVersion(b)
	return cmp.Or(
		cmp.Compare(epochA, epochB),
		comparePart(upstreamA, upstreamB),
		comparePart(revisionA, revisionB),
	)
}

// Upstream returns the upstream part of a Debian version: 7.3.4 for 7.3.4-1~bpo13+1.
func Upstream(version string) string {
	_, upstream, _ := splitVersion(version)
	return upstream
}

func splitVersion(v string) (epoch int, upstream, revision string) {
	if before, after, ok := strings.Cut(v, ":"); ok {
		epoch, _ = strconv.Atoi(before)
		v = after
	}
	// The revision begins after the last hyphen: an upstream version may contain hyphens.
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart compares runs of non-digits and runs of digits alternately.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for !startsWithDigit(a) || !startsWithDigit(b) {
			weightA, weightB := weight(a), weight(b)
			if weightA != weightB {
				return cmp.Compare(weightA, weightB)
			}
			if weightA == 0 {
				break // both have a number next, or are at their end
			}
			a, b = a[1:], b[1:]
		}
		var numberA, numberB string
		numberA, a = cutNumber(a)
		numberB, b = cutNumber(b)
		// Without leading zeros the longer number is the larger one.
		if c := cmp.Or(cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB)); c != 0 {
			return c
		}
	}
	return 0
}

// weight orders the first byte of s: a tilde before the end of the part, the
// end (or a digit) before letters, letters before everything else.
func weight(s string) int {
	switch {
	case s == "" || startsWithDigit(s):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'A' && s[0] <= 'Z', s[0] >= 'a' && s[0] <= 'z':
		return int(s[0])
	default:
		return int(s[0]) + 256
	}
}

func startsWithDigit(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9'
}

func cutNumber(s string) (number, rest string) {
	end := 0
	for startsWithDigit(s[end:]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}
