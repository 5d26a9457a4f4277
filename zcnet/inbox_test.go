package zcnet

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestInbox compares random calls with the same operations on a slice of bytes.
func TestInbox(t *testing.T) {
	const buffers = 64
	p, err := zcrx.NewSocketPool(zcrx.PoolConfig{NumBuffers: buffers, MaxLeases: buffers})
	require.NoError(t, err)
	peer, conn := zcrxtest.TCPPair(t)
	leases, err := zcrx.NewSocketReceiver(p, conn)
	require.NoError(t, err)
	defer leases.Close()
	newLease := func(content []byte) zcrx.Buffer {
		_, err := peer.Write(content)
		require.NoError(t, err)
		b, err := leases.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, content, b.Bytes())
		return b
	}
	rapid.Check(t, func(rt *rapid.T) {
		var in inbox
		var want []byte       // the bytes in the inbox
		made := 0             // bytes made so far, which makes each differ from the next
		var out []zcrx.Buffer // taken and not released
		leased := 0           // how many of out are leases
		expect := func(got []byte) {
			require.True(rt, bytes.Equal(want[:len(got)], got), "want %v, got %v", want[:len(got)], got)
		}
		upTo := func(what string) int { return rapid.IntRange(0, len(want)).Draw(rt, what) }
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				var batch []zcrx.Buffer
				for range rapid.IntRange(0, 4).Draw(rt, "buffers") {
					if p.Stats().Outstanding == buffers {
						break
					}
					content := make([]byte, rapid.IntRange(1, 9).Draw(rt, "bytes"))
					for i := range content {
						content[i] = byte(made*7 + made>>8)
						made++
					}
					batch = append(batch, newLease(content))
					want = append(want, content...)
				}
				for len(batch) > 0 {
					n := copy(in.room(1<<20), batch)
					in.added(n)
					batch = batch[n:]
				}
			},
			"read": func(rt *rapid.T) {
				got := make([]byte, rapid.IntRange(0, 20).Draw(rt, "room"))
				n := in.read(got)
				require.Equal(rt, min(len(got), len(want)), n)
				expect(got[:n])
				want = want[n:]
			},
			"discard": func(rt *rapid.T) {
				n := upTo("discarded")
				require.Equal(rt, n, in.discard(n))
				want = want[n:]
			},
			"merge": func(rt *rapid.T) {
				n := upTo("merged")
				in.merge(n)
				require.GreaterOrEqual(rt, len(in.front()), n)
				expect(in.front())
			},
			"copy out": func(rt *rapid.T) {
				in.copyOut()
				require.Zero(rt, in.leases())
				require.Len(rt, in.front(), len(want))
			},
			"take": func(rt *rapid.T) {
				dst := make([]zcrx.Buffer, rapid.IntRange(1, 3).Draw(rt, "room"))
				before := in.leases()
				for _, b := range dst[:in.take(dst)] {
					expect(b.Bytes())
					want = want[b.Len():]
					out = append(out, b)
				}
				leased += before - in.leases()
			},
			"release": func(rt *rapid.T) {
				require.NoError(rt, zcrx.ReleaseAll(out))
				out, leased = nil, 0
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, len(want), in.bytes)
				require.Equal(rt, len(want) == 0, in.empty())
				expect(in.front())
				require.Equal(rt, in.leases()+leased, p.Stats().Outstanding)
				require.LessOrEqual(rt, len(in.buffers)-in.first, buffers+1, "consumed places are used again")
				require.LessOrEqual(rt, cap(in.buffers), 256)
			},
		})
		require.NoError(rt, zcrx.ReleaseAll(out))
		in.release()
		require.True(rt, in.empty())
		st := p.Stats()
		require.Zero(rt, st.Outstanding)
		require.Zero(rt, st.DoubleReleases)
		require.Zero(rt, st.UsesAfterRelease)
	})
}

// TestIdleInboxKeepsLittleRoom fills an inbox far, empties it, and then adds a buffer at a
// time.
func TestIdleInboxKeepsLittleRoom(t *testing.T) {
	var in inbox
	add := func() {
		in.room(100)[0] = zcrx.NewBuffer([]byte{1})
		in.added(1)
	}
	for range 8 * mostBatch {
		add()
	}
	require.Greater(t, cap(in.buffers), 2*mostBatch)
	in.discard(in.bytes)
	for range 10 {
		add()
		require.LessOrEqual(t, cap(in.buffers), 2*mostBatch)
		require.Equal(t, 1, in.read(make([]byte, 100)))
	}
}
