package conn

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// TestNettest runs golang.org/x/net's conformance test of a net.Conn: data both ways, racing
// readers and writers, deadlines of all kinds, Close during each of these, and all methods at
// once.
func TestNettest(t *testing.T) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		for _, p := range pairings(e) {
			t.Run(p.name, func(t *testing.T) { nettest.TestConn(t, p.pipe) })
		}
	})
	inMode(t, zcrx.Auto, func(t *testing.T, e *zcnet.Engine) {
		require.Equal(t, zcrx.Provided, e.Mode(), "reason: %v", e.Reason())
		nettest.TestConn(t, pairings(e)[0].pipe)
	})
}
