//go:build nic

package zerocopy

import (
	"bufio"
	"encoding/json"
	"net"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRecvReportsPlacement runs "zcrx recv" on the device. Its report must have the device's
// counts of bytes that it placed into buffers.
func TestRecvReportsPlacement(t *testing.T) {
	const size = 1 << 20
	for name, unsplit := range map[string]int{"all placed": 0, "none placed": 1} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			setOption(t, "unsplit_nth", unsplit)
			cmd := exec.Command("./zcrx", "recv", "--mode", "zerocopy", "-i", device, "-q", "1",
				"-l", deviceAddr4.String()+":0", "--once", "--json")
			stderr, err := cmd.StderrPipe()
			require.NoError(t, err)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())

			line, err := bufio.NewReader(stderr).ReadString('\n')
			require.NoError(t, err, line)
			match := regexp.MustCompile(`listening on (\S+), mode zerocopy`).FindStringSubmatch(line)
			require.NotNil(t, match, line)
			addr, err := net.ResolveTCPAddr("tcp", match[1])
			require.NoError(t, err)
			steer(t, rule{to: addr.AddrPort(), queue: 1})
			require.NoError(t, w.inPeer(func() error {
				conn, err := net.DialTCP("tcp", nil, addr)
				if err != nil {
					return err
				}
				defer conn.Close()
				return send(conn, size)
			}))

			var report struct {
				OK     bool
				Bytes  int64
				Device *struct {
					Placed int64 `json:"placed_bytes"`
					Other  int64 `json:"other_bytes"`
				}
			}
			require.NoError(t, json.NewDecoder(stdout).Decode(&report))
			require.NoError(t, cmd.Wait())
			assert.True(t, report.OK)
			assert.Equal(t, int64(size), report.Bytes)
			require.NotNil(t, report.Device)
			placed, other := report.Device.Placed, report.Device.Other
			if unsplit == 1 {
				placed, other = other, placed
			}
			assert.GreaterOrEqual(t, placed, int64(size), "more if TCP sent something twice")
			assert.Zero(t, other, "%+v", report.Device)
		})
	}
}
