package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// comment matches a comment at the beginning of a line or after a blank. A # without a
// blank before it is part of a test's name.
var comment = regexp.MustCompile(`(^|\s)#.*`)

// readSkips returns a function that reports whether a lane may skip a test. Each line of
// the file has a lane and a regular expression that matches the whole name of a test, with
// its package. A "#" after a blank starts a comment. Without a file every skip is allowed.
func readSkips(file, lane string) (func(test string) bool, error) {
	if file == "" {
		return func(string) bool { return true }, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var expected []*regexp.Regexp
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := comment.ReplaceAllString(lines.Text(), "")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("%s:%d: want a lane and a regular expression", file, n)
		}
		re, err := regexp.Compile("^(?:" + fields[1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if fields[0] == lane {
			expected = append(expected, re)
		}
	}
	return func(test string) bool {
		for _, re := range expected {
			if re.MatchString(test) {
				return true
			}
		}
		return false
	}, lines.Err()
}
