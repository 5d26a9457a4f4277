package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is refused is refused with one line and a status, and leaves nothing
// behind.
func TestRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	busy := ln.Addr().String()
	absent := filepath.Join(t.TempDir(), "absent")

	type refusal struct {
		args   string
		status int
		parts  []string
	}
	say := func(parts ...string) []string { return parts }
	refusals := []refusal{
		{"recv -i nosuch0", exitFailed, say("nosuch0", "no such interface")},
		{"recv -i nosuch0 --mode zerocopy", exitFailed, say("nosuch0", "no such interface")},
		{"demo -i nosuch0", exitFailed, say("nosuch0", "no such interface")},
		{"probe -i nosuch0", exitFailed, say("nosuch0", "no such interface")},
		{"recv -i lo -q -1", exitFailed, say("--queue -1", "allowed are 0 to 65535")},
		{"demo -i lo -q -1", exitFailed, say("--queue -1", "allowed are 0 to 65535")},
		{"demo -i lo -q 1", exitFailed, say(`"lo", 1 is`, "allowed are 0 to 0")},
		{"probe -i lo -q -1", exitFailed, say("-1", "allowed are 0 to")},
		{"recv -i lo -q 99999", exitFailed, say("--queue 99999", "allowed are 0 to 65535")},
		{"demo -i lo -q 99999", exitFailed, say("--queue 99999", "allowed are 0 to 65535")},
		{"probe -i lo -q 99999", exitFailed, say("99999", "allowed are 0 to")},
		{"recv --mode zerocopy -i lo", exitFailed, say("(device)", "operation not supported", "a copying mode")},
		{"demo --mode zerocopy -i lo", exitFailed, say("(device)", "operation not supported", "a copying mode")},
		{"demo --mode zerocopy", exitFailed, say("--mode zerocopy needs --interface")},
		{"recv --mode zerocopy", exitFailed, say("--mode zerocopy needs --interface")},
		{"demo --mode deviceless -i lo", exitFailed, say("--mode deviceless has no interface", "--interface lo", "zerocopy or auto")},
		{"demo --mode provided -i lo", exitFailed, say("--mode provided has no interface")},
		{"demo --mode socket -i nosuch0", exitFailed, say("--mode socket has no interface", "nosuch0")},
		{"recv --mode socket -i lo -q 1", exitFailed, say("--mode socket has no interface")},

		{"demo --num-buffers 0", exitFailed, say("--num-buffers 0", "allowed are 1 to 32768")},
		{"demo --num-buffers 0 --mode zerocopy -i lo", exitFailed, say("--num-buffers 0", "allowed are 1 to 16777216")},
		{"recv --num-buffers 0", exitFailed, say("--num-buffers 0", "allowed are 1 to 32768")},
		{"demo --num-buffers -1", exitFailed, say("--num-buffers -1", "allowed are 1 to 32768")},
		{"demo --num-buffers 1099511627776", exitFailed, say("--num-buffers 1099511627776", "allowed are 1 to 32768")},
		{"demo --num-buffers 1099511627776 --mode zerocopy -i lo", exitFailed, say("--num-buffers 1099511627776", "allowed are 1 to 16777216")},
		{"demo --num-buffers 16777217 --mode socket", exitFailed, say("--num-buffers 16777217", "allowed are 1 to 16777216")},
		{"demo --refill-entries 0", exitFailed, say("--refill-entries 0", "allowed are 1 to 32768")},
		{"demo --refill-entries 40000", exitFailed, say("--refill-entries 40000", "allowed are 1 to 32768")},
		{"recv --refill-entries 40000", exitFailed, say("--refill-entries 40000", "allowed are 1 to 32768")},
		{"demo --cq-entries 0", exitFailed, say("--cq-entries 0", "allowed are 4 to 65536")},
		{"demo --cq-entries 3", exitFailed, say("--cq-entries 3", "allowed are 4 to 65536")},
		{"demo --cq-entries 65537", exitFailed, say("--cq-entries 65537", "allowed are 4 to 65536")},
		{"demo --buffer-size 2GiB", exitFailed, say("--buffer-size 2147483648", "allowed are 0 to 1073741824")},
		{"demo --buffer-size 3000", exitFailed, say("--buffer-size 3000", "no power of two")},
		{"demo --buffer-size 1GiB --num-buffers 16", exitFailed, say("4 GiB")},

		{"recv -l " + busy, exitFailed, say(busy, "address already in use")},
		{"recv -l nonsense", exitFailed, say("nonsense")},
		{"recv -l 127.0.0.1:0 -o " + absent + "/file", exitFailed, say(absent, "no such file or directory")},
		{"demo " + absent, exitFailed, say(absent, "no such file or directory")},
		{"send " + busy + " " + absent, exitFailed, say(absent, "no such file or directory")},
		{"demo /", exitFailed, say("/ is a directory")},
		{"send 127.0.0.1:1", exitFailed, say("127.0.0.1:1", "connection refused")},

		{"nonsense", exitUsage, say("nonsense")},
		{"demo --nonsense", exitUsage, say("--nonsense", "zcrx demo --help")},
		{"demo a b", exitUsage, say("2")},
		{"demo a --size 1", exitUsage, say("exclude each other")},
		{"demo --size -1", exitUsage, say("-1", "0 to 9223372036854775807")},
		{"demo --size 1XB", exitUsage, say("1XB", "0 to 9223372036854775807")},
		{"demo --buffer-size 8388608T", exitUsage, say("too large")},
		{"demo --num-buffers 1K", exitUsage, say("1K")},
		{"demo --mode nonsense", exitUsage, say("auto, zerocopy, deviceless, provided or socket")},
		{"demo --consume-delay -1s", exitUsage, say("negative")},
		{"demo -q 1", exitUsage, say("--queue needs --interface")},
		{"recv x", exitUsage, say("x")},
		{"recv --stats -1s", exitUsage, say("negative")},
		{"recv --stats soon", exitUsage, say("soon")},
		{"send", exitUsage, say("zcrx send --help")},
		{"send " + busy + " a --size 1", exitUsage, say("exclude each other")},
		{"probe -q 1", exitUsage, say("--queue needs --interface")},
		{"probe --require auto", exitUsage, say("zerocopy, deviceless or provided")},
		{"version x", exitUsage, say("x")},
		{"help nosuch", exitUsage, say("nosuch", "zcrx --help")},
		{"completion tcsh", exitUsage, say("tcsh")},
	}
	if !inVM() {
		refusals = append(refusals,
			refusal{"demo --mode deviceless", exitFailed, say("device-less", "(kernel: needs Linux 7.1)", "newer kernel")},
			refusal{"recv --mode deviceless", exitFailed, say("device-less", "(kernel: needs Linux 7.1)", "newer kernel")})
	}
	for _, r := range refusals {
		t.Run(strings.ReplaceAll(strings.ReplaceAll(r.args, busy, "BUSY"), absent, "ABSENT"), func(t *testing.T) {
			noLeaks(t)
			c := start(t, strings.NewReader(""), strings.Fields(r.args)...)
			c.fail(r.status, r.parts...)
			assert.Equal(t, 1, strings.Count(c.err.String(), "\n"), "one line: %s", c.err.String())
			assert.Empty(t, c.out.String())
		})
	}
}
