package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The fields that docs/json.md promises. One that is missing here is new and
// belongs into both; one that is gone breaks its readers.
const (
	common  = "schema command"
	through = " kernel mode mode_reason num_buffers buffer_size"
	totals  = " ok pool loop"
	moved   = " peer bytes sha256 seconds bytes_per_second"

	demoFields = common + through + totals +
		" bytes_sent bytes_received sha256_sent sha256_received seconds bytes_per_second" +
		" leased returned outstanding completions flushes rearms rearms_by_cause copied_bytes"
	recvFields  = common + through + totals + moved
	sendFields  = common + moved + " ok"
	probeFields = common + " kernel liburing features modes" +
		" refill_header_size refill_header_align event_types event_stats_size event_stats_align"

	poolFields = "completions bytes returned outstanding waiting refill_full flushes flush_errors" +
		" rearmed_no_buffer rearmed_queue_full rearmed_other paused rescues rescued_bytes stalls unread_bytes alloc_failures copy_events copied_fragments copied_bytes" +
		" double_releases uses_after_release"
	loopFields = "turns calls completions wake_ups functions cq_overflows strays"
)

type object map[string]json.RawMessage

func (o object) at(t *testing.T, name string) object {
	t.Helper()
	var inner object
	require.NoError(t, json.Unmarshal(o[name], &inner))
	return inner
}

func assertFields(t *testing.T, want string, o object) {
	t.Helper()
	assert.ElementsMatch(t, strings.Fields(want), slices.Collect(maps.Keys(o)))
}

func TestJSONFields(t *testing.T) {
	noLeaks(t)
	demo := start(t, nil, "demo", "--json", "--size", "1")
	demo.succeed()
	recv := startRecv(t, "--json", "--once")
	send := start(t, nil, "send", "--json", "--size", "1", recv.address())
	send.succeed()
	recv.succeed()
	probe := start(t, nil, "probe", "--json", "-i", "lo")
	probe.succeed()
	socket := start(t, nil, "demo", "--json", "--size", "1", "--mode", "socket")
	socket.succeed()
	for _, printed := range []struct {
		fields string
		*running
	}{{demoFields, demo}, {demoFields, socket}, {recvFields, recv}, {sendFields, send}, {probeFields + " device", probe}} {
		fields, c := printed.fields, printed.running
		objects := decode[object](t, c.out.String())
		require.Len(t, objects, 1)
		assertFields(t, fields, objects[0])
		assert.Equal(t, 1, strings.Count(c.out.String(), "\n"), "one line")
		if pool, has := objects[0]["pool"]; has {
			assert.NotEmpty(t, pool)
			assertFields(t, poolFields, objects[0].at(t, "pool"))
			assertFields(t, loopFields, objects[0].at(t, "loop"))
		}
	}
	causes := decode[object](t, demo.out.String())[0].at(t, "rearms_by_cause")
	assertFields(t, "no_buffer queue_full other", causes)
}
